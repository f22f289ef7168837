"""The plan of a run as plain function calls: no loop, no clock, no task.

First by hand, instruction by instruction; then driven at random by a machine that keeps a second
book of all that the plan says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine import Pool, State
from engine.node import Node, Stop
from engine.plan import BURST, TRANSITIONS, Do, Instruction, Plan
from engine.ticks import StopReason

IDLE, SCHEDULED, RUNNING = State.IDLE, State.SCHEDULED, State.RUNNING
FINISHED, FAILED = State.FINISHED, State.FAILED
CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED


@dataclass(eq=False)
class Fake:
    """As much of a job as a plan looks at."""

    label: str
    forever: bool = False
    critical: bool = True
    notify: bool = False
    pool: Pool | None = None
    retry: Any = None
    timeout: Any = None


class Bench:
    """A plan, and what it said; its invariants are checked after each step."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("tells", True)
        self.plan = Plan(wake=self.wake, **options)
        self.nodes: dict[str, Node] = {}
        self.woken = 0
        self.time = 0.0

    def wake(self) -> None:
        self.woken += 1

    def job(
        self,
        label: str,
        *,
        requires: Iterable[str] = (),
        after: Iterable[str] = (),
        **options: Any,
    ) -> Node:
        """Put a job in, before or during the run."""
        node = self.nodes[label] = self.plan.node(Fake(label, **options))
        for need in requires:
            self.plan.link(node, [self.nodes[need]], True)
        for need in after:
            self.plan.link(node, [self.nodes[need]], False)
        return node

    def late(
        self,
        label: str,
        *,
        requires: Iterable[str] = (),
        after: Iterable[str] = (),
        **options: Any,
    ) -> list[str]:
        """Put a job in while the run goes on."""
        node = self.nodes[label] = self.plan.node(Fake(label, **options))
        out: list[Instruction] = []
        for need in requires:
            out += self.plan.link_late(node, self.nodes[need], True, self.time)
        for need in after:
            out += self.plan.link_late(node, self.nodes[need], False, self.time)
        return self.told([*out, *self.plan.add(node, self.time)])

    def __getattr__(self, name: str) -> Any:
        """``bench.settle("a", FINISHED)``: a step of the plan; what it says, in short words."""
        step = getattr(self.plan, name)
        takes_time = name not in {"postpone", "due", "dispatch"}

        def call(*args: Any) -> list[str]:
            nodes = [self.nodes.get(arg, arg) if isinstance(arg, str) else arg for arg in args]
            if name == "settle" and len(nodes) > 2:
                nodes.insert(2, self.time)
            elif takes_time:
                nodes.append(self.time)
            return self.told(step(*nodes))

        return call

    def told(self, instructions: Iterable[Instruction]) -> list[str]:
        self.plan.check()
        return [short(instruction) for instruction in instructions]

    def begun(self) -> list[str]:
        return does(self.begin())

    def states(self) -> str:
        return " ".join(f"{label}:{node.state}" for label, node in self.nodes.items())


def short(instruction: Instruction) -> str:
    """``START a``, ``a: idle -> scheduled``, ``STOPPING done``, ``OVER``."""
    if isinstance(instruction, Node):
        return f"START {instruction.job.label}"
    do, *rest = instruction
    if do is Do.TELL:
        node, old, new, reason, attempt, retry_in = rest
        text = f"{node.job.label}: {old} -> {new}"
        text += f" ({reason})" if reason else ""
        text += f" #{attempt}" if attempt > 1 else ""
        return text + ("" if retry_in is None else f" in {retry_in:g}")
    words = [each.job.label if isinstance(each, Node) else str(each) for each in rest]
    return " ".join([do.name, *words]) if do is not Do.WAKE else "WAKE"


def does(lines: Iterable[str]) -> list[str]:
    """Return without what is only told."""
    return [line for line in lines if ": " not in line]


def starts(lines: Iterable[str]) -> list[str]:
    """Return what is started."""
    return [line for line in lines if line.startswith("START")]


# -- one job ---------------------------------------------------------------------------------


def test_one_job_from_beginning_to_end() -> None:
    bench = Bench()
    bench.job("a")
    assert bench.begin() == ["a: idle -> scheduled", "a: scheduled -> running", "START a"]
    assert bench.settle("a", FINISHED) == ["a: running -> finished", "STOPPING done", "OVER"]
    assert bench.plan.is_ok
    assert bench.plan.is_over


def test_an_empty_plan_is_over_as_it_begins_and_good() -> None:
    bench = Bench()
    assert bench.begin() == ["STOPPING done", "OVER"]
    assert bench.plan.is_ok


def test_without_a_reader_nothing_is_told() -> None:
    bench = Bench(tells=False)
    bench.job("a")
    assert bench.begin() == ["START a"]
    assert bench.settle("a", FINISHED) == ["STOPPING done", "OVER"]


def test_times_are_those_it_was_given() -> None:
    bench = Bench()
    node = bench.job("a")
    bench.begin()
    bench.time = 3.5
    bench.settle("a", FINISHED)
    assert node.ended_at == 3.5


