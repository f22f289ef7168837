"""Promise 18: one connection per node, gateways shared, all closed once, farthest first."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import Engine, Job, run
from sshjobs import SshJob, SshNode
from sshjobs.sandbox import Fleet
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_jobs_on_many_nodes(
    count: Callable[[int, int], int], caplog: pytest.LogCaptureFixture
) -> None:
    """1 000 jobs on 50 nodes behind a gateway: 51 connections, and none afterwards."""
    caplog.set_level(logging.DEBUG, "sshjobs")
    many, jobs_each = count(10, 50), count(10, 20)
    with Fleet(many) as fleet:
        before = descriptors()
        jobs = [SshJob(node, "echo $((6 * 7))") for _ in range(jobs_each) for node in fleet.nodes]
        assert Engine(*jobs).orchestrate()
        assert {job.result().stdout for job in jobs} == {"42\n"}
        # The servers' ends are in this process too, and close a moment later.
        wait_until(lambda: descriptors() <= before, 30, "descriptors to close")
    told = [record.getMessage() for record in caplog.records if record.name == "sshjobs"]
    nodes = {str(node) for node in (*fleet_names(many), "gateway")}
    opened = Counter(text.removesuffix(": connected") for text in told if "connected" in text)
    closed = [text.removesuffix(": closed") for text in told if text.endswith(": closed")]
    assert opened == Counter(nodes)
    assert Counter(closed) == Counter(nodes)
    assert closed[-1] == "gateway"


def fleet_names(many: int) -> list[SshNode]:
    return [SshNode(f"node{number}") for number in range(1, many + 1)]


def test_connects_that_are_cancelled_leave_nothing(count: Callable[[int, int], int]) -> None:
    """Cancelled at so many instants of the way through a gateway, by one or by both who wait."""
    chance = random.Random(18)
    with Sshd(plain=True) as gateway, Sshd(plain=True) as server:
        node = node_of(server, gateway=node_of(gateway))
        run(enter(node))
        wait_until(lambda: gateway.connections() + server.connections() == 0, 30, "the first try")
        before = descriptors()
        instants = count(20, 150)
        for instant in range(instants):
            run(cancel(node, 0.3 * instant / instants, chance))
        wait_until(lambda: descriptors() <= before, 30, "descriptors to close")
        wait_until(lambda: gateway.connections() + server.connections() == 0, 30, "connections")
        assert Engine(SshJob(node, "true")).orchestrate()


async def enter(node: SshNode) -> None:
    async with node:
        pass


async def cancel(node: SshNode, after: float, chance: random.Random) -> None:
    tasks = [asyncio.create_task(enter(node)) for _ in range(chance.randint(1, 3))]
    await asyncio.sleep(after)
    for task in chance.sample(tasks, chance.randint(1, len(tasks))):
        task.cancel()
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01]))
    await asyncio.gather(*tasks, return_exceptions=True)


def test_runs_that_are_cancelled_leave_nothing(count: Callable[[int, int], int]) -> None:
    """The same for whole runs: jobs in every state of connecting, opening, running."""
    with Sshd(plain=True) as gateway, Sshd(plain=True) as server:
        node = node_of(server, gateway=node_of(gateway))
        run(enter(node))
        wait_until(lambda: gateway.connections() + server.connections() == 0, 30, "the first try")
        before = descriptors()
        instants = count(10, 75)
        for instant in range(instants):
            jobs = [SshJob(node, "echo on; sleep 60", forever=True) for _ in range(5)]
            end = Job(asyncio.sleep, 0.5 * instant / instants)
            Engine(*jobs, end).orchestrate()
        wait_until(lambda: descriptors() <= before, 30, "descriptors to close")
        wait_until(lambda: gateway.connections() + server.connections() == 0, 30, "connections")
        wait_until(lambda: not server.commands(), 30, "commands to end")
