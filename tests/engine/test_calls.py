"""CallJob: plain functions, in a thread of their own, in an executor, or wherever one says."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import pytest

from engine import (
    BadOption,
    CallJob,
    Engine,
    EngineFailed,
    Job,
    JobOutput,
    JobProgress,
    JobReady,
    NotACoroutine,
    State,
    output,
    ready,
    report,
    run,
)
from engine.testing import Story
from tests.engine.cast import for_ever, nothing, python, value

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def add(first: int, second: int = 10) -> int:
    return first + second


def thread_name() -> str:
    return threading.current_thread().name


def who() -> tuple[str, int]:
    return name.get(), os.getpid()


def boom(error: BaseException) -> None:
    raise error


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


@contextmanager
def our_threads() -> Iterator[None]:
    yield None


@contextmanager
def async_callable() -> Iterator[Callable[..., Any]]:
    yield asyncio.to_thread


PLACES: dict[str, Any] = {
    "own thread": our_threads,
    "threads": threads,
    "processes": processes,
    "async callable": async_callable,
}


@pytest.fixture(scope="module", autouse=True)
def _tracker() -> None:
    """The process that multiprocessing starts once, and keeps."""
    resource_tracker.ensure_running()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    with PLACES[request.param]() as on:
        yield on


@contextmanager
def blocked_thread() -> Iterator[tuple[threading.Event, Callable[[], str]]]:
    """Give a function that blocks, and an event that it is inside; it is let go at the end."""
    inside, leave, gone = threading.Event(), threading.Event(), threading.Event()

    def block() -> str:
        inside.set()
        leave.wait(30)
        gone.set()
        return "done at last"

    try:
        yield inside, block
    finally:
        leave.set()
        if inside.is_set():
            assert gone.wait(30)


# -- everywhere ------------------------------------------------------------------------------


def test_what_it_returns_is_the_result(place: Any) -> None:
    job = CallJob(add, 1, 2, on=place)
    keywords = CallJob(functools.partial(add, second=5), 1, on=place)
    assert Engine(job, keywords).orchestrate()
    assert (job.result(), keywords.result()) == (3, 6)


def test_a_function_is_called_anew_in_each_run(place: Any) -> None:
    job = CallJob(add, 1, on=place)
    engine = Engine(job)
    assert engine.orchestrate()
    assert engine.orchestrate()
    assert job.result() == 11


@pytest.mark.parametrize(
    "error", [ValueError("boom"), OSError(2, "no file"), TimeoutError(), KeyError("x")]
)
def test_what_it_raises_is_the_failure(place: Any, error: Exception) -> None:
    job = CallJob(boom, error, on=place, critical=False)
    assert Engine(job).orchestrate()
    raised = job.raised_exception()
    assert (type(raised), str(raised)) == (type(error), str(error))


@pytest.mark.parametrize("kind", ["own thread", "threads", "processes"])
def test_a_function_that_runs_out_of_items_fails(kind: str) -> None:
    """StopIteration cannot be put into a future: for others this hangs for ever."""
    with PLACES[kind]() as place:
        run_out_of_items(place)


def run_out_of_items(place: Any) -> None:
    job = CallJob(next, iter([]), on=place, label="next")
    engine = Engine(job)
    assert not engine.orchestrate(timeout=10)
    assert job.state is State.FAILED
    assert isinstance(job.raised_exception(), RuntimeError | StopIteration)
    assert "StopIteration" in repr(job.raised_exception())


def test_jobs_among_the_arguments_stand_for_their_results(place: Any) -> None:
    one, two = CallJob(add, 1, 0, on=place), Job(value, 2)
    total = CallJob(sum, [one, two], on=place)
    pairs = CallJob(dict, {"a": one, "b": (two,)}, on=place)
    assert Engine(total, pairs, one, two).orchestrate()
    assert total.result() == 3
    assert pairs.result() == {"a": 1, "b": (2,)}
    assert total.required == (one, two)


def test_a_timeout_is_a_failure(place: Any) -> None:
    if isinstance(place, Executor):
        pytest.skip("see below: their workers are waited for at the end of the test")
    with blocked_thread() as (_, block):
        job = CallJob(block, on=place, timeout=0.05, critical=False)
        assert Engine(job).orchestrate()
        assert isinstance(job.raised_exception(), TimeoutError)


# -- threads of their own --------------------------------------------------------------------


def test_each_runs_in_a_thread_that_is_named_after_it() -> None:
    job, other = CallJob(thread_name, label="copy"), CallJob(thread_name)
    assert Engine(job, other).orchestrate()
    assert job.result() == "copy"
    assert "thread_name" in other.result()


def test_the_thread_is_a_daemon() -> None:
    job = CallJob(lambda: threading.current_thread().daemon)
    assert Engine(job).orchestrate()
    assert job.result() is True


def test_they_run_side_by_side() -> None:
    meeting = threading.Barrier(5, timeout=5)
    jobs = [CallJob(meeting.wait) for _ in range(5)]
    assert Engine(*jobs).orchestrate()
    assert sorted(job.result() for job in jobs) == list(range(5))


def test_the_loop_goes_on_meanwhile() -> None:
    async def let_go() -> None:
        event.set()

    event = threading.Event()
    assert Engine(CallJob(event.wait, 5), Job(let_go)).orchestrate()


@pytest.mark.parametrize("how", ["cancel", "timeout of the run", "critical failure"])
def test_once_cancelled_it_is_abandoned_and_the_report_says_so(
    how: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.CRITICAL)
    with blocked_thread() as (inside, block):
        job = CallJob(block, label="copy")

        async def stop() -> None:
            await asyncio.to_thread(inside.wait, 30)
            if how == "cancel":
                job.cancel("changed my mind")
            elif how == "critical failure":
                raise ValueError("boom")
            else:
                await for_ever()

        story = Story()
        engine = Engine(job, Job(stop, critical=False), message_queue=story)
        engine.jobs[1].critical = how == "critical failure"
        engine.timeout = 0.1 if how == "timeout of the run" else None
        start = time.monotonic()
        assert not engine.orchestrate()
        assert time.monotonic() - start < 20  # it is not waited for
        assert job.state is State.CANCELLED
        engine.debrief()
        assert "may still run" in capsys.readouterr().out
        assert any("may still run" in getattr(tick, "reason", "") for tick in story.ticks)


def test_after_its_own_timeout_the_report_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    with blocked_thread() as (_, block):
        engine = Engine(CallJob(block, label="copy", timeout=0.05))
        assert not engine.orchestrate()
        engine.debrief()
        assert "may still run" in capsys.readouterr().out


def test_what_an_abandoned_thread_ends_with_is_of_no_consequence() -> None:
    for end in (lambda: 1, lambda: boom(ValueError("late")), lambda: boom(SystemExit(3))):
        with blocked_thread() as (_, block):
            ended = threading.Event()

            def work(end: Any = end, block: Any = block, ended: threading.Event = ended) -> None:
                try:
                    block()
                    end()
                finally:
                    ended.set()

            job = CallJob(work, timeout=0.02, critical=False)
            assert Engine(job).orchestrate()
        assert ended.wait(30)
        assert Engine(Job(nothing)).orchestrate()  # whatever was delivered meanwhile
        assert job.state is State.FAILED


def test_a_program_does_not_wait_for_an_abandoned_thread() -> None:
    start = time.monotonic()
    done = python(
        """
        import time
        from engine import CallJob, Engine
        engine = Engine(CallJob(time.sleep, 60, label="nap"), timeout=0.1)
        print(engine.orchestrate(), engine.exit_status)
        """
    )
    assert time.monotonic() - start < 40
    assert (done.returncode, done.stdout) == (0, "False 124\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_comes_out_of_a_thread_too(error: BaseException) -> None:
    engine = Engine(CallJob(boom, error), Job(for_ever))
    with pytest.raises(type(error)):
        engine.orchestrate()
    assert engine.jobs[1].state is State.CANCELLED


# -- context ---------------------------------------------------------------------------------


def test_the_contextvars_of_the_job_go_along() -> None:
    class Named(CallJob):
        """Sets a variable before the function runs."""

        async def corun(self) -> Any:
            name.set("the job")
            return await super().corun()

    with threads() as executor:
        jobs = [Named(who), Named(who, on=executor), Named(who, on=asyncio.to_thread)]
        assert Engine(*jobs, CallJob(who)).orchestrate()
    assert [job.result()[0] for job in jobs] == ["the job"] * 3
    assert name.get() == "nobody"


def test_the_context_of_the_caller_is_that_of_the_jobs() -> None:
    token = name.set("the caller")
    try:
        job = CallJob(who)
        assert Engine(job).orchestrate()
        assert job.result()[0] == "the caller"
    finally:
        name.reset(token)


def test_what_one_function_sets_no_other_sees() -> None:
    def leave() -> None:
        name.set("left behind")

    first = CallJob(leave)
    second = CallJob(who, required=first)
    assert Engine(first, second).orchestrate()
    assert second.result()[0] == "nobody"


def test_another_process_has_no_context() -> None:
    with processes() as executor:
        job = CallJob(who, on=executor)
        assert Engine(job).orchestrate()
    who_it_was, pid = job.result()
    assert who_it_was == "nobody"
    assert pid != os.getpid()


def speak() -> None:
    report("halfway", percent=50)
    report(done=3, total=4)
    output("one\ntwo\n")
    output(b"three", stream="stderr")
    ready()


@pytest.mark.parametrize("kind", ["own thread", "threads", "async callable"])
def test_report_output_and_ready_work_from_any_thread(kind: str) -> None:
    story = Story()
    with PLACES[kind]() as on:
        job = CallJob(speak, on=on, notify=True)
        assert Engine(Job(nothing), job, message_queue=story).orchestrate()
    story.check()
    said = [
        (type(tick).__name__, *(getattr(tick, key, None) for key in ("percent", "message", "text")))
        for tick in story.ticks
        if isinstance(tick, JobProgress | JobOutput | JobReady) and tick.job == "2"
    ]
    assert said == [
        ("JobProgress", 50.0, "halfway", None),
        ("JobProgress", 75.0, None, None),
        ("JobOutput", None, None, "one"),
        ("JobOutput", None, None, "two"),
        ("JobOutput", None, None, "three"),
        ("JobReady", None, None, None),
    ]


def test_from_threads_that_the_function_starts_with_its_context() -> None:
    def inner() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(report, "from inside"))
        thread.start()
        thread.join()

    story = Story()
    assert Engine(CallJob(inner), message_queue=story).orchestrate()
    assert [tick.message for tick in story.ticks if isinstance(tick, JobProgress)] == [
        "from inside"
    ]


def test_a_forever_function_that_says_when_it_is_ready() -> None:
    stop = threading.Event()

    def serve() -> None:
        ready()
        stop.wait(30)

    server = CallJob(serve, forever=True, notify=True)
    client = CallJob(stop.set, required=server)
    assert Engine(server, client).orchestrate()
    assert client.state is State.FINISHED


def test_a_thread_that_outlives_its_run_speaks_to_nobody() -> None:
    """Neither into the next run, nor into a loop that is closed, nor with an error."""
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    errors: list[BaseException] = []
    with blocked_thread() as (_, block):
        spoken = threading.Event()

        def late() -> None:
            block()
            try:
                speak()
            except BaseException as error:
                errors.append(error)
            spoken.set()

        story = Story()
        engine = Engine(CallJob(late, timeout=0.02, critical=False), message_queue=story)
        assert engine.orchestrate()
        story.check()
        count = len(story.ticks)
    assert spoken.wait(30)
    assert Engine(Job(nothing), message_queue=heard).orchestrate()
    assert errors == []
    assert len(story.ticks) == count


# -- executors -------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [True, False], ids=["runs", "waits for a worker"])
def test_a_function_in_an_executor_that_is_cancelled(
    started: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that runs may still run; one that waits for a worker never will."""
    calls: list[int] = []
    with ThreadPoolExecutor(1) as executor, blocked_thread() as (inside, block):
        if not started:
            executor.submit(block)
        function = block if started else functools.partial(calls.append, 1)
        job = CallJob(function, on=executor, label="copy")

        async def cancel() -> None:
            await asyncio.to_thread(inside.wait, 30)
            job.cancel()

        engine = Engine(job, Job(cancel))
        assert not engine.orchestrate()
        assert job.state is State.CANCELLED
        engine.debrief()
        assert ("may still run" in capsys.readouterr().out) == started
    assert calls == []


