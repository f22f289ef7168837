"""Measuring in rounds: in each every contender runs once, in a process of its own.

So whatever the machine does meanwhile hits all of them alike.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import CONTENDERS, EXTRAS, MOST, ONLY, PEERS
from benchmarks.shapes import SHAPES

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, how often, and with which interpreters."""

    sizes: list[int]
    rounds: int
    huge: int
    shapes: list[str]
    peers: str | None
    pythons: list[str]


@dataclass(slots=True)
class Results:
    """What was measured in each round, by contender, shape and size."""

    found: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)

    def median(self, name: str, shape: str, size: int) -> float | None:
        """Return the median of all rounds, None if there was none."""
        found = self.found.get((name, shape, size))
        return median(found) if found else None

    def ratio(self, name: str, shape: str, size: int, to: str = "floor") -> float | None:
        """Return the median over that of another contender."""
        mine, other = self.median(name, shape, size), self.median(to, shape, size)
        return mine / other if mine and other else None

    def ratios(self, name: str, shapes: Iterable[str], size: int) -> list[float]:
        """Return the ratios to the floor in those of `shapes` that were measured."""
        found = (self.ratio(name, shape, size) for shape in shapes)
        return [ratio for ratio in found if ratio is not None]


def contenders(options: Options) -> list[str]:
    """Return those to be compared; peers only where they are installed."""
    names = [name for name in CONTENDERS if name not in EXTRAS]
    return [name for name in names if name not in PEERS or has_peer(options, name)]


def has_peer(options: Options, name: str) -> bool:
    """Whether the interpreter for the peers has what one of them needs."""
    probe = [python_for(options, name), "-c", f"import {PEERS[name]}"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def python_for(options: Options, name: str) -> str:
    """Return the interpreter that has what a contender needs."""
    return options.peers if options.peers and name in PEERS else sys.executable


def can_run(name: str, shape: str, size: int) -> bool:
    """Whether a contender knows a shape, and ends in acceptable time."""
    most = MOST.get((name, shape), MOST.get((name, ""), math.inf))
    return shape in ONLY.get(name, SHAPES) and size <= most


def measure(
    options: Options, what: str, names: Iterable[str], python: str | None = None
) -> Results:
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
                found = run_one(python or python_for(options, name), what, name, shape, size)
                results.found.setdefault((name, shape, size), []).append(found)
    progress("")
    return results


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
