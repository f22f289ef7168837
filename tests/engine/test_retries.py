"""Attempts: how many, how long each, and what becomes of the slots in between."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from tenacity import AsyncRetrying

from engine import (
    CallJob,
    Engine,
    EngineFailed,
    Job,
    JobState,
    JobStopping,
    Pool,
    State,
)
from engine.testing import Story, no_leaks, run_virtual
from tests.engine.cast import Stubborn, explanation, fail, for_ever, lasts, nothing, play, value

FINISHED, FAILED = State.FINISHED, State.FAILED
CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED


class Flaky:
    """A coroutine function that fails so many times before it returns."""

    def __init__(self, failures: int, seconds: float = 0) -> None:
        self.failures = failures
        self.seconds = seconds
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        if self.calls <= self.failures:
            raise ValueError(f"attempt {self.calls}")
        return self.calls


def waiting(seconds: float, attempts: int = 10, **options: Any) -> AsyncRetrying:
    return AsyncRetrying(
        wait=tenacity.wait_fixed(seconds), stop=tenacity.stop_after_attempt(attempts), **options
    )


def told(story: Story, job: str = "1") -> list[tuple[Any, ...]]:
    return [
        (tick.at, tick.old, tick.new, tick.attempt, tick.attempts, tick.retry_in)
        for tick in story.ticks
        if isinstance(tick, JobState) and tick.job == job
    ]


# -- how many --------------------------------------------------------------------------------


@pytest.mark.parametrize(("retry", "failures"), [(0, 0), (1, 0), (1, 1), (3, 2), (3, 3), (None, 0)])
def test_so_many_more_attempts(retry: int | None, failures: int) -> None:
    flaky = Flaky(failures)
    job = Job(flaky, retry=retry)
    assert play(Engine(job))
    assert job.result() == failures + 1
    assert job.raised_exception() is None


@pytest.mark.parametrize("retry", [None, 0, 1, 4])
def test_and_not_one_more(retry: int | None) -> None:
    flaky = Flaky(100)
    job = Job(flaky, retry=retry)
    (error,) = explanation(Engine(job))
    assert flaky.calls == (retry or 0) + 1
    assert str(error) == f"attempt {flaky.calls}"  # the last one
    assert job.raised_exception() is error


def test_a_tenacity_object_says_when_and_how_often() -> None:
    flaky = Flaky(2, 1)
    job = Job(flaky, retry=waiting(10))
    assert play(Engine(job))
    assert job.ended_at == 1 + 10 + 1 + 10 + 1


def test_it_is_copied_for_each_run_of_each_job() -> None:
    """It keeps state: shared, the second would begin where the first ended."""
    again = waiting(1, attempts=3)
    jobs = [Job(Flaky(2), retry=again, label=str(number)) for number in range(3)]
    engine = Engine(*jobs)
    assert play(engine)
    for job in jobs:
        assert job.result() == 3
    flaky = Flaky(100)
    engine = Engine(Job(flaky, retry=again))
    for _ in range(2):
        flaky.calls = 0
        assert not play(engine)
        assert flaky.calls == 3


def test_the_error_that_comes_out_is_that_of_the_job_itself() -> None:
    """Not tenacity's RetryError, whatever `reraise` says."""
    job = Job(Flaky(100), retry=waiting(1, attempts=2, reraise=False))
    (error,) = explanation(Engine(job))
    assert str(error) == "attempt 2"


def test_what_tenacity_is_told_not_to_try_again_is_not() -> None:
    picky = waiting(1, retry=tenacity.retry_if_exception_type(KeyError))
    flaky = Flaky(100)
    assert not play(Engine(Job(flaky, retry=picky)))
    assert flaky.calls == 1


def test_tenacitys_own_callbacks_are_called() -> None:
    calls: list[str] = []
    hooked = waiting(
        1,
        attempts=2,
        before=lambda _: calls.append("before"),
        after=lambda _: calls.append("after"),
        before_sleep=lambda _: calls.append("sleep"),
        retry_error_callback=lambda _: "instead",
    )
    job = Job(Flaky(100), retry=hooked)
    assert play(Engine(job))
    assert job.result() == "instead"
    assert calls == ["before", "after", "sleep", "before", "after"]


def test_results_can_be_tried_again_too() -> None:
    results = iter([None, None, 3])

    async def poll() -> int | None:
        return next(results)

    job = Job(poll, retry=waiting(5, retry=tenacity.retry_if_result(lambda got: got is None)))
    story = Story()
    assert run_virtual(Engine(job, message_queue=story).corun())
    assert job.result() == 3
    assert job.ended_at == 10
    story.check()


