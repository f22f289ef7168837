"""The queue between a run and its display: the run never waits, the display catches up in batches.

The engine's loop puts, a display takes all there is, some times a second.  States and messages are
never lost.  What a slow display cannot follow is thinned while it waits in here: of a job's
progress only the latest is kept, of its output the last lines.

Progress may come in two ways.  A display that writes down each event gets it as events.  For all
others the engine makes none: the fields of a job's latest report are kept as they are, to be looked
up when its line is drawn.  That is most of what it costs to watch a run whose jobs report often.

Theory of operation.  What `put_nowait` costs, each event of the run costs, so there is no lock: one
thread puts, one takes, and each works on what it shares with the other in single steps that no
other thread can come between (of dict and deque).  `take` first reads which event came last, and
takes only events up to that one.  Events come in the order of `seq`, so all of these are in their
places by then, and a batch never holds an event without those of the same job before it.

A loop that is busy all the time lets go of the interpreter only for moments that are too short for
another thread to seize it.  So who takes says from when on it wants to work, and who puts then
steps back for half a millisecond, now and again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any, TypeAlias

from engine import JobOutput, JobProgress, JobState, RunEnded, Tick

STEP_BACK = 0.0005
BETWEEN = 0.02
"""Seconds for which who puts steps back, and that are between two times."""

_SEQ = attrgetter("seq")

Report: TypeAlias = tuple[float | None, float | None, float | None, str | None, int]
"""Percent, done, total and message of a report, and the number of the last event before it."""


class CoalescingQueue:
    """A queue of the events of one run: one thread puts, another one takes; it never is full.

    Args:
        lines: how many lines of output are kept for each job between two calls of `take`.

    >>> queue = CoalescingQueue(lines=2)
    >>> for seq, line in enumerate(["a", "b", "c"]):
    ...     queue.put_nowait(JobOutput("r1", seq, 0.0, 0.0, job="1", stream="stdout", text=line))
    >>> [event.text for event in queue.take()]
    ['b', 'c']
    >>> queue.take()
    []
    """

    def __init__(self, lines: int = 1000) -> None:
        self._lines = lines
        self._run = ""
        self._kept: deque[Tick] = deque()
        self._progress: dict[str, JobProgress] = {}
        self._reports: dict[str, Report] = {}
        self._output: dict[str, deque[JobOutput]] = {}
        self.last = self.taken = -1
        """Numbers (`seq`) of the last event that came, and of the last that was taken."""
        self._dropping = False
        self.ended = False
        """The last event of the run has come."""
        self.wanted_at = math.inf
        """From when on (monotonic) the thread that takes wants to work; it is for it to set."""

    def put_nowait(self, event: Tick) -> None:
        """Take `event` in; returns at once."""
        if self._dropping:
            return
        if isinstance(event, JobProgress):
            if event.percent is None or event.message is None:
                event = self._merged(event)
            self._progress[event.job] = event
        elif isinstance(event, JobOutput):
            lines = self._output.get(event.job)
            if lines is None:
                lines = self._output[event.job] = deque(maxlen=self._lines)
            lines.append(event)
        else:
            if isinstance(event, JobState):
                self._end_attempt(event)
            self._kept.append(event)
            self._run = event.run
            self.ended = isinstance(event, RunEnded)
        self.last = event.seq
        if event.at > self.wanted_at:
            self.wanted_at = event.at + BETWEEN
            time.sleep(STEP_BACK)

    def put_progress(
        self,
        job: str,
        percent: float | None,
        done: float | None,
        total: float | None,
        message: str | None,
    ) -> None:
        """Take in what a job reports, of which no event is made; returns at once."""
        if percent is None or message is None:
            before = self._reports.get(job)
            if before is not None:  # a percentage outlives a message, and the other way round
                percent = before[0] if percent is None else percent
                done = before[1] if done is None else done
                total = before[2] if total is None else total
                message = before[3] if message is None else message
        self._reports[job] = percent, done, total, message, self.last
        now = time.monotonic()
        if now > self.wanted_at:
            self.wanted_at = now + BETWEEN
            time.sleep(STEP_BACK)

    def latest(self, job: str) -> Report | None:
        """Return what a job that runs has reported last, if it is kept here."""
        return self._reports.get(job)

    def take_reports(self, is_wanted: Callable[[str], bool]) -> list[JobProgress]:
        """Take out what the jobs that are wanted have reported, as events of now."""
        at, wall = time.monotonic(), time.time()
        wanted = (
            (job, self._reports.pop(job, None)) for job in list(self._reports) if is_wanted(job)
        )
        return [
            JobProgress(self._run, report[-1], at, wall, job, *report[:-1])
            for job, report in wanted
            if report is not None
        ]

    def _merged(self, later: JobProgress) -> JobProgress:
        """Return `later` with what only the one before told: a percentage outlives a message."""
        earlier = self._progress.get(later.job)
        if earlier is None:
            return later
        return JobProgress(
            later.run,
            later.seq,
            later.at,
            later.wall,
            later.job,
            earlier.percent if later.percent is None else later.percent,
            earlier.done if later.done is None else later.done,
            earlier.total if later.total is None else later.total,
            earlier.message if later.message is None else later.message,
        )

    def _end_attempt(self, event: JobState) -> None:
        """Keep what an attempt has reported: it must not be mixed with what the next one does.

        Of a job that is over nothing is left but what is kept.
        """
        # Kept first, then taken from where it was: who takes finds it in one place at least.
        told = self._progress.get(event.job)
        if told is not None:
            self._kept.append(told)
            del self._progress[event.job]
        report = self._reports.pop(event.job, None)
        if report is not None:
            head = event.run, event.seq, event.at, event.wall
            self._kept.append(JobProgress(*head, event.job, *report[:-1]))
        if event.new.is_over and (lines := self._output.get(event.job)) is not None:
            self._kept.extend(list(lines))
            del self._output[event.job]

    def drop(self) -> None:
        """Forget what is in here and all that comes: nobody will take it."""
        self._dropping = True
        self.take()

    def take(self) -> list[Tick]:
        """Return what has come since the last call, in the order of `seq`."""
        since, until = self.taken, self.last
        if since == until:
            return []
        # A report stays where it is until there is another one; and what moves to what is kept, as
        # its attempt ends just now, is found in both.
        thinned: dict[int, Tick] = {
            event.seq: event
            for event in list(self._progress.values())
            if since < event.seq <= until
        }
        for lines in list(self._output.values()):
            thinned.update((event.seq, event) for event in _up_to(until, lines))
        others: list[Tick] = []
        for event in _up_to(until, self._kept):
            if not isinstance(event, JobProgress | JobOutput):
                others.append(event)
            elif event.seq > since:
                thinned[event.seq] = event
        # The last report of an attempt may have the number of the event that ended it.
        taken = [*thinned.values(), *others]
        taken.sort(key=_SEQ)
        self.taken = until
        return taken


def _up_to(seq: int, events: deque[Any]) -> list[Any]:
    """Take out what another thread may be putting in, or taking out as well."""
    taken: list[Any] = []
    with suppress(IndexError):
        while events[0].seq <= seq:
            taken.append(events.popleft())
    return taken
