"""From a model and a view to rows of text: pure, and exact to the cell.

:func:`compose` draws a frame::

    +- label ------------------- clock  +time -+     title
    | 128/400 done  12 run  2 FAIL  ####-- 32% |     the run in one line
    +--------+-----------+---------------------+
    | time   | job       | status             ^|
    |  +12s  |> load n1  | ####--  55% writing||     the list
    +- log: load n1 (follow) ------------------+     a pane, if one is open; from 120 columns on
    | 14:02:05 1.2 GB of 2.1 GB                |     it stands at the right of the list
    +- ? help  / filter ... -------------------+     keys, or what is asked or told

Below 40 columns or 6 rows there is one line.  Only what is visible is ever looked at, so that ten
thousand jobs cost no more than a screenful.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import repeat

from . import filters, states, wording
from .cells import cut_end, width
from .model import Model
from .panes import Panes, key_hints
from .rows import Row, Segment, crossed, joined, lines_down, padded, row_width
from .style import ASCII, UNICODE, Style
from .table import Table, listed
from .view import Pane, View

ATTRIBUTES = (
    "",
    "border",
    "scroll",
    "head",
    "title",
    "dim",
    "cursor",
    "bar",
    "empty",
    "question",
    "notice",
    *dict.fromkeys(look.attribute for look in states.LOOKS),
)
"""Names of all attributes that a segment may have; the empty one is plain text."""

LEAST_COLUMNS = 40
LEAST_ROWS = 6
"""Below one of these a frame is one line."""

TWO_PANES = 120
"""From so many columns on the pane stands at the right of the list, and is always open."""

_NEWS = 10.0
"""For so many seconds a message of the engine stands in the last line."""

_SPLIT = 9
"""With less room than so many rows a pane hides the list."""

_BAR = 36
_LEAST_BAR = 5
"""Cells of the widest and of the narrowest bar in the line of the run."""


def compose(
    model: Model, view: View, columns: int, rows: int, *, now: float, wall: float
) -> list[Row]:
    """Return a frame: `rows` rows, each exactly `columns` cells wide.

    Args:
        model: the run.
        view: what the user has chosen; it is told what has been drawn, and nothing else.
        columns: of the screen, at least 1.
        rows: of the screen, at least 1.
        now: monotonic seconds, on the clock of the ticks.
        wall: seconds since the epoch.

    Returns:
        A list of rows, each a list of (attribute, text); the attributes are in `ATTRIBUTES`.
    """
    style = ASCII if view.ascii_only else UNICODE
    frame = _Frame(model, view, style, columns, rows, now, wall)
    if columns < LEAST_COLUMNS or rows < LEAST_ROWS:
        return frame.one_line()
    return frame.full()


@dataclass(frozen=True, slots=True)
class _Frame:
    """What every part of one frame needs."""

    model: Model
    view: View
    style: Style
    columns: int
    rows: int
    now: float
    wall: float

    # ---- one line

    def one_line(self) -> list[Row]:
        """Return the frame of a screen that is too small for anything else."""
        listed(self.model, self.view, 1, self.now)
        said = self.view.question or (f"/{self.view.filter}" if self.view.typing else "")
        lines: list[Row] = [self._short()]
        if said:
            asked: Row = [("question", cut_end(self.style.text(said), self.columns, ""))]
            lines = [asked] if self.rows == 1 else [lines[0], asked]
        lines += [[] for _ in range(self.rows - len(lines))]
        return [padded(line, self.columns) for line in lines]

    def _short(self) -> Row:
        """Return ``128/400 12run 2FAIL 32%``, or as much of it as there is room for."""
        counts, failed = self.model.counts, len(self.model.failures)
        done: Segment = ("", f"{counts.done}/{counts.total}")
        run: Row = [("run", f"{counts.run}run")] if counts.run else []
        fail: Row = [("fail", f"{failed}FAIL")] if failed else []
        percent: Segment = ("", f"{counts.percent}%")
        look = self._run_look()
        for parts in ([done, *run, *fail, percent], [done, *run, *fail], [done, *fail], fail):
            line = _spaced(parts, " ")
            if parts and row_width(line) <= self.columns:
                return line
        return [(look.attribute, self.style.glyph(look))]

    def _run_look(self) -> states.Look:
        """Return the look that the run as a whole has."""
        if self.model.failures:
            return states.FAILED
        ended = self.model.run.ended
        if ended is not None:
            return states.FINISHED if ended.ok else states.FAILED
        return states.RUNNING

    # ---- the whole screen

    def full(self) -> list[Row]:
        """Return the frame of a screen that has room for a list."""
        run = self._inside(self._global(), self.columns, self.style.down)
        body = self._body()
        return [self._title(), run, *body, self._under(body[-1], self._bottom())]

    def _body(self) -> list[Row]:
        """Return all between the line of the run and the last one."""
        room = self.rows - 3  # title, line of the run, bottom
        pane = self.view.pane
        wide = self.columns >= TWO_PANES
        if pane is Pane.HELP or (pane is not None and room < _SPLIT and not wide):
            listed(self.model, self.view, self.view.page, self.now)
            return self._pane(pane, room, self.columns)
        if wide:
            return self._side_by_side(room)
        if pane is None:
            return self._table(self.columns).rows(room)
        below = room * 2 // 5
        over = self._table(self.columns).rows(room - below)
        rule, *content = self._pane(pane, below, self.columns)
        return [*over, self._under(over[-1], rule), *content]

    def _under(self, row: Row, line: Row) -> Row:
        """Return a line across, with tees where the columns of the row above end."""
        style = self.style
        return crossed(line, lines_down(row, style.down), style.across, style.tees[3])

    def _table(self, columns: int) -> Table:
        return Table(self.model, self.view, self.style, columns, self.now)

    def _side_by_side(self, room: int) -> list[Row]:
        left = self.columns * 3 // 5
        right = self.columns - left + 1  # the line between them belongs to both
        rows = self._table(left).rows(room)
        beside = self._pane(self.view.pane or Pane.DETAILS, room, right)
        joints = [self.style.tees[2]] + [self.style.down] * (room - 1)
        return [
            joined(row, ("border", joint), other)
            for row, joint, other in zip(rows, joints, beside, strict=True)
        ]

    def _title(self) -> Row:
        """Return the upper border: label, what the run is about to do, time of day, duration."""
        run, style = self.model.run, self.style
        clock = time.strftime("%H:%M:%S", time.localtime(self.wall))
        right = f" {clock}  {wording.run_clock(run.took(self.now))} "
        label = f" {style.text(run.label)} " if run.label else ""
        note, attribute = self._run_note()
        note = f" {note}" if note and not label else note
        room = self.columns - 4 - width(right)
        note = cut_end(note, room // 2, style.dots)
        label = cut_end(label, room - width(note), style.dots)
        line = style.across * (room - width(label) - width(note) + 1)
        return [
            ("border", style.corners[0]),
            ("title", label),
            (attribute, note),
            ("border", line),
            ("head", right),
            ("border", style.across + style.corners[1]),
        ]

    def _run_note(self) -> tuple[str, str]:
        """Return what the title says of the end of the run, and its attribute."""
        run = self.model.run
        if run.ended is not None:
            return ("done ", "ok") if run.ended.ok else ("FAILED ", "fail")
        return (f"stopping: {run.stopping} ", "stop") if run.stopping else ("", "border")

    def _global(self) -> Row:
        """Return the run in one line; what there is no room for goes, the least needed first."""
        counts, failed = self.model.counts, len(self.model.failures)
        percent = f"{counts.percent}%"
        room = self.columns - 4
        told = wording.squeezed(wording.counted(counts, failed), room - len(percent) - 2)
        used = sum(map(len, told)) + 2 * len(told) + len(percent)
        segments: Row = []
        for part in told:
            segments += [(_COUNT_ATTRIBUTES.get(part.split()[-1], ""), part), ("", "  ")]
        bar = min(room - used - 1, _BAR)
        if bar >= _LEAST_BAR:
            full, empty = self.style.bar(counts.percent, bar)
            segments += [("", " " * (room - used - bar - 1)), ("bar", full), ("empty", empty)]
            segments.append(("", " "))
        else:
            segments.append(("", " " * (room - used)))
        return [*segments, ("head", percent)]

    # ---- frame lines

    def _inside(self, row: Row, columns: int, right: str) -> Row:
        """Return a row between two borders, with a space on either side."""
        left = self.style.down
        return [("border", f"{left} "), *padded(row, columns - 4), ("border", f" {right}")]

    def _bottom(self) -> Row:
        """Return the lower border, with what is asked or told, else the keys."""
        view, style = self.view, self.style
        attribute, text = "head", key_hints(style)
        if view.question:
            attribute, text = "question", style.text(view.question)
        elif view.typing or view.filter:
            attribute, text = self._filter_line()
        elif notice := view.notice or self._news():
            attribute, text = "notice", style.text(notice)
        text = cut_end(f" {text} ", self.columns - 3, style.dots)
        line = style.across * (self.columns - 2 - width(text))
        return [
            ("border", style.corners[2]),
            (attribute, text),
            ("border", line + style.corners[3]),
        ]

    def _news(self) -> str:
        """Return what the engine warned of in the last seconds, or nothing."""
        last = self.model.log[-1] if self.model.log else None
        return last.text if last is not None and self.now - last.at < _NEWS else ""

    def _filter_line(self) -> tuple[str, str]:
        """Return the filter as it is typed or kept, and what is wrong with it."""
        view, style = self.view, self.style
        text = f"/{style.text(view.filter)}{'_' * view.typing}"
        problem = filters.parse(view.filter).problem
        if problem:
            text += f"   {style.text(problem)}"
        elif not view.typing:
            text += "   (Esc: all jobs again)"
        return ("question" if view.typing else "notice"), text

    # ---- the pane

    def _pane(self, pane: Pane, rows: int, columns: int) -> list[Row]:
        """Return a pane between borders under a line with its title, `rows` rows in all."""
        room = rows - 1
        told = Panes(self.model, self.style, columns - 4, room, self.now)
        lines = list(told.content(pane, self.view.chosen))
        visible = self.view.look_into(len(lines), room)
        content = lines[visible.start : visible.stop]
        content += [[] for _ in range(room - len(content))]
        marks = self._more(len(lines), visible, room)
        return [self._rule(pane, columns), *map(self._inside, content, repeat(columns), marks)]

    def _more(self, lines: int, visible: range, room: int) -> list[str]:
        """Return the right border of each line of a pane, with marks where there are more lines."""
        border = [self.style.down] * room
        if visible.start > 0:
            border[0] = self.style.up
        if visible.stop < lines:
            border[-1] = self.style.down_mark
        return border

    def _rule(self, pane: Pane, columns: int) -> Row:
        """Return the line above a pane; it has the cursor if the keys act on the pane."""
        style = self.style
        title = cut_end(f" {self._pane_title(pane)} ", columns - 3, style.dots)
        line = style.across * (columns - 2 - width(title))
        attribute = "cursor" if self.view.in_pane and self.view.pane else "head"
        return [("border", style.tees[0]), (attribute, title), ("border", line + style.tees[1])]

    def _pane_title(self, pane: Pane) -> str:
        job = self.view.chosen
        if pane is Pane.HELP or job is None:
            return pane
        name = self.style.text(self.model.path(self.model.rows[job]))
        follow = " (follow)" if pane is Pane.LOG and self.view.follow else ""
        return f"{pane}: {name}{follow}"


_COUNT_ATTRIBUTES = {"run": "run", "FAIL": "fail", "skip": "skip", "cancel": "cancel"}


def _spaced(parts: list[Segment], space: str) -> Row:
    """Return segments with a space between each two."""
    row: Row = []
    for part in parts:
        row += [("", space), part] if row else [part]
    return row
