"""Which jobs have a row, and in which order: sorted, filtered and folded.

Sorting ten thousand jobs takes some milliseconds, so a :class:`Listing` keeps what it has sorted
until the view asks for something else or the order may have changed, and then sorts a big run at
most twice a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from itertools import takewhile
from operator import attrgetter

from . import filters, states
from .model import Model
from .records import JobLine

DONE_ROW = ""
"""Stands, in place of a job's id, for the row that is drawn for all finished jobs."""

BIG = 1000
"""From so many jobs on, a listing is sorted again at most each `PAUSE` seconds."""

PAUSE = 0.5


# Asked of ten thousand lines twice a second.
_GROUP = attrgetter("group")
_ID = attrgetter("row.id")
_MISSING = attrgetter("missing")


class Sort(StrEnum):
    """The orders there are."""

    STATE = "state"
    ORDER = "order"
    NAME = "name"
    TIME = "time"


class Listing:
    """The rows of a model in the order of a view.

    Attributes:
        active: ids of all rows but those that `done` holds.
        done: ids of finished rows that may give way to one row for all, last ended first.
        done_jobs: how many jobs these are, the members of groups counted.
    """

    def __init__(self) -> None:
        self.active: list[str] = []
        self.done: list[str] = []
        self.done_jobs = 0
        self._asked: tuple[object, ...] = ()
        self._order_version = -1
        self._sorted_at = 0.0

    def rows(self, room: int, *, done_open: bool = False, cursor: str | None = None) -> list[str]:
        """Return the ids of the rows that are to be shown where `room` of them fit at a time.

        The finished ones are rows while there is room for all, else :data:`DONE_ROW` stands for
        them, followed by them if `done_open`, or by the one that has the cursor.
        """
        if len(self.done) <= 1 or len(self.active) + len(self.done) <= room:
            return self.active + self.done
        if done_open:
            return [*self.active, DONE_ROW, *self.done]
        return [*self.active, DONE_ROW, *([cursor] if cursor in self.done else [])]

    def update(
        self, model: Model, now: float, *, sort: Sort, filter_text: str, folded: Iterable[str]
    ) -> None:
        """Sort again if there is a reason to.

        Args:
            model: the run.
            now: monotonic seconds.
            sort: the order.
            filter_text: which jobs to leave out, see :mod:`monitor.filters`.
            folded: ids of the groups whose members are left out.
        """
        asked = (id(model), sort, filter_text, frozenset(folded))
        if asked == self._asked:
            if model.order_version == self._order_version:
                return
            if len(model.rows) >= BIG and 0 <= now - self._sorted_at < PAUSE:
                return
        self._asked, self._order_version, self._sorted_at = asked, model.order_version, now
        self._sort(model, sort, filter_text, frozenset(folded))

    def _sort(self, model: Model, sort: Sort, filter_text: str, folded: frozenset[str]) -> None:
        lines = model.root.members
        wanted = _wanted(model, filter_text) if filter_text.strip() else None
        if wanted is not None:
            lines = [line for line in lines if line.id in wanted]
        lines = _ORDERS[sort](lines)
        self.done, self.done_jobs = [], 0
        if sort is Sort.STATE and wanted is None:
            done = list(takewhile(_is_done, reversed(lines)))[::-1]
            lines = lines[: len(lines) - len(done)]
            self.done = _unfolded(model, done, sort, folded, None)
            self.done_jobs = sum(line.group.counts.done if line.group else 1 for line in done)
        self.active = _unfolded(model, lines, sort, folded, wanted)


def _wanted(model: Model, filter_text: str) -> set[str]:
    """Return the ids of the jobs that match, and of the groups that hold some of them."""
    chosen = filters.parse(filter_text)
    wanted: set[str] = set()
    for line in model.rows.values():
        if chosen.matches(line):
            group: JobLine | None = line
            while group is not None and group.id not in wanted:
                wanted.add(group.id)
                group = model.parent(group)
    return wanted


def _unfolded(
    model: Model,
    lines: list[JobLine],
    sort: Sort,
    folded: frozenset[str],
    wanted: set[str] | None,
) -> list[str]:
    """Return the ids of `lines`, the members of each group after it."""
    rows: list[str] = []
    if not any(map(_GROUP, lines)):
        return list(map(_ID, lines))
    for line in lines:
        rows.append(line.id)
        if line.group is not None and line.id not in folded:
            members = line.group.members
            if wanted is not None:
                members = [member for member in members if member.id in wanted]
            rows.extend(_unfolded(model, _ORDERS[sort](members), sort, folded, wanted))
    return rows


def _by_state(lines: list[JobLine]) -> list[JobLine]:
    """Sort by rank; within one, what is most of interest first, else in the order of the run."""
    ranks: list[list[JobLine]] = [[] for _ in range(states.RANKS)]
    for line in lines:
        ranks[line.look.rank if line.group is None else line.rank].append(line)
    ranks[states.RUNNING.rank].sort(key=_longest_first)
    ranks[states.IDLE.rank].sort(key=_MISSING)
    ranks[states.FINISHED.rank].sort(key=_last_ended_first)
    return [line for rank in ranks for line in rank]


def _is_done(line: JobLine) -> bool:
    return line.rank == states.FINISHED.rank


def _longest_first(line: JobLine) -> float:
    return line.attempt_at or 0.0


def _last_ended_first(line: JobLine) -> float:
    return -(line.ended_at or 0.0)


def _by_name(lines: list[JobLine]) -> list[JobLine]:
    return sorted(lines, key=lambda line: line.label.lower())


def _by_time(lines: list[JobLine]) -> list[JobLine]:
    """Sort by how long they took, longest first; those that run come first, then the others."""
    return sorted(lines, key=_time_key)


def _time_key(line: JobLine) -> tuple[bool, bool, float]:
    if line.started_at is None:
        return (True, True, 0.0)
    if line.ended_at is None:
        return (False, False, line.started_at)
    return (True, False, line.started_at - line.ended_at)


_ORDERS: dict[Sort, Callable[[list[JobLine]], list[JobLine]]] = {
    Sort.STATE: _by_state,
    Sort.ORDER: list,
    Sort.NAME: _by_name,
    Sort.TIME: _by_time,
}
