"""The model: what it knows after any ticks is what a recount of the same ticks gives."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import pytest
from hypothesis import given

from engine import JobAdded, JobReady, JobState, JobStopping, Message, State, Tick
from monitor import states, wording
from monitor.model import LINE_LENGTH, TAIL_LINES_FINISHED, Model
from monitor.queue import Report
from monitor.records import TAIL_LINES, Group, JobLine

from .stories import START, Story, row, stories


def recount(members: list[JobLine]) -> Group:
    """Count again, the slow way, what the model says of the members of a group."""
    group = Group(members)
    for line in members:
        group.counts.of[line.state] += line.counted
        group.ranks[line.look.rank] += 1
        group.busy += line.state is State.RUNNING and not line.row.forever
        if line.group is not None:
            inner = recount(line.group.members)
            for state, count in inner.counts.of.items():
                group.counts.of[state] += count
            group.ranks = [a + b for a, b in zip(group.ranks, inner.ranks, strict=True)]
    return group


@given(stories())
def test_counts_agree_with_a_recount(story: Story) -> None:
    model = story.model
    for told in [model.root, *(line.group for line in model.rows.values() if line.group)]:
        counted = recount(told.members)
        assert told.counts == counted.counts
        assert told.ranks == counted.ranks
        assert told.busy == counted.busy


@given(stories())
def test_what_a_job_misses_agrees_with_a_recount(story: Story) -> None:
    for job, line in story.model.rows.items():
        assert line.missing == len(story.model.waits_for(job))


@given(stories())
def test_every_job_is_told_and_in_one_group(story: Story) -> None:
    model = story.model
    groups = [model.root, *(line.group for line in model.rows.values() if line.group)]
    assert sorted(line.id for group in groups for line in group.members) == sorted(model.rows)


def test_counts_are_of_jobs_that_end_and_hold_no_others() -> None:
    story = Story(row("1"), row("2", forever=True), row("3"), row("3.1"), row("3.2"))
    assert story.model.counts.total == 3
    story.to(State.RUNNING, "2", "3", "3.1")
    assert (story.model.counts.run, story.model.counts.wait) == (1, 2)
    group = story.model.rows["3"].group
    assert group is not None
    assert (group.counts.run, group.counts.total) == (1, 2)


def test_percent_is_100_only_when_all_is_over() -> None:
    story = Story(*(row(str(number)) for number in range(1, 301)))
    story.to(State.FINISHED, *map(str, range(1, 300)))
    assert story.model.counts.percent == 99
    story.move("300", State.SKIPPED)
    assert story.model.counts.percent == 100
    assert story.model.counts.over == 300


def test_a_run_without_jobs_is_at_100_percent() -> None:
    assert Story().model.counts.percent == 100


def test_why_a_job_waits_names_whom_it_waits_for() -> None:
    jobs = [row(str(number), f"load node0{number}") for number in range(1, 4)]
    story = Story(*jobs, row("4", "conf", requires=("1", "2"), after=("3", "1")))
    model = story.model
    assert model.why_waiting("4") == "waits for 3: load node01, load node02, +1"
    story.to(State.FINISHED, "3")
    assert model.why_waiting("4") == "waits for 2: load node01, load node02"
    story.to(State.FINISHED, "2").to(State.RUNNING, "1").progress("1", percent=55.4)
    assert model.why_waiting("4") == "waits for load node01 (55%)"
    story.to(State.FINISHED, "1")
    assert model.rows["4"].missing == 0
    story.to(State.RUNNING, "4")
    assert model.why_waiting("4") == ""


def test_a_forever_job_keeps_others_waiting_until_it_is_ready() -> None:
    story = Story(row("1", "server", forever=True), row("2", requires=("1",)))
    story.to(State.RUNNING, "1")
    assert story.model.why_waiting("2") == "waits for server (not ready)"
    story.tell(JobReady, job="1")
    assert story.model.waits_for("2") == []
    assert story.model.rows["2"].missing == 0
    story.to(State.CANCELLED, "1")
    assert story.model.rows["2"].missing == 0


def test_a_job_in_an_engine_that_has_not_begun_waits_for_it() -> None:
    story = Story(row("1", "gate"), row("2", "site", requires=("1",)), row("2.1"))
    assert story.model.why_waiting("2.1") == "waits for site to start"


def test_a_queued_job_tells_what_is_full() -> None:
    jobs = [row("1"), row("2"), row("3"), row("4", pool="disk"), row("5", forever=True)]
    story = Story(*jobs, window=2)
    story.to(State.RUNNING, "1", "5").to(State.SCHEDULED, "3", "4")
    assert story.model.why_waiting("3") == "queued"
    assert story.model.why_waiting("4") == "queued: pool disk"
    story.to(State.RUNNING, "2")
    assert story.model.why_waiting("3") == "queued: window 2/2"
    assert story.model.why_waiting("4") == "queued: window 2/2"


def test_the_window_of_a_nested_engine_is_its_own() -> None:
    story = Story(row("1", window=1), row("1.1"), row("1.2"), window=5)
    story.to(State.RUNNING, "1", "1.1").to(State.SCHEDULED, "1.2")
    assert story.model.why_waiting("1.2") == "queued: window 1/1"


def test_a_retried_job_shows_its_attempt_until_it_runs_again() -> None:
    story = Story(row("1"))
    story.to(State.RUNNING, "1").progress("1", percent=80.0, message="nearly").later(5)
    story.move("1", State.SCHEDULED, attempt=2, attempts=3, retry_in=4.0)
    line = story.model.rows["1"]
    assert (line.look, line.retry_at, line.took(story.now)) == (states.RETRY, START + 9, None)
    story.later(4).move("1", State.RUNNING, attempt=2, attempts=3)
    assert (line.look, line.percent, line.said) == (states.RUNNING, None, "")
    assert line.took(story.now + 2) == 2
    story.later(3).move("1", State.FINISHED)
    assert line.took(story.now + 100) == 12  # from its first start on


def test_a_job_that_is_being_stopped_looks_so_until_it_is_over() -> None:
    story = Story(row("1")).to(State.RUNNING, "1")
    story.tell(JobStopping, job="1", reason="timeout")
    line = story.model.rows["1"]
    assert (line.look, line.stopping) == (states.STOPPING, "timeout")
    story.move("1", State.CANCELLED, reason="timeout")
    assert (line.look, line.stopping) == (states.CANCELLED, None)


def test_a_group_stands_by_its_worst_member() -> None:
    story = Story(row("1"), row("1.1"), row("1.2"), row("1.2.1"), row("2"))
    line = story.model.rows["1"]
    assert line.rank == states.IDLE.rank
    story.to(State.RUNNING, "1", "1.2", "1.2.1")
    assert (line.rank, line.shown_look) == (states.RUNNING.rank, states.RUNNING)
    story.move("1.2.1", State.FAILED)
    assert (line.rank, line.shown_look) == (states.FAILED.rank, states.FAILED)
    assert line.look is states.RUNNING


def test_a_group_is_a_failure_of_its_own_only_if_no_member_failed() -> None:
    story = Story(row("1"), row("1.1"), row("2"), row("2.1"), row("3", forever=True))
    story.to(State.FAILED, "1.1", "1").to(State.RUNNING, "2", "2.1")
    story.move("2.1", State.CANCELLED).move("2", State.FAILED, reason="TimeoutError")
    story.to(State.FAILED, "3")
    assert story.model.failures == ["1.1", "2", "3"]


@pytest.mark.parametrize(
    ("told", "percent"),
    [
        ({"percent": 30.0}, 30.0),
        ({"percent": 130.0}, 100.0),
        ({"percent": -1.0}, 0.0),
        ({"percent": math.nan}, None),
        ({"done": 3, "total": 12}, 25.0),
        ({"done": 3, "total": 0}, None),
        ({"done": 3}, None),
        ({"done": math.inf, "total": math.inf}, None),
        ({"message": "three"}, None),
    ],
)
def test_percent_comes_from_what_a_job_reports(told: dict[str, float], percent: float) -> None:
    story = Story(row("1")).to(State.RUNNING, "1").progress("1", **told)
    assert story.model.rows["1"].percent == percent


def test_a_message_does_not_take_the_percentage_away() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").progress("1", percent=30.0)
    line = story.model.rows["1"]
    story.progress("1", message="writing sda2").output("1", "a line")
    assert (line.percent, line.message, line.said) == (30.0, "writing sda2", "a line")
    story.progress("1", done=3, total=10)
    assert (line.percent, line.message) == (30.0, "3/10")


def test_output_is_bounded_in_lines_and_length() -> None:
    story = Story(row("1"), row("2")).to(State.RUNNING, "1")
    story.output("1", *map(str, range(TAIL_LINES + 50)), "x" * 10_000, stream="stderr")
    line = story.model.rows["1"]
    assert (len(line.tail), line.outputs) == (TAIL_LINES, TAIL_LINES + 51)
    assert line.tail[-1].text == "x" * LINE_LENGTH
    assert line.tail[-1].stream == "stderr"
    story.move("1", State.FINISHED)
    assert len(line.tail) == TAIL_LINES_FINISHED
    assert line.tail[-1].text == "x" * LINE_LENGTH


def test_a_job_added_while_running_is_counted_and_waits() -> None:
    story = Story(row("1")).to(State.FINISHED, "1")
    story.tell(JobAdded, row=row("2", requires=("1",)))
    story.tell(JobAdded, row=row("3", requires=("2",)))
    assert story.model.counts.total == 3
    assert [story.model.rows[job].missing for job in "23"] == [0, 1]


def test_an_engine_that_was_empty_is_a_group_from_its_first_job_on() -> None:
    story = Story(row("1", kind="Engine"))
    assert story.model.counts.total == 1
    story.to(State.RUNNING, "1").tell(JobAdded, row=row("1.1"))
    assert story.model.counts.total == 1
    assert (story.model.counts.run, story.model.counts.wait) == (0, 1)


def test_a_job_that_was_never_announced_gets_a_line() -> None:
    model = Model()
    model.apply(JobState("r", 0, START, 0.0, "7", State.SCHEDULED, State.RUNNING))
    assert model.rows["7"].label == "7"
    assert model.counts.run == 1


def test_a_requirement_that_was_never_announced_keeps_nobody_waiting() -> None:
    story = Story(row("1", requires=("9",)))
    assert (story.model.rows["1"].missing, story.model.why_waiting("1")) == (0, "waits")


def test_the_reasons_of_many_jobs_that_wait_for_many_are_cheap() -> None:
    first = [row(str(number)) for number in range(5000)]
    ids = tuple(job.id for job in first)
    story = Story(*first, *(row(f"w{number}", requires=ids) for number in range(40)))
    story.to(State.FINISHED, *ids[:-1])
    before = time.thread_time()
    reasons = {story.model.why_waiting(f"w{number}") for number in range(40)}
    assert time.thread_time() - before < 0.005
    assert reasons == {"waits for job4999"}


def test_an_event_of_an_unknown_kind_changes_nothing() -> None:
    @dataclass(frozen=True)
    class Unheard(Tick):
        pass

    model = Model()
    model.apply(Unheard("r", 0, START, 0.0))
    assert model.rows == {}


def test_versions_tell_what_changed() -> None:
    story = Story(row("1"), row("2"), row("3", requires=("1",)))
    model = story.model
    order = model.order_version
    story.progress("1", percent=1.0)
    assert [model.rows[job].version == model.version for job in "123"] == [True, False, False]
    assert model.order_version == order
    story.to(State.FINISHED, "1")
    assert [model.rows[job].version == model.version for job in "123"] == [True, False, True]
    assert model.order_version > order


def test_messages_of_the_engine_are_kept() -> None:
    story = Story()
    story.tell(Message, level="WARNING", source="engine", text="job a was abandoned")
    assert [message.text for message in story.model.log] == ["job a was abandoned"]


def test_the_facts_of_the_run() -> None:
    story = Story(label="lab", timeout=60.0).later(12)
    run = story.model.run
    assert (run.label, run.timeout, run.took(story.now)) == ("lab", 60.0, 12)
    story.end(ok=False, why="1 critical job failed")
    assert run.ended is not None
    assert (run.ended.why, run.took(story.now + 50)) == ("1 critical job failed", 12)
    assert run.stopping == "critical failure"


# -- reports that are looked up ------------------------------------------------------------------


def test_a_report_is_looked_up_when_its_line_is_asked_for() -> None:
    reports: dict[str, Report] = {}
    story = Story(row("1"), row("2", requires=("1",))).to(State.RUNNING, "1")
    model, line = story.model, story.model.rows["1"]
    model.latest = reports.get
    seq = len(story.ticks) - 1
    reports["1"] = 40.0, None, None, "writing", seq
    assert model.why_waiting("2") == "waits for job1 (40%)"
    assert wording.status(model, line, story.now) == "writing"
    story.output("1", "a line")
    assert wording.status(model, line, story.now) == "writing"
    assert (line.percent, line.message, line.said) == (40.0, "writing", "a line")
    reports["1"] = 50.0, None, None, "older", seq
    model.look_up(line)
    assert (line.percent, line.said) == (50.0, "a line")


def test_a_report_that_came_before_the_news_of_its_attempt_is_not_lost() -> None:
    reports: dict[str, Report] = {"1": (10.0, None, None, None, 9)}
    story = Story(row("1")).to(State.RUNNING, "1")
    story.model.latest = reports.get
    line = story.model.rows["1"]
    story.model.look_up(line)
    story.to(State.SCHEDULED, "1").to(State.RUNNING, "1")
    assert line.percent is None
    story.model.look_up(line)
    assert line.percent == 10.0
