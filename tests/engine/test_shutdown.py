"""Shutdown: every job that was started, once, in reverse order, faults isolated, bounded."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from engine import AbstractJob, Engine, EngineFailed, Job, JobCancelled, Sequence, State, run
from engine.testing import Story, run_virtual
from tests.engine.cast import Stubborn, fail, for_ever, lasts, nothing, now, play, value

CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED


class Log:
    """What was shut down, and when."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.times: dict[str, tuple[float, float]] = {}

    def job(self, label: str, seconds: float = 0, work: Any = nothing, **options: Any) -> Job:
        """Return a job whose shutdown takes so long."""
        return Job(work, label=label, coshutdown=self.shutdown(label, seconds), **options)

    def shutdown(self, label: str, seconds: float = 0) -> Callable[[], Any]:
        async def coshutdown() -> None:
            begin = await now()
            self.lines.append(label)
            await asyncio.sleep(seconds)
            self.times[label] = begin, await now()

        return coshutdown


async def hang() -> None:
    await for_ever()


async def swallow() -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 1000
    while (left := end - loop.time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


# -- who and when ----------------------------------------------------------------------------


def test_after_the_run_in_reverse_order_independent_ones_together() -> None:
    log = Log()
    a, b, c, d = (log.job(label, 2) for label in "abcd")
    d.requires(b)
    b.after(a)
    c.requires(a)
    assert play(Engine(a, b, c, d))
    assert log.times == {"c": (0, 2), "d": (0, 2), "b": (2, 4), "a": (4, 6)}


def test_one_that_has_nothing_to_do_hands_the_order_on() -> None:
    log = Log()
    a, c = log.job("a", 1), log.job("c", 1)
    b = Job(nothing, required=a)
    c.requires(b)
    assert play(Engine(a, b, c))
    assert log.times == {"c": (0, 1), "a": (1, 2)}


def test_one_that_was_skipped_hands_the_order_on() -> None:
    log = Log()
    a, b, c = (log.job(label, 1) for label in "abc")
    culprit = Job(fail, critical=False)
    b.requires(a, culprit)
    c.after(b)
    assert not play(Engine(a, culprit, b, c))
    assert log.lines == ["c", "a"]


ENDS: dict[str, Callable[[Log], AbstractJob]] = {
    "finished": lambda log: log.job("x"),
    "failed": lambda log: log.job("x", work=fail, critical=False),
    "timed out": lambda log: log.job("x", work=for_ever, timeout=1, critical=False),
    "retried": lambda log: log.job("x", work=fail, retry=3, critical=False),
    "forever": lambda log: log.job("x", work=for_ever, forever=True),
    "in a nested engine": lambda log: Engine(log.job("x")),
    "in a nested engine that failed": lambda log: Engine(log.job("x"), Job(fail), critical=False),
    "in a nested engine that was retried": lambda log: Engine(
        log.job("x"), Job(fail), retry=2, critical=False
    ),
    "in a forever engine": lambda log: Engine(log.job("x", work=for_ever), forever=True),
}


@pytest.mark.parametrize("end", ENDS)
def test_however_it_ended_it_is_shut_down_once(end: str) -> None:
    log = Log()
    engine = Engine(ENDS[end](log), Job(value, 1, 5))
    assert play(engine)
    assert log.lines == ["x"]
    engine.shutdown()
    assert log.lines == ["x"]


@pytest.mark.parametrize("how", ["failure", "timeout", "cancel", "interrupt", "engine.cancel"])
def test_however_the_run_ended(how: str) -> None:
    log = Log()
    bad: dict[str, Job] = {
        "failure": Job(fail, None, 1),
        "interrupt": Job(fail, KeyboardInterrupt(), 1),
    }
    started = log.job("started", work=for_ever)
    never = log.job("never", required=started)
    engine = Engine(started, never, timeout=1 if how == "timeout" else None)
    if how in bad:
        engine.add(bad[how])

    async def main() -> None:
        task = asyncio.create_task(engine.corun())
        if how == "cancel":
            asyncio.get_running_loop().call_later(1, task.cancel)
        elif how == "engine.cancel":
            asyncio.get_running_loop().call_later(1, engine.cancel)
        await task

    with pytest.raises((EngineFailed, asyncio.CancelledError, KeyboardInterrupt)):
        run_virtual(main())
    assert log.lines == ["started"]


def test_told_to_start_counts_as_started() -> None:
    """Even if it was cancelled before its first step."""
    log = Log()
    victim = log.job("victim", critical=False)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(victim.cancel)
        await Engine(victim).corun()

    run_virtual(main())
    assert victim.state is CANCELLED
    assert log.lines == ["victim"]


def test_cancelled_while_it_waits_it_never_started() -> None:
    log = Log()
    gate = Job(value, 1, 5)
    victim = log.job("victim", required=gate, critical=False)

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, victim.cancel)
        await Engine(gate, victim).corun()

    run_virtual(main())
    assert log.lines == []


