"""What can be done to a run while it goes on: jobs added, related and cancelled, from anywhere."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from engine import (
    AbstractJob,
    AlreadyInEngine,
    AlreadyRunning,
    CallJob,
    CycleError,
    Engine,
    EngineError,
    EngineFailed,
    ForeignRequirement,
    Job,
    JobAdded,
    JobCancelled,
    JobSkipped,
    JobStarted,
    JobState,
    NotAJob,
    RunStarted,
    RunStopping,
    SelfRequirement,
    Sequence,
    State,
    StopReason,
    Tick,
    UsedCoroutine,
)
from engine.testing import Story, run_virtual
from tests.engine.cast import explanation, fail, for_ever, lasts, nothing, play, value

FINISHED, FAILED = State.FINISHED, State.FAILED
CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED


def during(action: Callable[[], Any], at: float = 1, **options: Any) -> Job:
    """Return a job that does something to its run after a while."""

    async def act() -> Any:
        await asyncio.sleep(at)
        done = action()
        return await done if asyncio.iscoroutine(done) else done

    return Job(act, **options)


# -- added -----------------------------------------------------------------------------------


def test_a_job_added_runs() -> None:
    late = Job(value, "late", 2)
    engine = Engine(during(lambda: engine.add(late)))
    story = Story()
    engine.message_queue = story
    assert run_virtual(engine.corun())
    story.check()
    assert (late.started_at, late.result()) == (1, "late")
    (added,) = (tick for tick in story.ticks if isinstance(tick, JobAdded))
    assert (added.row.id, added.row.engine) == ("2", None)


def test_one_after_the_other_from_the_last_step_of_each() -> None:
    async def step(number: int) -> None:
        if number < 50:
            engine.add(Job(step, number + 1))

    engine = Engine(Job(step, 1))
    assert play(engine)
    assert [job.state for job in engine] == [FINISHED] * 50


def test_what_it_waits_for_can_be_said_before_or_just_after() -> None:
    first = Job(value, 1, 5)
    before, behind, comes_after = (Job(nothing, label=name) for name in ("b", "c", "d"))

    def add() -> None:
        engine.add(before.requires(first))
        engine.add(behind)
        behind.requires(first)
        engine.add(comes_after)
        comes_after.after(before)

    engine = Engine(first, during(add))
    assert play(engine)
    assert [job.started_at for job in (before, behind, comes_after)] == [5, 5, 5]


def test_made_with_engine_it_is_in_with_all_it_needs() -> None:
    first = Job(value, "x", 5)
    made: list[AbstractJob] = []

    def add() -> None:
        made.append(Job(value, first, engine=engine))
        made.append(CallJob(len, [first], engine=engine))
        made.append(Engine(Job(nothing), engine=engine, required=first))
        made.append(Job(nothing(), engine=engine))
        made.extend(Sequence(Job(nothing), Job(nothing), engine=engine))

    engine = Engine(first, during(add))
    assert play(engine)
    assert [job.started_at for job in made] == [5, 5, 5, 1, 1, 1]
    assert made[0].result() == "x"


@pytest.mark.parametrize(
    ("how", "end", "expected"),
    [
        ("requires", nothing, FINISHED),
        ("requires", fail, SKIPPED),
        ("after", nothing, FINISHED),
        ("after", fail, FINISHED),
    ],
)
def test_with_a_need_that_is_over(how: str, end: Any, expected: State) -> None:
    first, late = Job(end, critical=False, label="first"), Job(nothing, critical=False)
    getattr(late, how)(first)
    engine = Engine(first, during(lambda: engine.add(late)))
    assert play(engine)
    assert late.state is expected


def test_a_skip_by_a_need_that_is_over_counts() -> None:
    first, late = Job(fail, critical=False, label="first"), Job(nothing, label="late")
    late.requires(first)
    engine = Engine(first, during(lambda: engine.add(late)))
    (error,) = explanation(engine)
    assert isinstance(error, JobSkipped)
    assert "late" in str(error)


def test_with_a_forever_need() -> None:
    bus, mute = Job(for_ever, forever=True), Job(for_ever, forever=True, notify=True)
    late, never = Job(nothing, required=bus), Job(nothing, after=mute)
    engine = Engine(bus, mute, during(lambda: engine.update([late, never])), timeout=9)
    assert not play(engine)
    assert (late.state, never.state) == (FINISHED, SKIPPED)


def test_it_waits_for_a_slot_as_all_do() -> None:
    first, second = Job(value, 1, 5), Job(value, 1, 5)
    late = Job(value, 1, 1)
    engine = Engine(first, during(lambda: engine.add(late), critical=False), second, jobs_window=2)
    assert play(engine)
    assert (second.started_at, late.started_at) == (1, 5)


@pytest.mark.parametrize("turns", range(6))
def test_added_while_the_run_drains_it_runs_or_is_refused(turns: int) -> None:
    """When only forever jobs are left, a last job may still come; never is it lost."""
    late = Job(value, 1, 3)
    last_is_over = asyncio.Event()
    refused: list[AlreadyRunning] = []

    async def last() -> None:
        last_is_over.set()

    async def add() -> None:
        await last_is_over.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        try:
            engine.add(late)
        except AlreadyRunning as error:
            refused.append(error)

    engine = Engine(Job(for_ever, forever=True), Job(last))

    async def main() -> bool:
        task = asyncio.create_task(add())
        verdict = await run_engine(engine)
        await task
        return verdict

    verdict = run_virtual(main())
    if refused:
        assert verdict
        assert late not in engine
    else:
        assert verdict is (late.state is FINISHED)
        assert late.is_done() or late.engine is engine
    assert turns > 1 or late.state is FINISHED


async def run_engine(engine: Engine) -> bool:
    """Return the verdict."""
    try:
        return await engine.corun()
    except EngineFailed:
        return False


def test_added_while_the_run_stops_it_is_skipped_and_counts() -> None:
    late = Job(nothing, label="late")

    async def add_in_cleanup() -> None:
        try:
            await for_ever()
        finally:
            engine.add(late)

    engine = Engine(Job(add_in_cleanup, forever=True), Job(value, 1, 1))
    (error,) = explanation(engine)
    assert isinstance(error, JobSkipped)
    assert "late" in str(error)
    assert late.state is SKIPPED


def test_added_too_late_it_is_refused() -> None:
    """A job that would never run is no part of a success."""
    late = Job(nothing, label="late")

    async def add() -> None:
        with pytest.raises(AlreadyRunning, match="too late"):
            engine.add(late)
        refused.append(1)

    refused: list[int] = []
    engine = Engine(Job(nothing, coshutdown=add))
    assert engine.orchestrate()
    assert refused == [1]
    assert late not in engine
    assert late.engine is None
    engine.add(late)
    engine.remove(engine.jobs[0])
    assert engine.orchestrate()


def test_into_a_nested_engine_before_while_and_after() -> None:
    ran: list[str] = []

    async def note(name: str) -> None:
        ran.append(name)
        await asyncio.sleep(2)

    gate = Job(value, 1, 2)
    inner = Engine(Job(note, "first"), required=gate, label="inner")
    before, while_it_runs, too_late = (Job(note, name) for name in ("before", "while", "after"))

    async def add() -> None:
        await asyncio.sleep(1)
        inner.add(before)
        await asyncio.sleep(2)
        inner.add(while_it_runs)
        await asyncio.sleep(5)
        with pytest.raises(AlreadyRunning, match="inner"):
            inner.add(too_late)

    story = Story()
    engine = Engine(gate, inner, Job(add), message_queue=story)
    assert run_virtual(engine.corun())
    story.check()
    assert ran == ["first", "before", "while"]
    assert inner.ended_at == 5
    added = [tick.row for tick in story.ticks if isinstance(tick, JobAdded)]
    assert [(row.id, row.engine) for row in added] == [("2.2", "2"), ("2.3", "2")]


def test_an_engine_added_with_all_that_is_in_it() -> None:
    deep = Job(nothing)
    inner = Engine(Engine(deep), Job(nothing))
    engine = Engine(during(lambda: engine.add(inner)))
    story = Story()
    engine.message_queue = story
    assert run_virtual(engine.corun())
    story.check()
    added = [tick.row.id for tick in story.ticks if isinstance(tick, JobAdded)]
    assert added == ["2", "2.1", "2.1.1", "2.2"]
    assert deep.state is FINISHED


REFUSED: dict[str, tuple[Callable[[Engine], Any], type[Exception]]] = {
    "no job": (lambda engine: engine.add(42), NotAJob),  # type: ignore[arg-type]
    "foreign need": (
        lambda engine: engine.add(Job(nothing, required=Job(nothing))),
        ForeignRequirement,
    ),
    "used coroutine": (lambda engine: engine.add(spent()), UsedCoroutine),
    "cycle": (lambda engine: engine.update(circle()), CycleError),
    "itself": (lambda engine: engine.add(engine), AlreadyInEngine),
    "cycle inside": (lambda engine: engine.add(Engine(*circle())), CycleError),
    "one of several": (lambda engine: engine.update([Job(nothing), 42]), NotAJob),  # type: ignore[list-item]
}


def spent() -> Job:
    job = Job(nothing())
    assert Engine(job).orchestrate()
    return job


def circle() -> list[Job]:
    a, b = Job(nothing, label="a"), Job(nothing, label="b")
    a.requires(b)
    b.requires(a)
    return [a, b]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_the_run_as_it_was(case: str) -> None:
    put, kind = REFUSED[case]

    async def try_it() -> None:
        await asyncio.sleep(1)
        count = len(engine)
        with pytest.raises(kind) as refused:
            put(engine)
        assert isinstance(refused.value, EngineError)
        assert len(engine) == count

    engine = Engine(Job(try_it), Job(value, 1, 2))
    assert play(engine)


def test_one_that_is_in_already_is_no_news() -> None:
    engine = Engine(other := Job(value, 1, 5), during(lambda: engine.add(other)))
    assert play(engine)
    assert len(engine) == 2


# -- related ---------------------------------------------------------------------------------


def test_a_relation_between_idle_jobs() -> None:
    gate, a, b = Job(value, 1, 2), Job(value, 1, 2, label="a"), Job(nothing, label="b")
    a.requires(gate)
    b.requires(gate)
    assert play(Engine(gate, b, a, during(lambda: b.requires(a))))
    assert b.started_at == 4


def test_a_relation_taken_back() -> None:
    first, second = Job(value, 1, 9), Job(nothing)
    second.requires(first)
    assert play(Engine(first, second, during(lambda: second.requires(first, remove=True))))
    assert second.started_at == 1


@pytest.mark.parametrize("how", ["requires", "after"])
@pytest.mark.parametrize("state", ["running", "scheduled", "over"])
def test_once_it_has_left_idle_it_is_too_late(how: str, state: str) -> None:
    other = Job(value, 1, 5, label="other")
    job = Job(value, 1, 3 if state == "running" else 0.5, label="culprit")
    blocker = Job(value, 1, 3)
    jobs = [blocker, job] if state == "scheduled" else [job]

    async def relate() -> None:
        await asyncio.sleep(1)
        for remove in (False, True):
            with pytest.raises(JobStarted, match="culprit") as refused:
                getattr(job, how)(other, remove=remove)
            assert job in refused.value.jobs
        assert (job.required, job.awaited) == ((), ())

    engine = Engine(
        Job(relate, forever=False), *jobs, other, jobs_window=2 if state == "scheduled" else None
    )
    assert play(engine)


@pytest.mark.parametrize("depth", [0, 1])
def test_nor_once_it_is_over_not_even_in_shutdown(depth: int) -> None:
    refused: list[str] = []
    shut: list[str] = []

    async def relate() -> None:
        for job, other in ((a, b), (b, a)):
            try:
                job.requires(other)
            except JobStarted as error:
                refused.append(str(error))

    async def shutdown(name: str) -> None:
        shut.append(name)

    a = Job(nothing, label="a", coshutdown=partial(shutdown, "a"))
    b = Job(nothing, label="b", coshutdown=partial(shutdown, "b"))
    inner = [Engine(a, b)] if depth else [a, b]
    after = Job(value, 1, 3, coshutdown=relate, required=inner)
    assert play(Engine(*inner, after, Job(relate, required=inner)))
    assert len(refused) == 4
    assert sorted(shut) == ["a", "b"]


def test_a_cycle_is_refused_at_the_line_and_nothing_changes() -> None:
    gate, a, b, c = (Job(value, 1, 2, label=name) for name in ("gate", "a", "b", "c"))
    for job in (a, b, c):
        job.requires(gate)
    b.requires(a)
    c.after(b)

    def relate() -> None:
        with pytest.raises(CycleError, match="a -> b -> c -> a"):
            a.requires(c)
        with pytest.raises(SelfRequirement):
            a.requires(a)
        with pytest.raises(ForeignRequirement):
            a.requires(Job(nothing))

    assert play(Engine(gate, a, b, c, during(relate)))
    assert [job.started_at for job in (a, b, c)] == [2, 4, 6]


def test_a_relation_to_one_that_failed_skips_at_once() -> None:
    gate, failed = Job(value, 1, 5), Job(fail, critical=False, label="failed")
    job, dependent = Job(nothing, required=gate, critical=False), Job(nothing, critical=False)
    dependent.requires(job)
    engine = Engine(gate, failed, job, dependent, during(lambda: job.requires(failed)))
    assert play(engine)
    assert (job.state, job.ended_at, dependent.state) == (SKIPPED, 1, SKIPPED)


def test_inside_a_nested_engine_that_has_not_begun() -> None:
    gate, a, b = Job(value, 1, 2), Job(value, 1, 1), Job(value, 1, 1)
    inner = Engine(a, b, required=gate)
    assert play(Engine(gate, inner, during(lambda: a.requires(b))))
    assert (b.started_at, a.started_at) == (2, 3)


# -- cancelled -------------------------------------------------------------------------------


def test_a_job_that_cancels_itself() -> None:
    async def work() -> str:
        assert job.cancel("had enough")
        await asyncio.sleep(1)
        return "not reached"

    job = Job(work, label="self")
    (error,) = explanation(Engine(job))
    assert isinstance(error, JobCancelled)
    assert "had enough" in str(error)
    assert job.ended_at == 0


@pytest.mark.parametrize("whom", ["itself", "engine"])
def test_one_that_cancels_and_then_never_waits(whom: str) -> None:
    async def work() -> str:
        (job if whom == "itself" else engine).cancel()
        return "result"

    job = Job(work)
    engine = Engine(job)
    assert not play(engine)
    assert job.state is CANCELLED


def test_one_that_cancels_the_engine() -> None:
    running, waiting = Job(for_ever), Job(nothing)
    waiting.requires(running)
    engine = Engine(running, waiting, during(lambda: engine.cancel("enough"), critical=False))
    story = Story()
    engine.message_queue = story
    with pytest.raises(EngineFailed, match="enough"):
        run_virtual(engine.corun())
    story.check()
    assert (running.state, waiting.state) == (CANCELLED, SKIPPED)
    (stopping,) = (tick for tick in story.ticks if isinstance(tick, RunStopping))
    assert stopping.reason is StopReason.CANCELLED


def test_cancel_says_whether_there_was_anything_to_cancel() -> None:
    said: list[bool] = []
    first, second = Job(value, 1, 0.5), Job(for_ever, critical=False)

    def act() -> None:
        said.extend([first.cancel(), second.cancel()])

    engine = Engine(first, second, during(act))
    assert (engine.cancel(), second.cancel()) == (False, False)
    assert play(engine)
    assert said == [False, True]
    assert (engine.cancel(), second.cancel()) == (False, False)


def test_cancelled_while_it_waits() -> None:
    gate, victim = Job(value, 1, 5), Job(nothing, critical=False, label="victim")
    victim.requires(gate)
    skipped, goes_on = Job(nothing, critical=False), Job(nothing)
    skipped.requires(victim)
    goes_on.after(victim)
    assert play(Engine(gate, victim, skipped, goes_on, during(victim.cancel)))
    assert (victim.state, victim.ended_at) == (CANCELLED, 1)
    assert (skipped.state, goes_on.started_at) == (SKIPPED, 1)


def test_cancelled_twice_it_gets_it_once() -> None:
    got: list[int] = []

    async def tidy() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            got.append(1)
            await asyncio.sleep(5)
            got.append(2)
            raise

    victim = Job(tidy, critical=False)
    again = during(victim.cancel, 3)
    assert play(Engine(victim, during(victim.cancel), again, cancel_grace=9))
    assert got == [1, 2]
    assert victim.ended_at == 6


def test_cancelled_before_its_first_step_it_never_begins() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    victim = Job(work, critical=False)

    async def main() -> bool:
        engine = Engine(victim)
        asyncio.get_running_loop().call_soon(victim.cancel)
        return await engine.corun()

    assert run_virtual(main())
    assert begun == []
    assert victim.state is CANCELLED


def test_what_it_says_as_it_is_cancelled_is_shown() -> None:
    async def cannot_undo() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise asyncio.CancelledError("the remote process may still run") from None

    job = Job(cannot_undo, label="remote")
    engine = Engine(job, timeout=1)
    play(engine)
    with pytest.raises(asyncio.CancelledError, match="may still run"):
        job.result()


@pytest.mark.parametrize("what", ["job", "engine"])
def test_from_another_thread(what: str) -> None:
    started = threading.Event()

    async def work() -> None:
        started.set()
        await for_ever()

    job = Job(work)
    engine = Engine(job)

    def cancel() -> None:
        assert started.wait(30)
        assert (job if what == "job" else engine).cancel("from a thread")

    thread = threading.Thread(target=cancel)
    thread.start()
    start = time.monotonic()
    assert not engine.orchestrate(timeout=60)
    assert time.monotonic() - start < 30
    thread.join()
    assert job.state is CANCELLED
    assert "from a thread" in engine.why()


@pytest.mark.parametrize("turns", [1, 2, 3, 20])
@pytest.mark.parametrize("is_first", [True, False])
def test_all_tasks_of_the_loop_are_cancelled_at_once(
    turns: int, is_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the end of asyncio.run, in whatever order: the run is cancelled, and nothing failed."""
    inner = Engine(Job(for_ever))
    job = Job(for_ever)
    late = Job(nothing).after(job)
    engine = Engine(job, inner, late, message_queue=Story())

    async def main() -> None:
        task = asyncio.create_task(engine.corun())
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for each in sorted(tasks, key=lambda each: (each is task) != is_first):
            each.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    engine.message_queue.check()
    assert caplog.records == []
    assert engine.state is CANCELLED
    assert engine.failures == {}
    assert late.state is SKIPPED


