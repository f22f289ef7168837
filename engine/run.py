"""One run as the outside sees it: its events and their readers, and whether it can still progress.

Nested engines are part of the run of the outermost one; each is performed by a
:class:`engine.conductor.Conductor` of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import logging
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .attempts import most_attempts
from .errors import Stuck, names_of
from .node import Node
from .plan import Plan
from .rows import rows_of
from .text import safe_error, safe_line
from .ticks import (
    JobAdded,
    JobProgress,
    JobRow,
    JobState,
    Message,
    RunEnded,
    RunStarted,
    State,
    StopReason,
    Tick,
    unfrozen,
)
from .verdict import Verdict, counts_of
from .watching import Take

if TYPE_CHECKING:
    from .conductor import Conductor

logger = logging.getLogger("engine")

_numbers = itertools.count(1)
_unfrozen: Callable[[Any], type[Any]] = functools.cache(unfrozen)
_state_to_be = _unfrozen(JobState)


class Run:
    """One run: its events and their readers, and what concerns all engines in it.

    Args:
        label: of the outermost engine.
        readers: called with each event.
        reports: called with each report, in place of the readers; see :mod:`engine.watching`.
    """

    def __init__(self, label: str, readers: list[Take], reports: list[Take]) -> None:
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
        self._context = contextvars.copy_context()
        self._readers = readers
        self._reports = reports
        self._failed_readers: set[int] = set()
        self._next = itertools.count().__next__
        """Return the number of the next event."""
        self._at = self._wall = 0.0
        self._untold: deque[Tick] = deque()
        self._is_telling = False
        self._has_ended = False

    def interrupt(self, error: BaseException) -> None:
        """Keep what is to come out of the run once all is shut down; the first one counts."""
        if self.interruption is None:
            self.interruption = error

    def take_interruption(self) -> BaseException | None:
        """Return what is to come out of the run, to be raised; it is not kept."""
        taken, self.interruption = self.interruption, None
        return taken

    def take_stuck(self) -> Stuck | None:
        """Return the error of a run that was stuck, to be raised; it is not kept."""
        taken, self.stuck = self.stuck, None
        return taken

    def in_loop(self, call: Callable[..., None], *args: Any) -> None:
        """Call in the loop's thread: now if this is it, else as soon as it turns."""
        if threading.get_ident() == self.thread:
            call(*args)
        else:
            self.from_other_thread(call, *args)

    def from_other_thread(self, call: Callable[..., None], *args: Any) -> None:
        """Have the loop call, and wake it."""
        with suppress(RuntimeError):  # a thread has outlived the loop
            self.loop.call_soon_threadsafe(call, *args)

    def in_loop_at_once(self, call: Callable[..., None], *args: Any) -> None:
        """Call in the loop's thread, which may be waiting: in a signal handler it is this one."""
        self.in_loop(call, *args)
        self.from_other_thread(_nothing)

    # -- events ------------------------------------------------------------------------------

    def tell(self, kind: type[Tick], *fields: Any) -> None:
        """Make an event and hand it to every reader; must be called in the loop's thread."""
        if self.tells and not self._has_ended:
            self.set_time(self.loop.time())
            event = _unfrozen(kind)(self.id, self._next(), self._at, self._wall, *fields)
            event.__class__ = kind
            self._hand_round(event)

    def report(self, job: str, *fields: Any) -> None:
        """Tell what a job has reported; must be called in the loop's thread."""
        if not self._reports:
            self.tell(JobProgress, job, *fields)
        elif not self._has_ended:
            for take in self._reports:
                try:
                    take(job, *fields)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # a reader must never hurt the run
                    self._reader_failed(take, error)

    def tell_added(self, rows: list[JobRow]) -> None:
        """Tell of jobs that were added together: of all before anything else about one of them."""
        if rows and not self._has_ended:
            self.set_time(self.loop.time())
            *first, last = (
                JobAdded(self.id, self._next(), self._at, self._wall, row) for row in rows
            )
            self._untold.extend(first)
            self._hand_round(last)

    def set_time(self, now: float) -> None:
        """Say what time it is, for those events that happen at one and the same time."""
        self._at, self._wall = now, time.time()

    def tell_state(self, instruction: tuple[Any, ...]) -> None:
        """Tell what the plan says with `Do.TELL`, as having happened when it was last said."""
        if self._has_ended:
            return
        _, node, old, new, reason, attempt, retry_in = instruction
        retry = node.job.retry
        event: Tick = _state_to_be(
            self.id,
            self._next(),
            self._at,
            self._wall,
            node.id,
            old,
            new,
            reason and safe_line(reason),
            attempt,
            1 if retry is None else most_attempts(retry),
            retry_in,
        )
        event.__class__ = JobState
        self._hand_round(event)

    def _hand_round(self, event: Tick) -> None:
        if self._is_telling or self._untold:
            # A reader has caused this event: all get the one before it first.
            self._untold.append(event)
            if self._is_telling:
                return
            event = self._untold.popleft()
        self._is_telling = True
        try:
            while True:
                for reader in self._readers:
                    try:
                        reader(event)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:  # a reader must never hurt the run
                        self._reader_failed(reader, error)
                if not self._untold:
                    break
                event = self._untold.popleft()
        finally:
            self._is_telling = False

    def _reader_failed(self, reader: Take, error: BaseException) -> None:
        if id(reader) in self._failed_readers:
            return
        self._failed_readers.add(id(reader))
        if isinstance(error, asyncio.QueueFull | queue.Full):
            self.log(logging.WARNING, "the message queue is full: events are lost to its reader")
        else:
            text = f"a reader of events failed, the run goes on: {safe_error(error)}"
            self.log(logging.WARNING, text)

    def log(self, level: int, text: str, job: str | None = None) -> None:
        """Log a line, and tell it to the readers.

        If it is about a job, the log record has its name as the attribute `job`.
        """
        text = safe_line(text)
        extra = None if job is None else {"job": job}
        # Not in the context of a job: a handler that prints would print in its name.
        with suppress(Exception):  # a handler that raises must not be what keeps a job unsettled
            self._context.copy().run(logger.log, level, "%s", text, extra=extra)
        self.tell(Message, logging.getLevelName(level), logger.name, text)

    def started(self, plan: Plan, window: int | None, timeout: float | None) -> None:
        """Tell that the run begins."""
        if self.tells:
            bound = None if timeout is None or math.isinf(timeout) else timeout
            self.tell(RunStarted, safe_line(self.label), tuple(rows_of(plan)), window, bound)

    def ended(self, plan: Plan, verdict: Verdict, duration: float) -> None:
        """Tell that the run is over; nothing is told after that."""
        self._has_ended = True
        if self.tells:
            why = safe_line(verdict.why)
            self.set_time(self.loop.time())
            ended = verdict.ok, why, counts_of(plan), duration
            self._hand_round(RunEnded(self.id, self._next(), self._at, self._wall, *ended))

    # -- progress ----------------------------------------------------------------------------

    def check_progress(self) -> None:
        """End the run if nothing can ever happen in it any more.

        Called when an engine has nothing at work.  What may still happen: an engine that works, one
        that begins or ends, an attempt that is due later, a forever job that is to become ready, a
        pool whose slots others hold.
        """
        plans = [conductor.plan for conductor in self.conductors]
        if any(conductor.is_busy for conductor in self.conductors):
            return
        if any(plan.waiting_for_ready() for plan in plans):
            return
        running = [n for plan in plans for n in plan.nodes if n.state is State.RUNNING]
        inner = [node.inner for node in running if node.inner is not None]
        if any(not plan.has_begun or plan.is_over for plan in inner):
            return
        waiting = [node for plan in plans for node in plan.waiting_for_pool()]
        ours = set(plans)
        for node in waiting:
            for holder in node.job.pool.holders:
                if not isinstance(holder, Node) or holder.plan not in ours:
                    return
        self.stuck = _stuck(waiting, plans)
        self.log(logging.ERROR, str(self.stuck))
        self.conductors[0].stop(StopReason.CRITICAL_FAILURE, "the run was stuck")


def _nothing() -> None:
    """Be called: to wake a loop is all that this is for."""


def _stuck(waiting: list[Node], plans: list[Plan]) -> Stuck:
    """Return the error that names who waits for what, and who holds it."""
    held = []
    for pool in dict.fromkeys(node.job.pool for node in waiting):
        holders = names_of(h.job for h in pool.holders if isinstance(h, Node))
        jobs = [node.job for node in waiting if node.job.pool is pool]
        wait = "waits" if len(jobs) == 1 else "wait"
        held.append(f"{names_of(jobs)} {wait} for a slot of {pool!r}, held by {holders}")
    concerned = [node.job for node in waiting] or [
        node.job for plan in plans for node in plan.nodes if not node.state.is_over
    ]
    why = "; ".join(held) or f"{names_of(concerned)} can never start"
    return Stuck(f"no progress is possible any more: {why}", concerned)
