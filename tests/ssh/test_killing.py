"""Whatever ends a job ends what it runs, on the other side and here, as a whole."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import CallJob, Engine, Job, Sequence
from sshjobs import LocalNode, Run, SshJob, SshNode
from tests.processes import marked, wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

TOGETHER = 20


@pytest.fixture(params=["root", "plain"])
def server(request: pytest.FixtureRequest) -> Iterator[Sshd]:
    with Sshd(plain=request.param == "plain") as server:
        yield server


COMMANDS = {
    "a program": Run(["sleep", "60"]),
    "a line": Run("sleep 60; true"),
    "a pipeline": Run("sleep 60 | sleep 61 | cat"),
    "a background child": Run("sleep 60 & sleep 61"),
    "a group of its own": Run("timeout 60 sleep 61; true"),
    "with input": Run("cat; sleep 60", input="x"),
    "with environment": Run("sleep 60", env={"A": "b"}),
}
STUBBORN = Run("trap '' TERM HUP INT; while :; do sleep 60; done")


def once(there: Callable[[], object]) -> Sequence:
    """Jobs that are over once something is there, and has had a moment to become what it will be.

    The moment is the shell's, to become the program.
    """
    return Sequence(CallJob(wait_until, there, 10, "the command to run"), Job(asyncio.sleep, 0.1))


def end_in_the_middle(node: SshNode | LocalNode, command: Run, there: Callable[[], int]) -> float:
    """Cancel a job once its command runs; return the seconds until nothing of it is left."""
    job = SshJob(node, command, forever=True)
    assert Engine(job, once(there)).orchestrate()
    start = time.monotonic()
    wait_until(lambda: there() == 0, 10, "the processes to end")
    return time.monotonic() - start


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_the_end_of_a_run_ends_commands(server: Sshd, command: Run, first: bool) -> None:
    node = node_of(server)
    with node:
        if not first:
            assert Engine(SshJob(node, "true")).orchestrate()
        assert end_in_the_middle(node, command, lambda: len(server.commands())) < 1


def test_who_ignores_term_is_killed(server: Sshd) -> None:
    start = time.monotonic()
    end_in_the_middle(node_of(server), STUBBORN, lambda: len(server.commands()))
    assert 2 < time.monotonic() - start < 5


def test_who_cleans_up_on_term_has_the_time(server: Sshd, tmp_path: Path) -> None:
    said = Path(server.home, "said") if server.username == "plain" else tmp_path / "said"
    command = Run(["sh", "-c", f"trap 'sleep 1; echo bye >{said}; exit 3' TERM; sleep 60 & wait"])
    end_in_the_middle(node_of(server), command, lambda: len(server.commands()))
    assert said.read_text() == "bye\n"


def test_a_timeout_ends_a_command(server: Sshd) -> None:
    node = node_of(server)
    jobs = [
        SshJob(node, Run("sleep 60", timeout=0.5), critical=False),
        SshJob(node, "sleep 61", timeout=0.5, critical=False),
    ]
    with node:
        Engine(*jobs).orchestrate()
        wait_until(lambda: not server.commands(), 5, "the commands to end")


def test_sessions_come_back(server: Sshd) -> None:
    # More than the server would hold at once, so each must have been given back.
    node = node_of(server)
    jobs = [SshJob(node, Run("sleep 60", timeout=0.3), critical=False) for _ in range(TOGETHER)]
    with node:
        Engine(*jobs).orchestrate()
        assert all(isinstance(job.raised_exception(), TimeoutError) for job in jobs)
        assert Engine(*(SshJob(node, "true") for _ in range(TOGETHER))).orchestrate()
        wait_until(lambda: not server.commands(), 5, "the commands to end")


def test_a_terminal_is_hung_up(server: Sshd) -> None:
    command = Run("sleep 60; true", pty=True)
    end_in_the_middle(node_of(server), command, lambda: len(server.commands()))


def test_a_job_is_over_once_its_command_is(server: Sshd) -> None:
    """The cancelled job waits for the end over there: what comes after it can rely on that."""
    node = node_of(server)
    job = SshJob(node, Run("sleep 60 & sleep 60", timeout=0.5), critical=False)
    look = CallJob(lambda: [command_line(pid) for pid in server.commands()], after=job)
    with node:
        Engine(job, look).orchestrate()
    assert not any(b"sleep\x0060" in line for line in look.result())


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_if_the_link_is_gone_it_may_still_run(
    server: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    job = SshJob(node_of(server), "sleep 60", forever=True)

    Engine(job, Sequence(once(server.commands), CallJob(server.freeze_sessions))).orchestrate()
    server.thaw_sessions()
    assert "it may still run there" in caplog.text
    wait_until(lambda: not server.commands(), 10, "the watchdog, which hears of it now")


def test_a_lost_link_ends_the_command_as_well(server: Sshd) -> None:
    job = SshJob(node_of(server), "sleep 60", critical=False)

    cut = Sequence(once(server.commands), CallJob(server.kill_sessions))
    assert Engine(job, cut).orchestrate()
    assert "it may still run there" in str(job.raised_exception())
    wait_until(lambda: not server.commands(), 10, "the watchdog to end it")


PROGRAM = """
import sys
from engine import Engine
from sshjobs import LocalNode, SshJob, SshNode
{node}
Engine(SshJob(node, "echo on >&2; exec sleep 60")).orchestrate()
"""


def program(node: str, mark: str) -> subprocess.Popen[bytes]:
    code = textwrap.dedent(PROGRAM).format(node=node)
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"MARK": mark})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["ssh", "local"])
def test_the_end_of_this_program_ends_commands(
    server: Sshd, kind: str, number: signal.Signals
) -> None:
    node = (
        f"node = SshNode({server.host!r}, port={server.port}, username={server.username!r}, "
        f"keys={str(server.key)!r}, known_hosts={str(server.known_hosts)!r}, config=None)"
        if kind == "ssh"
        else "node = LocalNode()"
    )
    mark = f"{os.getpid()}-{kind}-{number}-{server.username}"

    def commands() -> list[int]:
        if kind == "ssh":
            return server.commands()
        found = [process.pid for process in marked(f"MARK={mark}")]
        return [pid for pid in found if b"sleep" in command_line(pid)]

    with program(node, mark) as child:
        wait_until(commands, 10, "the command to run")
        child.send_signal(number)
        child.wait(10)
    wait_until(lambda: not commands(), 5, "the command to end")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_local_commands_end_likewise(command: Run) -> None:
    mark = f"LOCAL={os.urandom(4).hex()}"
    name, value = mark.split("=")
    os.environ[name] = value
    try:
        end_in_the_middle(LocalNode(), command, lambda: len(others(mark)))
    finally:
        del os.environ[name]


def others(mark: str) -> list[int]:
    return [process.pid for process in marked(mark) if process.pid != os.getpid()]


def test_who_ignores_term_is_killed_here_too() -> None:
    job = SshJob(LocalNode(), [Run("trap '' TERM; echo $$; sleep 60; sleep 61", timeout=0.5)])
    start = time.monotonic()
    assert not Engine(job).orchestrate()
    assert 2 < time.monotonic() - start < 5


def test_cancelling_twice_leaves_the_rest_to_the_shutdown(
    server: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine with no patience abandons the job; its command ends in coshutdown() then."""
    caplog.set_level(logging.ERROR)
    job = SshJob(node_of(server), STUBBORN, forever=True)

    Engine(job, once(server.commands), cancel_grace=0.1).orchestrate()
    wait_until(lambda: not server.commands(), 4, "the command to end")
