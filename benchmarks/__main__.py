"""Print what the engine costs on this machine: ``python -m benchmarks [--quick]``.

Each figure is the median of several rounds; in each round every contender runs once, in a process
of its own, so that whatever the machine does meanwhile hits all of them alike.  Times are process
CPU for building and running a graph of jobs that do ``await asyncio.sleep(0)`` and return; the
ratios are to the floor (:mod:`benchmarks.floor`) in the same shape and size.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import CONTENDERS, MOST, ONLY, PEERS
from benchmarks.memory import TARGETS
from benchmarks.shapes import SHAPES

ROOT = Path(__file__).parent.parent
READERS = ("reader awake", "reader asleep")
MEMORY_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and how often."""

    sizes: list[int]
    rounds: int
    huge: int
    shapes: list[str]
    peers: str | None


@dataclass(slots=True)
class Results:
    """Seconds of each round, by what was measured."""

    seconds: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)

    def add(self, name: str, shape: str, size: int, seconds: float) -> None:
        """Keep the result of a round."""
        self.seconds.setdefault((name, shape, size), []).append(seconds)

    def median(self, name: str, shape: str, size: int) -> float | None:
        """Return the median of all rounds, None if there was none."""
        found = self.seconds.get((name, shape, size))
        return median(found) if found else None

    def ratio(self, name: str, shape: str, size: int, to: str = "floor") -> float | None:
        """Return the median over that of another contender."""
        mine, other = self.median(name, shape, size), self.median(to, shape, size)
        return mine / other if mine and other else None


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print tables."""
    options = parse(arguments)
    print(headline(options))
    results = measure(options, "cost", contenders(options))
    for size in options.sizes:
        print(cost_table(results, size, options))
    if len(options.sizes) > 1:
        print(growth_table(results, options))
    print(readers_line(options))
    print(first_line(options))
    print(memory_table())
    if options.huge:
        print(huge_table(options))


def parse(arguments: list[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small graphs, few rounds")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="JOBS", help="sizes of the graphs")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", help="graphs to measure")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="interpreter that has benchmarks/peers.txt"
    )
    given = parser.parse_args(arguments)
    sizes = given.sizes or ([1_000, 10_000] if given.quick else [1_000, 10_000, 100_000])
    rounds = given.rounds or (3 if given.quick else 5)
    huge = 0 if given.quick or given.sizes else 1_000_000
    return Options(sizes, rounds, huge, given.shapes or list(SHAPES), given.peers)


def contenders(options: Options) -> list[str]:
    """Return those to be compared; peers only where they are installed."""
    return [
        name
        for name in CONTENDERS
        if name not in READERS and (name not in PEERS or has_peer(options, PEERS[name]))
    ]


def has_peer(options: Options, module: str) -> bool:
    """Whether the interpreter for the peers has one of them."""
    probe = [python_for(options, module), "-c", f"import {module}"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def can_run(name: str, shape: str, size: int) -> bool:
    """Whether a contender knows a shape, and ends in acceptable time."""
    most = MOST.get((name, shape), MOST.get((name, ""), math.inf))
    return shape in ONLY.get(name, SHAPES) and size <= most


def measure(options: Options, what: str, names: Iterable[str]) -> Results:
    """Let every contender run every shape in every size, round by round, one after the other."""
    results = Results()
    cases = list(itertools.product(options.shapes, options.sizes, names))
    for round_ in range(1, options.rounds + 1):
        for number, (shape, size, name) in enumerate(cases, 1):
            progress(
                f"round {round_} of {options.rounds}, {number} of {len(cases)}: "
                f"{name}, {shape} of {size:,}"
            )
            if can_run(name, shape, size):
                python = python_for(options, name)
                results.add(name, shape, size, run_one(python, what, name, shape, size))
    progress("")
    return results


def python_for(options: Options, name: str) -> str:
    """Return the interpreter that has what a contender needs."""
    return options.peers if options.peers and name in PEERS else sys.executable


def run_one(python: str, *case: object) -> Any:
    """Measure once, in a process of its own."""
    done = subprocess.run(
        [python, "-m", "benchmarks.one", *map(str, case)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


def progress(text: str) -> None:
    """Say where we are, if somebody is there to read it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


# The tables


