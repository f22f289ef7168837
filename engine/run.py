"""Perform a plan: the one place that makes tasks for jobs and reads the clock.

A :class:`Run` is one run as the outside sees it, nested engines included: it numbers the events and
hands them to the readers.  A :class:`Conductor` performs the plan of one engine in it: it carries
out the plan's instructions and tells the plan what came of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from .current import current, said_by
from .errors import JobCancelled, Stuck, name_of, names_of
from .job import NOLABEL
from .loop import Interrupted, LeaveNow, interrupted_by
from .plan import Do, Instruction, Node, Plan, Stop
from .text import safe_error, safe_line
from .ticks import (
    JobAdded,
    JobOutput,
    JobProgress,
    JobReady,
    JobRow,
    JobState,
    JobStopping,
    Message,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    StopReason,
    Tick,
)
from .verdict import Verdict, counts_of, nodes_at_every_depth

if TYPE_CHECKING:
    from .engine import Engine
    from .job import AbstractJob

logger = logging.getLogger("engine")

_numbers = itertools.count(1)

_DRAIN_TURNS = 3
"""Turns of the loop between the end of the last job and the end of the forever ones."""

_START = Do.START


class Run:
    """One run: its events and their readers, and what concerns all engines in it."""

    def __init__(self, label: str, readers: list[Callable[[Tick], object]]) -> None:
        self.id = f"{os.getpid()}-{next(_numbers)}"
        self.label = label
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.tells = bool(readers)
        self.interruption: BaseException | None = None
        """A KeyboardInterrupt, SystemExit... raised by a job: it comes out after shutdown."""
        self.stuck: Stuck | None = None
        self.conductors: list[Conductor] = []
        """Those at work, the outermost first."""
        self._readers = readers
        self._failed_readers: set[int] = set()
        self._seq = 0
        self._telling = False

    def take_interruption(self) -> BaseException | None:
        """Return what a job raised to end the program, to be raised; it is not kept."""
        taken, self.interruption = self.interruption, None
        return taken

    def take_stuck(self) -> Stuck | None:
        """Return the error of a run that was stuck, to be raised; it is not kept."""
        taken, self.stuck = self.stuck, None
        return taken

    # -- events ------------------------------------------------------------------------------

    def tell(self, kind: Callable[..., Tick], *fields: Any) -> None:
        """Make an event and hand it to every reader; must be called in the loop's thread."""
        if not self.tells:
            return
        event = kind(self.id, self._seq, self.loop.time(), time.time(), *fields)
        self._seq += 1
        for reader in self._readers:
            try:
                reader(event)
            except Exception as error:  # a reader must never hurt the run
                self._reader_failed(reader, error)

    def _reader_failed(self, reader: Callable[[Tick], object], error: Exception) -> None:
        if id(reader) in self._failed_readers:
            return
        self._failed_readers.add(id(reader))
        if isinstance(error, asyncio.QueueFull | queue.Full):
            self.log(logging.WARNING, "the message queue is full: events are lost to its reader")
        else:
            text = f"a reader of events failed, the run goes on: {safe_error(error)}"
            self.log(logging.WARNING, text)

    def in_loop(self, call: Callable[..., None], *args: Any) -> None:
        """Call in the loop's thread: now if this is it, else as soon as it turns."""
        if threading.get_ident() == self.thread:
            call(*args)
        else:
            try:
                self.loop.call_soon_threadsafe(call, *args)
            except RuntimeError:  # a thread that has outlived the loop
                return

    def log(self, level: int, text: str) -> None:
        """Log a line, and tell it to the readers."""
        text = safe_line(text)
        logger.log(level, "%s", text)
        self.tell(Message, logging.getLevelName(level), logger.name, text)

    def started(self, plan: Plan, window: int | None, timeout: float | None) -> None:
        """Tell that the run begins."""
        if self.tells:
            rows = tuple(rows_of(plan))
            self.tell(RunStarted, safe_line(self.label), rows, window, timeout)

    def ended(self, plan: Plan, verdict: Verdict, duration: float) -> None:
        """Tell that the run is over."""
        if self.tells:
            self.tell(RunEnded, verdict.ok, safe_line(verdict.why), counts_of(plan), duration)

    # -- progress ----------------------------------------------------------------------------

    def check_progress(self) -> None:
        """End the run if nothing can ever happen in it any more.

        Called when an engine has nothing at work.  What may still happen: an engine that works, one
        that begins or ends, a forever job that is to become ready, a pool that another run uses.
        """
        plans = [conductor.plan for conductor in self.conductors]
        if any(plan.is_busy or plan.waiting_for_ready() for plan in plans):
            return
        running = [n for plan in plans for n in plan.nodes if n.state is State.RUNNING]
        inner = [node.inner for node in running if node.inner is not None]
        if any(not plan.has_begun or plan.is_over for plan in inner):
            return
        waiting = [node for plan in plans for node in plan.waiting_for_pool()]
        ours = set(plans)
        for node in waiting:
            holders = [holder for holder in node.job.pool.holders if isinstance(holder, Node)]
            if any(holder.plan not in ours for holder in holders):
                return
        self.stuck = _stuck(waiting, plans)
        self.log(logging.ERROR, str(self.stuck))
        first = self.conductors[0]
        first.stop(StopReason.CRITICAL_FAILURE, "the run was stuck")


