"""What the panes beside the list say: the log of a job, its details, why it waits, the keys."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from engine import State

from . import states, wording
from .cells import clean, cut_end, width, wrap
from .keys import KEYS
from .model import Model
from .records import TAIL_LINES, JobLine, Said
from .rows import Row
from .style import Style
from .view import Pane

DEPTH = 8
"""How many requirements of requirements the pane that explains waiting goes down."""

BREADTH = 12
"""How many requirements of one job it names."""

LINES = 100
"""How many lines it has at most: a large graph must not be walked at each frame."""

_NAME = 10
_TIME = 9
"""Cells of the names of facts in the details, and of the time of a line of output."""

_NOT_BEGUN = frozenset({State.IDLE, State.SCHEDULED})
_FOR_THE_WORSE = frozenset({State.FAILED, State.CANCELLED, State.SKIPPED})


def key_hints(style: Style) -> str:
    """Return the keys that are worth a reminder, for the last line of the screen."""
    hints = [(key.shown.split()[0], key.hint) for key in KEYS if key.hint]
    return "  ".join(f"{style.enter if name == 'Enter' else name} {hint}" for name, hint in hints)


@lru_cache(maxsize=2 * TAIL_LINES)
def _wrapped(text: str, cells: int, ascii_only: bool) -> list[str]:
    """Return a line of output in rows; that of a log that is open is asked for at each frame."""
    return wrap(clean(text, ascii_only=ascii_only), cells)


@dataclass(frozen=True, slots=True)
class Panes:
    """The panes of one frame.

    Attributes:
        model: the run.
        style: the characters to draw with.
        columns: cells that a line should take at most; longer ones are cut by who draws them.
        rows: how many lines have room at a time.
        now: monotonic seconds.
    """

    model: Model
    style: Style
    columns: int
    rows: int
    now: float

    def content(self, pane: Pane, job: str | None) -> Iterator[Row]:
        """Return the lines of a pane.

        Args:
            pane: which one.
            job: id of the job that it is about, None if there is none.
        """
        if pane is Pane.HELP:
            return self._help()
        if job is None:
            return iter([[("dim", "no job is chosen")]])
        line = self.model.rows[job]
        if pane is Pane.LOG:
            return self._log(line)
        return self._details(line) if pane is Pane.DETAILS else islice(self._why(line), LINES)

    def _help(self) -> Iterator[Row]:
        """Tell the keys and what the glyphs mean."""
        room = max(len(key.shown) for key in KEYS)
        for key in KEYS:
            yield [("head", f"{key.shown:{room}}"), ("", f"  {key.help}")]
        yield []
        for look in states.LOOKS:
            yield [(look.attribute, f"{self.style.glyph(look):>{room}}"), ("", f"  {look.word}")]

    def _log(self, line: JobLine) -> Iterator[Row]:
        """Tell the last lines that a job printed."""
        if line.outputs > len(line.tail):
            yield [("dim", f"({line.outputs - len(line.tail)} lines before these)")]
        yield from self._printed(line.tail)
        if not line.tail:
            yield [("dim", "no output" if line.state.is_over else "no output yet")]

    def _printed(self, lines: Iterable[Said]) -> Iterator[Row]:
        """Tell lines of output, long ones in several rows; ``!`` marks what went to stderr."""
        room = max(self.columns - _TIME, 1)
        for said in lines:
            clock = time.strftime("%H:%M:%S", time.localtime(said.wall))
            mark = "!" if said.stream == "stderr" else " "
            first, *rest = _wrapped(said.text, room, self.style.ascii_only)
            yield [("dim", f"{clock}{mark}"), ("", first)]
            for part in rest:
                yield [("", f"{'':{_TIME}}{part}")]

    # ---- details

    def _details(self, line: JobLine) -> Iterator[Row]:
        """Tell all that is known of a job, and of its output as much as there is room for."""
        facts = list(self._about(line))
        yield from facts
        room = max(self.rows - len(facts) - 1, 0)
        if line.tail and room:
            yield []
            yield from list(self._printed(list(line.tail)[-room:]))[-room:]

    def _about(self, line: JobLine) -> Iterator[Row]:
        style = self.style
        look = line.shown_look
        yield [(look.attribute, f"{style.glyph(look)} {line.look.plain}")]
        for part in wrap(style.text(wording.status(self.model, line, self.now)), self.columns):
            yield [("", part)]
        for name, value in self._facts(line):
            for index, part in enumerate(wrap(style.text(value), max(self.columns - _NAME, 1))):
                yield [("head", f"{'' if index else name:{_NAME}}"), ("", part)]
        yield from self._others("requires", line.row.requires)
        yield from self._others("after", line.row.after)
        yield from self._others("allows", self.model.dependents(line.id))

    def _facts(self, line: JobLine) -> Iterator[tuple[str, str]]:
        """Tell what there is to say of a job, as names and values."""
        row = line.row
        yield "job", f"{self.model.path(line)} ({row.kind} {row.id})"
        if row.host:
            yield "host", row.host
        took = line.took(self.now)
        if took is not None:
            over = line.ended_at is not None
            yield ("took", wording.exact(took)) if over else ("since", wording.duration(took))
        if line.attempt > 1 or line.attempts != 1:
            yield "attempt", f"{line.attempt} of {line.attempts or 'any number'}"
        if line.message:
            yield "reported", line.message
        if row.pool:
            yield "pool", row.pool
        if row.window is not None:
            yield "window", str(row.window)
        if row.forever:
            yield "ends", "never by itself"
        if not row.critical:
            yield "critical", "no"

    def _others(self, name: str, jobs: Sequence[str]) -> Iterator[Row]:
        """Tell the jobs that another one is related to, one on each line."""
        known = (self.model.rows[job] for job in jobs if job in self.model.rows)
        for index, other in enumerate(islice(known, BREADTH)):
            look = other.shown_look
            yield [
                ("head", f"{'' if index else name:{_NAME}}"),
                (look.attribute, f"{self.style.glyph(look)} "),
                ("", self.style.text(other.label)),
            ]
        if len(jobs) > BREADTH:
            yield [("dim", f"{'':{_NAME}}+{len(jobs) - BREADTH}")]

    # ---- why it waits

    def _why(self, line: JobLine) -> Iterator[Row]:
        """Tell why a job is as it is, and why what it waits for is, down to what runs or failed."""
        look = line.shown_look
        text = self.style.text(f"{line.label}: {wording.status(self.model, line, self.now)}")
        for index, part in enumerate(wrap(text, max(self.columns - 2, 1))):
            glyph = "  " if index else f"{self.style.glyph(look)} "
            yield [(look.attribute, glyph), ("", part)]
        yield from self._why_below(line, 1, {line.id})
        if line.look is states.FAILED and line.tail:
            yield []
            yield from self._printed(line.tail)

    def _why_below(self, line: JobLine, depth: int, seen: set[str]) -> Iterator[Row]:
        """Tell what keeps a job as it is; what was told already is not opened again."""
        if line.state is State.SCHEDULED and depth > 1:
            return  # who has the slots would be told again and again
        others, count = self._reasons(line)
        for other in others[:BREADTH]:
            yield self._why_line(other, depth)
            if depth < DEPTH and other.id not in seen:
                seen.add(other.id)
                yield from self._why_below(other, depth + 1, seen)
        if count > BREADTH:
            yield [("dim", f"{'  ' * depth}+{count - BREADTH}")]

    def _reasons(self, line: JobLine) -> tuple[list[JobLine], int]:
        """Return the lines of the jobs that a job is as it is for, the first ones, and how many."""
        model = self.model
        if line.state is State.IDLE and line.missing:
            return model.waits_for(line.id, BREADTH), line.missing
        others: list[JobLine] = []
        if line.state is State.IDLE:
            parent = model.parent(line)
            others = [parent] if parent is not None and parent.state in _NOT_BEGUN else []
        elif line.state is State.SCHEDULED:
            others = model.holders(line.id)
        elif line.state is State.SKIPPED:
            required = (model.rows[job] for job in line.row.requires if job in model.rows)
            others = [other for other in required if other.state in _FOR_THE_WORSE]
        elif line.group is not None and line.state is State.RUNNING:
            others = model.unfinished(line.group)
        elif line.group is not None and line.state is State.FAILED:
            others = [other for other in line.group.members if other.state is State.FAILED]
        return others, len(others)

    def _why_line(self, line: JobLine, depth: int) -> Row:
        look, style = line.shown_look, self.style
        name = style.text(f"{line.label}: ")
        room = max(self.columns - 2 * depth - 2 - width(name), 1)
        if line.look is states.FAILED and line.group is None:
            status = wording.failure(line, style, room)
        else:
            status = wording.status(self.model, line, self.now)
        if line.look is states.RUNNING and line.percent is not None:
            status = f"{line.percent:.0f}%  {status}".rstrip()
        return [
            (look.attribute, f"{'  ' * depth}{style.glyph(look)} "),
            ("", name + cut_end(style.text(status), room, style.dots)),
        ]