@pytest.mark.parametrize("critical", [True, False])
def test_a_failure(critical: bool) -> None:
    bench = Bench()
    bench.job("a", critical=critical)
    bench.begin()
    reason = "critical failure" if critical else "done"
    assert bench.settle("a", FAILED, "ValueError: boom") == [
        "a: running -> failed (ValueError: boom)",
        f"STOPPING {reason}",
        "OVER",
    ]
    assert bench.plan.is_ok is not critical


# -- requirements ----------------------------------------------------------------------------


def test_a_dependent_starts_in_the_step_that_ends_the_last_of_its_needs() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b")
    bench.job("c", requires="ab")
    assert bench.begun() == ["START a", "START b"]
    assert does(bench.settle("b", FINISHED)) == []
    assert does(bench.settle("a", FINISHED)) == ["START c"]
    assert does(bench.settle("c", FINISHED)) == ["STOPPING done", "OVER"]


@pytest.mark.parametrize("end", [FAILED, CANCELLED])
def test_without_its_need_it_is_skipped_and_so_on_down(end: State) -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.job("b", requires="a")
    bench.job("c", requires="b")
    bench.job("d", after="c")
    bench.begin()
    assert bench.settle("a", end) == [
        f"a: running -> {end}",
        f"b: idle -> skipped (a {end})",
        f"c: idle -> skipped (a {end})",
        "d: idle -> scheduled",
        "d: scheduled -> running",
        "START d",
    ]
    assert bench.nodes["c"].is_blamed
    assert not bench.plan.is_ok  # b and c are critical


@pytest.mark.parametrize("end", [FINISHED, FAILED, CANCELLED])
def test_after_does_not_mind_how_it_ended(end: State) -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.job("b", after="a")
    bench.begin()
    assert does(bench.settle("a", end)) == ["START b"]


def test_both_kinds_of_relation_to_one_job() -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.job("b", requires="a", after="a")
    bench.begin()
    assert bench.settle("a", FAILED)[1:] == [
        "b: idle -> skipped (a failed)",
        "STOPPING done",
        "OVER",
    ]


def test_a_diamond_of_skips_tells_each_once() -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.job("b", requires="a")
    bench.job("c", requires="a")
    bench.job("d", requires="bc")
    bench.begin()
    lines = bench.settle("a", FAILED)
    assert Counter(lines).most_common(1)[0][1] == 1
    assert sum("skipped" in line for line in lines) == 3


def test_dependents_and_those_that_wait_for_a_slot_go_by_insertion() -> None:
    """``whenever a slot is free, the ready job that was inserted first``, new ones included."""
    bench = Bench(window=1)
    bench.job("a")
    late = bench.job("b")
    bench.job("c")
    bench.plan.link(late, [bench.nodes["a"]], True)
    assert bench.begun() == ["START a"]
    assert does(bench.settle("a", FINISHED)) == ["START b"]
    assert does(bench.settle("b", FINISHED)) == ["START c"]


# -- failures that stop ----------------------------------------------------------------------


def test_a_critical_failure_stops_all() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b")
    bench.job("c", requires="b")
    bench.job("bus", forever=True)
    bench.begin()
    assert bench.settle("a", FAILED) == [
        "a: running -> failed",
        "STOPPING critical failure",
        "STOP b a failed",
        "c: idle -> skipped (a failed)",
        "STOP bus a failed",
    ]
    assert bench.settle("b", CANCELLED) == ["b: running -> cancelled"]
    assert bench.settle("bus", CANCELLED) == ["bus: running -> cancelled", "OVER"]


def test_with_keep_going_only_dependents_are_skipped() -> None:
    bench = Bench(keep_going=True)
    bench.job("a")
    bench.job("b")
    bench.job("c", requires="a")
    bench.job("d", requires="b")
    bench.begin()
    assert does(bench.settle("a", FAILED)) == []
    assert does(bench.settle("b", FINISHED)) == ["START d"]
    assert does(bench.settle("d", FINISHED)) == ["STOPPING done", "OVER"]
    assert not bench.plan.is_ok


def test_a_second_failure_changes_no_reason() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b")
    bench.begin()
    bench.settle("a", FAILED)
    assert bench.settle("b", FAILED, "in its cleanup") == [
        "b: running -> failed (in its cleanup)",
        "OVER",
    ]
    assert bench.plan.stopping is StopReason.CRITICAL_FAILURE


# -- forever jobs ----------------------------------------------------------------------------


def test_when_only_forever_jobs_are_left_they_get_a_moment() -> None:
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("a")
    assert bench.begun() == ["START bus", "READY bus", "START a"]
    assert does(bench.settle("a", FINISHED)) == ["DRAIN"]
    assert bench.drained() == ["STOPPING done", "STOP bus the run is over"]
    assert bench.settle("bus", CANCELLED)[-1] == "OVER"
    assert bench.plan.is_ok


def test_a_forever_job_counts_once_it_has_started() -> None:
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("a", requires=["bus"])
    bench.job("b", after=["bus"])
    assert bench.begun() == ["START bus", "READY bus", "START a", "START b"]


