"""A command that runs: what it writes, how it ends, and how to make it end.

:class:`Process` is what a command over ssh (:mod:`sshjobs.session`) and one on this machine
(:mod:`sshjobs.local`) have in common.  It holds the end of the leash that :mod:`sshjobs.script`
tells about: once that is cut, the other side ends the command by itself, TERM, two seconds, KILL.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from .bounded import within
from .output import Output
from .script import KILL_AFTER, Way

QUIET = 1.0
"""Seconds without output after which a command that has ended is over, though a child that it left
behind could still write."""
KILL_MARGIN = 2.0
"""Seconds that an end by force may take on top of those between TERM and KILL."""
TERMINAL_SIZE = (80, 24)
"""Columns and lines of the terminals that commands get."""
ASKS = b"?"
"""What comes after the mark where the other side waits for the script."""
_MOST_NOISE = 1 << 16


class Process(ABC):
    """A command that runs.

    Attributes:
        sent: whether the other side may have begun with it.
        exited: set once it has ended, or nothing is known of it any more.
        over: set once it has ended and all that it wrote is here, as far as anybody can know.
        closed: set once nothing more will come from it.
        exit_status: 0 to 255, or None.
        exit_signal: the name of the signal that ended it, without ``SIG``, or None.
        problem: why nothing is known of it, if so.
        unwritten: why its output could not be written to the file it was for, if so.

    Args:
        way: how it is started.
        output: what takes its output, still open when it is over.
    """

    def __init__(self, way: Way, output: Output) -> None:
        self.way = way
        self.sent = False
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.over = asyncio.Event()
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self.problem: BaseException | None = None
        self.unwritten: OSError | None = None
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._started = self._ended_at = self._loop.time()
        self._look_again: asyncio.TimerHandle | None = None
        self._mark = None if way.mark is None else way.mark.encode()
        self._before_mark = b""

    @abstractmethod
    def cut(self) -> None:
        """Cut the leash: have the other side end it."""

    @abstractmethod
    def abandon(self) -> None:
        """Listen no longer; what still runs goes on."""

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Write to its standard input; what it does not take any more is dropped."""

    @abstractmethod
    def _learned(self, shell: str) -> None:
        """Take what the login shell of the other side is."""

    @property
    def began(self) -> bool:
        """False if it should have told that it began, and has not."""
        return self._mark is None

    @property
    def duration(self) -> float:
        """Seconds that it ran."""
        return self._ended_at - self._started

    @property
    def is_hung_up(self) -> bool:
        """True if it ran on a terminal, which is gone."""
        return False

    @property
    def is_known(self) -> bool:
        """True if it is known how it ended."""
        return self.exit_status is not None or self.exit_signal is not None

    async def wait(self) -> None:
        """Wait until it is over: it has ended, and all that it wrote is here."""
        await self.over.wait()
        if not self.closed.is_set():
            self.abandon()
        if self._before_mark:
            self._deliver("stdout", self._before_mark)
            self._before_mark = b""

    async def end(self) -> bool:
        """Make it end, within a bounded time; return whether it is known not to run any more.

        A terminal that was hung up tells nothing, and is trusted once it is closed.
        """
        self.cut()
        try:
            async with within(KILL_AFTER + KILL_MARGIN):
                await self.closed.wait()
        except TimeoutError:
            self.abandon()
        return self.is_known or self.is_hung_up or not self.sent

    def _wrote(self, stream: str, data: bytes) -> None:
        """Take what it wrote."""
        if self._mark is not None and stream == "stdout":
            data = self._without_mark(self._mark, data)
        if data:
            self._deliver(stream, data)

    def _deliver(self, stream: str, data: bytes) -> None:
        try:
            self._output.feed(stream, data)
        except OSError as error:  # to be raised later: this is the middle of the transport
            if self.unwritten is None:
                self.unwritten = error
                self.cut()

    def _without_mark(self, mark: bytes, data: bytes) -> bytes:
        """Take out the line that tells the shell; what login scripts wrote before it stays."""
        self._before_mark += data
        before, found, after = self._before_mark.partition(mark)
        told, end, rest = after.partition(b"\n")
        if end and told.strip() == ASKS:
            self._before_mark = before + rest
            self._write(self.way.script)
            return b""
        if end:
            self._learned(told.strip().decode("utf-8", "replace"))
            self._mark, self._before_mark = None, b""
            return before + rest
        if found or len(self._before_mark) < _MOST_NOISE:
            return b""
        before, self._before_mark = self._before_mark[: -len(mark)], self._before_mark[-len(mark) :]
        return before

    def _ended(self, exit_status: int | None, exit_signal: str | None) -> None:
        """Take how it ended."""
        self._ended_at = self._loop.time()
        self.exit_status, self.exit_signal = exit_status, exit_signal
        self.exited.set()
        self._wait_for_more()

    def _wait_for_more(self) -> None:
        """Give those who have its output open, and are not it, the time to write."""
        self._look_again = self._loop.call_later(QUIET, self._look, self._output.received)

    def _look(self, received: int) -> None:
        if received == self._output.received:
            self.over.set()
        else:
            self._wait_for_more()

    def _gone(self, problem: BaseException | None) -> None:
        """Take that nothing more will come."""
        if self.problem is None:
            self.problem = problem
        if not self.exited.is_set():
            self._ended_at = self._loop.time()
        if self._look_again is not None:
            self._look_again.cancel()
        self.exited.set()
        self.closed.set()
        self.over.set()
