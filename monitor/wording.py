"""How durations and states of jobs are told in words, the same on the screen and in plain lines."""

from __future__ import annotations

from . import states
from .model import Counts, Group, JobLine, Model


def duration(seconds: float) -> str:
    """Return seconds in at most six characters, as long as it is below a hundred hours.

    >>> [duration(s) for s in (0.4, 12, 62, 3725, 400000)]
    ['0s', '12s', '1m02s', '1h02m', '4d15h']
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 100:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def run_clock(seconds: float) -> str:
    """Return how long a run has been going on.

    >>> run_clock(192), run_clock(3725)
    ('+03m12s', '+1h02m05s')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}h{minutes:02d}m{rest:02d}s" if hours else f"+{minutes:02d}m{rest:02d}s"


def job_clock(line: JobLine, now: float) -> str:
    """Return what the clock column says of a job: ``+12s`` while it runs, ``12s`` for how long."""
    took = line.took(now)
    if took is None:
        return ""
    return duration(took) if line.ended_at is not None else f"+{duration(took)}"


def status(model: Model, line: JobLine, now: float) -> str:
    """Return what the status column says of a job, but for its bar.

    Args:
        model: what holds `line`.
        line: the job.
        now: monotonic seconds.
    """
    look = line.look
    if line.group is not None and look not in (states.IDLE, states.SCHEDULED):
        return _group_status(line, line.group)
    if look is states.RUNNING:
        said = line.said if line.percent is None else line.message
        return said or ("" if line.percent is not None else look.word)
    if look is states.FOREVER:
        return f"{look.word}, {'ready' if line.ready else 'not ready'}   {line.said}".rstrip()
    if look is states.RETRY:
        return _retry(line, now)
    if look is states.STOPPING:
        return f"{look.word}: {line.stopping}" if line.stopping else look.word
    if look in (states.IDLE, states.SCHEDULED):
        return model.why_waiting(line.id)
    return over(line)


def over(line: JobLine) -> str:
    """Return how a job that is over ended: ``done``, ``FAILED rc=255``, ``skipped: ...``."""
    look = line.look
    if look is states.FINISHED or not line.reason:
        return look.word
    return f"{look.word} {line.reason}" if look is states.FAILED else f"{look.word}: {line.reason}"


def _retry(line: JobLine, now: float) -> str:
    which = f"{line.attempt}/{line.attempts}" if line.attempts else f"{line.attempt}"
    text = f"{states.RETRY.word} {which}"
    left = (line.retry_at or now) - now
    if left > 0:
        text += f" in {duration(left + 0.99)}"
    return f"{text}: {line.reason}" if line.reason else text


def _group_status(line: JobLine, group: Group) -> str:
    parts = counted(group.counts, group.counts.fail)
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
