"""A run in lines on stdout, whatever that is: the face of plain and JSON mode."""

from __future__ import annotations

import io
import sys
import time
from contextlib import suppress

from engine import Tick

from .model import Model
from .plain import JsonPrinter, PlainPrinter
from .summary import summary
from .takeover import Takeover
from .wake import Wake
from .writer import Writer, target_of


class Plain:
    """A line for each change of state; prints of jobs come between them as they are.

    For these to keep their place stdout is line buffered meanwhile, as it is on a terminal.

    Args:
        ascii_only: use no character above 127.
    """

    def __init__(self, *, ascii_only: bool) -> None:
        self._model = Model()
        self._ascii_only = ascii_only
        self._buffered: io.TextIOWrapper | None = None
        self._lines: list[str] = []
        self._printer = PlainPrinter(self._lines.append, self._model, ascii_only=ascii_only)

    def begin(self, wake: Wake) -> None:
        """Begin to write where stdout writes now."""
        self._wake = wake
        self._writer = Writer(target_of(sys.stdout))
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.line_buffering:
            self._buffered = sys.stdout
            self._buffered.reconfigure(line_buffering=True)

    def wait(self, timeout: float) -> None:
        """Wait."""
        self._wake.wait(timeout)

    @property
    def busy(self) -> bool:
        """The reader of stdout is slow."""
        return not self._writer.idle

    def apply(self, event: Tick) -> None:
        """Take an event."""
        self._model.apply(event)
        self._printer.apply(event)

    def refresh(self) -> None:
        """Write what there is to tell."""
        self._printer.beat(time.monotonic())
        self._write_out()

    def fail(self, error: Exception) -> None:
        """Nothing is simpler than this."""
        raise error

    def close(self) -> None:
        """Do nothing: there is no terminal to give back."""

    def rescue(self) -> None:
        """Do nothing, likewise."""

    def end(self, *, complete: bool) -> None:
        """Tell that the run was left, if it was, and have all written out."""
        if self._buffered is not None:
            with suppress(OSError, ValueError):  # its reader went away, or its owner closed it
                self._buffered.reconfigure(line_buffering=False)
        if complete and self._model.run.ended is None:
            told = summary(self._model, time.monotonic(), ascii_only=self._ascii_only)
            self._lines.append(f"{told[0]}\n")
        if complete:
            self._write_out()
        self._writer.close()

    def _write_out(self) -> None:
        self._writer.write("".join(self._lines))
        self._lines.clear()


class Json:
    """A line of JSON for each event, and nothing else on stdout.

    What is printed inside a job becomes its JobOutput; all that is printed goes to stderr.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._printer = JsonPrinter(self._lines.append)

    def begin(self, wake: Wake) -> None:
        """Begin to write where stdout writes now, and keep all else from there."""
        self._wake = wake
        self._writer = Writer(target_of(sys.stdout))
        self._takeover = Takeover()
        self._takeover.start()
        self._takeover.put_aside()

    def wait(self, timeout: float) -> None:
        """Wait."""
        self._wake.wait(timeout)

    @property
    def busy(self) -> bool:
        """The reader of stdout is slow."""
        return not self._writer.idle

    def apply(self, event: Tick) -> None:
        """Take an event."""
        self._printer.apply(event)

    def refresh(self) -> None:
        """Write what there is to tell."""
        self._writer.write("".join(self._lines))
        self._lines.clear()

    def fail(self, error: Exception) -> None:
        """Nothing is simpler than this."""
        raise error

    def close(self) -> None:
        """Do nothing: there is no terminal to give back."""

    def rescue(self) -> None:
        """Do nothing, likewise."""

    def end(self, *, complete: bool) -> None:
        """Give stdout back and have all written out."""
        self._takeover.stop()
        self.refresh()
        self._writer.close()