def test_with_notify_it_counts_once_it_says_so() -> None:
    bench = Bench()
    bench.job("bus", forever=True, notify=True)
    bench.job("a", requires=["bus"])
    bench.job("b", after=["bus"])
    assert bench.begun() == ["START bus"]
    assert does(bench.ready("bus")) == ["READY bus", "START a", "START b"]
    assert bench.ready("bus") == []


@pytest.mark.parametrize("end", [FINISHED, FAILED, CANCELLED])
def test_one_that_ends_before_it_was_ready(end: State) -> None:
    """Those that require it are skipped, those that come after it go on."""
    bench = Bench(keep_going=True)
    bench.job("bus", forever=True, notify=True)
    bench.job("a", requires=["bus"])
    bench.job("b", after=["bus"])
    bench.begin()
    lines = bench.settle("bus", end)
    assert bench.nodes["a"].state is SKIPPED
    assert "bus" in bench.nodes["a"].reason
    assert does(lines) == ["START b"]


def test_one_that_ends_early_ends_nothing() -> None:
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("a", requires=["bus"])
    bench.begin()
    assert does(bench.settle("bus", FINISHED)) == []
    assert does(bench.settle("a", FINISHED)) == ["STOPPING done", "OVER"]
    assert bench.plan.is_ok


def test_one_that_never_started_is_skipped_at_the_end_and_harmless() -> None:
    pool = Pool(1)
    pool.take("somebody")
    bench = Bench()
    bench.job("bus", forever=True, pool=pool)
    bench.job("a")
    bench.begin()
    assert bench.settle("a", FINISHED) == [
        "a: running -> finished",
        "STOPPING done",
        "bus: scheduled -> skipped (the run is over)",
        "OVER",
    ]
    assert bench.plan.is_ok


def test_one_skipped_because_of_another_counts() -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.job("bus", forever=True, requires="a")
    bench.begin()
    bench.settle("a", FAILED)
    assert bench.plan.is_over
    assert not bench.plan.is_ok


def test_an_endless_plan_waits_to_be_stopped() -> None:
    bench = Bench(is_endless=True)
    bench.job("bus", forever=True)
    assert bench.begun() == ["START bus", "READY bus"]
    assert does(bench.stop(StopReason.CANCELLED, "enough")) == [
        "STOPPING cancelled",
        "STOP bus enough",
    ]
    assert bench.settle("bus", CANCELLED)[-1] == "OVER"


# -- windows and pools -----------------------------------------------------------------------


def test_a_window_is_never_exceeded_and_always_used() -> None:
    bench = Bench(window=2)
    for label in "abcd":
        bench.job(label)
    assert bench.begun() == ["START a", "START b"]
    assert bench.states() == "a:running b:running c:scheduled d:scheduled"
    assert does(bench.settle("b", FINISHED)) == ["START c"]
    assert does(bench.settle("a", FINISHED)) == ["START d"]


def test_forever_jobs_are_not_counted_in_the_window() -> None:
    bench = Bench(window=1)
    bench.job("bus", forever=True)
    bench.job("a")
    bench.job("tail", forever=True)
    assert bench.begun() == ["START bus", "READY bus", "START a", "START tail", "READY tail"]


def test_one_that_waits_for_a_pool_holds_no_window_slot() -> None:
    bench = Bench(window=2)
    pool = Pool(1)
    bench.job("a", pool=pool)
    bench.job("b", pool=pool)
    bench.job("c")
    assert bench.begun() == ["START a", "START c"]
    assert starts(bench.settle("a", FINISHED)) == ["START b"]
    assert pool.holders == (bench.nodes["b"],)


@pytest.mark.parametrize("end", [FINISHED, FAILED, CANCELLED])
def test_every_end_gives_the_slots_back(end: State) -> None:
    pool = Pool(1)
    bench = Bench(window=1, keep_going=True)
    bench.job("a", pool=pool)
    bench.job("b", pool=pool)
    bench.begin()
    assert "START b" in bench.settle("a", end)
    bench.settle("b", end)
    assert pool.holders == ()
    assert bench.plan.used == 0


def test_a_pool_that_others_hold_is_waited_for() -> None:
    pool = Pool(1)
    pool.take("somebody")
    bench = Bench()
    bench.job("a", pool=pool)
    assert bench.begun() == []
    assert bench.plan.waiting_for_pool() == [bench.nodes["a"]]
    assert not bench.plan.is_busy
    for wake in pool.give_back("somebody"):
        wake()
    assert bench.woken == 1
    assert does(bench.dispatch()) == ["START a"]


def test_when_it_is_over_it_waits_for_no_pool_any_more() -> None:
    pool = Pool(1)
    pool.take("somebody")
    bench = Bench()
    bench.job("a", pool=pool)
    bench.begin()
    assert does(bench.stop(StopReason.TIMEOUT, "too late")) == ["STOPPING timeout", "OVER"]
    assert pool.give_back("somebody") == ()


def test_the_end_of_the_holder_is_told_before_its_slot_goes_on() -> None:
    pool = Pool(1)
    bench = Bench()
    bench.job("a", pool=pool)
    bench.job("b", pool=pool)
    bench.begin()
    lines = bench.settle("a", FINISHED)
    assert lines.index("a: running -> finished") < lines.index("START b")