# -- by those who read its events ------------------------------------------------------------


class Meddler(Engine):
    """An engine that does something to itself at an event: it sends itself `tick`."""

    def __init__(self, *jobs: Any, when: Callable[[Tick], bool], do: Callable[[], Any]) -> None:
        super().__init__(*jobs)
        self.when = when
        self.do = do
        self.errors: list[BaseException] = []

    def tick(self, event: Tick) -> None:
        """Act once."""
        if self.when(event):
            self.when = lambda _: False
            try:
                self.do()
            except BaseException as error:
                self.errors.append(error)
        super().tick(event)


def becomes(job: str, state: State) -> Callable[[Tick], bool]:
    return lambda tick: isinstance(tick, JobState) and (tick.job, tick.new) == (job, state)


def is_start(tick: Tick) -> bool:
    return isinstance(tick, RunStarted)


@pytest.mark.parametrize("moment", [*list(State)[1:4], "start"])
def test_a_tick_that_cancels_the_run(moment: Any) -> None:
    when = is_start if moment == "start" else becomes("1", moment)

    engine = Meddler(
        Job(value, 1, 1), Job(for_ever), Job(for_ever), when=when, do=lambda: engine.cancel("tick")
    )
    story = Story()
    engine.message_queue = story
    assert run_virtual(lasts(engine.corun())) <= 1
    assert engine.errors == []
    story.check()
    assert all(job.is_done() for job in engine)
    assert "abandoned" not in engine.why()


