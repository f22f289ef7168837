"""An engine's runs: the two doors, the verdict, what stops a run and what does not, and when."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from engine import (
    AlreadyInEngine,
    AlreadyRunning,
    BadOption,
    CycleError,
    Engine,
    EngineError,
    EngineFailed,
    ForeignRequirement,
    GraphError,
    Job,
    JobAbandoned,
    JobCancelled,
    JobSkipped,
    NotAJob,
    OnlyForever,
    RunEnded,
    RunStopping,
    Sequence,
    State,
    StopReason,
    UsedCoroutine,
    ready,
    run,
)
from engine.testing import Story, cancel_everywhere, run_virtual
from tests.engine.cast import (
    Stubborn,
    explanation,
    fail,
    for_ever,
    lasts,
    nothing,
    now,
    play,
    value,
)

FINISHED, FAILED = State.FINISHED, State.FAILED
CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED


def states(engine: Engine) -> list[State]:
    return [job.state for job in engine]


def stop_reason(engine: Engine) -> StopReason:
    """Run it on a virtual clock, and return why it stopped."""
    story = Story()
    engine.message_queue = story
    with suppress(EngineFailed):
        run_virtual(engine.corun())
    story.check()
    (stopping,) = (tick for tick in story.ticks if isinstance(tick, RunStopping))
    return stopping.reason


# -- the doors -------------------------------------------------------------------------------


def test_an_empty_engine_is_a_success() -> None:
    engine = Engine()
    assert engine.orchestrate() is True
    assert run(engine.corun()) is True
    assert re.fullmatch(r"0 jobs finished in \d+\.\ds", engine.why())
    assert engine.exit_status == 0


def test_both_doors_say_true_of_a_success() -> None:
    engine = Engine(Job(nothing))
    assert engine.orchestrate() is True
    assert asyncio.run(engine.corun()) is True


def test_one_says_false_and_the_other_raises() -> None:
    engine = Engine(Job(fail, label="a"))
    assert engine.orchestrate() is False
    with pytest.raises(EngineFailed) as failed:
        asyncio.run(engine.corun())
    assert isinstance(failed.value, ExceptionGroup | EngineError)
    (error,) = failed.value.exceptions
    assert isinstance(error, ValueError)
    assert error.__notes__ == ["job a"]
    assert str(failed.value) == "a failed: ValueError: boom"


def test_it_has_the_state_of_its_last_run_as_any_job() -> None:
    engine = Engine(Job(value, 1))
    assert engine.state is State.IDLE
    engine.orchestrate()
    assert (engine.state, engine.result(), engine.exception()) == (FINISHED, True, None)
    engine.add(Job(fail))
    engine.orchestrate()
    assert engine.state is FAILED
    assert isinstance(engine.exception(), EngineFailed)
    assert isinstance(engine.raised_exception(), EngineFailed)
    with pytest.raises(EngineFailed):
        engine.result()


@pytest.mark.parametrize("times", [5])
def test_any_number_of_times(times: int) -> None:
    engine = Engine(first := Job(value, 1), Job(value, 2, required=first))
    for _ in range(times):
        assert engine.orchestrate()
        assert run(engine.corun())


def test_an_engine_that_runs_is_not_started_again() -> None:
    tried: list[AlreadyRunning] = []

    async def again() -> None:
        for door in (engine.orchestrate, engine.corun):
            try:
                outcome = door()
                if not isinstance(outcome, bool):
                    await outcome
            except AlreadyRunning as refused:
                tried.append(refused)

    engine = Engine(Job(again), label="busy")
    assert engine.orchestrate()
    assert [refused.jobs for refused in tried] == [(engine,), (engine,)]
    assert all("busy" in str(refused) for refused in tried)


def test_nor_while_it_shuts_down() -> None:
    async def again() -> None:
        await engine.corun()

    engine = Engine(Job(nothing, coshutdown=again, label="a"))
    assert engine.orchestrate() is False
    assert isinstance(engine.shutdown_failures[engine.jobs[0]], AlreadyRunning)


def test_what_is_refused_before_it_runs_changes_nothing() -> None:
    a, b = Job(nothing, label="a"), Job(nothing, label="b")
    engine = Engine(a, b)
    assert engine.orchestrate()
    ended = a.ended_at
    a.requires(b.requires(a))
    for _ in range(2):
        with pytest.raises(CycleError):
            engine.orchestrate()
    assert (a.state, a.ended_at) == (FINISHED, ended)
    b.requires(a, remove=True)
    assert engine.orchestrate()


def test_a_timeout_given_to_the_run_overrides_the_attribute() -> None:
    engine = Engine(Job(asyncio.sleep, 60), timeout=60)
    start = time.monotonic()
    assert engine.orchestrate(timeout=0.02) is False
    assert time.monotonic() - start < 30
    assert engine.timeout == 60
    assert Engine(Job(asyncio.sleep, 0.02), timeout=0).orchestrate(timeout=60)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_timeout_that_makes_no_sense_is_refused(timeout: Any) -> None:
    engine = Engine(Job(nothing), label="culprit")
    with pytest.raises(BadOption, match=r"timeout of culprit"):
        engine.orchestrate(timeout=timeout)
    assert states(engine) == [State.IDLE]


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("jobs_window", 0),
        ("jobs_window", -1),
        ("jobs_window", 1.0),
        ("jobs_window", True),
        ("jobs_window", "1"),
        ("shutdown_timeout", -1),
        ("shutdown_timeout", "1"),
        ("cancel_grace", None),
        ("cancel_grace", -0.1),
        ("cancel_grace", float("nan")),
        ("timeout", -1),
        ("message_queue", 42),
        ("message_queue", []),
    ],
)
def test_options_that_make_no_sense_are_refused(option: str, wrong: Any) -> None:
    with pytest.raises(BadOption, match=rf"{option} of culprit") as refused:
        Engine(Job(nothing), label="culprit", **{option: wrong})
    assert (refused.value.option, refused.value.value) == (option, wrong)


# -- the set ---------------------------------------------------------------------------------


def test_a_set_in_the_order_of_insertion() -> None:
    a, b, c = (Job(nothing, label=name) for name in "abc")
    engine = Engine(b)
    assert engine.add(a) is a
    engine.update([c, a])
    assert engine.jobs == (b, a, c)
    assert list(engine) == [b, a, c]
    assert len(engine) == 3
    assert a in engine
    assert 42 not in engine
    engine.remove(a)
    assert a not in engine
    assert a.engine is None
    engine.add(a)
    assert engine.jobs == (b, c, a)


def test_it_is_true_even_if_it_is_empty() -> None:
    assert bool(Engine()) is True


def test_a_job_given_twice_is_one() -> None:
    a = Job(nothing)
    engine = Engine(a, a)
    engine.add(a)
    assert engine.jobs == (a,)


@pytest.mark.parametrize("wrong", [42, None, "a", nothing, Job, object()])
def test_what_is_no_job_is_refused(wrong: Any) -> None:
    engine = Engine()
    for put in (Engine, engine.add, lambda job: engine.update([job]), engine.update):
        with pytest.raises(NotAJob) as refused:
            put(wrong)
        assert isinstance(refused.value, TypeError)
    assert len(engine) == 0


@pytest.mark.parametrize("wrong", [42, None, [], nothing])
def test_what_is_no_job_is_not_in_it_either(wrong: Any) -> None:
    engine = Engine(Job(nothing), label="e")
    assert wrong not in engine
    for take in (engine.remove, engine.bypass_and_remove):
        with pytest.raises(NotAJob, match=r"e\..*remove"):
            take(wrong)
    assert len(engine) == 1


def test_an_engine_is_one_job_where_jobs_are_expected() -> None:
    inner, job = Engine(Job(nothing)), Job(nothing)
    engine = Engine()
    engine.update(inner)
    engine.update(job)
    assert engine.jobs == (inner, job)


@pytest.mark.parametrize("kind", [list, tuple, set])
def test_a_collection_is_refused_and_says_how(kind: Callable[..., Any]) -> None:
    with pytest.raises(NotAJob, match=r"Engine\(\*jobs\)"):
        Engine(kind([Job(nothing)]))


def test_a_coroutine_taken_for_a_job_is_refused() -> None:
    with pytest.raises(NotAJob, match="nothing"):
        Engine(nothing())  # type: ignore[arg-type]


def test_a_refused_engine_leaves_its_jobs_free() -> None:
    """Even if the error, and with it the engine that was not made, is kept."""
    a, b = Job(nothing, label="a"), Job(nothing, label="b")
    with pytest.raises(NotAJob) as kept:
        Engine(a, 42)  # type: ignore[arg-type]
    with pytest.raises(BadOption) as kept_too:
        Engine(a, jobs_window=0)
    assert Engine(a, b).orchestrate()
    assert kept.tb is not kept_too.tb


def test_a_job_in_two_engines_is_refused() -> None:
    a = Job(nothing, label="a")
    first = Engine(a, label="first")
    with pytest.raises(AlreadyInEngine, match=r"a is in engine first") as refused:
        Engine(Job(nothing), a, label="second")
    assert a in refused.value.jobs
    assert first.jobs == (a,)
    first.remove(a)
    assert Engine(a).jobs == (a,)


def test_a_job_of_an_engine_that_is_gone_is_free() -> None:
    a = Job(nothing)
    Engine(a)
    assert a.engine is None
    assert Engine(a).orchestrate()


def test_engines_that_contain_each_other_are_refused() -> None:
    inner = Engine(label="inner")
    outer = Engine(Engine(inner, label="middle"), label="outer")
    with pytest.raises(AlreadyInEngine, match=r"outer.*inner"):
        inner.add(outer)
    free = Engine(label="free")
    with pytest.raises(AlreadyInEngine, match="free"):
        free.add(free)
    assert (len(inner), len(free)) == (0, 0)


def test_to_remove_what_is_not_there_is_refused() -> None:
    with pytest.raises(GraphError, match="stranger"):
        Engine(label="e").remove(Job(nothing, label="stranger"))


def test_jobs_that_cannot_be_told_apart_are_refused_by_name() -> None:
    @dataclass
    class Unhashable(Job):
        """Equal by its fields."""

        url: str

        def __post_init__(self) -> None:
            super().__init__(nothing)

    @dataclass(unsafe_hash=True)
    class Equal(Unhashable):
        """The same, with a hash."""

    for kind in (Unhashable, Equal):
        with pytest.raises(EngineError, match=rf"{kind.__name__}.*eq=False"):
            Engine(kind("a"), kind("a"))

    @dataclass(eq=False)
    class Fine(Job):
        """Compared by identity."""

        url: str

        def __post_init__(self) -> None:
            super().__init__(value, self.url)

    a, b = Fine("a"), Fine("a")
    engine = Engine(a, b)
    assert engine.orchestrate()
    assert [job.result() for job in engine] == ["a", "a"]


# -- what is checked before anything runs ----------------------------------------------------


def test_a_cycle_is_printed() -> None:
    a, b, c, d = (Job(nothing, label=name) for name in "abcd")
    b.requires(a)
    c.after(b)
    a.requires(c)
    d.requires(c)
    engine = Engine(a, b, c, d)
    with pytest.raises(CycleError) as refused:
        engine.check()
    assert any(way in str(refused.value) for way in ("a -> b -> c -> a", "b -> c -> a -> b"))
    assert set(refused.value.jobs) == {a, b, c}
    assert isinstance(refused.value, GraphError | ValueError)


def test_a_requirement_elsewhere_is_refused_where_it_is_known() -> None:
    a, b = Job(nothing, label="a"), Job(nothing, label="b")
    Engine(b, label="other")
    Engine(a, label="here")
    # Their engines are gone: nothing is known.
    a.requires(b)
    here, other = Engine(a, label="here"), Engine(b, label="other")
    with pytest.raises(ForeignRequirement, match=r"a waits for b.*other") as refused:
        here.check()
    assert (refused.value.job, refused.value.requirement) == (a, b)
    c = Job(nothing, label="c", engine=here)
    with pytest.raises(ForeignRequirement):
        c.requires(b)
    assert c.required == ()
    assert len(other) == 1


def test_a_job_inside_a_nested_engine_is_required_as_a_whole() -> None:
    inside = Job(nothing, label="inside")
    nested = Engine(inside, label="nested")
    outer = Engine(nested)
    with pytest.raises(ForeignRequirement, match=r"nested.*as a whole"):
        Job(nothing, label="a", engine=outer).requires(inside)


@pytest.mark.parametrize("depth", [0, 1])
def test_forever_jobs_only_are_refused(depth: int) -> None:
    engine = Engine(Job(for_ever, forever=True, label="bus"), label="inner")
    for _ in range(depth):
        engine = Engine(engine, Job(nothing))
    with pytest.raises(OnlyForever, match="bus"):
        engine.orchestrate()
    assert states(engine) == [State.IDLE] * len(engine)


def test_a_forever_engine_may_hold_forever_jobs_only() -> None:
    inner = Engine(Job(for_ever, forever=True), forever=True)
    assert play(Engine(inner, Job(value, 1, 5)))
    assert inner.state is CANCELLED


def test_but_not_when_it_is_run_by_itself() -> None:
    """It would never end."""
    inner = Engine(Job(for_ever, forever=True, label="bus"), forever=True)
    outer = Engine(inner, Job(nothing))
    with pytest.raises(EngineError, match="bus"):
        inner.orchestrate(timeout=5)
    assert outer.orchestrate()


def test_a_used_coroutine_at_any_depth_starts_nothing() -> None:
    spent = Job(nothing(), label="spent")
    inner = Engine(spent)
    assert inner.orchestrate()
    other = Job(nothing)
    with pytest.raises(UsedCoroutine, match="spent"):
        Engine(other, Engine(inner)).orchestrate()
    assert other.state is State.IDLE


# -- the order -------------------------------------------------------------------------------


def test_what_is_required_comes_first() -> None:
    a, b, c, d = (Job(value, name, 1, label=name) for name in "abcd")
    d.requires(b, c)
    b.requires(a)
    c.after(a)
    assert play(Engine(d, c, b, a))
    assert [job.started_at for job in (a, b, c, d)] == [0, 1, 1, 2]


def test_insertion_decides_between_those_that_are_ready() -> None:
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    jobs = [Job(note, number) for number in range(20)]
    for job in jobs[1::2]:
        job.requires(jobs[0])
    assert play(Engine(*jobs, jobs_window=1))
    assert order == list(range(20))


@pytest.mark.parametrize("window", [1, 2, 3, 5, 100, None])
def test_a_window_is_full_and_never_exceeded(window: int | None) -> None:
    inside, most = 0, 0

    async def visit() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(1)
        inside -= 1

    jobs = [Job(visit) for _ in range(10)]
    assert play(Engine(*jobs, jobs_window=window))
    assert most == min(window or 10, 10)
    assert max(job.ended_at or 0 for job in jobs) == -(-10 // min(window or 10, 10))


def test_a_failure_gives_its_slot_in_the_window_back() -> None:
    jobs = [Job(fail, critical=False) for _ in range(5)]
    jobs.append(Job(for_ever, critical=False, timeout=1))
    assert play(Engine(*jobs, Job(nothing), jobs_window=1))


def test_forever_jobs_take_no_slot_in_the_window() -> None:
    buses = [Job(for_ever, forever=True) for _ in range(3)]
    engine = Engine(*buses, Job(value, 1, 1), Job(value, 1, 1), jobs_window=1)
    assert run_virtual(lasts(engine.corun())) == 2


# -- critical or not -------------------------------------------------------------------------


def test_a_critical_failure_stops_the_run_at_once() -> None:
    culprit = Job(fail, None, 1, label="culprit")
    running, waiting = Job(value, 1, 10, label="running"), Job(nothing)
    waiting.requires(running)
    engine = Engine(culprit, running, waiting)
    assert run_virtual(lasts(engine.corun())) == 1
    assert states(engine) == [FAILED, CANCELLED, SKIPPED]
    assert "culprit failed" in str(waiting.exception())
    with pytest.raises(asyncio.CancelledError, match="culprit failed"):
        running.exception()
    assert stop_reason(engine) is StopReason.CRITICAL_FAILURE


def test_with_keep_going_only_what_depends_on_it_is_skipped() -> None:
    culprit = Job(fail, None, 1)
    running, waiting = Job(value, 1, 10), Job(nothing, required=culprit)
    more = Job(nothing, required=running)
    engine = Engine(culprit, running, waiting, more, keep_going=True)
    assert not play(engine)
    assert states(engine) == [FAILED, FINISHED, SKIPPED, FINISHED]


def test_a_failure_that_is_not_critical_stops_nothing_and_spoils_nothing() -> None:
    culprit = Job(fail, critical=False)
    engine = Engine(culprit, Job(value, 1, 10), Job(nothing, after=culprit))
    assert play(engine)
    assert states(engine) == [FAILED, FINISHED, FINISHED]
    assert engine.failures == {culprit: culprit.raised_exception()}
    assert "1 failed, not critical" in engine.why()


def test_a_critical_job_that_was_skipped_makes_it_false_and_stops_nothing() -> None:
    culprit = Job(fail, critical=False, label="culprit")
    skipped = Job(nothing, required=culprit, label="skipped")
    engine = Engine(culprit, skipped, Job(value, 1, 5))
    (error,) = explanation(engine)
    assert isinstance(error, JobSkipped)
    assert "skipped" in str(error)
    assert "culprit failed" in str(error)
    assert states(engine) == [FAILED, SKIPPED, FINISHED]


def test_a_job_cancelled_by_hand_makes_it_false_and_stops_nothing() -> None:
    victim, other = Job(for_ever, label="victim"), Job(value, 1, 5)
    dependent = Job(nothing, required=victim, critical=False)
    engine = Engine(victim, other, dependent)

    async def main() -> bool:
        asyncio.get_running_loop().call_later(1, victim.cancel)
        return await engine.corun()

    with pytest.raises(EngineFailed) as failed:
        run_virtual(main())
    (error,) = failed.value.exceptions
    assert isinstance(error, JobCancelled)
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert states(engine) == [CANCELLED, FINISHED, SKIPPED]


def test_a_cancelled_error_that_nobody_asked_for_is_a_failure() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError("for no reason")

    job = Job(gives_up, label="odd")
    (error,) = explanation(Engine(job, Job(for_ever)))
    assert isinstance(error, JobCancelled)
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert str(error.__cause__) == "for no reason"
    assert job.state is FAILED
    assert job.raised_exception() is error


@pytest.mark.parametrize("how", ["before its first step", "while it waits"])
def test_a_task_that_somebody_else_cancels_is_a_failure(how: str) -> None:
    """As by a library that cancels all tasks it can find; the run does not hang."""

    async def killer() -> None:
        if how == "while it waits":
            await asyncio.sleep(1)
        for task in asyncio.all_tasks():
            if task.get_name() == "victim":
                task.cancel()

    victim = Job(value, 1, 10, label="victim", critical=False)
    engine = Engine(Job(killer), victim)
    assert play(engine)
    assert victim.state is FAILED


class Odd(BaseException):
    """Neither an error nor a signal to leave."""


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt("stop"), SystemExit(3), GeneratorExit("gone"), Odd("odd")]
)
def test_what_is_no_exception_stops_the_run_and_comes_out(
    error: BaseException, critical: bool
) -> None:
    shut: list[str] = []

    async def shutdown() -> None:
        await asyncio.sleep(0)
        shut.append("shut")

    culprit = Job(fail, error, critical=critical)
    running, waiting = Job(for_ever, coshutdown=shutdown), Job(nothing)
    waiting.requires(running)
    engine = Engine(Engine(culprit), running, waiting)
    doors: list[Callable[[], bool]] = [
        engine.orchestrate,
        lambda: run_virtual(engine.corun()),
    ]
    for door in doors:
        shut.clear()
        with pytest.raises(type(error)) as raised:
            door()
        assert raised.value is error
        assert shut == ["shut"]
        assert (running.state, waiting.state) == (CANCELLED, SKIPPED)
        assert engine.exit_status != 0


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), SystemExit(3), Odd("odd")])
def test_a_run_that_was_ended_so_is_no_success(error: BaseException) -> None:
    """Even if nothing that was critical is missing."""
    story = Story()
    engine = Engine(Job(fail, error, critical=False), Job(nothing), message_queue=story)
    doors: list[Callable[[], bool]] = [
        engine.orchestrate,
        lambda: run_virtual(engine.corun()),
    ]
    for door in doors:
        story.ticks.clear()
        with pytest.raises(type(error)):
            door()
        story.check()
        end = story.ticks[-1]
        assert isinstance(end, RunEnded)
        assert not end.ok
        # What the program exits with is its own affair: the error comes out.
        assert engine.exit_status == (130 if isinstance(error, KeyboardInterrupt) else 1)
        assert engine.state is not FINISHED


def test_those_that_fail_together_are_all_told() -> None:
    """Both were over before the first could stop the second."""
    meeting = asyncio.Event()

    async def together(number: int) -> None:
        await meeting.wait()
        raise ValueError(str(number))

    async def let_go() -> None:
        meeting.set()

    jobs = [Job(together, number) for number in range(3)]
    errors = explanation(Engine(*jobs, Job(let_go), keep_going=True))
    assert [str(error) for error in errors] == ["0", "1", "2"]


def test_the_same_error_raised_by_two_jobs_is_noted_with_both() -> None:
    error = ValueError("shared")
    a, b = Job(fail, error, label="a"), Job(fail, error, label="b")
    engine = Engine(a, b, keep_going=True)
    for _ in range(2):
        assert set(explanation(engine)) == {error}
        assert sorted(error.__notes__) == ["job a", "job b"]
        assert engine.failures == {a: error, b: error}


def test_a_failure_in_the_cleanup_of_a_cancelled_job_is_told() -> None:
    async def untidy() -> None:
        try:
            await for_ever()
        finally:
            raise KeyError("in finally")

    first, second = Job(fail, None, 1, label="first"), Job(untidy, label="second")
    errors = explanation(Engine(first, second))
    assert [type(error) for error in errors] == [ValueError, KeyError]


class Frozen(Exception):
    """An exception that nothing can be set on."""

    def __setattr__(self, name: str, item: object) -> None:
        raise AttributeError(f"frozen: {name}")


@dataclass(frozen=True)
class FrozenData(Exception):
    """An exception as some write them."""

    code: int


class Raising(Exception):
    """An exception that does not let itself be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"__traceback__", "__notes__", "__cause__", "__context__", "args"}:
            raise RuntimeError(name)
        return super().__getattribute__(name)


