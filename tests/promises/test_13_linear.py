"""Promise 13: cost is linear.

Times belong to ``python -m benchmarks``; here what is counted is calls of functions, which are the
same on every machine and however busy it is: a job of a large graph makes as many as one of a small
graph.

Seen to fail against an engine that looked at all its jobs whenever one of them ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from benchmarks.contenders import build_engine
from benchmarks.shapes import SHAPES
from engine import Engine, Job, Sequence

ROOT = Path(__file__).parent.parent.parent
SMALL = 300


async def job() -> None:
    await asyncio.sleep(0)


def calls(action: Callable[[], object]) -> int:
    """How many functions, of Python or C, are called by `action`."""
    count = 0

    def see(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(see)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def cost(shape: str, size: int) -> float:
    """Calls for each job, to build a graph and run it."""
    return calls(lambda: build_engine(SHAPES[shape](size), job).orchestrate()) / size


@pytest.mark.parametrize("shape", SHAPES)
def test_a_job_of_a_large_graph_makes_as_many_calls_as_one_of_a_small_graph(
    shape: str, count: Callable[[int, int], int]
) -> None:
    small, large = cost(shape, SMALL), cost(shape, count(1500, 30_000))
    assert large <= 1.1 * small, f"{small:.1f} calls for each job, then {large:.1f}"


async def fail() -> None:
    raise ValueError("on purpose")


def cost_of_skipping(size: int) -> float:
    """Calls for each job of a chain whose first job fails."""
    first = Job(fail, critical=False)
    engine = Engine(first, *Sequence(*(Job(job) for _ in range(size)), required=first).jobs)
    return calls(engine.orchestrate) / size


def cost_of_looking(size: int) -> float:
    """Calls for each job to check, list and describe a graph that has run."""
    engine = build_engine(SHAPES["chain"](size), job)
    assert engine.orchestrate()
    with contextlib.redirect_stdout(io.StringIO()):
        return sum(map(calls, (engine.check, engine.list, engine.stats))) / size


@pytest.mark.parametrize("cost", [cost_of_skipping, cost_of_looking])
def test_the_rest_is_linear_too(
    cost: Callable[[int], float], count: Callable[[int, int], int]
) -> None:
    small, large = cost(SMALL), cost(count(1500, 30_000))
    assert large <= 1.1 * small, f"{small:.1f} calls for each job, then {large:.1f}"


def test_the_benchmarks_run() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--sizes",
            "100",
            "--rounds",
            "1",
            "--shapes",
            "chain",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "100 jobs" in done.stdout
    assert "engine, read" in done.stdout
    assert "bytes for each job" in done.stdout
