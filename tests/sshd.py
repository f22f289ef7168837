"""A real OpenSSH server on loopback, with keys made for the occasion and nothing left behind.

::

    with Sshd() as server:                               # or the shared fixture `sshd`
        await asyncssh.connect(
            server.host, server.port, username=server.username,
            client_keys=[str(server.key)], known_hosts=str(server.known_hosts),
        )
        server.kill_sessions()                           # a link that breaks
        server.freeze_sessions()                         # a link that goes silent

Options of sshd_config are keyword arguments: ``Sshd(MaxSessions=2, MaxStartups="1:30:2")``.
Where there is no sshd the test is skipped and says so.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.processes import (
    Process,
    descendants,
    is_alive,
    is_stopped,
    marked,
    process_table,
    send,
    wait_until,
)

START_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
ATTEMPTS = 5
# At this log level there are "Accepted key" lines too, one for each key offered.
ACCEPTED = re.compile(r"^Accepted \S+ for ", re.MULTILINE)
PRIVILEGE_SEPARATION = Path("/run/sshd")
MARK = "ORCHESTRION_SSHD"
PLAIN_USER = "plain"
PLAIN_UID = 64242
PASSWORD = "pass 'word"
# Made by `openssl passwd -6`.
HASHED = (
    "$6$orchestrion$7NnzP5l7DKykhhIYK1MBjuqRb3qch1zQYed3KnAQQzrOD9JSngHjHpxYyZiIsxiGYcuMqS07SsfRVg2"
    "QnyUfy1"
)


def _gives_terminals() -> bool:
    if os.getuid() == 0:
        return True
    ends = os.openpty()
    try:
        group = os.fstat(ends[1]).st_gid
        return group == grp.getgrnam("tty").gr_gid
    except KeyError:
        return group == os.getgid()
    finally:
        for end in ends:
            os.close(end)


needs_terminals = pytest.mark.skipif(
    not _gives_terminals(),
    reason="sshd would have to give its terminals to the group tty (mount /dev/pts with gid=), "
    "which only root may",
)


class Sshd:
    """One server: its own port, host key, client key, log and folder.

    Attributes (set once it has started): ``host``, ``port``, ``username``, ``key`` (the client's
    private key), ``host_key`` (the server's private key), ``known_hosts`` (a file that trusts
    exactly this server), ``log``, ``home`` (where commands start), ``room`` (a folder that whoever
    logs in may write to), ``pid`` (the listener).

    The port is a free one, or `port`. With ``plain=True`` one logs in as a user that is not root.
    When the tests run as root that user exists in the server's own mount namespace only, so the
    machine's own users are not touched; and so do the rules of sudo, if `sudoers` are given. The
    user's password is ``PASSWORD``. When they do not run as root one logs in as oneself, and
    ``home`` is one's own: nothing is to be written there, let alone removed.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        plain: bool = False,
        sudoers: str | None = None,
        **options: object,
    ) -> None:
        self.host = host
        self.port = 0
        self._wanted_port = port
        self.options = options
        self._stranger = plain and os.getuid() == 0
        self._sudoers = sudoers
        self._mounts: dict[Path, str] = {}
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        self._orphans: list[int] = []
        self._listener: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make keys and folder, and start; skips the test where a needed program is missing."""
        self._sshd = program("sshd", "openssh-server")
        keygen = program("ssh-keygen", "openssh-client")
        if self._stranger:
            _require_mount_namespace()
        # Not below pytest's own temporary folder: that one is closed to other users.
        self.folder = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.folder.chmod(0o755)
        try:
            self._make_user()
            self._make_keys(keygen)
            self.log = self.folder / "sshd.log"
            self._listen()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the listener, the sessions and every command they started; remove the folder."""
        started = self.sessions() + self.commands()
        if self._listener is not None:
            self._listener.terminate()
            # One that a test has stopped (SIGSTOP) would not see it before it goes on.
            self._listener.send_signal(signal.SIGCONT)
            self._listener.wait(STOP_TIMEOUT)
            self._listener = None
        send(started, signal.SIGKILL)
        send((process.pid for process in marked(self._mark)), signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, started)), STOP_TIMEOUT, "sshd's sessions to end")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The listener; an error if there is none."""
        if self._listener is None:
            raise RuntimeError("this sshd is not running")
        return self._listener.pid

    def kill_listener(self) -> None:
        """End the listener with SIGKILL; the sessions live on, new connections are refused."""
        self._orphans += self.sessions()
        send([self.pid], signal.SIGKILL)
        assert self._listener is not None
        self._listener.wait()
        self._listener = None

    def restart(self) -> None:
        """A listener again, on the same port and with the same keys (a host that comes back)."""
        if self._listener is not None:
            self.kill_listener()
        self._spawn()

    def connections(self) -> int:
        """How many connections the server holds right now."""
        sessions = self._session_processes()
        inner = {process.pid for process in sessions}
        return sum(process.parent not in inner for process in sessions)

    def logins(self) -> int:
        """How many logins it has granted since it was made."""
        return len(ACCEPTED.findall(self.log.read_text(errors="replace")))

    def sessions(self) -> list[int]:
        """The pids of sshd's own processes below the listener, not of the commands they run."""
        return [process.pid for process in self._session_processes()]

    def commands(self) -> list[int]:
        """The pids of what clients had it run, also of those whose session is gone."""
        return [process.pid for process in marked(self._mark) if not _is_sshd(process)]

    def kill_sessions(self) -> list[int]:
        """SIGKILL the sessions, as a host that goes down; the commands live on."""
        pids = self.sessions()
        send(pids, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)), STOP_TIMEOUT, "killed sessions to end")
        return pids

    def freeze_sessions(self) -> list[int]:
        """SIGSTOP the sessions: the link stays open and says nothing any more."""
        pids = self.sessions()
        send(pids, signal.SIGSTOP)
        wait_until(lambda: all(map(is_stopped, pids)), STOP_TIMEOUT, "sessions to freeze")
        return pids

    def thaw_sessions(self) -> list[int]:
        """SIGCONT the sessions."""
        pids = self.sessions()
        send(pids, signal.SIGCONT)
        wait_until(lambda: not any(map(is_stopped, pids)), STOP_TIMEOUT, "sessions to thaw")
        return pids

    def _session_processes(self) -> list[Process]:
        table = process_table()
        # Sessions outlive a listener that was killed.
        found = [table[pid] for pid in self._orphans if pid in table]
        if self._listener is not None:
            found += descendants(self._listener.pid, table)
        return [process for process in found if process.alive and _is_sshd(process)]

    def _make_user(self) -> None:
        user = pwd.getpwuid(os.getuid())
        self.username, self.home = user.pw_name, Path(user.pw_dir)
        if self._stranger:
            self.username, self.home = PLAIN_USER, self.folder / "home"
            self.home.mkdir()
            os.chown(self.home, PLAIN_UID, PLAIN_UID)
            line = f"{PLAIN_USER}:x:{PLAIN_UID}:{PLAIN_UID}::{self.home}:/bin/sh\n"
            self._overlay("passwd", Path("/etc/passwd").read_text() + line)
        self.room = self.folder / "room"
        self.room.mkdir()
        if self._stranger:
            os.chown(self.room, PLAIN_UID, PLAIN_UID)
        if self._sudoers is not None:
            program("sudo", "sudo")
            if not self._stranger:
                pytest.skip("only root can make rules for sudo")
            self._overlay("shadow", f"{PLAIN_USER}:{HASHED}:20000:0:99999:7:::\n", 0o600)
            self._overlay("sudoers", f"{self._sudoers}\n", 0o440)

    def _overlay(self, name: str, text: str, mode: int = 0o644) -> None:
        """Have the server, and what it runs, see `text` as the machine's file of that name."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(mode)
        self._mounts[file] = f"/etc/{name}"

    def _make_keys(self, keygen: str) -> None:
        self.host_key, self.key = self.folder / "host_key", self.folder / "client_key"
        for key in (self.host_key, self.key):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "made for a test", "-f", str(key)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        shutil.copy(f"{self.key}.pub", self.folder / "authorized_keys")

    def _listen(self) -> None:
        for attempt in range(ATTEMPTS):
            self.port = self._wanted_port or _free_port(self.host)
            self._write_config()
            try:
                self._spawn()
                break
            except OSError:
                # Someone else may have taken the port since it was found free.
                if attempt == ATTEMPTS - 1:
                    raise
        kind, public, *_ = Path(f"{self.host_key}.pub").read_text().split()
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {kind} {public}\n")

    def _write_config(self) -> None:
        settings: dict[str, object] = {
            "ListenAddress": self.host,
            "Port": self.port,
            "HostKey": self.host_key,
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PrintMotd": "no",
            "UseDNS": "no",
            "LogLevel": "VERBOSE",
            "SetEnv": self._mark,
            "Subsystem": "sftp internal-sftp",
        }
        settings.update(self.options)
        self._config = self.folder / "sshd_config"
        self._config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))

    def _spawn(self) -> None:
        if os.getuid() == 0:
            # Debian's sshd refuses to start without it; a machine's own sshd service makes it too,
            # so it stays.
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        command = [self._sshd, "-D", "-e", "-f", str(self._config)]
        if self._stranger:
            mounts = [f"mount --bind {file} {name}" for file, name in self._mounts.items()]
            script = " && ".join([*mounts, 'exec "$@"'])
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        setpriv = shutil.which("setpriv")
        # Tests that are killed cannot call stop(). The signal comes at the end of the thread that
        # started the server, so only the main thread's tells that the tests are over.
        if setpriv and threading.current_thread() is threading.main_thread():
            command = [setpriv, "--pdeathsig", "TERM", *command]
        with self.log.open("ab") as log:
            start = log.tell()
            self._listener = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # a signal to the group of the tests is not meant for it
            )
        wait_until(lambda: self._listening(start), START_TIMEOUT, f"sshd to listen, {self.log}")

    def _listening(self, start: int) -> bool:
        assert self._listener is not None
        said = self.log.read_bytes()[start:].decode(errors="replace")
        if self._listener.poll() is not None:
            self._listener = None
            raise OSError(f"sshd did not start: {said.strip()}")
        return f"Server listening on {self.host} port {self.port}" in said


def _is_sshd(process: Process) -> bool:
    # "sshd-session" and "sshd-auth" are the names of OpenSSH 9.8 and later.
    return process.name in ("sshd", "sshd-session", "sshd-auth")


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test that asks for one that is not here."""
    # Servers live in sbin, which is not on everybody's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {package})")
    return found


def _require_mount_namespace() -> None:
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("a plain user needs a mount namespace, which this machine does not allow")


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
