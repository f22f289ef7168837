"""Promise 7: no error is lost, each is told with its job.

Seen to fail against engines that told only the first error, told errors without their jobs, asked
an exception for its truth, took a CancelledError of a job's own for a cancellation, lost a
KeyboardInterrupt, or trusted `add_note` and `__repr__` of an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from engine import AbstractJob, CallJob, Engine, EngineFailed, Job, JobCancelled, State
from engine.testing import run_virtual


async def raise_at(seconds: float, error: BaseException) -> NoReturn:
    await asyncio.sleep(seconds)
    raise error


def failing(error: BaseException, label: str = "culprit", **options: Any) -> Job:
    return Job(raise_at, 1, error, label=label, **options)


def outcome(engine: Engine) -> EngineFailed:
    """What comes out of a run that fails; caught inside, as asyncio trips over a broken repr."""

    async def main() -> EngineFailed | None:
        try:
            await engine.corun()
        except EngineFailed as error:
            return error
        return None

    failed = run_virtual(main())
    assert failed is not None
    return failed


def leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, EngineFailed):
            yield from leaves(error)
        else:
            yield error


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


# Many at once


@pytest.mark.parametrize("keep_going", [True, False])
@pytest.mark.parametrize("together", [2, 3, 10, 50])
def test_jobs_that_fail_at_the_same_instant(together: int, keep_going: bool) -> None:
    errors = [ValueError(number) for number in range(together)]
    jobs = [failing(error, f"job {number}") for number, error in enumerate(errors)]
    engine = Engine(*jobs, keep_going=keep_going)
    group = outcome(engine)
    told = list(leaves(group))
    # Those that were cancelled as the first one failed had not failed yet; all others are told.
    failed = [job for job in jobs if job.state is State.FAILED]
    assert told == [job.raised_exception() for job in failed]
    assert engine.failures == {job: job.raised_exception() for job in failed}
    for job, error in zip(failed, told, strict=True):
        assert str(job.label) in notes(error)
    if keep_going:
        assert failed == jobs
    else:
        assert failed[0] is jobs[0]
        assert all(job.state in {State.FAILED, State.CANCELLED} for job in jobs)


@pytest.mark.parametrize("together", [2, 10, 50])
def test_jobs_that_fail_while_they_are_cancelled(together: int) -> None:
    async def fail_in_finally(number: int) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise KeyError(number)

    jobs = [Job(fail_in_finally, number, label=f"job {number}") for number in range(together)]
    engine = Engine(*jobs, failing(ValueError("first")))
    told = list(leaves(outcome(engine)))
    assert sorted(map(str, told)) == sorted(["first", *map(str, range(together))])
    assert len(engine.failures) == together + 1


def test_the_same_error_raised_by_two_jobs_is_told_of_both() -> None:
    error = ValueError("shared")
    one, other = failing(error, "one"), failing(error, "other")
    engine = Engine(one, other, keep_going=True)
    outcome(engine)
    assert engine.failures == {one: error, other: error}


# Wherever it happens


async def body_and_finally() -> None:
    try:
        raise ValueError("in the body")
    finally:
        raise KeyError("in finally")


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raise_at(0, ValueError("one")))
        group.create_task(raise_at(0, KeyError("other")))


class FailsInHook(AbstractJob):
    """Has presentation hooks that raise, too."""

    async def corun(self) -> None:
        raise ValueError("in corun")

    def details(self) -> str:
        raise RuntimeError("in details")

    def text_label(self) -> str:
        raise RuntimeError("in text_label")


def in_a_thread() -> NoReturn:
    raise ValueError("in a thread")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (lambda: Job(body_and_finally, label="culprit"), KeyError),
        (lambda: Job(in_a_group, label="culprit"), BaseExceptionGroup),
        (lambda: CallJob(in_a_thread, label="culprit"), ValueError),
        (lambda: FailsInHook(label="culprit"), ValueError),
        (lambda: Job(asyncio.sleep, 9, timeout=1, label="culprit"), TimeoutError),
        (lambda: failing(StopIteration(1)), RuntimeError),
        (lambda: failing(TimeoutError("own")), TimeoutError),
        (lambda: Engine(Engine(failing(ValueError("deep"))), label="culprit"), EngineFailed),
    ],
)
def test_wherever_it_happens(job: Callable[[], AbstractJob], expected: type[Exception]) -> None:
    culprit = job()
    engine = Engine(culprit)
    told = outcome(engine).exceptions
    assert len(told) == 1
    assert isinstance(told[0], expected)
    assert "culprit" in notes(told[0])
    assert engine.failures[culprit] is told[0]
    assert "culprit" in engine.why()


def test_at_every_depth_failures_has_it() -> None:
    deep = failing(ValueError("deep"), critical=False)
    engine = Engine(Engine(Engine(deep)))
    assert run_virtual(engine.corun())
    assert str(engine.failures[deep]) == "deep"


def test_in_shutdown() -> None:
    async def fail_in_shutdown() -> NoReturn:
        raise ValueError("in shutdown")

    jobs = [
        Job(asyncio.sleep, 1, coshutdown=fail_in_shutdown, label=f"job {number}")
        for number in range(10)
    ]
    engine = Engine(*jobs)
    with pytest.raises(EngineFailed):
        run_virtual(engine.corun())
    assert [str(error) for error in engine.shutdown_failures.values()] == ["in shutdown"] * 10
    assert list(engine.shutdown_failures) == jobs or set(engine.shutdown_failures) == set(jobs)
    assert engine.exit_status == 1


# Whatever it is


class False_(Exception):
    def __bool__(self) -> bool:
        return False


class Empty(Exception):
    def __len__(self) -> int:
        return 0


class NoWords(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class EqualsAll(Exception):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        raise TypeError("unhashable")


class NoNotes(Exception):
    def add_note(self, _: str) -> NoReturn:
        raise RuntimeError("no notes")


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    "kind", [False_, Empty, NoWords, EqualsAll, NoNotes, OSError, TimeoutError]
)
def test_an_exception_that_is_strange(kind: type[Exception], critical: bool) -> None:
    error = kind()
    job = failing(error, critical=critical)
    engine = Engine(job)
    if critical:
        group = outcome(engine)
        assert group.exceptions[0] is error
        assert "culprit" in f"{group} {group!r}"
    else:
        assert run_virtual(engine.corun())
    assert job.state is State.FAILED
    assert engine.failures[job] is error
    assert job.exception() is error
    assert job.raised_exception() is error
    with pytest.raises(kind):
        job.result()
    assert "culprit" in f"{job!r} {engine.why()}"


def test_a_group_as_a_failure_stays_one() -> None:
    error = ExceptionGroup("two", [ValueError(1), KeyError(2)])
    assert outcome(Engine(failing(error))).exceptions == (error,)


class Odd(BaseException):
    """Neither an Exception nor one of those that end a program."""


@pytest.mark.parametrize("error", [KeyboardInterrupt("own"), SystemExit(3)])
@pytest.mark.parametrize("critical", [True, False])
def test_what_ends_a_program_comes_out_after_shutdown(error: BaseException, critical: bool) -> None:
    shut: list[str] = []

    async def note() -> None:
        shut.append("shut")

    other = Job(asyncio.sleep, 0.05, coshutdown=note, label="other")
    job = Job(raise_at, 0.01, error, critical=critical, coshutdown=note)
    engine = Engine(Engine(job), other)
    with pytest.raises(type(error)) as got:
        engine.orchestrate()
    assert got.value is error
    assert shut == ["shut", "shut"]
    assert other.state is State.CANCELLED
    assert engine.exit_status in {1, 3, 130}


def test_a_base_exception_of_another_kind_is_not_lost() -> None:
    job = failing(Odd("odd"))
    with pytest.raises(BaseException) as got:
        run_virtual(Engine(job).corun())
    assert any(isinstance(error, Odd) for error in everything_in(got.value))
    assert job.state is State.FAILED


def everything_in(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, those in it and those that caused it."""
    if error is not None:
        yield error
        yield from everything_in(error.__cause__)
        for inner in getattr(error, "exceptions", ()):
            yield from everything_in(inner)


# A cancellation that nobody asked for


@pytest.mark.parametrize("critical", [True, False])
def test_a_cancelled_error_of_its_own_is_a_failure(critical: bool) -> None:
    error = asyncio.CancelledError("own")
    job, other = failing(error, critical=critical), Job(asyncio.sleep, 5)
    engine = Engine(job, other)
    if critical:
        told = outcome(engine).exceptions[0]
        assert isinstance(told, JobCancelled)
        assert told.__cause__ is error
        assert other.state is State.CANCELLED
    else:
        assert run_virtual(engine.corun())
        assert other.state is State.FINISHED
    assert job.state is State.FAILED
    assert job in engine.failures


def test_a_task_that_a_job_waits_for_and_that_is_cancelled_is_a_failure() -> None:
    async def waits() -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_later(1, task.cancel)
        await task

    job = Job(waits)
    outcome(Engine(job))
    assert job.state is State.FAILED
