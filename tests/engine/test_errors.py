"""The tree of errors: what each is, what it says, and that text from outside stays outside."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from engine import errors
from engine.errors import (
    BadOption,
    CycleError,
    EngineError,
    EngineFailed,
    ForeignRequirement,
    GraphError,
    JobSkipped,
    NotACoroutine,
    NotAJob,
    OnlyForever,
    SelfRequirement,
    UsedCoroutine,
    name_of,
    names_of,
)


class Named:
    """As much of a job as an error needs."""

    def __init__(self, label: object = None, details: object = None) -> None:
        self.label = label
        self._details = details

    def details(self) -> object:
        """Return, or raise, what it was given."""
        if isinstance(self._details, Exception):
            raise self._details
        return self._details


A: Any = Named("a")
B: Any = Named("b")
ALL = {name: thing for name, thing in vars(errors).items() if inspect.isclass(thing)}
ERRORS = {name: kind for name, kind in ALL.items() if issubclass(kind, BaseException)}


def test_all_errors_have_one_base() -> None:
    assert all(issubclass(kind, EngineError) for kind in ERRORS.values())


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        ("NotAJob", (TypeError,)),
        ("NotACoroutine", (TypeError,)),
        ("BadOption", (ValueError,)),
        ("GraphError", (ValueError,)),
        ("CycleError", (GraphError,)),
        ("SelfRequirement", (GraphError,)),
        ("ForeignRequirement", (GraphError,)),
        ("AlreadyInEngine", (GraphError,)),
        ("OnlyForever", (GraphError,)),
        ("UsedCoroutine", (EngineError,)),
        ("JobStarted", (EngineError,)),
        ("AlreadyRunning", (EngineError,)),
        ("Stuck", (EngineError,)),
        ("JobSkipped", (EngineError,)),
        ("JobCancelled", (EngineError,)),
        ("JobAbandoned", (EngineError,)),
        ("EngineFailed", (ExceptionGroup, EngineError)),
    ],
)
def test_each_error_of_the_contract_is_what_it_says(kind: str, bases: tuple[type, ...]) -> None:
    assert issubclass(ERRORS[kind], bases)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"── (\w+)", errors.__doc__ or ""))
    assert drawn == set(ERRORS) - {"EngineError"}


@pytest.mark.parametrize(
    ("job", "name"),
    [
        (A, "a"),
        (Named(), "NOLABEL (Named)"),
        (Named(details="fetch"), "NOLABEL (fetch)"),
        (Named(details=""), "NOLABEL (Named)"),
        (Named(details=RuntimeError()), "NOLABEL (Named)"),
        (object(), "NOLABEL (object)"),
        (Named("two\nlines\x1b[31m\u202e"), "two lines"),
        (Named("x" * 100), "x" * 77 + "..."),
        (Named(7), "7"),
    ],
)
def test_a_job_is_called_by_its_label_or_by_what_it_runs(job: object, name: str) -> None:
    assert name_of(job) == name


def test_only_the_first_of_many_names_are_told() -> None:
    jobs = [Named(letter) for letter in "abcdefgh"]
    assert names_of(jobs[:5]) == "a, b, c, d, e"
    assert names_of(iter(jobs), most=2) == "a, b and 6 more"


@pytest.mark.parametrize(
    ("error", "message", "jobs"),
    [
        (CycleError([A, B]), "a -> b -> a", (A, B)),
        (CycleError([A]), "a -> a", (A,)),
        (SelfRequirement(A), "job a cannot wait for itself", (A,)),
        (
            ForeignRequirement(A, B, "add it"),
            "job a waits for b, which is not in the same engine: add it",
            (A, B),
        ),
        (OnlyForever(iter([A, B])), "only forever jobs (a, b)", (A, B)),
        (UsedCoroutine(A), "coroutine of job a", (A,)),
        (JobSkipped("why", [A], reason="b failed"), "why", (A,)),
        (EngineError("plain"), "plain", ()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_names_its_jobs_and_carries_them(
    error: EngineError, message: str, jobs: tuple[object, ...]
) -> None:
    assert message in str(error)
    assert error.jobs == jobs


def test_errors_carry_what_they_are_about() -> None:
    foreign = ForeignRequirement(A, B, "add it")
    assert (foreign.job, foreign.requirement) == (A, B)
    assert JobSkipped("m", reason="b failed").reason == "b failed"
    bad = BadOption("m", "timeout", -1)
    assert (bad.option, bad.value) == ("timeout", -1)
    assert NotAJob("m", 42).value == 42
    assert NotACoroutine("m", len).value is len


def test_a_group_is_split_by_except_and_keeps_its_jobs_and_kind() -> None:
    caught: list[BaseException] = []
    try:
        raise EngineFailed("2 jobs failed", [ValueError("x"), TimeoutError()], [A, B])
    except* TimeoutError as found:
        caught.append(found)
    except* ValueError as found:
        caught.append(found)
    assert [type(part) for part in caught] == [EngineFailed, EngineFailed]
    for part, kind in zip(caught, (TimeoutError, ValueError), strict=True):
        assert isinstance(part, EngineFailed)
        assert part.jobs == (A, B)
        assert part.message == "2 jobs failed"
        assert [type(error) for error in part.exceptions] == [kind]


def test_a_group_needs_no_jobs_and_holds_groups() -> None:
    inner = EngineFailed("inner", [ValueError()])
    outer = EngineFailed("outer", [inner])
    assert outer.jobs == ()
    found = outer.subgroup(ValueError)
    assert isinstance(found, EngineFailed)
    assert isinstance(found.exceptions[0], EngineFailed)
