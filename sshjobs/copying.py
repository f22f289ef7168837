"""One copy, from a file system to another: what there is is listed first, then it is copied.

Nothing is written before the last name is known to be harmless.  Each file is written under a
temporary name beside its target and renamed when it is complete; a copy that fails or is cancelled
takes its temporary files away.  Many files, and many blocks of a large one, are in flight at once.

What is written stays below the target: a folder is only entered if it is a real one (a link there
is not followed), and links are made last, those only that stay inside.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import posixpath
import re
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import asyncssh

from engine import report
from engine.text import safe_line

from .bounded import within
from .errors import SshError, TransferFailed, UnsafePath
from .filesystem import Entry, FileSystem, Kind, Reader, Writer
from .node import AnyNode

_FILES = 16  # in flight at once
_LANES = 16  # blocks of one file in flight at once
_BLOCKS = 32  # blocks in flight at once, in all files together
_CLEANUP = 1.0  # seconds for each step of cleaning up, when a copy is cut short
_REPORT_EVERY = 0.1  # seconds between two reports of progress

_LINE = 300  # characters, at most, to tell of what was left out

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class _Item:
    """A file or folder to copy: from where, to where, with which permissions, how many bytes."""

    path: str
    target: str
    mode: int
    size: int = 0


class Copy:
    """What it takes to copy one file, folder or glob.

    Args:
        node: the node concerned, for messages.
        source: where to read.
        target: where to write.
        max_files: refuse to copy more than that.

    `left_out` tells, after :meth:`run`, what was not copied and why.
    """

    def __init__(
        self, node: AnyNode, source: FileSystem, target: FileSystem, max_files: int
    ) -> None:
        self.left_out: list[str] = []
        self._node = node
        self._source = source
        self._target = target
        self._max_files = max_files
        self._files: list[_Item] = []
        self._folders: list[_Item] = []
        self._links: list[tuple[str, str]] = []
        self._block = min(source.block, target.block)
        self._names = 0
        self._window = asyncio.Semaphore(_BLOCKS)
        self._progress = _Progress()

    async def run(self, source: str, target: str) -> None:
        """Copy `source`, which may be a glob, to `target`.

        Args:
            source: path of a file, a folder, or a glob.
            target: the new name or, for a glob or with a trailing ``/``, the folder to put it in.

        Raises:
            SshError: the first thing that went wrong; what was complete by then stays.
        """
        sources, is_glob = await self._match(source)
        named = target.rstrip("/") or "/"
        if is_glob or target.endswith("/"):
            self._folders.append(_Item(source, named, 0o777))
            for path in sources:
                await self._list(path, posixpath.join(named, self._own_name(path)))
        else:
            await self._refuse_folder(sources[0], named)
            await self._list(sources[0], named)
        self._progress.start(sum(item.size for item in self._files))
        for item in self._folders:
            await self._make_folder(item, follow=item.target == named)
        todo = iter(self._files)
        await _together(self._copy_files(todo) for _ in range(min(_FILES, len(self._files))))
        for link, says in self._links:
            async with self._temporary(link) as temporary:
                await self._target.make_link(temporary, says)
        self._progress.finish()

    # What there is

    async def _match(self, pattern: str) -> tuple[list[str], bool]:
        """Return the paths that match, and whether `pattern` is a glob rather than a name."""
        with self._telling(self._source, pattern):
            if not _MAGIC.search(pattern) or await self._source.find(pattern) is not None:
                return [pattern], False
            found = ["/"] if pattern.startswith("/") else [""]
            for part in filter(None, pattern.split("/")):
                if _MAGIC.search(part):
                    lists = [await self._those(folder, part) for folder in found]
                    found = list(itertools.chain.from_iterable(lists))
                else:
                    paths = [posixpath.join(folder, part) for folder in found]
                    found = [path for path in paths if await self._source.find(path) is not None]
        if not found:
            raise self._failure("nothing matches", pattern)
        return found, True

    async def _those(self, folder: str, part: str) -> list[str]:
        """Return what matches `part` in a folder; hidden names only if `part` says so."""
        if not await self._is_folder(folder or "."):
            return []
        async with aclosing(self._source.list(folder or ".")) as entries:
            names = [entry.name async for entry in entries]
        hidden = part.startswith(".")
        wanted = (name for name in names if hidden or not name.startswith("."))
        return [posixpath.join(folder, name) for name in sorted(fnmatch.filter(wanted, part))]

    async def _is_folder(self, path: str) -> bool:
        try:
            return (await self._source.stat(path)).kind is Kind.FOLDER
        except (FileNotFoundError, asyncssh.SFTPNoSuchFile):  # or a link to nothing
            return False

    async def _list(self, path: str, target: str) -> None:
        """Note what is to be done for one source, a link being what it leads to."""
        if target in {item.target for item in [*self._files, *self._folders]}:
            raise self._failure("two of the sources have this name", target)
        with self._telling(self._source, path):
            entry = await self._source.stat(path)
        if entry.kind is Kind.FILE:
            self._files.append(_Item(path, target, entry.mode, entry.size))
        elif entry.kind is Kind.FOLDER:
            await self._list_folder(_Item(path, target, entry.mode))
        else:
            raise self._failure("neither a file nor a folder", path)

    async def _list_folder(self, top: _Item) -> None:
        todo = [(top, 0)]
        while todo:
            folder, depth = todo.pop()
            # Its owner must be able to fill it.
            self._folders.append(replace(folder, mode=folder.mode | 0o700))
            with self._telling(self._source, folder.path):
                async with aclosing(self._source.list(folder.path)) as entries:
                    found = [entry async for entry in self._bounded(entries, folder.path)]
            for entry in found:
                path = posixpath.join(folder.path, entry.name)
                item = _Item(
                    path, posixpath.join(folder.target, entry.name), entry.mode, entry.size
                )
                if entry.kind is Kind.FOLDER:
                    todo.append((item, depth + 1))
                elif entry.kind is Kind.FILE:
                    self._files.append(item)
                elif entry.kind is Kind.LINK:
                    await self._list_link(item, depth)
                else:
                    self._leave_out(path, "neither a file, a folder nor a link")

    async def _bounded(
        self, entries: AsyncGenerator[Entry, None], folder: str
    ) -> AsyncGenerator[Entry, None]:
        async for entry in entries:
            self._names += 1
            if self._names > self._max_files:
                raise self._failure(
                    f"more than {self._max_files} files; if that is right, raise max_files=", folder
                )
            yield entry

    async def _list_link(self, item: _Item, depth: int) -> None:
        with self._telling(self._source, item.path):
            says = await self._source.read_link(item.path)
        if stays_inside(says, depth):
            self._links.append((item.target, says))
        else:
            self._leave_out(item.path, f"a link that leads out, to {says}")

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out.append(safe_line(f"{path}: {why}", _LINE))

    def _own_name(self, path: str) -> str:
        name = posixpath.basename(path.rstrip("/"))
        if name in {"", ".", ".."}:
            raise self._failure("it has no name of its own: give the target one, without /", path)
        return name

    # Copying

    async def _refuse_folder(self, source: str, target: str) -> None:
        """Tell those who meant to put a file into a folder, before anything is done."""
        with self._telling(self._target, target):
            there = await self._target.find(target)
            if there is None or there.kind is not Kind.FOLDER:
                return
        with self._telling(self._source, source):
            if (await self._source.stat(source)).kind is Kind.FOLDER:
                return
        raise self._failure(f"is a folder; to put the file inside, write {target}/", target)

    async def _make_folder(self, item: _Item, *, follow: bool) -> None:
        """Make a folder, or take the one that is there; `follow` if a link to one is as good."""
        with self._telling(self._target, item.target):
            try:
                await self._target.make_folder(item.target, item.mode)
            except (OSError, asyncssh.SFTPError):
                there = await self._target.find(item.target)
                if there is not None and there.kind is Kind.LINK:
                    if not follow:
                        raise UnsafePath(
                            "a link stands where a folder is to be, and would lead elsewhere",
                            node=self._node,
                            phase="transfer",
                            path=item.target,
                        ) from None
                    there = await self._target.stat(item.target)
                if there is None:
                    raise
                if there.kind is not Kind.FOLDER:
                    raise self._failure("a folder is to be here, not a file", item.target) from None

    async def _copy_files(self, todo: Iterator[_Item]) -> None:
        for item in todo:
            async with self._temporary(item.target) as temporary:
                await self._copy_file(item, temporary)

    async def _copy_file(self, item: _Item, temporary: str) -> None:
        with self._telling(self._source, item.path):
            reader = await self._source.open(item.path)
        try:
            writer = await self._target.create(temporary, item.mode)
            try:
                if item.size:
                    await self._copy_blocks(reader, writer, item)
                else:
                    await self._copy_to_the_end(reader, writer, item)
            except BaseException:
                await _quietly(writer.close())
                raise
            await writer.close()
        finally:
            await _quietly(reader.close())

    async def _copy_blocks(self, reader: Reader, writer: Writer, item: _Item) -> None:
        """Copy as many bytes as the file had when it was listed, several blocks at once."""
        offsets = iter(range(0, item.size, self._block))

        async def lane() -> None:
            for offset in offsets:
                async with self._window:
                    wanted = min(self._block, item.size - offset)
                    with self._telling(self._source, item.path):
                        data = await self._read(reader, offset, wanted)
                    if len(data) < wanted:
                        raise self._failure("it became shorter while it was copied", item.path)
                    await writer.write(offset, data)
                self._progress.add(wanted)
                # Files of this machine never make us wait; others have their turn all the same.
                await asyncio.sleep(0)

        await _together(lane() for _ in range(min(_LANES, -(-item.size // self._block))))

    async def _copy_to_the_end(self, reader: Reader, writer: Writer, item: _Item) -> None:
        """Copy a file whose size is not known beforehand: empty, or made as one reads it."""
        offset = 0
        while True:
            with self._telling(self._source, item.path):
                data = await reader.read(offset, self._block)
            if not data:
                return
            await writer.write(offset, data)
            offset += len(data)
            await asyncio.sleep(0)

    @staticmethod
    async def _read(reader: Reader, offset: int, wanted: int) -> bytes:
        """Return `wanted` bytes, fewer only at the end: a server may give less than asked for."""
        data = await reader.read(offset, wanted)
        while data and len(data) < wanted:
            more = await reader.read(offset + len(data), wanted - len(data))
            if not more:
                break
            data += more
        return data

    @asynccontextmanager
    async def _temporary(self, target: str) -> AsyncGenerator[str, None]:
        """Give a temporary name beside `target`; what is there at the end becomes `target`."""
        temporary = posixpath.join(posixpath.dirname(target), f".{secrets.token_hex(6)}.part")
        with self._telling(self._target, target):
            try:
                yield temporary
                await self._target.replace(temporary, target)
            except BaseException:
                await _quietly(self._target.remove(temporary))
                raise

    @contextmanager
    def _telling(self, files: FileSystem, path: str) -> Generator[None, None, None]:
        """Tell of any error as one about `path`."""
        try:
            yield
        except SshError:
            raise
        except (OSError, asyncssh.Error, ValueError) as error:
            raise files.failure(error, path) from error

    def _failure(self, problem: str, path: str) -> TransferFailed:
        return TransferFailed(problem, node=self._node, phase="transfer", path=path)


class _Progress:
    """Bytes done, told at a bounded rate."""

    def __init__(self) -> None:
        self._done = self._total = 0
        self._next = 0.0

    def start(self, total: int) -> None:
        self._total = total
        self._tell()

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() >= self._next:
            self._tell()

    def finish(self) -> None:
        self._tell()

    def _tell(self) -> None:
        if self._total:
            report(done=self._done, total=self._total)
        self._next = time.monotonic() + _REPORT_EVERY


def stays_inside(says: str, depth: int) -> bool:
    """Return whether a link that is `depth` folders below the top stays below it.

    Steps up are taken from where the link really is; one that comes after a name might start from
    another link, and is not trusted.

    >>> stays_inside("../lib/a", depth=1), stays_inside("../lib/a", depth=0)
    (True, False)
    >>> stays_inside("lib/../..", depth=1), stays_inside("/etc/passwd", depth=9)
    (False, False)
    """
    parts = [part for part in says.split("/") if part not in {"", "."}]
    ups = len(list(itertools.takewhile("..".__eq__, parts)))
    plain = says != "" and says.isprintable() and not says.startswith("/")
    return plain and ups <= depth and ".." not in parts[ups:]


async def _quietly(step: Coroutine[Any, Any, None]) -> None:
    """Take a step of cleaning up, as far as it can be taken: another error is told already."""
    with suppress(Exception):
        async with within(_CLEANUP):
            await step


async def _together(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Take all steps at once; the first error ends the others and is raised, alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
