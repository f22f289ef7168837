"""What is known of a run: records of one job, of a group of jobs, of the run; read by all views.

:class:`monitor.model.Model` fills them from ticks, and nobody else changes them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from engine import JobRow, RunEnded, State, StopReason

from . import states
from .queue import Report
from .states import Look

TAIL_LINES = 200
"""How many of its last output lines are kept of a job."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line of output: when (seconds since the epoch), on which stream, what."""

    wall: float
    stream: str
    text: str


NO_TAIL: deque[Said] = deque(maxlen=0)
"""The tail of each job that has printed nothing: they share it, as a deque takes 600 bytes."""


@dataclass(slots=True)
class Counts:
    """How many jobs are in each state; jobs that are forever, or hold others, are not counted."""

    of: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))

    @property
    def done(self) -> int:
        """Finished."""
        return self.of[State.FINISHED]

    @property
    def run(self) -> int:
        """Running, or being stopped."""
        return self.of[State.RUNNING]

    @property
    def ready(self) -> int:
        """Waiting for a slot, or for the next attempt."""
        return self.of[State.SCHEDULED]

    @property
    def wait(self) -> int:
        """Waiting for other jobs."""
        return self.of[State.IDLE]

    @property
    def fail(self) -> int:
        """Failed."""
        return self.of[State.FAILED]

    @property
    def skip(self) -> int:
        """Skipped."""
        return self.of[State.SKIPPED]

    @property
    def cancel(self) -> int:
        """Cancelled."""
        return self.of[State.CANCELLED]

    @property
    def over(self) -> int:
        """Over, in any way."""
        return self.done + self.fail + self.skip + self.cancel

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.of.values())

    @property
    def percent(self) -> int:
        """Over, of all of them; 100 only when there is nothing left, and when there are none."""
        total = self.total
        return 100 * self.over // total if total else 100


@dataclass(slots=True)
class Group:
    """What is known of the members of a nested engine, or of the whole run.

    Attributes:
        members: the lines of the jobs right in it, in their order.
        counts: of the jobs in it, at every depth.
        ranks: how many lines in it, at every depth, are at each rank of :mod:`monitor.states`.
        window: how many jobs right in it may run at once, or None.
        busy: how many slots of the window are taken.
    """

    members: list[JobLine] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    ranks: list[int] = field(default_factory=lambda: [0] * states.RANKS)
    window: int | None = None
    busy: int = 0


@dataclass(slots=True)
class JobLine:
    """What is known of one job.

    Attributes:
        row: what was known before it ran: id, label, kind, host, requirements.
        number: its place in the order in which jobs were told, from 0.
        state: the last state that the engine told.
        look: how it looks, see :mod:`monitor.states`.
        group: what is known of its members, if it is a nested engine.
        reason: why it is in this state, in a few words, or empty.
        ready: those that wait for this forever job may go on.
        stopping: why it is being stopped, or None.
        attempt, attempts: the attempt that runs or is to come, from 1; at most so many, or None.
        retry_at: when the next attempt is due (monotonic), or None.
        percent: 0 to 100, what it reported last, or None.
        message: what it reported last, or empty.
        said: its last report or line of output, whichever came later, or empty.
        said_seq: number of the event of its last line of output, or -1.
        report: the last report that was looked up, see `Model.look_up`, or None.
        tail: its last lines of output.
        outputs: how many lines of output it has had.
        started_at, attempt_at: when it was first started, and when its last attempt began
            (monotonic), or None.
        ended_at, ready_at: when it was over, when it became ready (monotonic), or None.
        wanted: ids of the jobs that it waits for, each once.
        missing: how many of them are not met yet.
        met_first: so many of the first are known to be met; it saves looking at them again.
        version: the version of the model that changed it last.
    """

    row: JobRow
    number: int
    state: State = State.IDLE
    look: Look = states.IDLE
    group: Group | None = None
    reason: str = ""
    ready: bool = False
    stopping: str | None = None
    attempt: int = 1
    attempts: int | None = 1
    retry_at: float | None = None
    percent: float | None = None
    message: str = ""
    said: str = ""
    said_seq: int = -1
    report: Report | None = None
    tail: deque[Said] = field(default_factory=lambda: NO_TAIL)
    outputs: int = 0
    started_at: float | None = None
    attempt_at: float | None = None
    ended_at: float | None = None
    ready_at: float | None = None
    wanted: tuple[str, ...] = ()
    missing: int = 0
    met_first: int = 0
    version: int = 0

    @property
    def id(self) -> str:
        """Its id in the run."""
        return self.row.id

    @property
    def label(self) -> str:
        """Its label."""
        return self.row.label

    @property
    def met(self) -> bool:
        """True once it keeps nobody waiting any more."""
        return self.state.is_over or (self.row.forever and self.ready)

    @property
    def counted(self) -> bool:
        """True if it is one of the jobs that the counts are about."""
        return self.group is None and not self.row.forever

    @property
    def rank(self) -> int:
        """The rank it stands at: its own or, for a group, that of its worst member."""
        if self.group is not None:
            for rank, lines in enumerate(self.group.ranks[: self.look.rank]):
                if lines:
                    return rank
        return self.look.rank

    @property
    def shown_look(self) -> Look:
        """Its look; a group in which something failed looks failed, so that it can be folded."""
        return states.FAILED if self.rank == states.FAILED.rank else self.look

    def took(self, now: float) -> float | None:
        """Return for how many seconds its attempt has been running or, once over, it took.

        None if it does not run, or never did.
        """
        if self.ended_at is not None:
            since, until = self.started_at, self.ended_at
        else:
            since, until = self.attempt_at, now
        return None if since is None else max(until - since, 0.0)


@dataclass(slots=True)
class RunFacts:
    """What is known of the run as a whole.

    Attributes:
        run: its id.
        label: of the outermost engine.
        started_at, wall: when it began, monotonic and since the epoch; None before that.
        timeout: seconds, or None.
        stopping: why it began to stop, or None.
        ended: the verdict, or None while it runs.
    """

    run: str = ""
    label: str = ""
    started_at: float | None = None
    wall: float | None = None
    timeout: float | None = None
    stopping: StopReason | None = None
    ended: RunEnded | None = None

    @property
    def was_left(self) -> bool:
        """It was left in its middle, by a second Ctrl-C; seen from its end, as it is asked then."""
        return self.ended is None or self.ended.was_left

    def took(self, now: float) -> float:
        """Return for how many seconds it has been running, or ran."""
        if self.ended is not None:
            return self.ended.duration
        return 0.0 if self.started_at is None else max(now - self.started_at, 0.0)