class NoWords(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Nothing(Exception):
    """An exception that is false, and has no length."""

    def __len__(self) -> int:
        return 0


class NotEqual(Exception):
    """An exception that cannot be compared, nor hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


HOSTILE = [Frozen("x"), FrozenData(3), Raising("x"), NoWords("x"), Nothing(), NotEqual("x")]


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("options", [{}, {"retry": 1}, {"timeout": 5}], ids=str)
def test_a_hostile_exception_is_a_failure_like_any_other(
    error: Exception, options: dict[str, Any]
) -> None:
    culprit = Job(fail, error, label="culprit", **options)
    engine = Engine(culprit, Job(value, 1, 3), timeout=60)
    got = explanation(engine)
    assert len(got) == 1
    assert got[0] is error
    assert culprit.state is FAILED
    assert engine.why().startswith("culprit failed: ")
    assert culprit.exception() is error
    with pytest.raises(type(error)):
        culprit.result()


# -- forever jobs ----------------------------------------------------------------------------


def test_it_ends_as_soon_as_all_that_end_are_over() -> None:
    bus = Job(for_ever, forever=True)
    engine = Engine(bus, Job(value, 1, 3))
    assert run_virtual(lasts(engine.corun())) == 3
    assert states(engine) == [CANCELLED, FINISHED]
    assert stop_reason(engine) is StopReason.DONE


def test_a_bus_gets_its_last_message_out() -> None:
    printed: list[str] = []

    async def monitor(bus: asyncio.Queue[str]) -> None:
        while True:
            printed.append(await bus.get())

    async def speaker(bus: asyncio.Queue[str]) -> None:
        await bus.put("first")
        await asyncio.sleep(0.01)
        await bus.put("last")

    bus: asyncio.Queue[str] = asyncio.Queue()
    engine = Engine(Job(monitor, bus, forever=True), Job(speaker, bus))
    for _ in range(3):
        printed.clear()
        assert engine.orchestrate()
        assert printed == ["first", "last"]


def test_at_least_two_turns_pass_before_the_forever_ones_are_cancelled() -> None:
    turns: list[int] = []

    async def count() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(1)

    async def start() -> None:
        turns.clear()

    assert Engine(Job(count, forever=True), Job(start)).orchestrate()
    assert len(turns) >= 2


@pytest.mark.parametrize("critical", [True, False])
def test_a_forever_job_that_fails_counts_if_it_is_critical(critical: bool) -> None:
    bus = Job(fail, None, 1, forever=True, critical=critical)
    engine = Engine(bus, Job(value, 1, 5))
    assert run_virtual(lasts(engine.corun())) == (1 if critical else 5)
    assert (engine.exit_status == 0) is not critical


def test_a_forever_job_that_ends_early_is_finished() -> None:
    bus = Job(value, "early", 1, forever=True)
    engine = Engine(bus, Job(value, 1, 5), Job(nothing, required=bus))
    assert play(engine)
    assert bus.result() == "early"


@pytest.mark.parametrize("how", ["cancelled by hand", "cancelled by its task"])
def test_a_forever_job_that_is_cancelled_early(how: str) -> None:
    bus = Job(for_ever, forever=True, label="bus")

    async def stop() -> None:
        if how == "cancelled by hand":
            bus.cancel()
        else:
            next(task for task in asyncio.all_tasks() if task.get_name() == "bus").cancel()

    verdict = play(Engine(bus, Job(stop), Job(value, 1, 3)))
    assert verdict is (how == "cancelled by hand")


def test_a_forever_job_that_fails_as_it_is_cancelled_at_the_end_counts() -> None:
    async def untidy() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("at the end")

    engine = Engine(Job(untidy, forever=True), Job(value, 1, 1))
    assert not play(engine)


def test_a_forever_job_skipped_because_of_another_counts() -> None:
    culprit = Job(fail, critical=False, label="culprit")
    bus = Job(for_ever, forever=True, required=culprit)
    (error,) = explanation(Engine(culprit, bus, Job(nothing)))
    assert isinstance(error, JobSkipped)


# -- ready -----------------------------------------------------------------------------------


async def serve(seconds: float) -> None:
    await asyncio.sleep(seconds)
    ready()
    ready()
    await for_ever()


@pytest.mark.parametrize("how", ["requires", "after"])
@pytest.mark.parametrize("notify", [True, False])
def test_those_that_wait_for_a_forever_job_wait_until_it_is_ready(how: str, notify: bool) -> None:
    server = Job(serve, 5, forever=True, notify=notify)
    client = Job(nothing)
    getattr(client, how)(server)
    assert play(Engine(client, server))
    assert client.started_at == (5 if notify else 0)


async def ends_early(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, ValueError("boom")])
def test_one_that_ends_before_it_was_ready(error: Exception | None) -> None:
    server = Job(ends_early, error, forever=True, notify=True, critical=False, label="server")
    needs, comes_after = Job(nothing, required=server), Job(nothing, after=server)
    assert not play(Engine(server, needs, comes_after))
    assert (needs.state, comes_after.state) == (SKIPPED, FINISHED)
    with pytest.raises(JobSkipped, match="server"):
        needs.result()


def test_one_that_is_never_ready_is_waited_for_until_the_timeout() -> None:
    server = Job(for_ever, forever=True, notify=True)
    engine = Engine(server, Job(nothing, required=server), timeout=7)
    assert run_virtual(lasts(engine.corun())) == 7
    assert engine.exit_status == 124


def test_ready_in_a_job_that_ends_is_told_and_changes_nothing() -> None:
    async def says_so() -> None:
        ready()
        await asyncio.sleep(3)

    first = Job(says_so, notify=True)
    second = Job(nothing, required=first)
    assert play(Engine(first, second))
    assert second.started_at == 3


def test_outside_of_a_job_ready_does_nothing() -> None:
    ready()
    run_virtual(serve_nobody())


async def serve_nobody() -> None:
    ready()


# -- timeouts of the run ---------------------------------------------------------------------


def test_the_timeout_cancels_what_runs_and_skips_the_rest() -> None:
    slow = Job(value, 1, 10, label="slow")
    engine = Engine(slow, Job(nothing, required=slow), timeout=3)
    (error,) = explanation(engine)
    assert isinstance(error, TimeoutError)
    assert "3s" in str(error)
    assert states(engine) == [CANCELLED, SKIPPED]
    assert engine.exit_status == 124
    assert "slow" in engine.why()
    assert stop_reason(engine) is StopReason.TIMEOUT


def test_jobs_that_fail_at_the_timeout_are_told_too() -> None:
    async def untidy() -> None:
        try:
            await for_ever()
        finally:
            raise KeyError("in finally")

    errors = explanation(Engine(Job(untidy), timeout=3))
    assert {type(error) for error in errors} == {TimeoutError, KeyError}


def test_a_run_without_critical_jobs_is_false_after_its_timeout() -> None:
    engine = Engine(Job(for_ever, critical=False), timeout=3)
    assert not play(engine)
    assert engine.exit_status == 124


def test_a_timeout_of_zero_gives_each_job_its_first_step() -> None:
    stepped: list[int] = []

    async def step() -> None:
        stepped.append(1)
        await for_ever()

    engine = Engine(Job(step), timeout=0)
    assert run_virtual(lasts(engine.corun())) == 0
    assert stepped == [1]
    assert engine.exit_status == 124
    assert Engine(timeout=0).orchestrate()


def test_an_endless_timeout_is_one() -> None:
    assert play(Engine(Job(value, 1, 1e6), timeout=float("inf")))


def test_it_is_kept_however_many_callbacks_are_ready() -> None:
    async def short() -> None:
        await asyncio.sleep(0)

    engine = Engine(*(Job(short) for _ in range(20_000)), timeout=0.05)
    engine.jobs[0].requires(*engine.jobs[-3:])
    start = time.monotonic()
    engine.orchestrate()
    assert engine.exit_status in {0, 124}
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("bus", [True, False])
def test_a_run_whose_jobs_are_all_over_is_not_late(bus: bool) -> None:
    """A job that blocked the loop may have ended after that time; what comes after it, may not."""

    async def block() -> None:
        time.sleep(0.02)

    forever = [Job(for_ever, forever=True)] if bus else []
    engine = Engine(Job(block), *forever, timeout=0.01)
    assert engine.orchestrate()
    last = Job(value, 1, 60, required=engine.jobs[0])
    engine.add(last)
    assert not engine.orchestrate()
    assert engine.exit_status == 124


def test_a_job_added_as_the_last_messages_go_out_is_not_late_for_ever() -> None:
    async def block() -> None:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, add)
        time.sleep(0.02)

    def add() -> None:
        engine.add(Job(value, 1, 60))

    engine = Engine(Job(block), Job(for_ever, forever=True), timeout=0.01)
    start = time.monotonic()
    assert not engine.orchestrate()
    assert engine.exit_status == 124
    assert len(engine) == 3
    assert time.monotonic() - start < 40


def test_it_is_kept_while_a_job_fails_again_and_again() -> None:
    engine = Engine(Job(broken, retry=10**9, label="hopeless"), timeout=0.1)
    start = time.monotonic()
    assert not engine.orchestrate()
    assert time.monotonic() - start < 30
    assert engine.exit_status == 124


async def broken() -> None:
    raise ValueError("at once")


# -- stubborn jobs ---------------------------------------------------------------------------


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("forever", [True, False])
def test_one_that_swallows_its_cancellation_is_abandoned(
    critical: bool, forever: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = Stubborn(label="mule", critical=critical, forever=forever)
    engine = Engine(stubborn, Job(fail, None, 1, critical=not forever), cancel_grace=2)
    errors: list[Exception] = []

    async def main() -> tuple[float, int]:
        try:
            await engine.corun()
        except EngineFailed as failed:
            errors.extend(failed.exceptions)
        return await now(), stubborn.asked

    assert run_virtual(main()) == (3, 1)
    assert stubborn.state is CANCELLED
    (error,) = (error for error in errors if isinstance(error, JobAbandoned))
    assert "mule" in str(error)
    assert any("mule" in message and "abandoned" in message for message in caplog.messages)
    assert engine.exit_status == 1


def test_a_grace_of_zero_still_lets_a_job_end_in_its_next_step() -> None:
    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            done.append(1)

    done: list[int] = []
    job = Job(tidy)
    engine = Engine(job, timeout=1, cancel_grace=0)
    assert run_virtual(lasts(engine.corun())) == 1
    assert done == [1]
    assert "abandoned" not in engine.why()


def test_what_an_abandoned_job_does_later_changes_nothing() -> None:
    stubborn = Stubborn(20, label="mule", timeout=1, retry=3, critical=False)
    other = Job(value, 1, 60)
    engine = Engine(stubborn, other, cancel_grace=2)
    assert not play(engine)
    assert stubborn.state is CANCELLED
    assert stubborn.ended_at == 3
    assert other.state is FINISHED
    assert stubborn.asked == 1  # and there was no other attempt


def test_nobody_complains_when_an_abandoned_job_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def swallow() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await for_ever()

    engine = Engine(Job(swallow, label="mule"), timeout=1)
    assert not play(engine)
    del engine
    gc.collect()
    assert [record.name for record in caplog.records] == ["engine"]


# -- cancelled from outside ------------------------------------------------------------------


def test_cancelled_from_outside_it_raises_what_it_got() -> None:
    engine = Engine(Job(for_ever), Engine(Job(for_ever), Engine(Job(for_ever))))

    async def main() -> None:
        task = asyncio.create_task(engine.corun())
        await asyncio.sleep(1)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert task.cancelled()

    run_virtual(main())
    assert {job.state for job in engine.iterate_jobs()} == {CANCELLED}
    assert engine.state is CANCELLED
    assert engine.exit_status != 0


def test_cancelled_everywhere_with_stubborn_and_retried_and_shut_down_jobs() -> None:
    async def tidy() -> None:
        try:
            await asyncio.sleep(2)
        finally:
            await asyncio.sleep(0.5)

    async def shutdown() -> None:
        await asyncio.sleep(0.5)

    def make() -> Engine:
        first = Job(tidy, coshutdown=shutdown, label="first")
        again = Job(broken, retry=2, critical=False, label="again", required=first)
        inner = Engine(Job(tidy, label="x", coshutdown=shutdown), label="inner", required=first)
        bus = Job(for_ever, forever=True, label="bus")
        return Engine(bus, first, again, inner, Job(tidy, timeout=1, retry=1, critical=False))

    assert cancel_everywhere(make) > 10


def test_within_asyncio_timeout() -> None:
    job = Job(for_ever)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await Engine(job).corun()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return await now()

    assert run_virtual(main()) == 3
    assert job.state is CANCELLED


async def in_a_group(*coroutines: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for coroutine in coroutines:
            tasks.create_task(coroutine)


def test_within_a_task_group() -> None:
    engine = Engine(Job(for_ever))

    with pytest.raises(ExceptionGroup) as group:
        run_virtual(in_a_group(engine.corun(), fail(ValueError("sibling"), 1)))
    assert [str(error) for error in group.value.exceptions] == ["sibling"]
    assert states(engine) == [CANCELLED]


def test_engines_in_a_task_group_cancel_each_other() -> None:
    good, bad = Engine(Job(for_ever)), Engine(Job(fail, None, 1))

    with pytest.raises(ExceptionGroup) as group:
        run_virtual(in_a_group(good.corun(), bad.corun()))
    assert [type(error) for error in group.value.exceptions] == [EngineFailed]
    assert states(good) == [CANCELLED]


def test_an_engine_awaited_in_a_job_is_a_run_of_its_own() -> None:
    inner = Engine(Job(value, 1))

    async def outer_job() -> bool:
        return await inner.corun()

    job = Job(outer_job)
    assert play(Engine(job))
    assert job.result() is True


# -- what it says afterwards -----------------------------------------------------------------


def test_why_before_and_while_it_runs() -> None:
    said: list[str] = []

    async def ask() -> None:
        said.append(engine.why())

    engine = Engine(Job(ask))
    assert engine.why() == "it has not run yet"
    assert engine.exit_status == 1
    assert engine.orchestrate()
    assert said == ["it is running"]


WHY: dict[str, tuple[Callable[[], Engine], list[str]]] = {
    "success": (lambda: Engine(Job(nothing), Job(nothing)), ["2 jobs finished in 0.0s"]),
    "success inside": (
        lambda: Engine(Engine(Job(nothing), Job(nothing)), Job(for_ever, forever=True)),
        ["2 jobs finished in 0.0s"],
    ),
    "failure": (lambda: Engine(Job(fail, label="a")), ["a failed: ValueError: boom"]),
    "timeout": (lambda: Engine(Job(for_ever, label="a"), timeout=2), ["2s", "a"]),
    "abandoned": (lambda: Engine(Stubborn(label="a"), timeout=2, critical=False), ["2s", "a"]),
    "nested": (
        lambda: Engine(Engine(Job(fail, label="deep"), label="inner")),
        ["inner failed", "deep failed", "boom"],
    ),
    "skipped": (
        lambda: Engine(
            a := Job(fail, label="a", critical=False), Job(nothing, label="b").requires(a)
        ),
        ["b skipped: a failed"],
    ),
    "hostile": (lambda: Engine(Job(fail, ValueError("\x1b[2J\nx"), label="a\x1b")), ["a failed"]),
}


@pytest.mark.parametrize("case", WHY)
def test_why_is_one_line_that_names_the_culprit(case: str) -> None:
    make, words = WHY[case]
    engine = make()
    play(engine)
    assert engine.why().isprintable()
    for word in words:
        assert word in engine.why()


@pytest.mark.parametrize(
    ("cancel", "told"),
    [
        (lambda engine: engine.jobs[0].cancel(), "a cancelled: by hand"),
        (lambda engine: engine.cancel(), "the run was cancelled by hand"),
        (lambda engine: engine.cancel("too hot"), "the run was cancelled: too hot"),
    ],
)
def test_why_says_once_what_was_cancelled(cancel: Callable[[Engine], bool], told: str) -> None:
    async def stop() -> None:
        assert cancel(engine)

    critical = told.startswith("a ")
    engine = Engine(Job(for_ever, label="a", critical=critical), Job(stop, critical=False))
    play(engine)
    assert engine.why() == told


def test_failures_at_every_depth() -> None:
    deep, shallow = Job(fail, KeyError("deep")), Job(fail, ValueError("shallow"), critical=False)
    inner = Engine(deep, label="inner")
    engine = Engine(shallow, inner)
    assert not play(engine)
    assert {job: type(error) for job, error in engine.failures.items()} == {
        shallow: ValueError,
        inner: EngineFailed,
        deep: KeyError,
    }


def test_a_second_run_forgets_the_first() -> None:
    outcomes: list[Any] = [ValueError("first"), None]

    async def different() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    engine = Engine(Job(different))
    assert not engine.orchestrate()
    assert engine.failures
    assert engine.orchestrate()
    assert engine.failures == {}
    assert engine.shutdown_failures == {}
    assert engine.exit_status == 0
    assert "finished" in engine.why()


def test_a_failed_run_explains_itself_without_the_runs_internals() -> None:
    with pytest.raises(EngineFailed) as failed:
        run_virtual(Engine(Job(fail, label="a")).corun())
    (error,) = failed.value.exceptions
    names, traceback = [], error.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names == ["fail"]


def test_except_star_picks_what_it_wants() -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            await Engine(
                Job(fail, KeyError("k")), Job(fail, ValueError("v")), keep_going=True
            ).corun()
        except* KeyError as group:
            seen.append(type(group).__name__)
        except* ValueError as group:
            seen.append(type(group).__name__)

    run_virtual(main())
    assert seen == ["EngineFailed", "EngineFailed"]


# -- context and the like --------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def test_jobs_begin_in_the_context_of_the_run_not_of_each_other() -> None:
    async def sets() -> None:
        assert variable.get() == "outside"
        variable.set("inside")

    async def gets() -> str:
        return variable.get()

    first = Job(sets)
    second = Job(gets, required=first)
    token = variable.set("outside")
    try:
        assert Engine(first, second).orchestrate()
    finally:
        variable.reset(token)
    assert second.result() == "outside"


def test_a_task_is_named_after_its_job() -> None:
    async def my_name() -> str:
        task = asyncio.current_task()
        return "" if task is None else task.get_name()

    job = Job(my_name, label="worker 7")
    assert play(Engine(job))
    assert job.result() == "worker 7"


def test_objects_made_for_one_run_serve_the_next() -> None:
    """All calls of one thread share a loop."""
    bus: asyncio.Queue[int] = asyncio.Queue()
    lock = asyncio.Lock()

    async def put() -> None:
        async with lock:
            await bus.put(1)

    async def get() -> int:
        async with lock:
            return await bus.get()

    assert Engine(Job(put)).orchestrate()
    job = Job(get)
    assert Engine(job).orchestrate()
    assert job.result() == 1


# -- at scale --------------------------------------------------------------------------------


def test_a_hundred_thousand_jobs() -> None:
    engine = Engine(*(Job(nothing) for _ in range(100_000)))
    assert engine.orchestrate()
    assert engine.why().startswith("100000 jobs finished")


def test_a_chain_of_many_whatever_the_order_of_insertion() -> None:
    jobs = [Job(nothing) for _ in range(20_000)]
    for before, behind in pairwise(jobs):
        behind.requires(before)
    assert Engine(*reversed(jobs)).orchestrate()


def test_a_chain_of_many_whose_first_fails() -> None:
    jobs = [Job(fail, critical=False), *(Job(nothing) for _ in range(20_000))]
    for before, behind in pairwise(jobs):
        behind.requires(before)
    engine = Engine(*jobs)
    assert not engine.orchestrate()
    assert {job.state for job in jobs[1:]} == {SKIPPED}


def test_a_cycle_of_many_is_named() -> None:
    jobs = [Job(nothing, label=str(number)) for number in range(20_000)]
    for before, behind in pairwise([*jobs, jobs[0]]):
        behind.requires(before)
    with pytest.raises(CycleError) as refused:
        Engine(*jobs).orchestrate()
    assert len(refused.value.jobs) == 20_000


def test_many_cancelled_at_once() -> None:
    engine = Engine(*(Job(for_ever) for _ in range(10_000)), timeout=1)
    assert not play(engine)
    assert {job.state for job in engine} == {CANCELLED}


def test_a_long_sequence_of_engines() -> None:
    assert play(Engine(Sequence(*(Engine(Job(nothing)) for _ in range(500)))))
