"""Time limits that hold for those who were told to stop, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Bound how long a block takes that ends or closes something.

    ``asyncio.timeout`` is not for that before Python 3.11.3, and Debian 12 has 3.11.2: in a task
    that was cancelled before, as those that clean up mostly are, it raises CancelledError there.

    Raises:
        TimeoutError: it took longer.

    >>> async def main():
    ...     async with within(0.01):
    ...         await asyncio.sleep(60)
    >>> asyncio.run(main())
    Traceback (most recent call last):
        ...
    TimeoutError
    """
    task = asyncio.current_task()
    assert task is not None
    told_before = task.cancelling()
    is_late = False

    def expire() -> None:
        nonlocal is_late
        is_late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError as error:
        if is_late and task.cancelling() - 1 <= told_before:
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
        if is_late:
            task.uncancel()


async def stopping_within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancelled, wait so long for it to stop, and then leave it alone.

    It is for work that cleans up without a bound, and that something else will end one day.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        task.add_done_callback(_look_at)
        await asyncio.wait([task], timeout=seconds)
        raise


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take its error, which nobody is left to be told."""
    if not task.cancelled():
        task.exception()
