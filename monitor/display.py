"""A run on show: a thread that takes what the run tells and has a face show it.

The engine's loop only puts events into a queue; everything else happens in this thread, so a run
is drawn even while one of its jobs blocks the loop, and is not slowed when drawing is slow.  What
goes wrong in here is told and never reaches the run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from engine import RunStarted, Tick

from .queue import CoalescingQueue
from .wake import CatchUp, Wake
from .writer import block_signals

_LOG = logging.getLogger(__name__)

PERIOD = 0.15
"""Seconds between two looks at the queue, at least."""

CATCH_UP = 0.05
"""Seconds that a print waits, at most, until what happened before it is told."""

LONGEST = 0.5
"""Seconds between two looks at the queue, at most."""

CLOSING = 0.3
"""Seconds that the thread is given at the end to give back the terminal."""

CATCHING_UP = 10.0
"""Seconds that it is then given to take in the rest of a run that has ended."""


class Face(Protocol):
    """One way to show a run.

    `begin`, `rescue` and `end` are called by the thread that runs the run, all else by the thread
    of the display.
    """

    share: float
    """The part of the time that it may take: what costs more comes less often."""

    def begin(self, wake: Wake, catch_up: CatchUp, queue: CoalescingQueue) -> None:
        """Begin: the run has just started.

        Args:
            wake: ends the `wait` that goes on.
            catch_up: who is about to print may call it first.
            queue: keeps the reports of jobs that do not come as events.
        """

    def wait(self, timeout: float) -> None:
        """Wait for `wake`, or for what else concerns the face, at most `timeout` seconds."""

    @property
    def busy(self) -> bool:
        """It can show no more just now: what happens is to wait, and be thinned, in the queue."""

    def apply(self, event: Tick) -> None:
        """Take one event of the run."""

    def refresh(self) -> None:
        """Show what there is to show now; called after each batch of events, and each `wait`."""

    def fail(self, error: Exception) -> None:
        """Go on in a simpler way, as one of these methods has failed; may raise if it is simple."""

    def close(self) -> None:
        """Give back the terminal."""

    def rescue(self) -> None:
        """Give it back at once, as the thread does not get to it."""

    def end(self, *, complete: bool) -> None:
        """Say the last, and let go of everything.

        Args:
            complete: the thread has ended, having taken all events there were.
        """


class Display:
    """Shows one run, from its RunStarted until `close`; a reader for ticks.

    Args:
        face: makes what shows it, once it starts.
        is_lost: tells, in any thread, that the run was left in its middle and cannot go on: then
            the terminal is given back, even if it is long until `close`.
        only_events: the face wants each report as an event.
    """

    put_progress: Callable[..., None]
    """Take a report of a job, not made into an event; only there if such reports are wanted."""

    def __init__(
        self,
        face: Callable[[], Face],
        *,
        is_lost: Callable[[], bool] = lambda: False,
        only_events: bool = False,
    ) -> None:
        self._make_face = face
        self._is_lost = is_lost
        self._queue = CoalescingQueue()
        if not only_events:
            self.put_progress = self._queue.put_progress
        self._show: _Show | None = None
        self.put_nowait: Callable[[Tick], None] = self._put_first
        """Take an event of the run; returns at once."""

    def _put_first(self, event: Tick) -> None:
        self._queue.put_nowait(event)
        if isinstance(event, RunStarted):
            # If this fails there is nobody to take what would be put.
            self.put_nowait = _leave
            self._show = _Show(self._make_face(), self._queue, self._is_lost)
            # The queue's own, as it is called at each event.
            self.put_nowait = self._queue.put_nowait

    def close(self) -> None:
        """Give back the terminal, say the last; then do nothing more."""
        show, self._show = self._show, None
        self.put_nowait = _leave
        if show is not None:
            show.end()


def _leave(event: Tick) -> None:
    """Take an event that nobody shows."""


class _Show:
    """The thread of a display, and its face."""

    def __init__(self, face: Face, queue: CoalescingQueue, is_lost: Callable[[], bool]) -> None:
        self._face = face
        self._queue = queue
        self._is_lost = is_lost
        self._wake = Wake()
        self._ending = self._asked = False
        self._told = -1
        self._has_told = threading.Condition()
        self._due = time.monotonic() + PERIOD
        self._given_back = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        try:
            face.begin(self._wake, self._catch_up, queue)
        except BaseException:
            self._wake.close()
            raise
        self._thread.start()

    def end(self) -> None:
        """End the thread; what it does not do in time is done here."""
        self._ending = True
        # A KeyboardInterrupt may cut each of the waits short.
        try:
            self._wake.set()
            self._given_back.wait(CLOSING)
        finally:
            if not self._given_back.is_set():
                self._face.rescue()
            try:
                self._thread.join(CATCHING_UP if self._queue.ended else CLOSING)
            finally:
                self._face.end(complete=not self._thread.is_alive())

    def _catch_up(self) -> None:
        """Wait, not for long, until what has happened so far is told."""
        until = self._queue.last
        if self._told >= until or threading.current_thread() is self._thread:
            return
        with self._has_told:
            self._asked = True
            self._wake.set()
            self._has_told.wait_for(
                lambda: self._told >= until or self._given_back.is_set(), CATCH_UP
            )

    def _run(self) -> None:
        block_signals()
        try:
            while not (self._ending or self._is_lost()):
                try:
                    self._turn()
                except Exception as error:
                    self._face.fail(error)
        except Exception:
            # Not even the simpler way works: nothing is shown any more, and the run goes on.
            _LOG.exception("the monitor has failed, the run goes on without it")
            self._queue.drop()
        finally:
            self._face.close()
            self._given_back.set()
            self._wake.close()
        self._take()

    def _turn(self) -> None:
        self._queue.wanted_at = self._due
        self._face.wait(max(self._due - time.monotonic(), 0.0))
        # By the clock, not by what it costs: where the processor is busy that takes longer, and
        # frames come less often.
        began = time.monotonic()
        due = self._asked or began >= self._due
        self._asked = False
        if due and not self._face.busy:
            self._take()
        self._face.refresh()
        with self._has_told:
            self._told = self._queue.taken
            self._has_told.notify_all()
        if due:
            ended = time.monotonic()
            pause = (ended - began) / self._face.share
            self._due = ended + min(max(pause, PERIOD), LONGEST)

    def _take(self) -> None:
        for event in self._queue.take():
            self._face.apply(event)
