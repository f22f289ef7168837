"""The runs that :mod:`benchmarks.monitor` measures, each in a process of its own.

``python -m benchmarks.monitor_runs LOAD UI TELLING OUT`` runs one of `LOADS`, shown as `UI` says on
the terminal or pipe behind the descriptor `OUT`, and writes what it took to the descriptor
`TELLING`, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from engine import AbstractJob, Engine, Job, Tick, output, report
from monitor import EngineCurses
from monitor.curses import Ui

JOBS = 10_000
"""Jobs of a big run."""

REPORTS = 40
"""How often each of them reports; with its three states it makes so many events and three."""

WINDOW = 100
"""How many of them run at once, in a run that has a window."""

FLEET = 60
"""Jobs of a small run, each of which says `LINES` things a second for `SECONDS`."""

LINES = 2
SECONDS = 10

DROPPED = "dropped"
"""The word, in place of that for a way to show a run, for one whose ticks are made and dropped."""

TICK = 0.005
"""Seconds that the job waits that tells how late the loop is."""


class Lateness:
    """How late the loop was, each time, for a job that wants to go on after `TICK` seconds."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            self.seen.append(time.monotonic() - before - TICK)

    def at(self, part: float) -> float:
        """Return the seconds that this part of all times were not above."""
        return sorted(self.seen)[min(int(part * len(self.seen)), len(self.seen) - 1)]


async def reporting(reports: int, period: float) -> None:
    """Report as often as told, so many seconds apart."""
    for step in range(reports):
        report(f"step {step}", done=step, total=reports)
        await asyncio.sleep(period)


async def steady(number: int) -> None:
    """Tell lines and reports in turn, as a job does that copies or measures something."""
    await asyncio.sleep(number / FLEET / LINES)
    steps = SECONDS * LINES
    for step in range(steps):
        if step % 2:
            output(f"[ {number}] {step}.00-{step + 1}.00 sec  {step * 7919 % 113} MBytes")
        else:
            report(f"writing block {step * 4096}", done=step, total=steps)
        await asyncio.sleep(1 / LINES)


def big(period: float) -> list[AbstractJob]:
    """A big run, whose jobs report each so many seconds, or whenever it is their turn."""
    return [Job(reporting, REPORTS, period, label=f"load node{n:05}") for n in range(JOBS)]


def fleet() -> list[AbstractJob]:
    """A small run."""
    return [Job(steady, number, label=f"load node{number:02}") for number in range(FLEET)]


LOADS: dict[str, tuple[Callable[[], list[AbstractJob]], int | None]] = {
    "ten a second": (partial(big, 0.1), None),
    "window": (partial(big, 0.0), WINDOW),
    "burst": (partial(big, 0.0), None),
    "fleet": (fleet, None),
}
"""The jobs of each run, and how many run at once.

``ten a second``: all at once, each reports ten times a second, or as often as it has its turn;
``window``: a hundred run at once and report without a pause; ``burst``: so do all.
"""


class Dropping(Engine):
    """An engine that nobody watches, yet makes all its ticks: what others are held against."""

    def tick(self, event: Tick) -> None:
        """Drop an event."""


def measure(load: str, ui: str) -> dict[str, float]:
    """Run a load; return what it took."""
    make, window = LOADS[load]
    lateness = Lateness()
    watch = Job(lateness.measure, forever=True, label="lateness")
    kind = Dropping if ui == DROPPED else partial(EngineCurses, ui=cast("Ui", ui))
    engine = kind(*make(), watch, jobs_window=window, label=load)
    gc.collect()
    began, since = time.process_time(), time.monotonic()
    assert engine.orchestrate()
    return {
        "cpu": time.process_time() - began,
        "wall": time.monotonic() - since,
        "late": lateness.at(0.99),
        "events": JOBS * (REPORTS + 3),
    }


def main(load: str, ui: str, telling: int, out: int) -> None:
    """Run, and tell the result."""
    if os.isatty(out):
        os.login_tty(out)
    else:
        os.dup2(out, 1)
        os.close(out)
    os.write(telling, json.dumps(measure(load, ui)).encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
