"""Job: run a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from inspect import CO_COROUTINE
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any

from .arguments import parts_of, require_arguments, with_results
from .coroutines import (
    Once,
    callable_name,
    coroutine_giver,
    drop_coroutine,
)
from .errors import BadOption, NotACoroutine, name_of
from .job import AbstractJob

if TYPE_CHECKING:
    from .engine import Engine
    from .job import Jobs
    from .pool import Pool


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

    __slots__ = ("_args", "_corun", "_coshutdown", "_keywords")

    def __init__(
        self,
        corun: Callable[..., Awaitable[Any]] | Coroutine[Any, Any, Any],
        *args: Any,
        coshutdown: Callable[[], Awaitable[Any]] | Coroutine[Any, Any, Any] | None = None,
        label: str | None = None,
        forever: bool = False,
        critical: bool = True,
        required: Jobs = None,
        after: Jobs = None,
        timeout: float | None = None,
        retry: Any = None,
        pool: Pool | None = None,
        notify: bool = False,
        engine: Engine | None = None,
    ) -> None:
        # The options one by one, as one that is misspelt is to be refused in the name of Job.  And
        # no super(), nor a function that says what `corun` is: large graphs are made of this.
        try:
            AbstractJob.__init__(
                self,
                label=label,
                forever=forever,
                critical=critical,
                required=required,
                after=after,
                timeout=timeout,
                retry=retry,
                pool=pool,
                notify=notify,
            )
            self._coshutdown: Any = None
            if coshutdown is not None:
                self._coshutdown = coshutdown = coroutine_giver(coshutdown, "coshutdown=")
            if type(corun) is FunctionType and corun.__code__.co_flags & CO_COROUTINE:
                self._corun: Any = corun
                self._args = args
                self._keywords = None
            else:
                if isinstance(corun, CoroutineType):
                    self._refuse_for_coroutine(corun, args)
                corun = coroutine_giver(corun, "Job")
                self._once = corun if isinstance(corun, Once) else None
                self._corun, self._args, self._keywords = parts_of(corun, args)
            if self._args or self._keywords:
                self._takes_results_of = require_arguments(self, self._args, self._keywords)
            if engine is not None:
                engine.add(self)
        except BaseException:
            drop_coroutine(corun)
            drop_coroutine(coshutdown)
            raise

    def _refuse_for_coroutine(self, corun: CoroutineType[Any, Any, Any], args: object) -> None:
        """Refuse what cannot go with a coroutine object, which runs once."""
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

    def corun(self) -> Awaitable[Any]:
        """Return the coroutine object, or call the function with its arguments."""
        if self._takes_results_of:
            args, keywords = with_results(self._args), with_results(self._keywords or {})
            return self._corun(*args, **keywords)  # type: ignore[no-any-return]
        if self._keywords:
            return self._corun(*self._args, **self._keywords)  # type: ignore[no-any-return]
        return self._corun(*self._args)  # type: ignore[no-any-return]

    async def coshutdown(self) -> None:
        """Await what was given as `coshutdown`, if anything was."""
        given = self._coshutdown
        if isinstance(given, Once):
            self._coshutdown = None  # it runs once
        if given is not None:
            await given()

    @property
    def has_coshutdown(self) -> bool:
        """True if there is something to await at shutdown."""
        return self._coshutdown is not None

    def details(self) -> str | None:
        """Return the name of what it runs."""
        return callable_name(self._corun)
