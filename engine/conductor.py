"""Perform a plan: the one place that makes tasks for jobs and reads the clock for them.

A :class:`Conductor` carries out the instructions of the plan of one engine, and tells the plan what
came of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .attempts import Attempts
from .coroutines import has_begun
from .current import current, said_by
from .errors import JobCancelled, name_of
from .job import NOLABEL
from .loop import Interrupted, LeaveNow, interrupted_by
from .node import Node, Stop
from .plan import Do, Instruction, Plan
from .rows import rows
from .run import Run, logger
from .text import safe_error, safe_line
from .ticks import (
    JobOutput,
    JobReady,
    JobRow,
    JobStopping,
    RunStopping,
    State,
    StopReason,
)
from .verdict import WAS_CANCELLED

if TYPE_CHECKING:
    from .engine import Engine

_DRAIN_TURNS = 3
"""Turns of the loop between the end of the last job and the end of the forever ones."""

_LAST_TURNS = 10
"""Turns of the loop that a job has to end once its grace is over."""

_FINISHED, _TELL = State.FINISHED, Do.TELL  # looked up for every job


class JobTask(asyncio.Task[None]):
    """The task of a job.

    A task that is cancelled before its first step never enters its coroutine, which can then tell
    nobody that the job is over; so `cancel` sees to that, whoever calls it.
    """

    __slots__ = ("node", "timers")

    node: Node
    """The place of its job."""
    timers: list[asyncio.TimerHandle]
    """Those of the attempt that is being made."""
    _log_destroy_pending: bool

    def give_up(self) -> None:
        """Let it be pending for ever: that has been told, and asyncio need not tell it again."""
        self._log_destroy_pending = False

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the task, see `asyncio.Task.cancel`."""
        if not self.has_begun:
            self.add_done_callback(_lost)
        return super().cancel(msg)

    @property
    def has_begun(self) -> bool:
        """True once its coroutine has been entered."""
        coroutine: Any = self.get_coro()
        return coroutine is None or has_begun(coroutine)


def _lost(task: asyncio.Task[None]) -> None:
    """A task has ended that was cancelled; it may never have begun."""
    if isinstance(task, JobTask):
        node = task.node
        if node.plan is not None and not node.state.is_over:
            node.plan.performer.lost(node)


