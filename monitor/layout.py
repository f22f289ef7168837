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

from . import filters, panes, states, wording
from .cells import cut_end, cut_middle, fit_right, width
from .listing import DONE_ROW
from .model import Model
from .records import JobLine
from .rows import Row, Segment, joined, padded, row_width
from .style import ASCII, UNICODE, Style
from .view import Pane, View

ATTRIBUTES = (
    "",
    "border",
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

_CLOCK = 8
_LEAST_NAME = 10
_HEADED = 8  # below so many rows the heads of the columns give way to a job
_BAR = 18
_LEAST_BAR = 5
"""Cells of the clock column, of the narrowest name column, of the widest and narrowest bar."""


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
        self._listed(1)
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
        return [self._title(), self._inside(self._global()), *self._body(), self._bottom()]

    def _body(self) -> list[Row]:
        """Return all between the line of the run and the last one."""
        room = self.rows - 3  # title, line of the run, bottom
        view = self.view
        if view.pane is Pane.HELP:
            self._listed(view.page)
            return [self._rule(self._pane_title(Pane.HELP)), *self._pane(Pane.HELP, room - 1)]
        if self.columns >= TWO_PANES:
            return self._side_by_side(room)
        if view.pane is None:
            return self._list(self.columns, room)
        below = self._pane_height(room)
        over = self._list(self.columns, room - below - 1)
        return [*over, self._rule(self._pane_title(view.pane)), *self._pane(view.pane, below)]

    @staticmethod
    def _pane_height(room: int) -> int:
        """Return how many lines a pane below the list has; the list keeps at least one row."""
        return max(min((room - 1) * 2 // 5, room - 3), 0)

    def _side_by_side(self, room: int) -> list[Row]:
        left = self.columns * 3 // 5
        listed = self._list(left, room)
        right = self.columns - left + 1  # the line between them belongs to both
        pane = self.view.pane or Pane.DETAILS
        heading = self._rule(self._pane_title(pane), right)
        content = self._pane(pane, room - 1, right)
        drawn = []
        for index, (row, beside) in enumerate(zip(listed, [heading, *content], strict=True)):
            middle = self.style.tees[2] if index == 0 else self.style.down
            drawn.append(joined(row, ("border", middle), beside))
        return drawn

    def _title(self) -> Row:
        """Return the upper border: label, what the run is about to do, time of day, duration."""
        run, style = self.model.run, self.style
        clock = time.strftime("%H:%M:%S", time.localtime(self.wall))
        right = f" {clock}  {wording.run_clock(run.took(self.now))} "
        label = f" {style.text(run.label)} " if run.label else ""
        note, attribute = self._run_note()
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
        told = wording.counted(counts, failed)
        percent = f"{counts.percent}%"
        room = self.columns - 4
        for word in ("", "wait", "ready", "cancel", "skip", "run"):
            told = [part for part in told if not (word and part.endswith(word))]
            used = sum(map(len, told)) + 2 * len(told) + len(percent)
            if used <= room:
                break
        segments: Row = []
        for part in told:
            segments += [(_COUNT_ATTRIBUTES.get(part.split()[-1], ""), part), ("", "  ")]
        bar = min(room - used - 1, 2 * _BAR)
        if bar >= _LEAST_BAR:
            full, empty = self.style.bar(counts.percent, bar)
            segments += [("", " " * (room - used - bar - 1)), ("bar", full), ("empty", empty)]
            segments.append(("", " "))
        else:
            segments.append(("", " " * (room - used)))
        return [*segments, ("head", percent)]

    # ---- frame lines

    def _inside(self, row: Row, columns: int | None = None) -> Row:
        """Return a row between two borders, with a space on either side."""
        inner = padded(row, (columns or self.columns) - 4)
        down = self.style.down
        return [("border", f"{down} "), *inner, ("border", f" {down}")]

    def _rule(self, title: str, columns: int | None = None) -> Row:
        """Return a line across with a title in it."""
        columns = columns or self.columns
        style = self.style
        text = cut_end(f" {title} ", columns - 3, style.dots) if title else ""
        line = style.across * (columns - 2 - width(text))
        return [("border", style.tees[0]), ("head", text), ("border", line + style.tees[1])]

    def _bottom(self) -> Row:
        """Return the lower border, with what is asked or told, else the keys."""
        view, style = self.view, self.style
        attribute, text = "head", panes.key_hints(style)
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
        text = f"/{style.text(view.filter)}"
        problem = filters.parse(view.filter).problem
        if problem:
            text += f"   {style.text(problem)}"
        elif not view.typing:
            text += "   (Esc: all jobs again)"
        return ("question" if view.typing else "notice"), text

    # ---- the list

    def _listed(self, room: int) -> range:
        """Bring the listing up to date and tell the view; return which rows are to be drawn."""
        view = self.view
        listing = view.listing
        listing.update(
            self.model, self.now, sort=view.sort, filter_text=view.filter, folded=view.folded
        )
        shown = listing.rows(room, done_open=view.done_open, cursor=view.cursor)
        return view.look_at(shown, room)

    def _list(self, columns: int, rows: int) -> list[Row]:
        """Return the list of jobs with its upper rule, `rows` rows in all."""
        headed = self.rows >= _HEADED and rows >= _HEADED // 2
        room = rows - 1 - headed
        visible = self._listed(room)
        name = self._name_width(columns)
        state = columns - _CLOCK - name - 5  # two borders, two lines between, the scroll bar
        bar = self._scroll_bar(rows - 1, len(self.view.shown), visible)
        cells = self._heads(name, state) if headed else []
        for place in visible:
            cells.append(self._job_row(place, name, state))
        blank = self._cells(("", ""), [("", "")], [("", "")], name, state)
        cells += [blank] * (rows - 1 - len(cells))
        style = self.style
        rule = (
            style.tees[0]
            + style.tees[2].join(style.across * cells for cells in (_CLOCK, name, state + 1))
            + style.tees[1]
        )
        drawn: list[Row] = [[("border", rule)]]
        for row, mark in zip(cells, bar, strict=True):
            drawn.append([*row, ("border", mark + style.down)])
        return drawn

    def _name_width(self, columns: int) -> int:
        """Return the width of the name column: what the longest name needs, within a third."""
        wanted = self.model.longest + 3  # glyph, space, name, space
        return max(min(wanted, columns // 3), _LEAST_NAME)

    def _heads(self, name: int, state: int) -> list[Row]:
        heads = f"job ({self.view.sort})" if self.view.sort != "state" else "job"
        return [
            self._cells(
                ("head", "time  "), [("head", f" {heads}")], [("head", " status")], name, state
            )
        ]

    def _cells(self, clock: Segment, name: Row, status: Row, names: int, statuses: int) -> Row:
        """Return a row of the list, up to its scroll bar."""
        down = self.style.down
        return [
            ("border", down),
            (clock[0], fit_right(clock[1], _CLOCK - 1) + " "),
            ("border", down),
            *padded(name, names),
            ("border", down),
            *padded(status, statuses),
        ]

    def _job_row(self, place: int, names: int, statuses: int) -> Row:
        """Return the row of one job, or the one that stands for all finished ones."""
        job = self.view.shown[place]
        if job == DONE_ROW:
            look = states.FINISHED
            clock: Segment = ("dim", "")
            text = f" {self.view.listing.done_jobs} {look.word}"
            name: Row = [(look.attribute, self.style.glyph(look) + text)]
            status: Row = [
                ("dim", " space: hide them" if self.view.done_open else " space: show them")
            ]
        else:
            line = self.model.rows[job]
            clock = ("dim", wording.job_clock(line, self.now))
            name = self._name(line, names)
            status = [("", " "), *self._status(line, statuses - 1)]
        if place == self.view.place and not (self.view.in_pane and self.view.pane):
            clock = ("cursor", clock[1])
            name = [("cursor", text) for _, text in padded(name, names)]
        return self._cells(clock, name, status, names, statuses)

    def _name(self, line: JobLine, cells: int) -> Row:
        look, style = line.shown_look, self.style
        mark = ""
        parent = self.model.parent(line)
        while parent is not None:
            mark += "  "
            parent = self.model.parent(parent)
        if line.group is not None:
            mark += (style.folded if line.id in self.view.folded else style.unfolded) + " "
        mark = mark[: max(cells - 6, 0)]
        label = cut_middle(style.text(line.label), cells - 3 - len(mark), style.dots)
        return [(look.attribute, style.glyph(look) + " "), ("", mark + label)]

    def _status(self, line: JobLine, cells: int) -> Row:
        """Return what the status column says: for a running job that told how far it is, a bar."""
        style = self.style
        text = style.text(wording.status(self.model, line, self.now))
        if line.look is not states.RUNNING or line.percent is None or line.group is not None:
            attribute = line.shown_look.attribute if line.look in _LOUD else ""
            return [(attribute, cut_end(text, cells, style.dots))]
        figure = f"{line.percent:3.0f}%"
        length = max(min(cells * 2 // 5, _BAR), 0)
        full, empty = style.bar(line.percent, length)
        row: Row = [("bar", full), ("empty", empty), ("", f" {figure}")]
        return [*row, ("", f"  {text}")] if text else row

    def _scroll_bar(self, rows: int, total: int, visible: range) -> list[str]:
        """Return a character for each of `rows`: where the visible part is; blank if all is."""
        if len(visible) >= total or rows < 1:
            return [" "] * rows
        style = self.style
        track = [style.down] * rows
        size = max(rows * len(visible) // total, 1)
        first = (rows - size) * visible.start // max(total - len(visible), 1)
        track[first : first + size] = [style.thumb] * size
        if visible.start > 0:
            track[0] = style.up
        if visible.stop < total:
            track[-1] = style.down_mark
        return track

    # ---- the pane

    def _pane_title(self, pane: Pane) -> str:
        job = self.view.chosen
        if pane is Pane.HELP or job is None:
            return pane.value
        label = self.style.text(self.model.rows[job].label)
        follow = " (follow)" if pane is Pane.LOG and self.view.follow else ""
        return f"{pane.value}: {label}{follow}"

    def _pane(self, pane: Pane, rows: int, columns: int | None = None) -> list[Row]:
        """Return `rows` rows of a pane between borders."""
        columns = columns or self.columns
        view = self.view
        told = panes.Panes(self.model, self.style, columns - 4, rows, self.now)
        lines = list(told.content(pane, view.chosen))
        visible = view.look_into(len(lines), rows)
        content = lines[visible.start : visible.stop]
        content += [[] for _ in range(rows - len(content))]
        return [self._inside(line, columns) for line in content]


_LOUD = frozenset({states.FAILED, states.STOPPING, states.RETRY, states.CANCELLED, states.SKIPPED})
"""Looks whose status has their colour."""

_COUNT_ATTRIBUTES = {"run": "run", "FAIL": "fail", "skip": "skip", "cancel": "cancel"}


def _spaced(parts: list[Segment], space: str) -> Row:
    """Return segments with a space between each two."""
    row: Row = []
    for part in parts:
        row += [("", space), part] if row else [part]
    return row
