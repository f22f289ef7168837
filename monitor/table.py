"""The list of jobs: a line for each that is visible, with its clock, its name and its status."""

from __future__ import annotations

from dataclasses import dataclass

from . import states, wording
from .cells import cut_end, cut_middle, fit_right
from .listing import DONE_ROW, Sort
from .model import Model
from .records import JobLine
from .rows import Row, Segment, crossed, lines_down, padded, row_width
from .style import Style
from .view import View

_CLOCK = 8
_LEAST_NAME = 10
_BAR = 18
"""Cells of the clock column, of the narrowest name column and of the widest bar."""

_NARROW = 60
"""On less columns than so many there is no clock, and names get two fifths and not a third."""

_LEAST_BARRED = 24
"""Cells of a status below which a bar gives way to what is told beside it."""

_HEADED = 8
"""With less rows than so many the heads of the columns give way to a job."""

_LOUD = frozenset({states.FAILED, states.STOPPING, states.RETRY, states.CANCELLED, states.SKIPPED})
"""Looks whose status has their colour."""


def listed(model: Model, view: View, room: int, now: float) -> range:
    """Bring the listing of a view up to date and tell the view; return which rows to draw.

    Args:
        model: the run.
        view: what the user has chosen.
        room: how many rows fit.
        now: monotonic seconds.
    """
    listing = view.listing
    listing.update(model, now, sort=view.sort, filter_text=view.filter, folded=view.folded)
    shown = listing.rows(room, done_open=view.done_open, cursor=view.cursor)
    return view.look_at(shown, room)


@dataclass(frozen=True, slots=True)
class Table:
    """The list of jobs in one frame.

    Attributes:
        model: the run.
        view: what the user has chosen.
        style: the characters to draw with.
        columns: cells of a row, borders included.
        now: monotonic seconds.
    """

    model: Model
    view: View
    style: Style
    columns: int
    now: float

    def rows(self, count: int) -> list[Row]:
        """Return the list with its upper border, `count` rows in all, at least two."""
        headed = count >= _HEADED
        visible = listed(self.model, self.view, count - 1 - headed, self.now)
        rows = [self._heads()] if headed else []
        rows += [self._row(place) for place in visible]
        rows += [self._cells(("", ""), [], [])] * (count - 1 - len(rows))
        marks = self._scroll_bar(count - 1, visible)
        drawn = [
            [*row, ("scroll", mark), ("border", self.style.down)]
            for row, mark in zip(rows, marks, strict=True)
        ]
        return [self._border(drawn[0]), *drawn]

    # ---- columns

    @property
    def _names(self) -> int:
        """Cells of the name column: what the longest name needs, within a third."""
        wanted = self.model.longest + 3  # glyph, space, name, space
        most = self.columns * 2 // 5 if self._narrow else self.columns // 3
        return max(min(wanted, most), _LEAST_NAME)

    @property
    def _statuses(self) -> int:
        """Cells of the status column: what is left by two borders, a line, the scroll bar."""
        clock = 0 if self._narrow else _CLOCK + 1
        return self.columns - clock - self._names - 4

    @property
    def _narrow(self) -> bool:
        return self.columns < _NARROW

    def _border(self, below: Row) -> Row:
        style = self.style
        border = style.tees[0] + style.across * (self.columns - 2) + style.tees[1]
        return crossed(
            [("border", border)], lines_down(below, style.down), style.across, style.tees[2]
        )

    def _heads(self) -> Row:
        sort = self.view.sort
        name = " job" if sort is Sort.STATE else f" job (by {sort})"
        return self._cells(("head", "time  "), [("head", name)], [("head", " status")])

    def _cells(self, clock: Segment, name: Row, status: Row) -> Row:
        """Return a row up to its scroll bar."""
        border = ("border", self.style.down)
        clocks = [] if self._narrow else [(clock[0], fit_right(clock[1], _CLOCK - 1) + " "), border]
        return [
            border,
            *clocks,
            *padded(name, self._names),
            border,
            *padded(status, self._statuses),
        ]

    def _scroll_bar(self, rows: int, visible: range) -> list[str]:
        """Return a character for each of `rows`: where the visible part is; blank if all is."""
        total = len(self.view.shown)
        if len(visible) >= total:
            return [" "] * rows
        style = self.style
        track = [style.down] * rows
        size = max(rows * len(visible) // total, 1)
        first = (rows - size) * visible.start // (total - len(visible))
        track[first : first + size] = [style.thumb] * size
        if visible.start > 0:
            track[0] = style.up
        if visible.stop < total:
            track[-1] = style.down_mark
        return track

    # ---- rows

    def _row(self, place: int) -> Row:
        """Return the row of one job, or the one that stands for all finished ones."""
        job = self.view.shown[place]
        clock: Segment = ("", "")
        if job == DONE_ROW:
            name, status = self._done()
        else:
            line = self.model.rows[job]
            clock = ("dim", wording.job_clock(line, self.now))
            name, status = self._name(line), self._status(line)
        if place == self.view.place and not (self.view.in_pane and self.view.pane):
            clock = ("cursor", clock[1])
            name = [("cursor", text) for _, text in padded(name, self._names)]
        return self._cells(clock, name, [("", " "), *status])

    def _done(self) -> tuple[Row, Row]:
        """Return name and status of the row for all finished jobs."""
        look = states.FINISHED
        text = f"{self.style.glyph(look)} {self.view.listing.done_jobs} {look.word}"
        hint = "space: hide them" if self.view.done_open else "space: show them"
        return [(look.attribute, text)], [("dim", hint)]

    def _name(self, line: JobLine) -> Row:
        """Return glyph and name, set in below its group; a long name is cut in the middle."""
        look, style = line.shown_look, self.style
        mark = "  " * len(self.model.parents(line))
        if line.group is not None:
            mark += f"{style.folded if line.id in self.view.folded else style.unfolded} "
        mark = mark[: self._names // 2]
        label = cut_middle(style.text(line.label), self._names - 3 - len(mark), style.dots)
        return [(look.attribute, f"{style.glyph(look)} "), ("", mark + label)]

    def _status(self, line: JobLine) -> Row:
        """Return the status; for a running job that told how far it is, with a bar."""
        style, room = self.style, self._statuses - 1
        if line.look is states.FAILED and line.group is None:
            return [(line.look.attribute, wording.failure(line, style, room))]
        text = style.text(wording.status(self.model, line, self.now, room))
        if line.look is not states.RUNNING or line.percent is None or line.group is not None:
            attribute = line.look.attribute if line.look in _LOUD else ""
            return [(attribute, cut_end(text, room, style.dots))]
        bar = min(room * 2 // 5, _BAR) if room >= _LEAST_BARRED else 0
        full, empty = style.bar(line.percent, bar)
        row: Row = [("bar", full), ("empty", empty), ("", f" {line.percent:3.0f}%"[not bar :])]
        left = room - row_width(row) - 2
        return [*row, ("", f"  {cut_end(text, left, style.dots)}")] if text else row
