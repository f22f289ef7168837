"""JobSet: the jobs of an engine in insertion order, and the graph that they form.

What concerns a run is left to :class:`engine.Engine`, through the hooks `_check_late`, `_joined`,
`_refuse_while_running`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

from . import graph as graphs
from .errors import AlreadyInEngine, ForeignRequirement, GraphError, NotAJob, OnlyForever, name_of
from .graph import needs_of
from .job import AbstractJob, hold, jobs_in, last_jobs
from .sequence import Sequence, flat_jobs
from .text import safe_repr

if TYPE_CHECKING:
    from .engine import Engine
    from .job import Jobs

JobList: TypeAlias = list[AbstractJob]  # as Engine.list is something else


class JobSet(AbstractJob):
    """A job that holds jobs; see :class:`engine.Engine`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._weak: weakref.ref[Engine] = weakref.ref(self)  # type: ignore[arg-type]
        self._first_number = 1
        """What ticks call its first job; more than 1 once a nested engine is tried again."""
        self._jobs: dict[AbstractJob, None] = {}
        self._nested: dict[Engine, None] = {}
        """Those of its jobs that hold jobs themselves."""
        self._followers: dict[AbstractJob, JobList] | None = None
        """For each job those that wait for it, as long as the graph does not change."""

    # -- hooks of the engine -----------------------------------------------------------------

    def _check_late(self, newcomers: Collection[AbstractJob]) -> None:
        """Refuse jobs that cannot be added, if a run is going on."""

    def _joined(self, newcomers: Collection[AbstractJob]) -> None:
        """Take in jobs that were added, if a run is going on."""

    def _refuse_while_running(self, what: str) -> None:
        """Raise an error that says `what` cannot be done, if a run is going on."""

    # -- the set -----------------------------------------------------------------------------

    @property
    def jobs(self) -> tuple[AbstractJob, ...]:
        """The jobs, in the order in which they were added."""
        return tuple(self._jobs)

    def add(self, job: AbstractJob | Sequence) -> AbstractJob | Sequence:
        """Add `job`, at any time, and return it.

        In a run going on it is scheduled in the next turn of the loop, so that there is time to say
        what it waits for: ``engine.add(job).requires(other)``.

        Raises:
            NotAJob: it is not a job.
            AlreadyInEngine: it is in another engine, or is an engine that contains this one.
            GraphError: while running: what it waits for is not in this engine, or is a cycle.
            AlreadyRunning: while running: the run is about to end, too late for another job; or
                it is an engine that runs by itself.
        """
        self.update([job])
        return job

    def update(self, jobs: Iterable[AbstractJob | Sequence] | AbstractJob) -> None:
        """Add all of `jobs`, or, if one of them is refused, none; see `add` for what is raised.

        An engine in the place of `jobs` is one job, as everywhere.
        """
        if isinstance(jobs, AbstractJob) or not isinstance(jobs, Iterable):
            jobs = (jobs,)
        newcomers: dict[AbstractJob, None] = {}
        nested: dict[Engine, None] = {}
        kind: type[AbstractJob] | None = None
        holds_jobs = False
        for job in flat_jobs(jobs, type(self).__name__):
            if type(job) is not kind:  # else it is as the one before
                kind = type(job)
                _check_kind(kind, job)
                holds_jobs = isinstance(job, JobSet)
            try:
                holder = job._engine
            except AttributeError:
                advice = f"{kind.__name__}.__init__ does not call super().__init__()"
                raise NotAJob(advice, job) from None
            if holder is self._weak:
                continue
            if holder is not None or holds_jobs:
                self._check_newcomer(job)
                if holds_jobs:
                    nested[cast("Engine", job)] = None
            newcomers[job] = None
        self._check_late(newcomers)
        hold(newcomers, self._weak)
        self._jobs.update(newcomers)
        self._nested.update(nested)
        self._graph_changed()
        self._joined(newcomers)

    def _check_newcomer(self, job: AbstractJob) -> None:
        holder = job.engine
        if holder is not None:
            raise AlreadyInEngine(
                f"job {name_of(job)} is in engine {name_of(holder)} already; "
                f"a job is in one engine, remove() it there first",
                [job, holder, self],
            )
        outer: AbstractJob | None = self
        while outer is not None:
            if outer is job:
                raise AlreadyInEngine(
                    f"engine {name_of(job)} cannot contain itself (through {name_of(self)})",
                    [job, self],
                )
            outer = outer.engine

    def remove(self, job: AbstractJob | Sequence) -> None:
        """Take `job` out; what waited for it still does, see `bypass_and_remove` and `sanitize`.

        Raises:
            AlreadyRunning: this engine is running.
            NotAJob: it is not a job.
            GraphError: the job is not in it.
        """
        self._refuse_while_running("remove a job")
        for each in self._held(job, "remove"):
            del self._jobs[each]
            if isinstance(each, JobSet):
                del self._nested[cast("Engine", each)]
            hold([each], None)
        self._graph_changed()

    def _held(self, job: object, how: str) -> JobList:
        """Return the jobs that `job` stands for, having made sure that all are in this engine."""
        if not isinstance(job, AbstractJob | Sequence):
            text = f"{name_of(self)}.{how}() takes a job or a Sequence, not {safe_repr(job, 80)}"
            raise NotAJob(text, job)
        held = list(flat_jobs([job], how))
        for each in held:
            if each not in self._jobs:
                raise GraphError(f"job {name_of(each)} is not in engine {name_of(self)}", [each])
        return held

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[AbstractJob]:
        return iter(tuple(self._jobs))

    def __contains__(self, job: object) -> bool:
        """Tell whether it holds a job, or all jobs of a Sequence."""
        if isinstance(job, Sequence):
            return all(each in self._jobs for each in job)
        return isinstance(job, AbstractJob) and job in self._jobs

    def __bool__(self) -> bool:
        return True

    def iterate_jobs(self, scan_engines: bool = False) -> Iterator[AbstractJob]:
        """Give all jobs at every depth; with `scan_engines` the engines among them too."""
        stack: list[Iterator[AbstractJob]] = [iter(self)]
        while stack:
            for job in stack[-1]:
                if not isinstance(job, JobSet):
                    yield job
                    continue
                if scan_engines:
                    yield job
                stack.append(iter(job))
                break
            else:
                stack.pop()

    def _inside(self) -> Iterator[Engine]:
        """Give those that it holds that hold jobs themselves, at every depth."""
        stack: list[JobSet] = [self]
        while stack:
            inner = stack.pop()._nested
            yield from inner
            stack.extend(inner)

    def find(self, job_id: str) -> AbstractJob:
        """Return the job that the events of the run going on call `job_id`; else KeyError.

        >>> import asyncio
        >>> from engine import Engine, Job
        >>> inner = Engine(Job(asyncio.sleep, 0), Job(asyncio.sleep, 0, label="the second"))
        >>> Engine(Job(asyncio.sleep, 0), inner).find("2.2")
        <Job `the second' idle>
        """
        found: AbstractJob = self
        for number in job_id.split("."):
            if not isinstance(found, JobSet) or not number.isdecimal():
                raise KeyError(job_id)
            place = int(number) - found._first_number
            if not 0 <= place < len(found):
                raise KeyError(job_id)
            found = found.jobs[place]
        return found

    # -- the graph ---------------------------------------------------------------------------

    def check(self) -> None:
        """Return None if this engine can be run, at every depth.

        Raises:
            GraphError: one of CycleError, SelfRequirement, ForeignRequirement, OnlyForever.
        """
        listed: set[AbstractJob] = set()
        in_order = True
        for job in self._jobs:
            for need in (job._required or ()) if job._after is None else needs_of(job):
                if need not in listed:
                    if need.engine is not self:
                        raise foreign(job, need, self)
                    in_order = False
            listed.add(job)
            if job._takes_results_of:
                _check_results(job)
        for inner in self._nested:
            inner.check()
        if not in_order:
            graphs.topological_order(self._jobs, needs_of)
        endless = self.engine is not None and self.forever
        if self._jobs and not endless and all(job.forever for job in self._jobs):
            raise OnlyForever(self._jobs)

    def topological_order(self) -> JobList:
        """Return the jobs in topological, then insertion order; CycleError if there is none."""
        return graphs.topological_order(self._jobs, needs_of)

    def entry_jobs(self) -> JobList:
        """Return the jobs that wait for no other."""
        return graphs.entries(self._jobs, needs_of)

    def exit_jobs(self) -> JobList:
        """Return the jobs that no other waits for."""
        return graphs.exits(self._jobs, needs_of)

    def predecessors(self, *jobs: Jobs) -> JobList:
        """Return the jobs that any of `jobs` waits for directly."""
        first = _each(jobs, slice(1), self, ".predecessors()")
        return graphs.predecessors(self._jobs, needs_of, first)

    def successors(self, *jobs: Jobs) -> JobList:
        """Return the jobs that wait for any of `jobs` directly."""
        return graphs.successors(self._jobs, needs_of, last_jobs(jobs, self, ".successors()"))

    def predecessors_upstream(self, *jobs: Jobs) -> JobList:
        """Return all that must be over before any of `jobs` starts, however far away."""
        first = _each(jobs, slice(1), self, ".predecessors_upstream()")
        return graphs.upstream(self._jobs, needs_of, first)

    def successors_downstream(self, *jobs: Jobs) -> JobList:
        """Return all that cannot start before any of `jobs` is over, however far away."""
        return graphs.downstream(
            self._jobs, needs_of, last_jobs(jobs, self, ".successors_downstream()")
        )

    def keep_only(self, *jobs: Jobs) -> Self:
        """Remove all jobs but `jobs`, and what these waited for of the rest; return this engine."""
        kept = _each(jobs, _ALL, self, ".keep_only()")
        return self._edit(graphs.keep_only(self._jobs, _required, _awaited, kept))

    def keep_only_between(
        self,
        *,
        starts: Jobs = None,
        ends: Jobs = None,
        keep_starts: bool = True,
        keep_ends: bool = True,
    ) -> Self:
        """Keep only the jobs on a way from `starts` to `ends`; None sets no bound on that side.

        With `keep_starts` or `keep_ends` False these themselves go too.  Returns this engine.
        """
        where = self, ".keep_only_between()"
        kept = graphs.between(
            self._jobs,
            needs_of,
            starts=None if starts is None else _each(starts, _ALL, *where),
            ends=None if ends is None else _each(ends, _ALL, *where),
            keep_starts=keep_starts,
            keep_ends=keep_ends,
        )
        return self.keep_only(kept)

    def bypass_and_remove(self, job: AbstractJob | Sequence) -> None:
        """Remove `job`; those that waited for it now wait for what it waited for.

        How these links combine, see :func:`engine.graph.bypass`.
        """
        for each in self._held(job, "bypass_and_remove"):
            self._edit(graphs.bypass(self._jobs, _required, _awaited, each))

    def sanitize(self) -> bool:
        """Drop the requirements on jobs that are not in this engine, at every depth.

        Returns True if there was nothing to drop; what was dropped is logged.
        """
        edit = graphs.sanitize(self._jobs, _required, _awaited)
        for link in edit.cut:
            logging.getLogger("engine").warning(
                "%s no longer waits for %s, which is not in engine %s",
                *(name_of(job) for job in (link.node, link.need, self)),
            )
        self._edit(edit)
        clean = [job.sanitize() for job in self._nested]
        return not edit.cut and all(clean)

    def _edit(self, edit: graphs.Edit[AbstractJob]) -> Self:
        self._refuse_while_running("change its graph")
        for links, remove in (edit.cut, True), (edit.added, False):
            for link in links:
                relate = link.node.requires if link.kind == "requires" else link.node.after
                relate(link.need, remove=remove)
        for job in edit.removed:
            self.remove(job)
        return self

    def followers_of(self, job: AbstractJob) -> JobList:
        """Return the jobs that wait for `job` directly; computed once for all of them."""
        if self._followers is None:
            self._followers = graphs.dependents(self._jobs, needs_of)
        return self._followers.get(job, [])

    def _graph_changed(self) -> None:
        """Forget what was computed of the graph."""
        self._followers = None