def test_a_large_graph_starts_in_bursts() -> None:
    bench = Bench(tells=False)
    for number in range(2 * BURST + 1):
        bench.job(str(number))
    assert bench.begun() == [*(f"START {number}" for number in range(BURST)), "MORE"]
    assert bench.settle("0", FINISHED) == []  # MORE is on its way
    assert len(bench.dispatch()) == BURST + 1
    assert bench.dispatch() == [f"START {2 * BURST}"]
    assert bench.dispatch() == []


def test_what_is_stopped_between_two_bursts_never_starts() -> None:
    bench = Bench(tells=False)
    for number in range(BURST + 1):
        bench.job(str(number))
    bench.begin()
    bench.stop(StopReason.CANCELLED, "enough")
    assert bench.dispatch() == []
    assert bench.nodes[str(BURST)].state is SKIPPED


# -- retries ---------------------------------------------------------------------------------


def test_between_two_attempts_the_slots_are_free() -> None:
    pool = Pool(1)
    bench = Bench(window=1)
    bench.job("a", pool=pool)
    bench.job("b", pool=pool)
    bench.begin()
    lines = bench.postpone("a", "ValueError: boom", 5.0)
    assert lines[0] == "a: running -> scheduled (ValueError: boom) #2 in 5"
    assert starts(lines) == ["START b"]
    assert bench.nodes["a"].is_alive
    assert does(bench.due("a")) == []
    assert starts(bench.settle("b", FINISHED)) == ["START a"]
    assert bench.nodes["a"].attempt == 2


def test_without_delay_it_keeps_its_turn() -> None:
    bench = Bench(window=1)
    bench.job("a")
    bench.job("b")
    bench.begin()
    assert does(bench.postpone("a", "boom", 0.0)) == ["START a"]


def test_an_earlier_job_comes_before_a_retry() -> None:
    bench = Bench(window=1)
    bench.job("a")
    bench.job("b", critical=False)
    first = bench.nodes["a"]
    bench.begin()
    bench.settle("a", FINISHED)
    assert first.state is FINISHED
    bench.late("c")
    bench.dispatch()
    assert does(bench.postpone("b", "boom", 0.0)) == ["START b"]


def test_what_waits_for_its_next_attempt_is_cancelled_and_not_skipped() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b", requires="a")
    bench.begin()
    bench.postpone("a", "boom", 5.0)
    assert does(bench.stop(StopReason.CANCELLED, "enough")) == [
        "STOPPING cancelled",
        "STOP a enough",
    ]
    assert bench.due("a") == []
    lines = bench.settle("a", CANCELLED, "enough")
    assert lines == ["a: scheduled -> cancelled (enough)", "OVER"]
    assert bench.nodes["b"].state is SKIPPED


def test_due_after_the_end_does_nothing() -> None:
    bench = Bench()
    bench.job("a")
    bench.begin()
    bench.postpone("a", "boom", 5.0)
    bench.settle("a", CANCELLED)
    assert bench.due("a") == []


# -- cancel and stop -------------------------------------------------------------------------


def test_cancel_of_what_has_not_started() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b", requires="a")
    bench.job("c", requires="b")
    bench.begin()
    assert bench.cancel("b", "by hand") == [
        "b: idle -> cancelled (by hand)",
        "c: idle -> skipped (b cancelled)",
    ]
    assert does(bench.settle("a", FINISHED)) == ["STOPPING done", "OVER"]
    assert not bench.plan.is_ok


def test_cancel_of_what_runs() -> None:
    bench = Bench()
    node = bench.job("a")
    bench.begin()
    assert bench.cancel("a", "by hand") == ["STOP a by hand"]
    assert bench.cancel("a", "again") == []
    assert node.stop == (Stop.HAND, "by hand")
    assert node.state is RUNNING


def test_cancel_of_what_is_over() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b")
    bench.begin()
    bench.settle("a", FINISHED)
    assert bench.cancel("a", "too late") == []


def test_cancel_before_the_run_begins() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b", requires="a")
    bench.job("c")
    bench.cancel("a", "by hand")
    assert bench.states() == "a:cancelled b:skipped c:idle"
    assert bench.begun() == ["START c"]


def test_cancel_of_the_last_one_ends_the_run() -> None:
    pool = Pool(1)
    pool.take("somebody")
    bench = Bench()
    bench.job("a", pool=pool)
    bench.begin()
    assert does(bench.cancel("a", "by hand")) == ["STOPPING done", "OVER"]


@pytest.mark.parametrize("reason", list(StopReason))
def test_stop_skips_what_never_started_and_stops_what_lives(reason: StopReason) -> None:
    bench = Bench(window=1)
    for label in "abc":
        bench.job(label)
    bench.nodes["c"].job.critical = False
    bench.begin()
    assert bench.stop(reason, "because") == [
        f"STOPPING {reason}",
        "STOP a because",
        "b: scheduled -> skipped (because)",
        "c: scheduled -> skipped (because)",
    ]
    assert bench.stop(StopReason.SIGNAL, "again") == []
    assert bench.settle("a", FINISHED)[-1] == "OVER"
    assert not bench.plan.is_ok


def test_the_timeout_alone_makes_it_bad() -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.begin()
    bench.stop(StopReason.TIMEOUT, "too late")
    bench.settle("a", CANCELLED)
    assert not bench.plan.is_ok


