"""What goes wrong in a fleet on demand: the servers do it, and our side notices what it should."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from engine import BadOption, CallJob, Engine, Job, Sequence, run
from sshjobs import (
    CommandFailed,
    ConnectionLost,
    Pull,
    Push,
    Run,
    SshJob,
    SshNode,
    SshTimeout,
    TransferFailed,
    Unreachable,
)
from sshjobs.faults import Fault
from sshjobs.sandbox import Fleet
from tests.processes import is_alive, wait_until

IMPATIENT: dict[str, Any] = {"keepalive": 0.5, "connect_timeout": 4, "login_timeout": 4}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Three nodes that find out soon when they are not answered."""
    with Fleet(3, **IMPATIENT) as fleet:
        yield fleet


@pytest.fixture
def node(fleet: Fleet) -> SshNode:
    """One of them."""
    return fleet.nodes[0]


def said(node: SshNode, command: str = "echo fine", **options: Any) -> str:
    """What a command says, which goes well; tried again, as a machine that stalls delays logins."""
    job = SshJob(node, command, retry=3, **options)
    engine = Engine(job)
    assert engine.orchestrate(timeout=60), engine.why()
    return str(job.result().stdout).strip()


def failure(node: SshNode, *commands: Any) -> BaseException | None:
    """The error of a job, which does not go well."""
    job = SshJob(node, commands or "echo fine")
    assert not Engine(job).orchestrate(timeout=60)
    return job.exception()


def hit(node: SshNode, cause: Callable[[], object]) -> tuple[BaseException | None, int]:
    """The error of a command under which something goes wrong, and its pid."""

    async def strike() -> None:
        cause()

    command = SshJob(
        node, "echo up $$; exec sleep 100", label="hit", forever=True, ready="up", timeout=20
    )
    fault = Job(strike, required=command)
    patience = Job(asyncio.sleep, 100, required=fault)
    Engine(command, fault, patience).orchestrate(timeout=60)
    assert fault.result() is None
    error = command.exception()
    completed = getattr(error, "completed", None)
    return error, int(completed.stdout.split()[1]) if completed else 0


def test_a_cut_ends_what_runs_and_the_next_command_connects_anew(
    fleet: Fleet, node: SshNode
) -> None:
    error, pid = hit(node, lambda: fleet.drop(node))
    assert isinstance(error, ConnectionLost)
    assert "may still run" in str(error)
    assert said(node) == "fine"
    wait_until(lambda: not is_alive(pid), 30, "the watchdog")


def test_a_gateway_takes_all_that_goes_through_it_along(fleet: Fleet, node: SshNode) -> None:
    assert fleet.gateway is not None
    gateway = fleet.gateway
    error, _ = hit(node, lambda: fleet.drop(gateway))
    assert isinstance(error, ConnectionLost)
    with fleet.freeze(gateway):
        frozen = failure(node)
    assert isinstance(frozen, SshTimeout)
    assert (frozen.phase, frozen.hop) == ("login", gateway)


def test_a_frozen_node_is_noticed_by_those_who_are_there_and_by_nobody_else(
    fleet: Fleet, node: SshNode
) -> None:
    faults: list[Fault] = []
    with fleet.nodes[1] as other:
        error, _ = hit(node, lambda: faults.append(fleet.freeze(node)))
        assert isinstance(error, ConnectionLost)
        assert said(other) == "fine"
        newcomer = failure(node)
        assert isinstance(newcomer, SshTimeout)
        assert newcomer.phase == "login"
    faults[0].end()
    assert said(node) == "fine"


def test_a_short_freeze_loses_nothing(fleet: Fleet, node: SshNode) -> None:
    async def freeze() -> None:
        with fleet.freeze(node):
            await asyncio.sleep(0.3)

    patient = SshNode(node.hostname, gateway=node.gateway, config=fleet.config)
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); echo $i; done; cat"
    count = SshJob(patient, Run(script, input=b"x" * 500_000, capture=True))
    start = time.monotonic()
    assert Engine(count, Job(freeze)).orchestrate(timeout=60)
    assert count.result().stdout == "".join(f"{i}\n" for i in range(1, 20001)) + "x" * 500_000
    assert time.monotonic() - start > 0.3


def test_a_server_that_refuses_keeps_the_connections_it_has(fleet: Fleet, node: SshNode) -> None:
    with node:
        with fleet.refuse(node):
            assert said(node) == "fine"
            fleet.drop(node)
            error = failure(node)
        assert isinstance(error, Unreachable)
        assert str(error).endswith("the gateway cannot reach it: Connection refused")
        assert said(node) == "fine"


