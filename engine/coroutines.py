"""Coroutines, as objects and as functions: known from all else, and quiet while they wait."""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
from types import CoroutineType, FunctionType
from typing import Any

from .errors import NotACoroutine
from .text import safe_line, safe_repr

unstarted: set[CoroutineType[Any, Any, Any]] = set()
"""Coroutine objects that wait for their first step.

Held from here, so that when their job is dropped as part of a cycle (jobs that wait for each other,
say) the garbage collector finds the coroutine alive, and the job can close it; it would else be
finalized on its own and warn that it was never awaited.
"""


@atexit.register
def _closeunstarted() -> None:
    while unstarted:
        unstarted.pop().close()


def drop_coroutine(thing: object) -> None:
    """Close `thing` if it is a coroutine that has not begun, so that it makes no noise."""
    if isinstance(thing, CoroutineType):
        unstarted.discard(thing)
        if inspect.getcoroutinestate(thing) == inspect.CORO_CREATED:
            thing.close()


def callable_name(function: Any) -> str:
    """Return a short name of a function, partial, coroutine or callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return safe_line(name, 80)


def is_async_callable(thing: object) -> bool:
    """True for coroutine functions, partials of them and objects with an async ``__call__``."""
    if type(thing) is FunctionType and thing.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # what nearly all are
    while isinstance(thing, functools.partial):
        thing = thing.func
    if inspect.iscoroutinefunction(thing):
        return True
    call = None if inspect.isclass(thing) else getattr(type(thing), "__call__", None)
    return inspect.iscoroutinefunction(call)


def not_a_coroutine(where: str, value: object) -> NotACoroutine:
    """Return the error that says what to write at `where` instead of `value`."""
    shown = safe_repr(value, 80)
    if inspect.isgenerator(value) or inspect.isgeneratorfunction(value):
        advice = "this is a generator; write `async def` and `await` instead"
    elif isinstance(value, asyncio.Future):
        advice = "a future or task runs already; give the coroutine function instead"
    elif getattr(value, "__name__", "") == "<lambda>":
        advice = "write Job(function, argument, ...), or CallJob for a plain function"
    elif callable(value):
        advice = "this is a plain function; write CallJob(function, ...) to run it in a thread"
    else:
        advice = "write Job(function, argument, ...) with an `async def` function"
    return NotACoroutine(
        f"{where} needs a coroutine function or a coroutine, not {shown}: {advice}", value
    )
