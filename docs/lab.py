"""What the pictures of these pages show: a deployment that is only slept through, so always alike.

``orchestrion run docs/lab.py`` shows it; with ``-- 0.1`` it is ten times faster.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from tenacity import AsyncRetrying, stop_after_attempt, wait_fixed

from engine import AbstractJob, Engine, Job, Pool, output, ready, report

PACE = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
"""Seconds that its second takes."""
IMAGE = 2100
"""Megabytes."""
EARLY, SILENT, AGAIN = 1, 6, 3
"""Nodes: the first to be ready, one that does not boot, one that is tried again."""


async def boot(node: int) -> None:
    """Wait for a node."""
    output("power on")
    await asyncio.sleep(PACE * (1 + node / 10))
    if node == SILENT:
        output("no link on eth0 after 20 s")
        raise TimeoutError("no answer on port 22")
    if node == AGAIN:
        raise ConnectionError("the console hung up")


async def load(node: int) -> None:
    """Write an image; on the later nodes that takes longer."""
    speed = 400 if node == EARLY else 120 - 10 * node
    for done in range(0, IMAGE, speed):
        report(f"{done} of {IMAGE} MB", percent=100 * done / IMAGE)
        output(f"{done:5} MB  {speed:3} MB/s  block {done * 256:7}")
        await asyncio.sleep(PACE)


async def capture() -> None:
    """Capture packets for ever."""
    for packets in count(0, 1207):
        output(f"{packets} packets captured")
        if packets:
            ready()
        await asyncio.sleep(PACE)


async def measure() -> None:
    """Measure for a minute."""
    for second in range(60):
        output(f"[  5] {second:2}.00-{second + 1:2}.00 sec  112 MBytes  941 Mbits/s")
        await asyncio.sleep(PACE)


def site(name: str, nodes: range, gateway: AbstractJob) -> Engine:
    """Return the jobs of a site, in an engine of their own."""
    inside = Engine(label=name, critical=False, keep_going=True, required=gateway)
    for node in nodes:
        again = AsyncRetrying(wait=wait_fixed(90 * PACE), stop=stop_after_attempt(3))
        retry = again if node == AGAIN else None
        booted = Job(boot, node, label=f"boot node{node}", retry=retry, engine=inside)
        Job(load, node, label=f"load node{node}", required=booted, pool=server, engine=inside)
    return inside


server = Pool(3, label="image server")
dump = Job(capture, label="tcpdump gateway", forever=True, notify=True)
north, south = site("north", range(1, 5), dump), site("south", range(5, 9), dump)
quiet = Job(measure, label="iperf idle", required=dump)
runs = [
    Job(measure, label=f"iperf {kind}", required=quiet, after=[north, south])
    for kind in ("udp", "tcp")
]
plots = Job(asyncio.sleep, PACE, label="plots", required=runs)
lab = Engine(dump, north, south, quiet, *runs, plots, label="lab")
