"""Pools: slots that jobs share, across engines, loops and threads."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any, Self

import pytest
import tenacity

from engine import BadOption, Engine, EngineFailed, Job, Pool, State, Stuck, ready
from engine.testing import run_virtual
from tests.engine.cast import Stubborn, explanation, fail, for_ever, nothing, now, play, value


class Gauge:
    """Counts those inside, and the most that there were."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.order: list[Any] = []
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1

    async def visit(self, seconds: float = 1, name: Any = None) -> None:
        self.order.append(name)
        with self:
            await asyncio.sleep(seconds)


# -- by itself -------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [0, -1, 1.5, "2", None, True, float("inf")])
def test_a_number_of_slots_that_makes_no_sense(slots: Any) -> None:
    with pytest.raises(BadOption, match="at least 1") as refused:
        Pool(slots)
    assert refused.value.option == "slots"


def test_how_it_is_shown() -> None:
    pool = Pool(2, label="disks\x1b[2J\n")
    assert repr(pool) == "<Pool `disks' 0/2>"
    pool.take("me")
    assert repr(pool) == "<Pool `disks' 1/2>"
    assert repr(Pool(1)) == "<Pool `NOLABEL' 0/1>"


def test_take_and_give_back() -> None:
    pool = Pool(2)
    assert pool.take("a")
    assert pool.take("b")
    assert not pool.take("c")
    full = [pool.is_full]
    assert pool.holders == ("a", "b")
    assert pool.give_back("a") == ()
    full.append(pool.is_full)
    assert full == [True, False]
    with pytest.raises(KeyError):
        pool.give_back("a")


