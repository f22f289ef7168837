"""An SFTP server that lies: what is in its one folder is whatever the test says.

::

    with Liar([("../evil", FILE)]) as liar:
        Engine(SshJob(liar.node, Pull("/bait", "target"))).orchestrate()

It runs in the event loop that all runs of a thread share.
"""

from __future__ import annotations

import io
import stat
from collections.abc import AsyncIterator, Iterable
from functools import partial
from types import TracebackType
from typing import Self

import asyncssh

from engine import run
from sshjobs import SshNode

BAIT = b"/bait"
FOLDER = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644
LINK = stat.S_IFLNK | 0o777
CONTENT = b"evil"

Listing = Iterable[tuple[bytes | str, int]]


class Sftp(asyncssh.SFTPServer):
    """The server's side of one client."""

    def __init__(self, liar: Liar, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(chan)
        self.liar = liar

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Tell what is at a path, links followed."""
        return self.lstat(path)

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Tell what is at a path."""
        if path.startswith(BAIT) and (path == BAIT or self.liar.endless):
            return asyncssh.SFTPAttrs(permissions=FOLDER)
        raise asyncssh.SFTPNoSuchFile("no such file")

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """List the folder, or an empty one."""
        for name, mode in self.liar.listing if path == BAIT or self.liar.endless else ():
            raw = name.encode() if isinstance(name, str) else name
            attrs = asyncssh.SFTPAttrs(permissions=mode, size=self.liar.size)
            yield asyncssh.SFTPName(raw, attrs=attrs)

    def readlink(self, path: bytes) -> bytes:
        """Tell what a link says."""
        return self.liar.says.encode()

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> io.BytesIO:
        """Open any file: they all hold the same; or hang up, or refuse, as version 3 tells it."""
        if self.liar.hangs_up:
            self.channel.close()
        if not self.liar.inodes and pflags & asyncssh.FXF_CREAT:
            raise asyncssh.SFTPFailure("Failure")
        return io.BytesIO(CONTENT)

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Read, and maybe more than was asked for."""
        return CONTENT[offset : offset + size] + self.liar.surplus

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write to a disk that is full, as version 3 tells it."""
        raise asyncssh.SFTPFailure("Failure")

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """Tell how full the disk is."""
        return asyncssh.SFTPVFSAttrs(
            bavail=self.liar.room, files=9, favail=self.liar.inodes, flags=self.liar.flags
        )

    def remove(self, path: bytes) -> None:
        """Take note."""
        self.liar.removed.append(path)


class Liar:
    """A server with one folder, ``/bait``.

    Args:
        listing: the names in it and their modes, as told.
        says: what all links say.
        size: what it tells as the size of files; they hold four bytes.
        surplus: what it adds to each answer.
        room: how many blocks of its disk it tells are free.
        inodes: likewise; without any it makes no files.
        flags: what it tells of its disk.
        endless: every folder holds the same.
        hangs_up: it ends sftp, and only that, when a file is to be opened.
    """

    def __init__(
        self,
        listing: Listing = (),
        *,
        says: str = "",
        size: int = len(CONTENT),
        surplus: bytes = b"",
        room: int = 1,
        inodes: int = 1,
        flags: int = 0,
        endless: bool = False,
        hangs_up: bool = False,
    ) -> None:
        self.listing = listing
        self.says = says
        self.size = size
        self.surplus = surplus
        self.room = room
        self.inodes = inodes
        self.flags = flags
        self.endless = endless
        self.hangs_up = hangs_up
        self.removed: list[bytes] = []

    def __enter__(self) -> Self:
        run(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run(self._stop())

    async def _start(self) -> None:
        key, host_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(
                key.export_public_key().decode()
            ),
            sftp_factory=partial(Sftp, self),
        )
        self.node = SshNode(
            "127.0.0.1",
            port=self._acceptor.get_port(),
            username="anybody",
            keys=[key],
            known_hosts="unchecked",
            config=None,
        )

    async def _stop(self) -> None:
        self._acceptor.close()
        await self._acceptor.wait_closed()
