"""A sequencer: puts the steps of several tasks in an order that the test decides."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager


class SequenceBroken(RuntimeError):
    """A step was cancelled while it waited for its turn, so those after it can never come."""


class Sequencer:
    """Puts blocks of code of different tasks in order, with no sleep.

    Block `n` begins once block `n - 1` has ended, well or not.  Each number from 0 is used once; a
    second use is a ValueError.  If a task is cancelled while it waits for its turn, those that
    wait, now or later, get :class:`SequenceBroken` rather than wait for ever.

    >>> import asyncio
    >>> step = Sequencer()
    >>> async def left():
    ...     async with step(0):
    ...         print("first")
    ...     async with step(2):
    ...         print("third")
    >>> async def right():
    ...     async with step(1):
    ...         print("second")
    >>> async def both():
    ...     await asyncio.gather(left(), right())
    >>> asyncio.run(both())
    first
    second
    third
    """

    def __init__(self) -> None:
        self._ended: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._claimed: set[int] = set()
        self._broken = False

    def __call__(self, position: int) -> AbstractAsyncContextManager[None]:
        """Return a context manager to enter with ``async with``; `position` counts from 0."""
        if position in self._claimed:
            raise ValueError(f"step {position} of this sequence is used twice")
        if self._broken:
            raise SequenceBroken(f"step {position} can never come: an earlier one was given up")
        self._claimed.add(position)
        return self._step(position)

    @asynccontextmanager
    async def _step(self, position: int) -> AsyncIterator[None]:
        if position > 0:
            try:
                await self._ended[position - 1].wait()
            except asyncio.CancelledError:
                self._break()
                raise
            if self._broken:
                raise SequenceBroken(f"step {position} can never come: an earlier one was given up")
        try:
            yield
        finally:
            self._ended[position].set()

    def _break(self) -> None:
        self._broken = True
        for ended in self._ended.values():
            ended.set()
