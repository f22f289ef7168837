"""Promise 17: what ends a job ends its remote process group: TERM, two seconds, KILL."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from engine import AbstractJob, CallJob, Engine, EngineFailed, Job, Sequence
from sshjobs import Run, SshJob, SshNode, SshTimeout
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

GRACE = 2.0
WITHIN = GRACE + 2.0

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
COMMANDS = {
    "sleep": "echo on; sleep 600",
    "pipeline": "echo on; sleep 600 | sleep 601 | cat",
    "ignores TERM": "trap '' TERM INT HUP; echo on; while :; do sleep 600; done",
    "children": "for n in 1 2 3; do sleep 60$n & done; echo on; wait",
}


@pytest.fixture(params=["root", "plain"])
def server(request: pytest.FixtureRequest) -> Iterator[Sshd]:
    with Sshd(plain=request.param == "plain") as server:
        yield server


def settled(server: Sshd, least: int) -> Sequence:
    """Jobs that are over once so many commands run, and had a moment to trap what they trap."""
    return Sequence(
        CallJob(wait_until, lambda: len(server.commands()) >= least, 30, "the commands"),
        Job(asyncio.sleep, 0.3),
    )


def running(server: Sshd) -> int:
    """How many of the commands run, each told by its `sleep 600`."""
    lines = (Path(f"/proc/{pid}/cmdline") for pid in server.commands())
    found = 0
    for line in lines:
        with suppress(OSError):
            found += line.read_bytes() == b"sleep\x00600\x00"
    return found


def all_dead(server: Sshd) -> float:
    """Wait until nothing is left of the commands; return the time."""
    wait_until(lambda: not server.commands(), 30, "the commands to end")
    return time.monotonic()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_cancel(
    server: Sshd,
    command: str,
    count: Callable[[int, int], int],
    at_most: Callable[[float], float],
) -> None:
    """Many at once, on three connections; the run ends, and with it all of them."""
    nodes = [node_of(server, keepalive=keepalive) for keepalive in (20, 21, 22)]
    with nodes[0], nodes[1], nodes[2]:
        jobs = [
            SshJob(nodes[number % 3], command, forever=True, ready="^on$")
            for number in range(count(6, 20))
        ]
        end = CallJob(time.monotonic, required=jobs)
        assert Engine(*jobs, end).orchestrate()
        assert all_dead(server) - end.result() < at_most(WITHIN)


@pytest.mark.parametrize("command", ["sleep", "ignores TERM"])
def test_timeout(server: Sshd, command: str, at_most: Callable[[float], float]) -> None:
    """Of a job, of a command, of a run; each ends what it is about."""
    node = node_of(server)
    line = COMMANDS[command]
    seconds = 0.8
    with node:
        start = time.monotonic()
        jobs: list[AbstractJob] = [
            SshJob(node, line, timeout=seconds, critical=False),
            SshJob(node, Run(line, timeout=seconds), critical=False),
            Engine(SshJob(node, line), timeout=seconds, critical=False),
        ]
        Engine(*jobs, timeout=30).orchestrate()
        assert [type(job.exception()) for job in jobs] == [TimeoutError, SshTimeout, EngineFailed]
        assert all_dead(server) - start < at_most(seconds + WITHIN)


PROGRAM = """
from engine import Engine
from sshjobs import SshJob, SshNode
node = SshNode({host!r}, port={port}, username={user!r}, keys={key!r}, known_hosts={known!r},
               config=None)
Engine(SshJob(node, {command!r})).orchestrate()
"""


@pytest.mark.parametrize("command", ["sleep", "ignores TERM"])
def test_signals(server: Sshd, command: str, at_most: Callable[[float], float]) -> None:
    """Ctrl-C, SIGTERM; and, by the watchdog, SIGKILL, which leaves no time for anything."""
    code = PROGRAM.format(
        host=server.host,
        port=server.port,
        user=server.username,
        key=str(server.key),
        known=str(server.known_hosts),
        command=COMMANDS[command],
    )
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
            )
            for _ in SIGNALS
        ]
        wait_until(lambda: running(server) == len(SIGNALS), 30, "the commands")
        time.sleep(0.3)
        start = time.monotonic()
        for program, number in zip(programs, SIGNALS, strict=True):
            program.send_signal(number)
        for program in programs:
            program.wait(30)
    assert all_dead(server) - start < at_most(WITHIN)


def test_with_the_link_gone_the_report_says_that_it_may_still_run(
    server: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    node = node_of(server)
    frozen = SshJob(node, COMMANDS["sleep"], forever=True)
    freeze = CallJob(server.freeze_sessions)
    engine = Engine(frozen, Sequence(settled(server, 1), freeze))
    engine.orchestrate()
    assert "may still run" in caplog.text
    server.thaw_sessions()
    wait_until(lambda: not server.commands(), 30, "the watchdog to hear of it")
    cut = SshJob(node, COMMANDS["sleep"])
    engine = Engine(cut, Sequence(settled(server, 1), CallJob(server.kill_sessions)))
    assert not engine.orchestrate()
    assert "may still run" in engine.why()
    wait_until(lambda: not server.commands(), 30, "the watchdog to end it")


def test_the_session_is_given_back(server: Sshd, count: Callable[[int, int], int]) -> None:
    node: SshNode = node_of(server)
    jobs = [
        SshJob(node, Run("sleep 600", timeout=0.3), critical=False) for _ in range(count(20, 60))
    ]
    with node:
        Engine(*jobs).orchestrate()
        assert all(isinstance(job.raised_exception(), TimeoutError) for job in jobs)
        assert Engine(*(SshJob(node, "true") for _ in range(20))).orchestrate()
        wait_until(lambda: not server.commands(), 30, "the commands to end")
