"""The files of this machine."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import ParamSpec, TypeVar

from .commands import Session
from .errors import TransferFailed
from .filesystem import BLOCK, Entry

P = ParamSpec("P")
T = TypeVar("T")

_TURN = 100  # names in a large folder after which others have their turn
# A pipe that has taken a file's place meanwhile must not hold up the whole program.
_READ = os.O_RDONLY | os.O_NONBLOCK
_SECTOR = 512  # bytes, the unit of st_blocks everywhere
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def _at_once(function: Callable[P, T]) -> Callable[P, Coroutine[None, None, T]]:
    """Make a coroutine function of one that does its work on the spot.

    Most calls on files of this machine take less time than to have a thread make them.
    """

    @functools.wraps(function)
    async def method(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return method


class LocalFiles:
    """A :class:`~sshjobs.filesystem.FileSystem`."""

    block = BLOCK
    traffic = None

    def __init__(self, session: Session) -> None:
        self._session = session

    def expand(self, path: str) -> str:
        """Return `path` with a leading ``~`` resolved, as the shell does."""
        if not path.startswith("~"):
            return path
        slash = "/" if path.endswith("/") else ""
        try:
            return f"{Path(path).expanduser()}{slash}"
        except RuntimeError:  # no such user
            return path

    @_at_once
    def stat(self, path: str) -> Entry:
        """Tell what is at `path`, links followed."""
        try:
            return _from_stat(path, Path(path).stat())
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            # A link that leads to itself leads nowhere, as servers put it too.
            raise FileNotFoundError(error.errno, error.strerror) from None

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
            for number, entry in enumerate(entries):
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                yield _from_stat(entry.name, entry.stat(follow_symlinks=False))

    @_at_once
    def read_link(self, path: str) -> str:
        """Return what a link says."""
        return str(Path(path).readlink())

    @_at_once
    def open(self, path: str) -> _LocalFile:
        """Open a file that exists."""
        return _LocalFile(os.open(path, _READ))

    @_at_once
    def create(self, path: str, mode: int) -> _LocalFile:
        """Make a file that must not exist."""
        return _LocalFile(os.open(path, _CREATE, mode))

    @_at_once
    def read(self, path: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        fd = os.open(path, _READ)
        try:
            return _read(fd, 0, size)
        finally:
            os.close(fd)

    @_at_once
    def write(self, path: str, mode: int, data: bytes) -> None:
        """Make a file that must not exist, with that in it."""
        fd = os.open(path, _CREATE, mode)
        try:
            _write(fd, 0, data)
        finally:
            os.close(fd)

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
        return _read(self._fd, offset, size)

    @_at_once
    def write(self, offset: int, data: bytes) -> None:
        _write(self._fd, offset, data)

    @_at_once
    def close(self) -> None:
        os.close(self._fd)


def _read(fd: int, offset: int, size: int) -> bytes:
    data = os.pread(fd, size, offset)
    # Files that the system makes as one reads them come in pieces.
    while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


def _write(fd: int, offset: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def _from_stat(name: str, found: os.stat_result) -> Entry:
    sparse = _SECTOR * found.st_blocks < found.st_size
    return Entry.of(name, found.st_mode, found.st_size, sparse=sparse)
