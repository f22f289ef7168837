"""How durations and states of jobs are told in words, the same on the screen and in plain lines."""

from __future__ import annotations

import math

from engine import State

from . import states
from .cells import cut_end, cut_reason, width
from .model import Model
from .records import Counts, Group, JobLine
from .style import Style

_MINUTE = 60
_HOUR = 60
_DAY = 24
"""Seconds of a minute, minutes of an hour, hours of a day."""

_MANY_HOURS = 100
"""From so many on they are told as days, as a clock column has six characters."""

NOT_CRITICAL = "not critical"
"""Said of a failure that fails nothing else."""

_LEAST_ROOM = 24
"""Cells below which a failure is told without the word for it; its glyph says it all the same."""

_SHORT = 9.95
"""Seconds below which tenths matter."""


def duration(seconds: float) -> str:
    """Return seconds in at most six characters, as long as it is below a hundred hours.

    >>> [duration(s) for s in (0.4, 12, 62, 3725, 400000)]
    ['0s', '12s', '1m02s', '1h02m', '4d15h']
    """
    minutes, rest = divmod(int(seconds), _MINUTE)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, _HOUR)
    if not hours:
        return f"{minutes}m{rest:02d}s"
    if hours < _MANY_HOURS:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, _DAY)
    return f"{days}d{hours:02d}h"


def exact(seconds: float) -> str:
    """Return how long something took that is over: with tenths below ten seconds.

    >>> exact(0.34), exact(62)
    ('0.3s', '1m02s')
    """
    return f"{seconds:.1f}s" if seconds < _SHORT else duration(seconds)


def limit(seconds: float) -> str:
    """Return how long something may take, as it was given below a minute.

    >>> limit(0.25), limit(90)
    ('0.25s', '1m30s')
    """
    return f"{seconds:g}s" if seconds < _MINUTE else duration(seconds)


def run_clock(seconds: float) -> str:
    """Return how long a run has been going on.

    >>> run_clock(192), run_clock(3725)
    ('+03m12s', '+1h02m05s')
    """
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _HOUR)
    return f"+{hours}h{minutes:02d}m{rest:02d}s" if hours else f"+{minutes:02d}m{rest:02d}s"


def job_clock(line: JobLine, now: float) -> str:
    """Return what the clock column says of a job: ``+12s`` while it runs, ``12s`` for how long."""
    took = line.took(now)
    if took is None:
        return ""
    return exact(took) if line.ended_at is not None else f"+{duration(took)}"


def status(model: Model, line: JobLine, now: float, cells: int | None = None) -> str:
    """Return what the status column says of a job, but for its bar.

    Args:
        model: what holds `line`.
        line: the job.
        now: monotonic seconds.
        cells: of the column; where they are few, a group tells only the most needed of its counts.
    """
    if line.look in (states.IDLE, states.SCHEDULED):
        return model.why_waiting(line.id)
    if line.look is states.RETRY:
        left = 0.0 if line.retry_at is None else line.retry_at - now
        return retry(line.attempt, line.attempts, left, line.reason)
    if line.group is not None:
        return _group_status(line, line.group, cells)
    model.look_up(line)
    if line.look is states.FAILED and not line.row.critical:
        return f"{over(line)} ({NOT_CRITICAL})"
    return over(line) if line.state.is_over else _running(line)


def _running(line: JobLine) -> str:
    look = line.look
    if look is states.STOPPING:
        return f"{look.word}: {line.stopping}" if line.stopping else look.word
    if look is states.FOREVER:
        return f"{look.word}, {'ready' if line.ready else 'not ready'}   {line.said}".rstrip()
    # A bar says that it runs; beside it, what the job says of itself comes before what it prints.
    return line.message or line.said if line.percent is not None else line.said or look.word


def ending(line: JobLine) -> str:
    """Return ``(40s)`` for how long a job took that is over; of a failure, if it is not critical.

    Empty if there is nothing to say.
    """
    took = line.took(0.0) if line.state.is_over else None
    parts = [exact(took)] if took is not None else []
    if line.state is State.FAILED and not line.row.critical:
        parts.append(NOT_CRITICAL)
    return f"({', '.join(parts)})" if parts else ""


def over(line: JobLine) -> str:
    """Return how a job that is over ended: ``done``, ``FAILED rc=255``, ``skipped: ...``."""
    look = line.look
    if look is states.FINISHED or not line.reason:
        return look.word
    return f"{look.word} {line.reason}" if look is states.FAILED else f"{look.word}: {line.reason}"


def failure(line: JobLine, style: Style, cells: int) -> str:
    """Return how a job failed in so many cells: where they are few, what matters most, the reason.

    Args:
        line: the job.
        style: the characters to draw with.
        cells: how many there are.
    """
    whole = style.text(over(line))
    if not line.row.critical:
        told = f"{whole} ({NOT_CRITICAL})"
        if width(told) <= cells:
            return told
    if width(whole) <= cells or not line.reason:
        return cut_end(whole, cells, style.dots)
    word = f"{line.look.word} " if cells >= _LEAST_ROOM else ""
    return word + cut_reason(style.text(line.reason), cells - len(word), style.dots)


def retry(attempt: int, attempts: int | None, left: float, reason: str) -> str:
    """Return that a job will be tried again.

    Args:
        attempt: the attempt to come, from 1.
        attempts: at most so many, or None.
        left: seconds until then.
        reason: what became of the last one, or empty.

    >>> retry(2, 3, 3.2, "TimeoutError"), retry(4, None, 0.0, "")
    ('retry 2/3 in 4s: TimeoutError', 'retry 4')
    """
    text = (
        f"{states.RETRY.word} {attempt}/{attempts}"
        if attempts
        else f"{states.RETRY.word} {attempt}"
    )
    if left > 0:
        text += f" in {duration(math.ceil(left))}"
    return f"{text}: {reason}" if reason else text


def _group_status(line: JobLine, group: Group, cells: int | None) -> str:
    parts = counted(group.counts, group.counts.fail)
    if cells is not None:
        parts = squeezed(parts, cells)
    if line.look in (states.FAILED, states.CANCELLED, states.SKIPPED):
        parts.append(over(line))
    return "  ".join(parts)


def counted(counts: Counts, failed: int) -> list[str]:
    """Return counts as words: ``128/400 done``, ``12 run``, ..., what is zero left out.

    Args:
        counts: of the jobs that are counted.
        failed: how many failures to tell.
    """
    told = [f"{counts.done}/{counts.total} done"]
    for number, word in (
        (counts.run, "run"),
        (counts.ready, "ready"),
        (counts.wait, "wait"),
        (failed, "FAIL"),
        (counts.skip, "skip"),
        (counts.cancel, "cancel"),
    ):
        if number:
            told.append(f"{number} {word}")
    return told


def squeezed(told: list[str], cells: int) -> list[str]:
    """Return those of `counted` that fit into `cells`; what there is no room for goes.

    >>> squeezed(["1/9 done", "2 run", "5 wait", "1 FAIL"], 24)
    ['1/9 done', '2 run', '1 FAIL']
    """
    for word in ("wait", "ready", "cancel", "skip", "run"):
        if sum(map(len, told)) + 2 * (len(told) - 1) <= cells:
            break
        told = [part for part in told if not part.endswith(word)]
    return told
