"""Jobs and engines in words: the repr of a job, `list()`, `stats()` and `debrief()`.

All functions return text but :func:`show`, which prints it: the only place of the engine that does.
Every piece that comes from outside has passed :mod:`engine.text`, so that a line is a line.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import PurePath
from typing import TYPE_CHECKING

from . import graph
from .errors import CycleError
from .text import safe_error, safe_line, safe_repr
from .ticks import State

if TYPE_CHECKING:
    from .engine import Engine
    from .job import AbstractJob

_LONGEST_LABEL = 80
_MOST_NAMES = 20
_SLOWEST = 5
_OURS = {PurePath(__file__).parent.with_name(name) for name in ("engine", "monitor", "sshjobs")}


def show(text: str) -> None:
    """Print `text`; characters that the output has no bytes for are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


# -- one job -------------------------------------------------------------------------------------


def label_of(job: AbstractJob) -> str:
    """Return what `job` is called in texts: its `text_label()`, as one safe line."""
    try:
        return safe_line(job.text_label(), _LONGEST_LABEL)
    except Exception:  # a hook of the user must not break a listing
        return safe_line(getattr(job, "label", None), _LONGEST_LABEL)


def describe(job: AbstractJob, allowed: Iterable[AbstractJob] | None = None) -> str:
    r"""Return the line that stands for `job`: its state, what came of it, its neighbours.

    Args:
        job: the job.
        allowed: those that wait for it; by default those that its engine knows.

    >>> from engine import Engine, Job
    >>> async def step(): return 1500.0
    >>> b1, b3 = Job(step, label="b1"), Job(step, label="b3")
    >>> engine = Engine(b1, b3.requires(b1))
    >>> engine.orchestrate()
    True
    >>> print(describe(b1), describe(b3), sep="\n")
    <Job `b1' finished -> 1500.0 - [allows [b3]]>
    <Job `b3' finished -> 1500.0 - [requires [b1]]>
    """
    if allowed is None:
        engine = job.engine
        allowed = () if engine is None else engine.followers_of(job)
    forever = "[∞]" if job.forever else ""
    neighbours = "".join(
        f" - [{relation} [{_names(jobs)}]]"
        for relation, jobs in (
            ("requires", job.required),
            ("after", job.awaited),
            ("allows", tuple(allowed)),
        )
        if jobs
    )
    kind = safe_line(type(job).__name__)
    return f"<{kind} `{label_of(job)}'{forever} {_outcome(job)}{neighbours}>"


def _outcome(job: AbstractJob) -> str:
    """Return the state of `job` and what there is to say about it."""
    state, node = job.state, job._place
    if node is None:
        return str(state)
    if state is State.FINISHED:
        return f"{state} -> {safe_repr(node.result)}"
    if state is State.FAILED and node.exception is not None:
        return f"{state} !! {safe_error(node.exception)}"
    if state is State.SKIPPED and node.reason:
        return f"{state}: {node.reason}"
    return str(state)


def _names(jobs: Iterable[AbstractJob], most: int = _MOST_NAMES) -> str:
    jobs = list(jobs)
    names = ", ".join(label_of(job) for job in jobs[:most])
    return names if len(jobs) <= most else f"{names} and {len(jobs) - most} more"


# -- all jobs ------------------------------------------------------------------------------------


def inner_engine(job: AbstractJob) -> Engine | None:
    """Return `job` if it is an engine, else None."""
    from .engine import Engine

    return job if isinstance(job, Engine) else None


def listing(engine: Engine, *, details: bool = False) -> str:
    """Return a line for every job, in topological, then insertion order.

    The jobs of a nested engine are indented below it.  With `details` each job is followed by what
    its `details()` says, and by how long it took.  Jobs that wait for each other have no
    topological order; they are listed all the same, in that of insertion.
    """
    return "\n".join(_lines(engine, "", details=details))


def _lines(engine: Engine, indent: str, *, details: bool) -> Iterator[str]:
    jobs = list(engine)
    allowed = graph.dependents(jobs, graph.needs_of)
    for job in _in_order(jobs):
        yield indent + describe(job, allowed[job])
        if details:
            yield from (f"{indent}    {line}" for line in _details(job))
        inner = inner_engine(job)
        if inner is not None:
            yield from _lines(inner, indent + "  ", details=details)


def _in_order(jobs: list[AbstractJob]) -> list[AbstractJob]:
    try:
        return graph.topological_order(jobs, graph.needs_of)
    except CycleError:
        return jobs


def _details(job: AbstractJob) -> Iterator[str]:
    try:
        text = job.details()
    except Exception as error:  # a hook of the user
        text = f"(its details() raised {safe_error(error)})"
    if text is not None:
        yield from (safe_line(line) for line in str(text).splitlines())
    if job.duration is not None:
        attempts = job._place.attempt if job._place is not None else 1
        yield f"took {_seconds(job.duration)}" + (f", {attempts} attempts" if attempts > 1 else "")


