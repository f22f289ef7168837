"""Promise 3: nothing is left: tasks, files, threads, children, cycles, "never awaited" warnings.

Seen to fail against engines that kept the plan and its performer tied to each other after a run,
kept the errors of a retry that was cut short, or left at once when they were cancelled.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from engine import AbstractJob, CallJob, Engine, EngineFailed, Job, Pool, report, run
from engine.testing import no_leaks


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("on purpose")


async def fail_in_finally() -> None:
    try:
        await fail()
    finally:
        raise KeyError("in finally")


def work() -> str:
    report(percent=50)
    return threading.current_thread().name


async def child() -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
    return await process.wait()


class Closes(AbstractJob):
    """A job with something to close."""

    async def corun(self) -> None:
        await asyncio.sleep(0.002)

    async def coshutdown(self) -> None:
        await asyncio.sleep(0)


KINDS: dict[str, Callable[[], AbstractJob]] = {
    "returns": lambda: Job(asyncio.sleep, 0.001),
    "returns at once": lambda: Job(nothing),
    "coroutine object": lambda: Job(asyncio.sleep(0.001)),
    "fails": lambda: Job(fail, critical=False),
    "fails, critical": lambda: Job(fail),
    "fails in finally": lambda: Job(fail_in_finally, critical=False),
    "times out": lambda: Job(asyncio.sleep, 100, timeout=0.002, critical=False),
    "is tried again": lambda: Job(fail, retry=2, critical=False),
    "forever": lambda: Job(asyncio.sleep, 100, forever=True),
    "thread": lambda: CallJob(work),
    "has a shutdown": Closes,
    "needs a pool": lambda: Job(asyncio.sleep, 0.001, pool=Pool(1)),
    "nested": lambda: Engine(Job(asyncio.sleep(0.001)), Job(fail, critical=False)),
    "nested, fails": lambda: Engine(Job(fail), Job(asyncio.sleep(100)), critical=False),
}


async def nothing() -> None:
    pass


def mixed(rng: Random) -> Engine:
    """An engine of jobs of all kinds, some of which never run."""
    jobs: list[AbstractJob] = []
    for _ in range(rng.randint(1, 8)):
        job = KINDS[rng.choice(list(KINDS))]()
        if jobs and rng.random() < 0.4:
            job.requires(rng.choice(jobs))
        if jobs and rng.random() < 0.2:
            job.after(rng.choice(jobs))
        jobs.append(job)
    jobs.append(Job(asyncio.sleep(0)))
    return Engine(
        *jobs,
        jobs_window=rng.choice([None, None, 1, 2]),
        timeout=rng.choice([None, None, None, 0.002]),
        keep_going=rng.random() < 0.3,
    )


def dropped() -> Engine:
    """An engine that is made and never run."""
    return Engine(Job(asyncio.sleep(0)), Job(asyncio.sleep(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_of_each_kind_leaves_nothing(kind: str) -> None:
    engine = Engine(KINDS[kind](), Job(asyncio.sleep(0)))
    with no_leaks(cycles=True):
        engine.orchestrate()


def test_a_child_process_leaves_nothing() -> None:
    run(child())  # what asyncio itself sets up for children stays
    engine = Engine(Job(child), Job(child))
    with no_leaks():
        assert engine.orchestrate()


@pytest.mark.usefixtures("_quiet")
def test_mixed_runs_leave_nothing(count: Callable[[int, int], int]) -> None:
    rng = Random(3)
    with no_leaks():
        for _ in range(count(100, 1000)):
            mixed(rng).orchestrate()


@pytest.mark.usefixtures("_quiet")
def test_runs_make_no_cycles(count: Callable[[int, int], int]) -> None:
    for seed in range(count(20, 200)):
        engine = mixed(Random(seed))
        with no_leaks(cycles=True):
            engine.orchestrate()


def test_a_run_that_was_cancelled_leaves_nothing() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(
            Engine(*(make() for make in KINDS.values()), keep_going=True).corun()
        )
        await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    with no_leaks():
        run(cancelled())


@pytest.mark.parametrize("use", ["orchestrate", "corun", "asyncio.run", "never run"])
def test_every_door_leaves_nothing(use: str) -> None:
    async def good() -> Coroutine[Any, Any, bool] | None:
        with suppress(EngineFailed):
            await dropped().corun()
        return None

    doors: dict[str, Callable[[], object]] = {
        "orchestrate": lambda: dropped().orchestrate(),
        "corun": lambda: run(good()),
        "asyncio.run": lambda: asyncio.run(good()),
        "never run": lambda: len(dropped()),
    }
    with no_leaks():
        doors[use]()


def test_a_thread_of_its_own_closes_its_loop() -> None:
    def main() -> None:
        assert Engine(Job(asyncio.sleep, 0)).orchestrate()

    with no_leaks():
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
