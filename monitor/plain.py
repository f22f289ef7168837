"""A run without a screen: a line for each change of state, or each event as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from engine import (
    JobProgress,
    JobReady,
    JobState,
    JobStopping,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    StopReason,
    Tick,
)

from . import states, wording
from .cells import width
from .model import Model
from .records import JobLine
from .style import ASCII, UNICODE
from .summary import last_words, summary

HEARTBEAT = 30.0
"""Seconds between two lines that tell how far the run is."""

EACH = 10
"""Of the percentage that a job reports, each further so many are told."""

PAUSE = 1.0
"""Seconds that pass at least before a line of progress since the last line of the job."""

LONG_PAUSE = 60.0
"""The same where that progress is no further percentage."""

_NAME = 24
_WORD = max(len(state) for state in State)
"""Cells of the column of names, at most, and of that of states."""


class PlainPrinter:
    """Writes a run as lines: ``+012s  fit03  running  ...``.

    Changes of state are all told, but that a job is scheduled, or is being stopped, only if that
    lasts for a second: most start, and end, at once.  Of progress the first report is told, then
    each further tenth of the percentage, or without one a report a minute; of output the last lines
    of jobs that failed.  Jobs in nested engines are called by their path, ``node2/check``.  What
    the engine logs goes its own way, as in any program, to stderr.  The end is a summary.

    Args:
        write: takes the text of one or several lines, each with its line break.
        model: the run; it has taken each event before the printer gets it.
        ascii_only: use no character above 127.

    >>> from engine import JobRow, RunStarted
    >>> model = Model()
    >>> printer = PlainPrinter(lambda text: print(text, end=""), model)
    >>> for tick in (
    ...     RunStarted("r", 0, 10.0, 0.0, "demo", (JobRow("1", "load", "Job"),)),
    ...     JobState("r", 1, 22.0, 0.0, "1", State.SCHEDULED, State.RUNNING),
    ...     JobState("r", 2, 62.0, 0.0, "1", State.RUNNING, State.FAILED, "rc=1"),
    ... ):
    ...     model.apply(tick)
    ...     printer.apply(tick)
    +000s  demo  started    1 job
    +012s  load  running
    +052s  load  failed     rc=1  (40s)
    """

    def __init__(
        self, write: Callable[[str], None], model: Model, *, ascii_only: bool = False
    ) -> None:
        self._write = write
        self._model = model
        self._style = ASCII if ascii_only else UNICODE
        self._held: dict[str, JobState | JobStopping] = {}
        self._reports: dict[str, _Reports] = {}
        self._beat_at: float | None = None
        self._told_at = -math.inf
        self._running_seq = -1

    def apply(self, tick: Tick) -> None:
        """Tell what there is to tell of an event."""
        self._release(tick.at)
        match tick:
            case JobState():
                self._job_state(tick)
            case JobProgress():
                self._job_progress(tick)
            case JobStopping():
                self._held[tick.job] = tick
            case JobReady() if tick.seq != self._running_seq + 1:
                # Else it was ready by the mere fact that it ran.
                self._job_line(tick.at, tick.job, State.RUNNING, "ready")
            case RunStarted():
                self._beat_at = tick.at
                self._line(tick.at, tick.label, "started", _extent(self._model, tick))
            case RunStopping() if tick.reason is not StopReason.DONE:
                self._line(tick.at, self._model.run.label, "stopping", tick.reason)
            case RunEnded():
                lines = summary(
                    self._model, tick.at, ascii_only=self._style.ascii_only, tails=False
                )
                self._write("".join(f"{line}\n" for line in lines))

    def beat(self, now: float) -> None:
        """Tell that time goes by; every thirty seconds the run is told in one line.

        Args:
            now: monotonic seconds, on the clock of the ticks.
        """
        self._release(now)
        if self._beat_at is None or self._model.run.ended is not None:
            return
        if now - self._beat_at >= HEARTBEAT:
            self._beat_at = now
            self._line(now, self._model.run.label, "", self._how_far(now))

    def _how_far(self, now: float) -> str:
        model = self._model
        told = wording.counted(model.counts, len(model.failures))
        running = [line for line in model.rows.values() if line.look is states.RUNNING]
        running = [line for line in running if line.group is None]
        text = f"{'  '.join(told)}  {model.counts.percent}%"
        if not running:
            return text
        longest = min(running, key=lambda line: line.attempt_at or now)
        name = self._model.path(longest)
        return f"{text}  longest: {name} {wording.job_clock(longest, now)}"

    # ---- one job

    def _job_state(self, tick: JobState) -> None:
        self._held.pop(tick.job, None)
        if tick.new is State.SCHEDULED and tick.old is not State.RUNNING:
            self._held[tick.job] = tick
        else:
            self._tell_state(tick)

    def _release(self, now: float) -> None:
        """Tell what has lasted for long enough, oldest first."""
        while self._held:
            job, tick = next(iter(self._held.items()))
            if now - tick.at < PAUSE:
                return
            del self._held[job]
            self._tell_held(tick, now)

    def _tell_held(self, tick: JobState | JobStopping, now: float) -> None:
        line = self._model.rows[tick.job]
        if isinstance(tick, JobState):
            self._job_line(now, tick.job, tick.new, self._about(line, tick))
            return
        about = ": ".join(filter(None, (states.STOPPING.word, tick.reason)))
        self._job_line(now, tick.job, State.RUNNING, about)

    def _tell_state(self, tick: JobState) -> None:
        line = self._model.rows[tick.job]
        self._job_line(tick.at, tick.job, tick.new, self._about(line, tick))
        if tick.new is State.RUNNING:
            self._reports[tick.job] = _Reports(tick.at)
            self._running_seq = tick.seq
        if tick.new.is_over:
            self._reports.pop(tick.job, None)
        if tick.new is State.FAILED:
            for words in last_words(line):
                self._write(f"{self._style.text(words)}\n")

    def _about(self, line: JobLine, tick: JobState) -> str:
        """Return what there is to say beside the new state."""
        if tick.new is State.RUNNING:
            return f"attempt {tick.attempt}" if tick.attempt > 1 else ""
        if tick.new is State.SCHEDULED:
            if tick.old is State.RUNNING:
                return wording.retry(tick.attempt, tick.attempts, tick.retry_in or 0.0, tick.reason)
            return self._model.why_waiting(tick.job) or "queued"
        return "  ".join(filter(None, (tick.reason, wording.ending(line))))

    def _job_progress(self, tick: JobProgress) -> None:
        reports = self._reports.setdefault(tick.job, _Reports(-math.inf))
        line = self._model.rows[tick.job]
        has_percent = tick.percent is not None or tick.total is not None
        if not reports.is_due(tick.at, line.percent if has_percent else None):
            return
        percent = "" if line.percent is None else f"{line.percent:3.0f}%"
        about = "  ".join(filter(None, (percent, line.message)))
        self._job_line(tick.at, tick.job, line.look.plain, about)

    # ---- lines

    def _job_line(self, at: float, job: str, word: str, about: str) -> None:
        self._line(at, self._model.path(self._model.rows[job]), word, about)

    def _line(self, at: float, name: str, word: str, about: str) -> None:
        # What was held back is told late, and the clock never goes back.
        self._told_at = at = max(at, self._told_at)
        started = self._model.run.started_at
        clock = f"+{int(max(at - (at if started is None else started), 0)):03d}s"
        name, about = self._style.text(name), self._style.text(about)
        name += " " * (min(self._model.longest_path, _NAME) - width(name))
        self._write(f"{clock}  {name}  {word:{_WORD}}  {about}".rstrip() + "\n")


class _Reports:
    """Which of the reports of one job are told; `told_at` is when its last line was."""

    __slots__ = ("_step", "_told_at")

    def __init__(self, told_at: float) -> None:
        self._step = -2  # the steps of EACH percent that were told; before the first report, none
        self._told_at = told_at

    def is_due(self, at: float, percent: float | None) -> bool:
        """Tell whether a report is to be told, with a percentage or without."""
        step = -1 if percent is None else int(percent // EACH)
        pause = PAUSE if step > self._step else LONG_PAUSE
        if step == self._step >= 0 or at - self._told_at < pause:
            return False
        self._step, self._told_at = max(step, self._step), at
        return True


def _extent(model: Model, tick: RunStarted) -> str:
    """Return ``25 jobs, window 12, timeout 1m00s``."""
    total = model.counts.total
    parts = [f"{total} job" if total == 1 else f"{total} jobs"]
    if tick.window is not None:
        parts.append(f"window {tick.window}")
    if tick.timeout is not None:
        parts.append(f"timeout {wording.limit(tick.timeout)}")
    return ", ".join(parts)


class JsonPrinter:
    """Writes each event as one line of JSON, as :meth:`engine.Tick.to_dict` gives it.

    All characters above 127 are escaped, so that any pipe and any encoding will do; a number that
    JSON has no word for (infinity) becomes null.

    Args:
        write: takes the text of a line with its line break.

    >>> JsonPrinter(lambda text: print(text, end="")).apply(JobReady("r", 3, 1.0, 2.0, "7"))
    {"event": "JobReady", "v": 1, "run": "r", "seq": 3, "at": 1.0, "wall": 2.0, "job": "7"}
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def apply(self, tick: Tick) -> None:
        """Write an event."""
        told = tick.to_dict()
        try:
            text = json.dumps(told, allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(told), allow_nan=False)
        self._write(f"{text}\n")


def _finite(value: Any) -> Any:
    """Return a JSON value with null for the numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