def test_an_abandoned_one_is_shut_down_too() -> None:
    log = Log()

    class Mule(Stubborn):
        """With a shutdown."""

        async def coshutdown(self) -> None:
            """Take note."""
            log.lines.append("mule")

    assert not play(Engine(Mule(timeout=1, critical=False), cancel_grace=1))
    assert log.lines == ["mule"]


def test_a_second_run_shuts_down_again() -> None:
    log = Log()
    engine = Engine(log.job("a"))
    for _ in range(3):
        assert engine.orchestrate()
    assert log.lines == ["a"] * 3


def test_a_coroutine_object_serves_one_run() -> None:
    log = Log()
    engine = Engine(Job(nothing, coshutdown=log.shutdown("a")()))
    assert engine.orchestrate()
    assert engine.orchestrate()
    assert log.lines == ["a"]


def test_a_run_that_was_refused_shuts_nothing_down() -> None:
    log = Log()
    a = log.job("a")
    engine = Engine(a, b := log.job("b"))
    a.requires(b)
    b.requires(a)
    with pytest.raises(ValueError, match=r"a -> b|b -> a"):
        engine.orchestrate()
    engine.shutdown()
    assert log.lines == []


def test_partials_objects_and_subclasses_can_be_shut_down() -> None:
    calls: list[object] = []

    async def close(what: object) -> None:
        calls.append(what)

    class Closer:
        """With an async ``__call__``."""

        async def __call__(self) -> None:
            calls.append("object")

    class Closes(AbstractJob):
        """With a method."""

        async def corun(self) -> None:
            """Do nothing."""

        async def coshutdown(self) -> None:
            """Take note."""
            calls.append("method")

    class Inherits(Closes):
        """From that one."""

    engine = Engine(
        Sequence(
            Job(nothing, coshutdown=functools.partial(close, "partial")),
            Job(nothing, coshutdown=Closer()),
            Closes(),
            Inherits(),
        )
    )
    assert engine.orchestrate()
    assert calls == ["method", "method", "object", "partial"]


# -- nested ----------------------------------------------------------------------------------


def test_a_nested_engine_is_shut_down_as_one_in_its_place() -> None:
    log = Log()
    inner = Engine(Sequence(log.job("x", 1), log.job("y", 1)), log.job("z", 1), label="inner")
    a, b = log.job("a", 1), log.job("b", 1)
    inner.requires(a)
    b.requires(inner)
    assert play(Engine(a, inner, b))
    times = {label: begin for label, (begin, _) in log.times.items()}
    assert times["b"] == 0 + min(times.values())
    assert times["y"] == times["z"] == times["b"] + 1
    assert times["x"] == times["y"] + 1
    assert times["a"] == times["x"] + 1


def test_not_before_the_end_of_the_outermost_run() -> None:
    log = Log()
    inner = Engine(log.job("x"))
    last = Job(value, 1, 5, required=inner)
    assert play(Engine(inner, last))
    assert log.times["x"] == (5, 5)


def test_one_that_never_started_is_not() -> None:
    log = Log()
    culprit = Job(fail, critical=False)
    inner = Engine(log.job("x"), required=culprit)
    assert not play(Engine(culprit, inner))
    assert log.lines == []


def test_faults_at_every_depth_are_collected() -> None:
    deep = Job(nothing, coshutdown=functools.partial(fail, KeyError("deep")), label="deep")
    shallow = Job(
        nothing, coshutdown=functools.partial(fail, ValueError("shallow")), label="shallow"
    )
    engine = Engine(shallow, Engine(Engine(deep)))
    assert not play(engine)
    assert {job: type(error) for job, error in engine.shutdown_failures.items()} == {
        shallow: ValueError,
        deep: KeyError,
    }


