"""The attempts at one job: its timeout bounds each, its `retry` says how many there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .current import said_by
from .node import Node, Stop
from .text import safe_error
from .ticks import JobStopping

if TYPE_CHECKING:
    from .conductor import Conductor


def most_attempts(retry: Any) -> int | None:
    """Return how many attempts `retry` allows at most, None if it cannot be known."""
    if retry is None:
        return 1
    if isinstance(retry, int):
        return retry + 1
    most = getattr(getattr(retry, "stop", None), "max_attempt_number", None)
    return most if isinstance(most, int) else None


class Attempts:
    """Make the attempts at one started job, in its task.

    Between two of them the job gives its slots back, and waits for slots again.
    """

    def __init__(self, conductor: Conductor, node: Node) -> None:
        self._conductor = conductor
        self._node = node
        self._error: Exception | None = None
        """What the last attempt raised."""

    async def make(self) -> Any:
        """Return the result of the first attempt that succeeds; raise the error of the last."""
        retry = self._node.job.retry
        try:
            if retry is None:
                return await self._make_one()
            if isinstance(retry, int):
                return await self._make_some(retry)
            # A copy, as it keeps state; its own sleep would keep the slots of the job meanwhile.
            return await retry.copy(sleep=self._pause, reraise=True)(self._make_one)
        finally:
            self._error = None  # its traceback leads here: no cycle

    async def _make_some(self, more: int) -> Any:
        for _ in range(more):
            try:
                return await self._make_one()
            except Exception:  # whatever it is, it is worth another attempt
                await self._pause(0)
        return await self._make_one()

    async def _make_one(self) -> Any:
        self._error = None
        try:
            return await self._make_in_time()
        except Exception as error:
            self._error = error
            raise

    async def _make_in_time(self) -> Any:
        """Make one attempt; raise TimeoutError if it took too long, whatever it made of that."""
        conductor, node, job = self._conductor, self._node, self._node.job
        if job.timeout is None or node.inner is not None:  # an engine bounds its run itself
            return await job.corun()
        task = node.handle
        timers = [conductor.loop.call_later(job.timeout, self._time_is_up)]
        task.timers = timers
        result, is_late, said = None, False, ""
        try:
            result = await job.corun()
        except asyncio.CancelledError as error:
            if not self._was_timeout():
                raise
            said = said_by(error)
        finally:
            for timer in timers:
                timer.cancel()
            if self._was_timeout() and not node.state.is_over:
                is_late, node.stop = True, None
                task.uncancel()
        if is_late:
            reason = f"it took more than its {job.timeout:g}s"
            raise TimeoutError(f"{reason}; {said}" if said else reason)
        return result

    def _was_timeout(self) -> bool:
        stop = self._node.stop
        return stop is not None and stop[0] is Stop.TIMEOUT

    def _time_is_up(self) -> None:
        conductor, node = self._conductor, self._node
        if node.stop is not None or not node.is_alive:
            return
        reason = f"it took more than its {node.job.timeout:g}s"
        node.stop = (Stop.TIMEOUT, reason)
        grace = conductor.engine.grace_for(node.job)
        node.handle.timers.append(conductor.loop.call_later(grace, conductor.abandon, [node]))
        conductor.run.tell(JobStopping, node.id, reason)
        node.handle.cancel()

    async def _pause(self, delay: float) -> None:
        """Give the slots back, wait `delay` seconds, then for slots again."""
        conductor, node = self._conductor, self._node
        if node.stop is not None or node.state.is_over or conductor.plan.stopping is not None:
            # There will be no other attempt: the job has been told to stop.
            if self._error is not None:
                raise self._error
            raise asyncio.CancelledError
        reason = "" if self._error is None else safe_error(self._error)
        await conductor.pause(node, float(delay), reason)
