"""How long one frame of a big run takes, from the model to the bytes for the terminal."""

from __future__ import annotations

import itertools
import time
from statistics import median

from engine import JobProgress, JobRow, JobState, RunStarted, State
from monitor.layout import compose
from monitor.model import Model
from monitor.screen import Page, Screen
from monitor.view import View

JOBS = 10_000
RUNNING = 6_000
"""How many there are, and how many of them run; the others wait for these."""

SIZE = (200, 60)
FRAMES = 30


class _Run:
    """A big run, told to a model, and the screen that shows it."""

    def __init__(self) -> None:
        self._seq = itertools.count()
        self._now = 0.0
        self._model = Model()
        rows = tuple(_row(number) for number in range(JOBS))
        self._model.apply(RunStarted("r", next(self._seq), 0.0, 0.0, "big", rows))
        for number in range(RUNNING):
            self._move(number, State.IDLE, State.SCHEDULED)
            self._move(number, State.SCHEDULED, State.RUNNING)
        view = View()
        self._page = Page(
            lambda columns, rows: compose(
                self._model, view, columns, rows, now=self._now, wall=self._now
            ),
            bool,
        )
        self._screen = Screen(_drop)
        self._screen.enter()

    def frame(self, step: int, *, sort: bool) -> float:
        """Let all running jobs report, and one end if the rows are to be sorted; draw a frame.

        Returns:
            The CPU milliseconds for the frame.
        """
        self._now += 1.0
        for number in range(RUNNING):
            self._report(number, step)
        if sort:
            self._move(RUNNING - 1 - step, State.RUNNING, State.FINISHED)
        began = time.thread_time()
        self._screen.draw(self._page, SIZE)
        return 1000 * (time.thread_time() - began)

    def _report(self, number: int, step: int) -> None:
        percent = float((number + 7 * step) % 100)
        self._model.apply(
            JobProgress(
                "r",
                next(self._seq),
                self._now,
                self._now,
                str(number),
                percent=percent,
                message=f"writing block {37 * step}",
            )
        )

    def _move(self, number: int, old: State, new: State) -> None:
        self._model.apply(
            JobState("r", next(self._seq), self._now, self._now, str(number), old, new)
        )


def _drop(data: str) -> None:
    """Be a terminal that nobody looks at."""


def _row(number: int) -> JobRow:
    wanted = (str(number - RUNNING),) if number >= RUNNING else ()
    return JobRow(str(number), f"load node{number:05}", "Job", requires=wanted)


def frame_milliseconds() -> dict[str, float]:
    """Return the milliseconds for a frame, in the middle of many, by what it takes."""
    run = _Run()
    columns, rows = SIZE
    return {
        f"a frame of {columns}x{rows}, {told}": median(
            run.frame(step, sort=sort) for step in range(FRAMES)
        )
        for told, sort in (("all changed", False), ("all changed and sorted anew", True))
    }
