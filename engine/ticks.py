"""The events of a run: what the engine tells, in which words, and their JSON form.

Every event is a small frozen dataclass under :class:`Tick`.  A reader gets them in the order of
`seq`, which has no gaps; each job's `JobState` events tell a legal story (see :mod:`engine.plan`)
that ends before `RunEnded`.

A job is told by its id in the run: ``"3"`` is the third job put into the engine, ``"2.1"`` the
first job of the nested engine ``"2"``.  All texts have passed :func:`engine.text.safe_line`.

`to_dict()` gives plain JSON types, with the name of the event under ``"event"`` and the version of
the format under ``"v"``; `Tick.from_dict()` is the way back:

>>> event = JobReady("r1", 7, 12.5, 1.7e9, job="3")
>>> event.to_dict()
{'event': 'JobReady', 'v': 1, 'run': 'r1', 'seq': 7, 'at': 12.5, 'wall': 1700000000.0, 'job': '3'}
>>> Tick.from_dict(event.to_dict()) == event
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from enum import StrEnum
from typing import Any

VERSION = 1
"""Version of the JSON form; it grows when a field changes its meaning or goes away."""

LEFT_AT_ONCE = "left at once by a second Ctrl-C"
"""Why a run has ended that did not come to its end."""


class State(StrEnum):
    """Where a job is in its life; the legal ways from one to the next are in engine.plan.

    Attributes:
        is_over: True for the four states that a job does not leave any more.
    """

    is_over: bool

    IDLE = "idle"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    def __init__(self, name: str) -> None:
        self.is_over = name in {"finished", "failed", "cancelled", "skipped"}


class StopReason(StrEnum):
    """Why a run began to stop."""

    DONE = "done"
    CRITICAL_FAILURE = "critical failure"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class JobRow:
    """What is known of a job before it runs; one row of a monitor.

    Attributes:
        id: ``"3"``, or ``"2.1"`` for the first job of the nested engine ``"2"``.
        label: its label, ``"NOLABEL"`` if it has none.
        kind: name of its class.
        engine: id of the nested engine that holds it, None for the outermost.
        forever: it never ends by itself.
        critical: its failure fails the run.
        requires: ids of the jobs that must be finished (ready, if forever) before it starts.
        after: ids of the jobs that must be over (ready, if forever) before it starts.
        window: how many jobs may run at once in it, for an engine that bounds them, else None.
        pool: name of the pool whose slot it needs, else None.
        host: what its attribute `host` says, else None.
    """

    id: str
    label: str
    kind: str
    engine: str | None = None
    forever: bool = False
    critical: bool = True
    requires: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    window: int | None = None
    pool: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Base of all events.

    Attributes:
        run: id of the run, the same in all its events.
        seq: 0, 1, 2, ... without gaps.
        at: seconds on the monotonic clock of the event loop.
        wall: seconds since the epoch.
    """

    run: str
    seq: int
    at: float
    wall: float

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON types."""
        told: dict[str, Any] = {"event": type(self).__name__, "v": VERSION}
        for each in fields(self):
            told[each.name] = _plain(getattr(self, each.name))
        return told

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Tick:
        """Return the event that `to_dict` told; ValueError if this is not one.

        Keys that this version does not know are left out, so that what a later release adds does
        no harm; another version of the format is refused.
        """
        try:
            name = data.get("event")
            kind = EVENTS.get(name) if isinstance(name, str) else None
            if kind is None:
                raise ValueError(f"not an event of a run: {name!r}")
            if data.get("v") != VERSION:
                raise ValueError(
                    f"event of version {data.get('v')!r}, this release reads {VERSION}"
                )
            known = {each.name for each in fields(kind)}
            values = {key: _rich(kind, key, value) for key, value in data.items() if key in known}
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not an event of a run: {error}") from None
        try:
            return kind(**values)
        except TypeError as error:
            raise ValueError(f"incomplete {kind.__name__}: {error}") from None


@dataclass(frozen=True, slots=True)
class RunStarted(Tick):
    """The run begins; `jobs` has a row for every job, nested ones right after their engine.

    `window` bounds the running jobs (None: no bound), `timeout` is in seconds (None: no bound).
    """

    label: str
    jobs: tuple[JobRow, ...]
    window: int | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class JobAdded(Tick):
    """A job was added while running."""

    row: JobRow


@dataclass(frozen=True, slots=True)
class JobState(Tick):
    """Job `job` went from the state `old` to `new`.

    Attributes:
        reason: why, in a few words; empty where the states say it all.
        attempt: 1, 2, ...: the attempt that runs, ran last, or is to come.
        attempts: at most so many, None if that is not known.
        retry_in: seconds until the next attempt, when it goes back to scheduled, else None.
    """

    job: str
    old: State
    new: State
    reason: str = ""
    attempt: int = 1
    attempts: int | None = 1
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class JobReady(Tick):
    """A job is ready: those that wait for this forever job may start."""

    job: str


@dataclass(frozen=True, slots=True)
class JobStopping(Tick):
    """A job was cancelled, or ran out of time, and has not ended yet."""

    job: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobProgress(Tick):
    """What a job reported: 0 to 100 `percent`, `done` out of `total`, a `message`, or several."""

    job: str
    percent: float | None = None
    done: float | None = None
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class JobOutput(Tick):
    """One line that a job printed on `stream` (``"stdout"`` or ``"stderr"``)."""

    job: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Message(Tick):
    """What the engine logged: `level` as in logging (``"WARNING"``), `source` the logger."""

    level: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class RunStopping(Tick):
    """The run begins to stop: what still runs is cancelled, then everything is shut down."""

    reason: StopReason


@dataclass(frozen=True, slots=True)
class RunEnded(Tick):
    """The run is over, shutdown included.

    Attributes:
        ok: the verdict.
        why: the verdict in one line.
        counts: how many jobs are in each state, nested engines included, states at zero left out.
        duration: seconds.
    """

    ok: bool
    why: str
    counts: Mapping[State, int]
    duration: float

    @property
    def was_left(self) -> bool:
        """True if a second Ctrl-C ended it in its middle, with nothing shut down."""
        return self.why == LEFT_AT_ONCE


def unfrozen(kind: type[Any]) -> type[Any]:
    """Return what makes a `kind` in a quarter of the time, once its ``__class__`` is set to `kind`.

    The constructor of a frozen dataclass sets the fields one by one through `object.__setattr__`,
    for which a run with a reader would take twice as long.  Here they are set in an object that has
    the same slots and is not frozen yet.
    """
    wanted = [(each.name, Any, field(default=each.default)) for each in fields(kind)]
    namespace = {
        "__slots__": kind.__slots__,
        "__init__": make_dataclass(kind.__name__, wanted).__init__,  # type: ignore[misc]
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    }
    return type(kind.__name__, kind.__bases__, namespace)


EVENTS: dict[str, type[Tick]] = {
    kind.__name__: kind
    for kind in (
        RunStarted,
        JobAdded,
        JobState,
        JobReady,
        JobStopping,
        JobProgress,
        JobOutput,
        Message,
        RunStopping,
        RunEnded,
    )
}
"""Every event by its name."""


def _plain(value: Any) -> Any:
    """Return a field's value as JSON has it."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, JobRow):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _rich(kind: type[Tick], name: str, value: Any) -> Any:
    """Return what `_plain` made of the field called `name` of a `kind` as the event has it."""
    if name in {"old", "new"}:
        return State(value)
    if name == "reason" and kind is RunStopping:
        return StopReason(value)
    if name == "row":
        return _row(value)
    if name == "jobs":
        return tuple(_row(row) for row in value)
    if name == "counts":
        return {State(key): count for key, count in value.items()}
    return value


def _row(data: Mapping[str, Any]) -> JobRow:
    known = {each.name for each in fields(JobRow)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in data.items()
        if key in known
    }
    return JobRow(**values)
