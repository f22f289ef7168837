"""Cancel a run everywhere: again and again, each time one turn of the event loop later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine import Engine, EngineFailed, watch
from engine.errors import name_of

from .clock import run_virtual
from .story import Story
from .trying import faults_found, new_engine
from .waiting import describe, unfinished, who_waits

Cancel = Callable[[Engine, "asyncio.Task[bool]"], object]


class CancelFailed(AssertionError):
    """A run that was cancelled did not end as it must; the message says at which turn, and how.

    Attributes:
        turn: the turn of the loop at which the run was cancelled.
        problems: what was wrong.
        meanwhile: a line for each job that was not over when the run was cancelled.
    """

    def __init__(self, turn: int, problems: list[str], meanwhile: list[str]) -> None:
        self.turn = turn
        self.problems = tuple(problems)
        self.meanwhile = tuple(meanwhile)
        lines = [f"cancelled at turn {turn} of the loop:", *problems]
        if meanwhile:
            lines += ["what was not over at that turn:", *(f"  {line}" for line in meanwhile)]
        super().__init__("\n  ".join(lines))


def cancel_everywhere(
    make_engine: Callable[[], Engine],
    *,
    check: Callable[[Engine], object] | None = None,
    cancel: Cancel | None = None,
    first: int = 0,
    most: int = 10_000,
) -> int:
    """Run a graph again and again on a virtual clock, cancelled at each turn of the loop in turn.

    After each run: `CancelledError` came out of `corun()`, every job is over, no task is left, the
    ticks tell a whole and legal story; then `check(engine)` may look at what it knows of.  The
    first run that ends before it could be cancelled is the last, and is not checked.

    Args:
        make_engine: makes the engine anew, with all its jobs; called outside of any loop.
        check: raises AssertionError if something is wrong with the engine after a run.
        cancel: how to cancel, given the engine and the task that awaits its `corun()`; default is
            to cancel that task.  With another way it is left open what comes out of `corun()`.
        first: the turn to begin with; that of a failure makes it happen at once, to look into it.
        most: the last turn to try.

    Returns:
        How many turns there are at which it can be cancelled.

    Raises:
        CancelFailed: a run did not end as it must.
        Deadlock: a run did not end at all.
        EngineError: the graph cannot be run, see `Engine.corun`.
        TypeError: `make_engine` does not make an engine, or not a new one each time.

    >>> from engine import Engine, Job
    >>> import asyncio
    >>> cancel_everywhere(lambda: Engine(Job(asyncio.sleep, 10))) > 3
    True
    """
    __tracebackhide__ = True
    engine: Engine | None = None
    for turn in range(first, most + 1):
        engine = new_engine(make_engine, engine, "cancel_everywhere")
        run = _CancelledRun(engine, turn, cancel)
        if not run.play():
            return turn
        problems = run.problems or faults_found(engine, check, f"cancelled at turn {turn}")
        if problems:
            raise CancelFailed(turn, problems, run.meanwhile)
    raise CancelFailed(most, [f"the run has not ended after {most} turns"], [])


class _CancelledRun:
    """One run, and what was wrong with it."""

    def __init__(self, engine: Engine, turn: int, cancel: Cancel | None) -> None:
        self.engine = engine
        self.turn = turn
        self.cancel = cancel
        self.problems: list[str] = []
        self.meanwhile: list[str] = []
        self.task: asyncio.Task[bool] | None = None
        self.reached = False
        self.story = Story()

    def play(self) -> bool:
        """Run it; return False if it ended before it could be cancelled."""
        run_virtual(self._main(), on_turn=self._on_turn)
        return self.reached

    async def _main(self) -> None:
        with watch(lambda _: self.story):
            self.task = asyncio.create_task(self.engine.corun())
            await asyncio.wait([self.task])
        # Looked at even if this run ended by itself, as it may fail: nobody else asks.
        error = None if self.task.cancelled() else self.task.exception()
        if self.reached:
            self._look(self.task, error)
        elif error is not None and not isinstance(error, EngineFailed):
            raise error  # of a graph that cannot be run at all, say

    def _on_turn(self, _: int) -> None:
        if self.task is None or self.reached:
            return
        if self.turn > 0:
            self.turn -= 1
        elif not self.task.done():
            self.reached = True
            self.meanwhile = who_waits(
                unfinished([self.engine]), asyncio.all_tasks(self.task.get_loop())
            )
            if self.cancel is None:
                self.task.cancel()
            else:
                self.cancel(self.engine, self.task)

    def _look(self, task: asyncio.Task[bool], error: BaseException | None) -> None:
        if self.cancel is None and not task.cancelled():
            got = task.result() if error is None else error
            self.problems.append(f"CancelledError did not come out, but {got!r}")
        begun = bool(self.story.ticks)
        for job in self.engine.iterate_jobs():
            if begun and not job.is_done():
                self.problems.append(f"job {name_of(job)} is still {job.state}")
        if begun:
            self.problems += self.story.problems()
        left = asyncio.all_tasks() - {task, asyncio.current_task()}
        self.problems += [f"task left: {line}" for line in sorted(map(describe, left))]