def test_an_abandoned_one_makes_it_bad_critical_or_not() -> None:
    bench = Bench()
    node = bench.job("a", critical=False, forever=True)
    bench.job("b")
    bench.begin()
    bench.settle("b", FINISHED)
    bench.drained()
    node.is_abandoned = True
    bench.settle("a", CANCELLED)
    assert not bench.plan.is_ok


def test_stopped_before_it_begins_nothing_starts() -> None:
    bench = Bench()
    bench.job("a")
    bench.stop(StopReason.CANCELLED, "at once")
    assert does(bench.begin()) == ["OVER"]
    assert bench.states() == "a:skipped"


def test_once_over_it_says_nothing_any_more() -> None:
    bench = Bench()
    bench.job("a")
    bench.begin()
    bench.settle("a", FINISHED)
    assert bench.stop(StopReason.TIMEOUT, "late") == []
    assert bench.drained() == []
    assert bench.dispatch() == []
    assert bench.cancel("a", "late") == []
    assert bench.ready("a") == []


def test_without_its_performer_it_is_over_at_once_at_every_depth() -> None:
    pool = Pool(1)
    bench, inside = Bench(), Bench()
    inside.job("in a")
    bench.job("a").inner = inside.plan
    bench.job("over")
    for name in "bc":
        bench.job(name, pool=pool)
    bench.job("d", requires=["b"])
    bench.begin()
    inside.begin()
    bench.settle("over", FINISHED)
    assert bench.forsake("left") == [
        "d: idle -> skipped (left)",
        "c: scheduled -> skipped (left)",
        "b: running -> cancelled (left)",
        "in a: running -> cancelled (left)",
        "a: running -> cancelled (left)",
    ]
    assert bench.plan.is_over
    assert inside.told([]) == []
    assert inside.plan.is_over
    assert pool.holders == ()
    pool.take("somebody")
    assert pool.give_back("somebody") == ()


# -- a graph that grows ----------------------------------------------------------------------


def started(bench: Bench, lines: list[str]) -> list[str]:
    """What starts at once, or when the loop has turned."""
    return starts([*lines, *bench.dispatch()])


def test_a_job_added_while_running_starts() -> None:
    bench = Bench()
    bench.job("a")
    bench.begin()
    assert started(bench, bench.late("b")) == ["START b"]
    bench.settle("a", FINISHED)
    assert bench.settle("b", FINISHED)[-1] == "OVER"


@pytest.mark.parametrize(
    ("end", "expected"), [(FINISHED, ["START b"]), (FAILED, []), (CANCELLED, [])]
)
def test_a_job_added_with_a_need_that_is_over(end: State, expected: list[str]) -> None:
    bench = Bench()
    bench.job("a", critical=False)
    bench.job("other")
    bench.begin()
    bench.settle("a", end)
    assert started(bench, bench.late("b", requires="a")) == expected
    assert bench.nodes["b"].state is (RUNNING if expected else SKIPPED)
    assert started(bench, bench.late("c", after="a")) == ["START c"]


def test_a_job_added_with_a_need_that_runs() -> None:
    bench = Bench()
    bench.job("a")
    bench.begin()
    assert started(bench, bench.late("b", requires="a")) == []
    assert does(bench.settle("a", FINISHED)) == ["START b"]


def test_a_job_added_with_a_forever_need() -> None:
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("server", forever=True, notify=True)
    bench.job("a")
    bench.begin()
    assert started(bench, bench.late("b", requires=["bus"])) == ["START b"]
    assert started(bench, bench.late("c", requires=["server"])) == []
    assert does(bench.ready("server")) == ["READY server", "START c"]


def test_a_job_added_in_the_drain_is_run() -> None:
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("a")
    bench.begin()
    assert does(bench.settle("a", FINISHED)) == ["DRAIN"]
    assert started(bench, bench.late("b")) == ["START b"]
    assert bench.drained() == []
    assert does(bench.settle("b", FINISHED)) == ["DRAIN"]


def test_a_job_that_ends_in_the_drain_gets_a_drain_of_its_own() -> None:
    """The moment for the last message counts from the end of the last job."""
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("a")
    bench.begin()
    bench.settle("a", FINISHED)
    started(bench, bench.late("b"))
    lines = does(bench.settle("b", FINISHED)) + does(bench.drained())
    assert "DRAIN" in lines
    assert not any(line.startswith("STOP ") for line in lines)


def test_a_run_that_ends_in_the_drain_asks_for_no_other() -> None:
    bench = Bench()
    for name in ("first", "second"):
        bench.job(name, forever=True)
    bench.job("a")
    bench.begin()
    bench.settle("a", FINISHED)
    bench.settle("first", FINISHED)
    assert "OVER" in does(bench.settle("second", FINISHED))
    assert bench.drained() == []


def test_a_job_added_while_stopping_is_skipped_and_counts() -> None:
    bench = Bench()
    bench.job("bus", forever=True)
    bench.job("a")
    bench.begin()
    bench.settle("a", FINISHED)
    bench.drained()
    assert bench.late("b") == ["b: idle -> skipped (the run is over)"]
    bench.settle("bus", CANCELLED)
    assert not bench.plan.is_ok


