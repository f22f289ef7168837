"""Whatever ends a job ends what it runs, on the other side and here, as a whole."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import asyncssh
import pytest

from engine import CallJob, Engine, Job, Sequence, run
from sshjobs import LocalNode, Run, Secret, SshError, SshJob, SshNode
from sshjobs.session import RemoteProcess
from tests.processes import marked, pids, wait_until
from tests.ssh.conftest import node_of
from tests.sshd import PASSWORD, Sshd, needs_terminals

TOGETHER = 20


@pytest.fixture(params=["root", "plain"])
def server(request: pytest.FixtureRequest) -> Iterator[Sshd]:
    with Sshd(plain=request.param == "plain") as server:
        yield server


COMMANDS = [
    Run(["sleep", "600"]),
    Run("sleep 601; true"),
    Run("sleep 602 | sleep 6020 | cat"),
    Run("sleep 603 & sleep 6030"),
    Run("timeout 6040 sleep 604; true", label="sleep 604, in a group of its own"),
    Run("cat; sleep 605", input="x"),
    Run("sleep 606", env={"A": "b"}),
    Run("sleep 607; true", pty=True),
]
STUBBORN = Run("trap '' TERM HUP INT; while :; do sleep 60; done")


def once(there: Callable[[], object]) -> Sequence:
    """Jobs that are over once something is there, and the shell has become what it will be."""
    return Sequence(CallJob(wait_until, there, 30, "the command to run"), Job(asyncio.sleep, 0.1))


def end_in_the_middle(
    node: SshNode | LocalNode, commands: Iterable[Run], there: Callable[[], list[int]]
) -> float:
    """End a run once its commands run; return the seconds until nothing of them is left."""
    jobs = [SshJob(node, command, forever=True) for command in commands]
    assert Engine(*jobs, *(once(partial(sleeps, there, job)) for job in jobs)).orchestrate()
    start = time.monotonic()
    wait_until(lambda: not there(), 30, "the processes to end")
    return time.monotonic() - start


def sleeps(there: Callable[[], list[int]], job: SshJob) -> bool:
    """Whether the command of a job sleeps, each for a time of its own."""
    (seconds,) = re.findall(r"6\d+", job.details())[:1]
    return any(command_line(pid) == f"sleep\0{seconds}\0".encode() for pid in there())


@needs_terminals
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_the_end_of_a_run_ends_commands(server: Sshd, first: bool) -> None:
    node = node_of(server)
    with node:
        if not first:
            assert Engine(SshJob(node, "true")).orchestrate()
        assert end_in_the_middle(node, COMMANDS, server.commands) < 15


def test_who_cleans_up_on_term_has_the_time(server: Sshd) -> None:
    said = server.room / "said"
    command = Run(
        ["sh", "-c", f"trap 'sleep 1; echo bye >{said}; exit 3' TERM; sleep 60 & wait"],
        label="sleep 60",
    )
    end_in_the_middle(node_of(server), [command], server.commands)
    assert said.read_text() == "bye\n"


def test_a_job_is_over_once_its_command_is(server: Sshd) -> None:
    """The cancelled job waits for the end over there: what comes after it can rely on that."""
    node = node_of(server)
    job = SshJob(node, Run("sleep 60 & sleep 60", timeout=0.5), critical=False)
    look = CallJob(lambda: [command_line(pid) for pid in server.commands()], after=job)
    with node:
        Engine(job, look).orchestrate()
    assert not any(b"sleep\x0060" in line for line in look.result())


@pytest.mark.parametrize("pty", [False, True])
@pytest.mark.parametrize(
    "line", ["sleep {ours} | sleep {ours}", "trap '' TERM; sleep {ours}; sleep {ours}"]
)
def test_what_sudo_runs_is_ended_by_who_may(sudoer: SshNode, line: str, pty: bool) -> None:
    # As what runs as root is not told by its environment, a number that nobody else sleeps for.
    ours = f"61616{os.getpid()}"
    line = line.format(ours=ours)
    job = SshJob(sudoer, Run(line, sudo=Secret(PASSWORD), pty=pty), forever=True)

    def sleeping() -> bool:
        return any(ours.encode() in command_line(pid) for pid in pids())

    assert Engine(job, once(sleeping)).orchestrate()
    wait_until(lambda: not sleeping(), 30, "what sudo runs to end")


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_lost_link_ends_the_command_as_well(server: Sshd) -> None:
    job = SshJob(node_of(server), "sleep 60", critical=False)

    cut = Sequence(once(server.commands), CallJob(server.kill_sessions))
    assert Engine(job, cut).orchestrate()
    assert "it may still run there" in str(job.raised_exception())
    wait_until(lambda: not server.commands(), 30, "the watchdog to end it")


PROGRAM = """
from engine import Engine
from sshjobs import LocalNode, SshJob
Engine(SshJob(LocalNode(), "sleep 60; true")).orchestrate()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_this_program_ends_local_commands(number: signal.Signals) -> None:
    mark = f"LOCAL={os.urandom(4).hex()}"
    name, value = mark.split("=")

    def commands() -> list[int]:
        return [pid for pid in others(mark) if b"sleep\x0060\0" in command_line(pid)]

    program = [sys.executable, "-c", PROGRAM]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(program, env=os.environ | {name: value}, stderr=quiet) as child:
        wait_until(commands, 30, "the command to run")
        child.send_signal(number)
        child.wait(30)
    wait_until(lambda: not others(mark), 30, "the command to end")


def test_local_commands_end_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"LOCAL={os.urandom(4).hex()}"
    monkeypatch.setenv(*mark.split("="))
    end_in_the_middle(LocalNode(), COMMANDS, lambda: others(mark))


@pytest.mark.parametrize("pty", [False, True])
def test_who_is_cancelled_as_he_starts_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, pty: bool
) -> None:
    mark = f"LOCAL={os.urandom(4).hex()}"
    monkeypatch.setenv(*mark.split("="))

    async def cancelled_after(turns: int) -> None:
        engine = Engine(SshJob(LocalNode(), Run("sleep 60", pty=pty)))
        running = asyncio.create_task(engine.corun())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])

    for turns in range(40):
        run(cancelled_after(turns))
    wait_until(lambda: not others(mark), 30, "all to end")


def others(mark: str) -> list[int]:
    return [process.pid for process in marked(mark) if process.pid != os.getpid()]


def test_who_ignores_term_is_killed_here_too() -> None:
    job = SshJob(LocalNode(), [Run("trap '' TERM; echo $$; sleep 60; sleep 61", timeout=0.5)])
    start = time.monotonic()
    assert not Engine(job).orchestrate()
    assert 2 < time.monotonic() - start < 30


def test_cancelling_twice_leaves_the_rest_to_the_shutdown(
    server: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine with no patience abandons the job; its command ends in coshutdown() then."""
    caplog.set_level(logging.ERROR)
    job = SshJob(node_of(server), STUBBORN, forever=True)

    Engine(job, once(server.commands), cancel_grace=0.1).orchestrate()
    wait_until(lambda: not server.commands(), 30, "the command to end")


def test_a_cut_before_the_script_has_gone_over(
    server: Sshd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Cut(RemoteProcess):
        def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
            asyncio.get_running_loop().call_soon(self.cut)
            super().connection_made(chan)

    monkeypatch.setattr("sshjobs.session.RemoteProcess", Cut)
    job = SshJob(node_of(server), Run("echo begun", env={"A": "b"}), critical=False)
    Engine(job).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, SshError)
    assert error.completed is None or error.completed.stdout == ""
    assert "Exception in callback" not in caplog.text
