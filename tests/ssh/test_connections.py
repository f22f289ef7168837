"""Connections: shared, counted, reopened, closed in order; and the errors when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import CallJob, Engine, Job, Sequence, run
from sshjobs import (
    AuthFailed,
    ConnectionLost,
    HostKeyUnknown,
    Push,
    Run,
    SshError,
    SshJob,
    SshNode,
    SshTimeout,
    Unreachable,
    slots,
)
from sshjobs.pool import pool
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd


@pytest.fixture
def own() -> Iterator[Sshd]:
    """A server that nobody else uses, to count on."""
    with Sshd(plain=True) as server:
        yield server


@pytest.fixture
def gateway() -> Iterator[Sshd]:
    with Sshd(plain=True) as server:
        yield server


def why_not(node: SshNode, *more: SshJob) -> SshError:
    job = SshJob(node, "true", critical=False)
    Engine(job, *more).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, SshError), error
    return error


def test_jobs_of_a_node_share_a_connection_and_close_it(own: Sshd) -> None:
    # Equal nodes, not the same one.
    jobs = [SshJob(node_of(own), "true") for _ in range(30)]
    assert Engine(*jobs).orchestrate()
    assert own.logins() == 1
    wait_until(lambda: own.connections() == 0, 30, "the connection to close")
    assert len(run(pools())) == 0


async def pools() -> Any:
    return pool()


def test_a_job_holds_the_connection_until_the_run_is_over(own: Sshd) -> None:
    node = node_of(own)
    first, last = SshJob(node, "true"), SshJob(node, "true")
    between = CallJob(time.sleep, 0.2)
    assert Engine(Sequence(first, between, last)).orchestrate()
    assert own.logins() == 1


def test_nothing_is_opened_before_it_is_needed(own: Sshd) -> None:
    job = SshJob(node_of(own), "true")
    failing = SshJob(node_of(own, port=1), "true", critical=False)
    skipped = SshJob(node_of(own), "true", required=failing, critical=False)
    Engine(failing, skipped).orchestrate()
    assert own.logins() == 0
    assert Engine(job).orchestrate()


@pytest.mark.parametrize("how", ["with", "async with"])
def test_a_node_can_be_kept_open_across_runs(own: Sshd, how: str) -> None:
    node = node_of(own)

    def once() -> None:
        assert Engine(SshJob(node, "true")).orchestrate()

    async def main() -> None:
        async with node:
            assert own.logins() == 1
            for _ in range(2):
                await Engine(SshJob(node, "true")).corun()
            assert own.connections() == 1

    if how == "with":
        with node:
            once()
            once()
            assert own.connections() == 1
    else:
        run(main())
    assert own.logins() == 1
    wait_until(lambda: own.connections() == 0, 30, "the connection to close")


def test_a_node_that_cannot_be_reached_is_told_when_it_is_entered(own: Sshd) -> None:
    with pytest.raises(Unreachable), node_of(own, port=1):
        pytest.fail("there is nothing to enter")


def test_a_node_that_was_not_entered_cannot_be_left(own: Sshd) -> None:
    node = node_of(own)
    with node:
        pass
    with pytest.raises(RuntimeError, match="left more often than entered"):
        node.__exit__(None, None, None)


def test_leases_nest(own: Sshd) -> None:
    node = node_of(own)
    with node:
        with node:
            assert own.connections() == 1
        assert Engine(SshJob(node, "true")).orchestrate()
    assert own.logins() == 1


def test_threads_have_connections_of_their_own(own: Sshd) -> None:
    node = node_of(own)
    results: list[bool] = []

    def work() -> None:
        results.append(Engine(SshJob(node, "sleep 0.3")).orchestrate())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 3
    assert own.logins() == 3


def test_a_gateway_is_shared_and_closed_last(
    own: Sshd, gateway: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sshjobs")
    between = node_of(gateway)
    nodes = [node_of(own, gateway=between, keepalive=10 + n) for n in range(5)]
    jobs = [SshJob(node, "echo hello") for node in nodes for _ in range(2)]
    here = SshJob(between, "true")
    assert Engine(*jobs, here).orchestrate()
    assert {job.result().stdout for job in jobs} == {"hello\n"}
    assert (own.logins(), gateway.logins()) == (5, 1)
    wait_until(lambda: own.connections() == gateway.connections() == 0, 30, "connections to close")
    closed = [record.getMessage() for record in caplog.records if "closed" in record.msg]
    assert len(closed) == 6
    assert closed[-1] == f"{between}: closed"


def test_a_gateway_that_is_lost_while_others_connect_through_it(own: Sshd, gateway: Sshd) -> None:
    """What lies behind is connected to once more: nothing has been sent there yet."""
    node = node_of(own, gateway=node_of(gateway))
    job = SshJob(node, "true")
    os.kill(own.pid, signal.SIGSTOP)

    def is_reached() -> bool:
        links = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return any(link.split()[2].endswith(f":{own.port:04X}") for link in links)

    def lose() -> None:
        wait_until(is_reached, 30, "the way through")
        gateway.kill_sessions()
        wait_until(lambda: gateway.logins() == 2, 30, "the next one")
        os.kill(own.pid, signal.SIGCONT)

    assert Engine(job, CallJob(lose)).orchestrate()


def test_who_waits_for_a_session_is_not_charged_for_connections_that_break(own: Sshd) -> None:
    node = node_of(own, max_sessions=2)
    losing = [SshJob(node, f"touch {own.room}/{name}; sleep 60", critical=False) for name in "abcd"]
    waiting = [SshJob(node, "true") for _ in range(8)]

    def lose() -> None:
        for name in "abcd":
            wait_until((own.room / name).exists, 30, "a command")
            own.kill_sessions()

    assert Engine(*losing, *waiting, CallJob(lose)).orchestrate()
    assert all(isinstance(job.raised_exception(), ConnectionLost) for job in losing)


def test_hop_by_hop(own: Sshd, gateway: Sshd, server: Sshd) -> None:
    node = node_of(own, gateway=node_of(gateway, gateway=node_of(server)))
    assert Engine(SshJob(node, "true")).orchestrate()
    wait_until(lambda: own.connections() == gateway.connections() == 0, 30, "connections to close")


def test_a_lost_connection_is_opened_anew_for_the_next_command(own: Sshd, gateway: Sshd) -> None:
    node = node_of(own, gateway=node_of(gateway))
    lost = SshJob(node, "echo first; sleep 60", critical=False)
    cut = CallJob(own.kill_sessions)
    wait = Sequence(CallJob(wait_until, own.commands, 30, "it"), Job(asyncio.sleep, 0.3))
    after = SshJob(node, "echo again", after=lost)
    assert Engine(lost, Sequence(wait, cut), after).orchestrate()
    error = lost.raised_exception()
    assert isinstance(error, ConnectionLost)
    assert error.completed is not None
    assert error.completed.stdout == "first\n"
    assert after.result().stdout == "again\n"
    assert (own.logins(), gateway.logins()) == (2, 1)


def test_a_gateway_that_is_lost_takes_all_behind_it(own: Sshd, gateway: Sshd) -> None:
    node = node_of(own, gateway=node_of(gateway))
    lost = SshJob(node, "sleep 60", critical=False)
    wait = CallJob(wait_until, own.commands, 30, "the command")
    after = SshJob(node, "echo again", after=lost)
    start = time.monotonic()
    cut = CallJob(gateway.kill_sessions)
    assert Engine(lost, Sequence(wait, cut), after).orchestrate()
    assert isinstance(lost.raised_exception(), ConnectionLost)
    assert time.monotonic() - start < 30  # no keepalive was needed
    assert (own.logins(), gateway.logins()) == (2, 2)


def test_a_connection_that_died_unseen_is_replaced(own: Sshd) -> None:
    """Who holds a dead connection may not know yet; the command is sent on a new one."""
    node = node_of(own)
    with node:
        assert Engine(SshJob(node, "true")).orchestrate()
        own.kill_sessions()
        # In one turn of the loop, before the loss has been noticed.
        assert Engine(SshJob(node, "echo hello")).orchestrate()
    assert own.logins() == 2


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    node = SshNode("127.0.0.1", port=port, config=None, known_hosts=[], connect_timeout=60)
    start = time.monotonic()
    error = why_not(node)
    assert isinstance(error, Unreachable)
    assert (error.node, error.hop, error.phase) == (node, None, "connect")
    assert f"127.0.0.1:{port}: no connection to port {port}: connection refused" in str(error)
    assert time.monotonic() - start < 30


def test_an_unknown_name(home: Path) -> None:
    error = why_not(SshNode("nowhere.invalid"))
    assert isinstance(error, Unreachable)
    assert "unknown name 'nowhere.invalid'" in str(error)


def test_a_name_that_cannot_be_looked_up_is_not_unknown() -> None:
    if subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0:
        pytest.skip("only root can do without the network")
    program = (
        "from engine import run; from sshjobs import SshNode\n"
        "run(SshNode('fit01.example.org', config=None).__aenter__())"
    )
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", program], capture_output=True, check=False
    )
    assert b"nobody answers who could look up the name 'fit01.example.org'" in done.stderr


@contextlib.contextmanager
def silent(*, answers: bytes = b"", full: bool = False) -> Iterator[int]:
    """A port that takes connections and says no more than `answers`; or that does not answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        if full:
            # What does not fit into the backlog gets no answer to its SYN.
            for _ in range(4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            yield port
            return
        taken: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    taken.append(link)
                    link.sendall(answers)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for link in taken:
                link.close()


def test_no_answer() -> None:
    with silent(full=True) as port:
        node = SshNode(f"127.0.0.1:{port}", config=None, keys=[], connect_timeout=0.5)
        start = time.monotonic()
        error = why_not(node)
        assert isinstance(error, SshTimeout)
        assert isinstance(error, TimeoutError)
        assert (error.phase, error.node) == ("connect", node)
        assert 0.4 < time.monotonic() - start < 15


@pytest.mark.parametrize(
    ("answers", "told"),
    [(b"", "did not speak ssh within"), (b"SSH-2.0-silent\r\n", "no login within")],
)
def test_an_answer_and_no_login(answers: bytes, told: str) -> None:
    with silent(answers=answers) as port:
        for seconds in (0.5, 5, 30):  # a machine that stalls may not have heard the answer so soon
            node = SshNode(f"127.0.0.1:{port}", config=None, keys=[], login_timeout=seconds)
            start = time.monotonic()
            error = why_not(node)
            assert isinstance(error, SshTimeout)
            assert error.phase == "login"
            assert seconds - 0.1 < time.monotonic() - start < seconds + 15
            if f"{told} {seconds} s" in str(error):
                return
        pytest.fail(f"not {told}: {error}")


def test_what_is_no_ssh_server() -> None:
    with silent(answers=b"HTTP/1.0 400 Bad Request\r\n" * 2000) as port:
        node = SshNode(f"127.0.0.1:{port}", config=None, keys=[], login_timeout=30)
        error = why_not(node)
        assert isinstance(error, Unreachable)
        assert "no ssh server" in str(error)


def test_an_error_at_the_gateway_names_it(own: Sshd, gateway: Sshd) -> None:
    unknown = node_of(gateway, known_hosts="/dev/null")
    refused = node_of(gateway, port=1)
    for between, kind in ((unknown, HostKeyUnknown), (refused, Unreachable)):
        node = node_of(own, gateway=between)
        error = why_not(node)
        assert isinstance(error, kind)
        assert (error.node, error.hop) == (node, between)
        assert f"{node} (at its gateway {between})" in str(error)


def test_what_the_gateway_cannot_reach(own: Sshd, gateway: Sshd) -> None:
    node = node_of(own, port=1, gateway=node_of(gateway))
    error = why_not(node)
    assert isinstance(error, Unreachable)
    assert (error.node, error.hop) == (node, node.gateway)
    with Sshd(AllowTcpForwarding="no") as closed:
        error = why_not(node_of(own, gateway=node_of(closed)))
        assert isinstance(error, Unreachable)
        assert "AllowTcpForwarding" in str(error)


def test_all_who_wait_get_an_error_of_their_own(own: Sshd) -> None:
    node = node_of(own, keys=[])
    jobs = [SshJob(node, "true", critical=False) for _ in range(5)]
    Engine(*jobs).orchestrate()
    errors = [job.raised_exception() for job in jobs]
    assert {type(error) for error in errors} == {AuthFailed}
    assert len({id(error) for error in errors}) == 5
    assert own.log.read_text().count("Connection from") == 1


def test_a_server_that_drops_newcomers_is_asked_again() -> None:
    """`MaxStartups` with one place: whoever comes second is dropped without a word."""
    with Sshd(plain=True, MaxStartups="1:100:1", LoginGraceTime=30) as server:
        # Someone who takes the place, and gives it back after a while.
        other = socket.create_connection((server.host, server.port))
        other.recv(100)
        timer = threading.Timer(1, other.close)
        timer.start()
        assert Engine(SshJob(node_of(server), "true")).orchestrate()
        timer.join()
        assert server.log.read_text().count("drop connection") >= 1


def test_a_server_that_only_drops_is_given_up() -> None:
    with (
        Sshd(plain=True, MaxStartups="1:100:1") as server,
        socket.create_connection((server.host, server.port)) as other,
    ):
        other.recv(100)
        start = time.monotonic()
        error = why_not(node_of(server, connect_timeout=1))
        assert isinstance(error, Unreachable)
        assert time.monotonic() - start < 30


def test_a_login_that_is_refused_is_not_tried_again(own: Sshd) -> None:
    with Sshd() as stranger:
        why_not(node_of(own, keys=stranger.key))
    assert own.log.read_text().count("Connection from") == 1


def test_sessions_are_queued(own: Sshd) -> None:
    node = node_of(own, max_sessions=3)
    jobs = [SshJob(node, "sleep 0.1; echo $$") for _ in range(12)]
    assert Engine(*jobs).orchestrate()
    assert len({job.result().stdout for job in jobs}) == 12


def test_a_server_that_takes_fewer_sessions_than_it_says_is_asked_again() -> None:
    with Sshd(plain=True, MaxSessions=2) as server:
        jobs = [SshJob(node_of(server), "sleep 0.1; echo $$") for _ in range(12)]
        assert Engine(*jobs).orchestrate()


def test_a_server_without_sessions_is_an_error() -> None:
    with Sshd(plain=True, MaxSessions=0) as server:
        error = why_not(node_of(server))
        assert "no session" in str(error)
        assert "(MaxSessions); give the node fewer max_sessions=" in str(error)


def test_who_is_refused_waits_for_nobody_who_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that transfers share stays open, and here there is no other."""
    monkeypatch.setattr(slots, "REFUSALS", 5)
    with Sshd(MaxSessions=1) as server:
        node = node_of(server)
        source = tmp_path / "file"
        source.touch()
        push = SshJob(node, Push(source, f"{server.folder}/file"))
        jobs = [SshJob(node, "true", required=push) for _ in range(2)]
        assert not Engine(push, *jobs, keep_going=True, timeout=30).orchestrate()
        assert all("MaxSessions" in str(job.raised_exception()) for job in jobs)


def test_a_server_with_one_session_serves_commands_and_transfers(tmp_path: Path) -> None:
    with Sshd(plain=True, MaxSessions=1) as server:
        node = node_of(server, max_sessions=1)

        async def work(job_number: int) -> str:
            async with node:
                lease = pool().lease(node)
                try:
                    async with lease.link.sftp() as client:
                        return str(await client.realpath("."))
                finally:
                    await lease.release()

        jobs = [SshJob(node, "true") for _ in range(3)]
        transfers = [Job(work, number) for number in range(3)]
        assert Engine(*jobs, *transfers).orchestrate()
        assert {job.result() for job in transfers} == {str(server.home)}


def test_cancelled_connects_leave_nothing(own: Sshd, gateway: Sshd) -> None:
    node = node_of(own, gateway=node_of(gateway))
    run(cancel_after(node, 0.0))
    for step in range(12):
        run(cancel_after(node, step * 0.012))
    wait_until(lambda: own.connections() == gateway.connections() == 0, 30, "connections to close")
    assert Engine(SshJob(node, "true")).orchestrate()


async def cancel_after(node: SshNode, seconds: float) -> None:
    """Cancel two who wait for the same connection, one after the other."""
    first = asyncio.create_task(enter(node))
    second = asyncio.create_task(enter(node))
    await asyncio.sleep(seconds)
    first.cancel()
    await asyncio.sleep(0.001)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert len(pool()) == 0


async def enter(node: SshNode) -> None:
    async with node:
        pass


def test_one_who_gives_up_does_not_take_the_connection_from_others(own: Sshd) -> None:
    node = node_of(own)

    async def main() -> None:
        impatient = asyncio.create_task(enter(node))
        patient = asyncio.create_task(enter(node))
        await asyncio.sleep(0.01)
        impatient.cancel()
        await patient
        assert impatient.cancelled() or impatient.done()

    run(main())
    assert own.logins() == 1


def test_a_frozen_link_is_found(own: Sshd) -> None:
    node = node_of(own, keepalive=0.5)
    job = SshJob(node, "sleep 60", critical=False)
    wait = CallJob(wait_until, own.commands, 30, "the command")
    start: list[float] = []

    def freeze() -> None:
        own.freeze_sessions()
        start.append(time.monotonic())

    assert Engine(job, Sequence(wait, CallJob(freeze))).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, ConnectionLost)
    assert time.monotonic() - start[0] < 30


def test_a_frozen_server_does_not_keep_the_run_from_ending(own: Sshd) -> None:
    job = SshJob(node_of(own), [Run("true"), Run("echo on; sleep 0.2")])
    freeze = CallJob(own.freeze_sessions, after=job)
    start = time.monotonic()
    assert Engine(job, freeze).orchestrate()
    assert time.monotonic() - start < 30
    own.thaw_sessions()


def test_a_shutdown_without_time_is_done_by_force(own: Sshd, gateway: Sshd) -> None:
    node = node_of(own, gateway=node_of(gateway))
    job = SshJob(node, "sleep 60", forever=True)
    freeze = CallJob(own.freeze_sessions)
    wait = CallJob(wait_until, own.commands, 30, "the command")
    engine = Engine(job, Sequence(wait, freeze), cancel_grace=0.2, shutdown_timeout=0.2)
    start = time.monotonic()
    engine.orchestrate()
    assert time.monotonic() - start < 30
    own.thaw_sessions()
    wait_until(lambda: own.connections() == gateway.connections() == 0, 30, "connections to close")
    wait_until(lambda: not own.commands(), 30, "the watchdog to end the command")


def test_a_silent_logger(own: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sshjobs")
    assert Engine(SshJob(node_of(own), "true")).orchestrate()
    assert [record for record in caplog.records if record.name == "sshjobs"] == []