def test_a_function_in_a_thread_can_be_tried_again() -> None:
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("not yet")
        return len(calls)

    job = CallJob(work, retry=2)
    assert Engine(job).orchestrate()
    assert job.result() == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_ends_the_program_is_not_tried_again(error: BaseException) -> None:
    calls: list[int] = []

    async def leave() -> None:
        calls.append(1)
        raise error

    for retry in (5, waiting(1)):
        calls.clear()
        with pytest.raises(type(error)):
            run_virtual(Engine(Job(leave, retry=retry)).corun())
        assert calls == [1]


def test_a_cancelled_error_of_its_own_is_not_tried_again() -> None:
    calls: list[int] = []

    async def gives_up() -> None:
        calls.append(1)
        raise asyncio.CancelledError

    assert not play(Engine(Job(gives_up, retry=5)))
    assert calls == [1]


# -- what is told ----------------------------------------------------------------------------


def test_it_goes_back_to_scheduled_and_says_when() -> None:
    story = Story()
    job = Job(Flaky(1, 2), retry=waiting(5, attempts=4))
    assert run_virtual(Engine(job, message_queue=story).corun())
    story.check()
    idle, scheduled, running = State.IDLE, State.SCHEDULED, State.RUNNING
    assert told(story) == [
        (0, idle, scheduled, 1, 4, None),
        (0, scheduled, running, 1, 4, None),
        (2, running, scheduled, 2, 4, 5),
        (7, scheduled, running, 2, 4, None),
        (9, running, FINISHED, 2, 4, None),
    ]
    reasons = [tick.reason for tick in story.ticks if isinstance(tick, JobState)]
    assert reasons[2] == "ValueError: attempt 1"


def test_in_the_pause_it_is_scheduled() -> None:
    seen: list[State] = []
    job = Job(Flaky(1), retry=waiting(5))

    async def look() -> None:
        await asyncio.sleep(2)
        seen.append(job.state)
        assert job.is_scheduled()
        assert not job.is_done()
        with pytest.raises(asyncio.InvalidStateError):
            job.exception()

    assert play(Engine(job, Job(look)))
    assert seen == [State.SCHEDULED]


def test_without_end_nobody_knows_how_many() -> None:
    story = Story()
    endless = AsyncRetrying(wait=tenacity.wait_fixed(1))
    assert run_virtual(Engine(Job(Flaky(1), retry=endless), message_queue=story).corun())
    assert {row[4] for row in told(story)} == {None}


# -- slots -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", ["window", "pool"])
def test_while_it_waits_others_have_its_slot(slot: str) -> None:
    pool = Pool(1) if slot == "pool" else None
    again = Job(Flaky(1, 1), retry=waiting(10), pool=pool)
    other = Job(value, 1, 4, pool=pool)
    assert play(Engine(again, other, jobs_window=1 if slot == "window" else None))
    assert (other.started_at, other.ended_at) == (1, 5)
    assert again.ended_at == 12


@pytest.mark.parametrize("slot", ["window", "pool"])
def test_once_it_is_due_it_waits_for_a_slot(slot: str) -> None:
    pool = Pool(1) if slot == "pool" else None
    again = Job(Flaky(1, 1), retry=waiting(2), pool=pool)
    other = Job(value, 1, 10, pool=pool)
    assert play(Engine(again, other, jobs_window=1 if slot == "window" else None))
    assert (other.started_at, other.ended_at, again.ended_at) == (1, 11, 12)


@pytest.mark.parametrize("slot", ["window", "pool"])
def test_without_delay_it_keeps_its_turn(slot: str) -> None:
    order: list[str] = []

    async def first() -> None:
        order.append("first")
        await asyncio.sleep(1)
        raise ValueError

    async def second() -> None:
        order.append("second")

    pool = Pool(1) if slot == "pool" else None
    engine = Engine(
        Job(first, retry=2, critical=False, pool=pool),
        Job(second, pool=pool),
        jobs_window=1 if slot == "window" else None,
    )
    assert play(engine)
    assert order == ["first"] * 3 + ["second"]


def test_the_loop_turns_between_two_attempts() -> None:
    turns: list[int] = []

    async def count() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(1)

    async def broken() -> None:
        raise ValueError

    assert play(Engine(Job(count, forever=True), Job(broken, retry=50, critical=False)))
    assert len(turns) >= 50


# -- timeouts --------------------------------------------------------------------------------


def test_the_timeout_bounds_each_attempt() -> None:
    job = Job(for_ever, timeout=3, retry=2, label="slow")
    (error,) = explanation(Engine(job))
    assert isinstance(error, TimeoutError)
    assert "3s" in str(error)
    assert job.duration == 9


