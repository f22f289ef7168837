"""What the panes beside the list say: the log of a job, its details, why it waits, the keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from . import states, wording
from .cells import cut_end, wrap
from .model import JobLine, Model
from .rows import Row
from .style import Style
from .view import Pane, View

DEPTH = 8
"""How many requirements of requirements the pane that explains waiting goes down."""

BREADTH = 12
"""How many requirements of one job it names."""


def content(
    model: Model, view: View, pane: Pane, style: Style, columns: int, now: float
) -> list[Row]:
    """Return the lines of a pane, each at most `columns` cells wide.

    Args:
        model: the run.
        view: what the user has chosen; the panes are about the job under the cursor.
        pane: which one.
        style: the characters to draw with.
        columns: cells that a line may take.
        now: monotonic seconds.
    """
    if pane is Pane.HELP:
        return _help(style, columns)
    job = view.chosen
    if job is None:
        return [[("dim", "no job is chosen")]]
    return list(_CONTENTS[pane](model, model.rows[job], style, columns, now))


def _help(style: Style, columns: int) -> list[Row]:
    return []


def key_hints(view: View, style: Style) -> str:
    """Return the keys that are worth a reminder, for the last line of the screen."""
    return f"? help  / filter  s sort  {style.enter} log  w why  x cancel  S stream  q"


def _log(
    model: Model, line: JobLine, style: Style, columns: int, now: float
) -> Iterator[Row]:
    """Tell the last lines that a job printed; of a group or a quiet job, what the engine said."""
    if line.outputs > len(line.tail):
        yield [("dim", f"({line.outputs - len(line.tail)} lines before these)")]
    for said in line.tail:
        clock = time.strftime("%H:%M:%S", time.localtime(said.wall))
        attribute = "stderr" if said.stream == "stderr" else ""
        yield [("dim", f"{clock} "), (attribute, style.text(said.text))]
    if not line.tail:
        yield [("dim", "no output yet" if not line.state.is_over else "no output")]


def _details(
    model: Model, line: JobLine, style: Style, columns: int, now: float
) -> Iterator[Row]:
    """Tell all that is known of a job."""
    row = line.row
    look = line.shown_look
    yield [(look.attribute, f"{style.glyph(look)} {line.look.plain}")]
    told = wording.status(model, line, now)
    for part in wrap(style.text(told), columns):
        yield [("", part)]
    for name, value in _facts(model, line, now):
        for index, part in enumerate(wrap(style.text(value), max(columns - 10, 1))):
            yield [("head", f"{name if index == 0 else '':9} "), ("", part)]
    for name, others in (
        ("requires", row.requires),
        ("after", row.after),
        ("allows", tuple(other.id for other in model.dependents(line.id))),
    ):
        yield from _others(model, name, others, style, columns)
    if line.tail:
        yield []
        for said in line.tail:
            yield [("dim", cut_end(style.text(said.text), columns, style.dots))]


def _facts(model: Model, line: JobLine, now: float) -> Iterator[tuple[str, str]]:
    """Tell what there is to say of a job, as names and values."""
    row = line.row
    yield "job", f"{row.label} ({row.kind} {row.id})"
    if row.host:
        yield "host", row.host
    took = line.took(now)
    if took is not None:
        yield ("took" if line.ended_at is not None else "since"), wording.duration(took)
    if line.attempt > 1 or line.attempts != 1:
        yield "attempt", f"{line.attempt} of {line.attempts or 'any number'}"
    if line.message:
        yield "reported", line.message
    if row.pool:
        yield "pool", row.pool
    if row.window is not None:
        yield "window", str(row.window)
    nature = [word for word, true in (("forever", row.forever), ("not critical", not row.critical)) if true]
    if nature:
        yield "is", ", ".join(nature)


def _others(
    model: Model, name: str, jobs: Iterable[str], style: Style, columns: int
) -> Iterator[Row]:
    """Tell the jobs that another one is related to, one on each line."""
    known = [model.rows[job] for job in jobs if job in model.rows]
    for index, other in enumerate(known[:BREADTH]):
        look = other.shown_look
        yield [
            ("head", f"{name if index == 0 else '':9} "),
            (look.attribute, style.glyph(look) + " "),
            ("", cut_end(style.text(other.label), max(columns - 12, 1), style.dots)),
        ]
    if len(known) > BREADTH:
        yield [("dim", f"{'':10}+{len(known) - BREADTH}")]


def _why(
    model: Model, line: JobLine, style: Style, columns: int, now: float
) -> Iterator[Row]:
    """Tell what keeps a job from starting, and what keeps that, down to what runs or failed."""
    yield from _why_line(model, line, 0, style, columns, now)
    if line.state not in (states.State.IDLE, states.State.SCHEDULED):
        return
    yield from _why_below(model, line, 1, style, columns, now, {line.id})


def _why_below(
    model: Model,
    line: JobLine,
    depth: int,
    style: Style,
    columns: int,
    now: float,
    seen: set[str],
) -> Iterator[Row]:
    missing = model.waits_for(line.id)
    parent = model.parent(line)
    if not missing and parent is not None and parent.attempt_at is None:
        missing = [parent]
    for other in missing[:BREADTH]:
        yield from _why_line(model, other, depth, style, columns, now)
        if depth < DEPTH and other.id not in seen:
            seen.add(other.id)
            yield from _why_below(model, other, depth + 1, style, columns, now, seen)
    if len(missing) > BREADTH:
        yield [("dim", f"{'  ' * depth}+{len(missing) - BREADTH}")]


def _why_line(
    model: Model, line: JobLine, depth: int, style: Style, columns: int, now: float
) -> Iterator[Row]:
    look = line.shown_look
    percent = f" {line.percent:.0f}%" if line.percent is not None else ""
    text = f"{line.label}{percent}: {wording.status(model, line, now)}"
    yield [
        (look.attribute, f"{'  ' * depth}{style.glyph(look)} "),
        ("", cut_end(style.text(text), max(columns - 2 * depth - 2, 1), style.dots)),
    ]


_CONTENTS: dict[Pane, Callable[[Model, JobLine, Style, int, float], Iterator[Row]]] = {
    Pane.LOG: _log,
    Pane.DETAILS: _details,
    Pane.WHY: _why,
}
