"""What stays on the terminal once a run is over: counts, every failure, where the time went."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator

from . import states, wording
from .cells import width
from .model import Model
from .records import JobLine
from .style import ASCII, UNICODE, Style

FAILURES = 20
"""How many failures are told one by one."""

LAST_LINES = 10
"""How many of its last lines of output go with a failure."""

SLOWEST = 5
"""How many of the slowest jobs are named."""

_PATH = 12
"""How many jobs of the critical path are named; of a longer one the middle is left out."""

_LEAST = 0.1
_WORTH = 0.02
"""Seconds, and part of the whole, from which it is told what else a run took its time for."""

_TAIL = "    | "
"""Stands before what a failed job said."""

_HEADING = 15
"""Columns of the word before counts, slowest jobs and critical path."""

_WORDS = re.compile(r" *[^ ]+")
"""Words with the spaces before them."""

_NARROW = 40
"""On fewer columns than that, to break lines makes nothing better."""


def summary(
    model: Model,
    now: float,
    *,
    ascii_only: bool = False,
    tails: bool = True,
    columns: int | None = None,
) -> list[str]:
    """Return what is worth keeping of a run, as lines; one line of a run that was left.

    Args:
        model: the run, over or left.
        now: monotonic seconds, for a run that was left before its end.
        ascii_only: use no character above 127.
        tails: tell the last lines of output of each failure.
        columns: break lines between words so that they fit; output is left as it is.
    """
    style = ASCII if ascii_only else UNICODE
    lines = [style.text(line) for line in _lines(model, now, style, tails=tails)]
    if columns is None or columns < _NARROW:
        return lines
    return [piece for line in lines for piece in _fitted(line, columns)]


def _fitted(line: str, columns: int) -> list[str]:
    """Return `line` broken between words, what follows under what it belongs to."""
    if line.startswith(_TAIL):
        return [line]
    heading = line[:_HEADING].rstrip()
    indent = _HEADING if heading in {"counts", "slowest", "critical path"} else len(_TAIL)
    pieces = []
    piece = ""
    for word in _WORDS.findall(line):
        if piece and width(piece + word) > columns:
            pieces.append(piece)
            piece = " " * indent + word.lstrip()
        else:
            piece += word
    return [*pieces, piece]


def _lines(model: Model, now: float, style: Style, *, tails: bool) -> Iterator[str]:
    yield _verdict(model, now, style)
    if model.run.was_left:
        return
    failed = [model.rows[job] for job in model.failures]
    for line in failed[:FAILURES]:
        yield from _failure(model, line, style, tail=tails)
    if len(failed) > FAILURES:
        yield f"... and {len(failed) - FAILURES} more failed: engine.debrief() names them all"
    yield f"counts         {'  '.join(wording.counted(model.counts, len(failed)))}"
    timed = [line for line in model.rows.values() if _is_timed(line)]
    if len(timed) > 1:
        yield f"slowest        {_slowest(model, timed)}"
    path = critical_path(model)
    if len(path) > 1:
        yield f"critical path  {_told_path(model, path, now, style)}"


def _verdict(model: Model, now: float, style: Style) -> str:
    """Return ``✗ deploy-lab: FAILED after 3m12s: 2 critical jobs failed``."""
    run = model.run
    label, took = run.label or "run", wording.exact(run.took(now))
    if run.ended is None:
        return f"{style.glyph(states.STOPPING)} {label}: left after {took}, before its end"
    why = run.ended.why
    if run.ended.ok:
        return f"{style.glyph(states.FINISHED)} {label}: {why or f'done in {took}'}"
    about = f"{label}: {states.FAILED.word} after {took}"
    return f"{style.glyph(states.FAILED)} {': '.join(filter(None, (about, why)))}"


def _failure(model: Model, line: JobLine, style: Style, *, tail: bool) -> Iterator[str]:
    """Tell what failed, why, and its last words."""
    host = f" on {line.row.host}" if line.row.host else ""
    told = f"{model.path(line)}{host}  {wording.over(line)}  {wording.ending(line)}".rstrip()
    yield f"{style.glyph(line.look)} {told}"
    if tail:
        yield from last_words(line)


def last_words(line: JobLine) -> Iterator[str]:
    """Tell the last lines of output of a job, set in."""
    for said in list(line.tail)[-LAST_LINES:]:
        yield f"{_TAIL}{said.text}"


def _is_timed(line: JobLine) -> bool:
    return line.counted and line.started_at is not None and line.ended_at is not None


def _took(line: JobLine) -> float:
    return line.took(0.0) or 0.0


def _slowest(model: Model, timed: Iterable[JobLine]) -> str:
    slowest = heapq.nlargest(SLOWEST, timed, key=_took)
    return ", ".join(f"{model.path(line)} {wording.exact(_took(line))}" for line in slowest)


def _told_path(model: Model, path: list[JobLine], now: float, style: Style) -> str:
    """Return ``boot 5.0s → load 1m00s  (1m05s of 1m20s; 15s in shutdown)``."""
    arrow = " -> " if style.ascii_only else " → "
    named = [f"{model.path(line)} {wording.exact(_span(line))}" for line in path]
    if len(named) > _PATH:
        half = _PATH // 2
        named[half:-half] = [f"({len(named) - 2 * half} more)"]
    busy, took = sum(map(_span, path)), model.run.took(now)
    told = [f"{wording.exact(busy)} of {wording.exact(took)}"]
    told += _other_time(model, path, took)
    return f"{arrow.join(named)}  ({'; '.join(told)})"


def _other_time(model: Model, path: list[JobLine], took: float) -> Iterator[str]:
    """Tell what else a run took its time for: slots that were not free, and its end."""
    since = model.run.started_at or 0.0
    met = since
    queued = 0.0
    for line in path:
        queued += max((line.started_at or met) - met, 0.0)
        met = max(_met_at(line) or met, met)
    for seconds, word in ((queued, "waiting for a slot"), (since + took - met, "in shutdown")):
        if seconds >= max(_LEAST, _WORTH * took):
            yield f"{wording.exact(seconds)} {word}"


def critical_path(model: Model) -> list[JobLine]:
    """Return the chain of jobs that the duration of a run comes from, first to last.

    From the job that ended last it goes back, each time to the one that kept it waiting longest:
    of those it required or came after, the one that was met last.  A nested engine stands for the
    chain inside it.  (The critical path of the schedule as it was run, as make --trace or
    Bazel's profile tell it; waiting for a slot is not part of it.)

    Args:
        model: the run.
    """
    path: list[JobLine] = []
    line = _last(model.root.members)
    while line is not None:
        path.append(line)
        inside = None
        if line.group is not None:
            inside = _last(line.group.members)
            if inside is not None:
                path.pop()
        line = inside or _before(model, line)
    return path[::-1]


def _before(model: Model, line: JobLine) -> JobLine | None:
    """Return what a job waited for last; for the first in a group, what the group waited for."""
    here: JobLine | None = line
    while here is not None:
        others = (*here.row.requires, *here.row.after)
        known = [model.rows[job] for job in others if job in model.rows]
        waited = [other for other in known if _met_at(other) is not None]
        if waited:
            return max(waited, key=lambda other: _met_at(other) or 0.0)
        here = model.parent(here)
    return None


def _last(lines: Iterable[JobLine]) -> JobLine | None:
    """Return the job that ended last, of those that ran and are not forever."""
    ran = [line for line in lines if not line.row.forever and line.started_at is not None]
    ended = [line for line in ran if line.ended_at is not None]
    return max(ended, key=lambda line: line.ended_at or 0.0, default=None)


def _span(line: JobLine) -> float:
    """Return for how long a job kept those after it waiting, from its start on."""
    return max((_met_at(line) or 0.0) - (line.started_at or 0.0), 0.0)


def _met_at(line: JobLine) -> float | None:
    """Return when those that waited for a job could go on; None if it never ran."""
    if line.started_at is None:
        return None
    return line.ready_at if line.row.forever else line.ended_at