def headline(options: Options) -> str:
    """Say where and when this was measured."""
    today = dt.datetime.now(tz=dt.UTC).date()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{today}, {python}, {platform.machine()}, {os.cpu_count()} cores; "
        f"median of {options.rounds} rounds"
    )


def cost_table(results: Results, size: int, options: Options) -> str:
    """Microseconds for each job, and times the floor."""
    rows = [["us per job (x floor)", *options.shapes]]
    for name in contenders(options):
        cells = []
        for shape in options.shapes:
            seconds, ratio = results.median(name, shape, size), results.ratio(name, shape, size)
            known = seconds is not None and ratio is not None
            cells.append(f"{1e6 * (seconds or 0) / size:.1f} ({ratio:.2f})" if known else "-")
        rows.append([name, *cells])
    lines = [f"\n{size:,} jobs\n", table(rows)]
    for name, most, mean in (("engine", 1.20, 1.05), ("engine, read", 1.45, None)):
        ratios = [
            r for shape in options.shapes if (r := results.ratio(name, shape, size)) is not None
        ]
        worst = max(ratios)
        average = math.exp(sum(map(math.log, ratios)) / len(ratios))
        judged = [verdict(f"{name}: at most {worst:.2f} x floor", worst, most)]
        if mean is not None:
            judged.append(verdict(f"geometric mean {average:.2f}", average, mean))
        lines.append("; ".join(judged))
    return "\n".join(lines)


def growth_table(results: Results, options: Options) -> str:
    """How the cost of a job grows from the smallest graph to the largest."""
    small, large = min(options.sizes), max(options.sizes)
    rows = [[f"us per job, {large:,} over {small:,} jobs", *options.shapes]]
    for name in contenders(options):
        cells = []
        for shape in options.shapes:
            here, there = results.median(name, shape, large), results.median(name, shape, small)
            cells.append(f"{here / large / (there / small):.2f}" if here and there else "-")
        rows.append([name, *cells])
    return f"\ngrowth\n\n{table(rows)}"


def readers_line(options: Options) -> str:
    """A reader that sleeps over one that does not, in the run's own CPU."""
    size = min(max(options.sizes), 10_000)
    results = measure(replace(options, sizes=[size], shapes=["wide"]), "cost", READERS)
    ratio = results.ratio("reader asleep", "wide", size, to="reader awake") or math.nan
    return "\n" + verdict(f"a sleeping reader costs x {ratio:.2f}", ratio, 1.02)


def first_line(options: Options) -> str:
    """How long it takes until the first job runs."""
    size = max(options.sizes)
    only = replace(options, sizes=[size], shapes=["wide"])
    results = measure(only, "first", ["floor", "engine"])
    ratio = results.ratio("engine", "wide", size) or math.nan
    return verdict(f"first job of {size:,} after x {ratio:.2f} of the floor's time", ratio, 1.5)


def memory_table() -> str:
    """Bytes for each job."""
    found: dict[str, float] = run_one(sys.executable, "memory", "engine", "wide", MEMORY_SIZE)
    return "\n".join(
        ["\nmemory\n"]
        + [
            verdict(f"{state}: {found[state]:.0f} bytes for each job", found[state], most)
            for state, most in TARGETS.items()
        ]
    )


def huge_table(options: Options) -> str:
    """The largest graphs, once each."""
    lines = [f"\n{options.huge:,} jobs\n"]
    once = replace(options, sizes=[options.huge], rounds=1)
    results = measure(once, "cost", ["floor", "engine"])
    for shape in options.shapes:
        ratio = results.ratio("engine", shape, options.huge) or math.nan
        seconds = results.median("engine", shape, options.huge) or math.nan
        lines.append(verdict(f"{shape}: {seconds:.1f} s, x {ratio:.2f} floor", ratio, 1.25))
    return "\n".join(lines)


def verdict(text: str, value: float, most: float) -> str:
    """Say whether a target is met."""
    return f"{text} (target {most:g}: {'met' if value <= most else 'MISSED'})"


def table(rows: list[list[str]]) -> str:
    """Return rows as a simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)

    def lines() -> Iterator[str]:
        yield rule
        for number, row in enumerate(rows):
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            yield "  ".join([row[0].ljust(widths[0]), *cells]).rstrip()
            if number == 0:
                yield rule
        yield rule

    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    main()
