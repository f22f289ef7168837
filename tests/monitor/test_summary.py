"""What stays on the terminal: the verdict, the failures, where the time went."""

from __future__ import annotations

import pytest
from hypothesis import given

from engine import JobReady, State
from monitor.cells import width
from monitor.summary import FAILURES, LAST_LINES, critical_path, summary

from .stories import Story, row, stories


def names(story: Story) -> list[str]:
    return [line.label for line in critical_path(story.model)]


def test_the_summary_of_a_run_that_failed() -> None:
    story = Story(
        row("1", "gateway", host="gw.lab"),
        row("2", "load", requires=("1",)),
        row("3", "measure", requires=("2",)),
        label="lab",
    )
    story.to(State.RUNNING, "1").later(5).move("1", State.FINISHED)
    story.to(State.RUNNING, "2").output("2", "no space left on device").later(60)
    story.move("2", State.FAILED, reason="rc=1").move("3", State.SKIPPED, reason="load failed")
    story.end(ok=False, why="1 critical job failed: load")
    assert summary(story.model, story.now) == [
        "✗ lab: FAILED after 1m05s: 1 critical job failed: load",
        "✗ load  FAILED rc=1  (1m00s)",
        "    | no space left on device",
        "counts         1/3 done  1 FAIL  1 skip",
        "slowest        load 1m00s, gateway 5.0s",
        "critical path  gateway 5.0s → load 1m00s  (1m05s of 1m05s)",
    ]
    assert summary(story.model, story.now, ascii_only=True, tails=False) == [
        "X lab: FAILED after 1m05s: 1 critical job failed: load",
        "X load  FAILED rc=1  (1m00s)",
        "counts         1/3 done  1 FAIL  1 skip",
        "slowest        load 1m00s, gateway 5.0s",
        "critical path  gateway 5.0s -> load 1m00s  (1m05s of 1m05s)",
    ]


def test_a_failure_in_a_group_is_told_by_its_path() -> None:
    story = Story(row("1", "site"), row("1.1", "node2"), row("1.1.1", "check", host="h"))
    story.to(State.RUNNING, "1", "1.1", "1.1.1").move("1.1.1", State.FAILED, reason="rc=1")
    told = summary(story.end(ok=False).model, story.now)
    assert told[1] == "✗ site/node2/check on h  FAILED rc=1  (0.0s)"


def test_the_summary_of_a_run_that_is_left_before_its_end() -> None:
    story = Story(row("1"), row("2")).to(State.RUNNING, "1").later(7)
    assert summary(story.model, story.now) == ["! demo: left after 7.0s, before its end"]
    story.end(ok=False, why="left at once by a second Ctrl-C")
    told = summary(story.model, story.now)
    assert told == ["✗ demo: FAILED after 7.0s: left at once by a second Ctrl-C"]


def test_failures_are_bounded_in_number_and_length() -> None:
    jobs = [row(str(number), host="h") for number in range(1, FAILURES + 6)]
    story = Story(*jobs)
    for job in jobs:
        story.to(State.RUNNING, job.id).output(job.id, *map(str, range(30)))
        story.move(job.id, State.FAILED, reason="rc=1")
    lines = summary(story.end(ok=False).model, story.now)
    assert lines[1] == "✗ job1 on h  FAILED rc=1  (0.0s)"
    assert sum(line.startswith("✗ job") for line in lines) == FAILURES
    assert sum(line.startswith("    |") for line in lines) == FAILURES * LAST_LINES
    assert "... and 5 more failed: engine.debrief() names them all" in lines


def test_the_critical_path_goes_by_what_was_waited_for_longest() -> None:
    story = Story(
        row("1", "quick"),
        row("2", "slow"),
        row("3", "last", requires=("1",), after=("2",)),
        row("4", "other"),
    )
    story.to(State.RUNNING, "1", "2", "4").later(1).move("1", State.FINISHED)
    story.move("4", State.FINISHED).later(9).move("2", State.FAILED)
    story.to(State.RUNNING, "3").later(2).move("3", State.FINISHED)
    assert names(story) == ["slow", "last"]


