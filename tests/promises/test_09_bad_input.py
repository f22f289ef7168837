"""Promise 9: bad input is refused by a typed error that names the job, at the user's own line.

What can be known when it is written is refused there; the rest before anything runs.

Seen to fail against engines that did not look at timeouts, or let a job require itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import engine as e
from engine import CallJob, Engine, Job, Pool, Sequence


async def work(*_: object) -> None:
    pass


def job(label: str = "culprit", **options: Any) -> Job:
    return Job(work, label=label, **options)


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


def own_requirement() -> object:
    culprit = job()
    return culprit.requires([None, [culprit]])


def two_engines() -> object:
    culprit = job()
    first = Engine(culprit)
    return first, Engine(culprit)


def twice_in_one() -> object:
    culprit = job()
    return Engine(Engine(culprit), culprit)


def engine_in_itself() -> object:
    culprit = Engine(label="culprit")
    return culprit.add(culprit)


def engines_in_each_other() -> object:
    culprit = Engine(label="culprit")
    other = Engine(culprit)
    return culprit.add(other)


def forever_result() -> object:
    return Job(work, job(forever=True))


def a_plain_function() -> object:
    return Job(len, "abc", label="culprit")  # type: ignore[arg-type]


def awaited_already() -> object:
    coroutine = work()
    asyncio.run(coroutine)
    return Job(coroutine, label="culprit")


# What is wrong, the error, and what of it the message must say.
AT_THE_LINE: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "not a job in an engine": (lambda: Engine(42), e.NotAJob, "42"),  # type: ignore[arg-type]
    "a list of jobs": (lambda: Engine([job(), job("b")]), e.NotAJob, "culprit"),  # type: ignore[arg-type]
    "not a job as a requirement": (lambda: job().requires("b1"), e.NotAJob, "b1"),
    "not a job to come after": (lambda: job().after(3.5), e.NotAJob, "3.5"),  # type: ignore[arg-type]
    "not a job in a sequence": (lambda: Sequence(job(), work), e.NotAJob, "work"),  # type: ignore[arg-type]
    "a plain function": (a_plain_function, e.NotACoroutine, "CallJob"),
    "a generator": (lambda: Job(generator()), e.NotACoroutine, "generator"),
    "an async generator": (lambda: Job(async_generator), e.NotACoroutine, "generator"),
    "a result": (lambda: Job(3.5), e.NotACoroutine, "3.5"),  # type: ignore[arg-type]
    "an awaited coroutine": (awaited_already, TypeError, "Job(work"),
    "a coroutine to call": (lambda: CallJob(work), TypeError, "Job"),
    "itself": (own_requirement, e.SelfRequirement, "culprit"),
    "two engines": (two_engines, e.AlreadyInEngine, "culprit"),
    "in an engine and in one inside": (twice_in_one, e.AlreadyInEngine, "culprit"),
    "an engine in itself": (engine_in_itself, e.AlreadyInEngine, "culprit"),
    "engines in each other": (engines_in_each_other, e.AlreadyInEngine, "culprit"),
    "the result of a forever job": (forever_result, e.EngineError, "culprit"),
    "negative timeout": (lambda: job(timeout=-1), e.BadOption, "timeout"),
    "timeout not a number": (lambda: job(timeout=float("nan")), e.BadOption, "timeout"),
    "timeout a text": (lambda: job(timeout="5"), e.BadOption, "timeout"),
    "negative retry": (lambda: job(retry=-1), e.BadOption, "retry"),
    "not a pool": (lambda: job(pool=3), e.BadOption, "pool"),
    "empty pool": (lambda: Pool(0), e.BadOption, "0"),
    "window of none": (lambda: Engine(jobs_window=0), e.BadOption, "jobs_window"),
    "half a window": (lambda: Engine(jobs_window=1.5), e.BadOption, "jobs_window"),  # type: ignore[arg-type]
    "engine's timeout": (lambda: Engine(timeout=-1), e.BadOption, "timeout"),
    "run's timeout": (lambda: Engine().orchestrate(timeout=-1), e.BadOption, "timeout"),
    "negative grace": (lambda: Engine(cancel_grace=-1), e.BadOption, "cancel_grace"),
    "shutdown's timeout": (
        lambda: Engine(shutdown_timeout=float("nan")),
        e.BadOption,
        "shutdown_timeout",
    ),
}


@pytest.mark.parametrize("case", AT_THE_LINE)
def test_refused_where_it_was_written(case: str) -> None:
    write, kind, word = AT_THE_LINE[case]
    with pytest.raises(kind) as got:
        write()
    assert isinstance(got.value, e.EngineError)
    assert word in str(got.value)


def cycle() -> Engine:
    one, two, three = job("culprit"), job("two"), job("three")
    one.requires(three.after(two.requires(one)))
    return Engine(one, two, three)


def foreign() -> Engine:
    return Engine(job("inside").requires(job("culprit")))


def foreign_after() -> Engine:
    return Engine(job("inside").after(job("culprit")))


def foreign_argument() -> Engine:
    return Engine(Job(work, job("culprit"), label="inside"))


def into_a_nested_engine() -> Engine:
    inner = job("culprit")
    return Engine(Engine(inner), job("outside").requires(inner))


def out_of_a_nested_engine() -> Engine:
    outer = job("culprit")
    return Engine(outer, Engine(job("inside").requires(outer)))


def only_forever() -> Engine:
    return Engine(job(forever=True))


def nested_only_forever() -> Engine:
    return Engine(Engine(job(forever=True)), job("other"))


BEFORE_ANYTHING_RUNS: dict[str, tuple[Callable[[], Engine], type[Exception]]] = {
    "a cycle": (cycle, e.CycleError),
    "a requirement that is nowhere": (foreign, e.ForeignRequirement),
    "to come after what is nowhere": (foreign_after, e.ForeignRequirement),
    "the result of a job that is nowhere": (foreign_argument, e.ForeignRequirement),
    "a job in a nested engine": (into_a_nested_engine, e.ForeignRequirement),
    "a job of the engine round it": (out_of_a_nested_engine, e.ForeignRequirement),
    "forever jobs only": (only_forever, e.OnlyForever),
    "forever jobs only, in a nested engine": (nested_only_forever, e.OnlyForever),
}


@pytest.mark.parametrize("door", ["orchestrate", "corun", "check"])
@pytest.mark.parametrize("case", BEFORE_ANYTHING_RUNS)
def test_refused_before_anything_runs(case: str, door: str) -> None:
    make, kind = BEFORE_ANYTHING_RUNS[case]
    engine = make()
    ran = Job(work, label="bystander")
    engine.add(ran)
    if kind is e.OnlyForever and len(engine) == 2 and case == "forever jobs only":
        engine.remove(ran)
    doors: dict[str, Callable[[], object]] = {
        "orchestrate": engine.orchestrate,
        "corun": lambda: asyncio.run(engine.corun()),
        "check": engine.check,
    }
    with pytest.raises(kind) as got:
        doors[door]()
    assert isinstance(got.value, e.GraphError)
    assert "culprit" in str(got.value)
    assert "culprit" in [one.label for one in got.value.jobs]
    assert ran.state is e.State.IDLE


def test_a_cycle_is_printed_in_the_order_of_running() -> None:
    with pytest.raises(e.CycleError) as got:
        cycle().check()
    assert any(
        way in str(got.value)
        for way in (
            "culprit -> two -> three -> culprit",
            "two -> three -> culprit -> two",
            "three -> culprit -> two -> three",
        )
    )


def test_a_coroutine_object_runs_once() -> None:
    engine = Engine(Job(work(), label="culprit"))
    assert engine.orchestrate()
    with pytest.raises(e.UsedCoroutine, match="culprit"):
        engine.orchestrate()


def test_a_requirement_that_comes_too_late() -> None:
    refused: list[str] = []
    started = Job(asyncio.sleep, 0.01, label="culprit")

    async def require() -> None:
        try:
            started.requires(job("late"))
        except e.JobStarted as error:
            refused.append(str(error))

    assert Engine(started, Job(require)).orchestrate()
    assert "culprit" in refused[0]


def test_an_engine_that_runs_already() -> None:
    refused: list[Exception] = []

    async def again(engine: list[Engine]) -> None:
        try:
            await engine[0].corun()
        except e.AlreadyRunning as error:
            refused.append(error)

    holder: list[Engine] = []
    holder.append(Engine(Job(again, holder), label="culprit"))
    assert holder[0].orchestrate()
    assert "culprit" in str(refused[0])


def test_all_errors_derive_from_one() -> None:
    kinds = [
        thing
        for name in e.__all__
        if isinstance(thing := getattr(e, name), type) and issubclass(thing, BaseException)
    ]
    assert len(kinds) >= 15
    assert all(issubclass(kind, e.EngineError) for kind in kinds)
