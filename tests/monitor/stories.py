"""Runs told by hand: ticks as an engine would send them, and hypothesis strategies for any run."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from engine import (
    JobOutput,
    JobProgress,
    JobReady,
    JobRow,
    JobState,
    JobStopping,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    StopReason,
    Tick,
)
from monitor.model import Model

START = 1000.0
"""When every story begins, on the monotonic clock."""

WALL = 1_700_000_000.0
"""The same in seconds since the epoch."""

NEXT = {
    State.IDLE: (State.SCHEDULED, State.SKIPPED, State.CANCELLED),
    State.SCHEDULED: (State.RUNNING, State.SKIPPED, State.CANCELLED),
    State.RUNNING: (State.FINISHED, State.FAILED, State.CANCELLED, State.SCHEDULED),
}
"""The states that may follow each."""

_WAY = {
    State.RUNNING: (State.SCHEDULED, State.RUNNING),
    State.FINISHED: (State.SCHEDULED, State.RUNNING, State.FINISHED),
    State.FAILED: (State.SCHEDULED, State.RUNNING, State.FAILED),
}


def row(job: str, label: str | None = None, **facts: Any) -> JobRow:
    """Return a row with a label made from the id, and the engine that the id tells."""
    engine = job.rpartition(".")[0] or None
    return JobRow(job, label or f"job{job}", facts.pop("kind", "Job"), engine, **facts)


class Story:
    """A run that is told step by step: to a model, and to a list of ticks."""

    def __init__(
        self,
        *rows: JobRow,
        label: str = "demo",
        window: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self.now = START
        self.ticks: list[Tick] = []
        self.model = Model()
        self._states = {row.id: State.IDLE for row in rows}
        self.tell(RunStarted, label=label, jobs=rows, window=window, timeout=timeout)

    def tell(self, kind: type[Tick], **fields: Any) -> None:
        """Add one event, now."""
        wall = WALL + self.now - START
        tick = kind(run="r1", seq=len(self.ticks), at=self.now, wall=wall, **fields)
        self.ticks.append(tick)
        self.model.apply(tick)

    def later(self, seconds: float) -> Story:
        """Let time go by."""
        self.now += seconds
        return self

    def move(self, job: str, new: State, **fields: Any) -> Story:
        """Tell one change of state."""
        old = self._states.get(job, State.IDLE)
        self._states[job] = new
        self.tell(JobState, job=job, old=old, new=new, **fields)
        return self

    def to(self, new: State, *jobs: str, **fields: Any) -> Story:
        """Bring jobs to a state by way of those that come before it; `fields` are of the last."""
        for job in jobs:
            way = _WAY.get(new, (new,))
            here = self._states.get(job, State.IDLE)
            for state in way[way.index(here) + 1 if here in way else 0 : -1]:
                self.move(job, state)
            self.move(job, new, **fields)
        return self

    def progress(self, job: str, **fields: Any) -> Story:
        """Tell what a job reports."""
        self.tell(JobProgress, job=job, **fields)
        return self

    def output(self, job: str, *lines: str, stream: str = "stdout") -> Story:
        """Tell what a job prints."""
        for line in lines:
            self.tell(JobOutput, job=job, stream=stream, text=line)
        return self

    def end(self, *, ok: bool, why: str = "") -> Story:
        """Tell the end of the run."""
        reason = StopReason.DONE if ok else StopReason.CRITICAL_FAILURE
        self.tell(RunStopping, reason=reason)
        self.tell(RunEnded, ok=ok, why=why, counts={}, duration=self.now - START)
        return self


def any_texts() -> st.SearchStrategy[str]:
    """Make texts of all kinds of characters, with a preference for the difficult ones."""
    difficult = (
        "\u0301\u200b\u200d\ufe0f\U0001f1eb\U0001f1f7\U0001f3fd👍世가가काﷺ\t\n\x1b\x7f\u202e▶é"
    )
    return st.text(st.one_of(st.sampled_from(difficult), st.characters()), max_size=30)


@st.composite
def stories(draw: st.DrawFn, texts: st.SearchStrategy[str] | None = None) -> Story:
    """Make runs of up to a dozen jobs, some nested, with any legal ways of their states."""
    texts = texts or any_texts()
    rows: list[JobRow] = []
    for number in range(1, draw(st.integers(0, 6)) + 1):
        _draw_row(draw, str(number), rows, texts)
    story = Story(*rows, label=draw(texts), window=draw(st.none() | st.integers(1, 3)))
    for _ in range(draw(st.integers(0, 25)) if rows else 0):
        story.later(draw(st.floats(0, 5000)))
        _draw_step(draw, story, draw(st.sampled_from(rows)).id, texts)
    if draw(st.booleans()):
        story.end(ok=draw(st.booleans()), why=draw(texts))
    return story


def _draw_row(draw: st.DrawFn, job: str, rows: list[JobRow], texts: st.SearchStrategy[str]) -> None:
    engine = job.rpartition(".")[0]
    siblings = [row.id for row in rows if row.id.rpartition(".")[0] == engine]
    before = st.lists(st.sampled_from(siblings), unique=True) if siblings else st.just([])
    requires, after = draw(before), draw(before)
    pool, host = draw(st.none() | texts), draw(st.none() | texts)
    rows.append(
        row(
            job,
            draw(texts),
            forever=draw(st.booleans()),
            requires=tuple(requires),
            after=tuple(after),
            window=draw(st.none() | st.integers(1, 3)),
            pool=pool,
            host=host,
        )
    )
    if job.count(".") <= 1 and draw(st.integers(0, 3)) == 0:
        for number in range(1, draw(st.integers(1, 3)) + 1):
            _draw_row(draw, f"{job}.{number}", rows, texts)


def _draw_step(draw: st.DrawFn, story: Story, job: str, texts: st.SearchStrategy[str]) -> None:
    state = story.model.rows[job].state
    what = draw(st.sampled_from(["state", "state", "progress", "output", "ready", "stopping"]))
    if what == "progress":
        number = st.none() | st.floats() | st.floats(0, 100)
        values = {name: draw(number) for name in ("percent", "done", "total")}
        story.progress(job, message=draw(st.none() | texts), **values)
    elif what == "output":
        story.output(job, draw(texts), stream=draw(st.sampled_from(["stdout", "stderr"])))
    elif what == "ready" and state is State.RUNNING:
        story.tell(JobReady, job=job)
    elif what == "stopping" and state is State.RUNNING:
        story.tell(JobStopping, job=job, reason=draw(texts))
    elif state in NEXT:
        new = draw(st.sampled_from(NEXT[state]))
        story.move(
            job,
            new,
            reason=draw(texts),
            attempt=draw(st.integers(1, 4)),
            attempts=draw(st.none() | st.integers(1, 4)),
            retry_in=draw(st.none() | st.floats(0, 100)) if new is State.SCHEDULED else None,
        )