@pytest.mark.parametrize("moment", list(State)[1:4])
def test_a_tick_that_cancels_that_very_job(moment: State) -> None:
    victim = Job(value, 1, 1, critical=False)
    engine = Meddler(
        victim, Job(value, 1, 3), when=becomes("1", moment), do=lambda: victim.cancel("tick")
    )
    assert play(engine)
    assert engine.errors == []
    assert victim.state is (FINISHED if moment is FINISHED else CANCELLED)


@pytest.mark.parametrize("moment", [*list(State)[1:4], "start"])
def test_a_tick_that_adds_a_job(moment: Any) -> None:
    late = Job(value, "late", 5)
    when = is_start if moment == "start" else becomes("1", moment)

    bus = Job(for_ever, forever=True)
    engine = Meddler(Job(value, 1, 1), bus, when=when, do=lambda: engine.add(late))
    story = Story()
    engine.message_queue = story
    assert run_virtual(engine.corun())
    story.check()
    assert engine.errors == []
    assert late.result() == "late"


@pytest.mark.parametrize("seq", range(12))
def test_whatever_a_tick_adds_and_cancels_the_story_is_legal(seq: int) -> None:
    late = Engine(Job(nothing), Job(nothing))

    def meddle() -> None:
        engine.add(late)
        late.add(Job(nothing))
        engine.cancel("tick")
        with suppress(AlreadyRunning):
            late.add(Job(nothing))

    bus = Job(for_ever, forever=True)
    inner = Engine(Job(nothing), Job(value, 1, 1), label="inner")
    engine = Meddler(inner, bus, when=lambda tick: tick.seq == seq, do=meddle)
    story = Story()
    engine.message_queue = story
    assert run_virtual(lasts(engine.corun())) <= 1
    story.check()
    assert all(job.is_done() for job in engine.iterate_jobs())


