"""A run as it is shown: a reducer from ticks to what is known of each job, and counts.

Theory of operation.  :meth:`Model.apply` takes the events of one run, in their order; nothing else
changes a model.  It does no I/O and reads no clock: times come with the ticks, and "now" comes with
the question.  A reader may leave out progress and output (only the latest of a job matters), never
a state.  It may also keep reports where they can be looked up: then only those are looked at whose
jobs are asked for, which are those on the screen.

Everything that a screen asks for some times a second is kept up to date as events come in, at a
cost that does not depend on the number of jobs: the counts of the run and of each nested engine,
how many requirements of a job are not met, which rank is the worst in a group.  `version` grows
with every event and is noted on the lines that it changed, `order_version` only when the order of
the lines may change; so a reader knows what to draw again and when to sort again.

A *group* is a job that holds other jobs: a nested engine.  The run itself is the outermost group.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from engine import (
    JobAdded,
    JobOutput,
    JobProgress,
    JobReady,
    JobRow,
    JobState,
    JobStopping,
    Message,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    Tick,
)

from . import states
from .cells import clean, width
from .queue import Report
from .records import NO_TAIL, TAIL_LINES, Counts, Group, JobLine, RunFacts, Said
from .states import look_of

TAIL_LINES_FINISHED = 40
"""How many are left once it has finished: a big run must not keep the output of thousands."""

LINE_LENGTH = 2_000
"""Longer lines of output are cut to so many characters."""

MESSAGES = 500
"""How many of the last messages of the engine are kept."""

NAMED = 2
"""How many of the jobs that a job waits for are named in one line."""

# Before Python 3.12 to look up a member of an enumeration takes as long as all else that is done
# with an event.
_RUNNING, _SCHEDULED = State.RUNNING, State.SCHEDULED
_FINISHED, _FAILED = State.FINISHED, State.FAILED


def _no_report(job: str) -> Report | None:
    """Know of no report: all of them come as events."""


class Model:
    """One run, as far as its ticks have told.

    Args:
        latest: returns the last report of a job, of those that do not come as events.

    >>> from engine import JobRow, JobState, RunStarted, State
    >>> model = Model()
    >>> model.apply(RunStarted("r", 0, 10.0, 1.7e9, "demo", (JobRow("1", "load", "Job"),)))
    >>> model.apply(JobState("r", 1, 10.0, 1.7e9, "1", State.IDLE, State.RUNNING))
    >>> model.rows["1"].look.glyph, model.counts.run, model.counts.percent
    ('▶', 1, 0)

    Attributes:
        rows: a line for each job, by its id, in the order in which they were told.
        root: what is known of all jobs together.
        run: what is known of the run.
        log: the last messages of the engine.
        failures: ids of what failed, in that order: jobs, and groups that failed of themselves.
        version: grows with every event.
        order_version: grows with every event that may change the order of the lines.
        longest: cells that the longest label takes, two more for each group that it is in,
            and for the mark of one.
        longest_path: cells that the longest path takes.
    """

    def __init__(self, latest: Callable[[str], Report | None] = _no_report) -> None:
        self.latest = latest
        self.rows: dict[str, JobLine] = {}
        self.root = Group()
        self.run = RunFacts()
        self.log: deque[Message] = deque(maxlen=MESSAGES)
        self.failures: list[str] = []
        self.version = 0
        self.order_version = 0
        self.longest = 0
        self.longest_path = 0
        self._dependents: dict[str, list[str]] = {}

    @property
    def counts(self) -> Counts:
        """How many jobs of the run are in each state."""
        return self.root.counts

    def apply(self, tick: Tick) -> None:
        """Take one event; events of a kind that this release does not know change nothing."""
        self.version += 1
        match tick:
            case JobState():
                self._job_state(tick)
            case JobProgress():
                self._job_progress(tick)
            case JobOutput():
                self._job_output(tick)
            case JobReady():
                self._job_ready(tick)
            case JobStopping():
                self._job_stopping(tick)
            case Message():
                self.log.append(tick)
            case JobAdded():
                self._add([tick.row])
            case RunStarted() | RunStopping() | RunEnded():
                self._run_tick(tick)

    def look_up(self, line: JobLine) -> None:
        """Take what a job has reported last, if that does not come as an event."""
        report = self.latest(line.id)
        if report is not None and report is not line.report:
            line.report = report
            percent, done, total, message, seq = report
            said = line.said
            self._take_report(line, percent, done, total, message)
            if seq < line.said_seq:
                line.said = said

    # ---- questions

    def has_begun(self, job: str) -> bool:
        """Tell whether a job is known to have begun."""
        line = self.rows.get(job)
        return line is not None and line.attempt_at is not None

    def waits_for(self, job: str, most: int | None = None) -> list[JobLine]:
        """Return the lines of the jobs that keep this one from starting, in its own order.

        Args:
            job: its id.
            most: at most so many of them; `missing` of its line says how many there are.
        """
        line = self.rows[job]
        wanted = (self.rows[other] for other in islice(line.wanted, line.met_first, None))
        return list(islice((other for other in wanted if not other.met), most))

    def holders(self, job: str) -> list[JobLine]:
        """Return the lines of the jobs that have the slots that a queued one waits for."""
        line = self.rows[job]
        if line.look is not states.SCHEDULED:
            return []
        if self._is_window_full(line):
            members = self._group_of(line).members
            return [it for it in members if it.state is _RUNNING and not it.row.forever]
        pool = line.row.pool
        if pool is None:
            return []
        return [it for it in self.rows.values() if it.state is _RUNNING and it.row.pool == pool]

    def unfinished(self, group: Group) -> list[JobLine]:
        """Return the lines right in a group that keep it from being over, those that run first."""
        return sorted((it for it in group.members if not it.state.is_over), key=_rank)

    def dependents(self, job: str) -> Sequence[str]:
        """Return the ids of the jobs that wait, or waited, for this one."""
        return self._dependents.get(job, ())

    def parent(self, line: JobLine) -> JobLine | None:
        """Return the line of the nested engine that holds this one, None for the outermost."""
        return None if line.row.engine is None else self.rows.get(line.row.engine)

    def parents(self, line: JobLine) -> list[JobLine]:
        """Return the lines of the nested engines that a job is in, the innermost first."""
        parents = []
        while (parent := self.parent(line)) is not None:
            parents.append(parent)
            line = parent
        return parents

    def path(self, line: JobLine) -> str:
        """Return what a job is called where its group is not seen: ``node2/check``."""
        parents = self.parents(line)
        return "/".join(it.label for it in (*reversed(parents), line)) if parents else line.label

    def why_waiting(self, job: str) -> str:
        """Return in one line why a job has not started; empty if nothing keeps it.

        For example ``waits for load node01 (55%)``, ``waits for 3: load node01, load node02, +1``,
        ``queued: window 12/12``.
        """
        line = self.rows[job]
        if line.state is State.SCHEDULED:
            return self._why_queued(line)
        if line.state is not State.IDLE:
            return ""
        missing = self.waits_for(job, NAMED)
        if line.missing == 1:
            return f"waits for {missing[0].label}{self._how_far(missing[0])}"
        if missing:
            names = [other.label for other in missing]
            if line.missing > NAMED:
                names.append(f"+{line.missing - NAMED}")
            return f"waits for {line.missing}: {', '.join(names)}"
        parent = self.parent(line)
        if parent is not None and parent.state in (State.IDLE, State.SCHEDULED):
            return f"waits for {parent.label} to start"
        return "waits"

    def _why_queued(self, line: JobLine) -> str:
        if self._is_window_full(line):
            group = self._group_of(line)
            return f"queued: window {group.busy}/{group.window}"
        return f"queued: pool {line.row.pool}" if line.row.pool else "queued"

    def _is_window_full(self, line: JobLine) -> bool:
        group = self._group_of(line)
        return group.window is not None and group.busy >= group.window and not line.row.forever

    def _how_far(self, line: JobLine) -> str:
        """Return what is known, in brackets, of a job that another one waits for."""
        if line.state is not State.RUNNING:
            return ""
        if line.row.forever:
            return " (not ready)"
        self.look_up(line)
        percent = line.percent if line.group is None else line.group.counts.percent
        return "" if percent is None else f" ({percent:.0f}%)"

    # ---- the run

    def _run_tick(self, tick: RunStarted | RunStopping | RunEnded) -> None:
        if isinstance(tick, RunStopping):
            self.run.stopping = tick.reason
        elif isinstance(tick, RunEnded):
            self.run.ended = tick
        else:
            self.run.run, self.run.label, self.run.timeout = tick.run, tick.label, tick.timeout
            self.run.started_at, self.run.wall = tick.at, tick.wall
            self.root.window = tick.window
            self._add(list(tick.jobs))

    def _add(self, rows: list[JobRow]) -> None:
        """Add lines; all of them before any is linked, as a row may name a later one."""
        lines = [self._line(row) for row in rows if row.id not in self.rows]
        for line in lines:
            self._link(line)
        self.order_version += 1

    def _line(self, row: JobRow) -> JobLine:
        line = JobLine(row, number=len(self.rows), version=self.version)
        self.rows[row.id] = line
        if row.engine is not None and row.engine in self.rows:
            self._hold(self.rows[row.engine])
        self._group_of(line).members.append(line)
        deep = -2
        for group in self._groups_round(line):
            group.counts.of[line.state] += line.counted
            group.ranks[line.look.rank] += 1
            deep += 2
        self._make_room(line, deep)
        self.longest_path = max(self.longest_path, width(clean(self.path(line))))
        return line

    def _hold(self, line: JobLine) -> None:
        """Make a group of a line, if it is not one yet."""
        if line.group is None:
            deep = -2
            for group in self._groups_round(line):
                group.counts.of[line.state] -= line.counted
                deep += 2
            line.group = Group(window=line.row.window)
            self._make_room(line, deep + 2)

    def _make_room(self, line: JobLine, before: int) -> None:
        """Have the column of names hold a label with so many cells before it."""
        self.longest = max(self.longest, before + width(clean(line.label)))

    def _link(self, line: JobLine) -> None:
        either = dict.fromkeys((*line.row.requires, *line.row.after))
        line.wanted = tuple(other for other in either if other in self.rows)
        for other in line.wanted:
            self._dependents.setdefault(other, []).append(line.id)
            line.missing += not self.rows[other].met

    def _group_of(self, line: JobLine) -> Group:
        """Return the group that a line is right in."""
        parent = self.parent(line)
        return self.root if parent is None or parent.group is None else parent.group

    def _groups_round(self, line: JobLine) -> list[Group]:
        """Return the groups that a line is in, from the innermost to the run."""
        if line.row.engine is None:
            return [self.root]
        groups = [it.group for it in self.parents(line) if it.group is not None]
        groups.append(self.root)
        return groups

    def _known(self, job: str) -> JobLine:
        """Return a job's line; one that was never announced gets a line of its own."""
        line = self.rows.get(job)
        if line is None:
            self._add([JobRow(job, job, "Job")])
            line = self.rows[job]
        line.version = self.version
        return line

    # ---- one job

    def _job_state(self, tick: JobState) -> None:
        line = self._known(tick.job)
        was_met = line.met
        self._note_times(line, tick)
        line.reason = tick.reason
        line.attempt = tick.attempt
        line.attempts = tick.attempts
        line.stopping = None
        self._move(line, tick.new)
        if tick.new is _FAILED:
            self._note_failure(line)
        if tick.new is _FINISHED and len(line.tail) > TAIL_LINES_FINISHED:
            line.tail = deque(list(line.tail)[-TAIL_LINES_FINISHED:], maxlen=TAIL_LINES)
        if line.met and not was_met:
            self._tell_dependents(line)

    def _note_times(self, line: JobLine, tick: JobState) -> None:
        line.retry_at = None
        if tick.new is _RUNNING:
            line.attempt_at = tick.at
            if line.started_at is None:
                line.started_at = tick.at
            line.percent = line.report = None
            line.message = line.said = ""
        elif tick.new is _SCHEDULED and tick.old is _RUNNING:
            line.attempt_at = None
            line.retry_at = tick.at + (tick.retry_in or 0.0)
        elif tick.new.is_over:
            line.ended_at = tick.at

    def _move(self, line: JobLine, new: State) -> None:
        """Change the state of a line and what the groups round it know of it."""
        old, old_rank = line.state, line.look.rank
        line.state = new
        line.look = look_of(
            new,
            forever=line.row.forever,
            retried=line.retry_at is not None,
            stopping=line.stopping is not None,
        )
        rank, counted = line.look.rank, line.counted
        for group in self._groups_round(line):
            if counted:
                group.counts.of[old] -= 1
                group.counts.of[new] += 1
            group.ranks[old_rank] -= 1
            group.ranks[rank] += 1
        if not line.row.forever and old is not new and _RUNNING in (old, new):
            self._group_of(line).busy += 1 if new is _RUNNING else -1
        self.order_version += 1

    def _note_failure(self, line: JobLine) -> None:
        """Remember what failed; a group whose member failed is no failure of its own."""
        if line.group is None or not line.group.ranks[states.FAILED.rank]:
            self.failures.append(line.id)

    def _tell_dependents(self, line: JobLine) -> None:
        """Take one off what each job misses that waited for this one."""
        for other in self._dependents.get(line.id, ()):
            dependent = self.rows[other]
            dependent.missing -= 1
            dependent.version = self.version
            if dependent.wanted[dependent.met_first] == line.id:
                self._pass_over_met(dependent)
        self.order_version += 1

    def _pass_over_met(self, line: JobLine) -> None:
        """Go on to the first job in its order that it misses; over a run, once over all."""
        wanted, place = line.wanted, line.met_first
        while place < len(wanted) and self.rows[wanted[place]].met:
            place += 1
        line.met_first = min(place, len(wanted) - 1)

    def _job_ready(self, tick: JobReady) -> None:
        line = self._known(tick.job)
        was_met = line.met
        line.ready = True
        line.ready_at = tick.at
        if line.met and not was_met:
            self._tell_dependents(line)

    def _job_stopping(self, tick: JobStopping) -> None:
        line = self._known(tick.job)
        line.stopping = tick.reason
        self._move(line, line.state)

    def _job_progress(self, tick: JobProgress) -> None:
        line = self._known(tick.job)
        self._take_report(line, tick.percent, tick.done, tick.total, tick.message)

    def _take_report(
        self,
        line: JobLine,
        percent: float | None,
        done: float | None,
        total: float | None,
        message: str | None,
    ) -> None:
        if percent is None and done is not None and total:
            percent = 100 * done / total
        if percent is not None and not math.isnan(percent):
            line.percent = min(max(percent, 0.0), 100.0)
        if message is None and done is not None:
            message = f"{done:g}" if total is None else f"{done:g}/{total:g}"
        if message is not None:
            line.message = line.said = message[:LINE_LENGTH]

    def _job_output(self, tick: JobOutput) -> None:
        line = self._known(tick.job)
        text = tick.text[:LINE_LENGTH]
        if line.tail is NO_TAIL:
            line.tail = deque(maxlen=TAIL_LINES)
        line.tail.append(Said(tick.wall, tick.stream, text))
        line.outputs += 1
        line.said, line.said_seq = text, tick.seq


def _rank(line: JobLine) -> int:
    return line.look.rank
