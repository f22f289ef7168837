"""A run in lines on stdout, whatever that is: the faces of plain and JSON mode."""

from __future__ import annotations

import sys
import time

from engine import Tick

from .model import Model
from .plain import JsonPrinter, PlainPrinter
from .queue import CoalescingQueue
from .summary import summary
from .takeover import Takeover
from .wake import CatchUp, Wake
from .writer import Writer, target_of

PATIENCE = 0.05
"""Seconds that a print to stderr waits for the lines before it."""


class _Lines:
    """What the two have in common: lines that are gathered, and written when the reader is ready.

    There is no terminal to give back, and nothing simpler to go on with after an error.
    """

    share = 1.0

    def __init__(self) -> None:
        self._gathered: list[str] = []

    def begin(self, wake: Wake, catch_up: CatchUp, queue: CoalescingQueue) -> None:
        """Begin to write where stdout writes now."""
        self._wake, self._catch_up, self._queue = wake, catch_up, queue
        self._writer = Writer(target_of(sys.stdout))

    def wait(self, timeout: float) -> None:
        """Wait."""
        self._wake.wait(timeout)

    @property
    def busy(self) -> bool:
        """The reader of stdout is slow."""
        return not self._writer.idle

    def refresh(self) -> None:
        """Write what was gathered."""
        self._writer.write("".join(self._gathered))
        self._gathered.clear()

    def fail(self, error: Exception) -> None:
        """Give up."""
        raise error

    def close(self) -> None:
        """Do nothing."""

    def rescue(self) -> None:
        """Do nothing."""


class Plain(_Lines):
    """A line for each change of state; what is printed comes between them as it is.

    A print waits until what happened before it is told.  Like these lines it gets lost, without an
    error for who printed, if nobody reads stdout any more.

    Args:
        ascii_only: use no character above 127.
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._model = Model()
        self._ascii_only = ascii_only
        self._takeover = Takeover(self._print)
        self._printer = PlainPrinter(self._gathered.append, self._model, ascii_only=ascii_only)

    def begin(self, wake: Wake, catch_up: CatchUp, queue: CoalescingQueue) -> None:
        """Begin to write where stdout writes now, and have all prints come this way."""
        super().begin(wake, catch_up, queue)
        self._takeover.start()

    def _print(self, name: str, data: bytes) -> None:
        self._catch_up()
        if name == "stdout":
            self._writer.write(data)
        # As any print does: until there is room for it.
        while not self._writer.wait(PATIENCE) and name == "stdout":
            pass
        if name != "stdout":
            self._takeover.pass_on(name, data)

    def apply(self, event: Tick) -> None:
        """Take an event."""
        self._model.apply(event)
        self._printer.apply(event)

    def refresh(self) -> None:
        """Write what there is to tell."""
        for event in self._queue.take_reports(self._model.has_begun):
            self.apply(event)
        self._printer.beat(time.monotonic())
        super().refresh()

    def end(self, *, complete: bool) -> None:
        """Tell that the run was left, if it was, and have all written out."""
        self._takeover.stop()
        if complete and self._model.run.ended is None:
            told = summary(self._model, time.monotonic(), ascii_only=self._ascii_only)
            self._gathered += (f"{line}\n" for line in told)
        if complete:
            self.refresh()
        self._writer.close()


class Json(_Lines):
    """A line of JSON for each event, and nothing else on stdout.

    What is printed inside a job becomes its JobOutput; all that is printed goes to stderr.
    """

    def __init__(self) -> None:
        super().__init__()
        self._printer = JsonPrinter(self._gathered.append)
        self._takeover = Takeover()

    def begin(self, wake: Wake, catch_up: CatchUp, queue: CoalescingQueue) -> None:
        """Begin to write where stdout writes now, and keep all else from there."""
        super().begin(wake, catch_up, queue)
        self._takeover.start()
        self._takeover.put_aside()

    def apply(self, event: Tick) -> None:
        """Take an event."""
        self._printer.apply(event)

    def end(self, *, complete: bool) -> None:
        """Give stdout back and have all written out."""
        self._takeover.stop()
        if complete:
            self.refresh()
        self._writer.close()
