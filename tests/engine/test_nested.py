"""Engines in engines: each is one job outside, and a run of its own inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from engine import (
    AbstractJob,
    AlreadyRunning,
    Engine,
    EngineFailed,
    Job,
    JobAbandoned,
    JobCancelled,
    JobSkipped,
    Message,
    RunEnded,
    RunStarted,
    State,
    StopReason,
    Tick,
)
from engine.testing import Story, cancel_everywhere, no_leaks, run_virtual
from tests.engine.cast import (
    Stubborn,
    explanation,
    fail,
    for_ever,
    lasts,
    nothing,
    play,
    value,
)

FINISHED, FAILED = State.FINISHED, State.FAILED
CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED


def nest(job: Any, depth: int, **options: Any) -> Engine:
    """Return `job` in an engine in an engine..., `depth` of them, named from the inside."""
    for level in range(depth):
        job = Engine(job, label=f"level {level}", **options)
    assert isinstance(job, Engine)
    return job


def innermost(error: BaseException) -> tuple[int, BaseException]:
    """Return how many groups there are round an exception, and that exception."""
    depth = 0
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
        depth += 1
    return depth, error


# -- good ends -------------------------------------------------------------------------------


def test_a_nested_engine_is_one_job_with_the_result_true() -> None:
    inner = Engine(Job(value, 1, 2), Job(value, 1, 3), label="inner")
    first, last = Job(value, 1, 1), Job(nothing, required=inner)
    inner.requires(first)
    assert play(Engine(first, inner, last))
    assert inner.result() is True
    assert (inner.started_at, inner.ended_at) == (1, 4)
    assert inner.why() == "2 jobs finished in 3.0s"
    assert last.started_at == 4


def test_an_empty_one() -> None:
    inner = Engine()
    assert play(Engine(inner, Job(nothing, required=inner)))


def test_in_the_outer_window_it_is_one() -> None:
    inner = Engine(*(Job(value, 1, 1) for _ in range(5)))
    other = Job(value, 1, 1)
    assert play(Engine(inner, other, jobs_window=1))
    assert (inner.ended_at, other.started_at) == (1, 1)


def test_its_own_window_is_its_own() -> None:
    inner = Engine(*(Job(value, 1, 1) for _ in range(4)), jobs_window=2)
    assert play(Engine(inner, *(Job(value, 1, 1) for _ in range(5))))
    assert inner.ended_at == 2


def test_a_forever_one_is_cancelled_at_the_end() -> None:
    inside = Job(for_ever)
    inner = Engine(inside, forever=True)
    assert play(Engine(inner, Job(value, 1, 3), Job(nothing, required=inner)))
    assert (inner.state, inside.state) == (CANCELLED, CANCELLED)


# -- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_failure_comes_out_in_one_group_for_each_engine(depth: int) -> None:
    error = ValueError("deep")
    engine = nest(Job(fail, error, label="culprit"), depth)
    with pytest.raises(EngineFailed) as failed:
        run_virtual(engine.corun())
    assert innermost(failed.value) == (depth, error)
    assert error.__notes__ == ["job culprit"]
    assert len(engine.failures) == depth
    assert all(word in engine.why() for word in ("culprit", "deep"))


def test_except_star_reaches_through_all_of_them() -> None:
    caught: list[BaseException] = []

    async def main() -> None:
        try:
            await nest(Job(fail, KeyError("deep")), 4).corun()
        except* KeyError as group:
            caught.append(innermost(group)[1])

    run_virtual(main())
    assert [type(error) for error in caught] == [KeyError]


def test_its_failure_stops_the_outer_run_if_it_is_critical() -> None:
    inner, other = Engine(Job(fail, None, 1)), Job(for_ever)
    engine = Engine(inner, other)
    assert run_virtual(lasts(engine.corun())) == 1
    assert (inner.state, other.state) == (FAILED, CANCELLED)


def test_and_else_not() -> None:
    inner, other = Engine(Job(fail, None, 1), Job(for_ever), critical=False), Job(value, 1, 5)
    assert play(Engine(inner, other))
    assert (inner.state, other.state) == (FAILED, FINISHED)
    assert isinstance(inner.raised_exception(), EngineFailed)


def test_its_keep_going_is_its_own() -> None:
    a, b = Job(fail, None, 1), Job(value, 1, 3)
    inner = Engine(a, b, keep_going=True, critical=False)
    assert play(Engine(inner, Job(value, 1, 5)))
    assert b.state is FINISHED
    c, d = Job(fail, None, 1), Job(value, 1, 3)
    outer = Engine(Engine(c, d, critical=False), keep_going=True)
    assert play(outer)
    assert d.state is CANCELLED


def test_its_timeout_is_its_own() -> None:
    inner = Engine(Job(for_ever, label="slow"), timeout=2, critical=False, label="inner")
    other = Job(value, 1, 5)
    engine = Engine(inner, other, timeout=60)
    assert play(engine)
    error = inner.raised_exception()
    assert error is not None
    assert isinstance(innermost(error)[1], TimeoutError)
    assert inner.exit_status == 124
    assert engine.exit_status == 0


@pytest.mark.parametrize("depth", [1, 3])
def test_when_it_never_starts_all_in_it_is_skipped(depth: int) -> None:
    inside = Job(nothing, label="inside")
    culprit = Job(fail, critical=False, label="culprit")
    inner = nest(inside, depth)
    inner.requires(culprit)
    (error,) = explanation(Engine(culprit, inner))
    assert isinstance(error, JobSkipped)
    assert {job.state for job in inner.iterate_jobs(scan_engines=True)} == {SKIPPED}
    with pytest.raises(JobSkipped, match="culprit failed"):
        inside.result()
    assert "culprit failed" in inner.why()


def test_what_it_said_in_an_earlier_run_is_forgotten() -> None:
    outcomes: list[Any] = [None, ValueError("second run")]

    async def first() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    gate = Job(first, label="gate")
    inner = Engine(Job(nothing), label="inner", required=gate)
    engine = Engine(gate, inner)
    assert engine.orchestrate()
    assert inner.exit_status == 0
    assert not engine.orchestrate()
    assert inner.state is SKIPPED
    assert inner.exit_status == 1
    assert "gate failed" in inner.why()


# -- cancelled -------------------------------------------------------------------------------


def test_cancelled_from_outside_all_are_at_every_depth() -> None:
    inside = Job(for_ever)
    engine = nest(inside, 5)

    async def main() -> None:
        task = asyncio.create_task(engine.corun())
        await asyncio.sleep(1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert inside.state is CANCELLED
    assert {job.state for job in engine.iterate_jobs(scan_engines=True)} == {CANCELLED}


@pytest.mark.parametrize("at", [0, 1, 3])
def test_cancelled_by_hand_before_or_after_its_start(at: float) -> None:
    gate, inside = Job(value, 1, 2), Job(for_ever)
    inner = Engine(inside, label="inner", required=gate)
    later = Job(nothing, required=inner, critical=False)
    engine = Engine(gate, inner, later)
    story = Story()
    engine.message_queue = story

    async def main() -> bool:
        asyncio.get_running_loop().call_later(at, inner.cancel, "by hand")
        return await engine.corun()

    with pytest.raises(EngineFailed) as failed:
        run_virtual(main())
    story.check()
    assert isinstance(failed.value.exceptions[0], JobCancelled)
    assert inner.state is CANCELLED
    assert inside.state is (SKIPPED if at < 2 else CANCELLED)
    assert later.state is SKIPPED
    assert gate.state is FINISHED


def test_cancelled_between_its_start_and_its_first_step() -> None:
    inside = Job(nothing)
    inner = Engine(inside, label="inner", critical=False)
    story = Story()

    async def main() -> None:
        asyncio.get_running_loop().call_soon(inner.cancel)
        await Engine(inner, message_queue=story).corun()

    run_virtual(main())
    story.check()
    assert (inner.state, inside.state) == (CANCELLED, SKIPPED)


@pytest.mark.parametrize("at", [1, 3])
def test_a_job_in_it_cancelled_before_or_after_its_start(at: float) -> None:
    gate = Job(value, 1, 2)
    victim, other = Job(for_ever, critical=False), Job(value, 1, 5)
    inner = Engine(victim, other, Job(nothing, after=victim), required=gate)

    async def main() -> bool:
        asyncio.get_running_loop().call_later(at, victim.cancel)
        return await Engine(gate, inner).corun()

    assert run_virtual(main())
    assert (victim.state, other.state) == (CANCELLED, FINISHED)
    assert inner.ended_at == 7


def test_all_in_it_cancelled_before_its_start() -> None:
    gate = Job(value, 1, 2)
    victims = [Job(nothing, critical=False) for _ in range(3)]
    inner = Engine(*victims, required=gate)

    async def main() -> bool:
        for victim in victims:
            asyncio.get_running_loop().call_later(1, victim.cancel)
        return await Engine(gate, inner).corun()

    assert run_virtual(main())
    assert inner.state is FINISHED


def test_the_outer_grace_includes_the_inner_one() -> None:
    """So that the inner engine can say itself who did not end."""
    stubborn = Stubborn(label="mule")
    inner = Engine(stubborn, cancel_grace=4, label="inner")
    middle = Engine(inner, cancel_grace=2, label="middle")
    engine = Engine(middle, timeout=1, cancel_grace=1)
    assert run_virtual(lasts(engine.corun())) == 5
    assert (stubborn.state, inner.state, middle.state) == (CANCELLED, CANCELLED, CANCELLED)
    assert "mule" in inner.why()


@pytest.mark.parametrize(
    ("inner_grace", "outer_grace"), [(0, 0), (3, 0), (0, 3), (1, 1)], ids=lambda grace: f"{grace}s"
)
@pytest.mark.parametrize("cleanup", [0, 1, 3, 5])
def test_of_two_graces_that_end_together_the_inner_one_comes_first(
    inner_grace: float, outer_grace: float, cleanup: float
) -> None:
    """However long both last, it is the job that is abandoned, not the engine round it."""

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            end = asyncio.get_running_loop().time() + cleanup
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)

    async def shutdown() -> None:
        await asyncio.sleep(5)

    job = Job(tidy, label="job")
    middle = Engine(Engine(job, cancel_grace=inner_grace, label="inner"), cancel_grace=0)
    other = Job(nothing, label="other", coshutdown=shutdown)
    engine = Engine(middle, other, timeout=1, cancel_grace=outer_grace)
    assert not play(engine)
    assert job.state is CANCELLED
    assert job.ended_at == 1 + min(cleanup, inner_grace)
    abandoned = [each.label for each in engine.iterate_jobs(scan_engines=True) if given_up(each)]
    assert abandoned == (["job"] if cleanup > inner_grace else [])


def given_up(job: AbstractJob) -> bool:
    """Whether a job is said to have been abandoned itself."""
    try:
        job.exception()
    except asyncio.CancelledError as error:
        return str(error).startswith("abandoned")
    return False


class Deaf(Engine):
    """An engine that goes on for a while after its end, whatever is asked of it."""

    async def corun(self) -> bool:
        """Run, then swallow."""
        with suppress(asyncio.CancelledError, EngineFailed):
            await super().corun()
        for _ in range(12):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
        return True


async def long_shutdown() -> None:
    """Take longer than the engine that was abandoned."""
    await asyncio.sleep(20)


def test_an_engine_that_does_not_end_is_abandoned_itself() -> None:
    deaf = Deaf(Job(for_ever), cancel_grace=2, label="deaf")
    engine = Engine(deaf, timeout=1, cancel_grace=3, shutdown_timeout=60)
    engine.add(Job(nothing, coshutdown=long_shutdown))
    story = Story()
    engine.message_queue = story
    assert run_virtual(lasts(engine.corun())) == 6 + 20
    story.check()
    assert "deaf" in engine.why()
    assert [job.state for job in engine] == [CANCELLED, FINISHED]


@pytest.mark.parametrize("forever", [True, False])
def test_an_abandoned_job_at_any_depth_makes_it_false(forever: bool) -> None:
    stubborn = Stubborn(label="mule", forever=True, critical=False)
    inner = Engine(stubborn, Job(value, 1, 1), forever=forever, label="inner")
    if forever:
        inner.add(Job(for_ever))
    errors = explanation(Engine(inner, Job(value, 1, 2)))
    found = [innermost(error)[1] for error in errors]
    assert any(isinstance(error, JobAbandoned) for error in found)


def test_cancelled_everywhere() -> None:
    def make() -> Engine:
        deep = Engine(Job(value, 1, 1, label="x"), Job(value, 1, 2, label="y"), label="deep")
        inner = Engine(Job(value, 1, 1, label="a"), deep, label="inner", jobs_window=1)
        bus = Engine(Job(for_ever, forever=True, label="bus"), forever=True, label="buses")
        return Engine(bus, inner, Job(nothing, label="end", required=inner), label="e")

    assert cancel_everywhere(make) > 10


# -- a run of its own, or not ----------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before it begins", "while it runs", "when it is over"])
def test_while_the_outer_one_runs_it_is_running(moment: str) -> None:
    refused: list[str] = []
    inner = Engine(Job(value, 1, 2), label="inner")
    gate, end = Job(value, 1, 2), Job(value, 1, 10)
    inner.requires(gate)

    async def try_it() -> None:
        await asyncio.sleep(
            {"before it begins": 1, "while it runs": 3, "when it is over": 6}[moment]
        )
        attempts: list[Callable[[], Any]] = [
            inner.orchestrate,
            lambda: inner.remove(inner.jobs[0]),
            lambda: inner.keep_only(None),
        ]
        for attempt in attempts:
            with pytest.raises(AlreadyRunning, match="inner"):
                attempt()
            refused.append("yes")
        with pytest.raises(AlreadyRunning, match="inner"):
            await inner.corun()

    assert play(Engine(gate, inner, end, Job(try_it)))
    assert len(refused) == 3


def test_while_it_runs_by_itself_no_outer_one_can_start_it() -> None:
    inner = Engine(Job(value, 1, 2), label="inner")
    outer, late = Engine(label="outer"), Engine(label="late")

    async def try_it() -> None:
        run = asyncio.create_task(inner.corun())
        await asyncio.sleep(1)
        with pytest.raises(AlreadyRunning, match="inner"):
            late.add(inner)
        outer.add(nest(inner, 1))
        with pytest.raises(AlreadyRunning, match="inner"):
            outer.orchestrate()
        with pytest.raises(AlreadyRunning, match="inner"):
            await outer.corun()
        assert await run

    late.add(Job(try_it))
    assert play(late)
    assert play(outer)
    assert len(late) == 1


def test_by_itself_it_is_a_run_like_any_other() -> None:
    inner = Engine(Job(value, 1, 1), label="inner")
    outer = Engine(inner, label="outer")
    assert play(inner)
    assert play(outer)
    assert play(inner)
    inner.add(Job(fail))
    assert not play(inner)
    assert outer.exit_status == 0


def test_a_subclass_may_do_something_round_its_run() -> None:
    log: list[str] = []

    class Setup(Engine):
        """Sets up before, and tears down after."""

        async def corun(self) -> bool:
            """Log."""
            log.append("up")
            await asyncio.sleep(1)
            try:
                return await super().corun()
            finally:
                await asyncio.sleep(1)
                log.append("down")

    inner = Setup(Job(value, 1, 2))
    story = Story()
    assert run_virtual(Engine(inner, message_queue=story).corun())
    story.check()
    assert inner.duration == 4
    failing = Setup(Job(fail))
    assert not play(Engine(failing))
    assert log == ["up", "down"] * 2


# -- what is told ----------------------------------------------------------------------------


def test_there_is_one_start_and_one_end_told_by_the_outermost() -> None:
    story, inner_story = Story(), Story()
    inner = Engine(Job(nothing, label="x"), label="inner", message_queue=inner_story, jobs_window=3)
    engine = Engine(Job(nothing, label="a"), inner, label="outer", message_queue=story, timeout=9)
    assert run_virtual(engine.corun())
    story.check()
    (start,) = (tick for tick in story.ticks if isinstance(tick, RunStarted))
    (end,) = (tick for tick in story.ticks if isinstance(tick, RunEnded))
    rows = [(row.id, row.label, row.kind, row.engine, row.window) for row in start.jobs]
    assert rows == [
        ("1", "a", "Job", None, None),
        ("2", "inner", "Engine", None, 3),
        ("2.1", "x", "Job", "2", None),
    ]
    assert (start.label, start.timeout) == ("outer", 9)
    assert dict(end.counts) == {FINISHED: 3}
    warnings = [tick.text for tick in story.ticks if isinstance(tick, Message)]
    assert len(warnings) == 1
    assert "inner" in warnings[0]
    assert inner_story.ticks == []


def test_ids_at_every_depth() -> None:
    story = Story()
    engine = nest(Job(nothing), 4)
    engine.message_queue = story
    assert run_virtual(engine.corun())
    (start,) = (tick for tick in story.ticks if isinstance(tick, RunStarted))
    assert [row.id for row in start.jobs] == ["1", "1.1", "1.1.1", "1.1.1.1"]


def test_by_itself_it_uses_its_own_queue() -> None:
    story = Story()
    inner = Engine(Job(nothing), message_queue=story)
    outer = Engine(inner)
    assert run_virtual(inner.corun())
    story.check()
    assert inner.engine is outer


def test_a_stop_inside_is_not_told_as_a_stop_of_the_run() -> None:
    story = Story()
    inner = Engine(Job(fail, None, 1), critical=False)
    run_virtual(Engine(inner, Job(value, 1, 3), message_queue=story).corun())
    story.check()
    stops: list[Tick] = [tick for tick in story.ticks if type(tick).__name__ == "RunStopping"]
    assert [(stop.at, getattr(stop, "reason", None)) for stop in stops] == [(3, StopReason.DONE)]


# -- depth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["success", "failure", "skipped", "cancelled", "timeout", "tried"])
def test_two_hundred_engines_deep(end: str) -> None:
    job = Job(
        fail if end == "failure" else for_ever if end in {"cancelled", "timeout"} else nothing
    )
    engine = nest(job, 200)
    gate = Job(fail, critical=False)
    engine.requires(gate)
    outer = Engine(gate, engine, timeout=3 if end == "timeout" else None)
    if end != "skipped":
        engine.requires(gate, remove=True)
    if end == "cancelled":

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    await outer.corun()

        run_virtual(main())
    else:
        assert play(outer) is (end in {"success", "tried"})
    expected = {
        "success": FINISHED,
        "tried": FINISHED,
        "failure": FAILED,
        "skipped": SKIPPED,
        "cancelled": CANCELLED,
        "timeout": CANCELLED,
    }
    assert job.state is expected[end]
    assert {each.state for each in engine.iterate_jobs(scan_engines=True)} == {expected[end]}
    assert outer.why().isprintable()


def test_an_engine_too_deep_is_refused_or_run_and_never_left_half_started() -> None:
    """Wherever the depth that the interpreter can take may end."""
    job = Job(nothing)
    engine = nest(job, 3000)
    for _ in range(2):
        try:
            assert engine.orchestrate()
            assert job.state is FINISHED
        except RecursionError:
            assert not job.is_running()
    while engine.jobs and isinstance(engine.jobs[0], Engine):
        # Taken apart from the outside, as its own deallocation recurses.
        inner = engine.jobs[0]
        engine.remove(inner)
        engine = inner


def test_nested_runs_leave_no_cycle_behind() -> None:
    engine = Engine(
        nest(Job(fail), 3, critical=False), nest(Job(nothing), 3), nest(for_ever_in_an_engine(), 2)
    )
    with no_leaks(cycles=True):
        engine.orchestrate()


def for_ever_in_an_engine() -> Engine:
    return Engine(Job(for_ever), timeout=0.01, critical=False)
