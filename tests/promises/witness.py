"""A witness of every run: whatever a test is about, a run that says True must deserve it.

Promise 10 is checked here, at the end of every run of every test that has the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine import AbstractJob, Engine, RunEnded, State, Tick
from engine.testing import Story


class Witness:
    """A reader of ticks that looks at the engine and at the story once the run has ended."""

    def __init__(self, engine: Engine, problems: list[str]) -> None:
        self.engine = engine
        self.problems = problems
        self.story = Story()

    def put_nowait(self, tick: Tick) -> None:
        """Keep the event; the last one is the moment to look."""
        self.story.put_nowait(tick)
        if isinstance(tick, RunEnded):
            self.problems += self.story.problems()
            if tick.ok:
                self.problems += undeserved(self.engine)


def undeserved(engine: Engine) -> Iterator[str]:
    """Yield a line for each job because of which an engine cannot be a success."""
    for job in engine.jobs:
        if job.critical and not did_its_duty(job):
            yield f"the run is a success, although job {job.label} is {job.state}"
        if isinstance(job, Engine) and job.state is State.FINISHED:
            yield from undeserved(job)


def did_its_duty(job: AbstractJob) -> bool:
    """Whether a critical job may be in its state when the run was a success."""
    if job.forever:
        return job.state in {State.FINISHED, State.CANCELLED, State.SKIPPED}
    return job.state is State.FINISHED
