"""The reference model: what a graph of scripted jobs must do, decided in the plainest way.

A :class:`JobSpec` says what a job is (its place in the graph, its options) and what it will do
(how long each attempt takes and how it ends).  :func:`predict` then plays the graph by the rules of
the contract: again and again it does the *first thing that can be done now* and, if there is none,
goes to the next instant at which something happens.  It is slow, and meant to be obviously right;
the engine must agree with it, job by job and instant by instant.

Where the contract leaves room, the model reads it so:

1.  A job is skipped at the instant at which one of its requirements is lost, even if others are
    still running; likewise at the instant at which the run begins to stop.
2.  A forever job stays "ready" once it was, also if it fails later.  Ended before it was ready
    (even finished), those that require it are skipped and those after it go on.
3.  The first reason to stop wins: a run that stops already does not time out any more, and a job
    that was asked to stop keeps what it was asked for (`cancelled`; `failed`, for its own timeout).
4.  A job asked to stop that then returns is cancelled (failed, if it had timed out); one that
    raises something else is failed with that.  Having been cancelled it is not tried again; having
    timed out, it is.
5.  A job that waits for a slot for its next attempt when the run stops is cancelled, not skipped,
    as it did start.
6.  A job that is over gives its slot back at that instant; one that cleans up still holds it.
7.  A nested engine ends, as seen by the outer one, after all that its last event set off inside.
    Jobs that become able to start at the same instant start outermost engine first, then in the
    order of insertion.
8.  A nested engine is cancelled if it was cancelled, else finished or failed by its own verdict.
9.  Being skipped because a requirement was lost is what counts as "because of another job"; being
    skipped because the run ended is not.
10. A job that was given up as it swallowed its cancellation stops nothing by itself.
11. `cancel()` of a job that has timed out and cleans up makes it cancelled: it is not tried again.
    Of one that was cancelled already it changes nothing.
12. When a run is done, what has become able to start at this instant starts first, at every depth:
    that is the last turns that forever jobs are given.
13. An engine of forever jobs only (nested, and forever itself) ends when they have all ended.
14. A job that is added while its engine stops is skipped; to an engine that is over none is added.
15. Several things at one instant of time have no order in the contract: a failure and an end, or a
    nested engine that fails as it starts and others that start with it.  The model plays one of the
    orders, and says so: :attr:`Prediction.tied`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Literal

from engine.ticks import State, StopReason

GRACE = 5.0
"""The engine's default `cancel_grace`, in seconds."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a job: after so many `seconds` it returns, or `fails`.

    If it failed and there is another one, that one comes after a `pause`, in seconds.
    """

    seconds: float = 1.0
    fails: bool = False
    pause: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class JobSpec:
    """What a job is and will do; with `jobs`, a nested engine (or the outermost, whose id is "").

    Attributes:
        id: its id in the run, as in ticks: ``"3"``, nested ``"2.1"``.
        requires: siblings that must be finished (ready, if forever) before it starts.
        after: siblings that must be over (ready, if forever) before it starts.
        critical: as the option of a job.
        forever: as the option of a job.
        notify: as the option of a job.
        ready_after: with `notify`, seconds from its start until it says that it is ready.
        attempts: one for each time that it may run: a job of three attempts has ``retry=2``.
        timeout: as the option of a job, of a run for an engine; in seconds.
        when_cancelled: what it does when it gets its cancellation, after its `cleanup`.
        cleanup: seconds that takes it; during that time it swallows any other cancellation.
        pool: name of the pool that it needs a slot of.
        cancel_at: seconds after the start of the run at which it is cancelled by hand.
        add_at: seconds after the start of the run at which it is added to its engine; None if it
            was in it from the beginning.
        jobs: of an engine, its jobs in order of insertion.
        window: of an engine, its `jobs_window`.
        keep_going: of an engine, as its option.
        pools: of the outermost engine, the size of every pool by name.
    """

    id: str
    requires: tuple[JobSpec, ...] = ()
    after: tuple[JobSpec, ...] = ()
    critical: bool = True
    forever: bool = False
    notify: bool = False
    ready_after: float = 0.0
    attempts: tuple[Attempt, ...] = (Attempt(),)
    timeout: float | None = None
    when_cancelled: Literal["end", "return", "raise"] = "end"
    cleanup: float = 0.0
    pool: str | None = None
    cancel_at: float | None = None
    add_at: float | None = None
    jobs: tuple[JobSpec, ...] | None = None
    window: int | None = None
    keep_going: bool = False
    pools: Mapping[str, int] = field(default_factory=dict)

    def walk(self) -> Iterator[JobSpec]:
        """Yield this one and all below it, each engine before its jobs."""
        yield self
        for job in self.jobs or ():
            yield from job.walk()

    def find(self, job: str) -> JobSpec:
        """Return the spec with that id, this one or one below; KeyError if there is none."""
        for spec in self.walk():
            if spec.id == job:
                return spec
        raise KeyError(job)


@dataclass(slots=True)
class Fate:
    """What becomes of a job; times are seconds since the start of the run.

    Attributes:
        state: where it is, in the end where it ended.
        is_absent: it is to be added later, or has come too late for that.
        starts: when each of its attempts began.
        due: when its next attempt may begin.
        ended: when it was over.
        ready: it is ready (a forever job), or was.
        asked_to_stop: when, and what it will be because of that.
        because_of: the job because of which it was skipped.
        abandoned: it swallowed its cancellation.
        stop: of an engine, why it began to stop.
    """

    state: State = State.IDLE
    is_absent: bool = False
    starts: list[float] = field(default_factory=list)
    due: float = 0.0
    ended: float | None = None
    ready: bool = False
    asked_to_stop: tuple[float, State] | None = None
    because_of: JobSpec | None = None
    abandoned: bool = False
    stop: StopReason | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the run of a graph must come to.

    Attributes:
        ok: the verdict.
        fates: what becomes of every job, by its id; that of the outermost engine under "".
        order: the ids of the jobs in the order of their starts, one for each attempt.
        tied: two things happen at one instant, so that another outcome can be right as well.
    """

    ok: bool
    fates: Mapping[str, Fate]
    order: tuple[str, ...]
    tied: bool


