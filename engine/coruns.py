"""Job: run a coroutine."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from .arguments import parts_of, require_arguments, with_results
from .coroutines import callable_name, drop_coroutine, is_async_callable, not_a_coroutine, unstarted
from .errors import BadOption, NotACoroutine, name_of
from .job import AbstractJob

if TYPE_CHECKING:
    from .engine import Engine


class Job(AbstractJob):
    """Run a coroutine: ``Job(fetch, url)`` or, once only, ``Job(fetch(url))``.

    Args:
        corun: a coroutine function, called with `args` anew at each attempt; so are partials
            (for keyword arguments) and objects with an async ``__call__``.  Or a coroutine object,
            which runs once.
        args: arguments.  A job among them, also inside lists, tuples, sets and dict values, stands
            for its result and becomes a requirement.
        coshutdown: an async function without arguments (or a coroutine object), called once at the
            end of a run in which the job was started.
        options: those of :class:`AbstractJob`.

    Raises:
        NotACoroutine: `corun` or `coshutdown` is not what it should be.
        GraphError: a forever job among the arguments: it has no result.

    >>> from engine import Engine
    >>> async def add(a, b):
    ...     return a + b
    >>> three = Job(add, 1, 2, label="three")
    >>> seven = Job(add, three, 4, label="seven")
    >>> Engine(three, seven).orchestrate()
    True
    >>> seven
    <Job `seven' finished -> 7 - [requires [three]]>
    """

    __slots__ = ("_args", "_corun", "_coshutdown", "_keywords", "_takes_results_of", "_used")

    def __init__(
        self,
        corun: Callable[..., Awaitable[Any]] | Coroutine[Any, Any, Any],
        *args: Any,
        coshutdown: Callable[[], Awaitable[Any]] | Coroutine[Any, Any, Any] | None = None,
        engine: Engine | None = None,
        **options: Any,
    ) -> None:
        self._used = True  # nothing to close, should what follows raise
        coroutines = [c for c in (corun, coshutdown) if isinstance(c, CoroutineType)]
        mine = [coroutine for coroutine in coroutines if coroutine not in unstarted]
        try:
            super().__init__(**options)
            self._check_corun(corun, args)
            if coshutdown is not None:
                self._check_async(coshutdown, "coshutdown=")
            self._corun, self._args, self._keywords = parts_of(corun, args)
            self._coshutdown = coshutdown
            self._takes_results_of = require_arguments(self, self._args, self._keywords)
            unstarted.update(mine)
            self._used = False
            if engine is not None:
                engine.add(self)
        except BaseException:
            self._used = True
            for coroutine in mine:
                drop_coroutine(coroutine)
            raise

    def _check_corun(self, corun: Any, args: tuple[Any, ...]) -> None:
        self._check_async(corun, "Job")
        if not isinstance(corun, CoroutineType):
            return
        name = corun.__name__
        if args:
            raise NotACoroutine(
                f"arguments go with a function: Job({name}, ...), not Job({name}(), ...)", corun
            )
        if self.retry:
            raise BadOption(
                f"job {name_of(self)}: a coroutine runs once and cannot be retried; give the "
                f"function and its arguments: Job({name}, ..., retry=...)",
                "retry",
                self.retry,
            )

    def _check_async(self, thing: Any, where: str) -> None:
        """Refuse what is neither a coroutine function nor a coroutine that has not begun."""
        if is_async_callable(thing):
            return
        if not isinstance(thing, CoroutineType):
            raise not_a_coroutine(where, thing)
        if inspect.getcoroutinestate(thing) != inspect.CORO_CREATED or thing in unstarted:
            name = thing.__name__
            raise NotACoroutine(
                f"{where}: this coroutine of {name} is used already, and a coroutine runs once; "
                f"give the function and its arguments: Job({name}, ...)",
                thing,
            )

    @property
    def takes_results_of(self) -> tuple[AbstractJob, ...]:
        """The jobs among its arguments, whose results it takes."""
        return self._takes_results_of

    def corun(self) -> Awaitable[Any]:
        """Return the coroutine object, or call the function with its arguments."""
        corun = self._corun
        if isinstance(corun, CoroutineType):
            self._used = True
            unstarted.discard(corun)
            return corun
        if self._takes_results_of:
            args, keywords = with_results(self._args), with_results(self._keywords or {})
            return corun(*args, **keywords)  # type: ignore[no-any-return]
        if self._keywords:
            return corun(*self._args, **self._keywords)  # type: ignore[no-any-return]
        return corun(*self._args)  # type: ignore[no-any-return]

    async def coshutdown(self) -> None:
        """Await what was given as `coshutdown`, if anything was."""
        given = self._coshutdown
        if isinstance(given, CoroutineType):
            self._coshutdown = None  # it runs once
            unstarted.discard(given)
            await given
        elif given is not None:
            await given()  # type: ignore[operator]

    @property
    def has_coshutdown(self) -> bool:
        """True if there is something to await at shutdown."""
        return self._coshutdown is not None

    @property
    def is_spent(self) -> bool:
        """True if its coroutine object has been used, so that it cannot run again."""
        return self._used

    def details(self) -> str | None:
        """Return the name of what it runs."""
        return callable_name(self._corun)

    def __del__(self) -> None:
        if not self._used and isinstance(self._corun, CoroutineType):
            drop_coroutine(self._corun)
        if isinstance(getattr(self, "_coshutdown", None), CoroutineType):
            drop_coroutine(self._coshutdown)
