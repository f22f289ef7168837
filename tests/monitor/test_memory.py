"""Memory stays flat, however long a run goes on and however much it says.

The long version, with a real engine and terminal, is ``python -m benchmarks.monitor_memory``.
"""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

from engine import JobOutput, JobState, Message, RunStarted, State
from monitor.layout import compose
from monitor.model import Model
from monitor.plain import PlainPrinter
from monitor.queue import CoalescingQueue
from monitor.screen import Page, Screen
from monitor.view import Pane, View
from tests.monitor.stories import row

JOBS = 3
FILLED = 510
"""Rounds after which all that is bounded is full: lines of each job, messages of the engine."""

SLACK = 20_000
"""Bytes that may be more or less from one look to the next; a line of output takes 150."""


def drop(text: str) -> None:
    """Be a terminal that nobody looks at."""


class Watched:
    """A run that goes on for ever, with all that looks at it on a screen and in plain lines."""

    def __init__(self) -> None:
        self.queue = CoalescingQueue()
        self.model = Model(self.queue.latest)
        self.printer = PlainPrinter(drop, self.model)
        self.view = View(pane=Pane.LOG)
        self.page = Page(self._compose, bool)
        self.screen = Screen(drop)
        self.screen.enter()
        self._seq = itertools.count()
        rows = tuple(row(str(number)) for number in range(JOBS))
        self.queue.put_nowait(RunStarted(*self.head(), "long", rows))
        for job in self.model.rows:
            self.move(job, State.IDLE, State.SCHEDULED)

    def _compose(self, columns: int, rows: int) -> list[list[tuple[str, str]]]:
        return compose(self.model, self.view, columns, rows, now=self.now, wall=self.now)

    def head(self) -> tuple[str, int, float, float]:
        seq = next(self._seq)
        self.now = seq / 100
        return "r", seq, self.now, self.now

    def move(self, job: str, old: State, new: State) -> None:
        self.queue.put_nowait(JobState(*self.head(), job, old, new, "again", attempts=None))

    def rounds(self, count: int) -> None:
        """Have each job print, report, fail and be tried again, so many times; look at it."""
        for number in range(count):
            for job in map(str, range(JOBS)):
                self.move(job, State.SCHEDULED, State.RUNNING)
                self.queue.put_nowait(
                    JobOutput(*self.head(), job, "stdout", f"世界 {number} {job}")
                )
                self.queue.put_progress(job, number % 100, None, None, f"step {number}")
                self.move(job, State.RUNNING, State.SCHEDULED)
            self.queue.put_nowait(Message(*self.head(), "WARNING", "engine", f"message {number}"))
            for event in self.queue.take():
                self.model.apply(event)
                self.printer.apply(event)
            if number % 20 == 0:
                self.screen.draw(self.page, (80, 24))


def memory() -> int:
    """Bytes that are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture(autouse=True)
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_memory_stays_flat() -> None:
    watched = Watched()
    watched.rounds(FILLED)
    before = memory()
    watched.rounds(FILLED)
    assert abs(memory() - before) < SLACK
