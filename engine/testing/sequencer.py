"""A sequencer: puts the steps of several tasks in an order that the test decides."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AbstractAsyncContextManager


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
        """Return a context manager to enter with ``async with``; `position` counts from 0.

        Raises:
            ValueError: `position` is negative, or was used before.
            SequenceBroken: a step before this one was given up.
        """
        if position < 0:
            raise ValueError(f"steps are numbered 0, 1, 2...; {position} is none of these")
        if position in self._claimed:
            raise ValueError(f"step {position} of this sequence is used twice")
        self._check(position)
        self._claimed.add(position)
        return _Step(self, position)

    async def wait_for(self, position: int) -> None:
        """Wait until step `position` may begin."""
        if position > 0:
            try:
                await self._ended[position - 1].wait()
            except asyncio.CancelledError:
                self._broken = True
                for ended in self._ended.values():
                    ended.set()
                raise
            self._check(position)

    def end(self, position: int) -> None:
        """Let the step after `position` begin."""
        self._ended[position].set()

    def _check(self, position: int) -> None:
        if self._broken:
            raise SequenceBroken(f"step {position} can never come: an earlier one was given up")


class _Step(AbstractAsyncContextManager[None]):
    """One step; with frames of our own, so that a deadlock shows the line of the user."""

    def __init__(self, sequencer: Sequencer, position: int) -> None:
        self._sequencer = sequencer
        self._position = position

    async def __aenter__(self) -> None:
        await self._sequencer.wait_for(self._position)

    async def __aexit__(self, *_: object) -> None:
        self._sequencer.end(self._position)