class Conductor:
    """Perform the plan of one engine."""

    def __init__(self, run: Run, engine: Engine, plan: Plan) -> None:
        self.run = run
        self.engine = engine
        self.plan = plan
        self.loop = run.loop
        self._time = run.loop.time
        self.signal: int | None = None
        """The number of the signal that has stopped it, if one has."""
        self.cancelled: asyncio.CancelledError | None = None
        """The cancellation that came from outside, if one has."""
        self._timeout: float | None = None
        self._deadline: float | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        """How often its task had been cancelled before it was given to this."""
        self._paused: dict[Node, asyncio.Future[None]] = {}
        self._due_later: set[Node] = set()
        self._to_do: list[Instruction] | None = None
        """What is being carried out, if anything is."""
        self._now = 0.0
        """When what is being carried out has come about."""
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
        self._task = asyncio.current_task()
        self._cancelled_before = 0 if self._task is None else self._task.cancelling()
        now = self.loop.time()
        if timeout is not None:
            self._timeout = timeout
            self._deadline = now + timeout
            self._timers.append(self.loop.call_at(self._deadline, self._timed_out))
        try:
            self.perform(self.plan.begin(now))
            while not self.plan.is_over:
                self._wake = self.loop.create_future()
                try:
                    await self._wake
                except asyncio.CancelledError as error:
                    self._cancelled_from_outside(error)
        finally:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
            self._task = None
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
            self.stop(StopReason.CANCELLED, WAS_CANCELLED)

    def _is_being_cancelled(self) -> bool:
        """Tell whether it was cancelled from outside and is about to learn so."""
        task = self._task
        return task is not None and task.cancelling() > self._cancelled_before

    # -- from outside, and from jobs ---------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """True if progress is sure to come."""
        return self.plan.is_busy or bool(self._due_later)

    def stop(self, reason: StopReason, text: str) -> None:
        """Stop this engine."""
        self.perform(self.plan.stop(reason, text, self.loop.time()))

    def cancel(self, node: Node, reason: str) -> None:
        """Cancel one job, of this engine or of one inside it that has not begun."""
        if node.plan is not None:
            self.perform(node.plan.cancel(node, reason, self.loop.time()))

    def ready(self, node: Node) -> None:
        """A job has called `ready()`."""
        self.run.in_loop(self._ready, node)

    def _ready(self, node: Node) -> None:
        self.perform(self.plan.ready(node, self.loop.time()))

    def progress(self, node: Node, *fields: Any) -> None:
        """A job has called `report()`."""
        self.run.in_loop(self.run.report, node.id, *fields)

    def output(self, node: Node, stream: str, lines: list[str]) -> None:
        """A job has called `output()`."""
        self.run.in_loop(self._output, node.id, stream, lines)

    def _output(self, job: str, stream: str, lines: list[str]) -> None:
        for line in lines:
            self.run.tell(JobOutput, job, stream, line)

    def added(
        self, nodes: list[Node], parent: str | None, first: int, then: list[Instruction]
    ) -> None:
        """Tell of jobs that were added while running, then perform what comes of it.

        For the other arguments see :func:`engine.rows.rows`.  The ids are given out at once: a
        reader that is called meanwhile may add more.
        """
        told = [(Do.ADDED, list(rows(nodes, parent, first)))] if self.run.tells else []
        self.perform([*told, *then])

    def forsake(self, reason: str) -> None:
        """The loop has stopped for good: settle all that was going on without it."""
        for timer in self._timers:
            timer.cancel()
        for node in self.plan.nodes_at_every_depth():
            self._forsake(node)
        is_news = self.plan.stopping is None
        # All are over before anything is told, as who is told may ask for more.
        instructions = self.plan.forsake(reason, self.loop.time())
        if is_news:
            self.run.tell(RunStopping, StopReason.SIGNAL)
        self._to_do, self._stopped = None, []  # of what was left in its middle
        self.perform(instructions)

    def _forsake(self, node: Node) -> None:
        """The task of `node` is not to begin any more, and nothing to complain that it was not."""
        task, node.handle = node.handle, None
        if task is None or task.has_begun:
            return
        if self.loop.is_running():  # in a helper thread, which may be about to begin it
            task.cancel()
        else:
            task.get_coro().close()  # else Python says that it was never awaited

    def poke(self) -> None:
        """A pool has a free slot; called by whoever gave it back, from any thread."""
        self.run.in_loop(self._poked)

    def _poked(self) -> None:
        if not self.plan.is_over:
            self.perform(self.plan.dispatch())

    # -- instructions ------------------------------------------------------------------------

    def perform(self, instructions: list[Instruction], now: float | None = None) -> None:
        """Carry out `instructions`, after those that are being carried out already.

        A reader of events may call back, and cancel a job whose start is still on the list.
        """
        self._now = now = self._time() if now is None else now
        if self.run.tells:
            self.run.set_time(now)
        if self._to_do is not None:
            self._to_do.extend(instructions)
            return
        self._to_do = instructions
        for instruction in instructions:  # it may grow meanwhile
            try:
                if isinstance(instruction, Node):
                    self._start(instruction)
                elif instruction[0] is _TELL:
                    self.run.tell_state(instruction)
                else:
                    _HOW[instruction[0]](self, *instruction[1:])
            except LeaveNow:
                raise
            except BaseException as error:
                # Of a reader that ends the program, or ours: the rest is to be done all the same.
                self._failed(error)
        self._to_do = None
        if self._stopped:
            self._give_grace()
        plan = self.plan
        if plan.alive == plan.passive and not self.is_busy:
            # Not now: other instructions may be on their way.
            self.loop.call_soon(self._check_progress)

    def _failed(self, error: BaseException) -> None:
        """What performs a run has failed: better a run that ends than one that hangs."""
        self.run.interrupt(error)
        self.loop.call_soon(self.stop, StopReason.CANCELLED, safe_error(error))

    def _check_progress(self) -> None:
        if not self.is_busy and self.run.stuck is None:
            self.run.check_progress()

    def _tell_ready(self, node: Node) -> None:
        self.run.tell(JobReady, node.id)

    def _tell_added(self, added: list[JobRow]) -> None:
        self.run.tell_added(added)

    def _tell_stopping(self, reason: StopReason) -> None:
        if self.run.conductors[:1] == [self]:
            self.run.tell(RunStopping, reason)

    def _drain(self, turns: int = _DRAIN_TURNS) -> None:
        """Let the loop turn, so that a bus gets its last message out."""
        if turns:
            self.loop.call_soon(self._drain, turns - 1)
        else:
            self.perform(self.plan.drained(self.loop.time()))

    def _more(self) -> None:
        self.loop.call_soon(self._poked)

    def _wake_up(self, wake: Callable[[], None]) -> None:
        wake()

    def _over(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _start(self, node: Node) -> None:
        if node.attempt > 1:
            paused = self._paused.get(node)
            if paused is not None and not paused.done():
                paused.set_result(None)
            return
        node.started_at = self._now
        name, context = node.job.label or NOLABEL, self._context.copy()
        node.handle = task = JobTask(self._live(node), loop=self.loop, name=name, context=context)
        task.node = node

    def lost(self, node: Node) -> None:
        """The task of a job was cancelled before its first step."""
        if node.inner is not None:
            self.perform(node.inner.forgo("its engine never began", self.loop.time()))
        self._ended(node, name_of(node.job), asyncio.CancelledError())

    def _stop(self, node: Node, reason: str) -> None:
        self._stopped.append(node)
        if node.state is State.RUNNING:  # not while it waits for its next attempt
            self.run.tell(JobStopping, node.id, safe_line(reason))
        node.handle.cancel()

    def _give_grace(self) -> None:
        """Abandon those just stopped that will not have ended by themselves in time."""
        bounds: dict[float, list[Node]] = {}
        for node in self._stopped:
            bounds.setdefault(self.engine.grace_for(node.job), []).append(node)
        self._stopped.clear()
        for grace, nodes in bounds.items():
            self._timers.append(self.loop.call_later(grace, self.abandon, nodes))

    def abandon(self, nodes: list[Node]) -> None:
        """Give up those of `nodes` that were asked to stop and are still alive.

        Some turns of the loop are theirs before that, for those that end at this very instant; more
        for nested engines, which may be about to say which of their own jobs they give up.
        """
        self._abandon_after(_LAST_TURNS, [node for node in nodes if node.inner is None])
        self._abandon_after(5 * _LAST_TURNS, [node for node in nodes if node.inner is not None])

    def _abandon_after(self, turns: int, nodes: list[Node]) -> None:
        alive = [node for node in nodes if node.is_alive]
        if alive and turns:
            self.loop.call_soon(self._abandon_after, turns - 1, alive)
        else:
            for node in alive:
                self._abandon(node)

    def _abandon(self, node: Node) -> None:
        if node.plan is not None and node.is_alive and node.stop is not None:
            node.is_abandoned = True
            why = f"it swallowed its cancellation ({node.stop[1]})"
            reason = f"abandoned, it may still run: {why}"
            name = name_of(node.job)
            self.run.log(logging.WARNING, f"{name} {reason}", name)
            node.handle.give_up()
            self._settle(node, State.CANCELLED, reason)

    def _timed_out(self) -> None:
        plan = self.plan
        if plan.stopping is not None:
            return
        if plan.open or plan.is_endless:
            self.stop(StopReason.TIMEOUT, f"the run took more than its {self._timeout:g}s")
        else:  # all that is waited for is over; unless more comes in the moment for last messages
            self.loop.call_soon(self._timed_out)

    # -- one job -----------------------------------------------------------------------------

    async def _live(self, node: Node) -> None:
        """The whole life of a started job, as its task."""
        current.set(node)
        job = node.job
        try:
            if job.timeout is None and job.retry is None:
                result = await job.corun()
            else:
                result = await Attempts(self, node).make()
        except LeaveNow:
            raise
        except BaseException as error:
            self._raised(node, job, error)
            del self, node, job  # since Python 3.12 the error holds this frame: no cycle
        else:
            if node.rare is None or node.stop is None:
                node.result = result
                self._settle(node, _FINISHED, "")
            else:
                self._settle(node, State.CANCELLED, node.stop[1])

    def _raised(self, node: Node, job: Any, error: BaseException) -> None:
        """A job has raised `error`; whatever that does here, the job is settled."""
        try:
            self._ended(node, name_of(job), error)
        except LeaveNow:
            raise
        except BaseException as fault:  # of an exception that defends itself, say
            self._failed(fault)
            self._settle(node, State.FAILED, safe_error(error))

    def _ended(self, node: Node, name: str, error: BaseException) -> None:
        """A job has raised `error`."""
        if node.state.is_over:  # it was abandoned: too late to be told but in the log
            if isinstance(error, Exception):
                logger.warning("%s, abandoned, failed later: %s", name, safe_error(error))
            return
        node.exception = error
        node.traceback = _without_our_frames(error)
        if isinstance(error, asyncio.CancelledError):
            self._ended_cancelled(node, name, error)
        else:
            self._fail(node, name, error)
            if not isinstance(error, Exception):
                # KeyboardInterrupt, SystemExit and their like end the run, come out of it at last.
                self.run.interrupt(error)
                self.run.conductors[0].stop(StopReason.CRITICAL_FAILURE, f"{name} failed")

    def _ended_cancelled(self, node: Node, name: str, error: asyncio.CancelledError) -> None:
        if node.stop is None and self._is_being_cancelled():
            # With all other tasks of the loop, as at the end of asyncio.run, in whatever order.
            self.stop(StopReason.CANCELLED, WAS_CANCELLED)
        if node.stop is None and node.state is State.SCHEDULED:
            node.stop = (Stop.HAND, "its task was cancelled while it waited for its next attempt")
        if node.stop is None:
            # It does not hold the job, which holds it: no cycle.
            failure = JobCancelled(f"job {name} raised a CancelledError that nobody asked for")
            failure.__cause__ = error
            self._fail(node, name, failure)
            return
        reason, said = node.stop[1], said_by(error)
        if node.stop[0] is Stop.RUN and self.plan.stopping is not StopReason.CANCELLED:
            node.exception = None  # else it is the cause of what will explain the verdict
        self._settle(node, State.CANCELLED, f"{reason}; {said}" if said else reason)

    def _fail(self, node: Node, name: str, error: BaseException) -> None:
        node.exception = error
        told = safe_error(error)
        level = logging.ERROR if node.job.critical else logging.WARNING
        self.run.log(level, f"{name} failed: {told}", name)
        self._settle(node, State.FAILED, told)

    def _settle(self, node: Node, new: State, reason: str) -> None:
        if node.state.is_over:  # it was abandoned, and has ended after all
            return
        node.handle = None
        now, plan = self._time(), self.plan
        instructions = plan.settle(node, new, now, reason)
        if len(instructions) == 1 and isinstance(instructions[0], Node) and self._to_do is None:
            # As mostly: another job takes its place.  The same as `perform` would do.
            self._now = now
            try:
                self._start(instructions[0])
            except BaseException as error:
                self._failed(error)
        elif instructions or plan.alive == plan.passive:
            self.perform(instructions, now)
        if self._deadline is not None and now >= self._deadline:
            # However many callbacks the loop has to go through before it looks at its timers.
            self._timed_out()

    # -- between attempts --------------------------------------------------------------------

    async def pause(self, node: Node, delay: float, reason: str) -> None:
        """Have `node` give its slots back, wait `delay` seconds, then for slots again."""
        future = self._paused[node] = self.loop.create_future()
        timer = None
        try:
            self.perform(self.plan.postpone(node, reason, delay))
            if delay:
                self._due_later.add(node)
                timer = self.loop.call_later(delay, self._due, node)
            if future.done():
                await asyncio.sleep(0)  # a job that fails at once must not stop all others
            else:
                await future
        finally:
            if timer is not None:
                timer.cancel()
            self._due_later.discard(node)
            del self._paused[node]

    def _due(self, node: Node) -> None:
        self._due_later.discard(node)
        self.perform(self.plan.due(node))


# Not kept in the conductor, where bound methods would make cycles.
_HOW: dict[Do, Callable[..., None]] = {
    Do.STOP: Conductor._stop,
    Do.READY: Conductor._tell_ready,
    Do.STOPPING: Conductor._tell_stopping,
    Do.DRAIN: Conductor._drain,
    Do.MORE: Conductor._more,
    Do.WAKE: Conductor._wake_up,
    Do.OVER: Conductor._over,
    Do.ADDED: Conductor._tell_added,
}

_OURS = frozenset({__file__, Attempts.make.__code__.co_filename})


def _without_our_frames(error: BaseException) -> TracebackType | None:
    """Drop what comes before the job's own code from the traceback of `error`; return the rest.

    Our frames say nothing to the user, and through them the error would hold itself.
    """
    # Not by attributes of the exception, which may defend itself.
    kept: TracebackType | None = object.__getattribute__(error, "__traceback__")
    traceback = kept
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename in _OURS or code.co_qualname == "Engine.corun":
            kept = traceback.tb_next
        traceback = traceback.tb_next
    BaseException.with_traceback(error, kept)
    return kept