def test_an_executor_that_was_shut_down_is_a_failure() -> None:
    with threads() as executor:
        pass
    job = CallJob(add, 1, on=executor)
    assert not Engine(job).orchestrate()
    assert isinstance(job.raised_exception(), RuntimeError)


def test_a_worker_that_dies_is_a_failure() -> None:
    with processes() as executor:
        job = CallJob(os._exit, 3, on=executor)
        assert not Engine(job).orchestrate()
    assert "BrokenProcessPool" in type(job.raised_exception()).__name__


def test_what_cannot_be_sent_to_a_process_is_a_failure() -> None:
    with processes() as executor:
        job = CallJob(lambda: 1, on=executor)
        assert not Engine(job).orchestrate()
        assert job.raised_exception() is not None


def test_an_async_callable_gets_the_function_and_its_arguments() -> None:
    calls: list[Any] = []

    async def on(function: Callable[..., Any], *args: Any) -> Any:
        calls.append((function, args))
        return function(*args)

    job = CallJob(add, 1, 2, on=on)
    partial = CallJob(add, 3, on=functools.partial(on))
    assert Engine(job, partial).orchestrate()
    assert (job.result(), partial.result()) == (3, 13)
    assert calls == [(add, (1, 2)), (add, (3,))]


def test_an_async_callable_is_cancelled_as_any_coroutine() -> None:
    cancelled: list[str] = []

    async def on(*_: Any) -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise

    assert not Engine(CallJob(add, 1, on=on), timeout=0.02).orchestrate()
    assert cancelled == ["yes"]