def test_it_does_not_bound_the_pause() -> None:
    job = Job(Flaky(2, 2), timeout=3, retry=waiting(100))
    assert play(Engine(job))
    assert job.ended_at == 2 + 100 + 2 + 100 + 2


def test_a_timeout_leaves_no_cancellation_behind() -> None:
    """The next attempt can be cancelled, and can use timeouts of its own."""
    cancelling: list[int] = []

    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        cancelling.append(task.cancelling())
        if len(cancelling) == 1:
            await for_ever()
        try:
            async with asyncio.timeout(1):
                await for_ever()
        except TimeoutError:
            return "its own timeout"
        return "none"

    job = Job(work, timeout=3, retry=1)
    assert play(Engine(job))
    assert cancelling == [0, 0]
    assert job.result() == "its own timeout"


def test_one_that_makes_something_of_its_cancellation_is_late_all_the_same() -> None:
    async def partial() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "partial"
        return "whole"

    job = Job(partial, timeout=2, critical=False)
    assert play(Engine(job))
    assert isinstance(job.raised_exception(), TimeoutError)


def test_one_that_fails_as_it_is_cancelled_tells_that_error() -> None:
    async def untidy() -> None:
        try:
            await for_ever()
        finally:
            raise KeyError("in finally")

    job = Job(untidy, timeout=2, critical=False)
    assert play(Engine(job))
    assert isinstance(job.raised_exception(), KeyError)


def test_a_timeout_error_of_its_own_is_its_own() -> None:
    job = Job(fail, TimeoutError("mine"), 1, timeout=5, critical=False)
    assert play(Engine(job))
    assert str(job.raised_exception()) == "mine"


def test_a_timeout_is_told_as_stopping_first() -> None:
    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(1)

    story = Story()
    job = Job(tidy, timeout=3, critical=False)
    run_virtual(Engine(job, message_queue=story).corun())
    story.check()
    (stopping,) = (tick for tick in story.ticks if isinstance(tick, JobStopping))
    assert (stopping.at, stopping.reason) == (3, "it took more than its 3s")
    assert job.ended_at == 4


