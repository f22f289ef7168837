"""The story checker: reads the ticks of one run and says what in them is not a legal story.

It knows only what a reader can see and what the contract promises of it, so that it can stand
beside any engine, and beside any test that has nothing to do with ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from engine.ticks import (
    JobAdded,
    JobReady,
    JobRow,
    JobState,
    JobStopping,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    Tick,
)

LEGAL: frozenset[tuple[State, State]] = frozenset(
    {
        (State.IDLE, State.SCHEDULED),
        (State.IDLE, State.CANCELLED),
        (State.IDLE, State.SKIPPED),
        (State.SCHEDULED, State.RUNNING),
        (State.SCHEDULED, State.CANCELLED),
        (State.SCHEDULED, State.SKIPPED),
        (State.RUNNING, State.SCHEDULED),
        (State.RUNNING, State.FINISHED),
        (State.RUNNING, State.FAILED),
        (State.RUNNING, State.CANCELLED),
    }
)
"""The steps that a job may take, as the contract has them."""


class IllegalStory(AssertionError):
    """The ticks of a run do not tell a legal story; `problems` says, line by line, why."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  ".join(["the ticks tell no legal story:", *self.problems]))


class Story:
    """A reader of ticks that keeps them all: put it where a queue is expected.

    Attributes:
        ticks: all events so far, in the order in which they came.

    >>> from engine import Engine, Job
    >>> import asyncio
    >>> story = Story()
    >>> Engine(Job(asyncio.sleep, 0), message_queue=story).orchestrate()
    True
    >>> story.check()
    >>> [tick.new.value for tick in story.ticks if isinstance(tick, JobState)]
    ['scheduled', 'running', 'finished']
    """

    def __init__(self, ticks: Iterable[Tick] = ()) -> None:
        self.ticks: list[Tick] = list(ticks)

    def put_nowait(self, tick: Tick) -> None:
        """Take an event: what a reader has to offer."""
        self.ticks.append(tick)

    def check(self) -> None:
        """Raise :class:`IllegalStory` unless this is the whole and legal story of one run."""
        problems = self.problems()
        if problems:
            raise IllegalStory(problems)

    def problems(self) -> list[str]:
        """Return a line for each thing that is wrong; nothing at all told is one of them."""
        if not self.ticks:
            return ["no event at all"]
        reader = _Checker()
        for position, tick in enumerate(self.ticks):
            reader.read(position, tick)
        reader.end()
        return reader.problems

    def states(self) -> dict[str, State]:
        """Return the state of each job, by its id, after the last event."""
        states: dict[str, State] = {}
        for tick in self.ticks:
            if isinstance(tick, RunStarted):
                states.update((row.id, State.IDLE) for row in tick.jobs)
            elif isinstance(tick, JobAdded):
                states[tick.row.id] = State.IDLE
            elif isinstance(tick, JobState):
                states[tick.job] = tick.new
        return states


def check_story(ticks: Iterable[Tick]) -> None:
    """Raise :class:`IllegalStory` unless `ticks` are the whole and legal story of one run.

    Checked are: one `RunStarted` first, one `RunEnded` last and at most one `RunStopping`; `seq`
    from 0 without gaps, one `run`, a clock that does not go back; every step of every job against
    :data:`LEGAL` and against the one before; attempts that count 1, 2, 3; readiness and stopping
    only of jobs that run; jobs of a nested engine that run only while it does; every job over
    before the end, and the counts told there.
    """
    Story(ticks).check()


