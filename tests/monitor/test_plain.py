"""Runs without a screen: which lines there are, and JSON that can be read back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given

from engine import (
    JobAdded,
    JobProgress,
    JobReady,
    JobStopping,
    Message,
    RunStopping,
    State,
    StopReason,
    Tick,
)
from monitor.model import Model
from monitor.plain import HEARTBEAT, JsonPrinter, PlainPrinter
from monitor.summary import LAST_LINES

from .stories import START, Story, row, stories


def told(story: Story, *, ascii_only: bool = False, since: int = 0) -> list[str]:
    """Return the lines that a story makes, or those from an event on, if one is given."""
    lines: list[str] = []
    model = Model()
    printer = PlainPrinter(lines.append, model, ascii_only=ascii_only)
    for tick in story.ticks:
        model.apply(tick)
        if tick.seq >= since:
            printer.apply(tick)
    text = "".join(lines)
    assert not text or text.endswith("\n")
    return text.splitlines()


def test_a_line_for_each_change_of_state() -> None:
    story = Story(row("1", "boot"), row("2", "load node01", requires=("1",)), window=1)
    story.to(State.RUNNING, "1").later(12).move("1", State.FINISHED)
    story.to(State.RUNNING, "2").later(30.5).move("2", State.FAILED, reason="rc=255")
    assert told(story) == [
        "+000s  demo         started    2 jobs, window 1",
        "+000s  boot         running",
        "+012s  boot         finished   (12s)",
        "+012s  load node01  running",
        "+042s  load node01  failed     rc=255  (30s)",
    ]


def test_why_a_job_was_skipped_or_cancelled_or_is_tried_again() -> None:
    story = Story(row("1"), row("2"), row("3"))
    story.move("1", State.SKIPPED, reason="job0 failed").to(State.RUNNING, "2", "3")
    story.later(2).move("2", State.CANCELLED, reason="timeout")
    story.move("3", State.SCHEDULED, attempt=2, attempts=3, retry_in=4.0, reason="rc=1")
    story.later(4).move("3", State.RUNNING, attempt=2, attempts=3)
    assert told(story)[1:] == [
        "+000s  job1  skipped    job0 failed",
        "+000s  job2  running",
        "+000s  job3  running",
        "+002s  job2  cancelled  timeout  (2.0s)",
        "+002s  job3  scheduled  retry 2/3 in 4s: rc=1",
        "+006s  job3  running    attempt 2",
    ]


def test_that_a_job_is_scheduled_is_told_once_it_lasts() -> None:
    story = Story(row("1"), row("2"), window=1).to(State.RUNNING, "1").to(State.SCHEDULED, "2")
    story.later(0.5).output("1", "anything")
    assert told(story)[-1] == "+000s  job1  running"
    story.later(0.5).output("1", "anything")
    assert told(story)[-1] == "+001s  job2  scheduled  queued: window 1/1"
    story.later(3).move("2", State.RUNNING)
    assert [line.split()[2] for line in told(story) if "job2" in line] == ["scheduled", "running"]


def test_members_of_groups_are_called_by_their_path() -> None:
    rows = row("1", "node2"), row("1.1", "check", critical=False), row("2", "collect")
    story = Story(*rows).to(State.RUNNING, "1", "1.1").later(2)
    story.move("1.1", State.FAILED, reason="rc=1").move("1", State.FINISHED)
    story.tell(JobAdded, row=row("3", "a label that is too long"))
    assert told(story)[1:] == [
        "+000s  node2        running",
        "+000s  node2/check  running",
        "+002s  node2/check  failed     rc=1  (2.0s, not critical)",
        "+002s  node2        finished   (2.0s)",
    ]
    story.to(State.RUNNING, "2")
    assert told(story)[-1] == "+002s  collect                   running"
    assert told(story, since=len(story.ticks) - 1) == [told(story)[-1]]


def test_progress_is_told_at_first_and_at_each_further_tenth() -> None:
    story = Story(row("1")).to(State.RUNNING, "1")
    for percent in (3.0, 4.0, 9.9, 10.0, 19.0, 35.0, 39.0, 100.0, 100.0):
        story.later(50).progress("1", percent=percent, message="writing")
    assert told(story)[2:] == [
        "+050s  job1  running      3%  writing",
        "+200s  job1  running     10%  writing",
        "+300s  job1  running     35%  writing",
        "+400s  job1  running    100%  writing",
    ]


def test_each_of_ten_rounds_is_told() -> None:
    story = Story(row("1")).to(State.RUNNING, "1")
    for done in range(10):
        story.later(2).progress("1", done=float(done), total=10.0)
    assert len(told(story)[2:]) == 10


def test_what_is_no_further_percentage_is_told_once_a_minute() -> None:
    story = Story(row("1")).to(State.RUNNING, "1")
    for second in range(200):
        story.later(1).progress("1", message=f"block {second}")
    assert [line.split("  ")[0] for line in told(story)[2:]] == ["+001s", "+061s", "+121s", "+181s"]
    story.later(1).progress("1", percent=50.0)  # tells more than a message
    story.later(30).progress("1", message="block 230")
    story.later(30).progress("1", percent=5.0)  # from the beginning again
    assert [line[:5] for line in told(story)[6:]] == ["+201s", "+261s"]


def test_progress_is_told_at_most_once_a_second() -> None:
    story = Story(row("1")).to(State.RUNNING, "1")
    for percent in range(100):
        story.later(0.04).progress("1", percent=float(percent))
    assert [line[:5] for line in told(story)[2:]] == ["+001s", "+002s", "+003s"]


def test_progress_is_told_anew_at_each_attempt() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").later(2).progress("1", percent=1.0)
    story.move("1", State.SCHEDULED, attempt=2, retry_in=0.0).move("1", State.RUNNING, attempt=2)
    story.later(2).progress("1", percent=2.0)
    assert [line for line in told(story) if "%" in line] == [
        "+002s  job1  running      1%",
        "+004s  job1  running      2%",
    ]


def test_the_last_words_of_what_failed() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").output("1", *(f"line {n}" for n in range(30)))
    story.move("1", State.FAILED, reason="rc=1")
    assert told(story)[-LAST_LINES:] == [f"    | line {n}" for n in range(20, 30)]
    assert "line" not in "".join(told(story)[:-LAST_LINES])


def test_other_news() -> None:
    story = Story(row("1", "server", forever=True), timeout=90.0).to(State.RUNNING, "1")
    story.tell(JobReady, job="1")
    assert len(told(story)) == 2  # it was ready as soon as it ran
    story.later(1).tell(JobReady, job="1")
    story.tell(Message, level="WARNING", source="engine", text="job a was abandoned")
    story.tell(RunStopping, reason=StopReason.TIMEOUT)
    story.tell(JobStopping, job="1", reason="timeout")
    assert told(story)[-1] == "+001s  demo    stopping   timeout"
    story.later(1).tell(Message, level="WARNING", source="engine", text="job a was abandoned")
    assert told(story) == [
        "+000s  demo    started    0 jobs, timeout 1m30s",
        "+000s  server  running",
        "+001s  server  running    ready",
        "+001s  demo    stopping   timeout",
        "+002s  server  running    stopping: timeout",
    ]


def test_that_a_job_is_being_stopped_is_not_told_if_it_ends_at_once() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").later(2)
    story.tell(JobStopping, job="1", reason="timeout")
    story.later(0.5).move("1", State.CANCELLED, reason="timeout")
    assert told(story)[2:] == ["+002s  job1  cancelled  timeout  (2.5s)"]


def test_the_end_is_a_summary() -> None:
    story = Story(row("1")).to(State.FINISHED, "1").later(3).end(ok=True)
    assert told(story)[-2:] == ["✓ demo: done in 3.0s", "counts         1/1 done"]


def test_columns_are_as_wide_as_they_look() -> None:
    lines = told(Story(row("1", "节点"), row("2", "node")).to(State.RUNNING, "1", "2"))
    assert lines[1:] == ["+000s  节点  running", "+000s  node  running"]


def test_the_clock_never_goes_back() -> None:
    story = Story(row("1"), row("2"), window=1).to(State.RUNNING, "1").to(State.SCHEDULED, "2")
    lines: list[str] = []
    printer = PlainPrinter(lines.append, story.model)
    for tick in story.ticks:
        printer.apply(tick)
    printer.beat(START + 2.0)
    told = len(story.ticks)
    story.later(1.9).move("1", State.FINISHED)
    for tick in story.ticks[told:]:
        printer.apply(tick)
    assert [line[:12] for line in lines[-2:]] == ["+002s  job2 ", "+002s  job1 "]


def test_a_failure_that_fails_nothing_else_says_so() -> None:
    story = Story(row("1", critical=False)).to(State.RUNNING, "1").later(2)
    story.move("1", State.FAILED, reason="rc=1").end(ok=True)
    assert told(story)[2] == "+002s  job1  failed     rc=1  (2.0s, not critical)"
    assert told(story)[-2] == "✗ job1  FAILED rc=1  (2.0s, not critical)"


def test_a_heartbeat() -> None:
    story = Story(row("1", "load node01"), row("2"), row("3"))
    lines: list[str] = []
    printer = PlainPrinter(lines.append, story.model)
    printer.beat(START)
    for tick in story.ticks:
        printer.apply(tick)
    story.later(5).to(State.RUNNING, "1").later(5).to(State.RUNNING, "2").to(State.FINISHED, "3")
    lines.clear()
    for second in range(95):
        printer.beat(START + second)
    assert [line[:5] for line in lines] == ["+030s", "+060s", "+090s"]
    assert lines[0].split(maxsplit=2)[2] == ("1/3 done  2 run  33%  longest: load node01 +25s\n")
    story.end(ok=True)
    printer.beat(START + 10 * HEARTBEAT)
    assert len(lines) == 3


@given(stories())
def test_every_line_is_one_line(story: Story) -> None:
    for ascii_only in (False, True):
        lines = told(story, ascii_only=ascii_only)
        assert all(line.isprintable() for line in lines)
        assert not ascii_only or all(line.isascii() for line in lines)


@given(stories())
def test_no_end_of_a_job_is_lost(story: Story) -> None:
    lines = [line[5:].lstrip("0123456789s") for line in told(story)]
    for state in (State.FINISHED, State.FAILED, State.CANCELLED, State.SKIPPED):
        ended = sum(line.state is state for line in story.model.rows.values())
        assert sum(f"  {state}" in line for line in lines) >= ended


def as_json(story: Story) -> list[str]:
    lines: list[str] = []
    printer = JsonPrinter(lines.append)
    for tick in story.ticks:
        printer.apply(tick)
    return lines


@given(stories())
def test_json_lines_are_read_back_as_the_same_events(story: Story) -> None:
    lines = as_json(story)
    assert all(line.isascii() and line.endswith("\n") and "\n" not in line[:-1] for line in lines)
    for tick, line in zip(story.ticks, lines, strict=True):
        if "null" in line or not isinstance(tick, JobProgress):
            continue
        assert Tick.from_dict(json.loads(line)) == tick


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_word_for_is_null(number: float) -> None:
    story = Story(row("1")).progress("1", percent=number, message="far")
    event = json.loads(as_json(story)[-1])
    assert (event["percent"], event["message"]) == (None, "far")
