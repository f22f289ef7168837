"""Files here and files on a node, behind one interface: what a copy needs, and no more.

Paths are ``str``; names that are not UTF-8 go through unharmed (``surrogateescape``).  Relative
ones start in the folder of this process here, in the user's home there.  Each operation raises the
error of its own world, an OSError or an asyncssh.Error, which `failure` translates.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar, cast

import asyncssh

from .commands import Session
from .errors import TransferFailed, UnsafePath

P = ParamSpec("P")
T = TypeVar("T")

_BLOCK = 1 << 18
# Set-id and sticky bits are nobody's business but the system administrator's.
_PERMISSIONS = 0o777
# A / leads elsewhere; control characters drive terminals, in the listings of whoever looks.
_UNSAFE = re.compile(r"[/\x00-\x1f\x7f-\x9f]")


class Kind(Enum):
    """What a name stands for."""

    FILE = auto()
    FOLDER = auto()
    LINK = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a file: its name, kind, permissions (0 to 0o777) and size in bytes."""

    name: str
    kind: Kind
    mode: int
    size: int


class Reader(Protocol):
    """A file open for reading."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on, none at the end."""

    async def close(self) -> None:
        """Give it back."""


class Writer(Protocol):
    """A new file, open for writing."""

    async def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    async def close(self) -> None:
        """Give it back; an error means that what was written may be lost."""


class FileSystem(Protocol):
    """Where files are."""

    block: int
    """How many bytes are best read or written at once."""

    def expand(self, path: str) -> str:
        """Return `path` with a leading ``~`` resolved."""

    async def stat(self, path: str) -> Entry:
        """Tell what is at `path`, links followed."""

    async def find(self, path: str) -> Entry | None:
        """Tell what is at `path`, a link being a link; None if nothing is."""

    def list(self, path: str) -> AsyncGenerator[Entry, None]:
        """Tell what is in a folder, in any order, without ``.`` and ``..``; names are safe."""

    async def read_link(self, path: str) -> str:
        """Return what a link says."""

    async def open(self, path: str) -> Reader:
        """Open a file that exists."""

    async def create(self, path: str, mode: int) -> Writer:
        """Make a file that must not exist, its permissions subject to the umask."""

    async def make_folder(self, path: str, mode: int) -> None:
        """Make a folder that must not exist, its permissions subject to the umask."""

    async def make_link(self, path: str, says: str) -> None:
        """Make a symbolic link that must not exist."""

    async def replace(self, path: str, target: str) -> None:
        """Give a file or link its name, at once, in place of the one that had it."""

    async def remove(self, path: str) -> None:
        """Remove a file or link."""

    def failure(self, error: Exception, path: str) -> Exception:
        """Return the SshError that tells of `error`."""


def _at_once(function: Callable[P, T]) -> Callable[P, Coroutine[None, None, T]]:
    """Make a coroutine function of one that does its work on the spot.

    Most calls on files of this machine take less time than to have a thread make them.
    """

    @functools.wraps(function)
    async def method(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return method


class LocalFiles:
    """The files of this machine."""

    block = _BLOCK

    def __init__(self, session: Session) -> None:
        self._session = session

    def expand(self, path: str) -> str:
        """Return `path` with a leading ``~`` resolved, as the shell does."""
        slash = "/" if path.endswith("/") else ""
        return f"{Path(path).expanduser()}{slash}" if path.startswith("~") else path

    @_at_once
    def stat(self, path: str) -> Entry:
        """Tell what is at `path`, links followed."""
        return _from_stat(path, Path(path).stat())

    @_at_once
    def find(self, path: str) -> Entry | None:
        """Tell what is at `path`, a link being a link; None if nothing is."""
        try:
            return _from_stat(path, Path(path).lstat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def list(self, path: str) -> AsyncGenerator[Entry, None]:
        """Tell what is in a folder, in any order."""
        with os.scandir(path) as entries:
            for entry in entries:
                yield _from_stat(entry.name, entry.stat(follow_symlinks=False))

    @_at_once
    def read_link(self, path: str) -> str:
        """Return what a link says."""
        return str(Path(path).readlink())

    @_at_once
    def open(self, path: str) -> _LocalFile:
        """Open a file that exists."""
        return _LocalFile(os.open(path, os.O_RDONLY))

    @_at_once
    def create(self, path: str, mode: int) -> _LocalFile:
        """Make a file that must not exist."""
        return _LocalFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))

    @_at_once
    def make_folder(self, path: str, mode: int) -> None:
        """Make a folder that must not exist."""
        Path(path).mkdir(mode)

    @_at_once
    def make_link(self, path: str, says: str) -> None:
        """Make a symbolic link that must not exist."""
        Path(path).symlink_to(says)

    @_at_once
    def replace(self, path: str, target: str) -> None:
        """Give a file or link its name."""
        Path(path).replace(target)

    @_at_once
    def remove(self, path: str) -> None:
        """Remove a file or link."""
        Path(path).unlink()

    def failure(self, error: Exception, path: str) -> Exception:
        """Return a TransferFailed that says it is a local file."""
        problem = error.strerror or error if isinstance(error, OSError) else error
        return TransferFailed(
            f"{problem} (a local file)", node=self._session.node, phase="transfer", path=path
        )


