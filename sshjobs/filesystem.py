"""Files, wherever they are, behind one interface: what a copy needs, and no more.

Paths are ``str``; names that are not UTF-8 go through unharmed (``surrogateescape``).  Relative
ones start in the folder of this process here, in the user's home there.  Each operation raises the
error of its own world, an OSError or an asyncssh.Error, which `failure` translates.

:mod:`sshjobs.local_files` and :mod:`sshjobs.remote_files` are the two that there are.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar

import asyncssh

from .bounded import within
from .errors import SshError
from .traffic import Traffic

BLOCK = 1 << 18
"""Bytes that are read or written at once, where the other side has nothing against it."""
# Set-id and sticky bits are nobody's business but the system administrator's.
_PERMISSIONS = 0o777


class Kind(Enum):
    """What a name stands for."""

    FILE = auto()
    FOLDER = auto()
    LINK = auto()
    OTHER = auto()


_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a file.

    Attributes:
        name: its name.
        kind: what it is.
        mode: its permissions, 0 to 0o777.
        size: in bytes.
        sparse: whether it may have holes: zeros that take no room.
    """

    name: str
    kind: Kind
    mode: int
    size: int
    sparse: bool

    @classmethod
    def of(cls, name: str, mode: int | None, size: int | None, *, sparse: bool) -> Entry:
        """Return what is known of a file of that mode, as of ``st_mode``."""
        mode = mode or 0
        kind = _KINDS.get(stat.S_IFMT(mode), Kind.OTHER)
        return cls(name, kind, mode & _PERMISSIONS, size or 0, sparse)


MISSING = (FileNotFoundError, asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
"""Nothing is there."""
DENIED = (PermissionError, asyncssh.SFTPPermissionDenied)
"""We may not."""


class Reader(Protocol):
    """A file open for reading."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only at the end."""

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

    @property
    def block(self) -> int:
        """How many bytes are best read or written at once."""

    @property
    def traffic(self) -> Traffic | None:
        """What all copies over the same connection share; None if there is no connection."""

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

    async def read(self, path: str, size: int) -> bytes:
        """Return the first `size` bytes of a file, not more than a block; less if it is shorter."""

    async def write(self, path: str, mode: int, data: bytes) -> None:
        """Make a file that must not exist, with that in it."""

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


Open = TypeVar("Open", bound=Reader | Writer)


@asynccontextmanager
async def closing(file: Open) -> AsyncGenerator[Open, None]:
    """Give an open file, and close it at the end.

    Where another error is told already, the other side is told to close it, and not waited for: it
    may be the one that does not answer.
    """
    try:
        yield file
    except BaseException:
        with suppress(Exception):
            async with within(0):
                await file.close()
        raise
    await file.close()


@contextmanager
def telling(files: FileSystem, path: str) -> Generator[None, None, None]:
    """Tell of any error as one about `path`."""
    try:
        yield
    except SshError:
        raise
    except (OSError, asyncssh.Error, ValueError) as error:
        raise files.failure(error, path) from error