_ALL = slice(None)


def _each(jobs: Jobs, part: slice, *where: object) -> JobList:
    """Return the jobs in `jobs`, a nested collection, with that part of each Sequence in it."""
    found: JobList = []
    for each in jobs_in(jobs, *where):
        found += [each] if isinstance(each, AbstractJob) else each.jobs[part]
    return found


_required: Callable[[AbstractJob], tuple[AbstractJob, ...]] = AbstractJob.required.fget  # type: ignore[attr-defined]
_awaited: Callable[[AbstractJob], tuple[AbstractJob, ...]] = AbstractJob.awaited.fget  # type: ignore[attr-defined]


def _check_results(job: AbstractJob) -> None:
    """Refuse a job that was made not to require one whose result it takes."""
    for need in job.takes_results_of:
        if need not in job.required:
            raise GraphError(
                f"job {name_of(job)} takes the result of {name_of(need)}, which it was "
                f"made not to require any more",
                [job, need],
            )


def _check_kind(kind: type[AbstractJob], job: AbstractJob) -> None:
    """Refuse jobs that an engine could not tell apart."""
    if kind.__eq__ is not object.__eq__:
        raise NotAJob(
            f"two jobs are never equal, and {kind.__name__} defines when they are: "
            "with dataclasses write @dataclass(eq=False)",
            job,
        )


def foreign(job: AbstractJob, need: AbstractJob, engine: JobSet) -> ForeignRequirement:
    """Return the error for a requirement that is not in `engine`, with what to do about it."""
    holder = need.engine
    if holder is None:
        advice = f"add it to {name_of(engine)}, or remove the requirement (sanitize())"
    else:
        outer: AbstractJob | None = holder
        while outer is not None and outer.engine is not engine:
            outer = outer.engine
        if outer is not None:
            advice = f"it is inside engine {name_of(outer)}, which is required as a whole"
        else:
            advice = f"it is in engine {name_of(holder)}"
    return ForeignRequirement(job, need, advice)
