"""The queue between a run and its display: the run never waits, the display catches up in batches.

The engine's loop puts, a display takes all there is, some ten times a second.  States and messages
are never lost.  What a slow display cannot follow is thinned while it waits in here: of a job's
progress only the latest is kept, of its output the last lines.
"""

from __future__ import annotations

import threading
from collections import deque
from operator import attrgetter

from engine import JobOutput, JobProgress, JobState, RunEnded, Tick

_SEQ = attrgetter("seq")


class CoalescingQueue:
    """A queue of events with `put_nowait`, for any thread; it never blocks and never is full.

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
        # Reentrant: the garbage collector may run in here, and what it finalizes may print.
        self._lock = threading.RLock()
        self._kept: list[Tick] = []
        self._progress: dict[str, JobProgress] = {}
        self._output: dict[str, deque[Tick]] = {}
        self._dropping = False
        self.ended = False
        """The last event of the run has come."""

    def put_nowait(self, event: Tick) -> None:
        """Take `event` in."""
        with self._lock:
            if self._dropping:
                return
            if isinstance(event, JobProgress):
                earlier = self._progress.get(event.job)
                self._progress[event.job] = _merged(earlier, event) if earlier else event
            elif isinstance(event, JobOutput):
                lines = self._output.get(event.job)
                if lines is None:
                    lines = self._output[event.job] = deque(maxlen=self._lines)
                lines.append(event)
            else:
                if isinstance(event, JobState) and (told := self._progress.pop(event.job, None)):
                    # What an attempt reported must not be mixed with what the next one does.
                    self._kept.append(told)
                self._kept.append(event)
                self.ended = isinstance(event, RunEnded)

    def drop(self) -> None:
        """Forget what is in here and all that comes: nobody will take it."""
        self._dropping = True
        self.take()

    def take(self) -> list[Tick]:
        """Return what has come since the last call, in the order of `seq`."""
        with self._lock:
            kept, self._kept = self._kept, []
            progress, self._progress = self._progress, {}
            output, self._output = self._output, {}
        kept.extend(progress.values())
        for lines in output.values():
            kept.extend(lines)
        kept.sort(key=_SEQ)
        return kept


def _merged(earlier: JobProgress, later: JobProgress) -> JobProgress:
    """Return `later` with what only `earlier` told: a percentage outlives the message after it."""
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
