"""Memory for each job of an engine: idle, suspended, over and kept.

What Python has allocated, as `tracemalloc` sees it, over the number of jobs; the coroutine and the
task of a job that runs are part of it.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from engine import Engine, Job, run

TARGETS = {"idle": 450, "suspended": 1350, "over": 500}
"""Bytes for each job that must be enough."""


def bytes_per_job(size: int) -> dict[str, float]:
    """Return the bytes for each of `size` jobs, in each state."""
    run(asyncio.sleep(0))
    found: dict[str, float] = {}
    gate: list[asyncio.Future[None]] = []

    async def wait_at_gate() -> None:
        await gate[0]

    async def measure() -> None:
        for _ in range(2 + size // 100):  # until all have come to the gate
            await asyncio.sleep(0)
        found["suspended"] = _allocated()
        gate[0].set_result(None)

    async def open_gate() -> None:
        gate.append(asyncio.get_running_loop().create_future())

    run(open_gate())
    tracemalloc.start()
    before = _allocated()
    engine = Engine(*(Job(wait_at_gate) for _ in range(size)))
    engine.add(Job(measure))
    found["idle"] = _allocated()
    assert engine.orchestrate()
    found["over"] = _allocated()
    tracemalloc.stop()
    assert len(engine) == size + 1
    return {state: (found[state] - before) / size for state in TARGETS}


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
