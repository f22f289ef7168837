"""The files of a node, by sftp."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import cast

import asyncssh

from .commands import Session
from .errors import TransferFailed, UnsafePath
from .filesystem import BLOCK, Entry, Kind, closing
from .traffic import traffic_over

# A / leads elsewhere; control characters drive terminals, in the listings of whoever looks.
_UNSAFE = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_READ_ONLY = 1  # of statvfs
_NO_REASON = {"", "Failure"}


class RemoteFiles:
    """A :class:`~sshjobs.filesystem.FileSystem`."""

    def __init__(self, session: Session, client: asyncssh.SFTPClient) -> None:
        self._session = session
        self._client = client
        limits = client.limits
        self.traffic = traffic_over(client)
        self.block = min(BLOCK, limits.max_read_len or BLOCK, limits.max_write_len or BLOCK)

    def expand(self, path: str) -> str:
        """Return `path` with a leading ``~`` resolved: relative names start at home anyway."""
        if path in {"~", "~/"}:
            return "./" if path.endswith("/") else "."
        if path.startswith("~") and not path.startswith("~/"):
            raise TransferFailed(
                "whose home that is, is not known here: write the whole path, "
                "or ./ before a name that begins with ~",
                node=self._session.node,
                phase="transfer",
                path=path,
            )
        return path.removeprefix("~/")

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
                    told = "twice" if name in seen else "as a name: rename it there, or pull a tar"
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
        return _RemoteFile(self, await self._client.open(_encoded(path), "rb", block_size=0), path)

    async def create(self, path: str, mode: int) -> _RemoteFile:
        """Make a file that must not exist."""
        attrs = asyncssh.SFTPAttrs(permissions=mode)
        async with self.explaining(path):
            file = await self._client.open(_encoded(path), "xb", attrs, block_size=0)
        return _RemoteFile(self, file, path)

    async def read(self, path: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        async with closing(await self.open(path)) as file:
            return await file.read(0, size)

    async def write(self, path: str, mode: int, data: bytes) -> None:
        """Make a file that must not exist, with that in it."""
        async with closing(await self.create(path, mode)) as file:
            await file.write(0, data)

    async def make_folder(self, path: str, mode: int) -> None:
        """Make a folder that must not exist."""
        async with self.explaining(path):
            await self._client.mkdir(_encoded(path), asyncssh.SFTPAttrs(permissions=mode))

    async def make_link(self, path: str, says: str) -> None:
        """Make a symbolic link that must not exist."""
        async with self.explaining(path):
            await self._client.symlink(_encoded(says), _encoded(path))

    async def replace(self, path: str, target: str) -> None:
        """Give a file or link its name, at once where the server can."""
        source, target_bytes = _encoded(path), _encoded(target)
        async with self.explaining(target):
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

    @asynccontextmanager
    async def explaining(self, path: str) -> AsyncGenerator[None, None]:
        """Find out why nothing can be written at `path`, where the server does not say."""
        try:
            yield
        except asyncssh.SFTPFailure as error:
            # Version 3 has one word for all that has none of its own.
            raise await self._explained(error, path) from None

    async def _explained(self, error: asyncssh.SFTPFailure, path: str) -> asyncssh.SFTPError:
        with suppress(asyncssh.SFTPError):
            there = await self.find(path)
            if there is not None and there.kind is Kind.FOLDER:
                return asyncssh.SFTPFileIsADirectory(os.strerror(errno.EISDIR))
            room = await self._client.statvfs(_encoded(posixpath.dirname(path) or "."))
            if room.flags & _READ_ONLY:
                return asyncssh.SFTPWriteProtect(os.strerror(errno.EROFS))
            # Some file systems have no fixed number of inodes, and say that they have none.
            if not room.bavail or (room.files and not room.favail):
                return asyncssh.SFTPNoSpaceOnFilesystem(os.strerror(errno.ENOSPC))
        if error.reason not in _NO_REASON:
            return error
        return asyncssh.SFTPFailure("the server gives no reason; a quota, too many open files?")

    def failure(self, error: Exception, path: str) -> Exception:
        """Return the SshError that tells of `error`."""
        if isinstance(error, asyncssh.SFTPBadMessage) and _is_too_long(_encoded(path)):
            error = asyncssh.SFTPInvalidFilename(os.strerror(errno.ENAMETOOLONG))
        return self._session.failure(error, "transfer", path)


class _RemoteFile:
    """An open handle of the server."""

    def __init__(self, files: RemoteFiles, file: asyncssh.SFTPClientFile, path: str) -> None:
        self._files = files
        self._file = file
        self._path = path

    async def read(self, offset: int, size: int) -> bytes:
        data: bytes = await self._file.read(size, offset)
        while len(data) < size:
            more: bytes = await self._file.read(size - len(data), offset + len(data))
            if not more:
                break
            data += more
        if len(data) > size:
            raise asyncssh.SFTPBadMessage("the server sent more than it was asked for")
        return data

    async def write(self, offset: int, data: bytes) -> None:
        async with self._files.explaining(self._path):
            await self._file.write(data, offset)

    async def close(self) -> None:
        await self._file.close()


def _is_too_long(path: bytes) -> bool:
    return len(path) > _LONGEST_PATH or len(posixpath.basename(path)) > _LONGEST_NAME


def _from_attrs(name: str, attrs: asyncssh.SFTPAttrs) -> Entry:
    return Entry.of(name, attrs.permissions, attrs.size, sparse=True)  # nobody tells


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _decoded(name: bytes | str) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
