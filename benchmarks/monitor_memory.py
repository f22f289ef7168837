"""Whether memory stays flat under the screen: ``python -m benchmarks.monitor_memory [day|fleet]``.

``day``: for a minute sixty jobs print as fast as they can; ten million lines are what they print in
a day at two lines a second each.  ``fleet``: a thousand ssh jobs, twenty on each of fifty nodes on
loopback (servers and commands are on this machine, so it is their pace).  The run is shown on the
terminal; at the end a line tells the resident memory of the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from engine import AbstractJob, Job, output, report
from monitor import EngineCurses
from sshjobs import SshJob
from sshjobs.sandbox import Fleet

PRINTERS = 60
SECONDS = 60.0
LINES = 100
"""Lines that a job prints before it lets the others have their turn."""

NODES, JOBS_OF_A_NODE = 50, 20
SAMPLE = 1.0
"""Seconds between two looks at the memory."""

MEGABYTE = 1 << 20


class Memory:
    """The memory of this process, looked at now and again."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def sample(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE)
            self.look()

    def look(self) -> None:
        """Look once."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.seen.append(pages * os.sysconf("SC_PAGE_SIZE") // MEGABYTE)

    def told(self) -> str:
        """Return what was seen at a quarter of the run, the most, and what was seen last."""
        early = self.seen[len(self.seen) // 4]
        return (
            f"{early} MB after a quarter, at most {max(self.seen)} MB, {self.seen[-1]} MB at last"
        )


class Printers:
    """Jobs that print as fast as they can, and how many lines that was."""

    def __init__(self) -> None:
        self.lines = 0

    def jobs(self) -> list[AbstractJob]:
        """Make them."""
        return [Job(self._print, label=f"load node{n:02}") for n in range(PRINTERS)]

    async def _print(self) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < SECONDS:
            report(percent=100 * passed / SECONDS)
            output("".join(f"block {self.lines + n} written\n" for n in range(LINES)))
            self.lines += LINES
            await asyncio.sleep(0)


def day() -> str:
    """A day's worth of output, or as much of it as there is time for in a minute."""
    memory, printers = Memory(), Printers()
    watch = Job(memory.sample, forever=True, label="memory")
    EngineCurses(*printers.jobs(), watch, label="day").orchestrate()
    return f"{printers.lines:,} lines in {SECONDS:.0f} s; {memory.told()}"


def fleet() -> str:
    """A thousand ssh jobs."""
    memory = Memory()
    watch = Job(memory.sample, forever=True, label="memory")
    with Fleet(NODES) as servers:
        jobs = [
            SshJob(node, f"seq 200; echo done {number}", label=f"{node.hostname} job {number}")
            for number in range(JOBS_OF_A_NODE)
            for node in servers.nodes
        ]
        engine = EngineCurses(*jobs, watch, label="fleet", jobs_window=100)
        engine.orchestrate()
        took = engine.duration or 0.0
    return f"{len(jobs):,} ssh jobs in {took:.0f} s, {engine.why()}; {memory.told()}"


if __name__ == "__main__":
    for name in sys.argv[1:] or ["day", "fleet"]:
        print(f"{name}: {({'day': day, 'fleet': fleet}[name])()}")