def test_a_requirement_taken_back_while_running() -> None:
    bench = Bench()
    bench.job("a")
    bench.job("b", requires="a")
    bench.job("c", requires="ab")
    bench.begin()
    out = bench.plan.unlink(bench.nodes["b"], bench.nodes["a"], True, 0.0)
    assert does(bench.told(out)) == ["START b"]
    assert bench.told(bench.plan.unlink(bench.nodes["b"], bench.nodes["a"], True, 0.0)) == []
    bench.plan.unlink(bench.nodes["c"], bench.nodes["a"], True, 0.0)
    bench.plan.check()
    assert does(bench.settle("b", FINISHED)) == ["START c"]


def test_a_nested_plan_that_never_begins_is_skipped_at_every_depth() -> None:
    outer, inner, innermost = Bench(), Bench(), Bench()
    innermost.job("x")
    inner.job("deep").inner = innermost.plan
    inner.job("y")
    outer.job("a", critical=False)
    outer.job("engine", requires="a").inner = inner.plan
    outer.begin()
    lines = outer.settle("a", FAILED)
    for bench in (outer, inner, innermost):
        bench.plan.check()
    assert {"x: idle -> skipped (a failed)", "y: idle -> skipped (a failed)"} <= set(lines)
    assert inner.plan.is_over
    assert innermost.plan.is_over


def test_a_nested_plan_alone_is_no_progress() -> None:
    """It is the nested one that has to say whether it is busy."""
    outer, inner = Bench(), Bench()
    outer.job("engine").inner = inner.plan
    outer.begin()
    assert not outer.plan.is_busy


def test_who_is_busy() -> None:
    bench = Bench()
    bench.job("server", forever=True, notify=True)
    bench.job("a", requires=["server"])
    assert bench.plan.is_busy  # it has not begun
    bench.begin()
    assert bench.plan.waiting_for_ready() == [bench.nodes["server"]]
    busy = [bench.plan.is_busy]
    bench.ready("server")
    busy.append(bench.plan.is_busy)
    bench.settle("a", FINISHED)
    busy.append(bench.plan.is_busy)  # draining
    assert busy == [False, True, True]


# -- at scale --------------------------------------------------------------------------------


def test_a_long_chain_of_skips_needs_no_stack() -> None:
    bench = Bench(tells=False)
    bench.job("0", critical=False)
    for number in range(1, 20_000):
        bench.job(str(number), requires=[str(number - 1)])
    bench.begin()
    assert does(bench.settle("0", FAILED)) == ["STOPPING done", "OVER"]


def test_the_ready_queue_stays_in_order_whatever_the_order_of_release() -> None:
    bench = Bench(window=1, tells=False)
    bench.job("first")
    gates = [bench.job(f"gate{number}", forever=True, notify=True) for number in range(20)]
    for number in range(20):
        bench.job(str(number), requires=[f"gate{number}"])
    bench.begin()
    for number in (13, 4, 19, 0, 7, 1, 2, 18, 3):
        bench.told(bench.plan.ready(gates[number], 0.0))
    order, running = [], "first"
    while lines := starts(bench.settle(running, FINISHED)):
        running = lines[0].split()[1]
        order.append(int(running))
    assert order == [0, 1, 2, 3, 4, 7, 13, 18, 19]


# -- at random -------------------------------------------------------------------------------


@dataclass
class Entry:
    """What the machine's own book says of a job."""

    node: Node
    requires: list[Entry] = field(default_factory=list)
    after: list[Entry] = field(default_factory=list)
    state: State = IDLE
    works: bool = False
    """A task is at it."""
    paused: bool = False
    due: bool = False
    """The pause is over."""
    asked: bool = False
    ready: bool = False
    started: int = 0

    @property
    def job(self) -> Fake:
        job: Fake = self.node.job
        return job

    def may_start(self) -> bool:
        """Whether all that it waits for has come, by the contract."""

        def met(need: Entry, *, enough: bool) -> bool:
            if need.job.forever:
                return need.ready or (enough and need.state.is_over)
            return need.state.is_over if enough else need.state is FINISHED

        return all(met(need, enough=False) for need in self.requires) and all(
            met(need, enough=True) for need in self.after
        )


