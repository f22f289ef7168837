"""Promise 4: cancel at any await point.

Every job gets it once, shutdown runs once for each that was started, CancelledError comes out.

Seen to fail against engines that left at the first cancellation without waiting for their jobs,
cancelled each job twice, swallowed the cancellation, or never settled a job cancelled before its
first step.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from engine import AbstractJob, Engine, JobState, State
from engine.testing import Performance, build, cancel_everywhere, random_graph
from engine.testing.cancelling import Cancel
from engine.testing.model import GRACE


class Counted(AbstractJob):
    """A job of several waits, with a cleanup of several waits, that counts what happens to it."""

    def __init__(self, steps: int, cleanup: int, *, forever: bool = False, label: str) -> None:
        super().__init__(label=label, forever=forever)
        self.steps = steps
        self.cleanup = cleanup
        self.count: Counter[str] = Counter()

    async def corun(self) -> None:
        """Wait `steps` times; clean up however that ends."""
        self.count["started"] += 1
        try:
            for _ in range(self.steps):
                await asyncio.sleep(1)
            if self.forever:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.count["cancelled"] += 1
            raise
        finally:
            for _ in range(self.cleanup):
                await self._wait_in_cleanup()

    async def coshutdown(self) -> None:
        """Wait, too."""
        self.count["shutdown"] += 1
        await self._wait_in_cleanup()
        self.count["shut"] += 1

    async def _wait_in_cleanup(self) -> None:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.count["cancelled in cleanup"] += 1
            raise


def make_engine(seed: int, depth: int = 2) -> Engine:
    rng = Random(seed)
    return _make(rng, "e", depth)


def _make(rng: Random, name: str, depth: int) -> Engine:
    jobs: list[AbstractJob] = []
    for number in range(rng.randint(2, 4)):
        label = f"{name}.{number}"
        if depth and rng.random() < 0.3:
            job: AbstractJob = _make(rng, label, depth - 1)
        else:
            forever = number > 0 and rng.random() < 0.3
            job = Counted(rng.randint(0, 2), rng.randint(0, 1), forever=forever, label=label)
        if jobs and rng.random() < 0.5:
            job.requires(rng.choice(jobs))
        jobs.append(job)
    return Engine(*jobs, label=name, jobs_window=rng.choice([None, 1, 2]))


def check_once(engine: Engine) -> None:
    """Each job was cancelled at most once, and shut down once if it had begun."""
    for job in engine.iterate_jobs():
        if isinstance(job, Counted):
            got = job.count
            assert got["cancelled"] + got["cancelled in cleanup"] <= 1, f"{job.label}: {got}"
            assert got["shutdown"] <= 1, f"{job.label}: {got}"
            assert got["shut"] == got["shutdown"] >= got["started"], f"{job.label}: {got}"


def by_engine(engine: Engine, _: asyncio.Task[bool]) -> None:
    engine.cancel()


def twice(_: Engine, task: asyncio.Task[bool]) -> None:
    """As somebody who is not patient: again one turn later, and again a second later."""
    task.cancel()
    loop = asyncio.get_running_loop()
    loop.call_later(0, task.cancel)
    loop.call_later(1, task.cancel)


def by_first_job(engine: Engine, _: asyncio.Task[bool]) -> None:
    for job in engine.jobs[:1]:  # it may have none yet: they can all be added later
        job.cancel()


@pytest.mark.usefixtures("_quiet")
def test_every_point_of_every_graph(count: Callable[[int, int], int]) -> None:
    points = 0
    for seed in range(count(8, 20)):
        points += cancel_everywhere(partial(make_engine, seed), check=check_once)
    assert points > count(8, 20) * 10


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("how", [by_engine, by_first_job, twice])
def test_other_ways_to_cancel(how: Cancel) -> None:
    for seed in range(4):
        cancel_everywhere(partial(make_engine, seed), check=check_once, cancel=how)


class Stages:
    """Makes the same random graph again and again, and keeps what is seen of the last run."""

    def __init__(self, seed: int) -> None:
        self.graph = random_graph(seed, most=5, tied=seed % 2 == 0, pauses=True)
        self.last: Performance | None = None

    def make(self) -> Engine:
        self.last = build(self.graph)
        return self.last.engine

    def check(self, _: Engine) -> None:
        """Nobody began early, and who was started was shut down once."""
        assert self.last is not None
        assert not self.last.early
        ticks = self.last.story.ticks
        started = {
            tick.job for tick in ticks if isinstance(tick, JobState) and tick.new is State.RUNNING
        }
        for spec in self.graph.walk():
            if spec.jobs is None:
                assert self.last.did(spec, "shutdown") == (spec.id in started), spec.id


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("how", [None, by_engine, by_first_job])
def test_every_point_of_random_graphs(how: Cancel | None, count: Callable[[int, int], int]) -> None:
    for seed in range(count(5, 50)):
        stages = Stages(seed)
        # A job that is given up is a task that is left, by design.
        if all(spec.cleanup < GRACE for spec in stages.graph.walk()):
            cancel_everywhere(stages.make, check=stages.check, cancel=how)


def test_the_error_that_comes_out_is_the_one_that_went_in() -> None:
    async def main() -> str:
        task = asyncio.create_task(make_engine(1).corun())
        await asyncio.sleep(0.5)
        task.cancel("the reason")
        try:
            await task
        except asyncio.CancelledError as error:
            return str(error)
        return "nothing came out"

    assert asyncio.run(main()) == "the reason"