@pytest.mark.parametrize("told", range(1, 4))
def test_a_tick_that_meddles_with_what_is_just_being_added(told: int) -> None:
    """All that was added is told before anything else about it, and each job of it once."""
    first, second = Job(nothing), Job(nothing)
    late = Engine(first, second.requires(first), label="late")

    def meddle() -> None:
        first.cancel("tick")
        late.add(Job(nothing, required=second))

    def when(tick: Tick) -> bool:
        return isinstance(tick, JobAdded) and tick.row.id == ("2", "2.1", "2.2")[told - 1]

    engine = Meddler(during(lambda: engine.add(late)), when=when, do=meddle)
    engine.message_queue = story = Story()
    assert not play(engine)
    assert engine.errors == []
    story.check()
    assert [job.state for job in late] == [CANCELLED, SKIPPED, SKIPPED]


def test_jobs_added_together_may_wait_for_later_ones() -> None:
    first, second = Job(nothing), Job(nothing)
    first.requires(second)
    story = Story()
    engine = Engine(during(lambda: engine.update([first, second])), message_queue=story)
    assert play(engine)
    story.check()


def test_a_spy_in_the_place_of_tick_sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tick] = []
    tick = Engine.tick

    def spy(self: Engine, event: Tick) -> None:
        seen.append(event)
        tick(self, event)

    monkeypatch.setattr(Engine, "tick", spy)
    engine = Engine(Job(nothing), message_queue=Story())
    assert play(engine)
    assert seen == engine.message_queue.ticks


