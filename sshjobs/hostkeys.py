"""Known hosts: whose key is it, and what to do about one that nobody knows.

Names are compared as the user gave them (or the configuration's `Hostname`, `HostKeyAlias`), in
lower case, with the port where that is not 22; addresses are not looked at, since they move.  A key
on record for a host makes every other key of that host a changed one, of whichever kind it is.

All of this blocks, and is called in a thread.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import threading
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from .files import FileCache

DEFAULT_FILES = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class Trust:
    """What the known_hosts files say about one host.

    Attributes:
        keys: keys on record for this very name and port.
        fallback: keys on record for the name alone, good for any port.
        authorities: keys that may sign the host's key.
        revoked: keys that are refused in any case.
    """

    keys: tuple[asyncssh.SSHKey, ...] = ()
    fallback: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()

    def as_asyncssh(self) -> tuple[list[asyncssh.SSHKey], ...]:
        """Return it in the form that asyncssh takes: trusted keys, authorities, revoked keys."""
        return [*self.keys, *self.fallback], [*self.authorities], [*self.revoked]


class _File:
    """One file, cut into lines; a line is parsed once it turns out to be about the host.

    Most of a large file is about others, and parsing a key takes a hundred times as long as reading
    it.  Lines that cannot be understood say nothing, as for OpenSSH.
    """

    def __init__(self, text: str) -> None:
        self._exact: dict[str, list[str]] = {}
        self._hashed: list[tuple[bytes, bytes, str]] = []
        self._patterns: list[str] = []
        for line in map(str.strip, text.splitlines()):
            words = line.split()
            names = words[1:2] if line.startswith("@") else words[:1]
            if names and not line.startswith("#"):
                self._add(names[0], line)

    def _add(self, names: str, line: str) -> None:
        if not names.startswith("|") and not names.islower():
            line = line.replace(names, names.lower(), 1)
            names = names.lower()
        if names.startswith("|"):
            with suppress(ValueError):
                _, _, salt, digest = names.split("|")
                self._hashed.append((b64decode(salt), b64decode(digest), line))
        elif any(character in names for character in "*?!/"):
            self._patterns.append(line)
        else:
            for name in names.split(","):
                self._exact.setdefault(name, []).append(line)

    def look_up(self, name: str) -> Trust:
        lines = [*self._exact.get(name, ()), *self._patterns]
        lines += (
            line
            for salt, digest, line in self._hashed
            if hmac.digest(salt, name.encode(), "sha1") == digest
        )
        if not lines:
            return Trust()
        # Neither an address nor a port: asyncssh would add entries of other names.
        known = asyncssh.SSHKnownHosts()
        for line in lines:
            with suppress(ValueError):
                known.load(line)
        found = known.match(name, "", None)
        keys, authorities, revoked = (tuple(kind) for kind in found[:3])
        return Trust(keys, (), authorities, revoked)


def _read(path: str) -> _File:
    return _File(Path(path).read_text(errors="surrogateescape"))


_files: FileCache[_File] = FileCache(_read)
_recording = threading.Lock()


def entry_name(host: str, port: int) -> str:
    """Return how a host is called in the file.

    >>> entry_name("fit01", 22), entry_name("FIT01", 2222)
    ('fit01', '[fit01]:2222')
    """
    return host.lower() if port == DEFAULT_PORT else f"[{host.lower()}]:{port}"


def look_up(files: tuple[str, ...], host: str, port: int) -> Trust:
    """Return what `files` say about a host; one that is missing says nothing.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is malformed.
    """
    exact, alone = Trust(), Trust()
    for path in files:
        try:
            file = _files.get(path)
        except FileNotFoundError:
            continue
        exact = _joined(exact, file.look_up(entry_name(host, port)))
        if port != DEFAULT_PORT:
            alone = _joined(alone, file.look_up(host.lower()))
    # As OpenSSH does: a key without a port serves where none with the port is on record.
    fallback = () if exact.keys or exact.authorities else alone.keys
    authorities = exact.authorities or alone.authorities
    return Trust(exact.keys, fallback, authorities, exact.revoked + alone.revoked)


def _joined(one: Trust, two: Trust) -> Trust:
    return Trust(
        one.keys + two.keys,
        (),
        one.authorities + two.authorities,
        one.revoked + two.revoked,
    )


def record(path: str, host: str, port: int, key: asyncssh.SSHKey) -> bool:
    """Add a key to a known_hosts file, made with its folder if need be, unless it is there.

    One line is one write at the end of the file, under a lock that OpenSSH does not need to know.

    Returns:
        False if another key of the host has come there meanwhile; nothing is written then.

    Raises:
        OSError: it cannot be written.
    """
    file = Path(path).expanduser()
    name = entry_name(host, port)
    algorithm, data = key.export_public_key("openssh").decode().split()[:2]
    line = f"{name} {algorithm} {data}\n"
    with _recording:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Another program may have met the host a moment ago.
            known = look_up((path,), host, port).keys
            if known:
                return key in known
            _append(handle, line)
        finally:
            os.close(handle)
    return True


def _append(handle: int, line: str) -> None:
    size = os.fstat(handle).st_size
    start = "\n" if size and os.pread(handle, 1, size - 1) != b"\n" else ""
    os.write(handle, f"{start}{line}".encode())
