"""Print what it costs to watch a run: ``python -m benchmarks.monitor [--quick]``.

CPU is that of the whole process, screen included, over that of the same engine whose ticks are
dropped.  Each case is a process of its own, on a terminal of its own that is read as fast as it is
written.  The rounds take turns, and the least of all rounds counts: what else the machine does only
ever adds to it.  *Late* is how late the loop was for a job that wants to go on after 5 ms, in all
but one of a hundred times.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from benchmarks import monitor_runs
from benchmarks.measuring import ROOT, progress
from benchmarks.monitor_frames import frame_milliseconds
from benchmarks.tables import table

COST = 1.05
"""Times the CPU of the run that nobody watches."""

FRAME = 5.0
"""Milliseconds for a frame of ten thousand jobs, all changed, on 200x60."""

BYTES = 10_000
"""Bytes a second to a terminal of 80x24, for sixty jobs that say two things a second each."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One way to watch a run; `size` is that of the terminal, or None without one."""

    name: str
    ui: str
    size: tuple[int, int] | None = None


DROPPED = Watched("dropped", monitor_runs.DROPPED)
SMALL = Watched("80x24", "curses", (80, 24))
WAYS = (
    Watched("none", "none"),
    DROPPED,
    SMALL,
    Watched("200x60", "curses", (200, 60)),
    Watched("plain", "plain"),
    Watched("json", "json"),
)

Found = dict[str, float]
"""What one run told, see :func:`benchmarks.monitor_runs.measure`; and `bytes`, what it wrote."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    given = parser.parse_args(arguments)
    rounds = given.rounds or (2 if given.quick else 5)
    print("watching a run of ten thousand jobs\n")
    for load in ("ten a second", "window", "burst"):
        print(cost_table(load, measured(load, rounds)))
    for name, milliseconds in frame_milliseconds().items():
        print(verdict(f"{name}: {milliseconds:.1f} ms", milliseconds, FRAME))
    print(bytes_line())


def measured(load: str, rounds: int) -> dict[str, Found]:
    """Watch a run in every way, round by round; return the least of each figure by way."""
    least: dict[str, Found] = {}
    for number in range(1, rounds + 1):
        for way in WAYS:
            progress(f"{load}, {way.name}, round {number} of {rounds}")
            found = watched(load, way)
            before = least.get(way.name, found)
            least[way.name] = {name: min(found[name], before[name]) for name in found}
    progress("")
    return least


def watched(load: str, way: Watched) -> Found:
    """Run a load in a process of its own, read all that it writes, and return what it told."""
    ours, its = os.openpty() if way.size else os.pipe()
    result, telling = os.pipe()
    if way.size:
        columns, rows = way.size
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.monitor_runs", load, way.ui, str(telling), str(its)],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(telling, its),
    )
    os.close(telling)
    os.close(its)
    written = sum(map(len, read(ours)))
    if process.wait():
        raise SystemExit(f"{load}, {way.name}: exit status {process.returncode}")
    with os.fdopen(result) as told:
        found: Found = json.load(told)
    return {**found, "bytes": written / found["wall"]}


def read(descriptor: int) -> Iterator[bytes]:
    """Give what comes until nobody writes any more, then close the descriptor."""
    # Linux tells an error once nobody has the terminal any more.
    with suppress(OSError):
        while data := os.read(descriptor, 65536):
            yield data
    os.close(descriptor)


def cost_table(load: str, found: dict[str, Found]) -> str:
    """What each way of watching costs the run."""
    rows = [[load, "CPU", "ratio", "events/s", "kB/s", "late"]]
    for way in WAYS:
        its = found[way.name]
        rows.append(
            [
                way.name,
                f"{its['cpu']:.2f} s",
                f"{its['cpu'] / found[DROPPED.name]['cpu']:.2f}",
                f"{its['events'] / its['wall']:,.0f}",
                f"{its['bytes'] / 1000:.0f}",
                f"{1000 * its['late']:.1f} ms",
            ]
        )
    lines = [table(rows)]
    for way in WAYS:
        if way.size:
            ratio = found[way.name]["cpu"] / found[DROPPED.name]["cpu"]
            lines.append(verdict(f"{way.name}: x {ratio:.2f}", ratio, COST))
    return "\n".join(lines) + "\n"


def bytes_line() -> str:
    """What a terminal gets that shows a small run."""
    found = watched("fleet", SMALL)["bytes"]
    return verdict(f"60 jobs on {SMALL.name}: {found / 1000:.1f} kB/s", found / 1000, BYTES / 1000)


def verdict(text: str, value: float, most: float) -> str:
    """Say whether a target is met."""
    return f"{text} (target {most:g}: {'met' if value <= most else 'MISSED'})"


if __name__ == "__main__":
    main()
