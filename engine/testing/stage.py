"""The stage: plays a graph of scripted jobs on the real engine, and holds it against the contract.

:func:`play` runs a :class:`~engine.testing.model.JobSpec` on a virtual clock and keeps all that a
spectator can see.  :func:`differences` compares that with what the reference model predicts;
:func:`violations` knows no outcome and checks the rules that hold for every run.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from engine import AbstractJob, AlreadyRunning, Engine, EngineFailed, Pool, ready
from engine.ticks import JobState, RunEnded, RunStopping, State, StopReason

from .clock import run_virtual
from .model import GRACE, JobSpec, Prediction
from .story import Story

What = Literal["start", "return", "raise", "asked", "shutdown", "shut"]


class ScriptedFailure(Exception):
    """What a job raises whose script says that it fails."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a job did, as seen from inside: the times are seconds since the start of the run."""

    when: float
    job: str
    what: What


@dataclass(slots=True)
class Performance:
    """What could be seen of one run.

    Attributes:
        root: the graph that was played.
        engine: the engine made of it.
        pools: its pools, by name.
        jobs: the jobs made of it, nested engines included, by id; not those still to be added.
        story: all ticks.
        notes: what the jobs did.
        early: ids of jobs that began although one they wait for was not that far.
        began: when the run began, on the clock of the loop.
        ok: the verdict.
        error: what `corun()` raised, if it did.
    """

    root: JobSpec
    engine: Engine
    pools: Mapping[str, Pool]
    jobs: dict[str, AbstractJob] = field(default_factory=dict)
    story: Story = field(default_factory=Story)
    notes: list[Note] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    began: float = 0.0
    ok: bool | None = None
    error: EngineFailed | None = None

    def note(self, spec: JobSpec, what: What) -> None:
        """Keep that a job did something now."""
        when = asyncio.get_running_loop().time() - self.began
        self.notes.append(Note(when, spec.id, what))

    def state_of(self, spec: JobSpec) -> State:
        """Return the state in which a job is now; idle if it was not added."""
        return self.jobs[spec.id].state if spec.id in self.jobs else State.IDLE

    def did(self, spec: JobSpec, what: What) -> int:
        """Return how often a job did something."""
        return sum(note.job == spec.id and note.what == what for note in self.notes)


