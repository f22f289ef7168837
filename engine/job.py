"""A job: what to run, and what it needs.

A job says what is to be run and what has to come first; what became of it in a run is kept in its
:class:`engine.node.Node`, to which the properties of the job lead.  All that can be checked without
a run is checked here, at the line where the user wrote it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from .coroutines import Once, drop_coroutine
from .errors import (
    JobSkipped,
    NotAJob,
    SelfRequirement,
    name_of,
)
from .options import bad_option, check_retry, check_timeout
from .pool import Pool
from .text import safe_repr
from .ticks import State

if TYPE_CHECKING:
    from .engine import Engine
    from .node import Node
    from .sequence import Sequence

    Related: TypeAlias = "tuple[AbstractJob, ...] | dict[AbstractJob, None] | None"
    Jobs: TypeAlias = "AbstractJob | Sequence | Iterable[Jobs] | None"
    """What `requires` and `after` accept: jobs, Sequences, None and nested collections of these."""

NOLABEL = "NOLABEL"
"""How a job without a label is shown."""


class AbstractJob:
    """What an engine runs; subclasses define ``async def corun(self)``.

    A subclass may also define ``async def coshutdown(self)``, called once at the end of every run
    in which the job was started; the presentation hooks `text_label`, `graph_label` and `details`;
    and an attribute ``host`` (a str), which monitors show.

    Args:
        label: how the job is called on screens and in messages.
        forever: it never ends by itself; the run does not wait for it, and cancels it at its end.
        critical: its failure fails the run.
        required: jobs that must be finished first, see :meth:`requires`.
        after: jobs that must be over first, see :meth:`after`.
        timeout: seconds that each attempt may take; more is a failure with a TimeoutError.
        retry: how many more attempts a failure is worth, one right after the other; or a
            ``tenacity.AsyncRetrying``, for pauses in between or a choice of errors.
        pool: a :class:`engine.Pool` whose slots it shares with other jobs.
        notify: for a forever job: it is ready once it calls :func:`engine.ready`, not at its start.
        engine: an engine to add it to.

    Raises:
        BadOption: an option has a value that makes no sense.
        NotAJob: `required` or `after` holds something that is not a job.

    >>> from engine import AbstractJob, Engine
    >>> class Double(AbstractJob):
    ...     def __init__(self, number, **options):
    ...         super().__init__(**options)
    ...         self.number = number
    ...
    ...     async def corun(self):
    ...         return 2 * self.number
    >>> job = Double(21, label="double")
    >>> Engine(job).orchestrate()
    True
    >>> job
    <Double `double' finished -> 42>
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_after",
        "_engine",
        "_once",
        "_place",
        "_required",
        "_takes_results_of",
        "critical",
        "forever",
        "label",
        "notify",
        "pool",
        "retry",
        "timeout",
    )

    def __init__(
        self,
        *,
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
        self.label = label if label is None or type(label) is str else str(label)
        self.forever = forever
        self.critical = critical
        self.notify = notify
        self.timeout = timeout
        self.retry = retry
        self.pool = pool
        # Collections in the order of insertion, without duplicates; see `_relate`.
        self._required: Related = None
        self._after: Related = None
        self._takes_results_of: tuple[AbstractJob, ...] = ()
        # The coroutine object that it was given to run, if it was given one.
        self._once: Once | None = None
        # Weak, so that an engine and its jobs are freed as soon as nobody holds them.
        self._engine: weakref.ref[Engine] | None = None
        # Its node in the run going on or, after it, in the last one; set by the run alone.
        self._place: Node | None = None
        if timeout is not None:
            check_timeout(self, "timeout", timeout)
        if retry is not None:
            check_retry(self, retry)
        if pool is not None and not isinstance(pool, Pool):
            raise bad_option(self, "pool", pool, "a Pool, as Pool(4)")
        if required is not None:
            self.requires(required)
        if after is not None:
            self.after(after)
        if engine is not None:
            engine.add(self)

    @property
    def takes_results_of(self) -> tuple[AbstractJob, ...]:
        """The jobs among its arguments, whose results it takes."""
        return self._takes_results_of

    @property
    def is_spent(self) -> bool:
        """True if it was given a coroutine object, which has been used: it cannot run again."""
        return self._once is not None and self._once.is_used

    # -- what it does ------------------------------------------------------------------------

    def corun(self) -> Awaitable[Any]:
        """Do the work and return the result; called anew at each attempt. To be defined."""
        raise NotImplementedError(f"{type(self).__name__} does not define `async def corun(self)`")

    async def coshutdown(self) -> None:
        """Release what the job still holds: called once, at the end of a run that started it."""

    # -- what it is called -------------------------------------------------------------------

    def text_label(self) -> str:
        """Return how the job is called in listings and monitors."""
        return NOLABEL if self.label is None else self.label

    def graph_label(self) -> str:
        """Return how the job is called in drawings; it may have several lines."""
        return self.text_label()

    def details(self) -> str | None:
        """Return what there is to say beyond the label: the command, the function; or None."""
        return None

    # -- what it waits for -------------------------------------------------------------------

    @property
    def required(self) -> tuple[AbstractJob, ...]:
        """The jobs that must be finished before this one starts, as they were given."""
        return tuple(self._required or ())

    @property
    def awaited(self) -> tuple[AbstractJob, ...]:
        """The jobs that must be over, however they ended, before this one starts."""
        return tuple(self._after or ())

    def requires(self, *jobs: Jobs, remove: bool = False) -> AbstractJob:
        """Start this job once `jobs` are **finished**; return this job.

        If one of them fails, is cancelled or is skipped, this job is skipped.  A forever job counts
        once it is ready.  With `remove`, these requirements are taken back; those that were not
        there are ignored.

        Raises:
            NotAJob: one of `jobs` is not a job.
            SelfRequirement: one of `jobs` is this job.
            ForeignRequirement: one of `jobs` is known to be in another engine.
            JobStarted: this job has left `idle` in a run that is going on.

        >>> from engine import Job
        >>> async def nothing(): pass
        >>> a, b, c, d = (Job(nothing, label=name) for name in "abcd")
        >>> d.requires(a, [b, None, (c,)])
        <Job `d' idle - [requires [a, b, c]]>
        >>> d.requires(b, remove=True)
        <Job `d' idle - [requires [a, c]]>
        """
        is_first = self._required is None and self._engine is None and not remove
        given = _as_given(jobs, self) if is_first else None
        if given is not None:  # as mostly; the same as `_relate` would do
            self._required = given
        else:
            self._relate("requires", jobs, remove)
        return self

    def after(self, *jobs: Jobs, remove: bool = False) -> AbstractJob:
        """Start this job once `jobs` are **over**, however they ended; return this job.

        For cleaning up and collecting, as ``After=`` without ``Requires=`` in systemd.  Takes and
        raises the same as :meth:`requires`.
        """
        self._relate("after", jobs, remove)
        return self

    def _relate(self, how: str, jobs: tuple[Jobs, ...], remove: bool) -> None:
        """Put `jobs` in or take them out, once all of it has been checked."""
        known = self._required if how == "requires" else self._after
        others = last_jobs(jobs, self, ".", how, "()")
        if not remove:
            for other in others:  # `in` would ask whether they are equal
                if other is self:
                    raise SelfRequirement(self)
        if len(others) > 1 and len(set(others)) < len(others):
            others = list(dict.fromkeys(others))
        if known is not None or remove:
            others = [job for job in others if (known is not None and job in known) is remove]
        engine = None if self._engine is None else self._engine()
        if engine is not None:
            engine.before_relation(self, () if remove else others, how)
        known = _without(known, others) if remove else _with(known, others)
        if how == "requires":
            self._required = known
        else:
            self._after = known
        if engine is not None:
            engine.after_relation(self, how, others, remove)

    def __rshift__(self, others: Any) -> Any:
        """``a >> b`` is ``b.requires(a)``, and `b`, so that it can go on: ``a >> b >> [c, d]``."""
        for other in jobs_in(others, self, " >> ..."):
            other.requires(self)
        return others

    def __rrshift__(self, others: Any) -> AbstractJob:
        """``[a, b] >> c`` is ``c.requires([a, b])``."""
        return self.requires(others)

    # -- what became of it -------------------------------------------------------------------

    @property
    def engine(self) -> Engine | None:
        """The engine that holds this job, if any."""
        return None if self._engine is None else self._engine()

    @property
    def state(self) -> State:
        """Where the job is in its life."""
        return State.IDLE if self._place is None else self._place.state

    def is_idle(self) -> bool:
        """True as long as its requirements are not met, or no run has begun."""
        return self.state is State.IDLE

    def is_scheduled(self) -> bool:
        """True while its requirements are met and it waits for a slot or for its next attempt."""
        return self.state is State.SCHEDULED

    def is_running(self) -> bool:
        """True while it runs."""
        return self.state is State.RUNNING

    def is_done(self) -> bool:
        """True once it is over in any way, as for ``asyncio.Future.done``."""
        return self.state.is_over

    def result(self) -> Any:
        """Return what the job returned, or raise what it raised, as ``asyncio.Future.result``.

        Raises:
            asyncio.InvalidStateError: it is not over.
            asyncio.CancelledError: it was cancelled.
            JobSkipped: it was skipped; the error says why.
        """
        node = self._over()
        if node.state is State.FINISHED:
            return node.result
        if node.state is State.SKIPPED:
            raise self._skipped(node)
        if node.state is State.CANCELLED:
            raise asyncio.CancelledError(node.reason)
        assert node.exception is not None
        # Its traceback as it was, or each call would add to it.
        raise node.exception.with_traceback(node.traceback)

    def exception(self) -> BaseException | None:
        """Return the exception of a failed job, JobSkipped for a skipped one, None if it finished.

        Raises:
            asyncio.InvalidStateError: it is not over.
            asyncio.CancelledError: it was cancelled.
        """
        node = self._over()
        if node.state is State.CANCELLED:
            raise asyncio.CancelledError(node.reason)
        return self._skipped(node) if node.state is State.SKIPPED else node.exception

    def raised_exception(self) -> BaseException | None:
        """Return the exception of a failed job, else None; never raises."""
        node = self._place
        return node.exception if node is not None and node.state is State.FAILED else None

    @property
    def started_at(self) -> float | None:
        """When it was first started, in seconds on the monotonic clock; None if it never was."""
        return None if self._place is None else self._place.started_at

    @property
    def ended_at(self) -> float | None:
        """When it was over, in seconds on the monotonic clock; None if it is not."""
        return None if self._place is None else self._place.ended_at

    @property
    def duration(self) -> float | None:
        """Seconds from its first start to its end; None if it did not start or is not over."""
        start, end = self.started_at, self.ended_at
        return None if start is None or end is None else end - start

    def cancel(self, reason: str = "by hand") -> bool:
        """Cancel the job if a run of it is going on; return False if there is nothing to cancel.

        A job that has not started is `cancelled` at once; one that runs gets a CancelledError.
        `reason` is shown with it.  May be called from any thread.
        """
        engine = self.engine
        return engine is not None and engine.cancel_job(self, reason)

    def _over(self) -> Node:
        if self._place is None or not self._place.state.is_over:
            raise asyncio.InvalidStateError(f"job {name_of(self)} is {self.state}, not over")
        return self._place

    def _skipped(self, node: Node) -> JobSkipped:
        return JobSkipped(f"job {name_of(self)} was skipped: {node.reason}", [self], node.reason)

    def __repr__(self) -> str:
        from .listing import describe

        return describe(self)


_FEW = 8
"""To look through so many jobs is as fast as to look one up, and a tuple is smaller than a dict."""


def _as_given(jobs: tuple[Jobs, ...], job: AbstractJob) -> Related:
    """Return `jobs`, for `job` to wait for, if they are just that or one list of it; else None."""
    given: tuple[Any, ...] = tuple(jobs[0]) if len(jobs) == 1 and type(jobs[0]) is list else jobs
    for each in given:
        if not isinstance(each, AbstractJob) or each is job:
            return None
    if len(given) <= 1 or (len(given) <= _FEW and len(set(given)) == len(given)):
        return given or None
    return _with(None, list(dict.fromkeys(given)))


def _with(known: Related, jobs: list[AbstractJob]) -> Related:
    """Return `known` with `jobs`, which are not in it yet."""
    if known is None and len(jobs) <= _FEW:
        return tuple(jobs) or None
    if isinstance(known, dict):
        known.update(dict.fromkeys(jobs))
        return known
    return _with(None, [*known, *jobs]) if known is not None else dict.fromkeys(jobs)


def _without(known: Related, jobs: list[AbstractJob]) -> Related:
    """Return `known` without `jobs`, which are in it."""
    if isinstance(known, dict):
        for job in jobs:
            known.pop(job, None)
        return known or None
    return tuple(job for job in known or () if job not in jobs) or None


# -- what engines write of jobs ---------------------------------------------------------------


def hold(jobs: Iterable[AbstractJob], engine: weakref.ref[Engine] | None) -> None:
    """Have `jobs` be those of `engine`, or of none."""
    for job in jobs:
        job._engine = engine


def place(jobs: Iterable[AbstractJob], nodes: Iterable[Node]) -> None:
    """Give each of `jobs` its place in the run that is about to begin, or goes on."""
    for job, node in zip(jobs, nodes, strict=True):
        job._place = node


# -- collections of jobs ---------------------------------------------------------------------


class JobSequence:
    """What makes a Sequence known to the jobs, which it is made of: `jobs`, in order."""

    __slots__ = ()

    @property
    def jobs(self) -> tuple[AbstractJob, ...]:
        """The jobs in their order."""
        raise NotImplementedError


def last_jobs(value: Jobs, *where: object) -> list[AbstractJob]:
    """Return the jobs in `value`, a nested collection; a Sequence stands for its last job.

    An empty Sequence stands for what it requires itself, so that it can be passed through.
    `where` says in errors who asks: pieces of text, and jobs for their names.
    """
    whole: Any = value
    if type(whole) is tuple and len(whole) == 1:  # the arguments of `requires`, mostly
        whole = whole[0]
    found: list[AbstractJob] = []
    for item in whole if type(whole) in _PLAIN else (whole,):
        if isinstance(item, AbstractJob):
            found.append(item)
            continue
        for each in jobs_in(item, *where):
            if isinstance(each, AbstractJob):
                found.append(each)
            else:
                found.extend(each.last_jobs())
    return found


_PLAIN = frozenset({list, tuple, set, frozenset})
"""The collections that nearly all are; to look at their type is much faster than isinstance."""


def jobs_in(value: Any, *where: object) -> list[AbstractJob | Sequence]:
    """Return the jobs and the Sequences in `value`, a nested collection of these and of None."""
    found: list[AbstractJob | Sequence] = []
    todo = [iter((value,))]
    while todo:
        for item in todo[-1]:
            if isinstance(item, (AbstractJob, JobSequence)):
                found.append(item)  # type: ignore[arg-type]
            elif item is not None:
                todo.append(iter(item) if type(item) in _PLAIN else _iterate(item, where))
                break
        else:
            todo.pop()
    return found


def _iterate(value: Any, where: tuple[object, ...]) -> Iterator[Any]:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return iter(value)
    names = [name_of(each) if isinstance(each, AbstractJob) else str(each) for each in where]
    drop_coroutine(value)
    raise NotAJob(
        f"{''.join(names)} takes jobs, Sequences and collections of these, "
        f"not {safe_repr(value, 80)}",
        value,
    )
