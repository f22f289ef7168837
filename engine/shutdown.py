"""Shutdown: call each started job's `coshutdown()` once, in reverse order, within a bound.

A job is shut down once all the jobs that came after it are: so what was built first goes last.
Independent ones are shut down together.  A fault in one is collected and stops no other.  Once the
time is spent the rest are still called, and cancelled at their first wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from typing import Any

from .coruns import Job
from .current import current
from .errors import name_of
from .job import AbstractJob
from .jobset import JobSet
from .loop import LeaveNow
from .text import safe_error

_deadline: ContextVar[float | None] = ContextVar("shutdown_deadline", default=None)
"""When the shutdown that this one is part of must be over, on the loop's clock."""

_LAST_TURNS = 0.05
"""Seconds for a nested engine, which is bounded itself, to go through its own jobs at the end."""


async def shut_down(
    jobs: Sequence[AbstractJob],
    successors: Mapping[AbstractJob, Sequence[AbstractJob]],
    started: set[AbstractJob],
    timeout: float | None,
    faults: dict[AbstractJob, BaseException],
) -> None:
    """Shut the `started` ones of `jobs` down; cancelled meanwhile, it goes through them all first.

    Args:
        jobs: all jobs of the engine.
        successors: for each job, those that came after it (by requires or after).
        started: those to be called; the others only hand the order on.
        timeout: seconds for all together; None: no bound but that of an outer engine.
        faults: gets what went wrong, by job.
    """
    sweep = _Sweep(jobs, successors, started, timeout)
    sweep.faults = faults
    await sweep.run()


def with_shutdown(jobs: Iterable[AbstractJob]) -> list[AbstractJob]:
    """Return those of `jobs` that have something to call: most have nothing to shut down."""
    perhaps = [job for job in jobs if type(job) is not Job or job.has_coshutdown]
    return [job for job in perhaps if has_shutdown(job)]


def has_shutdown(job: AbstractJob) -> bool:
    """True if there is something to call."""
    if type(job).coshutdown is Job.coshutdown:
        return job.has_coshutdown  # type: ignore[attr-defined,no-any-return]
    return type(job).coshutdown is not AbstractJob.coshutdown


class _Sweep:
    """One shutdown, as it goes on."""

    def __init__(
        self,
        jobs: Sequence[AbstractJob],
        successors: Mapping[AbstractJob, Sequence[AbstractJob]],
        started: set[AbstractJob],
        timeout: float | None,
    ) -> None:
        self.started = started
        self.before: dict[AbstractJob, list[AbstractJob]] = {}
        self.waits_for: dict[AbstractJob, int] = {}
        for job in jobs:
            after = successors.get(job, ())
            self.waits_for[job] = len(after)
            for other in after:
                self.before.setdefault(other, []).append(job)
        self.next = [job for job in jobs if not self.waits_for[job]]
        self.faults: dict[AbstractJob, BaseException] = {}
        self.tasks: dict[asyncio.Task[BaseException | None], AbstractJob] = {}
        self.cancelled: asyncio.CancelledError | None = None
        loop = asyncio.get_running_loop()
        outer = _deadline.get()
        own = None if timeout is None else loop.time() + timeout
        bounds = [bound for bound in (outer, own) if bound is not None]
        self.deadline = min(bounds) if bounds else None
        self.timeout = timeout

    async def run(self) -> None:
        self._start_next()
        while self.tasks:
            left = self._time_left()
            if left is not None and left <= 0:
                await self._give_up()
            else:
                done = await self._wait(set(self.tasks), left)
                self._collect(done)
            self._start_next()
        if self.cancelled is not None:
            raise self.cancelled

    def _time_left(self) -> float | None:
        if self.cancelled is not None:
            return 0.0
        if self.deadline is None:
            return None
        return self.deadline - asyncio.get_running_loop().time()

    def _start_next(self) -> None:
        """Call all whose turn has come; those with nothing to call hand the turn on at once."""
        while self.next:
            todo, self.next = self.next, []
            for job in todo:
                if job in self.started and has_shutdown(job):
                    self._call(job)
                else:
                    self._is_down(job)

    def _call(self, job: AbstractJob) -> None:
        context = copy_context()
        context.run(current.set, job._place)
        context.run(_deadline.set, self.deadline)
        coroutine = _called(job)
        name = f"shutdown of {name_of(job)}"
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self.tasks[task] = job

    def _is_down(self, job: AbstractJob) -> None:
        for other in self.before.get(job, ()):
            self.waits_for[other] -= 1
            if not self.waits_for[other]:
                self.next.append(other)

    async def _wait(
        self,
        tasks: set[asyncio.Task[Any]],
        timeout: float | None,
        return_when: str = asyncio.FIRST_COMPLETED,
    ) -> set[asyncio.Task[Any]]:
        """Wait for one of `tasks`, or all; a cancellation from outside spends what time is left."""
        try:
            done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=return_when)
        except asyncio.CancelledError as error:
            self.cancelled = self.cancelled or error
            return {task for task in tasks if task.done()}
        return done

    def _collect(self, done: set[asyncio.Task[Any]]) -> None:
        # In the order of calling, as a set has none.
        for task in [task for task in self.tasks if task in done]:
            job = self.tasks.pop(task)
            error: BaseException | None
            if task.cancelled():
                error = asyncio.CancelledError("its coshutdown was cancelled")
            else:
                raised = task.exception()
                error = task.result() if raised is None else raised
            if error is not None:
                self.faults[job] = error
            self._is_down(job)

    async def _give_up(self) -> None:
        """The time is spent: one step for those just called, then cancel all that wait."""
        await self._turn()
        late = [task for task in self.tasks if not task.done()]
        for task in late:
            task.cancel()
        bounded = {task for task in late if isinstance(self.tasks[task], JobSet)}
        await self._turn()
        if bounded:
            await self._wait(bounded, _LAST_TURNS, asyncio.ALL_COMPLETED)
        for task in list(self.tasks):
            job = self.tasks[task]
            if task in late and not self._ended_well(task):
                del self.tasks[task]
                task.add_done_callback(_retrieve)
                self.faults[job] = TimeoutError(self._too_late(job))
                self._is_down(job)
        self._collect({task for task in self.tasks if task.done()})

    def _ended_well(self, task: asyncio.Task[Any]) -> bool:
        return task.done() and not task.cancelled()

    def _too_late(self, job: AbstractJob) -> str:
        bound = "the time of the run" if self.timeout is None else f"{self.timeout:g}s"
        return f"shutdown of {name_of(job)} was cut: {bound} for all together were spent"

    async def _turn(self) -> None:
        """Let the loop turn, so that each task makes a step."""
        for _ in range(2):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as error:
                self.cancelled = self.cancelled or error


async def _called(job: AbstractJob) -> BaseException | None:
    """Call `coshutdown`; return what would, if raised from a task, tear the event loop down."""
    try:
        await job.coshutdown()
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, LeaveNow):
            raise
        return error
    return None


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at what a task that was given up ended with, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()


def tell_of(faults: Mapping[AbstractJob, BaseException]) -> list[str]:
    """Return a line for each fault, for the log."""
    return [f"shutdown of {name_of(job)} failed: {safe_error(e)}" for job, e in faults.items()]
