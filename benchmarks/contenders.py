"""Those who are measured: each takes a shape and a job, builds its graph and runs it to the end."""

from __future__ import annotations

import asyncio
import graphlib
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import floor
from benchmarks.floor import Corun
from benchmarks.shapes import Shape
from engine import Engine, Job, Tick

Contender = Callable[[Shape, Corun], None]


def run_floor(shape: Shape, job: Corun) -> None:
    """Bare asyncio."""

    async def main() -> None:
        await floor.run([job] * len(shape.requires), shape.requires, shape.window)

    asyncio.run(main())


def build_engine(shape: Shape, job: Corun, **options: Any) -> Engine:
    """Return our engine with the graph of a shape."""
    jobs = [Job(job) for _ in shape.requires]
    for one, wanted in zip(jobs, shape.requires, strict=True):
        if wanted:
            one.requires([jobs[number] for number in wanted])
    return Engine(*jobs, jobs_window=shape.window, **options)


def run_engine(shape: Shape, job: Corun) -> None:
    """Ours, with nobody who reads its ticks."""
    assert build_engine(shape, job).orchestrate()


class CountingReader:
    """A reader of ticks that does next to nothing."""

    def __init__(self) -> None:
        self.count = 0

    def put_nowait(self, _: Tick) -> None:
        """Count an event."""
        self.count += 1


def run_engine_read(shape: Shape, job: Corun) -> None:
    """Ours, with a reader: three ticks a job."""
    reader = CountingReader()
    assert build_engine(shape, job, message_queue=reader).orchestrate()
    assert reader.count >= 3 * len(shape.requires)


def run_engine_asleep(shape: Shape, job: Corun) -> None:
    """Ours, with a reader that took one event and fell asleep."""
    _run_with_queue(shape, job, asleep=True)


def run_engine_awake(shape: Shape, job: Corun) -> None:
    """Ours, with the same queue and nobody at its end."""
    _run_with_queue(shape, job, asleep=False)


def _run_with_queue(shape: Shape, job: Corun, *, asleep: bool) -> None:
    async def main() -> None:
        queue: asyncio.Queue[Tick] = asyncio.Queue()

        async def sleepy() -> None:
            while True:
                await queue.get()
                await asyncio.sleep(3600)

        reader = asyncio.create_task(sleepy()) if asleep else None
        assert await build_engine(shape, job, message_queue=queue).corun()
        if reader is not None:
            reader.cancel()

    asyncio.run(main())


def run_gather(shape: Shape, job: Corun) -> None:
    """asyncio.gather; a window is a semaphore."""

    async def main() -> None:
        bounded = _bound(shape)
        await asyncio.gather(*(bounded(job) for _ in shape.requires))

    asyncio.run(main())


def run_group(shape: Shape, job: Corun) -> None:
    """asyncio.TaskGroup; a window is a semaphore."""

    async def main() -> None:
        bounded = _bound(shape)
        async with asyncio.TaskGroup() as group:
            for _ in shape.requires:
                group.create_task(bounded(job))

    asyncio.run(main())


def _bound(shape: Shape) -> Callable[[Corun], Any]:
    if shape.window is None:
        return lambda job: job()
    semaphore = asyncio.Semaphore(shape.window)

    async def bounded(job: Corun) -> None:
        async with semaphore:
            await job()

    return bounded


def run_graphlib(shape: Shape, job: Corun) -> None:
    """graphlib.TopologicalSorter, driven by hand with a task for each job."""

    async def main() -> None:
        sorter = graphlib.TopologicalSorter(dict(enumerate(shape.requires)))
        sorter.prepare()
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        ready: list[int] = []
        running = 0

        def start() -> None:
            nonlocal running
            ready.extend(sorter.get_ready())
            while ready and (shape.window is None or running < shape.window):
                number = ready.pop()
                running += 1
                task = loop.create_task(job())
                task.add_done_callback(partial(ended, number))

        def ended(number: int, _: object) -> None:
            nonlocal running
            running -= 1
            sorter.done(number)
            start()
            if not sorter.is_active() and not over.done():
                over.set_result(None)

        start()
        await over

    asyncio.run(main())


def run_trio(shape: Shape, _: Corun) -> None:
    """trio: a nursery, an event for each job; a window is a limiter; a job of its own."""
    trio = importlib.import_module("trio")

    async def main() -> None:
        over = [trio.Event() for _ in shape.requires]
        limiter = trio.CapacityLimiter(shape.window or len(over))

        async def one(number: int) -> None:
            for other in shape.requires[number]:
                await over[other].wait()
            if shape.window is None:
                await trio.sleep(0)
            else:
                async with limiter:
                    await trio.sleep(0)
            over[number].set()

        async with trio.open_nursery() as nursery:
            for number in range(len(over)):
                nursery.start_soon(one, number)

    trio.run(main)


def run_asynciojobs(shape: Shape, job: Corun) -> None:
    """asynciojobs, the nearest sibling."""
    theirs = importlib.import_module("asynciojobs")
    jobs = [theirs.Job(job()) for _ in shape.requires]
    for one, wanted in zip(jobs, shape.requires, strict=True):
        if wanted:
            one.requires([jobs[number] for number in wanted])
    scheduler = theirs.Scheduler(*jobs, jobs_window=shape.window)
    assert scheduler.run()


def on_uvloop(contender: Contender) -> Contender:
    """Return a contender that runs on the event loop of uvloop."""

    def run(shape: Shape, job: Corun) -> None:
        asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())
        contender(shape, job)

    return run


ON_UVLOOP = {"floor": "floor, uvloop", "engine": "engine, uvloop"}
"""What the contenders are called that run on uvloop too."""

CONTENDERS: dict[str, Contender] = {
    "floor": run_floor,
    "engine": run_engine,
    "engine, read": run_engine_read,
    "gather": run_gather,
    "TaskGroup": run_group,
    "graphlib": run_graphlib,
    "trio": run_trio,
    "asynciojobs": run_asynciojobs,
    "reader awake": run_engine_awake,
    "reader asleep": run_engine_asleep,
    ON_UVLOOP["floor"]: on_uvloop(run_floor),
    ON_UVLOOP["engine"]: on_uvloop(run_engine),
}

PEERS = {
    "trio": "trio",
    "asynciojobs": "asynciojobs",
    **dict.fromkeys(ON_UVLOOP.values(), "uvloop"),
}
"""Contenders that are not there unless installed, and the module that tells."""

EXTRAS = {"reader awake", "reader asleep", *ON_UVLOOP.values()}
"""Those that are compared with each other alone."""

ONLY = {"gather": {"wide", "windowed"}, "TaskGroup": {"wide", "windowed"}}
"""Contenders that know no requirements: the shapes they can run."""

MOST = {("asynciojobs", "windowed"): 2_000, ("asynciojobs", ""): 100_000, ("trio", ""): 100_000}
"""The largest size of a contender in a shape ("" for all others): it takes too long beyond."""