class Machine(RuleBasedStateMachine):
    """Does to a plan whatever an engine may do, in any order, and keeps its own book."""

    def __init__(self) -> None:
        super().__init__()
        self.book: dict[Node, Entry] = {}
        self.begun = False
        self.over = False
        self.stopping = False
        self.draining = False
        self.more = False
        self.wakes = 0
        self.time = 0.0

    @initialize(
        data=st.data(),
        window=st.sampled_from([1, 2, None, 3]),
        keep_going=st.booleans(),
        pools=st.lists(st.integers(1, 2), max_size=2),
        count=st.integers(2, 9),
    )
    def make(
        self,
        data: st.DataObject,
        window: int | None,
        keep_going: bool,
        pools: list[int],
        count: int,
    ) -> None:
        self.window = window
        self.plan = Plan(window=window, keep_going=keep_going, tells=True, wake=self.wake)
        self.pools = [Pool(slots, label=f"pool{slots}") for slots in pools]
        for _ in range(count):
            self.put_in(data)

    def wake(self) -> None:
        self.wakes += 1

    # What an engine may do.

    @precondition(lambda self: not self.over and len(self.book) < 20)
    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        self.put_in(data)

    def put_in(self, data: st.DataObject) -> None:
        job = Fake(
            f"j{len(self.book)}",
            forever=data.draw(st.sampled_from([False, False, True])),
            critical=data.draw(st.sampled_from([False, False, True])),
            notify=data.draw(st.booleans()),
            pool=data.draw(st.sampled_from([None, *self.pools])),
        )
        known = list(self.book.values())
        relations = data.draw(
            st.lists(st.tuples(st.integers(0, len(known) - 1), st.booleans()), max_size=3)
            if known
            else st.just([])
        )
        entry = Entry(self.plan.node(job))
        self.book[entry.node] = entry
        out: list[Instruction] = []
        for index, requires in dict.fromkeys(relations):
            need = known[index]
            (entry.requires if requires else entry.after).append(need)
            if self.begun:
                out += self.plan.link_late(entry.node, need.node, requires, self.time)
            elif not need.state.is_over:
                self.plan.link(entry.node, [need.node], requires)
            else:
                out += self.plan.link_late(entry.node, need.node, requires, self.time)
        if self.begun or self.stopping:
            out += self.plan.add(entry.node, self.time)
        self.read(out)

    @precondition(lambda self: not self.begun)
    @rule()
    def begin(self) -> None:
        self.begun = True
        self.read(self.plan.begin(self.time))

    @precondition(lambda self: any(entry.works for entry in self.book.values()))
    @rule(data=st.data(), end=st.sampled_from([FINISHED, FINISHED, FAILED, CANCELLED]))
    def settle(self, data: st.DataObject, end: State) -> None:
        entry = data.draw(st.sampled_from([each for each in self.book.values() if each.works]))
        self.end(entry, CANCELLED if entry.paused else end)

    def end(self, entry: Entry, state: State) -> None:
        entry.works = entry.paused = entry.due = False
        self.read(self.plan.settle(entry.node, state, self.time, "told so"))

    @precondition(lambda self: any(entry.works for entry in self.book.values()))
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from([each for each in self.book.values() if each.works]))
        self.read(self.plan.ready(entry.node, self.time))

    @precondition(lambda self: any(self.can_be_tried_again()))
    @rule(data=st.data(), delay=st.sampled_from([0.0, 5.0]))
    def postpone(self, data: st.DataObject, delay: float) -> None:
        entry = data.draw(st.sampled_from(list(self.can_be_tried_again())))
        entry.paused, entry.due = True, not delay
        self.read(self.plan.postpone(entry.node, "failed", delay))

    def can_be_tried_again(self) -> Iterable[Entry]:
        # Not once it was asked to stop, nor once the run stops: see Conductor.
        if not self.stopping:
            for entry in self.book.values():
                if entry.works and not entry.paused and not entry.asked:
                    yield entry

    @precondition(lambda self: any(e.paused and not e.due for e in self.book.values()))
    @rule(data=st.data())
    def due(self, data: st.DataObject) -> None:
        paused = [each for each in self.book.values() if each.paused and not each.due]
        entry = data.draw(st.sampled_from(paused))
        entry.due = True
        self.read(self.plan.due(entry.node))

    def queued(self) -> list[Node]:
        """Those that are ready to start, as far as the book can tell."""
        return [
            entry.node
            for entry in self.book.values()
            if entry.state is SCHEDULED and (not entry.paused or entry.due)
        ]

    @rule(data=st.data(), sure=st.integers(1, 5))
    def cancel(self, data: st.DataObject, sure: int) -> None:
        if sure < 5:
            return
        entry = data.draw(st.sampled_from(list(self.book.values())))
        self.read(self.plan.cancel(entry.node, "by hand", self.time))

    @rule(reason=st.sampled_from(list(StopReason)), sure=st.integers(1, 50))
    def stop(self, reason: StopReason, sure: int) -> None:
        if sure == 50:  # else most runs would be stopped after a few steps
            self.read(self.plan.stop(reason, "told to", self.time))

    @precondition(lambda self: self.draining)
    @rule()
    def drained(self) -> None:
        self.draining = False
        self.read(self.plan.drained(self.time))

    @precondition(lambda self: self.more or self.wakes)
    @rule()
    def dispatch(self) -> None:
        self.more = False
        self.wakes = max(self.wakes - 1, 0)
        self.read(self.plan.dispatch())

    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.time += seconds

    # What the plan says.

    def read(self, instructions: list[Instruction]) -> None:
        assert not (self.over and instructions), "it is over, and says something"
        for instruction in instructions:
            if isinstance(instruction, Node):
                assert not self.over, f"{instruction} starts after OVER"
                self.on_start(instruction)
                continue
            do, *rest = instruction
            assert not self.over or do is Do.WAKE, f"{do} after OVER"
            getattr(self, f"on_{do.name.lower()}")(*rest)
        self.plan.check()

    def on_tell(self, node: Node, old: State, new: State, *rest: Any) -> None:
        entry = self.book[node]
        _, attempt, retry_in = rest
        assert old is entry.state
        assert new in TRANSITIONS[old]
        assert (retry_in is not None) == (old is RUNNING and new is SCHEDULED)
        assert attempt >= 1
        entry.state = new

    def on_start(self, node: Node) -> None:
        entry = self.book[node]
        assert entry.state is RUNNING, "started, and not told so"
        assert not self.stopping, "started in a run that stops"
        assert not entry.works or entry.due, "started twice, or before its pause was over"
        assert entry.may_start() or entry.started, "started too early"
        entry.works, entry.paused, entry.due = True, False, False
        entry.started += 1
        assert node.attempt == entry.started
        self.count_slots()
        self.nobody_was_passed_over(entry)

    def count_slots(self) -> None:
        running = [each for each in self.book.values() if each.state is RUNNING]
        counted = [each for each in running if not each.job.forever]
        assert self.window is None or len(counted) <= self.window
        for pool in self.pools:
            assert sum(each.job.pool is pool for each in running) <= pool.slots

    def nobody_was_passed_over(self, entry: Entry) -> None:
        """None that was inserted earlier and is ready had the slots that it needs."""
        for other in self.book.values():
            if other is entry:
                return
            if other.state is SCHEDULED and (not other.paused or other.due):
                pool_matters = other.job.pool is not None
                window_matters = self.window is not None and not other.job.forever
                assert pool_matters or window_matters, f"{other.node} was passed over"

    def on_stop(self, node: Node, reason: str) -> None:
        entry = self.book[node]
        assert entry.works, "stopped, and nothing is at work"
        assert not entry.asked, "asked twice"
        assert reason
        entry.asked = True

    def on_ready(self, node: Node) -> None:
        entry = self.book[node]
        assert entry.state is RUNNING
        assert not entry.ready, "ready twice"
        entry.ready = True

    def on_stopping(self, reason: StopReason) -> None:
        assert not self.stopping, "stopping twice"
        assert reason in StopReason
        self.stopping = True

    def on_drain(self) -> None:
        assert not self.draining, "draining twice"
        self.draining = True

    def on_more(self) -> None:
        assert not self.more
        self.more = True

    def on_wake(self, wake: Any) -> None:
        wake()

    def on_over(self) -> None:
        assert self.stopping
        self.over = True

    @invariant()
    def books_agree(self) -> None:
        for node, entry in self.book.items():
            assert node.state is entry.state, f"{node} was told to be {entry.state}"

    @invariant()
    def no_slot_is_idle(self) -> None:
        """Nobody is ready to start while all the slots that it needs are free."""
        if not self.begun or self.stopping or self.more:
            return
        running = [each for each in self.book.values() if each.state is RUNNING]
        used = sum(not each.job.forever for each in running)
        for node in self.queued():
            if self.window is not None and not node.job.forever and used >= self.window:
                continue
            assert node.job.pool is not None, f"{node} could start"
            assert node.job.pool.is_full, f"{node} could start"

    @invariant()
    def verdict(self) -> None:
        """True exactly if every critical job did its duty, see the contract."""
        if not self.over:
            return
        bad = [
            entry.node
            for entry in self.book.values()
            if entry.job.critical
            and (
                entry.state is FAILED
                or (not entry.job.forever and entry.state is not FINISHED)
                or (entry.state is SKIPPED and entry.node.is_blamed)
            )
        ]
        cut_short = {StopReason.TIMEOUT, StopReason.CANCELLED}
        assert self.plan.is_ok == (not bad and self.plan.stopping not in cut_short)

    def teardown(self) -> None:
        """Whatever was done to it, it comes to its end."""
        if not hasattr(self, "plan"):
            return
        if not self.begun:
            self.begin()
        for _ in range(20 * len(self.book) + 20):
            if self.over:
                break
            self.one_step_on()
        assert self.over, "it does not end"
        assert self.plan.is_over
        assert all(entry.state.is_over for entry in self.book.values())
        assert all(pool.holders == () for pool in self.pools)
        self.verdict()
        self.settle_nothing_more()

    def one_step_on(self) -> None:
        at_work = [entry for entry in self.book.values() if entry.works]
        if self.more or self.wakes:
            self.dispatch()
        elif self.draining:
            self.drained()
        elif paused := [entry for entry in at_work if entry.paused]:
            if paused[0].due or self.stopping:
                # Its slots are held by what runs.
                running = [entry for entry in at_work if not entry.paused]
                self.end((running or paused)[0], CANCELLED)
            else:
                paused[0].due = True
                self.read(self.plan.due(paused[0].node))
        elif at_work:
            self.end(next((e for e in at_work if not e.job.forever), at_work[0]), FINISHED)
        else:
            raise AssertionError("nothing is at work, and it is not over")

    def settle_nothing_more(self) -> None:
        self.read(self.plan.stop(StopReason.CANCELLED, "late", self.time))
        self.read(self.plan.dispatch())
        for node in self.book:
            self.read(self.plan.cancel(node, "late", self.time))


def test_at_random() -> None:
    quick = settings(settings.default, stateful_step_count=40)
    run_state_machine_as_test(Machine, settings=quick)
