"""What the user has chosen to see, and the operations that keys stand for.

A view knows nothing of keys, of terminals or of how rows are drawn.  Beside what the user chose it
remembers what was drawn last (`shown`, `page`, ...), as that is what keys act upon: the second
press of an arrow goes on from the row where the user saw the cursor after the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .listing import DONE_ROW, Listing, Sort
from .model import Model
from .states import FAILED


class Pane(StrEnum):
    """What can be looked at beside the list."""

    LOG = "log"
    DETAILS = "details"
    WHY = "why"
    HELP = "help"


@dataclass(slots=True)
class View:
    """What the user has chosen.

    Attributes:
        ascii_only: draw with ASCII characters only.
        cursor: id of the job it stays on, or None for the first row, whichever that is.
        top: how many rows are above the first that is shown.
        filter: see :mod:`monitor.filters`.
        typing: the filter is being typed.
        sort: the order of the rows.
        folded: ids of the groups whose members are hidden.
        done_open: the finished jobs are shown although there is no room for all.
        pane: what is open beside the list, or None.
        in_pane: the keys that move act on the pane.
        pane_top: how many lines of the pane are above the first that is shown.
        follow: the log pane stays at its end.
        question: what is asked (yes or no), or empty.
        notice: what the user is told, or empty.
        shown: ids of the rows drawn last, all of them, in their order.
        place: where among them the cursor is, from 0.
        page, pane_page: how many rows of the list and of the pane had room.
        pane_lines: how many lines the pane had.
    """

    ascii_only: bool = False
    cursor: str | None = None
    top: int = 0
    filter: str = ""
    typing: bool = False
    sort: Sort = Sort.STATE
    folded: set[str] = field(default_factory=set)
    done_open: bool = False
    pane: Pane | None = None
    in_pane: bool = False
    pane_top: int = 0
    follow: bool = True
    question: str = ""
    notice: str = ""
    shown: list[str] = field(default_factory=list)
    place: int = 0
    page: int = 1
    pane_page: int = 1
    pane_lines: int = 0
    listing: Listing = field(default_factory=Listing)

    # ---- where the cursor is

    @property
    def chosen(self) -> str | None:
        """Id of the job under the cursor, None if there is none."""
        job = self.shown[self.place] if self.shown else None
        return None if job == DONE_ROW else job

    def look_at(self, shown: list[str], page: int) -> range:
        """Take the rows that are to be drawn and room for `page` of them; return which to draw.

        The cursor stays on its job.  If that is not among the rows any more, it goes to the row
        that came to its place.
        """
        try:
            self.place = 0 if self.cursor is None else shown.index(self.cursor)
        except ValueError:
            self.place = max(min(self.place, len(shown) - 1), 0)
            self.cursor = shown[self.place] if shown else None
        self.shown, self.page = shown, max(page, 1)
        lowest = max(len(shown) - self.page, 0)
        self.top = min(max(self.top, self.place - self.page + 1), self.place, lowest)
        return range(self.top, min(self.top + self.page, len(shown)))

    def look_into(self, lines: int, page: int) -> range:
        """Take how many lines the pane has and how many have room; return which to draw."""
        self.pane_lines, self.pane_page = lines, max(page, 1)
        lowest = max(lines - self.pane_page, 0)
        at_end = self.follow and self.pane is Pane.LOG
        self.pane_top = lowest if at_end else min(self.pane_top, lowest)
        return range(self.pane_top, min(self.pane_top + self.pane_page, lines))

    # ---- moving

    def move(self, rows: int) -> None:
        """Go down so many rows, or up if negative; in the pane if that is where the user is."""
        if self.in_pane and self.pane is not None:
            self._move_pane(rows)
        elif self.shown:
            self._put(min(max(self.place + rows, 0), len(self.shown) - 1))

    def move_pages(self, pages: int) -> None:
        """Go down so many pages, or up if negative."""
        page = self.pane_page if self.in_pane and self.pane is not None else self.page
        self.move(pages * max(page - 1, 1))

    def home(self) -> None:
        """Go to the first row and stay with it, whichever job comes there."""
        if self.in_pane and self.pane is not None:
            self._move_pane(-self.pane_lines)
        else:
            self.cursor, self.place, self.top = None, 0, 0

    def end(self) -> None:
        """Go to the last row."""
        self.move(max(len(self.shown), self.pane_lines))

    def next_failure(self, model: Model, step: int = 1) -> bool:
        """Go to the next row (or with -1 to the one before) that failed; tell whether there is one.

        After the last comes the first.
        """
        failed = [
            place
            for place, job in enumerate(self.shown)
            if job in model.rows and model.rows[job].shown_look is FAILED
        ]
        if not failed:
            return False
        here = self.place
        if step > 0:
            self._put(next((place for place in failed if place > here), failed[0]))
        else:
            self._put(next((place for place in reversed(failed) if place < here), failed[-1]))
        return True

    def _put(self, place: int) -> None:
        self.place, self.cursor = place, self.shown[place]

    def _move_pane(self, lines: int) -> None:
        lowest = max(self.pane_lines - self.pane_page, 0)
        self.pane_top = min(max(self.pane_top + lines, 0), lowest)
        self.follow = self.pane_top == lowest

    # ---- choosing

    def toggle(self, pane: Pane) -> None:
        """Open a pane, or close it if it is the one that is open."""
        self.pane = None if self.pane is pane else pane
        self.in_pane = self.pane is Pane.HELP
        self.pane_top, self.follow = 0, True

    def close(self) -> bool:
        """Close the pane, else drop the filter; False if there was neither."""
        if self.pane is not None:
            self.toggle(self.pane)
            return True
        had, self.filter = bool(self.filter), ""
        return had

    def switch(self) -> None:
        """Go from the list to the pane, or back; opens the details if no pane is open."""
        if self.pane is None:
            self.toggle(Pane.DETAILS)
            self.in_pane = True
        else:
            self.in_pane = not self.in_pane

    def toggle_follow(self) -> None:
        """Keep the log at its end, or let go of it."""
        self.follow = not self.follow

    def next_sort(self) -> None:
        """Go to the next order."""
        orders = list(Sort)
        self.sort = orders[(orders.index(self.sort) + 1) % len(orders)]

    def fold(self, model: Model) -> None:
        """Fold or unfold the group under the cursor, or the one that the job is in."""
        if not self.shown:
            return
        job = self.shown[self.place]
        if job == DONE_ROW:
            self.done_open = not self.done_open
            return
        line = model.rows[job]
        if line.group is None:
            parent = model.parent(line)
            if parent is None:
                return
            line = parent
            self.cursor = line.id
        self.folded ^= {line.id}

    # ---- typing a filter

    def type_filter(self) -> None:
        """Begin to type a filter."""
        self.typing = True

    def type(self, text: str) -> None:
        """Add what was typed; the list follows at once."""
        self.filter += text

    def erase(self) -> None:
        """Take back the last character."""
        self.filter = self.filter[:-1]

    def keep_filter(self) -> None:
        """Stop typing and keep the filter."""
        self.typing = False

    def drop_filter(self) -> None:
        """Stop typing and show everything again."""
        self.typing, self.filter = False, ""