def test_the_outer_bound_holds_for_what_is_inside() -> None:
    log = Log()
    inner = Engine(log.job("x", 50), log.job("y", 1), shutdown_timeout=100)
    engine = Engine(inner, shutdown_timeout=3)
    assert run_virtual(lasts(engine.corun())) <= 3.1
    assert sorted(log.lines) == ["x", "y"]
    assert "y" in log.times
    assert {job.label for job in engine.shutdown_failures} >= {"x"}


@pytest.mark.parametrize("bound", [0, 2])
def test_once_the_time_is_spent_all_are_called_at_every_depth(bound: float) -> None:
    log = Log()

    def row(name: str, length: int, depth: int) -> Engine:
        jobs: list[AbstractJob] = [log.job(f"{name}{place}", 9) for place in range(length)]
        jobs.extend(row(f"{name}.", length, depth - 1) for _ in range(depth > 0))
        return Engine(Sequence(*jobs))

    engine = Engine(row("a", 1, 0), row("b", 3, 2), row("c", 5, 1), shutdown_timeout=bound)
    assert run_virtual(lasts(engine.corun())) <= bound + 0.1
    names = [str(job.label) for job in engine.iterate_jobs()]
    assert sorted(log.lines) == sorted(names)
    for job in engine.iterate_jobs():
        for other in job.required:
            assert log.lines.index(str(job.label)) < log.lines.index(str(other.label))


def test_an_inner_bound_of_its_own() -> None:
    log = Log()
    inner = Engine(log.job("x", 50), shutdown_timeout=2)
    outer = log.job("a", 1)
    inner.requires(outer)
    engine = Engine(outer, inner)
    assert run_virtual(lasts(engine.corun())) == pytest.approx(3, abs=0.2)
    assert "a" in log.times
    assert "x" in {job.label for job in engine.shutdown_failures}


# -- faults ----------------------------------------------------------------------------------


class Falsy(Exception):
    """An exception that is false."""

    def __bool__(self) -> bool:
        return False


class NotEvenAnError(BaseException):
    """Neither an error nor a signal to leave."""


FAULTS: list[BaseException] = [
    ValueError("boom"),
    Falsy(),
    asyncio.CancelledError("its own"),
    TimeoutError(),
    StopAsyncIteration(),
    ExceptionGroup("group", [ValueError("in it")]),
]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_a_fault_in_one_stops_no_other_and_makes_it_false(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log()
    a, c = log.job("a", 1), log.job("c", 1)
    b = Job(nothing, label="culprit", coshutdown=functools.partial(fail, error))
    b.requires(a)
    c.requires(b)
    engine = Engine(a, b, c)
    with pytest.raises(EngineFailed, match="shutdown failed: culprit") as failed:
        run_virtual(engine.corun())
    assert log.lines == ["c", "a"]
    assert engine.exit_status == 1
    (job,) = engine.shutdown_failures
    assert job is b
    if not isinstance(error, asyncio.CancelledError):
        assert engine.shutdown_failures == {b: error}
        assert list(failed.value.exceptions) == [error]
    else:
        assert [type(each) for each in failed.value.exceptions] == [JobCancelled]
    assert any("culprit" in note for each in failed.value.exceptions for note in notes(each))
    assert [text for text in caplog.messages if "shutdown of culprit failed" in text]
    assert engine.failures == {}
    assert b.state is State.FINISHED


def notes(error: BaseException) -> list[str]:
    return [*getattr(error, "__notes__", ()), str(error)]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt("now"), SystemExit(3), GeneratorExit(), NotEvenAnError("x")]
)
@pytest.mark.parametrize("depth", [0, 1])
def test_what_is_no_exception_comes_out_when_all_are_shut_down(
    error: BaseException, depth: int
) -> None:
    log = Log()
    culprit: AbstractJob = Job(nothing, coshutdown=functools.partial(fail, error), label="culprit")
    for _ in range(depth):
        culprit = Engine(culprit)
    culprit.requires(a := log.job("a", 0.01))
    engine = Engine(a, culprit, log.job("b", 0.01))
    doors: list[Callable[[], bool]] = [
        engine.orchestrate,
        lambda: run_virtual(engine.corun()),
    ]
    for door in doors:
        log.lines.clear()
        with pytest.raises(type(error)) as raised:
            door()
        assert raised.value is error
        assert log.lines == ["b", "a"]
        assert engine.exit_status != 0
        assert len(engine.shutdown_failures) == 1