def test_one_that_swallows_its_timeout_is_abandoned_and_not_tried_again() -> None:
    stubborn = Stubborn(30, timeout=2, retry=5, critical=False)
    engine = Engine(stubborn, Job(value, 1, 100), cancel_grace=3)
    assert not play(engine)
    assert stubborn.state is CANCELLED
    assert stubborn.ended_at == 5
    assert stubborn.asked == 1


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_a_timeout_of_zero_leaves_one_step(timeout: float) -> None:
    steps: list[int] = []

    async def work() -> None:
        steps.append(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(1)

    job = Job(work, timeout=timeout, critical=False)
    assert play(Engine(job))
    assert steps == [1]
    assert isinstance(job.raised_exception(), TimeoutError)
    assert play(Engine(Job(nothing, timeout=timeout)))


# -- cancelled -------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.5, 1, 3, 6, 6.5])
@pytest.mark.parametrize("retry", [waiting(5), 3], ids=["tenacity", "number"])
def test_cancelled_by_hand_at_any_moment_it_is_cancelled(at: float, retry: Any) -> None:
    """In an attempt, at its end, in the pause, at the end of the pause."""
    flaky = Flaky(100, 1)
    job = Job(flaky, retry=retry, critical=False)
    story = Story()

    async def main() -> None:
        asyncio.get_running_loop().call_later(at, job.cancel)
        await Engine(job, message_queue=story).corun()

    run_virtual(main())
    story.check()
    if retry != 3 or at < 4:
        assert job.state is CANCELLED
        assert job.ended_at == at


@pytest.mark.parametrize("critical", [True, False])
def test_killed_in_the_pause_by_somebody_else_it_is_over(critical: bool) -> None:
    """As by a library that cancels all tasks it can find."""
    victim = Job(Flaky(100), retry=waiting(10), label="victim", critical=critical)

    async def kill() -> None:
        await asyncio.sleep(2)
        next(task for task in asyncio.all_tasks() if task.get_name() == "victim").cancel()

    engine = Engine(victim, Job(kill), Job(value, 1, 4))
    assert play(engine) is not critical
    assert victim.ended_at == 2
    assert victim.state in {FAILED, CANCELLED}


def test_cancelled_while_a_timed_out_attempt_cleans_up() -> None:
    cleanups: list[str] = []

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(3)
            cleanups.append("whole")

    job = Job(tidy, timeout=2, retry=5, critical=False)

    async def main() -> None:
        asyncio.get_running_loop().call_later(3, job.cancel)
        await Engine(job).corun()

    run_virtual(main())
    assert job.state is CANCELLED
    assert job.ended_at == 5
    assert cleanups == ["whole"]


HUNGRY: dict[str, Callable[[], Any]] = {
    "any result": lambda: waiting(1, retry=tenacity.retry_if_result(lambda _: True)),
    "any exception": lambda: waiting(1, retry=tenacity.retry_if_exception(lambda _: True)),
    "always": lambda: AsyncRetrying(wait=tenacity.wait_fixed(1), retry=tenacity.retry_always),
}


async def swallow() -> None:
    try:
        await for_ever()
    except asyncio.CancelledError:
        return


@pytest.mark.parametrize("hungry", HUNGRY)
@pytest.mark.parametrize("work", [for_ever, swallow])
def test_whatever_tenacity_would_do_a_cancelled_job_is_cancelled(
    hungry: str, work: Callable[[], Any]
) -> None:
    job = Job(work, retry=HUNGRY[hungry](), label="hungry")
    engine = Engine(job, timeout=5, cancel_grace=1)
    assert run_virtual(lasts(engine.corun())) == 5
    assert job.state is CANCELLED
    assert "abandoned" not in engine.why()


@pytest.mark.parametrize("where", ["attempt", "pause"])
def test_when_the_run_stops_there_is_no_other_attempt(where: str) -> None:
    flaky = Flaky(100, 4)
    job = Job(flaky, retry=waiting(4), label="flaky")
    engine = Engine(job, timeout=2 if where == "attempt" else 6)
    run_virtual(lasts(engine.corun()))
    assert flaky.calls == 1
    assert job.state is CANCELLED


def test_one_that_fails_as_the_run_stops_is_failed() -> None:
    async def untidy() -> None:
        try:
            await for_ever()
        finally:
            raise KeyError("in finally")

    job = Job(untidy, retry=waiting(5))
    errors = explanation(Engine(job, timeout=2))
    assert {type(error) for error in errors} == {TimeoutError, KeyError}
    assert job.state is FAILED


# -- engines, and what is left ---------------------------------------------------------------


def test_a_nested_engine_is_tried_again_as_a_whole() -> None:
    flaky, calls = Flaky(2, 1), []

    async def first() -> None:
        calls.append(1)

    shut: list[str] = []

    async def shutdown() -> None:
        shut.append("first")

    one = Job(first, coshutdown=shutdown)
    two, three = Job(flaky, required=one), Job(value, 3)
    three.requires(two)
    inner = Engine(one, two, three, retry=waiting(10), label="inner")
    after = Job(nothing, required=inner)
    assert play(Engine(inner, after))
    assert (len(calls), flaky.calls) == (3, 3)
    assert inner.ended_at == 23
    assert [job.state for job in inner] == [FINISHED] * 3
    assert inner.why() == "3 jobs finished in 1.0s"
    assert shut == ["first"]  # exactly once, at the end of the outermost run


def test_a_nested_engine_that_fails_for_good() -> None:
    inner = Engine(Job(Flaky(100)), retry=2, label="inner")
    (error,) = explanation(Engine(inner))
    assert isinstance(error, EngineFailed)
    assert [str(each) for each in error.exceptions] == ["attempt 3"]


def test_a_used_coroutine_in_a_nested_engine_is_told_and_its_error_not_lost() -> None:
    inner = Engine(Job(fail(), label="once"), retry=2, label="inner")
    engine = Engine(inner)
    (error,) = explanation(engine)
    text = repr(error) + repr(error.__cause__) + repr(error.__context__) + repr(engine.failures)
    assert "boom" in text


# Not with tenacity, whose own state holds the error that holds it.
ENDS: dict[str, Callable[[], Engine]] = {
    "number": lambda: Engine(Job(Flaky(100), retry=2, critical=False)),
    "timeout": lambda: Engine(Job(for_ever, timeout=0.001, retry=2, critical=False)),
    "nested": lambda: Engine(Engine(Job(Flaky(100)), retry=2, critical=False)),
}


@pytest.mark.parametrize("end", ENDS)
def test_attempts_leave_no_cycle_behind(end: str) -> None:
    engine = ENDS[end]()
    with no_leaks(cycles=True):
        engine.orchestrate()


variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def test_attempts_are_made_in_one_task() -> None:
    tasks: set[object] = set()

    async def work() -> None:
        tasks.add(asyncio.current_task())
        raise ValueError

    assert play(Engine(Job(work, retry=3, critical=False)))
    assert len(tasks) == 1
