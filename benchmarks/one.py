"""Measure one contender once, in a process of its own: ``-m benchmarks.one WHAT NAME SHAPE SIZE``.

`WHAT` is ``cost`` (CPU seconds for building and running the graph), ``first`` (CPU seconds until
the first job runs), ``room`` (bytes for each job by which the process grew at most) or ``memory``
(bytes for each job in each state).  Prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time

from benchmarks.contenders import CONTENDERS
from benchmarks.memory import bytes_per_job
from benchmarks.shapes import SHAPES


async def job() -> None:
    """Let the loop turn once, and return: all a job of the benchmarks does."""
    await asyncio.sleep(0)


def cost(name: str, shape: str, size: int) -> float:
    """Return the CPU seconds that it takes to build a graph and run it."""
    graph = SHAPES[shape](size)
    contender = CONTENDERS[name]
    contender(SHAPES[shape](10), job)  # what is made and imported once
    gc.collect()
    began = time.process_time()
    contender(graph, job)
    return time.process_time() - began


def first(name: str, shape: str, size: int) -> float:
    """Return the CPU seconds between the start of the program and that of its first job."""
    graph = SHAPES[shape](size)
    begins: list[float] = []

    async def note() -> None:
        if not begins:
            begins.append(time.process_time())
        await asyncio.sleep(0)

    CONTENDERS[name](SHAPES[shape](10), job)
    gc.collect()
    began = time.process_time()
    CONTENDERS[name](graph, note)
    return begins[0] - began


def room(name: str, shape: str, size: int) -> float:
    """Return the bytes for each job by which this process grew at most."""
    graph = SHAPES[shape](size)
    CONTENDERS[name](SHAPES[shape](10), job)
    gc.collect()
    before = most_kilobytes()
    CONTENDERS[name](graph, job)
    return 1024 * (most_kilobytes() - before) / size


def most_kilobytes() -> int:
    """Return the room that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(what: str, name: str, shape: str, size: int) -> None:
    """Measure, and print what was found."""
    if what == "memory":
        found: object = bytes_per_job(size)
    else:
        found = {"cost": cost, "first": first, "room": room}[what](name, shape, size)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
