"""Print what the engine costs on this machine: ``python -m benchmarks [--quick]``.

Each figure is the median of several rounds, see :mod:`benchmarks.measuring`.  Times are process CPU
for building and running a graph of jobs that do ``await asyncio.sleep(0)`` and return; the ratios
are to the floor (:mod:`benchmarks.floor`) in the same shape and size.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.contenders import ON_UVLOOP
from benchmarks.measuring import Options, Results, contenders, has_peer, measure, run_one
from benchmarks.memory import TARGETS
from benchmarks.shapes import SHAPES
from benchmarks.tables import (
    Goal,
    cost_goals,
    cost_table,
    elsewhere_table,
    goals_table,
    growth_table,
    huge_table,
)

MEMORY_SIZE = 10_000
HUGE_SHAPES = ["windowed", "chain"]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print tables."""
    given = parse(arguments)
    parts = []
    for part in report(options_of(given)):
        print(part, flush=True)
        parts.append(part)
    if given.table:
        given.table.write_text("\n".join(parts))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small graphs, few rounds")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="JOBS", help="sizes of the graphs")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", help="graphs to measure")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="interpreter that has benchmarks/peers.txt"
    )
    parser.add_argument(
        "--pythons", metavar="PYTHON", nargs="+", default=[], help="to try the engine with, too"
    )
    parser.add_argument("--table", type=Path, help="file to write the tables to")
    return parser.parse_args(arguments)


def options_of(given: argparse.Namespace) -> Options:
    """Return what to measure."""
    return Options(
        sizes=given.sizes or ([1_000, 10_000] if given.quick else [1_000, 10_000, 100_000]),
        rounds=given.rounds or (3 if given.quick else 5),
        huge=0 if given.quick or given.sizes else 1_000_000,
        shapes=given.shapes or list(SHAPES),
        peers=given.peers,
        pythons=given.pythons,
    )


def report(options: Options) -> Iterator[str]:
    """Measure one thing after the other, and give the text on each."""
    yield headline(options)
    results = measure(options, "cost", contenders(options))
    goals: list[Goal] = []
    for size in options.sizes:
        yield cost_table(results, size, options)
        goals += cost_goals(results, size, options)
    if len(options.sizes) > 1:
        yield growth_table(results, options)
    size = min(max(options.sizes), 10_000)
    yield elsewhere_table(list(elsewhere(options, results, size)), size, options)
    if options.huge:
        sizes = [options.huge // 10, options.huge]
        once = replace(options, sizes=sizes, rounds=1, shapes=HUGE_SHAPES)
        huge = measure(once, "cost", ["floor", "engine"])
        yield huge_table(huge, measure(once, "room", ["engine"]), once)
        worst = max(huge.ratios("engine", once.shapes, options.huge))
        goals.append(Goal(f"{options.huge:,} jobs, the worst of these shapes", worst, 1.25))
    goals += [sleeping_reader(options), first_job(options), *memory_goals()]
    yield goals_table(goals)


def headline(options: Options) -> str:
    """Say where and when this was measured."""
    today = dt.datetime.now(tz=dt.UTC).date()
    return (
        f"{today}, {python_name(sys.executable)}, {platform.machine()}, {os.cpu_count()} cores; "
        f"median of {options.rounds} rounds.\n"
    )


def python_name(python: str) -> str:
    """Return what an interpreter calls itself."""
    code = "import platform as p; print(p.python_implementation(), p.python_version())"
    done = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def elsewhere(options: Options, here: Results, size: int) -> Iterator[tuple[str, Results]]:
    """Measure the floor and the engine with another event loop and with other interpreters."""
    this = python_name(sys.executable)
    yield this, here
    only = replace(options, sizes=[size])
    if has_peer(options, ON_UVLOOP["engine"]):
        found = measure(only, "cost", ON_UVLOOP.values())
        plain = {alias: name for name, alias in ON_UVLOOP.items()}
        renamed = {(plain[key[0]], *key[1:]): value for key, value in found.found.items()}
        yield f"{this}, uvloop", Results(renamed)
    for python in options.pythons:
        yield python_name(python), measure(only, "cost", ["floor", "engine"], python)


def sleeping_reader(options: Options) -> Goal:
    """A reader that sleeps over one that does not, in the run's own CPU."""
    size = min(max(options.sizes), 10_000)
    only = replace(options, sizes=[size], shapes=["wide"])
    results = measure(only, "cost", ["reader awake", "reader asleep"])
    ratio = results.ratio("reader asleep", "wide", size, to="reader awake") or math.nan
    return Goal("a reader that sleeps, over one that is awake", ratio, 1.02)


def first_job(options: Options) -> Goal:
    """How long it takes until the first job runs."""
    size = max(options.sizes)
    results = measure(replace(options, sizes=[size], shapes=["wide"]), "first", ["floor", "engine"])
    ratio = results.ratio("engine", "wide", size) or math.nan
    return Goal(f"time to the first of {size:,} jobs", ratio, 1.5)


def memory_goals() -> Iterator[Goal]:
    """Bytes for each job."""
    found: dict[str, float] = run_one(sys.executable, "memory", "engine", "wide", MEMORY_SIZE)
    for state, most in TARGETS.items():
        yield Goal(f"bytes for each job, {state}", found[state], most, "{:.0f}")


if __name__ == "__main__":
    main()
