"""How much of a copy is on its way at once.

What is on its way cannot be taken back: whoever cancels a copy, or runs a command on the same
connection, has to wait behind it.  So it is no more than what goes through in a moment, however
fast or slow the link is, and all copies over one connection share that.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import asyncssh

T = TypeVar("T")
R = TypeVar("R")

FILES = 32
"""Open at once, over one connection; servers have few handles to give."""
FEWEST, FIRST, MOST = 1, 2, 32
"""Blocks on their way at once, over one connection: at least, at first, at most."""
MOMENT = 0.25
"""Seconds that a block may take, or twice what the fastest took: longer, and it was in a queue."""
MOST_HERE = 256
"""Files of this machine that are open at once, or a quarter of what the system allows: each
connection takes a descriptor too."""


class Traffic:
    """What the copies over one connection share.

    Attributes:
        files: to be held while a file is open.
    """

    def __init__(self) -> None:
        self.files = asyncio.Semaphore(FILES)
        self._blocks = asyncio.Semaphore(FIRST)
        self._most = FIRST
        self._fastest = float("inf")

    @asynccontextmanager
    async def block(self) -> AsyncIterator[None]:
        """To be held while a block is on its way."""
        await self._blocks.acquire()
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._blocks.release()
            raise
        self._arrived(time.monotonic() - began)

    def _arrived(self, seconds: float) -> None:
        """Give the place of a block to the next one; to two if it was quick, to none if slow."""
        self._fastest = min(self._fastest, seconds)
        quick = seconds <= max(MOMENT, 2 * self._fastest)
        most = min(self._most + 1, MOST) if quick else max(self._most - 1, FEWEST)
        for _ in range(1 + most - self._most):
            self._blocks.release()
        self._most = most


_traffic: WeakKeyDictionary[asyncssh.SFTPClient, Traffic] = WeakKeyDictionary()
_open_here: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def traffic_over(client: asyncssh.SFTPClient) -> Traffic:
    """Return what all who copy by way of `client` have in common."""
    found = _traffic.get(client)
    if found is None:
        found = _traffic[client] = Traffic()
    return found


def open_here() -> asyncio.Semaphore:
    """Return what is to be held while a file of this machine is open; taken last of all."""
    loop = asyncio.get_running_loop()
    found = _open_here.get(loop)
    if found is None:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = MOST_HERE if allowed == resource.RLIM_INFINITY else min(allowed // 4, MOST_HERE)
        found = _open_here[loop] = asyncio.Semaphore(most)
    return found


async def each(do: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Return what ``await do(item)`` returns for each of `items`, many at once.

    The first error ends the others and is raised, alone.
    """
    results: dict[int, R] = {}
    todo = iter(enumerate(items))

    async def work() -> None:
        for number, item in todo:
            results[number] = await do(item)
            # Files of this machine never make us wait; others have their turn all the same.
            await asyncio.sleep(0)

    await together(work() for _ in range(min(FILES, len(items))))
    return [results[number] for number in range(len(items))]


async def together(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Take all steps at once; the first error ends the others and is raised, alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
