"""What a run comes to: the verdict, why, the exceptions that explain it, the exit status."""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGINT, Signals
from typing import TYPE_CHECKING

from .errors import JobAbandoned, JobCancelled, JobSkipped, name_of, names_of
from .node import Node, Stop
from .plan import Plan
from .text import safe_error
from .ticks import State, StopReason

if TYPE_CHECKING:
    from .job import AbstractJob

TIMED_OUT = 124
"""Exit status after the run's own timeout, as of timeout(1)."""

WAS_CANCELLED = "the run was cancelled"
"""How the reason of a run that was cancelled begins, unless whoever cancelled it gave another."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to.

    Attributes:
        ok: every critical job finished, and shutdown went without a fault.
        why: the same in one line.
        explanation: the exceptions that explain it, if it is not ok.
        exit_status: 0, 1, 124 (timeout), or 128 and the signal's number.
        shutdown_failures: the jobs whose coshutdown went wrong, and how.
    """

    ok: bool
    why: str
    explanation: tuple[Exception, ...] = ()
    exit_status: int = 0
    shutdown_failures: Mapping[AbstractJob, BaseException] = field(default_factory=dict)


def judge(
    plan: Plan,
    *,
    duration: float,
    timeout: float | None,
    signal: int | None,
    error: Exception | None,
    interruption: BaseException | None,
    shutdown_failures: Mapping[AbstractJob, BaseException],
) -> Verdict:
    """Return the verdict on a plan that is over.

    Args:
        plan: the plan of the engine.
        duration: seconds that the run took.
        timeout: seconds it was given, if it was stopped for that.
        signal: number of the signal that stopped it, if one did.
        error: what ended the run from inside the engine (Stuck), if anything did.
        interruption: a KeyboardInterrupt, SystemExit... that a job raised to end more than the run.
        shutdown_failures: what went wrong in shutdown.
    """
    abandoned = list(_abandoned_inside(plan))
    ok = (
        plan.is_ok
        and error is None
        and signal is None
        and interruption is None
        and not shutdown_failures
        and not abandoned
    )
    if ok:
        return Verdict(True, _good_news(plan, duration))
    explanation = [
        *([error] if error is not None else []),
        *_explain(plan, timeout),
        *(_abandonment(node) for node in abandoned),
        *_noted(_as_exceptions(shutdown_failures), "shutdown of job"),
    ]
    if not explanation and plan.stopping is StopReason.CANCELLED:
        explanation = [JobCancelled(_cancelled_run(plan))]
    if not explanation:
        explanation = [_skipped(plan)]
    if signal is not None:
        status = 128 + signal
    elif isinstance(interruption, KeyboardInterrupt):
        status = 128 + SIGINT
    else:
        status = TIMED_OUT if plan.stopping is StopReason.TIMEOUT else 1
    why = _bad_news(plan, timeout, signal, error or interruption, shutdown_failures)
    return Verdict(False, why, tuple(explanation), status, dict(shutdown_failures))


def counts_of(plan: Plan) -> dict[State, int]:
    """Return how many nodes are in each state, at every depth; zeros are left out."""
    return dict(Counter(node.state for node in plan.nodes_at_every_depth()))


def add_note_once(error: BaseException, note: str) -> None:
    """Add `note` to `error` unless it is there; an exception that will not have it goes without."""
    with suppress(Exception):
        if note not in getattr(error, "__notes__", ()):
            BaseException.add_note(error, note)


def _explain(plan: Plan, timeout: float | None) -> Iterable[Exception]:
    if plan.stopping is StopReason.TIMEOUT:
        yield TimeoutError(_timed_out(timeout))
    for node in plan.nodes:
        job = node.job
        found: BaseException | None = None
        if node.is_abandoned:
            found = _abandonment(node)
        elif not job.critical:
            continue
        elif node.state is State.FAILED:
            found = node.exception
        elif _was_cancelled_by_hand(node, plan):
            found = JobCancelled(f"job {name_of(job)} was cancelled: {node.reason}", [job])
            found.__cause__ = node.exception
        if isinstance(found, Exception):
            yield from _noted({job: found}, "job")


def _abandoned_inside(plan: Plan) -> Iterable[Node]:
    """Give the abandoned nodes of nested engines that did not fail for it: that were stopped."""
    for node in plan.nodes:
        if node.inner is not None and node.state is not State.FAILED:
            yield from (inner for inner in node.inner.nodes if inner.is_abandoned)
            yield from _abandoned_inside(node.inner)


