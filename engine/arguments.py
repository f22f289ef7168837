"""Arguments that are jobs: each stands for that job's result, and makes it a requirement."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from .errors import GraphError, name_of
from .job import AbstractJob, JobSequence


def parts_of(
    function: Any, args: tuple[Any, ...]
) -> tuple[Any, tuple[Any, ...], dict[str, Any] | None]:
    """Return a function, its arguments and keyword arguments; a partial is taken apart."""
    if isinstance(function, functools.partial):
        return function.func, (*function.args, *args), function.keywords or None
    return function, args, None


def require_arguments(
    job: AbstractJob, args: tuple[Any, ...], keywords: dict[str, Any] | None
) -> tuple[AbstractJob, ...]:
    """Make `job` require the jobs among its arguments, and return them."""
    if not keywords:
        for arg in args:
            if isinstance(arg, _MAY_HOLD_JOBS):
                break
        else:  # as mostly
            return ()
    found = list(_jobs_inside([args, keywords]))
    for other in found:
        if other.forever:
            raise GraphError(
                f"job {name_of(job)} takes the result of {name_of(other)}, which is a forever job "
                "and has none; use requires() to wait until it is ready",
                [job, other],
            )
    if found:
        job.requires(found)
    return tuple(found)


def _jobs_inside(value: Any) -> Iterator[AbstractJob]:
    """Give the jobs in `value`, at any depth of lists, tuples, sets and dict values."""
    todo = [value]
    seen = set()  # a list may hold itself
    while todo:
        item = todo.pop()
        if isinstance(item, AbstractJob):
            yield item
        elif isinstance(item, JobSequence):
            yield _last_of(item)
        elif isinstance(item, _CONTAINERS) and id(item) not in seen:
            seen.add(id(item))
            todo.extend(reversed([*(item.values() if isinstance(item, dict) else item)]))


_CONTAINERS = (list, tuple, set, frozenset, dict)
_MAY_HOLD_JOBS = (AbstractJob, JobSequence, *_CONTAINERS)


def _last_of(sequence: JobSequence) -> AbstractJob:
    if not sequence.jobs:
        raise GraphError("an empty Sequence stands among the arguments, and has no result")
    return sequence.jobs[-1]


def with_results(value: Any) -> Any:
    """Return `value` with each job in it, at any depth, replaced by its result."""
    if isinstance(value, AbstractJob):
        return value.result()
    if isinstance(value, JobSequence):
        return _last_of(value).result()
    if not isinstance(value, _CONTAINERS) or not any(True for _ in _jobs_inside(value)):
        return value
    if isinstance(value, dict):
        return {key: with_results(item) for key, item in value.items()}
    items = [with_results(item) for item in value]
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(items)  # a named tuple keeps its type
    return tuple(items) if isinstance(value, tuple) else type(value)(items)
