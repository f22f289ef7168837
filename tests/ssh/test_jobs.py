"""SshJob: what it takes, what it tells a run, readiness, waiting for hosts and reboots."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from engine import (
    BadOption,
    Engine,
    Job,
    JobOutput,
    JobProgress,
    JobReady,
    JobRow,
    RunStarted,
    State,
    Tick,
)
from sshjobs import (
    AuthFailed,
    CommandFailed,
    ConnectionLost,
    LocalNode,
    Run,
    Secret,
    SshJob,
    SshNode,
    SshTimeout,
    Unreachable,
)
from tests.ssh.conftest import node_of
from tests.sshd import Sshd


def ticks_of(*jobs: Any, ok: bool = True) -> list[Tick]:
    queue: SimpleQueue[Tick] = SimpleQueue()
    assert Engine(*jobs, message_queue=queue).orchestrate() is ok
    return [queue.get() for _ in range(queue.qsize())]


@pytest.mark.parametrize(
    ("commands", "advice"),
    [
        (["ls", "-l"], r"Run\(\[...\]\)"),
        (["ls"], r"Run\(\[...\]\)"),
        ([Run("a"), "b"], r"Run\(...\)"),
        ([], "no commands"),
        (3, "shell line, or a Run"),
        (None, "shell line, or a Run"),
        ("", "empty command"),
    ],
)
def test_what_is_no_command_is_refused(commands: Any, advice: str) -> None:
    with pytest.raises(BadOption, match=advice):
        SshJob(LocalNode(), commands)


@pytest.mark.parametrize("node", ["fit01", None, 3])
def test_what_is_no_node_is_refused(node: Any) -> None:
    with pytest.raises(BadOption, match="give an SshNode or a LocalNode"):
        SshJob(node, "true")


@pytest.mark.parametrize("ready", ["(", 0, 65536, True, 1.5])
def test_what_tells_of_nothing_is_refused(ready: Any) -> None:
    with pytest.raises(BadOption, match="ready="):
        SshJob(LocalNode(), "true", ready=ready)


def test_a_job_says_what_it_does_where() -> None:
    job = SshJob(SshNode("root@fit01"), [Run("ls | wc"), Run(["echo", Secret("canary")])])
    assert job.label == "fit01: ls | wc; echo ***"
    assert job.host == "fit01"
    assert job.details() == "ls | wc; echo ***"
    assert SshJob(SshNode("fit01"), "ls", label="mine").label == "mine"


def test_a_run_is_told_of_each_line(node: SshNode) -> None:
    line = r"echo one; echo two >&2; printf 'half'; sleep 0.1; printf ' a line\nlast'"
    events = ticks_of(SshJob(node, [Run(line), Run("true", label="nothing")], label="talk"))
    told = [(tick.stream, tick.text) for tick in events if isinstance(tick, JobOutput)]
    assert [text for stream, text in told if stream == "stdout"] == ["one", "half a line", "last"]
    assert [text for stream, text in told if stream == "stderr"] == ["two"]
    (start,) = (tick for tick in events if isinstance(tick, RunStarted))
    assert isinstance(start.jobs[0], JobRow)
    assert start.jobs[0].host == "127.0.0.1"
    progress = [tick.message for tick in events if isinstance(tick, JobProgress)]
    assert len(progress) == 2
    assert progress[1] == "nothing"


def test_a_line_may_come_in_pieces_and_without_an_end(node: SshNode) -> None:
    line = r"printf 'a\303'; sleep 0.1; printf '\251b\n'; head -c 200000 /dev/zero | tr '\0' x"
    events = ticks_of(SshJob(node, line))
    texts = [tick.text for tick in events if isinstance(tick, JobOutput)]
    assert texts[0] == "aéb"
    assert "".join(texts[1:]) == "x" * 200_000
    assert max(map(len, texts)) < 150_000


def test_a_server_is_ready_when_it_says_so(node: SshNode) -> None:
    server = SshJob(
        node,
        "echo starting; sleep 0.3; printf 'now listening on 5201'; exec sleep 60",
        forever=True,
        ready=r"listening on \d+",
        label="server",
    )
    client = SshJob(node, "true", required=server, label="client")
    start = time.monotonic()
    events = ticks_of(server, client)
    assert [tick.job for tick in events if isinstance(tick, JobReady)] == ["1"]
    assert 0.3 < time.monotonic() - start < 40
    assert server.state is State.CANCELLED


def test_a_pattern_may_be_compiled(node: SshNode) -> None:
    server = SshJob(
        node, "echo UP; sleep 60", forever=True, ready=re.compile("^up$", re.IGNORECASE)
    )
    assert Engine(server, SshJob(node, "true", required=server)).orchestrate()


@pytest.mark.parametrize("kind", ["ssh", "local"])
def test_a_server_is_ready_when_its_port_is_open(kind: str, server: Sshd) -> None:
    node = LocalNode() if kind == "local" else node_of(server)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = f"import socket,time; time.sleep(.3); s=socket.create_server(('127.0.0.1',{port}));"
    command = Run(["python3", "-c", f"{program} time.sleep(60)"])
    job = SshJob(node, command, forever=True, ready=port)
    start = time.monotonic()
    assert Engine(job, SshJob(node, "true", required=job)).orchestrate()
    assert time.monotonic() - start > 0.3


def test_a_server_that_ends_before_it_is_ready_helps_nobody(node: SshNode) -> None:
    server = SshJob(node, "echo no", forever=True, ready="yes")
    client = SshJob(node, "true", required=server)
    assert not Engine(server, client).orchestrate()
    assert client.state is State.SKIPPED


def test_a_port_that_may_not_be_tried_is_an_error() -> None:
    with Sshd(AllowTcpForwarding="no") as closed:
        node = node_of(closed)
        job = SshJob(node, "sleep 60", forever=True, ready=1)
        assert not Engine(job, SshJob(node, "true", required=job)).orchestrate()
        assert "AllowTcpForwarding" in str(job.raised_exception())


def test_results_are_those_of_the_last_run(node: SshNode) -> None:
    job = SshJob(node, [Run("echo 1"), Run("echo 2")])
    engine = Engine(job)
    for _ in range(2):
        assert engine.orchestrate()
        assert [done.stdout for done in job.results] == ["1\n", "2\n"]
        assert job.result() is job.results[-1]


def test_a_job_is_retried_on_the_same_connection() -> None:
    with Sshd() as server:
        line = 'n=$(cat count); echo $((n + 1)) >count; test "$n" = 2'
        job = SshJob(node_of(server), Run(line, cwd=server.folder), retry=5)
        (server.folder / "count").write_text("0")
        assert Engine(job).orchestrate()
        assert len(job.results) == 1
        assert server.logins() == 1


def test_a_reboot_that_cuts_the_connection_is_a_success() -> None:
    with Sshd() as server:
        node = node_of(server)
        # What takes sshd's session down with it, as a machine that goes down does.
        reboot = SshJob(node, "kill -9 $PPID; sleep 60", expect_disconnect=True)
        assert Engine(reboot).orchestrate()
        assert reboot.result().exit_status is None
        lost = SshJob(node, "kill -9 $PPID; sleep 60")
        assert not Engine(lost).orchestrate()
        assert isinstance(lost.raised_exception(), ConnectionLost)


def test_a_reboot_may_also_end_by_itself_or_fail(node: SshNode) -> None:
    assert Engine(SshJob(node, "true", expect_disconnect=True)).orchestrate()
    failed = SshJob(node, "exit 1", expect_disconnect=True)
    assert not Engine(failed).orchestrate()
    assert isinstance(failed.raised_exception(), CommandFailed)


@pytest.fixture
def own_server() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


def test_wait_for_a_host_to_come_up(own_server: Sshd) -> None:
    own_server.kill_listener()
    node = node_of(own_server)
    waiting = node.wait_up(timeout=60)
    then = SshJob(node, "echo hello", required=waiting)

    async def come_back() -> None:
        await asyncio.sleep(0.7)
        # In this thread: the server ends with the thread that started it.
        own_server.restart()

    assert Engine(waiting, then, Job(come_back)).orchestrate()
    assert then.result().stdout == "hello\n"
    assert waiting.label == "127.0.0.1: wait until it is up"


def test_waiting_has_a_bound_and_tells_why(own_server: Sshd) -> None:
    own_server.kill_listener()
    waiting = node_of(own_server).wait_up(timeout=1)
    assert not Engine(waiting).orchestrate()
    error = waiting.raised_exception()
    assert isinstance(error, SshTimeout)
    assert "connection refused" in str(error)
    assert isinstance(error.__cause__, Unreachable)


def test_waiting_does_not_go_on_where_it_is_of_no_use(server: Sshd) -> None:
    waiting = node_of(server, keys=[]).wait_up()
    assert not Engine(waiting).orchestrate()
    assert isinstance(waiting.raised_exception(), AuthFailed)