@pytest.mark.parametrize("job_id", ["3", "0", "-1", "x", "", "1.1", "1.", "²"])
def test_nobody_has_an_id_that_no_event_gave(job_id: str) -> None:
    with pytest.raises(KeyError):
        Engine(Job(nothing), Job(nothing)).find(job_id)


def test_a_tick_that_cancels_a_nested_job() -> None:
    victim = Job(for_ever, critical=False)
    inner = Engine(victim, Job(value, 1, 1))
    engine = Meddler(inner, when=becomes("1.1", State.RUNNING), do=victim.cancel)
    assert play(engine)
    assert victim.state is CANCELLED


@pytest.mark.parametrize("error", [KeyboardInterrupt("now"), SystemExit(7)])
@pytest.mark.parametrize("moment", [State.RUNNING, State.FINISHED])
def test_a_tick_that_ends_the_program(error: BaseException, moment: State) -> None:
    """It stops the run, which is shut down, and comes out; nothing hangs."""
    shut: list[int] = []

    async def shutdown() -> None:
        shut.append(1)

    def leave() -> None:
        raise error

    class Leaver(Meddler):
        """Does not catch."""

        def tick(self, event: Tick) -> None:
            """Act once."""
            if self.when(event):
                self.when = lambda _: False
                self.do()

    other = Job(value, 1, 60)
    engine = Leaver(Job(nothing, coshutdown=shutdown), other, when=becomes("1", moment), do=leave)
    start = time.monotonic()
    with pytest.raises(type(error)):
        engine.orchestrate(timeout=60)
    assert time.monotonic() - start < 30
    assert shut == [1]
    assert other.state in {CANCELLED, SKIPPED}
    assert Engine(Job(nothing)).orchestrate()


# -- costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [True, False])
def test_to_add_many_one_by_one_is_linear(read: bool) -> None:
    def calls(count: int) -> int:
        made = 0

        def profile(*_: Any) -> None:
            nonlocal made
            made += 1

        async def add() -> None:
            for _ in range(count):
                engine.add(Job(nothing))

        engine = Engine(Job(add), message_queue=Story() if read else None)
        sys.setprofile(profile)
        try:
            assert engine.orchestrate()
        finally:
            sys.setprofile(None)
        return made

    assert calls(1000) < 15 * calls(100)