def _abandonment(node: Node) -> JobAbandoned:
    error = JobAbandoned(f"job {name_of(node.job)}: {node.reason}", [node.job])
    error.__cause__ = node.exception
    return error


def _as_exceptions(
    errors: Mapping[AbstractJob, BaseException],
) -> dict[AbstractJob, BaseException]:
    """Return `errors` with what cannot be in a group of exceptions wrapped, where it is told so."""
    wrapped = dict(errors)
    for job, error in errors.items():
        if isinstance(error, CancelledError):
            wrapped[job] = JobCancelled(f"shutdown of job {name_of(job)} was cancelled")
            wrapped[job].__cause__ = error
    return wrapped


def _was_cancelled_by_hand(node: Node, plan: Plan) -> bool:
    if node.state is not State.CANCELLED or node.job.forever or node.stop is None:
        return False
    return node.stop[0] is Stop.HAND or plan.stopping is StopReason.CANCELLED


def _noted(errors: Mapping[AbstractJob, BaseException], what: str) -> Iterable[Exception]:
    for job, error in errors.items():
        add_note_once(error, f"{what} {name_of(job)}")
        if isinstance(error, Exception):
            yield error


def _skipped(plan: Plan) -> JobSkipped:
    """Return the one error left to give when no other explains the verdict."""
    nodes = [node for node in plan.nodes if node.state is State.SKIPPED and node.job.critical]
    reasons = "; ".join(dict.fromkeys(node.reason for node in nodes))
    jobs = [node.job for node in nodes]
    count = f"{len(jobs)} critical job{'s' * (len(jobs) != 1)}"
    return JobSkipped(f"{count} skipped ({names_of(jobs)}): {reasons}", jobs, reasons)


def _cancelled_run(plan: Plan) -> str:
    told = plan.stop_text
    return told if told.startswith(WAS_CANCELLED) else f"{WAS_CANCELLED}: {told}"


def _good_news(plan: Plan, duration: float) -> str:
    # What is counted is what the monitor counts: the jobs in nested engines, not these themselves.
    nodes = plan.nodes_at_every_depth()
    counts = Counter([n.state for n in nodes if n.inner is None and not n.job.forever])
    jobs = "job" if counts[State.FINISHED] == 1 else "jobs"
    news = [f"{counts[State.FINISHED]} {jobs} finished in {duration:.1f}s"]
    others = State.FAILED, State.CANCELLED, State.SKIPPED
    news += [f"{counts[state]} {state}, not critical" for state in others if counts[state]]
    return ", ".join(news)


def _bad_news(
    plan: Plan,
    timeout: float | None,
    signal: int | None,
    error: BaseException | None,
    shutdown_failures: Mapping[AbstractJob, BaseException],
) -> str:
    """Return the first thing that explains it, from the outermost cause inwards."""
    if signal is not None:
        return f"interrupted by {Signals(signal).name}"
    if error is not None:
        return safe_error(error)
    if plan.stopping is StopReason.TIMEOUT:
        stopped = [node.job for node in plan.nodes if node.stop is not None]
        return f"{_timed_out(timeout)} ({names_of(stopped, 3)} still running)"
    if shutdown_failures:
        last_resort = f"shutdown failed: {names_of(shutdown_failures, 3)}"
    else:
        last_resort = _cancelled_run(plan)
    return _worst_of(plan) or last_resort


def _worst_of(plan: Plan) -> str:
    """Return what became of the job that explains most, and who was abandoned."""
    culprits = [node for node in _culprits(plan) if not node.is_abandoned]
    news = [_first_of(culprits)] if culprits else []
    abandoned = [node.job for node in plan.nodes if node.is_abandoned]
    abandoned += [node.job for node in _abandoned_inside(plan)]
    if abandoned:
        news.append(f"abandoned, may still run: {names_of(abandoned, 3)}")
    return "; ".join(news)


def _culprits(plan: Plan) -> list[Node]:
    """Return the nodes that spoil the verdict: those that failed, then cancelled, then skipped."""
    order = [State.FAILED, State.CANCELLED, State.SKIPPED]
    found = [
        node
        for node in plan.nodes
        if node.job.critical
        and node.state in order
        and (not node.job.forever or node.state is State.FAILED or node.is_blamed)
    ]
    return sorted(found, key=lambda node: order.index(node.state))


def _first_of(culprits: list[Node]) -> str:
    """Return what became of the first culprit, and how many more are in the same state."""
    first = culprits[0]
    count = sum(node.state is first.state for node in culprits)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{name_of(first.job)} {first.state}: {first.reason}{more}"


def _timed_out(timeout: float | None) -> str:
    return f"the run took more than its {timeout:g}s"
