"""The floor: the leanest correct runner on bare asyncio.

One task for each job, a done callback, counters of requirements that are not met yet; nothing
else.  Failures, cancellation, timeouts, ticks: the engine's cost is what it asks for these.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

Corun = Callable[[], Coroutine[Any, Any, object]]


def run(
    jobs: Sequence[Corun], requires: Sequence[Sequence[int]], window: int | None = None
) -> Awaitable[None]:
    """Run `jobs`; job `n` starts once those numbered `requires[n]` have ended."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    unmet = list(map(len, requires))
    allows: list[list[int]] = [[] for _ in jobs]
    for number, wanted in enumerate(requires):
        for other in wanted:
            allows[other].append(number)
    ready = deque(number for number, count in enumerate(unmet) if not count)
    left, free = len(jobs), window if window is not None else len(jobs)

    def start() -> None:
        nonlocal free
        while ready and free:
            free -= 1
            number = ready.popleft()
            loop.create_task(jobs[number]()).add_done_callback(partial(ended, number))

    def ended(number: int, task: asyncio.Task[object]) -> None:
        nonlocal left, free
        task.result()
        left, free = left - 1, free + 1
        for other in allows[number]:
            unmet[other] -= 1
            if not unmet[other]:
                ready.append(other)
        start()
        if not left:
            over.set_result(None)

    start()
    return over