def test_an_unplugged_host_does_not_even_answer_connects() -> None:
    with Fleet(1, gateway=False, **IMPATIENT) as fleet:
        (node,) = fleet.nodes
        with fleet.unplug(node):
            error = failure(node)
        assert isinstance(error, SshTimeout)
        assert error.phase == "connect"
        faults: list[Fault] = []
        error, _ = hit(node, lambda: faults.append(fleet.unplug(node)))
        assert isinstance(error, ConnectionLost)
        # Who is trying gets through once the cable is back: TCP sends its packets again.
        patient = SshNode("node1", config=fleet.config)
        job = SshJob(patient, "echo fine")
        back = Sequence(Job(asyncio.sleep, 0.2), CallJob(faults[0].end))
        assert Engine(job, back).orchestrate(timeout=60)


def test_a_slow_way_takes_its_time(fleet: Fleet, node: SshNode, tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "data").write_bytes(data)
    patient = SshNode(node.hostname, gateway=node.gateway, config=fleet.config)
    with patient:
        start = time.monotonic()
        with fleet.slow(node, latency=0.1):
            assert said(patient) == "fine"
        assert time.monotonic() - start >= 0.2
        start = time.monotonic()
        with fleet.slow(node, bandwidth=400_000):
            there_and_back = SshJob(
                patient, [Push(tmp_path / "data", "data"), Pull("data", tmp_path / "back")]
            )
            assert Engine(there_and_back).orchestrate(timeout=60)
        assert time.monotonic() - start >= 1
        assert (tmp_path / "back").read_bytes() == data
    with fleet.slow(node, latency=60):
        error = failure(node)
    assert isinstance(error, SshTimeout)
    assert said(node) == "fine"


def test_nothing_can_be_written_to_a_full_disk(fleet: Fleet, node: SshNode, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(100_000))
    home = fleet.home(node)
    before = sorted(home.iterdir())
    with fleet.fill(node):
        error = failure(node, Push(tmp_path / "data", "copy"))
        assert isinstance(error, TransferFailed)
        assert "copy: No space left" in str(error)
        for pty in False, True:
            error = failure(node, Run("echo some | tee words", pty=pty))
            assert isinstance(error, CommandFailed)
            assert "File too large" in str(error)
        assert said(node, "echo fine; cat /dev/null > nothing; rm -f words nothing") == "fine"
        assert said(fleet.nodes[1], "echo some > words; cat words") == "some"
    assert sorted(home.iterdir()) == before
    assert said(node, "echo some > words; cat words; rm words") == "some"


def test_a_node_that_is_switched_off_can_be_waited_for(fleet: Fleet, node: SshNode) -> None:
    faults: list[Fault] = []
    error, _ = hit(node, lambda: faults.append(fleet.power_off(node)))
    assert isinstance(error, ConnectionLost)
    up = node.wait_up(timeout=20)
    boot = Sequence(Job(asyncio.sleep, 0.2), CallJob(faults[0].end))
    assert Engine(up, boot, SshJob(node, "true", required=up)).orchestrate(timeout=60)


def test_who_is_switched_off_runs_nothing(fleet: Fleet) -> None:
    assert fleet.gateway is not None
    gateway = fleet.gateway

    async def main() -> None:
        # A client that leaves no watchdog there.
        async with asyncssh.connect("gateway", config=str(fleet.config)) as client:
            process = await client.create_process("echo $$; setsid sleep 97 & echo $!; sleep 100")
            pids = [int(await process.stdout.readline()) for _ in range(2)]
            assert all(map(is_alive, pids))
            fleet.power_off(gateway)
            wait_until(lambda: not any(map(is_alive, pids)), 30, "all to be killed")

    asyncio.run(main())


def test_faults_add_up(fleet: Fleet, node: SshNode) -> None:
    first, second = fleet.refuse(node, fleet.nodes[1]), fleet.refuse(node)
    first.end()
    first.end()
    assert isinstance(failure(node), Unreachable)
    assert said(fleet.nodes[1]) == "fine"
    second.end()
    assert said(node) == "fine"
    assert [repr(fault) for fault in (first, second)] == [
        "<Fault refuse node1, node2, ended>",
        "<Fault refuse node1, ended>",
    ]


def test_faults_come_from_any_thread_and_loop(fleet: Fleet, node: SshNode) -> None:
    async def inside() -> None:
        with fleet.refuse(node):
            await asyncio.sleep(0)
        fleet.drop(node)

    run(inside())
    asyncio.run(inside())
    thread = threading.Thread(target=lambda: fleet.refuse(node).end())
    thread.start()
    thread.join()
    assert said(node) == "fine"


