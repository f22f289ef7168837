"""How many sessions a connection carries at once.

A stock sshd refuses the eleventh session of a connection (`MaxSessions`), and frees one a little
later than its client has seen the end of it.  So commands queue here, and one that is refused all
the same waits a moment and asks again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

import asyncssh

T = TypeVar("T")

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.1
REFUSALS = 50
"""A server that has none of our sessions open and refuses so often means it."""


class Slots:
    """The sessions of one connection that commands may take: all but one, left to transfers."""

    def __init__(self, sessions: int) -> None:
        self._free = asyncio.Semaphore(max(sessions - 1, 1))
        self._taken = 0
        self._asking = 0

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    async def acquire(self) -> None:
        """Take a slot, in the order of asking."""
        await self._free.acquire()
        self._taken += 1

    def release(self) -> None:
        """Give it back."""
        self._taken -= 1
        self._free.release()

    async def open(
        self, connection: asyncssh.SSHClientConnection, session: Callable[[], Awaitable[T]]
    ) -> T:
        """Return what `session()` opens, asked again as long as the server is full.

        Raises:
            asyncssh.ChannelOpenError: the server does not want to, and that is not for a moment.
        """
        self._asking += 1
        try:
            return await self._ask(connection, session)
        finally:
            self._asking -= 1

    async def _ask(
        self, connection: asyncssh.SSHClientConnection, session: Callable[[], Awaitable[T]]
    ) -> T:
        pause = FIRST_PAUSE
        refusals = 0
        while True:
            try:
                return await session()
            except asyncssh.ChannelOpenError as error:
                # As long as one of ours is open, one will be free; those who ask help nobody.
                refusals = 0 if self._taken > self._asking else refusals + 1
                full = error.code == asyncssh.OPEN_CONNECT_FAILED and refusals < REFUSALS
                if not full or connection.is_closed():
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)
