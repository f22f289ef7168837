"""The stage: plays a graph of scripted jobs on the real engine, and keeps all that can be seen."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from engine import AbstractJob, AlreadyRunning, Engine, EngineFailed, Pool, ready
from engine.ticks import State

from .clock import run_virtual
from .model import GRACE, JobSpec
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

    >>> from engine.testing import JobSpec
    >>> performance = play(JobSpec("", jobs=(JobSpec("1"), JobSpec("2"))))
    >>> performance.ok, performance.jobs["2"].state.value
    (True, 'finished')
    """
    stage = build(root)
    run_virtual(perform(stage))
    return stage