def test_a_failure_and_a_fault_are_both_told() -> None:
    bad = Job(fail, ValueError("run"), coshutdown=functools.partial(fail, KeyError("shutdown")))
    with pytest.raises(EngineFailed) as failed:
        run_virtual(Engine(bad).corun())
    assert [type(error) for error in failed.value.exceptions] == [ValueError, KeyError]


def test_a_shutdown_that_is_not_async_is_a_fault() -> None:
    class Plain(AbstractJob):
        """Forgot."""

        async def corun(self) -> None:
            """Do nothing."""

        def coshutdown(self) -> Any:
            """Return nothing that could be awaited."""

    log = Log()
    engine = Engine(plain := Plain(label="plain"), log.job("a"))
    assert not play(engine)
    assert isinstance(engine.shutdown_failures[plain], TypeError)
    assert log.lines == ["a"]


def test_why_names_it() -> None:
    engine = Engine(Job(nothing, coshutdown=fail, label="culprit"))
    assert not play(engine)
    assert "shutdown" in engine.why()
    assert "culprit" in engine.why()


# -- bounds ----------------------------------------------------------------------------------


def test_it_is_bounded_as_a_whole() -> None:
    log = Log()
    jobs = [log.job(str(number), 4) for number in range(5)]
    for before, behind in pairwise(jobs):
        behind.requires(before)
    engine = Engine(*jobs, shutdown_timeout=10)
    assert run_virtual(lasts(engine.corun())) == pytest.approx(10, abs=0.1)
    assert log.lines == ["4", "3", "2", "1", "0"]  # the rest are called all the same
    assert sorted(log.times) == ["3", "4"]
    faults = engine.shutdown_failures
    assert {job.label for job in faults} == {"0", "1", "2"}
    assert {type(error) for error in faults.values()} == {TimeoutError}


def test_once_the_time_is_spent_those_that_need_no_wait_still_do_their_work() -> None:
    done: list[str] = []

    async def at_once() -> None:
        done.append("at once")

    late = Job(nothing, coshutdown=at_once, label="late")
    slow = Job(nothing, coshutdown=hang, label="slow", required=late)
    engine = Engine(late, slow, shutdown_timeout=2)
    assert not play(engine)
    assert done == ["at once"]
    assert {job.label for job in engine.shutdown_failures} == {"slow"}


def test_one_that_swallows_its_cancellation_is_left() -> None:
    log = Log()
    a, b = log.job("a"), Job(nothing, coshutdown=swallow, label="mule")
    b.requires(a)
    engine = Engine(a, b, shutdown_timeout=3)
    assert run_virtual(lasts(engine.corun())) <= 3.1
    assert log.lines == ["a"]
    assert {job.label for job in engine.shutdown_failures} == {"mule"}


def test_one_that_cleans_up_after_its_cancellation_without_waiting() -> None:
    cleaned: list[str] = []

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            cleaned.append("yes")

    engine = Engine(Job(nothing, coshutdown=tidy), shutdown_timeout=1)
    assert run_virtual(lasts(engine.corun())) == 1
    assert cleaned == ["yes"]


@pytest.mark.parametrize("bound", [0, 0.0])
def test_a_bound_of_zero_gives_each_its_first_step(bound: float) -> None:
    log = Log()
    engine = Engine(Sequence(*(log.job(label, 1) for label in "abc")), shutdown_timeout=bound)
    assert not play(engine)
    assert log.lines == ["c", "b", "a"]
    quick = Log()
    engine = Engine(Sequence(*(quick.job(label, 0) for label in "abc")), shutdown_timeout=bound)
    play(engine)
    assert quick.lines == ["c", "b", "a"]


@pytest.mark.parametrize("bound", [None, float("inf")])
def test_without_a_bound_it_takes_what_it_takes(bound: float | None) -> None:
    log = Log()
    assert play(Engine(log.job("a", 1000), shutdown_timeout=bound))


def test_the_timeout_of_the_run_does_not_bound_it() -> None:
    log = Log()
    engine = Engine(log.job("a", 8, work=for_ever), timeout=1)
    assert run_virtual(lasts(engine.corun())) == 9
    assert "a" in log.times


