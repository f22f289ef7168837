"""Coroutines, as objects and as functions: known from all else, and quiet while they wait."""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
from inspect import CO_COROUTINE
from types import CoroutineType, FunctionType
from typing import Any

from .errors import NotACoroutine
from .text import safe_line, safe_repr

unstarted: set[CoroutineType[Any, Any, Any]] = set()
"""Coroutine objects that wait for their first step.

Held from here, so that when their job is dropped as part of a cycle (jobs that wait for each other,
say) the garbage collector finds the coroutine alive, and its `Once` can close it; it would else be
finalized on its own and warn that it was never awaited.
"""


class Once:
    """A coroutine object that a job was given: called, it hands it out, once.

    Dropped before that, it closes the coroutine, so that it makes no noise.

    Args:
        coroutine: one that has not begun.
        where: what it was given as, for the error.

    Raises:
        NotACoroutine: the coroutine has begun, or belongs to another job.
    """

    __slots__ = ("_coroutine", "name")

    def __init__(self, coroutine: CoroutineType[Any, Any, Any], where: str) -> None:
        self._coroutine: CoroutineType[Any, Any, Any] | None = None
        self.name: str = coroutine.__qualname__
        if has_begun(coroutine) or coroutine in unstarted:
            name = coroutine.__name__
            raise NotACoroutine(
                f"{where}: this coroutine of {name} is used already, and a coroutine runs once; "
                f"give the function and its arguments: Job({name}, ...)",
                coroutine,
            )
        self._coroutine = coroutine
        unstarted.add(coroutine)

    @property
    def is_used(self) -> bool:
        """True once the coroutine has been handed out."""
        return self._coroutine is None

    def __call__(self) -> CoroutineType[Any, Any, Any]:
        """Hand the coroutine out; RuntimeError the second time."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is None:
            raise RuntimeError(f"the coroutine of {self.name} has been used already: it runs once")
        unstarted.discard(coroutine)
        return coroutine

    def __del__(self) -> None:
        """Close the coroutine, if it was not handed out."""
        drop_coroutine(self)


@atexit.register
def _close_unstarted() -> None:
    while unstarted:
        unstarted.pop().close()


def drop_coroutine(thing: object) -> None:
    """Close `thing` if it is a coroutine that nobody has and that has not begun: it makes no noise.

    A `Once` hands its own over, to be closed.
    """
    if isinstance(thing, Once):
        if not thing.is_used:
            thing().close()
    elif isinstance(thing, CoroutineType) and thing not in unstarted and not has_begun(thing):
        thing.close()


def has_begun(coroutine: CoroutineType[Any, Any, Any]) -> bool:
    """True once a coroutine has made its first step."""
    return inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED


def callable_name(function: Any) -> str:
    """Return a short name of a function, partial, coroutine or callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, Once):
        return safe_line(function.name, 80)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return safe_line(name, 80)


def coroutine_giver(thing: Any, where: str) -> Any:
    """Return what gives a coroutine when it is called: `thing`, or a `Once` of it.

    Raises:
        NotACoroutine: there is nothing like that in it; `where` says as what it was given.
    """
    if isinstance(thing, CoroutineType):
        return Once(thing, where)
    if is_async_callable(thing):
        return thing
    raise not_a_coroutine(where, thing)


def is_async_callable(thing: object) -> bool:
    """True for coroutine functions, partials of them and objects with an async ``__call__``."""
    if type(thing) is FunctionType and thing.__code__.co_flags & CO_COROUTINE:
        return True  # what nearly all are
    while isinstance(thing, functools.partial):
        thing = thing.func
    if inspect.iscoroutinefunction(thing):
        return True
    call = None if inspect.isclass(thing) else getattr(type(thing), "__call__", None)
    return inspect.iscoroutinefunction(call)


_GENERATORS = (
    inspect.isgenerator,
    inspect.isgeneratorfunction,
    inspect.isasyncgen,
    inspect.isasyncgenfunction,
)


def not_a_coroutine(where: str, value: object) -> NotACoroutine:
    """Return the error that says what to write at `where` instead of `value`."""
    shown = safe_repr(value, 80)
    if any(is_one(value) for is_one in _GENERATORS):
        advice = "this is a generator; write an `async def` that awaits, returns and does not yield"
    elif isinstance(value, asyncio.Future):
        advice = "a future or task runs already; give the coroutine function instead"
    elif callable(value) and where != "Job":
        advice = "this is a plain function; write `async def`"
    elif getattr(value, "__name__", "") == "<lambda>":
        advice = "write Job(function, argument, ...), or CallJob for a plain function"
    elif callable(value):
        advice = "this is a plain function; write CallJob(function, ...) to run it in a thread"
    else:
        advice = "write Job(function, argument, ...) with an `async def` function"
    return NotACoroutine(
        f"{where} needs a coroutine function or a coroutine, not {shown}: {advice}", value
    )