class _Checker:
    """What is known of the run after each event, and what was wrong so far."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.rows: dict[str, JobRow] = {}
        self.states: dict[str, State] = {}
        self.inside: dict[str, list[str]] = {}
        self.attempts: Counter[str] = Counter()
        self.ready: set[str] = set()
        self.past: set[str] = set()
        self.tried_again: dict[str, list[str]] = {}
        self.unchecked: list[tuple[JobAdded, JobRow]] = []
        self.last: Tick | None = None
        self.stopping = False
        self.ended = False
        self.readers: dict[type[Tick], Callable[..., None]] = {
            RunStarted: self.run_started,
            JobAdded: self.job_added,
            JobState: self.job_state,
            JobReady: self.job_ready,
            JobStopping: self.job_stopping,
            RunStopping: self.run_stopping,
            RunEnded: self.run_ended,
        }

    def read(self, position: int, tick: Tick) -> None:
        self.expect(not self.ended, tick, "comes after the end of the run")
        self.expect(tick.seq == position, tick, f"is number {tick.seq}, not {position}")
        self.expect((position == 0) == isinstance(tick, RunStarted), tick, "is out of place")
        if self.last is not None:
            self.expect(tick.run == self.last.run, tick, f"is of run {tick.run}")
            self.expect(tick.at >= self.last.at, tick, "goes back in time")
        self.last = tick
        if type(tick) is not JobAdded:
            self.check_added()
        job = getattr(tick, "job", None)
        if job is not None and job not in self.states:
            self.expect(False, tick, f"is about an unknown job {job!r}")
        elif type(tick) in self.readers:
            self.readers[type(tick)](tick)

    def end(self) -> None:
        if not self.ended and self.last is not None:
            self.expect(self.ended, self.last, "is the last event: the end of the run is missing")

    def run_started(self, tick: RunStarted) -> None:
        for row in tick.jobs:
            self.add(tick, row)
        for row in tick.jobs:
            self.check_row(tick, row)

    def job_added(self, tick: JobAdded) -> None:
        if tick.row.engine is not None:
            self.past.update(self.tried_again.pop(tick.row.engine, ()))
        self.add(tick, tick.row)
        # Those added together are told one after the other, and may wait for each other.
        self.unchecked.append((tick, tick.row))

    def check_added(self) -> None:
        for tick, row in self.unchecked:
            self.check_row(tick, row)
        self.unchecked.clear()

    def job_state(self, tick: JobState) -> None:
        job, old, new = tick.job, tick.old, tick.new
        known = self.states[job]
        self.expect(old == known, tick, f"says that job {job} was {old}, it was {known}")
        self.expect((old, new) in LEGAL, tick, f"takes job {job} from {old} to {new}")
        self.states[job] = new
        if new is State.RUNNING:
            self.attempts[job] += 1
            if self.attempts[job] > 1:
                # The jobs of a nested engine that is tried again are told of as added, anew;
                # unless it is cancelled before it has begun: then the old ones remain.
                self.tried_again[job] = list(self.all_inside(job))
            engine = self.rows[job].engine
            inside = engine is None or self.states.get(engine) is State.RUNNING
            self.expect(inside, tick, f"starts job {job} while its engine {engine} does not run")
        if new is State.SKIPPED:
            self.expect(not self.attempts[job], tick, f"skips job {job}, which had started")
            self.expect(bool(tick.reason), tick, f"skips job {job} and does not say why")
        if self.attempts[job]:
            self.check_attempt(tick)
        retried = (old, new) == (State.RUNNING, State.SCHEDULED)
        told = tick.retry_in is not None
        self.expect(told == retried, tick, f"has retry_in {tick.retry_in} for {old} to {new}")
        if old is State.RUNNING and new.is_over:
            left = [one for one in self.inside.get(job, ()) if not self.states[one].is_over]
            self.expect(not left, tick, f"ends engine {job} before its jobs {', '.join(left)}")

    def all_inside(self, engine: str) -> Iterator[str]:
        """Yield the jobs of a nested engine, at whatever depth."""
        for job in self.inside.get(engine, ()):
            yield job
            yield from self.all_inside(job)

    def check_attempt(self, tick: JobState) -> None:
        # Back to scheduled, the attempt told may be the one that failed or the one to come.
        begun = self.attempts[tick.job]
        allowed = {begun, begun + 1} if tick.new is State.SCHEDULED else {begun}
        told = tick.attempt
        self.expect(told in allowed, tick, f"is attempt {told} of job {tick.job}, not {begun}")
        most = tick.attempts
        self.expect(most is None or most >= told, tick, f"is attempt {told} of at most {most}")

    def job_ready(self, tick: JobReady) -> None:
        job = tick.job
        state = self.states[job]
        self.expect(state is State.RUNNING, tick, f"is about job {job}, which is {state}")
        self.expect(job not in self.ready, tick, f"is told of job {job} twice")
        self.ready.add(job)

    def job_stopping(self, tick: JobStopping) -> None:
        state = self.states[tick.job]
        self.expect(state is State.RUNNING, tick, f"is about job {tick.job}, which is {state}")

    def run_stopping(self, tick: RunStopping) -> None:
        self.expect(not self.stopping, tick, "is told twice")
        self.stopping = True

    def run_ended(self, tick: RunEnded) -> None:
        self.ended = True
        left = [f"{job} ({state})" for job, state in self.states.items() if not state.is_over]
        self.expect(not left, tick, f"comes before the end of {', '.join(left)}")
        states = (state for job, state in self.states.items() if job not in self.past)
        counts, told = dict(Counter(states)), dict(tick.counts)
        self.expect(told == counts, tick, f"counts {told}, where the story has {counts}")
        self.expect(bool(tick.why), tick, "does not say why")

    def add(self, tick: Tick, row: JobRow) -> None:
        self.expect(row.id not in self.rows, tick, f"has job {row.id} twice")
        self.rows[row.id] = row
        if row.engine is not None:
            self.inside.setdefault(row.engine, []).append(row.id)
        self.states[row.id] = State.IDLE

    def check_row(self, tick: Tick, row: JobRow) -> None:
        unknown = [job for job in (*row.requires, *row.after) if job not in self.rows]
        self.expect(not unknown, tick, f"has job {row.id} wait for unknown {', '.join(unknown)}")
        inside = row.engine is None or row.engine in self.rows
        self.expect(inside, tick, f"has job {row.id} in an unknown engine {row.engine}")

    def expect(self, condition: bool, tick: Tick, problem: str) -> None:
        if not condition:
            self.problems.append(f"{type(tick).__name__} (seq {tick.seq}) {problem}")
