"""The Engine: a set of jobs that runs as a whole, and is itself a job.

The work is done elsewhere: a run is decided in :mod:`engine.plan`, performed in
:mod:`engine.conductor`, judged in :mod:`engine.verdict`, shut down in :mod:`engine.shutdown`;
graphs are computed on in :mod:`engine.graph`, shown by :mod:`engine.listing` and
:mod:`engine.drawing`.  Here these are put together, behind the names that users know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from . import graph as graphs
from . import loop as loops
from .conductor import Conductor
from .current import current
from .errors import (
    AlreadyRunning,
    BadOption,
    CycleError,
    EngineFailed,
    JobStarted,
    SelfRequirement,
    UsedCoroutine,
    name_of,
)
from .graph import needs_of
from .job import AbstractJob, place
from .jobset import JobSet, foreign
from .listing import debrief, label_of, listing, show, stats
from .node import Node
from .options import check_count, check_timeout
from .plan import Instruction, Plan
from .run import Run
from .sequence import Sequence
from .shutdown import shut_down, tell_of, with_shutdown
from .text import safe_repr
from .ticks import LEFT_AT_ONCE, State, StopReason, Tick
from .verdict import WAS_CANCELLED, Verdict, judge
from .watching import readers_of

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path


class Engine(JobSet):
    """A set of jobs in insertion order; engines nest, as an engine is itself a job.

    Args:
        jobs: jobs and Sequences; an Engine among them is one job.
        jobs_window: how many of its jobs may run at once, forever ones not counted (None: all).
        timeout: seconds that a run may take; after that it is stopped, and the verdict is False.
        shutdown_timeout: seconds for all `coshutdown()` together (None: no bound).
        cancel_grace: seconds that a cancelled job has to end before it is abandoned.
        keep_going: a critical failure skips only what depends on it, as ``make -k``.
        message_queue: gets every event of a run; anything with ``put_nowait``.
        options: those of :class:`engine.AbstractJob`, for an engine that is a job of another.

    Raises:
        NotAJob: one of `jobs` is not a job.
        AlreadyInEngine: one of them is in another engine.
        BadOption: an option has a value that makes no sense.

    >>> import asyncio
    >>> from engine import Job
    >>> async def mycoro(number):
    ...     await asyncio.sleep(0)
    ...     return 1000 * number
    >>> b1, b2, b3 = Job(mycoro, 1, label="b1"), Job(mycoro, 2), Job(mycoro, 1.5, label="b3")
    >>> engine = Engine(b1, b2, b3.requires(b1))
    >>> engine.orchestrate()
    True
    >>> engine.list()
    <Job `b1' finished -> 1000 - [allows [b3]]>
    <Job `NOLABEL' finished -> 2000>
    <Job `b3' finished -> 1500.0 - [requires [b1]]>
    """

    def __init__(
        self,
        *jobs: AbstractJob | Sequence,
        jobs_window: int | None = None,
        timeout: float | None = None,
        shutdown_timeout: float | None = 10,
        cancel_grace: float = 5,
        keep_going: bool = False,
        message_queue: Any = None,
        engine: Engine | None = None,
        **options: Any,
    ) -> None:
        super().__init__(timeout=timeout, **options)
        if jobs_window is not None:
            check_count(self, "jobs_window", jobs_window, 1)
        if shutdown_timeout is not None:
            check_timeout(self, "shutdown_timeout", shutdown_timeout)
        check_timeout(self, "cancel_grace", cancel_grace)
        if message_queue is not None and not callable(getattr(message_queue, "put_nowait", None)):
            raise BadOption(
                f"message_queue of {name_of(self)} must have put_nowait(), as asyncio.Queue has, "
                f"not be {safe_repr(message_queue, 80)}",
                "message_queue",
                message_queue,
            )
        self.jobs_window = jobs_window
        self.shutdown_timeout = shutdown_timeout
        self.cancel_grace = cancel_grace
        self.keep_going = keep_going
        self.message_queue = message_queue
        self._plan: Plan | None = None
        """The plan of the run that it is part of, from the beginning of that run to its end."""
        self._conductor: Conductor | None = None
        """Who performs its plan; None before it has begun, and after its end."""
        self._verdict: Verdict | None = None
        self._shutdown_failures: dict[AbstractJob, BaseException] = {}
        self.update(jobs)
        if engine is not None:
            engine.add(self)

    # -- its jobs and their relations, as they change while it runs ------------------------

    def _check_late(self, newcomers: Collection[AbstractJob]) -> None:
        """Check what is added while running, as `check` and a start would."""
        if self._plan is None:
            return
        if self._plan.is_over:
            raise AlreadyRunning(
                f"the run of engine {name_of(self)} is ending: too late to add a job", [self]
            )
        for job in newcomers:
            for need in needs_of(job):
                if need is job:
                    raise SelfRequirement(job)
                if need.engine is not self and need not in newcomers:
                    raise foreign(job, need, self)
            if isinstance(job, Engine):
                _refuse_running([job, *job._inside()], "start it")
                job.check()
        _refuse_spent(newcomers)
        graphs.topological_order(newcomers, needs_of)

    def _joined(self, newcomers: Collection[AbstractJob]) -> None:
        """Have the run going on, if any, take in those that were added."""
        plan = self._plan
        if plan is None:
            return
        conductor = self._performer()
        now = conductor.loop.time()
        for job in newcomers:
            self._make_node(job, plan)
        late: list[Instruction] = []
        for job in newcomers:
            for requires, needs in (True, job.required), (False, job.awaited):
                for need in needs:
                    late += plan.link_late(_node_of(job), _node_of(need), requires, now)
            late += plan.add(_node_of(job), now)
        nodes = [_node_of(job) for job in newcomers]
        conductor.added(nodes, self._parent_id(), self._first_number, late)

    def before_relation(self, job: AbstractJob, needs: Iterable[AbstractJob], how: str) -> None:
        """Refuse a relation that is known to be wrong; called by the jobs of this engine."""
        is_running = self._plan is not None  # to the end of its shutdown
        if is_running and not job.is_idle():
            raise JobStarted(
                f"too late for {name_of(job)}.{how}(): the job is {job.state} in a run going on",
                [job],
            )
        for need in needs:
            holder = need.engine
            if holder is not self and (holder is not None or is_running):
                raise foreign(job, need, self)
        cycle = graphs.cycle_through(job, needs_of, needs) if is_running else []
        if cycle:
            raise CycleError(cycle)

    def after_relation(
        self, job: AbstractJob, how: str, changes: Iterable[AbstractJob], remove: bool
    ) -> None:
        """Tell the run going on, if any, what a job waits for now; called by the jobs."""
        self._graph_changed()
        plan = self._plan
        if plan is None or plan.is_over or job._place is None:
            return
        conductor = self._performer()
        now, requires = conductor.loop.time(), how == "requires"
        change = plan.unlink if remove else plan.link_late
        for need in changes:
            if need._place is not None:
                conductor.perform(change(job._place, need._place, requires, now))

    # -- running -----------------------------------------------------------------------------

    def orchestrate(self, timeout: float | None = None) -> bool:
        """Run all jobs, shut down, and tell: True if every critical job finished.

        The synchronous door: for scripts, prompts and notebook cells; any number of times.  See
        :meth:`corun` for code that lives in an event loop.  What went wrong is in `why()`,
        `failures` and `debrief()`.

        Args:
            timeout: seconds that the run may take; overrides the attribute.

        Raises:
            GraphError: the graph cannot be run; nothing was started.
            UsedCoroutine: a coroutine object has been used in an earlier run.
            AlreadyRunning: this engine, or one inside it, is running already.
            Stuck: no progress was possible any more; all was shut down.
            KeyboardInterrupt, SystemExit: after Ctrl-C or SIGTERM, or when a job raised it; all was
                shut down, unless it was the second Ctrl-C.
        """
        _refuse_running([self, *self._inside()], "start it")
        if timeout is not None:
            check_timeout(self, "timeout", timeout)
        try:
            return loops.run(self._orchestrate(timeout))
        except (KeyboardInterrupt, SystemExit) as error:
            status = 130 if isinstance(error, KeyboardInterrupt) else error.code
            if self._verdict is not None and self._verdict.ok and isinstance(status, int):
                # The run was all but over when the signal came.
                self._verdict = replace(self._verdict, exit_status=status)
            raise

    async def _orchestrate(self, timeout: float | None) -> bool:
        return (await self._conduct(timeout)).ok

    async def corun(self) -> bool:
        """Run all jobs, as `orchestrate` does, from code that lives in an event loop.

        Returns True.  The outermost engine shuts down before this returns or raises.

        Raises:
            EngineFailed: a critical job failed, was cancelled, or the run took too long...: the
                group of all that explains it.
            asyncio.CancelledError: it was cancelled from outside, and has cancelled all its jobs.
            GraphError, UsedCoroutine, AlreadyRunning, Stuck: as for `orchestrate`.

        >>> from engine import Job
        >>> async def main():
        ...     return await Engine(Job(asyncio.sleep, 0)).corun()
        >>> asyncio.run(main())
        True
        """
        node = current.get()
        if node is not None and node.job is self and node.inner is not None:
            verdict = await self._conduct_inside(node)
        else:
            verdict = await self._conduct(None)
        if not verdict.ok:
            raise self._failed(verdict)
        return True

    def _failed(self, verdict: Verdict) -> EngineFailed:
        # It does not hold the engine, which holds it: no cycle.
        return EngineFailed(verdict.why, verdict.explanation)

    async def _conduct(self, timeout: float | None) -> Verdict:
        """Run as the outermost engine."""
        _refuse_running([self, *self._inside()], "start it")
        self.check()
        _refuse_spent(self.jobs)
        run = Run(label_of(self), *readers_of(self, self._has_own_tick()))
        plan = self.make_plan(run.tells)
        root = self._place = Node(self, plan, 0)
        self._first_number = 1
        conductor = Conductor(run, self, plan)
        timeout = self.timeout if timeout is None else timeout
        async with self._at_work_with(conductor, is_outermost=True):
            root.started_at = run.loop.time()
            root.state, root.attempt = State.RUNNING, 1
            run.started(plan, self.jobs_window, timeout)
            self._warn_of_inner_queues(run)
            await conductor.conduct(timeout)
            await self._finish(conductor)
            verdict = self._end(conductor, root, timeout)
        _raise_first(run.take_interruption(), conductor.take_cancelled(), run.take_stuck())
        return verdict

    def _end(self, conductor: Conductor, root: Node, timeout: float | None) -> Verdict:
        """Judge a run of the outermost engine, and tell that it has ended."""
        run, plan, faults = conductor.run, conductor.plan, self.shutdown_failures
        for error in faults.values():
            if not isinstance(error, Exception | asyncio.CancelledError):
                run.interrupt(error)
        root.ended_at = run.loop.time()
        duration = root.ended_at - (root.started_at or 0.0)
        verdict = self._verdict = judge(
            plan,
            duration=duration,
            timeout=timeout,
            signal=conductor.signal,
            error=run.stuck,
            interruption=run.interruption,
            shutdown_failures=faults,
        )
        if verdict.ok:
            root.state, root.result = State.FINISHED, True
        else:
            cancelled = conductor.cancelled is not None
            root.state = State.CANCELLED if cancelled else State.FAILED
            root.exception, root.reason = self._failed(verdict), verdict.why
        run.ended(plan, verdict, duration)
        return verdict

    async def _conduct_inside(self, node: Node) -> Verdict:
        """Run as a job of another engine; `node` is the place of this engine in that run."""
        assert node.plan is not None
        outer: Conductor = node.plan.performer
        if node.attempt > 1:
            self._begin_again(node, outer)
        assert node.inner is not None
        conductor = Conductor(outer.run, self, node.inner)
        async with self._at_work_with(conductor, is_outermost=False):
            begin = conductor.loop.time()
            await conductor.conduct(self.timeout)
            if node.plan is None:  # it was abandoned, and the run has ended without it
                raise asyncio.CancelledError
            verdict = self._verdict = judge(
                node.inner,
                duration=conductor.loop.time() - begin,
                timeout=self.timeout,
                signal=conductor.signal,
                error=None,
                interruption=None,
                shutdown_failures={},
            )
        _raise_first(conductor.take_cancelled())
        return verdict

    def _begin_again(self, node: Node, outer: Conductor) -> None:
        """Make a new plan for another attempt: its jobs are told as new ones, with new ids.

        Those started in an earlier attempt are shut down at the end, as all others, once.
        """
        self.check()
        _refuse_spent(self.jobs)
        assert node.inner is not None
        before = node.inner.nodes_at_every_depth()
        started = {each.job for each in before if each.attempt or each.began_before}
        first_number = self._first_number + len(node.inner.nodes)
        node.inner.let_go()
        node.inner = self.make_plan(outer.plan.tells)
        self._first_number = first_number
        for inner in node.inner.nodes_at_every_depth():
            inner.began_before = inner.job in started
        outer.added(node.inner.nodes, node.id or None, first_number, [])

    @asynccontextmanager
    async def _at_work_with(
        self, conductor: Conductor, *, is_outermost: bool
    ) -> AsyncIterator[None]:
        """Have `conductor` perform the plan; afterwards let go of what only that needed."""
        self._conductor = conductor
        not_left = loops.if_left(self._left_at_once) if is_outermost else None
        try:
            yield
        except loops.LeaveNow:
            raise  # nothing is let go yet: `_left_at_once` has to tell what was going on
        except BaseException:
            self._has_ended(conductor, not_left)
            raise
        self._has_ended(conductor, not_left)

    def _has_ended(self, conductor: Conductor, not_left: Callable[[], None] | None) -> None:
        """Its end has come; `not_left` is that of the outermost engine, see `loop.if_left`."""
        if self._conductor is not conductor:  # it was left at once; this comes when it is freed
            return
        self._conductor = None
        if self._verdict is None:
            self._verdict = Verdict(False, "it ended by an error of its own", (), 1)
        if not_left is not None:
            not_left()
            self._let_go(conductor.plan)

    def _let_go(self, plan: Plan) -> None:
        """The run is over at every depth: it is nobody's any more."""
        for engine in self, *self._inside():
            engine._plan = None
        plan.let_go()
        if self._place is not None:
            self._place.job = self._place.plan = None

    async def _finish(self, conductor: Conductor) -> None:
        """Shut down; a cancellation meanwhile changes nothing, as this is bounded."""
        task = asyncio.ensure_future(self.coshutdown())
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                if not task.cancelled():
                    conductor.keep_cancelled(error)
        for line in tell_of(self.shutdown_failures):
            conductor.run.log(logging.ERROR, line)

    def make_plan(self, tells: bool) -> Plan:
        """Return a plan of this engine, with those of its nested engines; called by engines."""
        plan = Plan(
            window=self.jobs_window,
            keep_going=self.keep_going,
            tells=tells,
            wake=self._poke,
            is_endless=bool(self._jobs) and all(job.forever for job in self._jobs),
        )
        self._plan, self._verdict, self._first_number = plan, None, 1
        self._shutdown_failures = {}
        nodes = plan.enter(self._jobs)
        place(self._jobs, nodes)
        for inner in self._nested:
            _node_of(inner).inner = inner.make_plan(tells)
        for job, node in zip(self._jobs, nodes, strict=True):
            if job._required is not None:
                plan.link(node, map(_place, job._required), True)
            if job._after is not None:
                plan.link(node, map(_place, job._after), False)
        return plan

    def _parent_id(self) -> str | None:
        """Return what ticks call this engine; None for the outermost."""
        return (self._place.id or None) if self._place is not None else None

    def _make_node(self, job: AbstractJob, plan: Plan) -> None:
        node = plan.node(job)
        place([job], [node])
        if isinstance(job, Engine):
            node.inner = job.make_plan(plan.tells)

    def _poke(self) -> None:
        conductor = self._conductor
        if conductor is not None:
            conductor.poke()

    def grace_for(self, job: AbstractJob) -> float:
        """Return how many seconds `job` has to end once it is cancelled.

        A nested engine gets those that it gives its own jobs on top.
        """
        if not isinstance(job, Engine):
            return self.cancel_grace
        inner = [job.grace_for(each) for each in job._nested]
        return self.cancel_grace + max([job.cancel_grace, *inner])

    def _warn_of_inner_queues(self, run: Run) -> None:
        for inner in self._inside():
            if inner.message_queue is not None:
                run.log(
                    logging.WARNING,
                    f"the message queue of {name_of(inner)} is not used: it is nested, and its "
                    f"events go to the queue of {name_of(self)}",
                )

    # -- while it runs -----------------------------------------------------------------------

    def _performer(self) -> Conductor:
        """Return who performs what concerns this engine: as long as it has not begun, an outer."""
        engine: Engine | None = self
        while engine is not None and engine._conductor is None:
            engine = engine.engine
        assert engine is not None, "there is one from the beginning of a run to its end"
        assert engine._conductor is not None
        return engine._conductor

    def _refuse_while_running(self, what: str) -> None:
        _refuse_running([self], what)

    def tick(self, event: Tick) -> None:
        """Handle an event of a run; puts it on `message_queue`, if there is one.

        Called for the outermost engine, in the thread of the event loop.  A subclass that wants to
        see the events overrides this, and calls ``super().tick(event)``.
        """
        if self.message_queue is not None:
            self.message_queue.put_nowait(event)

    def _has_own_tick(self) -> bool:
        return type(self).tick is not _tick or "tick" in vars(self)

    def cancel(self, reason: str | None = None) -> bool:
        """Cancel this run: what runs is cancelled, the rest skipped, and shutdown follows.

        `reason` is shown with it; without one it is told as done by hand.  Returns False if it is
        not running.  May be called from any thread.
        """
        if self.engine is not None and self.engine.cancel_job(self, reason or "by hand"):
            return True
        conductor = self._conductor
        if conductor is None or conductor.plan.is_over:
            return False
        text = reason or f"{WAS_CANCELLED} by hand"
        conductor.run.in_loop_at_once(conductor.stop, StopReason.CANCELLED, text)
        return True

    def cancel_job(self, job: AbstractJob, reason: str) -> bool:
        """Cancel one job of this engine if it is part of a run going on; called by the job."""
        node = job._place
        if self._plan is None or node is None or node.state.is_over:
            return False
        conductor = self._performer()
        conductor.run.in_loop_at_once(conductor.cancel, node, reason)
        return True

    def _left_at_once(self) -> None:
        """The second Ctrl-C has ended the run in its middle: say so of all that was in it."""
        conductor, root = self._conductor, self._place
        assert conductor is not None, "this is taken back at the end of the run"
        assert root is not None
        verdict = self._verdict = Verdict(False, LEFT_AT_ONCE, (), 130)
        for engine in self, *self._inside():
            engine._conductor = None
        conductor.forsake(verdict.why)
        root.state, root.reason, root.ended_at = State.CANCELLED, verdict.why, conductor.loop.time()
        conductor.run.ended(conductor.plan, verdict, root.ended_at - (root.started_at or 0.0))
        self._let_go(conductor.plan)

    # -- shutdown ----------------------------------------------------------------------------

    def shutdown(self) -> bool:
        """Shut down all jobs that were started and have not been shut down yet.

        Runs do this at their end by themselves.  Returns True if nothing went wrong; what did is in
        `shutdown_failures`.
        """
        loops.run(self.coshutdown())
        return not self.shutdown_failures

    async def coshutdown(self) -> None:
        """Shut down, as :meth:`shutdown`, from code that lives in an event loop.

        Every job that was started gets `coshutdown()` once, in reverse order of `requires` and
        `after`, all within `shutdown_timeout`; once that is spent the rest are called and cancelled
        at their first wait.  A fault in one stops no other.
        """
        started = set()
        for job in with_shutdown(self._jobs):
            node = job._place
            if node is None or node.is_shut or not node.state.is_over:
                continue
            if node.attempt or node.began_before:
                node.is_shut = True
                started.add(job)
        if started:
            after = graphs.dependents(self._jobs, needs_of)
            faults = self._shutdown_failures
            await shut_down(self.jobs, after, started, self.shutdown_timeout, faults)

    # -- what came of it ---------------------------------------------------------------------

    @property
    def failures(self) -> dict[AbstractJob, BaseException]:
        """The jobs that failed in the last run, at every depth, and their exceptions."""
        found = {}
        for job in self.iterate_jobs(scan_engines=True):
            error = job.raised_exception()
            if error is not None:
                found[job] = error
        return found

    @property
    def shutdown_failures(self) -> dict[AbstractJob, BaseException]:
        """The jobs whose `coshutdown()` went wrong, at every depth, and how."""
        found = dict(self._shutdown_failures)
        for inner in self._nested:
            found.update(inner.shutdown_failures)
        return found

    @property
    def exit_status(self) -> int:
        """For ``sys.exit``: 0, 1, 124 (timeout), 129, 130 or 143 (signals); 1 before any run."""
        return 1 if self._verdict is None else self._verdict.exit_status

    def why(self) -> str:
        """Return the verdict of the last run in one line."""
        if self._verdict is not None:
            return self._verdict.why
        if self.is_done():  # part of a run in which it never began
            assert self._place is not None
            return f"{self.state}: {self._place.reason}"
        return "it has not run yet" if self._plan is None else "it is running"

    # -- looking at it -----------------------------------------------------------------------

    def list(self, details: bool = False) -> None:
        """Print one line per job, in topological, then insertion order."""
        show(listing(self, details=details))

    def stats(self) -> str:
        """Return how many jobs are in which state, in one line."""
        return stats(self)

    def debrief(self, details: bool = False) -> None:
        """Print what came of the last run: the verdict, each failure, what was skipped and why."""
        show(debrief(self, details=details))

    def dot_format(self) -> str:
        """Return a drawing in the DOT language of graphviz; nested engines are clusters."""
        from .drawing import dot_format

        return dot_format(self)

    def graph(self) -> Any:
        """Return a drawing as an object of the library graphviz, which a notebook shows."""
        from .drawing import graph

        return graph(self)

    def export_as_svgfile(self, filename: str | PathLike[str]) -> Path:
        """Write a drawing to the file `filename`, in SVG; return its path."""
        from .drawing import export_as_svgfile

        return export_as_svgfile(self, filename)

    def details(self) -> str | None:
        """Return how many jobs it holds."""
        return f"{len(self._jobs)} job{'s' * (len(self._jobs) != 1)}"


_place = attrgetter("_place")
_tick = Engine.tick  # as it is here: a test may put a spy in its place


def _refuse_running(engines: Iterable[Engine], what: str) -> None:
    """Raise AlreadyRunning, saying that `what` cannot be done, if one of `engines` is running."""
    for engine in engines:
        if engine._plan is not None:
            raise AlreadyRunning(f"engine {name_of(engine)} is running: cannot {what}", [engine])


def _refuse_spent(jobs: Iterable[AbstractJob]) -> None:
    """Refuse a job whose coroutine object has been used, at every depth."""
    for job in jobs:
        if job._once is not None and job.is_spent:
            raise UsedCoroutine(job)
    for job in jobs:
        if isinstance(job, Engine):
            _refuse_spent(job.jobs)


def _raise_first(*errors: BaseException | None) -> None:
    """Raise the first that is an error; nobody else may hold it, its traceback leads to us."""
    try:
        for error in errors:
            if error is not None:
                raise error
    finally:
        del error, errors


def _node_of(job: AbstractJob) -> Node:
    assert job._place is not None, "every job of a running engine has its place"
    return job._place