class ScriptedJob(AbstractJob):
    """A job that does what its `spec` says, and takes notes."""

    def __init__(self, spec: JobSpec, stage: Performance, **options: Any) -> None:
        super().__init__(
            label=spec.id,
            forever=spec.forever,
            critical=spec.critical,
            notify=spec.notify,
            timeout=spec.timeout,
            retry=_retry_of(spec),
            **options,
        )
        self.spec = spec
        self.stage = stage

    async def corun(self) -> str:
        """Play one attempt."""
        if not self._may_start():
            self.stage.early.append(self.spec.id)
        attempt = self.spec.attempts[self.stage.did(self.spec, "start")]
        self.stage.note(self.spec, "start")
        try:
            await self._take(attempt.seconds)
        except asyncio.CancelledError:
            self.stage.note(self.spec, "asked")
            await self._clean_up()
            if self.spec.when_cancelled == "raise":
                self._fail()
            self.stage.note(self.spec, "return")
            if self.spec.when_cancelled == "end":
                raise
            return "asked to stop"
        if attempt.fails:
            self._fail()
        self.stage.note(self.spec, "return")
        return f"result of {self.spec.id}"

    async def coshutdown(self) -> None:
        """Take note of it, and of the order in which it comes."""
        self.stage.note(self.spec, "shutdown")
        await asyncio.sleep(0)
        self.stage.note(self.spec, "shut")

    async def _take(self, seconds: float) -> None:
        if self.spec.notify and self.spec.ready_after < seconds:
            await asyncio.sleep(self.spec.ready_after)
            ready()
            seconds -= self.spec.ready_after
        if seconds == inf:
            await asyncio.get_running_loop().create_future()
        elif seconds:
            await asyncio.sleep(seconds)

    async def _clean_up(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.spec.cleanup
        while (left := end - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    def _fail(self) -> None:
        self.stage.note(self.spec, "raise")
        raise ScriptedFailure(self.spec.id)

    def _may_start(self) -> bool:
        """Whether all that this job waits for has come, as seen at this instant."""

        def has_come(wanted: JobSpec, *, enough: bool) -> bool:
            state = self.stage.state_of(wanted)
            if wanted.forever:  # whether it was ready, the states do not say; the model does
                return state not in {State.IDLE, State.SCHEDULED}
            return state.is_over if enough else state is State.FINISHED

        return all(has_come(wanted, enough=False) for wanted in self.spec.requires) and all(
            has_come(wanted, enough=True) for wanted in self.spec.after
        )


def _retry_of(spec: JobSpec) -> Any:
    """Return the option `retry`; pauses between attempts need tenacity."""
    if not any(attempt.pause for attempt in spec.attempts):
        return len(spec.attempts) - 1 or None
    tenacity = importlib.import_module("tenacity")

    def wait(state: Any) -> float:
        attempt: int = state.attempt_number
        return spec.attempts[attempt - 1].pause

    stop = tenacity.stop_after_attempt(len(spec.attempts))
    return tenacity.AsyncRetrying(stop=stop, wait=wait)


def build(root: JobSpec) -> Performance:
    """Return a performance that has not begun: `root` made into an engine of scripted jobs."""
    pools = {name: Pool(size, label=name) for name, size in root.pools.items()}
    story = Story()
    engine = Engine(message_queue=story, **_engine_options(root))
    stage = Performance(root, engine, pools, story=story)
    _fill(stage, engine, root)
    for spec in root.walk():
        if spec.add_at is None and spec.id:
            _relate(stage, spec)
    return stage


def _relate(stage: Performance, spec: JobSpec) -> None:
    job = stage.jobs[spec.id]
    job.requires(*(stage.jobs[wanted.id] for wanted in spec.requires))
    job.after(*(stage.jobs[wanted.id] for wanted in spec.after))


def _fill(stage: Performance, engine: Engine, spec: JobSpec) -> None:
    """Put the jobs of an engine in, in their order, and those of nested engines into these."""
    for inner in spec.jobs or ():
        if inner.add_at is not None:
            continue
        pool = stage.pools.get(inner.pool or "")
        if inner.jobs is None:
            engine.add(job := ScriptedJob(inner, stage, pool=pool))
            stage.jobs[inner.id] = job
        else:
            nested = Engine(
                label=inner.id,
                forever=inner.forever,
                critical=inner.critical,
                pool=pool,
                **_engine_options(inner),
            )
            engine.add(nested)
            stage.jobs[inner.id] = nested
            _fill(stage, nested, inner)


def _add(stage: Performance, spec: JobSpec) -> None:
    """Add a job while its engine may be running, as the script asks."""
    above = spec.id.rpartition(".")[0]
    engine = stage.jobs[above] if above else stage.engine
    if any(wanted.id not in stage.jobs for wanted in (*spec.requires, *spec.after)):
        return  # it came too late itself
    stage.jobs[spec.id] = ScriptedJob(spec, stage, pool=stage.pools.get(spec.pool or ""))
    _relate(stage, spec)
    try:
        engine.add(stage.jobs[spec.id])  # type: ignore[attr-defined]
    except AlreadyRunning:  # it is over
        del stage.jobs[spec.id]


def _engine_options(spec: JobSpec) -> dict[str, Any]:
    return {
        "jobs_window": spec.window,
        "timeout": spec.timeout,
        "keep_going": spec.keep_going,
        "cancel_grace": GRACE,
    }


async def perform(stage: Performance) -> None:
    """Run what was built; cancel by hand and add what its script says, when it says."""
    loop = asyncio.get_running_loop()
    stage.began = loop.time()
    timers = []
    for spec in stage.root.walk():
        if spec.cancel_at is not None:
            cancel = stage.jobs[spec.id].cancel if spec.id else stage.engine.cancel
            timers.append(loop.call_at(stage.began + spec.cancel_at, cancel))
        if spec.add_at is not None:
            timers.append(loop.call_at(stage.began + spec.add_at, _add, stage, spec))
    try:
        stage.ok = await stage.engine.corun()
    except EngineFailed as error:
        stage.ok = False
        stage.error = error
    finally:
        for timer in timers:
            timer.cancel()


def play(root: JobSpec) -> Performance:
    """Run a graph on a virtual clock, and return all that could be seen.

    >>> from engine.testing import JobSpec, predict
    >>> graph = JobSpec("", jobs=(JobSpec("1"), JobSpec("2")))
    >>> performance = play(graph)
    >>> performance.ok, differences(predict(graph), performance), violations(performance)
    (True, [], [])
    """
    stage = build(root)
    run_virtual(perform(stage))
    return stage


def differences(prediction: Prediction, performance: Performance) -> list[str]:
    """Return a line for each thing that the model has otherwise, states, instants and order."""
    seen = _Seen(performance)
    pairs: list[tuple[str, object, object]] = [("verdict", prediction.ok, performance.ok)]
    for spec in performance.root.walk():
        fate = prediction.fates[spec.id]
        if spec.id:
            name = f"job {spec.id}"
            pairs += [
                (f"{name}: state", fate.state, performance.state_of(spec)),
                (f"{name}: starts", fate.starts, seen.starts(spec)),
                (f"{name}: ended", fate.ended, seen.ended.get(spec.id)),
            ]
        if spec.jobs is not None:
            inside = {job.id for job in spec.jobs}
            order = [job for job in prediction.order if job in inside]
            pairs.append((f"order in {spec.id!r}", order, seen.order(inside)))
    failed = {job for job, fate in prediction.fates.items() if job and fate.state is State.FAILED}
    told = {str(job.label) for job in performance.engine.failures}
    stop = prediction.fates[""].stop or StopReason.DONE
    pairs += [("failures", failed, told), ("reason to stop", stop, seen.stop)]
    return [f"{what}: {good} expected, {got} seen" for what, good, got in pairs if good != got]


def violations(performance: Performance) -> list[str]:
    """Return a line for each rule that was broken; the rules hold for every run of any graph.

    The ticks tell a legal story that agrees with the jobs.  No job starts early, more often than
    its attempts allow, or beyond its window or pool.  The verdict is True exactly if nothing speaks
    against it.  Every job that was started is shut down once, after the last job has ended and
    after all that waited for it.
    """
    return [
        *performance.story.problems(),
        *(f"job {job} started early" for job in performance.early),
        *_wrong_states(performance),
        *_too_many_at_once(performance),
        *_wrong_verdicts(performance),
        *_wrong_shutdown(performance),
    ]


class _Seen:
    """What the ticks say, by job."""

    def __init__(self, performance: Performance) -> None:
        self.steps = [tick for tick in performance.story.ticks if isinstance(tick, JobState)]
        self.began = performance.began
        self.ended = {tick.job: tick.at - self.began for tick in self.steps if tick.new.is_over}
        stops = [tick for tick in performance.story.ticks if isinstance(tick, RunStopping)]
        self.stop = stops[0].reason if stops else StopReason.DONE

    def starts(self, spec: JobSpec) -> list[float]:
        return [
            tick.at - self.began
            for tick in self.steps
            if tick.job == spec.id and tick.new is State.RUNNING
        ]

    def order(self, jobs: set[str]) -> list[str]:
        return [tick.job for tick in self.steps if tick.job in jobs and tick.new is State.RUNNING]


def _wrong_states(performance: Performance) -> Iterator[str]:
    told = performance.story.states()
    starts = Counter(note.job for note in performance.notes if note.what == "start")
    for spec in performance.root.walk():
        if spec.id not in performance.jobs:
            continue
        state = performance.state_of(spec)
        if not state.is_over:
            yield f"job {spec.id} is {state} after the run"
        if told.get(spec.id) is not state:
            yield f"job {spec.id} is {state}, its last tick says {told.get(spec.id)}"
        if starts[spec.id] > len(spec.attempts):
            yield f"job {spec.id} ran {starts[spec.id]} times of {len(spec.attempts)}"
        if state is State.FINISHED and spec.jobs is None and not performance.did(spec, "return"):
            yield f"job {spec.id} is finished, but never returned"
        if state is State.SKIPPED and starts[spec.id]:
            yield f"job {spec.id} is skipped, but it ran"


def _too_many_at_once(performance: Performance) -> Iterator[str]:
    """Go through the ticks, and through the notes, with what runs after each."""
    specs = {spec.id: spec for spec in performance.root.walk()}
    running: dict[str, None] = {}
    for tick in performance.story.ticks:
        if isinstance(tick, JobState) and tick.job in specs:
            if tick.new is State.RUNNING:
                running[tick.job] = None
                yield from _beyond_bounds(specs, running)
            elif tick.old is State.RUNNING:
                running.pop(tick.job, None)
    inside: dict[str, None] = {}
    for note in performance.notes:
        given_up = specs[note.job].cleanup > GRACE
        if note.what == "start" and not given_up:  # the slot of one given up is free before its end
            inside[note.job] = None
            yield from _beyond_bounds(specs, inside)
        elif note.what in {"return", "raise"}:
            inside.pop(note.job, None)


def _beyond_bounds(specs: Mapping[str, JobSpec], running: Mapping[str, None]) -> Iterator[str]:
    in_window = Counter(job.rpartition(".")[0] for job in running if not specs[job].forever)
    in_pool = Counter(specs[job].pool for job in running)
    for engine, count in in_window.items():
        window = specs[engine].window
        if window is not None and count > window:
            yield f"{count} jobs run in engine {engine!r} of window {window}"
    for pool, size in specs[""].pools.items():
        if in_pool[pool] > size:
            yield f"{in_pool[pool]} jobs hold pool {pool!r} of {size}"


def _wrong_verdicts(performance: Performance) -> Iterator[str]:
    ended = [tick for tick in performance.story.ticks if isinstance(tick, RunEnded)]
    if [tick.ok for tick in ended] != [performance.ok]:
        yield f"the verdict is {performance.ok}, the last tick says otherwise"
    if (performance.engine.exit_status == 0) != performance.ok:
        yield f"the verdict is {performance.ok}, the exit status {performance.engine.exit_status}"
    for engine in performance.root.walk():
        if engine.jobs is None:
            continue
        good = performance.ok if not engine.id else performance.state_of(engine) is State.FINISHED
        against = {
            job.id: _speaks_against(performance, job)
            for job in engine.jobs
            if job.id in performance.jobs
        }
        if good and True in against.values():
            yield f"engine {engine.id!r} is good, although these speak against it: {against}"
        bad = not good if not engine.id else performance.state_of(engine) is State.FAILED
        if (
            bad
            and engine.timeout is None
            and engine.cancel_at is None
            and set(against.values()) <= {False}
        ):
            yield f"engine {engine.id!r} is not good, although nothing speaks against it"


def _speaks_against(performance: Performance, job: JobSpec) -> bool | None:
    """Whether a job is a reason for a verdict of False; None if its state does not tell."""
    state = performance.state_of(job)
    if job.cleanup > GRACE and performance.did(job, "asked"):
        return True
    if not job.critical:
        return False
    if job.forever:
        return None if state is State.SKIPPED else state is State.FAILED
    return state is not State.FINISHED


def _wrong_shutdown(performance: Performance) -> Iterator[str]:
    """Look at how often each job was shut down, and when."""
    seen = _Seen(performance)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    still = {spec.id for spec in performance.root.walk() if spec.cleanup > GRACE}
    for position, note in enumerate(performance.notes):
        if note.what in {"shutdown", "shut"}:
            for ident in _with_engines(note.job):
                first.setdefault(ident, position)
                last[ident] = position
        elif first and note.job not in still:
            yield f"job {note.job} is at work ({note.what}) after the shutdown began"
    for spec in performance.root.walk():
        calls, due = performance.did(spec, "shutdown"), int(bool(seen.starts(spec)))
        if spec.jobs is None and calls != due:
            yield f"job {spec.id} was shut down {calls} times, not {due}"
        for wanted in (*spec.requires, *spec.after):
            if {spec.id, wanted.id} <= first.keys() and first[wanted.id] < last[spec.id]:
                yield f"job {wanted.id} was shut down before {spec.id}, which waited for it"


def _with_engines(ident: str) -> list[str]:
    """Return the id of a job and of the engines round it: "2.1.3", "2.1", "2"."""
    parts = ident.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
