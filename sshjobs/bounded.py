"""A time limit that holds for a task that was told to stop, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
