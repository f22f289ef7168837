"""The log of runs: each event as a line of JSON at the end of a file, written in a thread.

Whoever puts an event in never waits for the disk, and what goes wrong there is told once and hurts
no run.  Each batch of events is written as soon as it is there, so that a program that is killed
leaves all that had happened until then.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from engine import Tick

from .plain import JsonPrinter
from .writer import Descriptor, block_signals

CLOSING = 10.0
"""Seconds that the disk is given at the end to take what is still to be written."""

BATCH = 1000
"""How many events are written at once, at most."""


class Journal:
    """Writes the events of runs to a file; a reader for any number of them.

    Args:
        path: of the file, which is made if it is not there, and added to if it is.
        say: called in any thread, once, with what went wrong.
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._events: queue.SimpleQueue[Tick | None] = queue.SimpleQueue()
        self._is_over = True
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            self._complain(f"{error.strerror}; nothing is logged")
            return
        self._is_over = False
        self._file = Descriptor(fd, "utf-8")
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put_nowait(self, event: Tick) -> None:
        """Have an event written."""
        if not self._is_over:
            self._events.put(event)

    def close(self) -> None:
        """Wait until all is written, but not for ever."""
        if self._is_over:
            return
        self._events.put(None)
        self._thread.join(CLOSING)
        if self._thread.is_alive():
            self._complain(f"not all was written within {CLOSING:g} seconds; the end is missing")

    def _run(self) -> None:
        block_signals()
        try:
            while not self._is_over:
                self._file.write(self._batch())
        except OSError as error:
            self._is_over = True
            self._complain(f"{error.strerror}; the rest is not logged")
        finally:
            self._file.close()

    def _complain(self, text: str) -> None:
        self._say(f"--log {self._path}: {text}")

    def _batch(self) -> bytes:
        """Return what there is to write, at least one line but at the end."""
        lines: list[str] = []
        printer = JsonPrinter(lines.append)
        while not lines or (len(lines) < BATCH and not self._events.empty()):
            event = self._events.get()
            if event is None:
                self._is_over = True
                break
            printer.apply(event)
        return "".join(lines).encode()