def predict(root: JobSpec) -> Prediction:
    """Return what the run of `root`, an outermost engine, must come to.

    Raises:
        ValueError: the run would never end; the message names the jobs that are not over.

    >>> a = JobSpec("1", attempts=(Attempt(2.0, fails=True),), critical=False)
    >>> b = JobSpec("2", requires=(a,))
    >>> c = JobSpec("3", after=(a,), critical=False)
    >>> prediction = predict(JobSpec("", jobs=(a, b, c)))
    >>> {job: fate.state.value for job, fate in prediction.fates.items()}
    {'': 'failed', '1': 'failed', '2': 'skipped', '3': 'finished'}
    >>> prediction.ok, prediction.fates["3"].starts, prediction.fates["3"].ended
    (False, [2.0], 3.0)
    """
    return _Model(root).play()


class _Model:
    """The rules of the contract, each in a method of a few lines."""

    def __init__(self, root: JobSpec) -> None:
        self.root = root
        self.now = 0.0
        self.fates = {job: Fate(is_absent=job.add_at is not None) for job in root.walk()}
        self.engine_of = {job: engine for engine in root.walk() for job in engine.jobs or ()}
        self.order: list[str] = []
        self.tied = False

    def play(self) -> Prediction:
        self.start(self.root)
        while self.fates[self.root].state is State.RUNNING:
            running = self.running_engines()
            if not (
                any(map(self.skip_one, self.fates))
                or any(map(self.do_one_thing, running))
                or any(map(self.stop_if_done, running))
            ):
                self.go_to_next_instant()
        fates = {job.id: fate for job, fate in self.fates.items()}
        ok = self.fates[self.root].state is State.FINISHED
        return Prediction(ok, fates, tuple(self.order[1:]), self.tied)

    def running_engines(self) -> list[JobSpec]:
        """Return the engines that run, the outermost first."""
        running = [job for job in self.fates if job.jobs is not None and self.is_running(job)]
        return sorted(running, key=lambda engine: engine.id.count("."))

    def skip_one(self, job: JobSpec) -> bool:
        """Skip a job that has lost a requirement; its engine may not even have started."""
        lost = self.lost_requirement(job) if self.is_idle(job) else None
        if lost is not None:
            self.fates[job].because_of = lost
            self.end(job, State.SKIPPED)
        return lost is not None

    def do_one_thing(self, engine: JobSpec) -> bool:
        """Do the first thing that can be done in `engine` now; False if there is none."""
        jobs = self.jobs_of(engine)
        for job in jobs:
            if self.is_idle(job) and self.may_start(job):
                self.fates[job].state = State.SCHEDULED
                return True
        for job in jobs:
            if self.is_due(job) and self.has_slots(job):
                self.start(job)
                return True
        if all(self.is_over(job) for job in jobs):
            self.end_engine(engine)
            return True
        return False

    def stop_if_done(self, engine: JobSpec) -> bool:
        """Let an engine stop once all that is not forever is over."""
        to_do = [job for job in self.jobs_of(engine) if not job.forever]
        if to_do and all(map(self.is_over, to_do)) and not self.fates[engine].stop:
            self.stop(engine, StopReason.DONE)
            return True
        return False

    def go_to_next_instant(self) -> None:
        """Let time pass until something happens, and let it happen."""
        coming = sorted(
            (event for event in self.coming() if event[0] < inf), key=lambda event: event[0]
        )
        if not coming:
            waiting = [job.id for job in self.fates if not self.is_over(job)]
            raise ValueError(f"this run never ends: {', '.join(waiting[1:])} are not over")
        self.tied = self.tied or coming[0][0] in {self.now, *(when for when, _ in coming[1:])}
        self.now, happen = coming[0]
        happen()

    def coming(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """Yield what time will bring: when, and what happens then."""
        for job, fate in self.fates.items():
            if job.cancel_at is not None and job.cancel_at > self.now and not self.is_over(job):
                yield job.cancel_at, partial(self.cancel, job)
            if job.add_at is not None and job.add_at > self.now:
                yield job.add_at, partial(self.add, job)
            if fate.state is State.SCHEDULED and fate.due > self.now:
                yield fate.due, self.nothing_else
            if not self.is_running(job):
                continue
            if job.timeout is not None and not fate.asked_to_stop and not fate.stop:
                yield fate.starts[-1] + job.timeout, partial(self.time_out, job)
            if job.jobs is not None:
                continue
            if fate.asked_to_stop:
                asked, _ = fate.asked_to_stop
                yield asked + min(job.cleanup, GRACE), partial(self.obey, job)
                continue
            attempt = job.attempts[len(fate.starts) - 1]
            outcome = State.FAILED if attempt.fails else State.FINISHED
            yield fate.starts[-1] + attempt.seconds, partial(self.leave, job, outcome)
            if job.forever and not fate.ready:
                yield fate.starts[-1] + job.ready_after, partial(self.get_ready, fate)

    def jobs_of(self, engine: JobSpec) -> list[JobSpec]:
        """Return the jobs that are in an engine now, in the order of insertion."""
        return [job for job in engine.jobs or () if not self.fates[job].is_absent]

    # What a job waits for

    def lost_requirement(self, job: JobSpec) -> JobSpec | None:
        """Return a requirement that can never be met any more."""
        for wanted in job.requires:
            met = self.fates[wanted].ready if wanted.forever else self.is_finished(wanted)
            if self.is_over(wanted) and not met:
                return wanted
        return None

    def may_start(self, job: JobSpec) -> bool:
        """Whether all that `job` waits for has come."""
        return all(
            self.fates[wanted].ready if wanted.forever else self.is_finished(wanted)
            for wanted in job.requires
        ) and all(
            self.is_over(earlier) or (earlier.forever and self.fates[earlier].ready)
            for earlier in job.after
        )

    def has_slots(self, job: JobSpec) -> bool:
        """Whether the window of its engine and its pool have room for `job`."""
        engine = self.engine_of[job]
        in_window = [other for other in self.jobs_of(engine) if self.is_running(other)]
        in_pool = [other for other in self.fates if other.pool and self.is_running(other)]
        return (
            job.forever
            or engine.window is None
            or sum(not other.forever for other in in_window) < engine.window
        ) and (
            job.pool is None
            or sum(other.pool == job.pool for other in in_pool) < self.root.pools[job.pool]
        )

    # What happens to a job

    def start(self, job: JobSpec) -> None:
        fate = self.fates[job]
        fate.state = State.RUNNING
        fate.starts.append(self.now)
        fate.ready = fate.ready or (job.forever and not job.notify)
        self.order.append(job.id)

    def get_ready(self, fate: Fate) -> None:
        fate.ready = True

    def leave(self, job: JobSpec, outcome: State) -> None:
        """Let an attempt end: it is tried again, or `job` is over."""
        fate = self.fates[job]
        may_retry = fate.asked_to_stop is None or fate.asked_to_stop[1] is State.FAILED
        if (
            outcome is State.FAILED
            and may_retry
            and len(fate.starts) < len(job.attempts)
            and self.fates[self.engine_of[job]].stop is None
        ):
            fate.state = State.SCHEDULED
            fate.asked_to_stop = None
            fate.due = self.now + job.attempts[len(fate.starts) - 1].pause
        else:
            self.end(job, outcome)

    def end(self, job: JobSpec, outcome: State) -> None:
        self.fates[job].state = outcome
        self.fates[job].ended = self.now
        for inner in job.jobs or ():
            if self.is_idle(inner):
                self.end(inner, State.SKIPPED)
        engine = self.engine_of.get(job)
        if outcome is State.FAILED and job.critical and engine and not engine.keep_going:
            self.stop(engine, StopReason.CRITICAL_FAILURE)

    def add(self, job: JobSpec) -> None:
        """Add a job to its engine; too late if that is over."""
        engine = self.engine_of[job]
        self.fates[job].is_absent = self.is_over(engine)
        if self.fates[engine].stop is not None and not self.is_over(engine):
            self.end(job, State.SKIPPED)

    def nothing_else(self) -> None:
        """Time has passed, and that is all."""

    def cancel(self, job: JobSpec) -> None:
        """Cancel a job by hand; one that timed out and cleans up will not be tried again."""
        asked_to_stop = self.fates[job].asked_to_stop
        if asked_to_stop is not None:
            self.fates[job].asked_to_stop = asked_to_stop[0], State.CANCELLED
        elif not self.fates[job].is_absent:
            self.halt(job)

    def halt(self, job: JobSpec) -> None:
        """Let a job end as cancelled: at once if it does not run, else it is asked to stop."""
        if self.is_running(job) and job.jobs is not None:
            self.stop(job, StopReason.CANCELLED)
        elif self.is_running(job):
            self.ask_to_stop(job, State.CANCELLED)
        elif not self.is_over(job):
            self.end(job, State.CANCELLED)

    def time_out(self, job: JobSpec) -> None:
        if job.jobs is not None:
            self.stop(job, StopReason.TIMEOUT)
        else:
            self.ask_to_stop(job, State.FAILED)

    def ask_to_stop(self, job: JobSpec, outcome: State) -> None:
        """Ask a running job to stop; the first to ask decides what it will be."""
        if self.fates[job].asked_to_stop is None:
            self.fates[job].asked_to_stop = self.now, outcome
            if job.cleanup == 0:
                self.obey(job)

    def obey(self, job: JobSpec) -> None:
        """End a job that was asked to stop and has cleaned up, or took too long for that."""
        asked_to_stop = self.fates[job].asked_to_stop
        if job.cleanup > GRACE:
            self.fates[job].abandoned = True
            self.end(job, State.CANCELLED)
        elif job.when_cancelled == "raise":
            self.leave(job, State.FAILED)
        elif asked_to_stop:
            self.leave(job, asked_to_stop[1])

    # What happens to an engine

    def stop(self, engine: JobSpec, reason: StopReason) -> None:
        """Let an engine stop: what runs is cancelled, what never started is skipped."""
        if self.fates[engine].stop is not None:
            return
        self.fates[engine].stop = reason
        for job in self.jobs_of(engine):
            if self.is_running(job) or self.fates[job].starts:
                self.halt(job)
            elif not self.is_over(job):
                self.end(job, State.SKIPPED)

    def end_engine(self, engine: JobSpec) -> None:
        if self.fates[engine].stop is StopReason.CANCELLED:
            self.end(engine, State.CANCELLED)
        elif self.is_good(engine):
            self.end(engine, State.FINISHED)
        else:
            self.tied = self.tied or self.now in self.fates[engine].starts
            self.end(engine, State.FAILED)

    def is_good(self, engine: JobSpec) -> bool:
        """Return the verdict: every critical job finished, in time, and nobody was given up."""
        return self.fates[engine].stop is not StopReason.TIMEOUT and all(
            self.did_its_duty(job) for job in self.jobs_of(engine)
        )

    def did_its_duty(self, job: JobSpec) -> bool:
        fate = self.fates[job]
        if fate.abandoned:
            return False
        if job.forever:
            return not job.critical or (fate.state is not State.FAILED and not fate.because_of)
        return not job.critical or fate.state is State.FINISHED

    # Where a job is

    def is_idle(self, job: JobSpec) -> bool:
        return self.fates[job].state is State.IDLE and not self.fates[job].is_absent

    def is_due(self, job: JobSpec) -> bool:
        return self.fates[job].state is State.SCHEDULED and self.fates[job].due <= self.now

    def is_running(self, job: JobSpec) -> bool:
        return self.fates[job].state is State.RUNNING

    def is_finished(self, job: JobSpec) -> bool:
        return self.fates[job].state is State.FINISHED

    def is_over(self, job: JobSpec) -> bool:
        return self.fates[job].state.is_over
