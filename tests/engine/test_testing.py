"""The test kit itself: each tool finds what it is for, and is silent where nothing is wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

import pytest

from engine import AbstractJob, CycleError, Engine, Job, NotACoroutine, Pool, State, run
from engine.testing import (
    Attempt,
    CancelFailed,
    Deadlock,
    IllegalStory,
    JobSpec,
    Leaked,
    OrderFailed,
    SequenceBroken,
    Sequencer,
    any_order,
    cancel_everywhere,
    check_story,
    differences,
    no_leaks,
    play,
    predict,
    random_graph,
    run_virtual,
    sketch,
    violations,
    virtual_clock,
)
from engine.testing.patience import STALL, looks
from engine.ticks import (
    JobReady,
    JobRow,
    JobState,
    JobStopping,
    RunEnded,
    RunStarted,
    RunStopping,
    StopReason,
    Tick,
)
from tests.engine.cast import leave_out_on_uvloop, now

# The virtual clock


def test_time_jumps_to_each_timer_exactly() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = []
        for seconds in (0.1, 0.2, 3600.0, 86400.0, 0.3):
            due = loop.time() + seconds
            await asyncio.sleep(seconds)
            seen.append(loop.time() - due)
        return seen

    began = time.monotonic()
    assert run_virtual(main(), start=0.7) == [0.0] * 5
    assert time.monotonic() - began < 60


def test_time_passes_in_a_far_future() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1e12)
        before = loop.time()
        await asyncio.sleep(0.001)
        return loop.time() - before

    assert run_virtual(main()) == pytest.approx(0.001, abs=0.001)


def test_sleeping_until_a_deadline_gets_there() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        deadline, turns = 0.1 + 0.2 + 1e9, 0
        while (left := deadline - loop.time()) > 0:
            await asyncio.sleep(left / 3 if turns < 5 else left)
            turns += 1
        return turns

    assert run_virtual(main(), start=0.1) < 10


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(10, print).cancel()
        async with asyncio.timeout(5):
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        return loop.time()

    assert run_virtual(main()) == 2.0


def test_a_deadlock_names_what_waits() -> None:
    async def waits_for_a_key() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_for_a_key(), name="keeper")
            await asyncio.sleep(5)

    with pytest.raises(
        Deadlock, match=r"keeper: .*test_testing.py:\d+ in .*waits_for_a_key"
    ) as got:
        run_virtual(main())
    assert len(got.value.waiting) == 2


def test_a_deadlock_names_the_jobs_and_what_each_waits_for() -> None:
    gate = asyncio.Event()
    held = Pool(1, label="held")
    held.take("somebody else")
    holds = Job(waits_for, gate, label="holds")
    opens = Job(waits_for, gate, label="opens")
    inner = Engine(Job(waits_for, gate, label="inside"), label="inner")
    server = Job(waits_for, gate, label="server", forever=True, notify=True)
    client = Job(waits_for, gate, label="client", required=[server, holds], after=opens)
    painter = Job(waits_for, gate, pool=held)
    late = Engine(Job(waits_for, gate), label="late", required=inner)
    engine = Engine(holds, inner, opens, server, client, painter, late, jobs_window=2)
    with virtual_clock(), pytest.raises(Deadlock) as got:
        engine.orchestrate()
    (here,) = {line.split(" at ")[1].split(" in ")[0] for line in got.value.waiting[:1]}
    assert here.startswith("tests/engine/test_testing.py:")
    assert got.value.waiting == (
        f"job holds: running, at {here} in waits_for (in Event.wait)",
        f"job inside: running, at {here} in waits_for (in Event.wait)",
        "job opens: scheduled, waits for a slot of its engine's window",
        f"job server: running, at {here} in waits_for (in Event.wait)",
        "job client: idle, waits for server (not ready), holds (running), opens (scheduled)",
        "job NOLABEL (waits_for): scheduled, waits for a slot of <Pool `held' 1/1>",
        "job late: idle, waits for inner (running)",
    )
    assert got.value.jobs == (holds, *inner, opens, server, client, painter, late)
    assert all(job.is_done() for job in engine.iterate_jobs())


async def waits_for(gate: asyncio.Event) -> None:
    await gate.wait()


def test_to_sleep_for_ever_is_a_deadlock() -> None:
    with pytest.raises(Deadlock, match="nothing can happen"):
        run_virtual(asyncio.sleep(inf))


def test_a_thread_is_waited_for_before_time_jumps() -> None:
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()

        def work() -> None:
            time.sleep(0.05)
            loop.call_soon_threadsafe(future.set_result, "done")

        thread = threading.Thread(target=work)
        thread.start()
        async with asyncio.timeout(0.001):
            told = await future
        thread.join()
        return told, loop.time()

    assert run_virtual(main(), patience=30) == ("done", 0.0)


def test_an_idle_thread_is_waited_for_once() -> None:
    async def main() -> float:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        began = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(1)
        passed = time.monotonic() - began
        stop.set()
        thread.join()
        return passed

    assert run_virtual(main(), patience=1) < 15


def test_a_child_process_is_waited_for() -> None:
    leave_out_on_uvloop("its policy watches children for its own loops only")

    async def main() -> float:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        async with asyncio.timeout(1):
            await child.wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main(), patience=30) == 0.0


async def swallows(seconds: float) -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)


async def swallows_once(seconds: float) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(seconds)
    await asyncio.sleep(seconds)


@pytest.fixture
def _asyncio_logs_to_nobody() -> Iterator[None]:
    """Keep the error that a test makes on purpose from the check round the tests."""
    logger = logging.getLogger("asyncio")
    handlers, logger.handlers = logger.handlers, []
    yield
    gc.collect()
    logger.handlers = handlers


@pytest.mark.usefixtures("_asyncio_logs_to_nobody")
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_task_that_swallows_its_cancellation_hangs_nothing(seconds: float) -> None:
    async def main() -> str:
        left = asyncio.create_task(swallows(seconds))
        await asyncio.sleep(0)
        assert not left.done()
        return "over"

    assert run_virtual(main()) == "over"


def test_what_is_left_may_clean_up() -> None:
    cleaned: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            cleaned.append("up")

    async def main() -> None:
        left = asyncio.create_task(cleans_up())
        await asyncio.sleep(0)
        assert not left.done()

    run_virtual(main())
    assert cleaned == ["up"]


def test_what_is_done_at_a_turn_comes_before_time_jumps() -> None:
    async def main() -> float:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return asyncio.get_running_loop().time()
        return -1.0

    def cancel(_: int) -> None:
        if tasks:
            tasks.pop().cancel()

    tasks: list[asyncio.Task[Any]] = []
    assert run_virtual(main(), on_turn=cancel) == 0.0


def test_turns_are_counted() -> None:
    turns: list[int] = []
    run_virtual(asyncio.sleep(1), on_turn=turns.append)
    assert turns == list(range(len(turns)))
    assert len(turns) >= 2


def test_orchestrate_and_run_go_by_a_virtual_clock() -> None:
    with virtual_clock(start=1000) as clock:
        assert Engine(Job(asyncio.sleep, 3600)).orchestrate()
        run(asyncio.sleep(60))
        assert clock.time() == 1000 + 3600 + 60
        Engine(Job(swallows_once, 3600), timeout=10, cancel_grace=1).orchestrate()
    assert clock.is_closed()
    assert clock.time() == 1000 + 3600 + 60 + 11  # not what it took to end what was left
    assert run(now()) != clock.time()


def test_a_virtual_clock_works_where_a_loop_is_running() -> None:
    async def cell() -> tuple[bool, float, float]:
        # So patient that it would be seen to hang if it waited for the thread that runs its loop.
        with virtual_clock(patience=3600) as clock:
            good = Engine(Job(asyncio.sleep, 3600)).orchestrate()
            return good, clock.time(), run_virtual(now())

    assert asyncio.run(cell()) == (True, 3600, 0)


def test_what_is_no_coroutine_is_refused_with_advice() -> None:
    with pytest.raises(NotACoroutine, match=r"as run_virtual\(main\(\)\), not <function now"):
        run_virtual(now)  # type: ignore[arg-type]


# The sequencer


def test_steps_come_in_order_whatever_the_order_of_the_tasks() -> None:
    async def main() -> list[int]:
        step, seen = Sequencer(), []

        async def take(position: int) -> None:
            async with step(position):
                await asyncio.sleep(0)
                seen.append(position)

        await asyncio.gather(*map(take, (3, 1, 4, 0, 2)))
        return seen

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_a_step_is_used_once() -> None:
    step = Sequencer()
    step(0)
    with pytest.raises(ValueError, match="step 0 of this sequence is used twice"):
        step(0)


def test_steps_are_numbered_from_0() -> None:
    with pytest.raises(ValueError, match=r"steps are numbered 0, 1, 2\.\.\.; -1 is none"):
        Sequencer()(-1)


def test_a_step_that_never_comes_is_a_deadlock_that_shows_the_line() -> None:
    async def take(step: Sequencer) -> None:
        async with step(1):
            raise AssertionError("nobody may get here")

    with pytest.raises(Deadlock, match=r"job second: running, at .*test_testing.py:\d+ in .*take"):
        run_virtual(Engine(Job(take, Sequencer(), label="second")).corun())


def test_a_step_that_raises_lets_the_next_one_come() -> None:
    async def main() -> str:
        step = Sequencer()
        with suppress(ZeroDivisionError):
            async with step(0):
                raise ZeroDivisionError
        async with step(1):
            return "came"

    assert asyncio.run(main()) == "came"


def test_a_cancelled_step_breaks_the_sequence() -> None:
    async def take(step: Sequencer, position: int) -> None:
        async with step(position):
            raise AssertionError("nobody may get here")

    async def main() -> None:
        step = Sequencer()
        first, second = (asyncio.create_task(take(step, position)) for position in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(SequenceBroken):
            await second
        with pytest.raises(SequenceBroken):
            step(3)

    asyncio.run(main())


# The story checker

ROWS = (
    JobRow("1", "a", "Job"),
    JobRow("2", "inner", "Engine"),
    JobRow("2.1", "b", "Job", engine="2", forever=True),
)


def story(*events: tuple[Any, ...]) -> list[Tick]:
    """Events from their kind and fields, numbered, one second apart."""
    return [kind("r", seq, float(seq), 0.0, *fields) for seq, (kind, *fields) in enumerate(events)]


def goes(job: str, *states: State, **more: Any) -> list[tuple[Any, ...]]:
    """The events of a job that goes through these states."""
    return [(JobState, job, old, new, more.get("reason", "")) for old, new in pairwise(states)]


YES = True
STARTED = (RunStarted, "", ROWS)
RUNS = (State.IDLE, State.SCHEDULED, State.RUNNING)
LEGAL_STORY = [
    STARTED,
    *goes("1", *RUNS),
    *goes("2", *RUNS),
    *goes("2.1", *RUNS),
    (JobReady, "2.1"),
    *goes("1", State.RUNNING, State.FINISHED),
    (JobStopping, "2.1"),
    *goes("2.1", State.RUNNING, State.CANCELLED),
    *goes("2", State.RUNNING, State.FINISHED),
    (RunStopping, StopReason.DONE),
    (RunEnded, YES, "ok", {State.FINISHED: 2, State.CANCELLED: 1}, 1.0),
]


def test_a_legal_story_is_legal() -> None:
    check_story(story(*LEGAL_STORY))


def test_jobs_of_an_engine_that_is_not_tried_again_after_all_still_count() -> None:
    second = "", 2, 2
    ended = (RunEnded, YES, "ok", {State.FINISHED: 1, State.CANCELLED: 1}, 1.0)
    check_story(
        story(
            (RunStarted, "", ROWS[1:]),
            *goes("2", *RUNS),
            *goes("2.1", *RUNS),
            *goes("2.1", State.RUNNING, State.FINISHED),
            (JobState, "2", State.RUNNING, State.SCHEDULED, *second, 0.0),
            (JobState, "2", State.SCHEDULED, State.RUNNING, *second),
            (JobState, "2", State.RUNNING, State.CANCELLED, *second),
            ended,
        )
    )


def without(*positions: int) -> list[tuple[Any, ...]]:
    left = list(LEGAL_STORY)
    for position in sorted(positions, reverse=True):
        del left[position]
    return left


def changed(position: int, *event: Any) -> list[tuple[Any, ...]]:
    return [*LEGAL_STORY[:position], event, *LEGAL_STORY[position + 1 :]]


def inserted(position: int, *event: Any) -> list[tuple[Any, ...]]:
    return [*LEGAL_STORY[:position], event, *LEGAL_STORY[position:]]


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([], "no event at all"),
        (without(len(LEGAL_STORY) - 1), "the end of the run is missing"),
        (without(0), "is out of place"),
        (inserted(3, *STARTED), "is out of place"),
        ([*LEGAL_STORY, (JobStopping, "1")], "comes after the end"),
        (without(1), "says that job 1 was scheduled, it was idle"),
        (changed(2, JobState, "1", State.SCHEDULED, State.FINISHED), "from scheduled to finished"),
        (without(8), "comes before the end of 1 (running)"),
        (without(10), "ends engine 2 before its jobs 2.1"),
        (inserted(1, JobState, "7", State.IDLE, State.SCHEDULED), "unknown job '7'"),
        (inserted(8, JobReady, "2.1"), "is told of job 2.1 twice"),
        (inserted(1, JobReady, "2.1"), "which is idle"),
        (inserted(9, JobStopping, "1"), "is about job 1, which is finished"),
        (inserted(9, RunStopping, StopReason.TIMEOUT), "is told twice"),
        (changed(len(LEGAL_STORY) - 1, RunEnded, YES, "ok", {State.FINISHED: 3}, 1.0), "counts"),
        (changed(len(LEGAL_STORY) - 1, RunEnded, YES, "", {}, 1.0), "does not say why"),
        (changed(2, JobState, "1", State.SCHEDULED, State.RUNNING, "", 2, 2), "is attempt 2"),
        (changed(2, JobState, "1", State.SCHEDULED, State.RUNNING, "", 1, 1, 0.5), "has retry_in"),
        (changed(1, JobState, "1", State.IDLE, State.SKIPPED), "does not say why"),
        (changed(0, RunStarted, "", (*ROWS, ROWS[0])), "has job 1 twice"),
        (changed(0, RunStarted, "", (*ROWS, JobRow("3", "", "Job", requires=("4",)))), "unknown 4"),
    ],
)
def test_an_illegal_story_is_told(events: list[tuple[Any, ...]], problem: str) -> None:
    with pytest.raises(IllegalStory) as got:
        check_story(story(*events))
    assert problem in str(got.value)


def test_gaps_and_clocks_are_looked_at() -> None:
    ticks = story(*LEGAL_STORY)
    gap = [*ticks[:3], *(replace(tick, seq=tick.seq + 1) for tick in ticks[3:])]
    back = [*ticks[:3], replace(ticks[3], at=-1.0), *ticks[4:]]
    mixed = [*ticks[:3], replace(ticks[3], run="other"), *ticks[4:]]
    for wrong, problem in (
        (gap, "is number 4, not 3"),
        (back, "back in time"),
        (mixed, "is of run"),
    ):
        with pytest.raises(IllegalStory, match=problem):
            check_story(wrong)


# The leak check


def test_a_stall_of_the_machine_takes_little_of_the_patience() -> None:
    looked = 0
    for _ in looks(patience=STALL + 0.03, every=0.01):
        looked += 1
        if looked == 1:
            time.sleep(STALL + 0.05)
    assert looked > 2


def leave_a_thread() -> Callable[[], object]:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()

    def mend() -> None:
        stop.set()
        thread.join()

    return mend


def leave_a_file() -> Callable[[], object]:
    number = os.open(os.devnull, os.O_RDONLY)
    return lambda: os.close(number)


def leave_a_child() -> Callable[[], object]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    return lambda: child.communicate(b"\n")


def leave_a_task() -> Callable[[], object]:
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(1000), name="forgotten")
    loop.run_until_complete(asyncio.sleep(0))

    def mend() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    return mend


@pytest.mark.parametrize(
    ("leave", "kind"),
    [
        (leave_a_thread, "thread"),
        (leave_a_file, "file"),
        (leave_a_child, "child process"),
        (leave_a_task, "task forgotten"),
    ],
)
def test_what_is_left_is_found(leave: Callable[[], Callable[[], object]], kind: str) -> None:
    mend: Callable[[], object] = bool
    try:
        with pytest.raises(Leaked, match=kind), no_leaks(patience=0):
            mend = leave()
    finally:
        mend()


def test_a_coroutine_never_awaited_is_found() -> None:
    with pytest.raises(Leaked, match="never awaited"), no_leaks():
        asyncio.sleep(0)  # type: ignore[unused-coroutine]


@pytest.mark.usefixtures("_asyncio_logs_to_nobody")
def test_an_error_that_nobody_saw_is_found() -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_future().set_exception(ValueError("unseen"))

    with pytest.raises(Leaked, match="never retrieved"), no_leaks():
        asyncio.run(main())


def test_a_cycle_is_found_and_taken_away() -> None:
    def make() -> None:
        error = ValueError("holds its own frame")
        try:
            raise error
        except ValueError as caught:
            caught.keep = caught  # type: ignore[attr-defined]

    with pytest.raises(Leaked, match="cyclic garbage: 1 x ValueError"), no_leaks(cycles=True):
        make()
    assert gc.isenabled()
    with no_leaks(cycles=True):
        pass


def test_what_a_loop_keeps_is_no_leak() -> None:
    def runs_in_a_thread_of_its_own() -> None:
        with no_leaks():
            assert Engine(Job(asyncio.to_thread, len, "abc")).orchestrate()
        looked.append("twice")

    looked: list[str] = []
    thread = threading.Thread(target=runs_in_a_thread_of_its_own)
    thread.start()
    thread.join()
    assert looked


def test_filters_of_warnings_hold_inside() -> None:
    with no_leaks(), pytest.raises(UserWarning, match="an error here"):
        warnings.warn("an error here", stacklevel=1)


def test_other_warnings_come_through() -> None:
    with pytest.warns(UserWarning, match="for the user"), no_leaks():
        warnings.warn("for the user", stacklevel=1)


def test_a_block_that_raises_is_not_checked() -> None:
    left: list[Callable[[], object]] = []

    def fail() -> None:
        left.append(leave_a_file())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), no_leaks():
        fail()
    left[0]()


# The model

A = JobSpec("1", attempts=(Attempt(2.0),))
FAILS = JobSpec("1", attempts=(Attempt(2.0, fails=True),))
SOFT = replace(FAILS, critical=False)
STAYS = JobSpec("1", forever=True, attempts=(Attempt(inf),))
BOTH = (Attempt(1.0, fails=True), Attempt(1.5))
PAUSED = (Attempt(1.0, fails=True, pause=0.5), Attempt(1.5))

FINISHED, FAILED, CANCELLED, SKIPPED = (
    State.FINISHED,
    State.FAILED,
    State.CANCELLED,
    State.SKIPPED,
)


@pytest.mark.parametrize(
    ("root", "ok", "fates"),
    [
        (JobSpec("", jobs=()), True, {}),
        (JobSpec("", jobs=(A, JobSpec("2", requires=(A,)))), True, {"1": 2.0, "2": 3.0}),
        (
            JobSpec("", jobs=(FAILS, JobSpec("2", attempts=(Attempt(3.0),)))),
            False,
            {"2": CANCELLED},
        ),
        (JobSpec("", jobs=(SOFT, JobSpec("2", requires=(SOFT,)))), False, {"2": SKIPPED}),
        (JobSpec("", jobs=(SOFT, JobSpec("2", after=(SOFT,)))), True, {"1": FAILED, "2": 3.0}),
        (JobSpec("", jobs=(FAILS, JobSpec("2", after=(FAILS,)))), False, {"2": SKIPPED}),
        (
            JobSpec("", keep_going=True, jobs=(FAILS, JobSpec("2", after=(FAILS,)))),
            False,
            {"2": FINISHED},
        ),
        (
            JobSpec("", jobs=(STAYS, JobSpec("2", requires=(STAYS,)))),
            True,
            {"1": CANCELLED, "2": 1.0},
        ),
        (JobSpec("", jobs=(JobSpec("1", attempts=BOTH),)), True, {"1": 2.5}),
        (JobSpec("", jobs=(JobSpec("1", timeout=0.5),)), False, {"1": FAILED}),
        (JobSpec("", window=1, jobs=(JobSpec("1"), JobSpec("2"))), True, {"1": 1.0, "2": 2.0}),
        (JobSpec("", timeout=0.5, jobs=(JobSpec("1"),)), False, {"1": CANCELLED}),
        (JobSpec("", cancel_at=0.5, jobs=(JobSpec("1", critical=False),)), False, {"1": CANCELLED}),
        (JobSpec("", jobs=(A, JobSpec("2", add_at=0.5))), True, {"1": 2.0, "2": 1.5}),
        (JobSpec("", jobs=(A, JobSpec("2", add_at=2.5))), True, {"1": 2.0, "2": State.IDLE}),
        (JobSpec("", jobs=(JobSpec("1", attempts=PAUSED),)), True, {"1": 3.0}),
        (JobSpec("", jobs=(JobSpec("1", cancel_at=0.5),)), False, {"1": CANCELLED}),
        (
            JobSpec("", jobs=(JobSpec("1", jobs=(replace(FAILS, id="1.1"),), critical=False),)),
            True,
            {"1": FAILED, "1.1": FAILED},
        ),
        (
            JobSpec("", pools={"p": 1}, jobs=(JobSpec("1", pool="p"), JobSpec("2", pool="p"))),
            True,
            {"2": 2.0},
        ),
    ],
)
def test_the_model_knows_the_contract(
    root: JobSpec, ok: bool, fates: dict[str, State | float]
) -> None:
    prediction = predict(root)
    assert prediction.ok is ok
    for job, expected in fates.items():
        fate = prediction.fates[job]
        got = fate.ended if isinstance(expected, float) else fate.state
        assert got == expected, job
    performance = play(root)
    assert not differences(prediction, performance)
    assert not violations(performance)


def test_the_model_says_when_a_run_never_ends() -> None:
    never = JobSpec("1", forever=True, notify=True, ready_after=inf, attempts=(Attempt(inf),))
    with pytest.raises(ValueError, match="never ends: 1, 2 are not over"):
        predict(JobSpec("", jobs=(never, JobSpec("2", requires=(never,)))))


def test_the_model_says_when_more_than_one_outcome_is_right() -> None:
    assert predict(JobSpec("", jobs=(JobSpec("1"), JobSpec("2")))).tied
    assert not predict(JobSpec("", jobs=(A, JobSpec("2")))).tied


def test_the_same_seed_gives_the_same_graph() -> None:
    assert sketch(random_graph(5)) == sketch(random_graph(5)) != sketch(random_graph(6))
    assert sketch(random_graph(5, tied=True)) != sketch(random_graph(5))


def test_a_graph_needs_a_job() -> None:
    with pytest.raises(ValueError, match="at least one job, not 0"):
        random_graph(1, most=0)


def test_a_graph_finds_its_jobs() -> None:
    graph = JobSpec("", jobs=(A,))
    assert graph.find("1") is A
    with pytest.raises(KeyError):
        graph.find("2")


def test_what_differs_from_the_model_is_told() -> None:
    right = JobSpec("", jobs=(A, JobSpec("2", requires=(A,))))
    performance = play(JobSpec("", jobs=(A, JobSpec("2"))))
    found = "\n".join(differences(predict(right), performance))
    assert "job 2: starts: [2.0] expected, [0.0] seen" in found


# Cancel everywhere


class Forgetful(AbstractJob):
    """A job that leaves a task behind if it is cancelled."""

    async def corun(self) -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.left = asyncio.create_task(asyncio.sleep(1000), name="forgotten")
            raise


class Polite(AbstractJob):
    """A job that opens something and closes it."""

    is_open = False

    async def corun(self) -> None:
        await asyncio.sleep(0)
        self.is_open = True
        await asyncio.sleep(5)

    async def coshutdown(self) -> None:
        self.is_open = False


def check_closed(engine: Engine) -> None:
    assert not any(job.is_open for job in engine.jobs if isinstance(job, Polite)), "still open"


def chain() -> Engine:
    first, second = Polite(label="first"), Polite(label="second")
    return Engine(first, second.requires(first))


def test_a_good_graph_can_be_cancelled_everywhere() -> None:
    assert cancel_everywhere(chain, check=check_closed) >= 6


def test_a_task_left_behind_is_found() -> None:
    with pytest.raises(CancelFailed, match=r"task left: forgotten"):
        cancel_everywhere(lambda: Engine(Forgetful()))


def test_what_the_check_of_the_user_finds_is_told() -> None:
    def check(engine: Engine) -> None:
        assert all(job.state is State.FINISHED for job in engine.jobs), "not finished"

    with pytest.raises(CancelFailed, match=r"cancelled at turn \d+ of the loop:\n  not finished"):
        cancel_everywhere(chain, check=check)


def test_another_way_to_cancel_may_be_chosen() -> None:
    def by_hand(engine: Engine, _: asyncio.Task[bool]) -> None:
        next(iter(engine.jobs)).cancel()

    assert cancel_everywhere(chain, cancel=by_hand, check=check_closed) >= 6


def test_a_run_without_end_is_told() -> None:
    with pytest.raises(CancelFailed, match="has not ended after 3 turns"):
        cancel_everywhere(lambda: Engine(Job(asyncio.sleep, 1)), most=3)


def test_what_ran_when_it_was_cancelled_is_told() -> None:
    def check(engine: Engine) -> None:
        assert engine.jobs[0].state is not State.FINISHED, "ended too early"

    with pytest.raises(CancelFailed, match="ended too early\n") as got:
        cancel_everywhere(chain, check=check)
    with pytest.raises(CancelFailed) as again:
        cancel_everywhere(chain, check=check, first=got.value.turn)
    assert str(again.value) == str(got.value)
    first, second = got.value.meanwhile
    assert first.startswith("job first: running, at tests/engine/test_testing.py:")
    assert second == "job second: idle, waits for first (running)"
    assert f"what was not over at that turn:\n    {first}\n    {second}" in str(got.value)


@pytest.mark.parametrize("tool", [cancel_everywhere, any_order])
def test_a_graph_that_cannot_be_run_is_told(tool: Any) -> None:
    def knot() -> Engine:
        first, second = Polite(label="first"), Polite(label="second")
        return Engine(first.requires(second), second.requires(first))

    with pytest.raises(CycleError, match="first -> second -> first"):
        tool(knot)


ALWAYS_THE_SAME = Engine(Job(asyncio.sleep, 1))


@pytest.mark.parametrize("tool", [cancel_everywhere, any_order])
@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Engine(), "not <Engine"),
        (lambda: None, "this one returned None"),
        (lambda: ALWAYS_THE_SAME, "the same engine twice"),
    ],
)
def test_what_makes_no_engines_is_refused(tool: Any, make: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=rf"{tool.__name__}\(\) takes a function .*{problem}"):
        tool(make)


def test_an_error_of_the_check_itself_says_when() -> None:
    def check(engine: Engine) -> None:
        raise KeyError("missing")

    for tool, note in ((cancel_everywhere, "cancelled at turn 0"), (any_order, "with seed 0")):
        with pytest.raises(KeyError) as got:
            tool(chain, check=check)
        assert got.value.__notes__ == [note]


# Any order


class Shelf:
    """What some jobs put down and others take."""

    def __init__(self) -> None:
        self.things: list[str] = []

    async def put(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.things.append(name)

    async def take(self, name: str) -> None:
        self.things.remove(name)


def kitchen(*, right: bool) -> Engine:
    """Make a graph which is wrong in that `eat` only happens to come after `cook`."""
    shelf = Shelf()
    cook = Job(shelf.put, "soup", 5, label="cook")
    wash = Job(shelf.put, "spoon", 8, label="wash")
    eat = Job(shelf.take, "soup", label="eat", required=[wash, cook] if right else wash)
    return Engine(Engine(cook, wash, eat, label="kitchen", jobs_window=2))


def test_a_requirement_that_is_missing_is_found() -> None:
    assert run_virtual(kitchen(right=False).corun())
    with pytest.raises(OrderFailed, match="eat failed: ValueError") as got:
        any_order(lambda: kitchen(right=False))
    started = [job.label for job in got.value.order]
    assert started == ["wash", "eat"] or started.index("eat") == 2
    assert f"with seed {got.value.seed}, jobs started in this order: " in str(got.value)
    with pytest.raises(OrderFailed) as again:
        any_order(lambda: kitchen(right=False), seeds=[got.value.seed])
    assert str(again.value) == str(got.value)


def test_a_right_graph_comes_out_right_in_any_order() -> None:
    orders = set()

    def check(engine: Engine) -> None:
        assert engine.exit_status == 0, engine.why()
        jobs = [job for job in engine.iterate_jobs() if not job.forever]
        orders.add(tuple(sorted((job.started_at or 0, job.label) for job in jobs)))

    any_order(lambda: kitchen(right=True), check=check)
    assert len(orders) > 10


def test_what_never_ends_in_some_order_says_in_which() -> None:
    def two_that_meet() -> Engine:
        gate = asyncio.Event()

        async def opens() -> None:
            gate.set()

        return Engine(Job(opens, label="opens"), Job(waits_for, gate, label="meets"), jobs_window=1)

    with pytest.raises(Deadlock, match="job opens: scheduled") as got:
        any_order(two_that_meet)
    assert "of any_order()" in got.value.__notes__[0]
