"""A run to be looked at: the program that the tests start in a terminal.

It ends as scripts do, with ``sys.exit(engine.exit_status)``, and may leave a note of what became of
its jobs and of the largest gap between two turns of the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monitor.stage
from engine import AbstractJob, Job, output, report
from monitor import EngineCurses

STEP = 0.05
"""Seconds between two reports of a job."""


class Hold:
    """Keeps a run going for as long as there is a file; one that is not named is gone."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.gone = asyncio.Event()

    def look(self) -> None:
        """See whether it is gone."""
        if self.path is None or not self.path.exists():
            self.gone.set()


async def work(seconds: float, name: str, hold: Hold) -> str:
    """Report and print until the time is over, and nothing holds the run."""
    steps = max(int(seconds / STEP), 1)
    for step in range(steps):
        report(f"step {step}", done=step, total=steps)
        if step % 10 == 0:
            print(f"{name} printed {step}")
        await asyncio.sleep(STEP)
    await hold.gone.wait()
    return name


async def broken(seconds: float) -> None:
    """Fail with last words."""
    await asyncio.sleep(seconds)
    output("the last words")
    raise ValueError("it broke")


async def bus(hold: Hold) -> None:
    """Go on for ever."""
    beat = 0
    while True:
        hold.look()
        output(f"beat {beat}")
        beat += 1
        await asyncio.sleep(0.2)


async def raising(seconds: float, error: BaseException) -> None:
    """Raise after a while."""
    await asyncio.sleep(seconds)
    raise error


async def blocking(seconds: float) -> None:
    """Block the loop."""
    await asyncio.sleep(0.3)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)


async def stubborn(seconds: float) -> None:
    """Swallow cancellation."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(deadline - time.monotonic())


async def flood(seconds: float) -> None:
    """Print without end."""
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        for _ in range(100):
            print(f"line {number} of many")
            number += 1
        await asyncio.sleep(0.01)


async def kill(seconds: float, signum: int) -> None:
    """Send this process a signal after a while."""
    await asyncio.sleep(seconds)
    os.kill(os.getpid(), signum)
    await asyncio.sleep(60)


async def slow_shutdown() -> None:
    """Take a moment to shut down."""
    await asyncio.sleep(0.3)
    print("shut down")


class Gap:
    """The largest time between two turns of the loop that should be 5 ms apart."""

    def __init__(self) -> None:
        self.largest = 0.0

    async def measure(self) -> None:
        """Measure until cancelled."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            self.largest = max(self.largest, now - last - 0.005)
            last = now


def jobs(seconds: float, count: int, gap: Gap, hold: Hold) -> list[AbstractJob]:
    """Make the jobs that are always there."""
    digits = len(str(count - 1))

    def name(number: int) -> str:
        return f"load{number:0{max(digits, 2)}d}"

    loads = [
        Job(work, seconds * (1 + number % 3) / 3, name(number), hold, label=name(number))
        for number in range(count)
    ]
    collect = Job(
        work, STEP, "collect", hold, label="collect", required=loads, coshutdown=slow_shutdown
    )
    failing = Job(broken, min(seconds / 4, 0.5), label="broken", critical=False)
    never = Job(work, STEP, "never", hold, label="never", required=failing, critical=False)
    return [
        *loads,
        collect,
        failing,
        never,
        Job(bus, hold, forever=True, label="bus", coshutdown=slow_shutdown),
        Job(gap.measure, forever=True, label="gap"),
    ]


EXTRAS: dict[str, Callable[[float], AbstractJob]] = {
    "critical": lambda seconds: Job(broken, seconds / 2, label="critical"),
    "exit": lambda seconds: Job(raising, seconds / 2, SystemExit(3), label="exit"),
    "blocking": lambda seconds: Job(blocking, seconds, label="blocking"),
    "stubborn": lambda seconds: Job(stubborn, 20 * seconds, label="stubborn"),
    "flood": lambda seconds: Job(flood, seconds, label="flood"),
    "term": lambda seconds: Job(kill, seconds / 2, signal.SIGTERM, label="term"),
    "hup": lambda seconds: Job(kill, seconds / 2, signal.SIGHUP, label="hup"),
}
"""What may be added, by name."""


def break_drawing(after: int) -> None:
    """Have the drawing of frames fail from some frame on."""
    stage = vars(monitor.stage)
    compose = stage["compose"]
    drawn = 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn > after:
            raise RuntimeError("this frame cannot be drawn")
        return compose(*args, **options)

    stage["compose"] = failing


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("extras", nargs="*", choices=[*EXTRAS, []])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--ui", default="auto")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--grace", type=float, default=5)
    parser.add_argument("--window", type=int)
    parser.add_argument("--note", type=Path)
    parser.add_argument("--hold", type=Path, help="go on for as long as there is this file")
    parser.add_argument("--break-drawing", type=int)
    parser.add_argument("--thread", action="store_true", help="the main thread only waits")
    given = parser.parse_args()
    if given.break_drawing is not None:
        break_drawing(given.break_drawing)
    gap = Gap()
    engine = EngineCurses(
        *jobs(given.seconds, given.jobs, gap, Hold(given.hold)),
        *(EXTRAS[name](given.seconds) for name in given.extras),
        ui=given.ui,
        label="play",
        jobs_window=given.window,
        cancel_grace=given.grace,
    )
    print("before")
    try:
        if given.thread:
            thread = threading.Thread(target=engine.orchestrate)
            thread.start()
            thread.join()
        else:
            print("verdict", engine.orchestrate(timeout=given.timeout))
    finally:
        if given.note is not None:
            finished = [job.label for job in engine.jobs if str(job.state) == "finished"]
            note = {"status": engine.exit_status, "gap": gap.largest, "finished": finished}
            given.note.write_text(json.dumps(note), encoding="utf-8")
        print("status", engine.exit_status)
    sys.exit(engine.exit_status)


if __name__ == "__main__":
    main()