def test_the_critical_path_goes_through_nested_engines() -> None:
    story = Story(
        row("1", "gate"),
        row("2", "site", requires=("1",)),
        row("2.1", "boot"),
        row("2.2", "load", requires=("2.1",)),
        row("3", "collect", requires=("2",)),
    )
    for job in ("1", "2.1", "2.2"):
        story.to(State.RUNNING, *(["2"] if job == "2.1" else []), job).later(1)
        story.move(job, State.FINISHED)
    story.move("2", State.FINISHED).to(State.RUNNING, "3").later(1).move("3", State.FINISHED)
    assert names(story) == ["gate", "boot", "load", "collect"]
    *_, slowest, path = summary(story.end(ok=True).model, story.now)
    assert slowest == "slowest        gate 1.0s, site/boot 1.0s, site/load 1.0s, collect 1.0s"
    assert path.startswith("critical path  gate 1.0s → site/boot 1.0s → site/load 1.0s → collect")


def test_the_critical_path_counts_until_a_forever_job_is_ready() -> None:
    story = Story(row("1", "server", forever=True), row("2", "measure", requires=("1",)))
    story.to(State.RUNNING, "1").later(3).tell(JobReady, job="1")
    story.to(State.RUNNING, "2").later(1).move("2", State.FINISHED)
    story.later(1).move("1", State.CANCELLED).end(ok=True)
    assert names(story) == ["server", "measure"]
    told = summary(story.model, story.now)[-1]
    assert told == "critical path  server 3.0s → measure 1.0s  (4.0s of 5.0s; 1.0s in shutdown)"


def test_the_critical_path_tells_what_else_took_time() -> None:
    story = Story(row("1"), row("2", requires=("1",)), window=1)
    story.later(3).to(State.RUNNING, "1").later(10).move("1", State.FINISHED)
    story.later(4).to(State.RUNNING, "2").later(10).move("2", State.FINISHED).later(0.05)
    line = summary(story.end(ok=True).model, story.now)[-1]
    assert line == "critical path  job1 10s → job2 10s  (20s of 27s; 7.0s waiting for a slot)"


def test_a_long_critical_path_is_told_in_part() -> None:
    jobs = [row("1")] + [row(str(n), requires=(str(n - 1),)) for n in range(2, 41)]
    story = Story(*jobs)
    for job in jobs:
        story.to(State.RUNNING, job.id).later(1).move(job.id, State.FINISHED)
    line = summary(story.end(ok=True).model, story.now)[-1]
    assert "job6 1.0s → (28 more) → job35 1.0s" in line
    assert line.endswith("(40s of 40s)")


def test_a_run_without_jobs() -> None:
    lines = summary(Story().end(ok=True).model, 0.0)
    assert lines == ["✓ demo: done in 0.0s", "counts         0/0 done"]


def test_the_verdict_is_in_the_words_of_the_engine() -> None:
    story = Story(row("1")).to(State.FINISHED, "1").end(ok=True, why="1 job finished in 0.0s")
    assert summary(story.model, story.now)[0] == "✓ demo: 1 job finished in 0.0s"
    assert summary(Story().end(ok=False).model, 0.0)[0] == "✗ demo: FAILED after 0.0s"


@given(stories())
def test_every_line_is_printable(story: Story) -> None:
    assert all(line.isprintable() for line in summary(story.model, story.now))
    assert all(line.isascii() for line in summary(story.model, story.now, ascii_only=True))


@given(stories())
def test_the_critical_path_goes_forward_and_names_no_job_twice(story: Story) -> None:
    path = [line.id for line in critical_path(story.model)]
    assert len(path) == len(set(path))


@pytest.mark.parametrize("label", ["measure the way to node", "测量 节点 之间的 距离"])
@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_lines_are_broken_between_words(columns: int, label: str) -> None:
    labels = [f"{label} {number:02}" for number in range(1, 13)]
    story = Story(*(row(str(number), label) for number, label in enumerate(labels, 1)))
    for number in range(1, 13):
        story.to(State.RUNNING, str(number)).later(number).move(str(number), State.FINISHED)
    story.end(ok=True, why="12 jobs finished in 78.0s")
    whole = summary(story.model, story.now)
    fitted = summary(story.model, story.now, columns=columns)
    assert all(width(line) <= columns for line in fitted)
    assert " ".join(" ".join(fitted).split()) == " ".join(" ".join(whole).split())
