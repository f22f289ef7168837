"""Promise 2: a run always ends; every failure gives its slot back; no progress is an error.

On a virtual clock a run that hangs is a `Deadlock` at once, so it is enough that these runs return.

Seen to fail against engines that gave no slot back after a failure, or after a retry, never settled
a job that was cancelled before its first step, or did not look whether progress is possible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine import AbstractJob, Engine, EngineFailed, Job, Pool, State, Stuck
from engine.testing import JobSpec, play, random_graph, run_virtual, sketch


async def fail() -> None:
    await asyncio.sleep(1)
    raise ValueError("on purpose")


def narrow(graph: JobSpec) -> JobSpec:
    """The same graph through the eye of a needle: one job at a time, one slot in each pool."""
    return replace(graph, window=1, pools=dict.fromkeys(graph.pools, 1))


@pytest.mark.usefixtures("_quiet")
def test_no_graph_hangs(count: Callable[[int, int], int]) -> None:
    for seed in range(count(300, 10_000)):
        graph = narrow(random_graph(seed, tied=seed % 2 == 0, pauses=True))
        stage = play(graph)
        left = [name for name, job in stage.jobs.items() if not job.is_done()]
        assert not left, f"seed {seed}: {left} not over\n{sketch(graph)}"


WAYS: dict[str, Callable[..., AbstractJob]] = {
    "failure": lambda **options: Job(fail, critical=False, **options),
    "failure at once": lambda **options: Job(broken, critical=False, **options),
    "timeout": lambda **options: Job(asyncio.sleep, 100, timeout=1, critical=False, **options),
    "retries": lambda **options: Job(fail, retry=3, critical=False, **options),
    "cancel": lambda **options: CancelledByHand(critical=False, **options),
    "own CancelledError": lambda **options: Job(cancelled, critical=False, **options),
    "nested failure": lambda **options: Engine(Job(fail), critical=False, **options),
    "abandoned": lambda **options: Stubborn(critical=False, **options),
}


async def broken() -> None:
    raise ValueError("at once")


async def cancelled() -> None:
    raise asyncio.CancelledError


class CancelledByHand(AbstractJob):
    """Has itself cancelled after a second."""

    async def corun(self) -> None:
        asyncio.get_running_loop().call_later(1, self.cancel)
        await asyncio.sleep(100)


class Stubborn(AbstractJob):
    """Has itself cancelled, and then goes on for longer than anybody waits."""

    async def corun(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1, self.cancel)
        until = loop.time() + 100
        while loop.time() < until:
            try:
                await asyncio.sleep(until - loop.time())
            except asyncio.CancelledError:
                continue


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("slot", ["window", "pool"])
def test_every_end_gives_the_slot_back(way: str, slot: str) -> None:
    pool = Pool(1) if slot == "pool" else None
    first = WAYS[way](pool=pool)
    second = Job(asyncio.sleep, 1, "ran", pool=pool)
    engine = Engine(first, second, jobs_window=1 if slot == "window" else None)
    assert engine.orchestrate() is (way != "abandoned")
    assert second.result() == "ran"


def stuck(error: BaseException) -> list[Stuck]:
    """All errors of that kind in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [found for inner in error.exceptions for found in stuck(inner)]
    return [error] if isinstance(error, Stuck) else []


def pool_held_by_a_forever_job() -> Engine:
    pool = Pool(1, label="disk")
    keeper = Job(asyncio.sleep, 1e9, label="keeper", forever=True, pool=pool)
    return Engine(keeper, Job(asyncio.sleep, 1, label="waiter", pool=pool).after(keeper))


def pool_held_by_the_engine_round_it() -> Engine:
    pool = Pool(1, label="disk")
    return Engine(Engine(Job(asyncio.sleep, 1, label="waiter", pool=pool), label="in", pool=pool))


@pytest.mark.parametrize("make", [pool_held_by_a_forever_job, pool_held_by_the_engine_round_it])
def test_no_progress_is_an_error_that_names_the_jobs(make: Callable[[], Engine]) -> None:
    engine = make()
    with pytest.raises((EngineFailed, Stuck)) as got:
        run_virtual(engine.corun())
    found = stuck(got.value)
    assert found
    assert "waiter" in str(found[0])
    assert "waiter" in [job.label for job in found[0].jobs]
    assert engine.exit_status == 1
    assert all(job.state in {State.SKIPPED, State.CANCELLED, State.FAILED} for job in engine.jobs)


def test_a_pool_that_comes_back_is_waited_for() -> None:
    """A pool that a job of another run holds is not "for ever"."""

    async def main() -> tuple[bool, bool]:
        pool = Pool(1)
        one, other = (Engine(Job(asyncio.sleep, 5, pool=pool)) for _ in range(2))
        first, second = await asyncio.gather(one.corun(), other.corun())
        assert asyncio.get_running_loop().time() == 10
        return first, second

    assert run_virtual(main()) == (True, True)
