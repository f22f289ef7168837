"""Promise 8: every job that was started is shut down once, in reverse order, whatever happens.

Random graphs whose shutdowns return, raise, hang, or swallow their cancellation.

Seen to fail against engines that shut down in forward order, or in none, stopped at the first
fault, had no bound, or forgot the faults in their verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from engine import AbstractJob, Engine, EngineFailed, Job
from engine.testing import run_virtual

BOUND = 10.0
MARGIN = 0.1
WAYS = ("returns", "returns", "takes a second", "raises", "hangs", "swallows")


class Shut(AbstractJob):
    """A job whose shutdown goes as it is told, and is written down."""

    def __init__(self, label: str, way: str, fails: bool, log: list[tuple[str, str]]) -> None:
        super().__init__(label=label, critical=False)
        self.way = way
        self.fails = fails
        self.log = log
        self.began = False

    async def corun(self) -> None:
        self.began = True
        await asyncio.sleep(1)
        if self.fails:
            raise ValueError("on purpose")

    async def coshutdown(self) -> None:
        self.log.append((str(self.label), "begin"))
        try:
            await self._go_its_way()
        finally:
            self.log.append((str(self.label), "end"))

    async def _go_its_way(self) -> None:
        if self.way == "takes a second":
            await asyncio.sleep(1)
        elif self.way == "raises":
            raise ValueError(self.label)
        elif self.way == "hangs":
            await asyncio.Event().wait()
        elif self.way == "swallows":
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)


class Case:
    """A random engine, and what its shutdown must come to."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        ways = WAYS if rng.random() < 0.5 else WAYS[:4]
        self.log: list[tuple[str, str]] = []
        self.jobs = [
            Shut(f"job {number}", rng.choice(ways), rng.random() < 0.2, self.log)
            for number in range(rng.randint(1, 8))
        ]
        self.waits: list[tuple[Shut, Shut]] = []
        for number, job in enumerate(self.jobs[1:], 1):
            for earlier in rng.sample(self.jobs[:number], rng.randint(0, min(number, 2))):
                if rng.random() < 0.5:
                    job.requires(earlier)
                else:
                    job.after(earlier)
                self.waits.append((earlier, job))
        self.engine = Engine(*self.jobs, shutdown_timeout=BOUND)

    @property
    def slow(self) -> bool:
        """Whether the time for the shutdown is spent: some shutdown does not end."""
        return any(job.way in {"hangs", "swallows"} for job in self.jobs if job.began)

    def problems(self, took: float, ok: bool) -> list[str]:
        """What is not as it must be."""
        found = []
        begun = [label for label, what in self.log if what == "begin"]
        due = [str(job.label) for job in self.jobs if job.began]
        if sorted(begun) != sorted(due):
            found.append(f"shut down {begun}, started {due}")
        for earlier, job in self.waits:
            pair = (str(job.label), "end"), (str(earlier.label), "begin")
            in_order = job.way == "swallows" or pair[0] in self.log[: self._at(pair[1])]
            if job.began and earlier.began and not in_order:
                found.append(f"{earlier.label} before the end of {job.label}")
        if took > BOUND + MARGIN:
            found.append(f"it took {took} s")
        faulty = {
            job for job in self.jobs if job.began and job.way in {"raises", "hangs", "swallows"}
        }
        told = set(self.engine.shutdown_failures)
        if not faulty <= told or (told != faulty and not self.slow):
            found.append(f"faults told {told}, made {faulty}")
        if ok is bool(told):
            found.append(f"the verdict is {ok} with faults {told}")
        return found

    def _at(self, entry: tuple[str, str]) -> int:
        return self.log.index(entry) if entry in self.log else len(self.log)


async def measure(engine: Engine) -> tuple[float, bool]:
    """How long the shutdown took after the last job, and the verdict."""
    loop = asyncio.get_running_loop()
    try:
        ok = await engine.corun()
    except EngineFailed:
        ok = False
    return loop.time() - max(job.ended_at or 0.0 for job in engine.jobs), ok


@pytest.mark.usefixtures("_quiet")
def test_random_faults_and_hangs(count: Callable[[int, int], int]) -> None:
    for seed in range(count(200, 1000)):
        case = Case(seed)
        took, ok = run_virtual(measure(case.engine))
        assert not (found := case.problems(took, ok)), f"seed {seed}: {found}\n{case.log}"


def plain(log: list[str], name: str, **options: Any) -> Job:
    async def shut() -> None:
        log.append(name)

    return Job(asyncio.sleep, 1, label=name, coshutdown=shut, **options)


def test_to_call_it_again_does_nothing() -> None:
    log: list[str] = []
    engine = Engine(plain(log, "only"))
    assert engine.orchestrate(timeout=30)
    engine.shutdown()
    engine.shutdown()
    assert log == ["only"]


def test_a_second_run_shuts_down_again() -> None:
    log: list[str] = []

    async def main(engine: Engine) -> None:
        await engine.corun()
        await engine.corun()
        await engine.coshutdown()

    run_virtual(main(Engine(plain(log, "only"))))
    assert log == ["only", "only"]


def test_a_job_that_never_started_is_not_shut_down() -> None:
    log: list[str] = []
    first = Job(asyncio.sleep, 9, timeout=1)
    engine = Engine(first, plain(log, "second", required=first))
    with pytest.raises(EngineFailed):
        run_virtual(engine.corun())
    assert log == []


def test_a_job_that_was_told_to_start_is_shut_down() -> None:
    """Cancelled before its first step, it counts as started all the same."""
    log: list[str] = []
    job = plain(log, "only")

    async def main() -> None:
        task = asyncio.create_task(Engine(job).corun())
        for _ in range(10):
            if job.is_running():
                break
            await asyncio.sleep(0)
        assert job.is_running()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert log == ["only"]


def test_nested_jobs_are_shut_down_by_the_outermost_run_in_reverse_order() -> None:
    log: list[str] = []
    first, last = plain(log, "first"), plain(log, "last")
    inner = [plain(log, "inner first"), plain(log, "inner last")]
    inner[1].requires(inner[0])
    nested = Engine(*inner, required=first)
    run_virtual(Engine(first, nested, last.after(nested)).corun())
    assert log == ["last", "inner last", "inner first", "first"]


def test_the_time_is_for_the_whole() -> None:
    """Ten that hang, one after the other: not ten times the bound."""
    log: list[tuple[str, str]] = []
    jobs = [Shut(f"job {number}", "hangs", fails=False, log=log) for number in range(10)]
    for earlier, job in pairwise(jobs):
        job.requires(earlier)
    engine = Engine(*jobs, shutdown_timeout=3)
    took, ok = run_virtual(measure(engine))
    assert not ok
    assert 3 <= took <= 3 + MARGIN
    assert [label for label, what in log if what == "begin"] == [
        f"job {number}" for number in reversed(range(10))
    ]
    assert len(engine.shutdown_failures) == 10