def test_faults_end_with_the_fleet(node: SshNode) -> None:
    fleet = Fleet(2, **IMPATIENT)
    with fleet:
        first, second = fleet.nodes
        faults: list[Fault] = []
        error, _ = hit(first, lambda: faults.append(fleet.freeze(first)))
        assert isinstance(error, ConnectionLost)
        faults += [fleet.unplug(first), fleet.fill(first), fleet.refuse(second)]
    for fault in faults:
        fault.end()
    with fleet:
        assert said(fleet.nodes[0]) == "fine"


def test_a_node_of_another_fleet_is_told(fleet: Fleet, node: SshNode) -> None:
    with Fleet(1) as other:
        for call in fleet.drop, fleet.freeze, fleet.power_off, fleet.home:
            with pytest.raises(BadOption, match=r"node1.*none of this fleet"):
                call(other.nodes[0])
    stranger: Any = "node1"
    with pytest.raises(BadOption, match="none of this fleet: gateway, node1, node2, node3"):
        fleet.freeze(node, stranger)
    with pytest.raises(BadOption, match="one node, or more"):
        fleet.refuse()
    with pytest.raises(BadOption, match="latency"):
        fleet.slow(node, latency=-1)
    with pytest.raises(BadOption, match="bandwidth"):
        fleet.slow(node, bandwidth=0)
    assert said(node) == "fine"


def test_a_fleet_that_does_not_run_has_no_faults(node: SshNode) -> None:
    fleet = Fleet(1)
    for call in fleet.drop, fleet.freeze:
        with pytest.raises(RuntimeError, match="not running"):
            call(node)


def test_options_of_the_nodes_are_checked_at_once() -> None:
    with pytest.raises(BadOption, match="keepalive"):
        Fleet(1, keepalive=-1)
    with pytest.raises(TypeError, match="config"):
        Fleet(1, config="mine")


def test_what_is_left_on_the_hosts_is_told(fleet: Fleet, node: SshNode) -> None:
    assert fleet.leftovers() == []
    with node:
        pid = said(node, "setsid sleep 98.7 >/dev/null 2>&1 & echo $!")
        left = ["gateway: an open connection", "node1: an open connection"]
        left.append(f"node1: process {pid}: sleep 98.7")
        wait_until(lambda: fleet.leftovers() == left, 30, "the sleep, and nothing else")
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: not fleet.leftovers(), 30, "the hosts to be clean")


def test_there_are_ten_sessions_as_on_a_stock_server(fleet: Fleet) -> None:
    async def main() -> None:
        async with asyncssh.connect("gateway", config=str(fleet.config)) as client:
            first = [await client.create_process("cat") for _ in range(10)]
            with pytest.raises(asyncssh.ChannelOpenError) as refusal:
                await client.create_process("cat")
            assert refusal.value.code == asyncssh.OPEN_CONNECT_FAILED
            first[0].stdin.write_eof()
            await first[0].wait_closed()
            for _ in range(100):  # as there, it takes the server a moment to free the place
                with suppress(asyncssh.ChannelOpenError):
                    await client.run("true", check=True)
                    return
                await asyncio.sleep(0.01)
            pytest.fail("the place was not freed")

    asyncio.run(main())


def test_newcomers_are_dropped_as_by_a_stock_server(fleet: Fleet) -> None:
    port = int(fleet.config.read_text().split("Port ")[1].split()[0])
    newcomers: list[socket.socket] = []

    def is_let_in() -> bool:
        newcomers.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        try:
            return newcomers[-1].recv(4) == b"SSH-"
        except ConnectionResetError:
            return False

    try:
        assert all(is_let_in() for _ in range(10))
        assert not all(is_let_in() for _ in range(60))
        assert any(is_let_in() for _ in range(60))
    finally:
        for each in newcomers:
            each.close()
    wait_until(lambda: not fleet.leftovers(), 30, "the server to notice")
    assert said(fleet.nodes[0]) == "fine"


def test_who_comes_when_no_descriptor_is_left_is_served_later() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Fleet(1, gateway=False) as fleet, socket.socket() as client:
        port = int(fleet.config.read_text().split("Port ")[1].split()[0])
        client.settimeout(20)
        next_one = os.dup(client.fileno())
        os.close(next_one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
        try:
            client.connect(("127.0.0.1", port))
            time.sleep(0.2)  # it is a failure to do something that there is no event for
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert client.recv(4) == b"SSH-"
