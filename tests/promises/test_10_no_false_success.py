"""Promise 10: never a false success.

A job that did not run, or ran twice, is not a True.  The fixture in conftest.py looks at every run
of every promise; here are the runs that lend themselves to it.

Seen to fail against engines whose verdict forgot skipped jobs, or those cancelled by hand, took the
result of a job that returned as it was cancelled for its end, or let a cancelled run be a success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from engine import AbstractJob, Engine, EngineFailed, Job, JobSkipped, State
from engine.testing import VirtualLoop, run_virtual
from tests.promises.witness import undeserved


class Once(AbstractJob):
    """Counts how often it ran to its end."""

    def __init__(self, label: str, seconds: float, *, fails: bool = False, **options: bool) -> None:
        super().__init__(label=label, critical=options.get("critical", True))
        self.seconds = seconds
        self.fails = fails
        self.ran = 0

    async def corun(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise ValueError("on purpose")
        self.ran += 1


def random_engine(rng: Random) -> tuple[Engine, list[Once]]:
    jobs: list[Once] = []
    for number in range(rng.randint(1, 12)):
        fails, critical = rng.random() < 0.1, rng.random() < 0.7
        job = Once(f"job {number}", rng.randint(0, 2), fails=fails, critical=critical)
        if jobs and rng.random() < 0.5:
            job.requires(rng.sample(jobs, rng.randint(1, min(3, len(jobs)))))
        jobs.append(job)
    rng.shuffle(order := list(jobs))
    window = rng.choice([None, 1, 2, 3])
    return Engine(*order, jobs_window=window, keep_going=rng.random() < 0.3), jobs


@pytest.mark.usefixtures("_quiet", "virtual_clock")
def test_true_means_that_every_critical_job_ran_once(count: Callable[[int, int], int]) -> None:
    good = 0
    for seed in range(count(500, 10_000)):
        engine, jobs = random_engine(Random(seed))
        ok = engine.orchestrate()
        assert all(job.ran == (job.state is State.FINISHED) for job in jobs), f"seed {seed}"
        assert ok == all(job.ran == 1 for job in jobs if job.critical), f"seed {seed}"
        good += ok
    assert good > count(500, 10_000) / 10


def test_every_run_of_an_engine_that_runs_again_deserves_its_verdict() -> None:
    """Fail, then succeed, then fail: nothing of a run is left for the next one's verdict."""
    job = Once("job", 0)
    dependent = Once("dependent", 0)
    engine = Engine(job, dependent.requires(job))
    for round_, fails in enumerate([False, True, False, True, True, False]):
        job.fails = fails
        before = dependent.ran
        assert engine.orchestrate() is not fails, f"round {round_}"
        assert dependent.ran == before + (not fails)
        assert dependent.state is (State.SKIPPED if fails else State.FINISHED)


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("fails", [True, False])
def test_jobs_added_while_running_count(fails: bool) -> None:
    engine, late = Engine(), Once("late", 1, fails=fails)

    async def add() -> None:
        engine.add(late)

    engine.add(Job(add))
    assert engine.orchestrate() is not fails
    assert late.ran == (not fails)


@pytest.mark.parametrize("critical", [True, False])
def test_a_skipped_job_counts_as_what_it_is(critical: bool) -> None:
    first = Once("first", 1, fails=True, critical=False)
    second = Once("second", 1, critical=critical)
    engine = Engine(first, second.requires(first))
    if critical:
        with pytest.raises(EngineFailed) as got:
            run_virtual(engine.corun())
        assert [type(error) for error in got.value.exceptions] == [JobSkipped]
    else:
        assert run_virtual(engine.corun())
    assert second.ran == 0
    assert second.state is State.SKIPPED


def test_a_job_cancelled_by_hand_is_no_success(virtual_clock: VirtualLoop) -> None:
    job, other = Once("job", 10), Once("other", 20)
    virtual_clock.call_later(1, job.cancel)
    assert Engine(job, other).orchestrate() is False
    assert (job.ran, other.ran) == (0, 1)


def test_a_run_cancelled_as_a_whole_is_no_success(virtual_clock: VirtualLoop) -> None:
    engine = Engine(Once("job", 10, critical=False))
    virtual_clock.call_later(1, engine.cancel)
    assert engine.orchestrate() is False
    assert engine.exit_status == 1


@pytest.mark.usefixtures("virtual_clock")
def test_a_job_that_returns_as_it_is_cancelled_is_no_success() -> None:
    async def returns_anyway() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "anyway"
        return "never"

    job = Job(returns_anyway)
    assert Engine(job, timeout=1).orchestrate() is False
    assert job.state is State.CANCELLED


@pytest.mark.usefixtures("virtual_clock")
def test_a_run_that_times_out_is_no_success_even_if_nothing_critical_is_left() -> None:
    assert Engine(Once("job", 10, critical=False), timeout=1).orchestrate() is False


def test_an_empty_engine_is_a_success() -> None:
    assert Engine().orchestrate()
    assert Engine(Engine()).orchestrate()


def test_the_witness_knows_a_false_success() -> None:
    engine = Engine(Once("job", 0, fails=True))
    assert engine.orchestrate() is False
    assert list(undeserved(engine)) == ["the run is a success, although job job is failed"]
