"""What can go wrong, as one tree; each error carries the jobs it is about as attributes.

::

    EngineError
    ├── NotAJob (TypeError)            something that is not a job stands where a job is expected
    ├── NotACoroutine (TypeError)      Job() was given something that cannot be awaited
    ├── BadOption (ValueError)         an option has a value that makes no sense
    ├── GraphError (ValueError)        the graph cannot be run
    │   ├── CycleError                 a -> b -> a
    │   ├── SelfRequirement            a job that waits for itself
    │   ├── ForeignRequirement         a requirement that is not in the same engine
    │   ├── AlreadyInEngine            a job in two engines, or engines that contain each other
    │   └── OnlyForever                nothing but forever jobs: the run would never end
    ├── UsedCoroutine                  a second run of a coroutine object
    ├── JobStarted                     too late to change what this job waits for
    ├── AlreadyRunning                 this engine is running already
    ├── Stuck                          no progress is possible any more
    ├── JobSkipped                     outcome: the job never started, and why
    ├── JobCancelled                   outcome: the job was cancelled
    ├── JobAbandoned                   outcome: the job swallowed its cancellation
    └── EngineFailed (ExceptionGroup)  outcome of a run: all that went wrong in it

The messages are built here from the attributes, so that a program can react to the attributes and
never needs to read the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from .text import safe_line, safe_repr

if TYPE_CHECKING:
    from .job import AbstractJob


def name_of(job: object) -> str:
    """Return how a job is called in messages: its label or, lacking one, what it runs.

    >>> from engine import CallJob
    >>> name_of(CallJob(len, "abc", label="count")), name_of(CallJob(len, "abc"))
    ('count', 'NOLABEL (len)')
    """
    label = getattr(job, "label", None)
    if label is not None:
        return safe_line(label, 80)
    try:
        details = job.details()  # type: ignore[attr-defined]
    except Exception:  # a hook of the user; naming a job must never be what breaks
        details = None
    return f"NOLABEL ({safe_line(details or type(job).__name__, 80)})"


def names_of(jobs: Iterable[object], most: int = 5) -> str:
    """Return the names of `jobs`, separated by commas, cut after `most` of them."""
    jobs = list(jobs)
    more = f" and {len(jobs) - most} more" if len(jobs) > most else ""
    return ", ".join(name_of(job) for job in jobs[:most]) + more


class EngineError(Exception):
    """Base of all errors of this package; `jobs` are the jobs it is about, possibly none."""

    jobs: tuple[AbstractJob, ...] = ()

    def __init__(self, message: str, jobs: Iterable[AbstractJob] = ()) -> None:
        super().__init__(message)
        self.jobs = tuple(jobs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors be copied and pickled, whatever their constructors take."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[EngineError], args: tuple[Any, ...], state: dict[str, Any]) -> EngineError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class NotAJob(EngineError, TypeError):
    """Something that is not a job stands where a job is expected; `value` is that thing."""

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message)
        self.value = value


class NotACoroutine(EngineError, TypeError):
    """`Job` was given something that it cannot await; `value` is that thing."""

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message)
        self.value = value


class BadOption(EngineError, ValueError):
    """The option called `option` has a `value` that makes no sense."""

    def __init__(self, message: str, option: str, value: object) -> None:
        super().__init__(message)
        self.option = option
        self.value = value


class GraphError(EngineError, ValueError):
    """The graph of jobs cannot be run as it is; `jobs` are those concerned."""


class CycleError(GraphError):
    """Jobs wait for each other; `jobs` is the cycle, each job waiting for the one before it.

    The message reads in the order of running, as ``a -> b -> a``.
    """

    def __init__(self, jobs: Sequence[AbstractJob]) -> None:
        way = " -> ".join(name_of(job) for job in [*jobs, jobs[0]])
        super().__init__(f"these jobs wait for each other: {way}; remove one requirement", jobs)


class SelfRequirement(GraphError):
    """A job was made to wait for itself."""

    def __init__(self, job: AbstractJob) -> None:
        super().__init__(f"job {name_of(job)} cannot wait for itself", [job])


class ForeignRequirement(GraphError):
    """`job` waits for `requirement`, which is not in the same engine."""

    def __init__(self, job: AbstractJob, requirement: AbstractJob, advice: str) -> None:
        super().__init__(
            f"job {name_of(job)} waits for {name_of(requirement)}, "
            f"which is not in the same engine: {advice}",
            [job, requirement],
        )
        self.job = job
        self.requirement = requirement


class AlreadyInEngine(GraphError):
    """A job was put into a second engine, or engines were made to contain each other."""


class OnlyForever(GraphError):
    """The engine holds nothing but forever jobs, so the run would never end."""

    def __init__(self, jobs: Iterable[AbstractJob]) -> None:
        jobs = tuple(jobs)
        super().__init__(
            f"only forever jobs ({names_of(jobs)}): the run would never end; "
            "add a job that ends, or make one of these not forever",
            jobs,
        )


class UsedCoroutine(EngineError):
    """A coroutine object runs once, and this one has been used."""

    def __init__(self, job: AbstractJob) -> None:
        super().__init__(
            f"the coroutine of job {name_of(job)} has been used already: it runs once; "
            "to run it again give the function and its arguments, as Job(function, argument)",
            [job],
        )


class JobStarted(EngineError):
    """It is too late to change what this job waits for: it left `idle` in a run going on."""


class AlreadyRunning(EngineError):
    """This engine (`jobs[0]`) is running already."""


class Stuck(EngineError):
    """No progress is possible any more: `jobs` wait for what will never come."""


class JobSkipped(EngineError):
    """A job never started; `reason` says why, `jobs` are the jobs that were skipped."""

    def __init__(self, message: str, jobs: Iterable[AbstractJob] = (), reason: str = "") -> None:
        super().__init__(message, jobs)
        self.reason = reason


class JobCancelled(EngineError):
    """A job was cancelled by hand, or raised a CancelledError that nobody asked for.

    The CancelledError is its `__cause__`.
    """


class JobAbandoned(EngineError):
    """A job swallowed its cancellation and was given up; it may still run."""


class EngineFailed(ExceptionGroup[Exception], EngineError):
    """A run that did not succeed: the group of all that explains it.

    Each exception carries a note that names its job.  As with any exception group, use
    ``except*`` to pick out a kind::

        try:
            await engine.corun()
        except* TimeoutError:
            ...
    """

    def __new__(cls, message: str, exceptions: Sequence[Exception], /, *_: object) -> Self:
        """Make the group; `jobs` may follow, see :class:`EngineError`."""
        return super().__new__(cls, message, exceptions)

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        jobs: Iterable[AbstractJob] = (),
        /,
    ) -> None:
        EngineError.__init__(self, message, jobs)
        self.args = (message, tuple(exceptions))  # what a copy is made of

    def __str__(self) -> str:
        """Return the message, without the count that exception groups add to theirs."""
        return self.message

    def __repr__(self) -> str:
        """Return the message and the exceptions, whose own reprs may be broken."""
        inner = ", ".join(safe_repr(error, 80) for error in self.exceptions)
        return f"{type(self).__name__}({safe_repr(self.message)}, [{inner}])"

    def derive(self, excs: Sequence[Exception], /) -> EngineFailed:  # type: ignore[override]
        """Return a group of the same kind, as `split` and ``except*`` need it."""
        return EngineFailed(self.message, excs, self.jobs)