def test_those_who_wait_are_named_once_in_their_order() -> None:
    pool = Pool(1)
    calls: list[str] = []

    def wakes(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    first, second, third = wakes("first"), wakes("second"), wakes("third")
    pool.take("holder")
    for wake in (first, second, third, first):
        pool.wait(wake)
    pool.leave(second)
    pool.leave(second)  # it waits no more: no harm
    for wake in pool.give_back("holder"):
        wake()
    assert calls == ["first", "third"]
    pool.take("holder")
    assert pool.give_back("holder") == ()


# -- in a run --------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_at_most_so_many_at_once_and_no_fewer(slots: int) -> None:
    gauge, pool = Gauge(), Pool(slots)
    jobs = [Job(gauge.visit, 1, number, pool=pool) for number in range(7)]
    assert play(Engine(*jobs))
    assert gauge.most == slots
    assert gauge.order == list(range(7))
    assert max(job.ended_at or 0 for job in jobs) == -(-7 // slots)
    assert pool.holders == ()


def test_one_that_waits_holds_no_slot_of_the_window() -> None:
    pool = Pool(1)
    jobs = [Job(value, None, 4, pool=pool), Job(value, None, 4, pool=pool), Job(value, None, 1)]
    assert play(Engine(*jobs, jobs_window=2))
    assert [job.started_at for job in jobs] == [0, 4, 0]


def test_forever_jobs_count_in_a_pool() -> None:
    pool = Pool(1)
    bus = Job(for_ever, forever=True, pool=pool)
    job = Job(nothing, pool=Pool(1))
    assert play(Engine(bus, job))
    assert pool.holders == ()


ENDS: dict[str, Callable[[Pool], Any]] = {
    "failure": lambda pool: Job(fail, pool=pool, critical=False),
    "failure in cleanup": lambda pool: Job(untidy, pool=pool, critical=False, timeout=1),
    "timeout": lambda pool: Job(for_ever, pool=pool, critical=False, timeout=1),
    "cancel": lambda pool: Job(cancels_itself, pool=pool, critical=False),
    "abandoned": lambda pool: Stubborn(pool=pool, critical=False, timeout=1),
    "no more attempts": lambda pool: Job(fail, pool=pool, critical=False, retry=3),
    "nested engine": lambda pool: Engine(Job(fail), pool=pool, critical=False),
    "bad argument": lambda pool: Job(value, {Job(value, [])}, pool=pool, critical=False),
}


async def untidy() -> None:
    try:
        await for_ever()
    finally:
        raise ValueError("in cleanup")


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("end", ENDS)
def test_a_slot_comes_back_however_its_holder_ends(end: str) -> None:
    pool = Pool(1)
    first = ENDS[end](pool)
    second = Job(value, "got it", pool=pool)
    play(Engine(*first.required, first, second))
    assert second.result() == "got it"
    assert pool.holders == ()


def test_slots_come_back_when_the_run_is_cancelled() -> None:
    pool = Pool(1)

    async def main() -> None:
        engine = Engine(*(Job(for_ever, pool=pool) for _ in range(3)))
        task = asyncio.create_task(engine.corun())
        await asyncio.sleep(1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert pool.holders == ()
    assert play(Engine(Job(nothing, pool=pool)))


def test_between_two_attempts_the_slot_is_free() -> None:
    pool = Pool(1)
    again = tenacity.AsyncRetrying(
        wait=tenacity.wait_fixed(10), stop=tenacity.stop_after_attempt(2)
    )
    first = Job(fail, pool=pool, retry=again, critical=False)
    second = Job(value, None, 4, pool=pool)
    assert play(Engine(first, second))
    assert (second.started_at, second.ended_at) == (0, 4)
    assert first.ended_at == 10


def test_a_nested_engine_holds_one_slot() -> None:
    gauge, pool = Gauge(), Pool(1)
    engines = [Engine(*(Job(gauge.visit) for _ in range(3)), pool=pool) for _ in range(2)]
    assert play(Engine(*engines))
    assert gauge.most == 3
    assert [engine.started_at for engine in engines] == [0, 1]


# -- across engines --------------------------------------------------------------------------


def test_two_engines_side_by_side_share_it() -> None:
    gauge, pool = Gauge(), Pool(2)

    async def main() -> float:
        engines = [
            Engine(*(Job(gauge.visit, 1, name, pool=pool) for _ in range(5))) for name in "ab"
        ]
        assert await asyncio.gather(*(engine.corun() for engine in engines)) == [True, True]
        return await now()

    assert run_virtual(main()) == 5
    assert gauge.most == 2
    assert sorted(gauge.order) == ["a"] * 5 + ["b"] * 5


def test_an_engine_and_one_nested_in_it_share_it() -> None:
    gauge, pool = Gauge(), Pool(2)
    inner = Engine(*(Job(gauge.visit, pool=pool) for _ in range(4)))
    assert play(Engine(inner, *(Job(gauge.visit, pool=pool) for _ in range(4))))
    assert gauge.most == 2
    assert inner.ended_at is not None


def test_a_run_that_gives_up_leaves_the_others_their_turn() -> None:
    """One engine is cancelled while it waits; what it waited for goes to the other."""
    pool = Pool(1)

    async def main() -> list[object]:
        holder = Engine(Job(value, None, 5, pool=pool))
        gives_up = Engine(Job(nothing, pool=pool), timeout=2)
        waits = Engine(Job(nothing, pool=pool))
        runs = (engine.corun() for engine in (holder, gives_up, waits))
        return await asyncio.gather(*runs, return_exceptions=True)

    first, second, third = run_virtual(main())
    assert (first, third) == (True, True)
    assert isinstance(second, EngineFailed)


@pytest.mark.parametrize("by", ["somebody else", "an engine of another loop"])
def test_a_slot_that_may_come_back_is_waited_for(by: str) -> None:
    """Taken by hand, or by a run in another thread: no reason to call it stuck."""
    pool = Pool(1)
    job = Job(nothing, pool=pool)

    async def main() -> float:
        pool.take(by)
        asyncio.get_running_loop().call_later(5, lambda: [wake() for wake in pool.give_back(by)])
        await Engine(job).corun()
        return await now()

    assert run_virtual(main()) == 5


# -- for ever --------------------------------------------------------------------------------


def held_by_a_forever_job(pool: Pool) -> Engine:
    keeper = Job(for_ever, label="keeper", forever=True, pool=pool)
    return Engine(keeper, Job(nothing, label="waiter", pool=pool))


def held_by_two(pool: Pool) -> Engine:
    more = Pool(1, label="more")
    keeper = Job(for_ever, label="keeper", forever=True, pool=more)
    waiter = Job(nothing, label="waiter", pool=more)
    return Engine(Engine(keeper, waiter, label="inner", pool=pool))


def held_by_the_engine_round_it(pool: Pool) -> Engine:
    return Engine(Engine(Job(nothing, label="waiter", pool=pool), label="keeper", pool=pool))


def held_by_an_engine_further_out(pool: Pool) -> Engine:
    inmost = Engine(Job(nothing, label="waiter", pool=pool), label="inmost")
    return Engine(Engine(inmost, label="keeper", pool=pool))


@pytest.mark.parametrize(
    "make",
    [
        held_by_a_forever_job,
        held_by_two,
        held_by_the_engine_round_it,
        held_by_an_engine_further_out,
    ],
)
def test_held_for_ever_is_an_error_that_names_both(make: Callable[[Pool], Engine]) -> None:
    pool = Pool(1, label="disk")
    engine = make(pool)
    with pytest.raises(Stuck, match=r"waiter.*keeper") as stuck:
        run_virtual(engine.corun())
    assert "waiter" in [job.label for job in stuck.value.jobs]
    assert engine.exit_status == 1
    assert "waiter" in engine.why()
    assert pool.holders == ()


def test_it_says_so_at_the_synchronous_door_too() -> None:
    engine = held_by_a_forever_job(Pool(1))
    with pytest.raises(Stuck):
        engine.orchestrate()
    assert engine.jobs[0].state is State.CANCELLED
    assert engine.jobs[1].state is State.SKIPPED


def test_what_works_meanwhile_is_no_reason_to_wait_for_ever() -> None:
    """As long as anything works nothing is said; then it is."""
    pool = Pool(1)
    engine = held_by_a_forever_job(pool)
    worker = Job(value, None, 7, engine=engine)
    with pytest.raises(Stuck):
        run_virtual(engine.corun())
    assert worker.state is State.FINISHED


@pytest.mark.parametrize("notify", [True, False])
def test_a_forever_job_in_the_pause_of_a_retry_is_progress(notify: bool) -> None:
    attempts: list[int] = []

    async def server() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("address in use")
        ready()
        await for_ever()

    again = tenacity.AsyncRetrying(
        wait=tenacity.wait_fixed(10), stop=tenacity.stop_after_attempt(3)
    )
    pool = Pool(1)
    bus = Job(server, forever=True, notify=notify, retry=again)
    client = Job(value, None, 30, required=bus)
    assert play(Engine(bus, client, Job(nothing, pool=pool)))
    assert client.started_at == (10 if notify else 0)


def test_a_nested_engine_in_the_pause_of_a_retry_is_progress() -> None:
    attempts: list[int] = []

    async def second_time() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")

    again = tenacity.AsyncRetrying(
        wait=tenacity.wait_fixed(10), stop=tenacity.stop_after_attempt(3)
    )
    inner = Engine(Job(second_time), retry=again)
    assert explanation(Engine(inner)) == ()
    assert inner.ended_at == 10


# -- across threads --------------------------------------------------------------------------


@contextmanager
def quick_switches() -> Any:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_engines_of_several_threads_share_it() -> None:
    gauge, pool = Gauge(), Pool(2)
    verdicts: list[bool] = []

    async def visit() -> None:
        with gauge:
            await asyncio.sleep(random.random() * 0.001)

    def work() -> None:
        engine = Engine(*(Job(visit, pool=pool) for _ in range(30)))
        verdicts.append(engine.orchestrate(timeout=20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    with quick_switches():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert verdicts == [True] * 4
    assert 1 <= gauge.most <= 2
    assert pool.holders == ()


def test_a_slot_that_comes_back_in_another_thread_wakes_this_one() -> None:
    pool = Pool(1)
    entered = threading.Event()

    async def hold() -> None:
        entered.set()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=Engine(Job(hold, pool=pool)).orchestrate)
    thread.start()
    assert entered.wait(30)
    start = time.monotonic()
    assert Engine(Job(nothing, pool=pool)).orchestrate(timeout=60)
    assert time.monotonic() - start < 30
    thread.join(30)
