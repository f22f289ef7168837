"""Promise 16: a frozen link is found within three keepalives and a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engine import CallJob, Engine, Sequence
from sshjobs import ConnectionLost, SshJob, SshNode
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

COUNT = 3


def found_after(keepalive: float, command: str) -> float:
    """Freeze a server in the middle of a command; return the seconds until the job has failed."""
    with Sshd(plain=True) as server:
        job = SshJob(node_of(server, keepalive=keepalive), command)
        frozen_at: list[float] = []

        def freeze() -> None:
            server.freeze_sessions()
            frozen_at.append(time.monotonic())

        wait = CallJob(wait_until, server.commands, 30, "the command")
        assert not Engine(job, Sequence(wait, CallJob(freeze)), keep_going=True).orchestrate()
        assert isinstance(job.raised_exception(), ConnectionLost)
        assert job.ended_at is not None
        server.thaw_sessions()
        return job.ended_at - frozen_at[0]


@pytest.mark.parametrize("command", ["sleep 60", "while sleep .1; do echo on; done"])
def test_a_frozen_link_is_found(
    count: Callable[[int, int], int], at_most: Callable[[float], float], command: str
) -> None:
    keepalive = count(1, 2)
    assert found_after(keepalive, command) < at_most(COUNT * keepalive + 1)


def test_it_is_on_by_default(pytestconfig: pytest.Config) -> None:
    keepalive = SshNode("fit01").keepalive
    assert keepalive == 15
    if pytestconfig.getoption("full"):
        assert found_after(keepalive, "sleep 600") < COUNT * keepalive + 1
