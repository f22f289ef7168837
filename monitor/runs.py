"""The runs of a program that knows nothing of us: bounded at their start, judged at their end."""

from __future__ import annotations

import os
from collections.abc import Callable

from engine import Engine, RunEnded, RunStarted, Tick

from .journal import Journal


class Runs:
    """All outermost runs of a program; :meth:`begin` is for :func:`engine.watch`.

    Args:
        timeout: seconds that each may take; None leaves it to its engine.
        jobs_window: how many of its jobs may run at once; likewise.
        log: gets the events of all; None if nobody wants them.
        say: called with what there is to tell the user.
    """

    def __init__(
        self,
        timeout: float | None,
        jobs_window: int | None,
        log: Journal | None,
        say: Callable[[str], None],
    ) -> None:
        self._pid = os.getpid()
        self._timeout = timeout
        self._jobs_window = jobs_window
        self._log = log
        self._say = say
        self._going_on: dict[_Run, Engine] = {}
        self._failed = 0
        self.count = 0
        """How many have begun."""

    @property
    def status(self) -> int:
        """The exit status of the first that failed; 0 if all went well."""
        left = (engine.exit_status for engine in self._going_on.values())
        return self._failed or next(filter(None, left), 0)

    def begin(self, engine: Engine) -> _Run | None:
        """Bound the run that an engine is about to begin, and return what reads its events.

        None in a child process, which has inherited this and is no concern of ours.
        """
        if os.getpid() != self._pid:
            return None
        if self._timeout is not None:
            engine.timeout = self._timeout
        if self._jobs_window is not None:
            engine.jobs_window = self._jobs_window
        run = _Run(self, self._log)
        self._going_on[run] = engine
        self.count += 1
        return run

    def cancel(self, reason: str) -> None:
        """Cancel those that go on; they are shut down as after Ctrl-C."""
        for engine in list(self._going_on.values()):
            engine.cancel(reason)

    def tell_of_bounds(self, event: RunStarted) -> None:
        """Tell if ours does not hold: what a program gives to `orchestrate` itself counts more."""
        if self._timeout is not None and event.timeout != self._timeout:
            given = "none" if event.timeout is None else f"{event.timeout:g} s"
            self._say(f"--timeout does not hold for {event.label}: its program gives it {given}")

    def end(self, run: _Run) -> None:
        """Note what has come of a run; its engine may go now."""
        engine = self._going_on.pop(run)
        self._failed = self._failed or engine.exit_status


class _Run:
    """Reads the events of one run."""

    def __init__(self, runs: Runs, log: Journal | None) -> None:
        self._runs = runs
        self._log = log
        if log is None:
            self.put_progress = _leave

    def put_nowait(self, event: Tick) -> None:
        """Take an event."""
        if self._log is not None:
            self._log.put_nowait(event)
        if isinstance(event, RunStarted):
            self._runs.tell_of_bounds(event)
        elif isinstance(event, RunEnded):
            self._runs.end(self)


def _leave(job: str, *report: object) -> None:
    """Take a report of a job that nobody here wants."""