def test_cancelling_the_run_does_not_cut_it_short() -> None:
    log = Log()
    engine = Engine(log.job("a", 4), log.job("b", 2))

    async def main() -> float:
        task = asyncio.create_task(engine.corun())
        for _ in range(3):
            await asyncio.sleep(1)
            task.cancel("again")
        with pytest.raises(asyncio.CancelledError):
            await task
        return await now()

    assert run_virtual(main()) == 4
    assert sorted(log.times) == ["a", "b"]


# -- at random -------------------------------------------------------------------------------


def test_at_random_all_that_started_are_called_once_in_order_and_in_time(
    count: Callable[[int, int], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    rng = Random(8)
    endings = [nothing, functools.partial(asyncio.sleep, 2), fail, hang, swallow]
    for _ in range(count(60, 600)):
        calls: list[int] = []

        def shutdown(number: int, how: Any, calls: list[int] = calls) -> Callable[[], Any]:
            async def coshutdown() -> None:
                calls.append(number)
                await how()

            return coshutdown

        jobs: list[Job] = []
        for number in range(rng.randint(1, 12)):
            how = rng.choice(endings)
            job = Job(nothing, coshutdown=shutdown(number, how), label=str(number))
            for needed in rng.sample(jobs, min(len(jobs), rng.randint(0, 2))):
                (job.requires if rng.random() < 0.5 else job.after)(needed)
            jobs.append(job)
        engine = Engine(*jobs, shutdown_timeout=5)
        assert run_virtual(lasts(engine.corun())) <= 5.1
        assert sorted(calls) == list(range(len(jobs)))
        for job in jobs:
            for other in (*job.required, *job.awaited):
                assert calls.index(int(str(job.label))) < calls.index(int(str(other.label)))


# -- by hand ---------------------------------------------------------------------------------


def test_by_hand_before_any_run_nothing_happens() -> None:
    log = Log()
    engine = Engine(log.job("a"), Engine(log.job("b")))
    assert engine.shutdown() is True
    run(engine.coshutdown())
    assert log.lines == []


def test_by_hand_after_a_run_nothing_happens_again() -> None:
    log = Log()
    bad = Job(nothing, coshutdown=fail)
    engine = Engine(log.job("a"), bad)
    assert not engine.orchestrate()
    for _ in range(2):
        assert engine.shutdown() is False  # what went wrong is still known
        run(engine.coshutdown())
    assert log.lines == ["a"]
    assert list(engine.shutdown_failures) == [bad]


def test_in_the_middle_of_a_run_those_that_run_are_left_alone() -> None:
    log = Log()

    async def early() -> None:
        await asyncio.sleep(1)
        await engine.coshutdown()

    first, running = log.job("first"), log.job("running", work=functools.partial(value, 1, 5))
    engine = Engine(first, running, Job(early))
    assert play(engine)
    assert sorted(log.lines) == ["first", "running"]
    assert log.times["running"][0] == 5


def test_two_at_once_call_each_job_once() -> None:
    log = Log()
    job = log.job("a", 2)
    engine = Engine(job)

    async def main() -> None:
        task = asyncio.create_task(engine.corun())
        await asyncio.sleep(1)  # it is shutting down
        await engine.coshutdown()
        await task

    run_virtual(main())
    assert log.lines == ["a"]


# -- what is told ----------------------------------------------------------------------------


def test_the_run_ends_after_its_shutdown() -> None:
    log, story = Log(), Story()
    engine = Engine(log.job("a", 4), message_queue=story)
    assert run_virtual(engine.corun())
    story.check()
    assert story.ticks[-1].at == 4
    assert engine.duration == 4


def test_jobs_are_over_when_it_begins() -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.extend(job.state for job in engine)

    engine = Engine(Job(nothing, coshutdown=look), Job(for_ever, forever=True), Job(value, 1, 1))
    assert play(engine)
    assert all(state.is_over for state in seen)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_contextvars_of_the_caller_are_seen_in_shutdown() -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(variable.get())

    token = variable.set("set by the caller")
    try:
        assert Engine(Job(nothing, coshutdown=look)).orchestrate()
    finally:
        variable.reset(token)
    assert seen == ["set by the caller"]
