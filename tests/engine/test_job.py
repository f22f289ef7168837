"""What a job is made of, what it refuses, what it waits for, and what it tells of its end."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import traceback
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest
import tenacity

from engine import (
    AbstractJob,
    BadOption,
    CallJob,
    CycleError,
    Engine,
    EngineError,
    EngineFailed,
    GraphError,
    Job,
    JobSkipped,
    NotACoroutine,
    NotAJob,
    Pool,
    SelfRequirement,
    Sequence,
    State,
    UsedCoroutine,
    ready,
    run,
)
from engine.testing import run_virtual
from tests.engine.cast import fail, for_ever, nothing, play, python, value


async def both(first: Any, second: Any) -> tuple[Any, Any]:
    return first, second


async def keywords(*positional: Any, **named: Any) -> tuple[Any, ...]:
    return (*positional, named)


class Greeter:
    """An object with an async ``__call__``."""

    async def __call__(self, name: str) -> str:
        return f"hello {name}"

    async def method(self, name: str) -> str:
        return f"good day {name}"

    @staticmethod
    async def static(name: str) -> str:
        return f"hi {name}"

    @classmethod
    async def of_class(cls, name: str) -> str:
        return f"{cls.__name__} {name}"


@functools.wraps(value)
async def wrapped(*args: Any) -> Any:
    return await value(*args)


# -- what can be run -------------------------------------------------------------------------

FORMS: dict[str, tuple[Callable[[], Job], object]] = {
    "coroutine object": (lambda: Job(value(1)), 1),
    "coroutine function": (lambda: Job(value, 1), 1),
    "no argument": (lambda: Job(nothing), None),
    "partial": (lambda: Job(functools.partial(value, 1)), 1),
    "partial with keyword": (lambda: Job(functools.partial(value, seconds=0), 1), 1),
    "partial of a partial": (
        lambda: Job(functools.partial(functools.partial(both, 1), second=2)),
        (1, 2),
    ),
    "async __call__": (lambda: Job(Greeter(), "you"), "hello you"),
    "partial of async __call__": (lambda: Job(functools.partial(Greeter(), "you")), "hello you"),
    "method": (lambda: Job(Greeter().method, "you"), "good day you"),
    "static method": (lambda: Job(Greeter.static, "you"), "hi you"),
    "class method": (lambda: Job(Greeter.of_class, "you"), "Greeter you"),
    "decorated": (lambda: Job(wrapped, 1), 1),
    "library": (lambda: Job(asyncio.sleep, 0, "slept"), "slept"),
}


@pytest.mark.parametrize("form", FORMS)
def test_runs_what_it_is_given(form: str) -> None:
    make, result = FORMS[form]
    job = make()
    assert Engine(job).orchestrate()
    assert job.result() == result


@pytest.mark.parametrize("form", [form for form in FORMS if form != "coroutine object"])
def test_a_function_is_called_anew_in_each_run(form: str) -> None:
    make, result = FORMS[form]
    engine = Engine(job := make())
    for _ in range(3):
        assert engine.orchestrate()
        assert job.result() == result


def test_a_coroutine_object_runs_once_and_says_so() -> None:
    other = Job(value, 1)
    engine = Engine(other, Engine(Job(value(1), label="once")))
    assert engine.orchestrate()
    first_end = other.ended_at
    with pytest.raises(UsedCoroutine, match=r"job once .*Job\(function, argument\)") as refused:
        engine.orchestrate()
    assert [job.label for job in refused.value.jobs] == ["once"]
    assert other.ended_at == first_end  # nothing was run


def test_one_that_was_not_reached_is_still_good() -> None:
    """Skipped or cancelled before its first step: the coroutine object has not been used."""
    attempts: list[int] = []

    async def at_second_try() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("not yet")

    first = Job(at_second_try)
    later = Job(value("late"), required=first)
    engine = Engine(first, later)
    assert not engine.orchestrate()
    assert later.state is State.SKIPPED
    assert engine.orchestrate()
    assert later.result() == "late"


def test_cancelled_before_its_first_step_it_is_still_good() -> None:
    job = Job(value("good"), critical=False)

    async def main() -> None:
        engine = Engine(job)
        # Told to start in the first turn, and cancelled in it.
        asyncio.get_running_loop().call_soon(job.cancel)
        await engine.corun()
        assert job.state is State.CANCELLED
        await engine.corun()

    run_virtual(main())
    assert job.result() == "good"


# -- what is refused -------------------------------------------------------------------------


def plain() -> None:
    pass


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


def awaited() -> Any:
    coroutine = nothing()
    run(coroutine)
    return coroutine


def closed() -> Any:
    coroutine = nothing()
    coroutine.close()
    return coroutine


def a_future() -> Any:
    async def make() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    return run(make())


NO_COROUTINE: dict[str, tuple[Callable[[], Any], str]] = {
    "plain function": (lambda: plain, "CallJob"),
    "lambda": (lambda: lambda: nothing, "CallJob"),
    "builtin": (lambda: print, "CallJob"),
    "method of something": (lambda: "text".upper, "CallJob"),
    "partial of a plain function": (lambda: functools.partial(plain), "CallJob"),
    "class": (lambda: dict, "CallJob"),
    "class with async __call__": (lambda: Greeter, ""),
    "generator": (generator, "not yield"),
    "generator function": (lambda: generator, "not yield"),
    "generator taken for a coroutine": (lambda: types.coroutine(generator), "not yield"),
    "async generator": (async_generator, "not yield"),
    "async generator function": (lambda: async_generator, "not yield"),
    "awaited coroutine": (awaited, "Job(nothing"),
    "closed coroutine": (closed, "Job(nothing"),
    "future": (a_future, "future"),
    "number": (lambda: 3.5, "3.5"),
    "None": (lambda: None, "None"),
    "text": (lambda: "rm -rf", "rm -rf"),
    "result of a plain call": (plain, "None"),
    "list of functions": (lambda: [nothing], "nothing"),
    "job": (lambda: Job(nothing, label="inner"), "inner"),
}


def frames_of(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("what", NO_COROUTINE)
def test_what_cannot_be_awaited_is_refused_at_the_line(what: str) -> None:
    make, word = NO_COROUTINE[what]
    thing = make()
    with pytest.raises(NotACoroutine) as refused:
        Job(thing, label="culprit")
    assert isinstance(refused.value, TypeError | EngineError)
    assert word in str(refused.value)
    assert refused.value.value is thing
    # In the call itself: after the user's line there is only the constructor and what it calls.
    files = frames_of(refused.value)
    assert files[0] == __file__
    assert all("engine" in file for file in files[1:])


# Without the two whose value is None: that is how to say that there is no coshutdown.
@pytest.mark.parametrize("what", sorted(NO_COROUTINE.keys() - {"None", "result of a plain call"}))
def test_the_same_goes_for_coshutdown(what: str) -> None:
    make, _ = NO_COROUTINE[what]
    with pytest.raises(NotACoroutine, match="coshutdown") as refused:
        Job(nothing, label="culprit", coshutdown=make())
    assert "CallJob" not in str(refused.value)


def test_arguments_go_with_a_function() -> None:
    coroutine = value(1)
    with pytest.raises(NotACoroutine, match=r"Job\(value, \.\.\.\)"):
        Job(coroutine, 2, label="culprit")
    coroutine.close()


def test_a_coroutine_object_belongs_to_one_job() -> None:
    coroutine = value(1)
    first = Job(coroutine, label="first")
    with pytest.raises(NotACoroutine, match="used already"):
        Job(coroutine, label="second")
    assert Engine(first).orchestrate()
    assert first.result() == 1


def test_a_coroutine_object_cannot_be_tried_again() -> None:
    with pytest.raises(EngineError, match="culprit"):
        Job(fail(), retry=2, label="culprit")


BAD_OPTIONS: dict[str, tuple[str, Callable[[], Any]]] = {
    "negative timeout": ("timeout", lambda: -1),
    "timeout NaN": ("timeout", lambda: float("nan")),
    "timeout of text": ("timeout", lambda: "5"),
    "timeout True": ("timeout", lambda: True),
    "timeout complex": ("timeout", lambda: 1j),
    "negative retry": ("retry", lambda: -1),
    "retry True": ("retry", lambda: True),
    "retry one and a half": ("retry", lambda: 1.5),
    "retry of text": ("retry", lambda: "twice"),
    "retry of the other kind": ("retry", tenacity.Retrying),
    "retry a class": ("retry", lambda: tenacity.AsyncRetrying),
    "pool a number": ("pool", lambda: 4),
    "pool a class": ("pool", lambda: Pool),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
@pytest.mark.parametrize("kind", [Job, CallJob, Engine])
def test_a_bad_option_is_refused_by_name(what: str, kind: Any) -> None:
    option, make = BAD_OPTIONS[what]
    args: dict[Any, tuple[Any, ...]] = {Job: (nothing,), CallJob: (plain,), Engine: ()}
    wrong = make()
    with pytest.raises(BadOption) as refused:
        kind(*args[kind], label="culprit", **{option: wrong})
    assert isinstance(refused.value, ValueError)
    assert "culprit" in str(refused.value)
    assert option in str(refused.value)
    assert refused.value.option == option
    assert refused.value.value is wrong
    assert frames_of(refused.value)[0] == __file__


def test_good_bounds_are_taken() -> None:
    for timeout in (0, 0.5, 10**9, float("inf"), None):
        assert Job(nothing, timeout=timeout).timeout == timeout
    for retry in (0, 1, None):
        assert Job(nothing, retry=retry).retry == retry


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="labl"):
        Job(nothing, labl="typo")  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["required", "after"])
@pytest.mark.parametrize("wrong", [42, "b1", nothing, Job, {"a": 1}, [[3.5]], b"b1"])
def test_what_is_no_job_cannot_be_waited_for(option: str, wrong: Any) -> None:
    with pytest.raises(NotAJob, match="culprit") as refused:
        Job(nothing, label="culprit", **{option: wrong})
    assert isinstance(refused.value, TypeError)


def test_a_refused_job_is_not_in_the_engine() -> None:
    engine = Engine()
    for make in (
        lambda: Job(print, engine=engine),  # type: ignore[arg-type]
        lambda: Job(nothing, timeout=-1, engine=engine),
        lambda: Job(nothing, Job(for_ever, forever=True), engine=engine),
        lambda: Job(nothing, coshutdown=3, engine=engine),  # type: ignore[arg-type]
        lambda: CallJob(nothing, engine=engine),
        lambda: CallJob(print, on=3, engine=engine),  # type: ignore[arg-type]
        lambda: Engine(42, engine=engine),  # type: ignore[arg-type]
        lambda: Engine(jobs_window=0, engine=engine),
    ):
        with pytest.raises(EngineError):
            make()
        assert engine.jobs == ()
    assert engine.orchestrate()


def test_engine_is_something_to_add_to() -> None:
    engine = Engine()
    first = Job(value, 1, engine=engine)
    second = Job(both, first, 2, engine=engine)
    third = CallJob(len, [first, second], engine=engine)
    assert engine.jobs == (first, second, third)
    assert engine.orchestrate()
    assert third.result() == 2
    with pytest.raises((EngineError, TypeError, AttributeError)):
        Job(nothing, engine=42)  # type: ignore[arg-type]


# -- arguments that are jobs -----------------------------------------------------------------


class Pair(NamedTuple):
    left: Any
    right: Any


ARGUMENTS: dict[str, tuple[Callable[[Job, Job], Any], object]] = {
    "job": (lambda a, _: a, 1),
    "list": (lambda a, b: [a, b, 3], [1, 2, 3]),
    "tuple": (lambda a, b: (a, (b, "x")), (1, (2, "x"))),
    "set": (lambda a, b: {a, b, 3}, {1, 2, 3}),
    "frozen set": (lambda a, b: frozenset({a, b}), frozenset({1, 2})),
    "dict": (lambda a, b: {"a": a, "b": [b]}, {"a": 1, "b": [2]}),
    "named tuple": (lambda a, b: Pair(a, [b]), Pair(1, [2])),
    "deep": (lambda a, b: [[[{"x": ({"y": a},)}]], b], [[[{"x": ({"y": 1},)}]], 2]),
    "twice": (lambda a, _: [a, a, a], [1, 1, 1]),
    "no job": (lambda *_: [1, {"x": (2,)}], [1, {"x": (2,)}]),
}


@pytest.mark.parametrize("kind", [Job, CallJob])
@pytest.mark.parametrize("what", ARGUMENTS)
def test_a_job_among_the_arguments_stands_for_its_result(what: str, kind: Any) -> None:
    make, result = ARGUMENTS[what]
    a, b = Job(value, 1, label="a"), Job(value, 2, label="b")
    argument = make(a, b)
    function: Any = value if kind is Job else (lambda given: given)
    job = kind(function, argument, label="taker")
    assert Engine(job, b, a).orchestrate()
    assert job.result() == result
    assert type(job.result()) is type(result)
    needed = {
        one for one in (a, b) if what != "no job" and (one is a or what not in ("job", "twice"))
    }
    assert set(job.required) == needed


def test_an_argument_without_jobs_is_handed_over_as_it_is() -> None:
    argument = [1, {"x": [2]}]
    job, mixed = Job(value, argument), Job(both, argument, Job(value, 1))
    needed = mixed.required[0]
    assert Engine(job, needed, mixed).orchestrate()
    assert job.result() is argument
    assert mixed.result()[0] is argument


def test_an_engine_as_an_argument_is_one_job_whose_result_is_true() -> None:
    inner = Engine(Job(value, 1))
    job = Job(value, [inner])
    assert Engine(inner, job).orchestrate()
    assert job.result() == [True]
    assert job.required == (inner,)


def test_a_sequence_as_an_argument_stands_for_its_last_job() -> None:
    line = Sequence(Job(value, 1), Job(value, 2))
    job = Job(value, [line])
    assert Engine(line, job).orchestrate()
    assert job.result() == [2]
    assert job.required == (line.jobs[-1],)


def test_a_job_in_a_partial_counts_or_is_refused() -> None:
    """It is where keyword arguments come from; a dependency is never silently dropped."""
    a = Job(value, 1, label="a")
    try:
        job = Job(functools.partial(keywords, x=a), label="taker")
    except EngineError:
        return
    assert Engine(job, a).orchestrate()
    assert job.result() == ({"x": 1},)


def test_an_argument_that_contains_itself_is_handed_over() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    job = Job(value, loop)
    assert Engine(job).orchestrate()
    assert job.result() is loop


def test_an_argument_of_any_depth_is_handed_over() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    job = Job(value, deep)
    assert Engine(job).orchestrate()
    assert job.result() is deep
    while deep:
        deep = deep.pop()  # as its own deallocation and comparison would recurse


@pytest.mark.parametrize("wrap", [lambda job: job, lambda job: [{"x": job}]])
@pytest.mark.parametrize("kind", [Job, CallJob])
def test_a_forever_job_has_no_result_to_give(wrap: Callable[[Job], Any], kind: Any) -> None:
    bus = Job(for_ever, forever=True, label="bus")
    with pytest.raises(GraphError, match=r"culprit .*bus.*requires\(\)") as refused:
        kind(value if kind is Job else len, wrap(bus), label="culprit")
    assert bus in refused.value.jobs


def test_without_its_argument_a_job_is_skipped() -> None:
    a = Job(fail, critical=False, label="a")
    job = Job(value, [a], label="taker")
    assert not Engine(a, job).orchestrate()
    assert job.state is State.SKIPPED


def test_results_that_do_not_fit_fail_the_job_alone() -> None:
    """A set cannot hold a list."""
    a = Job(value, [1])
    job = Job(value, {a}, critical=False)
    assert Engine(a, job).orchestrate()
    assert isinstance(job.raised_exception(), TypeError)


def test_the_argument_is_what_the_run_made_of_it() -> None:
    """A second run takes the results of the second run."""
    made = iter([1, 2])

    async def count() -> int:
        return next(made)

    a = Job(count)
    job = Job(value, a)
    engine = Engine(a, job)
    assert engine.orchestrate()
    assert job.result() == 1
    assert engine.orchestrate()
    assert job.result() == 2


# -- coroutine objects that never run --------------------------------------------------------


@contextmanager
def no_noise() -> Iterator[None]:
    """Fail if anything is said by what is collected, "never awaited" above all."""
    heard: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, heard.append
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert not heard


def no_run() -> Engine:
    return Engine(Job(nothing()), Job(nothing()))


def in_a_cycle() -> Engine:
    a, b, c = (Job(nothing(), label=name) for name in "abc")
    a.requires(c)
    b.requires(a)
    c.after(b)
    engine = Engine(a, b, c)
    with pytest.raises(CycleError):
        engine.orchestrate()
    return engine


def in_a_cycle_without_engine() -> list[Job]:
    a, b = Job(nothing()), Job(nothing())
    a.requires(b)
    b.requires(a)
    return [a, b]


def holding_itself() -> Job:
    job = Job(nothing())
    job.mirror = job  # type: ignore[attr-defined]
    return job


def skipped() -> Engine:
    engine = Engine(Job(fail), later := Job(nothing()))
    later.requires(engine.jobs[0])
    assert not engine.orchestrate()
    return engine


def nested() -> Engine:
    return Engine(Engine(Job(nothing()), Engine(Job(nothing()))))


def refused() -> None:
    makes: tuple[Callable[[], object], ...] = (
        lambda: Job(nothing(), timeout=-1),
        lambda: Job(nothing(), 1),
        lambda: Job(nothing(), required=42),  # type: ignore[arg-type]
        lambda: Job(nothing(), retry=-1),
        lambda: Job(print, coshutdown=nothing()),  # type: ignore[arg-type]
        lambda: CallJob(nothing()),  # type: ignore[arg-type]
        lambda: Engine(nothing()),  # type: ignore[arg-type]
        lambda: Job(nothing).requires(nothing()),  # type: ignore[arg-type]
    )
    for make in makes:
        with suppress(EngineError):
            make()


def shutdown_that_never_came() -> Job:
    return Job(nothing(), coshutdown=nothing())


NEVER_RUN: dict[str, Callable[[], object]] = {
    "engine": no_run,
    "cycle": in_a_cycle,
    "cycle without engine": in_a_cycle_without_engine,
    "holding itself": holding_itself,
    "skipped": skipped,
    "nested": nested,
    "refused": refused,
    "shutdown": shutdown_that_never_came,
}


@pytest.mark.parametrize("what", NEVER_RUN)
def test_a_coroutine_that_never_ran_makes_no_noise(what: str) -> None:
    with no_noise():
        NEVER_RUN[what]()


@pytest.mark.parametrize("what", NEVER_RUN)
@pytest.mark.parametrize("kept", [True, False], ids=["alive at exit", "dropped"])
def test_nor_at_the_end_of_the_program(what: str, kept: bool) -> None:
    function = NEVER_RUN[what].__name__
    done = python(
        f"""
        import gc
        from tests.engine.test_job import {function}
        keep = {function}()
        {"" if kept else "del keep; gc.collect()"}
        """,
        "-W",
        "error",
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == ("NOLABEL (fail) failed: ValueError: boom\n" if what == "skipped" else "")


def test_it_is_closed_with_its_job_and_not_before() -> None:
    coroutine = nothing()
    job = Job(coroutine)
    gc.collect()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    del job
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_a_mended_graph_runs() -> None:
    a, b = Job(value("a"), label="a"), Job(value("b"), label="b")
    a.requires(b)
    b.requires(a)
    engine = Engine(a, b)
    for _ in range(2):
        with pytest.raises(CycleError):
            engine.orchestrate()
        gc.collect()
    a.requires(b, remove=True)
    assert engine.orchestrate()
    assert (a.result(), b.result()) == ("a", "b")


def test_jobs_that_wait_for_each_other_are_freed() -> None:
    jobs = in_a_cycle_without_engine()
    refs = [weakref.ref(job) for job in jobs]
    del jobs
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_an_engine_that_ran_is_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        engine = Engine(Job(value(1)), Job(nothing, coshutdown=nothing), Engine(Job(value, 2)))
        assert engine.orchestrate()
        ref = weakref.ref(engine)
        del engine
        assert ref() is None
    finally:
        gc.enable()


# -- what a job waits for --------------------------------------------------------------------


def abcd() -> tuple[Job, Job, Job, Job]:
    a, b, c, d = (Job(nothing, label=name) for name in "abcd")
    return a, b, c, d


@pytest.mark.parametrize("how", ["requires", "after"])
def test_relations_take_collections_of_collections(how: str) -> None:
    a, b, c, d = abcd()
    relate = getattr(d, how)
    assert relate(a, [None, (b, {c})], None) is d
    given = d.required if how == "requires" else d.awaited
    assert set(given) == {a, b, c}
    assert relate(a, [b], remove=True) is d
    assert (d.required if how == "requires" else d.awaited) == (c,)
    assert relate([c, a], remove=True) is d  # a is not there any more: no harm
    assert (d.required, d.awaited) == ((), ())


def test_relations_take_generators_sequences_and_engines() -> None:
    a, b, c, d = abcd()
    inner = Engine(a)
    d.requires((job for job in (b,)), Sequence(c, Job(nothing, label="last")), inner)
    assert [job.label for job in d.required] == ["b", "last", None]
    assert d.required[-1] is inner


def test_a_relation_given_twice_is_one() -> None:
    a, b, *_ = abcd()
    b.requires(a, a).requires([a])
    assert b.required == (a,)


def test_arrows() -> None:
    a, b, c, d = abcd()
    targets = [c, d]
    assert (a >> b >> targets) is targets
    assert (b.required, c.required, d.required) == ((a,), (b,), (b,))
    e = Job(nothing, label="e")
    assert ([c, d] >> e) is e
    assert e.required == (c, d)
    f = Job(nothing, label="f")
    assert (None >> f) is f
    assert f.required == ()


def test_arrows_to_no_job_are_refused() -> None:
    a, *_ = abcd()
    with pytest.raises(NotAJob, match="a >> "):
        a >> 42
    with pytest.raises(NotAJob):
        "text" >> a


@pytest.mark.parametrize("how", ["requires", "after"])
def test_a_job_cannot_wait_for_itself(how: str) -> None:
    a, b, *_ = abcd()
    with pytest.raises(SelfRequirement, match="job a ") as refused:
        getattr(a, how)(b, [a])
    assert refused.value.jobs == (a,)
    assert (a.required, a.awaited) == ((), ())  # nothing of it was taken
    with pytest.raises(SelfRequirement):
        a >> a


def test_a_refused_relation_changes_nothing() -> None:
    a, b, *_ = abcd()
    with pytest.raises(NotAJob):
        a.requires(b, 42)  # type: ignore[arg-type]
    assert a.required == ()


def test_removing_itself_does_no_harm() -> None:
    a, *_ = abcd()
    assert a.requires(a, remove=True) is a


def test_many_relations_one_by_one_cost_no_more_than_at_once() -> None:
    """Linear: ten times as many take about ten times as long, and not a hundred times."""

    def steps(count: int) -> int:
        jobs = [Job(nothing) for _ in range(count)]
        sink = Job(nothing)
        calls = 0

        def profile(*_: Any) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(profile)
        try:
            for job in jobs:
                sink.requires(job)
        finally:
            sys.setprofile(None)
        return calls

    assert steps(2000) < 15 * steps(200)


# -- what it tells ---------------------------------------------------------------------------


def test_before_any_run() -> None:
    job = Job(nothing, label="new")
    assert job.state is State.IDLE
    assert job.is_idle()
    assert not job.is_scheduled()
    assert not job.is_running()
    assert not job.is_done()
    assert (job.started_at, job.ended_at, job.duration) == (None, None, None)
    assert job.raised_exception() is None
    for ask in (job.result, job.exception):
        with pytest.raises(asyncio.InvalidStateError, match="new"):
            ask()
    assert job.cancel() is False


def test_while_it_runs() -> None:
    seen: list[tuple[Any, ...]] = []

    async def look() -> None:
        job = jobs[0]
        seen.append((job.state, job.is_running(), job.is_done(), jobs[1].is_idle()))
        with pytest.raises(asyncio.InvalidStateError):
            job.result()
        with pytest.raises(asyncio.InvalidStateError):
            job.exception()
        assert job.raised_exception() is None
        assert job.started_at is not None
        assert (job.ended_at, job.duration) == (None, None)

    jobs = [Job(look), Job(nothing)]
    jobs[1].requires(jobs[0])
    assert Engine(*jobs).orchestrate()
    assert seen == [(State.RUNNING, True, False, True)]


def test_finished() -> None:
    job = Job(value, 42)
    Engine(job).orchestrate()
    assert job.state is State.FINISHED
    assert job.is_done()
    assert (job.result(), job.exception(), job.raised_exception()) == (42, None, None)


class IsFalse(Exception):
    """An exception that is false."""

    def __bool__(self) -> bool:
        return False


class Mute(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("error", [ValueError("boom"), IsFalse(), Mute(), EngineError("ours")])
def test_failed(error: Exception) -> None:
    job = Job(fail, error)
    assert not Engine(job).orchestrate()
    assert job.state is State.FAILED
    assert job.is_done()
    assert job.exception() is error
    assert job.raised_exception() is error
    with pytest.raises(type(error)) as raised:
        job.result()
    assert raised.value is error


def test_asking_again_does_not_make_the_traceback_longer() -> None:
    job = Job(fail)
    Engine(job).orchestrate()
    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="boom") as raised:
            job.result()
        lengths.append(len(frames_of(raised.value)))
    assert len(set(lengths)) == 1
    assert "fail" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


def test_the_traceback_begins_with_the_users_code() -> None:
    job = Job(fail)
    Engine(job).orchestrate()
    error = job.raised_exception()
    assert error is not None
    assert "run.py" not in "".join(frames_of(error)[1:])


def test_cancelled() -> None:
    job = Job(for_ever, label="endless")

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, job.cancel, "no more need")
        await Engine(job).corun()

    with pytest.raises(EngineFailed):
        run_virtual(main())
    assert job.state is State.CANCELLED
    assert job.is_done()
    for ask in (job.result, job.exception):
        with pytest.raises(asyncio.CancelledError, match="no more need"):
            ask()
    assert job.raised_exception() is None


def test_skipped() -> None:
    a = Job(fail, critical=False, label="a")
    job = Job(nothing, required=a, label="b")
    Engine(a, job).orchestrate()
    assert job.state is State.SKIPPED
    assert job.is_done()
    with pytest.raises(JobSkipped, match="b was skipped: a failed") as raised:
        job.result()
    assert raised.value.reason == "a failed"
    assert raised.value.jobs == (job,)
    error = job.exception()
    assert isinstance(error, JobSkipped)
    assert error.reason == "a failed"
    assert job.raised_exception() is None
    assert (job.started_at, job.duration) == (None, None)
    assert job.ended_at is not None


def test_timestamps_are_those_of_the_clock() -> None:
    a, b = Job(value, 1, 3), Job(value, 2, 0.5)
    b.requires(a)
    assert play(Engine(a, b))
    assert (a.started_at, a.ended_at, a.duration) == (0, 3, 3)
    assert (b.started_at, b.ended_at, b.duration) == (3, 3.5, 0.5)


def test_a_job_that_was_tried_again_counts_from_its_first_start() -> None:
    job = Job(value, 1, 10, timeout=2, retry=2, critical=False)
    play(Engine(job))
    assert (job.started_at, job.ended_at, job.duration) == (0, 6, 6)


@pytest.mark.usefixtures("virtual_clock")
def test_a_second_run_begins_afresh() -> None:
    outcomes: list[Any] = [ValueError("first"), "second"]

    async def different() -> str:
        await asyncio.sleep(1)
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    job = Job(different)
    engine = Engine(job)
    assert not engine.orchestrate()
    assert job.ended_at == 1
    assert engine.orchestrate()
    assert job.result() == "second"
    assert job.exception() is None
    assert job.raised_exception() is None
    assert job.ended_at == 2


# -- jobs of one's own -----------------------------------------------------------------------


def test_a_class_without_corun_fails_and_says_why() -> None:
    class Lazy(AbstractJob):
        """Forgot."""

    job = Lazy(label="lazy")
    assert not Engine(job).orchestrate()
    assert "Lazy" in str(job.raised_exception())


def test_a_corun_that_is_not_async_fails() -> None:
    class Plain(AbstractJob):
        """Forgot."""

        def corun(self) -> Any:
            return None

    job = Plain()
    assert not Engine(job).orchestrate()
    assert isinstance(job.raised_exception(), TypeError)


def test_a_class_that_forgets_its_base_is_told_so() -> None:
    class Hasty(AbstractJob):
        """Forgot."""

        def __init__(self) -> None:
            pass

        async def corun(self) -> None:
            pass

    with pytest.raises(Exception, match=r"Hasty.*__init__|__init__.*Hasty"):
        Engine(Hasty()).orchestrate()


@pytest.mark.parametrize("label", [7, 2.5, ("a", "b"), type("Text", (str,), {})("text")])
def test_a_label_is_a_plain_text(label: Any) -> None:
    job = Job(nothing, label=label)
    assert type(job.label) is str
    assert job.label == str(label)


def test_a_hostile_label_drives_no_terminal() -> None:
    job = Job(nothing, label="a\x1b[2J\nb\u202e")
    with pytest.raises(asyncio.InvalidStateError) as raised:
        job.result()
    assert (repr(job) + str(raised.value)).isprintable()


def test_hooks_that_raise_break_nothing() -> None:
    class Broken(AbstractJob):
        """Its hooks are."""

        def text_label(self) -> str:
            raise ValueError("text_label")

        def graph_label(self) -> str:
            raise ValueError("graph_label")

        def details(self) -> str:
            raise ValueError("details")

        @property
        def host(self) -> str:
            raise ValueError("host")

        async def corun(self) -> None:
            ready()

    job = Broken()
    line = Sequence(job, Job(nothing))
    engine = Engine(line, Job(nothing, required=job))
    assert play(engine)
    assert repr(line)
    assert repr(job)


def test_a_broken_engine_label_breaks_nothing() -> None:
    class Nameless(Engine):
        """Its hooks are broken."""

        def text_label(self) -> str:
            raise ValueError("text_label")

        def details(self) -> str:
            raise ValueError("details")

    assert play(Nameless(Nameless(Job(nothing)), Job(nothing)))
    assert Nameless(Job(nothing)).orchestrate()
