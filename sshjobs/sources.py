"""What is to be copied: names, folders and globs are listed, and checked, before anything is done.

Nothing is written before the last name is known to be harmless.  Links are not followed, but the
ones that are named, or that a glob names; those in folders are noted if they stay inside.
"""

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from engine.text import safe_line

from .errors import TransferFailed
from .filesystem import MISSING, Entry, FileSystem, Kind, telling
from .node import AnyNode
from .traffic import each

_LINE = 300  # characters, at most, to tell of what was left out
_LONGEST = 4096  # bytes of a path, as on Linux; also what ends folders without end

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder to copy: from where, to where; the rest as in an entry."""

    path: str
    target: str
    mode: int
    size: int = 0
    sparse: bool = False


_Match = tuple[str, Entry | None]
"""A path, and what is there, if that is known already."""


class Sources:
    """All that is to be copied, once `find` has been called.

    Args:
        node: the node concerned, for messages.
        files: where to look.
        max_files: refuse to list more than that.

    Attributes:
        files: the files.
        folders: the folders, each after the one that it is in.
        links: where links go, and what they say.
        left_out: what is not to be copied, and why.
    """

    def __init__(self, node: AnyNode, files: FileSystem, max_files: int) -> None:
        self.files: list[Item] = []
        self.folders: list[Item] = []
        self.links: list[tuple[str, str]] = []
        self.left_out: list[str] = []
        self._node = node
        self._where = files
        self._max_files = max_files
        self._names = 0
        self._targets: set[str] = set()

    async def find(self, source: str, target: str) -> Item | None:
        """List it all.

        Args:
            source: path of a file, a folder, or a glob.
            target: the new name or, for a glob or with a trailing ``/``, the folder to put it in.

        Returns:
            What stands for it all if `source` is the name of one file; else None.
        """
        named = target.rstrip("/") or "/"
        is_glob, found = await self._match(source)
        goes_inside = is_glob or target.endswith("/")
        if goes_inside:
            self.folders.append(Item(source, named, 0o777))
        entries = await each(self._look_at_match if is_glob else self._look, found)
        tops: list[Item] = []
        for (path, _), entry in zip(found, entries, strict=True):
            if entry is not None:
                place = posixpath.join(named, self._own_name(path)) if goes_inside else named
                item = self._claim(path, place, entry)
                (tops if entry.kind is Kind.FOLDER else self.files).append(item)
        single = None if is_glob or tops else self.files[0]
        await self._add_folders(tops)
        return single

    async def _match(self, pattern: str) -> tuple[bool, list[_Match]]:
        """Tell if `pattern` is a glob rather than a name, and which paths match."""
        with telling(self._where, pattern):
            if not _MAGIC.search(pattern) or await self._where.find(pattern) is not None:
                return False, [(pattern, None)]
            found: list[_Match] = [("/" if pattern.startswith("/") else "", None)]
            for part in filter(None, pattern.split("/")):
                folders = [path for path, _ in found]
                if _MAGIC.search(part):
                    lists = await each(partial(self._those, part), folders)
                    found = list(itertools.chain.from_iterable(lists))
                else:
                    paths = [posixpath.join(folder, part) for folder in folders]
                    entries = await each(self._where.find, paths)
                    known = zip(paths, entries, strict=True)
                    found = [(path, entry) for path, entry in known if entry is not None]
        if not found:
            raise self._failure("nothing matches", pattern)
        return True, found

    async def _those(self, part: str, folder: str) -> list[_Match]:
        """Return what matches `part` in a folder; hidden names only if `part` says so."""
        where = folder or "."
        try:
            if (await self._where.stat(where)).kind is not Kind.FOLDER:
                return []
        except MISSING:  # or a link to nothing
            return []
        hidden = part.startswith(".")
        async with aclosing(self._where.list(where)) as entries:
            found = [
                (posixpath.join(folder, entry.name), entry)
                async for entry in self._bounded(entries, where)
                if (hidden or not entry.name.startswith("."))
                and fnmatch.fnmatchcase(entry.name, part)
            ]
        return sorted(found, key=lambda one: one[0])

    async def _look(self, match: _Match) -> Entry:
        """Tell what a name stands for, a link being what it leads to."""
        path, entry = match
        if entry is None or entry.kind is Kind.LINK:
            with telling(self._where, path):
                entry = await self._where.stat(path)
        return entry

    async def _look_at_match(self, match: _Match) -> Entry | None:
        """Do so for a name that matches a glob; None: it cannot be copied, and is left out."""
        path, _ = match
        try:
            entry = await self._look(match)
        except TransferFailed as error:
            if not isinstance(error.__cause__, MISSING):
                raise
            self._leave_out(path, "a link that leads nowhere")
            return None
        if entry.kind is Kind.OTHER:
            self._leave_out(path, "neither a file, a folder nor a link")
            return None
        return entry

    def _claim(self, path: str, target: str, entry: Entry) -> Item:
        """Return what is copied where, once only."""
        if entry.kind not in (Kind.FILE, Kind.FOLDER):
            raise self._failure("neither a file nor a folder", path)
        if target in self._targets:
            raise self._failure("two of the sources have this name", target)
        self._targets.add(target)
        return Item(path, target, entry.mode, entry.size, entry.sparse)

    async def _add_folders(self, tops: list[Item]) -> None:
        """Note folders and all that is below, one level after the other."""
        level, depth = tops, 0
        while level:
            # Its owner must be able to fill it.
            self.folders += [replace(folder, mode=folder.mode | 0o700) for folder in level]
            inner = await each(partial(self._add_inside, depth), level)
            level, depth = list(itertools.chain.from_iterable(inner)), depth + 1

    async def _add_inside(self, depth: int, folder: Item) -> list[Item]:
        """Note what is in a folder that is `depth` below the top; return the folders in it."""
        with telling(self._where, folder.path):
            async with aclosing(self._where.list(folder.path)) as entries:
                found = [entry async for entry in self._bounded(entries, folder.path)]
        inner = []
        for entry in found:
            path = posixpath.join(folder.path, entry.name)
            target = posixpath.join(folder.target, entry.name)
            if len(target) > _LONGEST:
                raise self._failure("folders in folders without end", path)
            item = Item(path, target, entry.mode, entry.size, entry.sparse)
            if entry.kind is Kind.FOLDER:
                inner.append(item)
            elif entry.kind is Kind.FILE:
                self.files.append(item)
            elif entry.kind is Kind.LINK:
                await self._add_link(item, depth)
            else:
                self._leave_out(path, "neither a file, a folder nor a link")
        return inner

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

    async def _add_link(self, item: Item, depth: int) -> None:
        with telling(self._where, item.path):
            says = await self._where.read_link(item.path)
        if stays_inside(says, depth):
            self.links.append((item.target, says))
        else:
            self._leave_out(item.path, f"a link that leads out, to {says}")

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out.append(safe_line(f"{path}: {why}", _LINE))

    def _own_name(self, path: str) -> str:
        name = posixpath.basename(path.rstrip("/"))
        if name in {"", ".", ".."}:
            raise self._failure("it has no name of its own: give the target one, without /", path)
        return name

    def _failure(self, problem: str, path: str) -> TransferFailed:
        return TransferFailed(problem, node=self._node, phase="transfer", path=path)


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
