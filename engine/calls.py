"""CallJob: run a plain function, in a thread or wherever the user says."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .arguments import parts_of, require_arguments, with_results
from .coroutines import callable_name, drop_coroutine, is_async_callable
from .errors import BadOption, NotACoroutine, name_of
from .job import AbstractJob
from .text import safe_repr

if TYPE_CHECKING:
    from .engine import Engine


class CallJob(AbstractJob):
    """Run a plain function: ``CallJob(shutil.rmtree, path)``.

    A function cannot be stopped: once cancelled, the job is over and the thread that runs it is
    abandoned, which the report says.  The threads are daemons: they do not keep the program alive.

    Args:
        func: the function.
        args: its arguments; a job among them, at any depth of lists, tuples, sets and dict values,
            stands for its result and becomes a requirement, as for :class:`engine.Job`.
        on: where to run it: None for a thread of its own, a ``concurrent.futures.Executor``, or an
            async callable, called as ``on(func, *args)``.
        options: those of :class:`engine.AbstractJob`.

    Raises:
        NotACoroutine: `func` cannot be called, or is a coroutine function, which is a `Job`.
        BadOption: `on` is none of the above.

    >>> from engine import CallJob, Engine
    >>> lines = CallJob("a b c".split, label="split")
    >>> count = CallJob(len, lines, label="count")
    >>> Engine(lines, count).orchestrate()
    True
    >>> count.result()
    3
    """

    __slots__ = ("_args", "_func", "_keywords", "_on")

    def __init__(
        self,
        func: Callable[..., Any],
        *args: Any,
        on: concurrent.futures.Executor | Callable[..., Awaitable[Any]] | None = None,
        engine: Engine | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if is_async_callable(func):
            name = callable_name(func)
            raise NotACoroutine(
                f"{name} is a coroutine function: write Job({name}, ...), not CallJob", func
            )
        if not callable(func):
            drop_coroutine(func)  # type: ignore[unreachable]
            raise NotACoroutine(
                f"CallJob needs a function and its arguments, as CallJob(len, text), not "
                f"{safe_repr(func, 80)}",
                func,
            )
        if not (on is None or isinstance(on, concurrent.futures.Executor) or is_async_callable(on)):
            raise BadOption(
                f"on of {name_of(self)} must be an Executor or an async callable, not "
                f"{safe_repr(on, 80)}",
                "on",
                on,
            )
        self._func, self._args, self._keywords = parts_of(func, args)
        self._on = on
        self._takes_results_of = require_arguments(self, self._args, self._keywords)
        if engine is not None:
            engine.add(self)

    async def corun(self) -> Any:
        """Run the function where `on` says and return what it returns."""
        args, keywords = with_results(self._args), with_results(self._keywords or {})
        call = functools.partial(self._func, *args, **keywords) if keywords else self._func
        args = () if keywords else args
        on = self._on
        if on is None:
            result = await _in_thread(name_of(self), call, args)
        elif isinstance(on, concurrent.futures.Executor):
            result = await _in_executor(on, call, args)
        else:
            result = await on(call, *args)
        if inspect.iscoroutine(result):
            name = callable_name(self._func)
            drop_coroutine(result)
            raise NotACoroutine(
                f"{name} returned a coroutine, which nobody would run: write Job(...)", result
            )
        return result

    def details(self) -> str | None:
        """Return the name of the function."""
        return callable_name(self._func)


async def _in_thread(name: str, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():  # the job was cancelled: nobody waits any more
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(_call, func, *args)
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return
        finally:
            del error  # its traceback leads here: no cycle

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        if future.cancelled():
            raise asyncio.CancelledError("its thread may still run") from None
        raise


async def _in_executor(
    executor: concurrent.futures.Executor, func: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    if isinstance(executor, concurrent.futures.ThreadPoolExecutor):
        # Only threads of this process can have the context; elsewhere it could not even be sent.
        context = contextvars.copy_context()
        submitted = executor.submit(context.run, _call, func, *args)
    else:
        submitted = executor.submit(_call, func, *args)
    try:
        return await asyncio.wrap_future(submitted)
    except asyncio.CancelledError:
        if not submitted.done():  # it has begun, or it would have been cancelled
            raise asyncio.CancelledError("what it runs may still run") from None
        raise


def _call(func: Callable[..., Any], *args: Any) -> Any:
    """Call a function; a future takes any exception but StopIteration."""
    try:
        return func(*args)
    except StopIteration as stop:
        raise RuntimeError(f"{callable_name(func)} raised StopIteration") from stop