class _LocalFile:
    """An open file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @_at_once
    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    @_at_once
    def write(self, offset: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._fd, rest, offset)
            rest, offset = rest[written:], offset + written

    @_at_once
    def close(self) -> None:
        os.close(self._fd)


class RemoteFiles:
    """The files of a node, by sftp."""

    def __init__(self, session: Session, client: asyncssh.SFTPClient) -> None:
        self._session = session
        self._client = client
        limits = client.limits
        self.block = min(_BLOCK, limits.max_read_len or _BLOCK, limits.max_write_len or _BLOCK)

    def expand(self, path: str) -> str:
        """Return `path` with a leading ``~/`` resolved: relative names start at home anyway."""
        return path.removeprefix("~/") or "./" if path.startswith("~/") else path

    async def stat(self, path: str) -> Entry:
        """Tell what is at `path`, links followed."""
        return _from_attrs(path, await self._client.stat(_encoded(path)))

    async def find(self, path: str) -> Entry | None:
        """Tell what is at `path`, a link being a link; None if nothing is."""
        try:
            return _from_attrs(path, await self._client.lstat(_encoded(path)))
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return None

    async def list(self, path: str) -> AsyncGenerator[Entry, None]:
        """Tell what is in a folder, in any order; UnsafePath if a name is no plain, new name."""
        seen: set[str] = set()
        # It is a generator: closing it gives the handle back when the reader stops early.
        entries = cast(
            AsyncGenerator[asyncssh.SFTPName, None], self._client.scandir(_encoded(path))
        )
        async with aclosing(entries):
            async for entry in entries:
                name = _decoded(entry.filename)
                if name in {".", ".."}:
                    continue
                if name in seen or not name or _UNSAFE.search(name):
                    told = "twice" if name in seen else "as a name"
                    raise UnsafePath(
                        f"the server gives {name!r} {told}",
                        node=self._session.node,
                        phase="transfer",
                        path=f"{path}/{name}",
                    )
                seen.add(name)
                yield _from_attrs(name, entry.attrs)

    async def read_link(self, path: str) -> str:
        """Return what a link says."""
        return _decoded(await self._client.readlink(_encoded(path)))

    async def open(self, path: str) -> _RemoteFile:
        """Open a file that exists."""
        file = await self._client.open(_encoded(path), "rb", block_size=0)
        return _RemoteFile(file, self._client, path)

    async def create(self, path: str, mode: int) -> _RemoteFile:
        """Make a file that must not exist."""
        attrs = asyncssh.SFTPAttrs(permissions=mode)
        file = await self._client.open(_encoded(path), "xb", attrs, block_size=0)
        return _RemoteFile(file, self._client, path)

    async def make_folder(self, path: str, mode: int) -> None:
        """Make a folder that must not exist."""
        await self._client.mkdir(_encoded(path), asyncssh.SFTPAttrs(permissions=mode))

    async def make_link(self, path: str, says: str) -> None:
        """Make a symbolic link that must not exist."""
        await self._client.symlink(_encoded(says), _encoded(path))

    async def replace(self, path: str, target: str) -> None:
        """Give a file or link its name, at once where the server can."""
        source, target_bytes = _encoded(path), _encoded(target)
        try:
            await self._client.posix_rename(source, target_bytes)
        except asyncssh.SFTPOpUnsupported:
            # The plain rename of version 3 refuses a name that is taken.
            with suppress(asyncssh.SFTPNoSuchFile):
                await self._client.remove(target_bytes)
            await self._client.rename(source, target_bytes)

    async def remove(self, path: str) -> None:
        """Remove a file or link."""
        await self._client.remove(_encoded(path))

    def failure(self, error: Exception, path: str) -> Exception:
        """Return the SshError that tells of `error`."""
        return self._session.failure(error, "transfer", path)


class _RemoteFile:
    """An open handle of the server."""

    def __init__(
        self, file: asyncssh.SFTPClientFile, client: asyncssh.SFTPClient, path: str
    ) -> None:
        self._file = file
        self._client = client
        self._path = path

    async def read(self, offset: int, size: int) -> bytes:
        data: bytes = await self._file.read(size, offset)
        if len(data) > size:
            raise asyncssh.SFTPBadMessage("the server sent more than it was asked for")
        return data

    async def write(self, offset: int, data: bytes) -> None:
        try:
            await self._file.write(data, offset)
        except asyncssh.SFTPFailure:
            # Version 3 has one word for all that can go wrong; a full disk deserves its own.
            if await self._is_full():
                raise asyncssh.SFTPNoSpaceOnFilesystem(os.strerror(errno.ENOSPC)) from None
            raise

    async def close(self) -> None:
        await self._file.close()

    async def _is_full(self) -> bool:
        with suppress(asyncssh.SFTPError):
            room = await self._client.statvfs(_encoded(self._path))
            # Some file systems have no fixed number of inodes, and say that they have none.
            return not room.bavail or bool(room.files and not room.favail)
        return False


def _from_stat(path: str, found: os.stat_result) -> Entry:
    return Entry(Path(path).name, _kind(found.st_mode), found.st_mode & _PERMISSIONS, found.st_size)


def _from_attrs(path: str, attrs: asyncssh.SFTPAttrs) -> Entry:
    mode = attrs.permissions or 0
    return Entry(path, _kind(mode), mode & _PERMISSIONS, attrs.size or 0)


def _kind(mode: int) -> Kind:
    return _KINDS.get(stat.S_IFMT(mode), Kind.OTHER)


_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _decoded(name: bytes | str) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