def stats(engine: Engine) -> str:
    """Return in one line how many jobs there are in each state, at every depth.

    Like the verdict it counts jobs that come to an end and hold no others; then, by themselves,
    forever jobs and nested engines.

    >>> from engine import Engine, Job
    >>> async def step(): pass
    >>> stats(Engine(Job(step), Engine(Job(step))))
    '2 jobs: 2 idle; 1 engine: 1 idle'
    """
    kinds = {kind: Counter[State]() for kind in ("job", "forever job", "engine")}
    for job in engine.iterate_jobs(scan_engines=True):
        kind = "forever job" if job.forever else "job"
        kinds[kind if inner_engine(job) is None else "engine"][job.state] += 1
    told = [_counted(kind, counts) for kind, counts in kinds.items() if counts]
    return "; ".join(told) or "no jobs"


def _counted(kind: str, counts: Counter[State]) -> str:
    told = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    return f"{_count(counts.total(), kind)}: {told}"


# -- the report after a run ----------------------------------------------------------------------


def debrief(engine: Engine, *, details: bool = False) -> str:
    """Return the report on the last run, for the person who started it.

    The verdict and the counts; then, as far as there are any: the jobs that failed, each with its
    exception and the place where it was raised, those skipped and cancelled, by reason, those that
    were abandoned, what went wrong in shutdown, the same for each nested engine, indented; at last
    the jobs that took longest.  With `details` each failure is followed by its traceback.

    >>> from engine import Engine, Job
    >>> async def step(): pass
    >>> print(debrief(Engine(Job(step))))
    it has not run yet
      1 job: 1 idle
    """
    verdict = _VERDICTS.get(engine.state)
    lines = [f"{verdict} - {engine.why()}" if verdict else engine.why()]
    sections = [[stats(engine)], _troubles(engine, details=details), _slowest(engine)]
    lines += [f"  {line}" for section in sections for line in section]
    return "\n".join(lines)


_VERDICTS = {State.FINISHED: "OK", State.FAILED: "FAILED", State.CANCELLED: "CANCELLED"}


def _troubles(engine: Engine, *, details: bool) -> Iterator[str]:
    """Give the lines on all in `engine` that did not go well."""
    jobs = list(engine)
    in_state = {state: [job for job in jobs if job.state is state] for state in State}
    abandoned = [job for job in jobs if job._place is not None and job._place.is_abandoned]
    cancelled = [job for job in in_state[State.CANCELLED] if not job.forever]
    faults = engine.shutdown_failures
    shut = {job: error for job, error in faults.items() if job.engine is engine}
    failed = {job: job.raised_exception() for job in in_state[State.FAILED]}
    yield from _section("failed", _failures(failed, details=details))
    yield from _section("abandoned", _by_reason(abandoned))
    yield from _section("cancelled", _by_reason(job for job in cancelled if job not in abandoned))
    yield from _section("skipped", _by_reason(in_state[State.SKIPPED]))
    yield from _section("failed in shutdown", _failures(shut, details=details))
    for job in jobs:
        inner = inner_engine(job)
        if inner is not None and job.state is not State.SKIPPED:
            yield from _section(f"in {label_of(job)}", _troubles(inner, details=details))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Give `lines`, indented, below their title; nothing if there are none."""
    lines = list(lines)
    if lines:
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)


def _failures(
    failures: Mapping[AbstractJob, BaseException | None], *, details: bool
) -> Iterator[str]:
    for job, error in failures.items():
        notes = [] if job.critical else ["not critical"]
        if job._place is not None and job._place.attempt > 1:
            notes.append(f"{job._place.attempt} attempts")
        # What ended a nested engine has its own section: where it was raised says nothing.
        tell = _told if inner_engine(job) is None else safe_error
        told = "" if error is None else f" !! {tell(error)}"
        yield label_of(job) + told + (f" ({', '.join(notes)})" if notes else "")
        if details and error is not None:
            for line in "".join(traceback.format_exception(error)).splitlines():
                yield f"  {safe_line(line)}"


def _told(error: BaseException) -> str:
    """Return the exception and where it was raised."""
    places = traceback.extract_tb(error.__traceback__)
    # A place in our own code is of no use to those who read this.
    frames = [frame for frame in places if PurePath(frame.filename).parent not in _OURS]
    if not frames:
        return safe_error(error)
    last = frames[-1]
    place = f"{PurePath(last.filename).name}:{last.lineno}, in {last.name}"
    return f"{safe_error(error)} [{safe_line(place)}]"


def _by_reason(jobs: Iterable[AbstractJob]) -> Iterator[str]:
    """Give a line for each reason: the jobs, and why."""
    groups: dict[str, list[AbstractJob]] = {}
    for job in jobs:
        groups.setdefault(job._place.reason if job._place is not None else "", []).append(job)
    for reason, group in groups.items():
        yield f"{_names(group)}: {reason}" if reason else _names(group)


def _slowest(engine: Engine) -> Iterator[str]:
    """Give the jobs that took longest, of those that end by themselves and hold no others."""
    took = [
        (job.duration, job)
        for job in engine.iterate_jobs()
        if job.duration is not None and not job.forever
    ]
    took.sort(key=itemgetter(0), reverse=True)
    lines = [f"{_seconds(duration):>8} {label_of(job)}" for duration, job in took[:_SLOWEST]]
    return _section("slowest", lines)


def _seconds(duration: float) -> str:
    return f"{duration:.2f}s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
