"""One copy, from a file system to another: what there is is listed first, then it is copied.

Each file is written under a temporary name beside its target and renamed when it is complete; a
copy that fails or is cancelled takes its temporary files away.  Many files, and many blocks of a
large one, are in flight at once.

What is written stays below the target: a folder is only entered if it is a real one (a link there
is not followed), and links are made last, those only that stay inside.
"""

from __future__ import annotations

import asyncio
import itertools
import posixpath
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache, partial
from typing import Any

import asyncssh

from engine import report

from .bounded import stopping_within, within
from .errors import TransferFailed, UnsafePath
from .filesystem import DENIED, MISSING, FileSystem, Kind, Reader, Writer, closing, telling
from .node import AnyNode
from .sources import Item, Sources
from .traffic import Traffic, each, open_here, together

_LANES = 16  # blocks of one file in flight at once
_CLEANUP = 2.0  # seconds for each step of cleaning up, when a copy is cut short
_REPORT_EVERY = 0.1  # seconds between two reports of progress
_SHOWN = 60  # characters of its target's name in that of a temporary file


class Copy:
    """What it takes to copy one file, folder or glob.

    Args:
        node: the node concerned, for messages.
        source: where to read.
        target: where to write.
        max_files: refuse to copy more than that.
    """

    def __init__(
        self, node: AnyNode, source: FileSystem, target: FileSystem, max_files: int
    ) -> None:
        self._node = node
        self._source = source
        self._target = target
        self._sources = Sources(node, source, max_files)
        self._traffic = source.traffic or target.traffic or Traffic()
        self._block = min(source.block, target.block)
        self._progress = _Progress()
        self._bytes = 0

    @property
    def left_out(self) -> list[str]:
        """What was not copied, and why."""
        return sorted(self._sources.left_out)

    def summary(self) -> str:
        """Return what was copied, in words: ``3 files, 1 folder: 12,345 bytes``."""
        found = self._sources
        counts = {"file": len(found.files), "folder": len(found.folders), "link": len(found.links)}
        told = [_count(number, what) for what, number in counts.items() if number]
        return f"{', '.join(told) or 'nothing'}: {_count(self._bytes, 'byte')}"

    async def run(self, source: str, target: str) -> None:
        """Copy `source`, which may be a glob, to `target`.

        Args:
            source: path of a file, a folder, or a glob.
            target: the new name or, for a glob or with a trailing ``/``, the folder to put it in.

        Raises:
            SshError: the first thing that went wrong; what was complete by then stays.
        """
        found = self._sources
        # A folder that is being listed is closed in the end, and asyncssh waits for that.
        single = await stopping_within(_CLEANUP, found.find(source, target))
        if single is not None:
            await self._check_place(single.target)
        self._progress.start(sum(item.size for item in found.files))
        named = target.rstrip("/") or "/"
        by_depth = sorted(found.folders, key=_depth)
        for _, folders in itertools.groupby(by_depth, key=_depth):
            await each(partial(self._make_folder, named), list(folders))
        await each(self._copy_file, found.files)
        await each(self._make_link, found.links)
        self._progress.finish()

    async def _check_place(self, target: str) -> None:
        """See, before anything is done, that a file can take this place."""
        with telling(self._target, target):
            there = await self._target.find(target)
            if there is not None and there.kind is Kind.LINK:
                with suppress(*MISSING):
                    there = await self._target.stat(target)
        if there is not None and there.kind is Kind.FOLDER:
            raise self._failure(f"is a folder; to put the file inside, write {target}/", target)
        if there is not None and there.kind is Kind.OTHER:
            raise self._failure(
                "is a device, a pipe or a socket, and no file is to take its place; "
                "a command can write to it",
                target,
            )

    async def _make_folder(self, named: str, item: Item) -> None:
        """Make a folder, or take the one that is there; a link to one is as good if it is named."""
        with telling(self._target, item.target):
            try:
                await self._target.make_folder(item.target, item.mode)
            except (OSError, asyncssh.SFTPError):
                there = await self._target.find(item.target)
                if there is not None and there.kind is Kind.LINK:
                    if item.target != named:
                        raise UnsafePath(
                            "a link stands where a folder is to be, and would lead elsewhere; "
                            "one that is named as the target is followed",
                            node=self._node,
                            phase="transfer",
                            path=item.target,
                        ) from None
                    there = await self._target.stat(item.target)
                if there is None:
                    with self._making(item.target):
                        raise
                if there.kind is not Kind.FOLDER:
                    raise self._failure("a folder is to be here, not a file", item.target) from None

    async def _make_link(self, link: tuple[str, str]) -> None:
        target, says = link
        async with self._temporary(target) as temporary:
            with self._making(target):
                await self._target.make_link(temporary, says)

    async def _copy_file(self, item: Item) -> None:
        async with self._traffic.files, self._temporary(item.target) as temporary:
            if 0 < item.size <= self._block:
                await self._copy_small(item, temporary)
            else:
                async with open_here():
                    await self._copy_large(item, temporary)

    async def _copy_small(self, item: Item, temporary: str) -> None:
        """Copy a file in one go; no file of this machine is open while others have their turn."""
        async with self._traffic.block():
            with telling(self._source, item.path):
                data = await self._source.read(item.path, item.size)
            self._check_length(item, len(data), item.size)
            with self._making(item.target):
                await self._target.write(temporary, item.mode, data)
        self._add(item.size)

    async def _copy_large(self, item: Item, temporary: str) -> None:
        with telling(self._source, item.path):
            reader = await self._source.open(item.path)
        async with closing(reader):
            with self._making(item.target):
                writer = await self._target.create(temporary, item.mode)
            async with closing(writer):
                if item.size:
                    await self._copy_blocks(reader, writer, item)
                else:
                    await self._copy_to_the_end(reader, writer, item)

    async def _copy_blocks(self, reader: Reader, writer: Writer, item: Item) -> None:
        """Copy as many bytes as the file had when it was listed, several blocks at once."""
        offsets = iter(range(0, item.size, self._block))

        async def lane() -> None:
            for offset in offsets:
                await self._copy_block(reader, writer, item, offset)
                # Files of this machine never make us wait; others have their turn all the same.
                await asyncio.sleep(0)

        await together(lane() for _ in range(min(_LANES, -(-item.size // self._block))))

    async def _copy_block(self, reader: Reader, writer: Writer, item: Item, offset: int) -> None:
        # A call of its own, so that the block is let go of before the next one is read: memory
        # that is warm is used again, which is a tenth of the processor time of a Pull.
        wanted = min(self._block, item.size - offset)
        async with self._traffic.block():
            with telling(self._source, item.path):
                data = await reader.read(offset, wanted)
            self._check_length(item, offset + len(data), offset + wanted)
            # The last block is written in any case: it makes the file as long as it is to be.
            is_hole = item.sparse and offset + wanted < item.size and data == _zeros(wanted)
            if not is_hole:
                await writer.write(offset, data)
        self._add(wanted)

    async def _copy_to_the_end(self, reader: Reader, writer: Writer, item: Item) -> None:
        """Copy a file whose size is not known beforehand: empty, or made as one reads it."""
        offset = 0
        while True:
            with telling(self._source, item.path):
                data = await reader.read(offset, self._block)
            if not data:
                return
            await writer.write(offset, data)
            offset += len(data)
            self._bytes += len(data)
            await asyncio.sleep(0)

    def _check_length(self, item: Item, end: int, wanted: int) -> None:
        if end < wanted:
            raise self._failure(
                f"it ends after {end:,} of {item.size:,} bytes: it became shorter meanwhile, or is "
                "made as one reads it (then have a command read it)",
                item.path,
            )

    def _add(self, count: int) -> None:
        self._bytes += count
        self._progress.add(count)

    @asynccontextmanager
    async def _temporary(self, target: str) -> AsyncGenerator[str, None]:
        """Give a temporary name beside `target`; what is there at the end becomes `target`."""
        folder, name = posixpath.split(target)
        temporary = posixpath.join(folder, f".{name[:_SHOWN]}.{secrets.token_hex(4)}.part")
        with telling(self._target, target):
            try:
                yield temporary
                await self._target.replace(temporary, target)
            except BaseException:
                await _quietly(self._target.remove(temporary))
                raise

    @contextmanager
    def _making(self, target: str) -> Generator[None, None, None]:
        """Tell what it means that nothing can be made beside `target`."""
        folder = posixpath.dirname(target) or "."
        try:
            yield
        except MISSING as error:
            raise _reworded(error, f"there is no folder {folder}: make it first") from error
        except DENIED as error:
            raise _reworded(error, f"Permission denied: nothing can be made in {folder}") from error

    def _failure(self, problem: str, path: str) -> TransferFailed:
        return TransferFailed(problem, node=self._node, phase="transfer", path=path)


class _Progress:
    """Bytes done, told at a bounded rate."""

    def __init__(self) -> None:
        self._done = self._total = 0
        self._told = -1
        self._next = 0.0

    def start(self, total: int) -> None:
        self._total = total
        self._tell()

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() >= self._next:
            self._tell()

    def finish(self) -> None:
        if self._told != self._done:
            self._tell()

    def _tell(self) -> None:
        if self._total:
            report(done=self._done, total=self._total)
        self._told = self._done
        self._next = time.monotonic() + _REPORT_EVERY


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


@lru_cache(maxsize=1)
def _zeros(count: int) -> bytes:
    return bytes(count)


def _depth(folder: Item) -> int:
    return folder.target.count("/")


def _reworded(error: Exception, problem: str) -> Exception:
    """Return the same error in other words."""
    if isinstance(error, OSError):
        return type(error)(error.errno, problem)
    return type(error)(problem)


async def _quietly(step: Coroutine[Any, Any, None]) -> None:
    """Take a step of cleaning up, as far as it can be taken: another error is told already."""
    with suppress(Exception):
        async with within(_CLEANUP):
            await step
