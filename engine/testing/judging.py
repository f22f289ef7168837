"""The judges: hold what was seen of a run against the reference model, and against the rules.

:func:`differences` compares it with what the model predicts; :func:`violations` knows no outcome
and checks the rules that hold for every run of any graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from engine.ticks import JobState, RunEnded, RunStopping, State, StopReason

from .model import GRACE, JobSpec, Prediction
from .stage import Performance


def differences(prediction: Prediction, performance: Performance) -> list[str]:
    """Return a line for each thing that the model has otherwise: states, instants, order.

    >>> from engine.testing import JobSpec, play, predict
    >>> graph = JobSpec("", jobs=(JobSpec("1"), JobSpec("2")))
    >>> differences(predict(graph), play(graph))
    []
    """
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