# -- what is refused -------------------------------------------------------------------------


async def coroutine_function() -> None:
    pass


class Async:
    async def __call__(self) -> None:
        pass


@pytest.mark.parametrize(
    "wrong", [coroutine_function, functools.partial(coroutine_function), Async(), asyncio.sleep]
)
def test_a_coroutine_function_is_a_job(wrong: Any) -> None:
    with pytest.raises(NotACoroutine, match=r"Job\(") as refused:
        CallJob(wrong, label="culprit")
    assert isinstance(refused.value, TypeError)


@pytest.mark.parametrize("wrong", [42, None, "ls", [add]])
def test_what_cannot_be_called_is_refused(wrong: Any) -> None:
    with pytest.raises(NotACoroutine, match="CallJob"):
        CallJob(wrong, label="culprit")


@pytest.mark.parametrize("wrong", [42, "thread", add, ThreadPoolExecutor, [], True])
def test_a_place_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(BadOption, match="culprit") as refused:
        CallJob(add, 1, on=wrong, label="culprit")
    assert refused.value.option == "on"


def test_a_function_that_returns_a_coroutine_did_nothing() -> None:
    """It is told so: what never ran is no success."""
    made: list[Any] = []

    def forgotten() -> Any:
        made.append(coroutine_function())
        return made[0]

    job = CallJob(forgotten, label="culprit")
    assert not Engine(job).orchestrate()
    assert "Job(" in str(job.raised_exception())
    made[0].close()


def test_in_a_run_of_ones_own() -> None:
    async def main() -> int:
        job = CallJob(add, 1)
        await Engine(job).corun()
        result: int = job.result()
        return result

    assert asyncio.run(main()) == 11
    assert run(main()) == 11


def test_a_failure_is_told_with_the_traceback_of_the_thread() -> None:
    job = CallJob(boom, ValueError("boom"))
    with pytest.raises(EngineFailed) as failed:
        run(Engine(job).corun())
    (error,) = failed.value.exceptions
    frames, tb = [], error.__traceback__
    while tb is not None:
        frames.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    assert frames[-1] == "boom"