def _stuck(waiting: list[Node], plans: list[Plan]) -> Stuck:
    held = []
    for pool in dict.fromkeys(node.job.pool for node in waiting):
        holders = names_of(h.job for h in pool.holders if isinstance(h, Node) and h.job)
        jobs = names_of(node.job for node in waiting if node.job.pool is pool)
        held.append(f"{jobs} wait for a slot of {pool!r}, held by {holders}")
    concerned = [node.job for node in waiting] or [
        node.job for plan in plans for node in plan.nodes if not node.state.is_over
    ]
    why = "; ".join(held) or f"{names_of(concerned)} can never start"
    return Stuck(f"no progress is possible any more: {why}", concerned)


class Conductor:
    """Perform the plan of one engine."""

    def __init__(self, run: Run, engine: Engine, plan: Plan) -> None:
        self.run = run
        self.engine = engine
        self.plan = plan
        self.loop = run.loop
        self.signal: int | None = None
        self.cancelled: asyncio.CancelledError | None = None
        self.timeout: float | None = None
        self._deadline: float | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._wake: asyncio.Future[None] | None = None
        self._bug: BaseException | None = None
        self._paused: dict[Node, asyncio.Future[None]] = {}
        self._stopped: list[Node] = []
        """Those that were just asked to stop, to be given the same grace."""
        # The tasks of all jobs begin in this context, not in that of the job that released them.
        self._context = contextvars.copy_context()
        plan.performer = self

    async def conduct(self, timeout: float | None) -> None:
        """Perform the plan until it is over; cancelled from outside, it cancels all and goes on.

        That cancellation is kept in `cancelled`, for the caller to raise once all is done.
        """
        self.run.conductors.append(self)
        now = self.loop.time()
        if timeout is not None:
            self.timeout = timeout
            self._deadline = now + timeout
            self._timers.append(self.loop.call_at(self._deadline, self._timed_out))
        try:
            self._perform(self.plan.begin(now))
            while not self.plan.is_over:
                self._wake = self.loop.create_future()
                try:
                    await self._wake
                except asyncio.CancelledError as error:
                    self._cancelled_from_outside(error)
            if self._bug is not None:
                raise self._bug
        finally:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
            self.run.conductors.remove(self)

    def take_cancelled(self) -> asyncio.CancelledError | None:
        """Return the cancellation that came from outside, to be raised; it is not kept."""
        taken, self.cancelled = self.cancelled, None
        return taken

    def keep_cancelled(self, error: asyncio.CancelledError) -> int | None:
        """Keep a cancellation that came from outside; return the signal behind it, if any."""
        if self.cancelled is None:
            self.cancelled = error
        self.signal = self.signal or interrupted_by(error)
        return self.signal

    def _cancelled_from_outside(self, error: asyncio.CancelledError) -> None:
        signum = self.keep_cancelled(error)
        if signum is not None:
            self.stop(StopReason.SIGNAL, f"interrupted by {Interrupted(signum)}")
        else:
            self.stop(StopReason.CANCELLED, "the run was cancelled")

    # -- from outside, and from jobs ---------------------------------------------------------

    def stop(self, reason: StopReason, text: str) -> None:
        """Stop this engine."""
        self._perform(self.plan.stop(reason, text, self.loop.time()))

    def cancel(self, node: Node, reason: str) -> None:
        """Cancel one job, of this engine or of one inside it that has not begun."""
        if node.plan is not None:
            self._perform(node.plan.cancel(node, reason, self.loop.time()))

    def ready(self, node: Node) -> None:
        """A job has called `ready()`."""
        self.run.in_loop(self._ready, node)

    def _ready(self, node: Node) -> None:
        self._perform(self.plan.ready(node, self.loop.time()))

    def progress(self, node: Node, *fields: Any) -> None:
        """A job has called `report()`."""
        self.run.in_loop(self.run.tell, JobProgress, node.id, *fields)

    def output(self, node: Node, stream: str, lines: list[str]) -> None:
        """A job has called `output()`."""
        self.run.in_loop(self._output, node.id, stream, lines)

    def _output(self, job: str, stream: str, lines: list[str]) -> None:
        for line in lines:
            self.run.tell(JobOutput, job, stream, line)

    def added(self, node: Node, instructions: Iterable[Instruction]) -> None:
        """A job was added while running; `instructions` come from linking it."""
        if self.run.tells:
            parent = next((n.id for n in self._outer_nodes() if n.inner is self.plan), None)
            for row in _rows([node], parent):
                self.run.tell(JobAdded, row)
        self._perform(list(instructions))
        self._perform(self.plan.add(node, self.loop.time()))

    def forsake(self) -> None:
        """The loop has stopped for good: settle all that was going on without it."""
        now, text = self.loop.time(), "left at once by a second Ctrl-C"
        for node in nodes_at_every_depth(self.plan):
            handle, node.handle = node.handle, None
            if isinstance(handle, _Attempt) and handle.task.done() and not handle.task.cancelled():
                handle.task.exception()  # else asyncio complains that nobody looked at it
            if not node.state.is_over:
                old, node.state = node.state, State.CANCELLED if node.attempt else State.SKIPPED
                node.reason, node.ended_at = text, now
                self.run.tell(JobState, node.id, old, node.state, text, max(node.attempt, 1))
        for timer in self._timers:
            timer.cancel()

    def relinked(self, instructions: list[Instruction]) -> None:
        """The requirements of a job that has not started have changed."""
        self._perform(instructions)

    def _outer_nodes(self) -> Iterable[Node]:
        return nodes_at_every_depth(self.run.conductors[0].plan)

    def poke(self) -> None:
        """A pool has a free slot; called by whoever gave it back, from any thread."""
        self.run.in_loop(self._poked)

    def _poked(self) -> None:
        if not self.plan.is_over:
            self._perform(self.plan.dispatch())

    # -- instructions ------------------------------------------------------------------------

    def _perform(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            do = instruction[0]
            if do is _START:
                self._start(instruction[1])
            else:
                _HOW[do](self, *instruction[1:])
        if self._stopped:
            self._give_grace()
        plan = self.plan
        if plan.alive == plan.passive and not plan.is_busy:
            # Not now: other instructions may be on their way.
            self.loop.call_soon(self._check_progress)

    def _tell_ready(self, node: Node) -> None:
        self.run.tell(JobReady, node.id)

    def _tell_stopping(self, reason: StopReason) -> None:
        if self.run.conductors[:1] == [self]:
            self.run.tell(RunStopping, reason)

    def _wake_up(self, wake: Callable[[], None]) -> None:
        wake()

    def _more(self) -> None:
        self.loop.call_soon(self._poked)

    def _check_progress(self) -> None:
        if not self.plan.is_busy and self.run.stuck is None:
            self.run.check_progress()

    def _over(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _tell(self, node: Node, old: State, new: State, reason: str, *attempt: Any) -> None:
        number, retry_in = attempt
        most = _attempts(node.job.retry)
        self.run.tell(JobState, node.id, old, new, safe_line(reason), number, most, retry_in)

    def _drain(self, turns: int = _DRAIN_TURNS) -> None:
        """Let the loop turn, so that a bus gets its last message out."""
        if turns:
            self.loop.call_soon(self._drain, turns - 1)
        else:
            self._perform(self.plan.drained(self.loop.time()))

    def _start(self, node: Node) -> None:
        paused = self._paused.get(node)
        if paused is not None:  # its next attempt
            if not paused.done():
                paused.set_result(None)
            return
        if node.started_at is None:
            node.started_at = self.loop.time()
        job = node.job
        node.handle = _Attempt(
            self.loop.create_task(
                self._live(node), name=job.label or NOLABEL, context=self._context.copy()
            )
        )

    def _stop(self, node: Node, reason: str) -> None:
        handle: _Attempt = node.handle
        self._stopped.append(node)
        if node.state is State.RUNNING:  # not while it waits for its next attempt
            self.run.tell(JobStopping, node.id, safe_line(reason))
        if not handle.has_begun:
            # A task that is cancelled before its first step never enters its coroutine.
            handle.task.add_done_callback(partial(self._never_begun, node))
        handle.task.cancel()

    def _never_begun(self, node: Node, task: asyncio.Task[None]) -> None:
        if not node.state.is_over:
            reason = node.stop[1] if node.stop is not None else "cancelled"
            if node.inner is not None:
                self._perform(node.inner.forgo(reason, self.loop.time()))
            self._settle(node, State.CANCELLED, reason)

    def _give_grace(self) -> None:
        """Abandon those just stopped that will not have ended by themselves in time."""
        bounds: dict[float, list[Node]] = {}
        for node in self._stopped:
            bounds.setdefault(self.engine.grace_for(node.job), []).append(node)
        self._stopped.clear()
        for grace, nodes in bounds.items():
            self._timers.append(self.loop.call_later(grace, self._abandon, nodes))

    def _abandon(self, nodes: list[Node]) -> None:
        for node in nodes:
            if node.is_alive and node.stop is not None:
                node.is_abandoned = True
                reason = (
                    f"abandoned, it may still run: it swallowed its cancellation ({node.stop[1]})"
                )
                self.run.log(logging.WARNING, f"{name_of(node.job)} {reason}")
                self._settle(node, State.CANCELLED, reason)

    def _timed_out(self) -> None:
        if self.plan.stopping is None:
            self.stop(StopReason.TIMEOUT, f"the run took more than its {self.timeout:g}s")

    # -- one job -----------------------------------------------------------------------------

    async def _live(self, node: Node) -> None:
        """The whole life of a started job, as its task."""
        current.set(node)
        node.handle.has_begun = True
        job = node.job
        try:
            if job.timeout is None and job.retry is None:
                result = await job.corun()
            else:
                result = await self._try(node)
        except LeaveNow:
            raise
        except BaseException as error:
            if node.state.is_over:  # it was abandoned: too late to be told but in the log
                if isinstance(error, Exception):
                    late = f"{name_of(job)}, abandoned, failed later: {safe_error(error)}"
                    logger.warning("%s", late)
            elif isinstance(error, asyncio.CancelledError):
                self._ended_cancelled(node, error)
            else:
                self._ended_badly(node, error)
        else:
            if node.stop is not None:
                self._settle(node, State.CANCELLED, node.stop[1])
            else:
                node.result = result
                self._settle(node, State.FINISHED, "")

    def _ended_cancelled(self, node: Node, error: asyncio.CancelledError) -> None:
        _without_our_frame(error)
        if node.stop is None:
            # It does not hold the job, which holds it: no cycle.
            name = name_of(node.job)
            failure = JobCancelled(f"job {name} raised a CancelledError that nobody asked for")
            failure.__cause__ = error
            self._fail(node, failure)
            return
        reason, said = node.stop[1], said_by(error)
        if node.stop[0] is Stop.HAND:
            node.exception = error
        self._settle(node, State.CANCELLED, f"{reason}; {said}" if said else reason)

    def _ended_badly(self, node: Node, error: BaseException) -> None:
        _without_our_frame(error)
        name = name_of(node.job)
        self._fail(node, error)
        if not isinstance(error, Exception):
            # KeyboardInterrupt, SystemExit and their like end the run and come out of it at last.
            self.run.interruption = self.run.interruption or error
            self.run.conductors[0].stop(StopReason.CRITICAL_FAILURE, f"{name} failed")

    def _fail(self, node: Node, error: BaseException) -> None:
        node.exception = error
        level = logging.ERROR if node.job.critical else logging.WARNING
        self.run.log(level, f"{name_of(node.job)} failed: {safe_error(error)}")
        self._settle(node, State.FAILED, safe_error(error))

    def _settle(self, node: Node, new: State, reason: str) -> None:
        if node.state.is_over:  # it was abandoned, and has ended after all
            return
        now = self.loop.time()
        node.handle = None
        try:
            self._perform(self.plan.settle(node, new, now, reason))
        except Exception as bug:  # ours: better a run that fails than one that hangs
            self._bug = bug
            if self._wake is not None and not self._wake.done():
                self._wake.set_exception(bug)
        if self._deadline is not None and now >= self._deadline:
            # However many callbacks the loop has to go through before it looks at its timers.
            self._timed_out()

    # -- attempts ----------------------------------------------------------------------------

    async def _try(self, node: Node) -> Any:
        """Make as many attempts as `retry` says."""
        retry = node.job.retry
        errors: list[Exception] = []

        async def attempt() -> Any:
            try:
                return await self._attempt(node)
            except Exception as error:
                errors[:] = [error]
                raise

        async def pause(delay: float) -> None:
            if self.plan.stopping is not None or node.stop is not None:
                raise errors[0]  # there will be no other attempt
            await self._pause(node, float(delay), safe_error(errors[0]) if errors else "")

        if retry is None:
            return await attempt()
        if isinstance(retry, int):
            for _ in range(retry):
                try:
                    return await attempt()
                except Exception:
                    await pause(0)
            return await attempt()
        # A copy, as it keeps state; its own sleep would keep the slots of the job meanwhile.
        return await retry.copy(sleep=pause, reraise=True)(attempt)

    async def _attempt(self, node: Node) -> Any:
        """Make one attempt, bounded by the timeout of the job."""
        job = node.job
        if job.timeout is None or node.inner is not None:
            return await job.corun()
        handle: _Attempt = node.handle
        handle.timers.append(self.loop.call_later(job.timeout, self._attempt_timed_out, node))
        result, is_late = None, False
        try:
            result = await job.corun()
        except asyncio.CancelledError:
            if not self._was_timeout(node):
                raise
        finally:
            for timer in handle.timers:
                timer.cancel()
            handle.timers.clear()
            if self._was_timeout(node):  # also if it caught the cancellation and went on
                is_late, node.stop = True, None
                handle.task.uncancel()
        if is_late:
            raise TimeoutError(f"it took more than its {job.timeout:g}s")
        return result

    def _was_timeout(self, node: Node) -> bool:
        return node.stop is not None and node.stop[0] is Stop.TIMEOUT

    def _attempt_timed_out(self, node: Node) -> None:
        if node.stop is not None or not node.is_alive:
            return
        reason = f"it took more than its {node.job.timeout:g}s"
        node.stop = (Stop.TIMEOUT, reason)
        grace = self.engine.grace_for(node.job)
        node.handle.timers.append(self.loop.call_later(grace, self._abandon, [node]))
        self.run.tell(JobStopping, node.id, reason)
        node.handle.task.cancel()

    async def _pause(self, node: Node, delay: float, reason: str) -> None:
        """Give the slots back, wait `delay` seconds, then for slots again."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._paused[node] = future
        timer = None
        try:
            self._perform(self.plan.postpone(node, reason, delay))
            if delay:
                timer = self.loop.call_later(delay, self._due, node)
            await future
        finally:
            if timer is not None:
                timer.cancel()
            del self._paused[node]

    def _due(self, node: Node) -> None:
        self._perform(self.plan.due(node))


# Not kept in the conductor, where bound methods would make cycles.
_HOW: dict[Do, Callable[..., None]] = {
    Do.STOP: Conductor._stop,
    Do.TELL: Conductor._tell,
    Do.READY: Conductor._tell_ready,
    Do.STOPPING: Conductor._tell_stopping,
    Do.DRAIN: Conductor._drain,
    Do.MORE: Conductor._more,
    Do.WAKE: Conductor._wake_up,
    Do.OVER: Conductor._over,
}


class _Attempt:
    """What the conductor keeps of a job that is alive."""

    __slots__ = ("has_begun", "task", "timers")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.has_begun = False
        self.timers: list[asyncio.TimerHandle] = []


def _without_our_frame(error: BaseException) -> None:
    """Drop the frame of `_live` from the traceback: it says nothing, and would make a cycle."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next


def _attempts(retry: Any) -> int | None:
    """Return how many attempts `retry` allows at most, None if it cannot be known."""
    if retry is None:
        return 1
    if isinstance(retry, int):
        return retry + 1
    most = getattr(getattr(retry, "stop", None), "max_attempt_number", None)
    return most if isinstance(most, int) else None


# -- rows ------------------------------------------------------------------------------------


def rows_of(plan: Plan, parent: str | None = None) -> list[JobRow]:
    """Return the rows of a whole plan, having given each node its id.

    `parent` is the id of the nested engine that it is the plan of, None for the outermost.
    """
    return list(_rows(plan.nodes, parent))


def _rows(nodes: Iterable[Node], parent: str | None) -> Iterable[JobRow]:
    nodes = list(nodes)
    prefix = "" if parent is None else f"{parent}."
    for node in nodes:
        node.id = f"{prefix}{node.order + 1}"
    for node in nodes:
        yield _row(node, parent)
        if node.inner is not None:
            yield from _rows(node.inner.nodes, node.id)


def _row(node: Node, parent: str | None) -> JobRow:
    job = node.job
    host = getattr(job, "host", None)
    pool = job.pool
    return JobRow(
        id=node.id,
        label=_label(job),
        kind=type(job).__name__,
        engine=parent,
        forever=bool(job.forever),
        critical=bool(job.critical),
        requires=_ids(job.required),
        after=_ids(job.awaited),
        window=getattr(job, "jobs_window", None),
        pool=None if pool is None else safe_line(pool.label or "pool", 80),
        host=None if host is None else safe_line(host, 80),
    )


def _ids(jobs: Iterable[AbstractJob]) -> tuple[str, ...]:
    nodes = sorted((job._place for job in jobs if job._place), key=lambda node: node.order)
    return tuple(node.id for node in nodes)


def _label(job: AbstractJob) -> str:
    try:
        return safe_line(job.text_label())
    except Exception as error:  # a hook of the user
        return safe_line(f"{name_of(job)} ({type(error).__name__} in text_label)")
