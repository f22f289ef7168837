"""Promise 20: MaxSessions 10 and MaxStartups 10:30:100 are never the user's problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import Engine
from sshjobs import SshJob, SshNode
from tests.ssh.conftest import node_of
from tests.sshd import Sshd


def stock(**options: Any) -> Sshd:
    """A server as distributions ship it."""
    return Sshd(plain=True, MaxSessions=10, MaxStartups="10:30:100", **options)


def test_many_commands_at_once_on_one_node(count: Callable[[int, int], int]) -> None:
    with stock() as server:
        node = node_of(server)
        jobs = [SshJob(node, f"echo {number}") for number in range(count(60, 200))]
        assert Engine(*jobs).orchestrate()
        assert [job.result().stdout for job in jobs] == [f"{n}\n" for n in range(len(jobs))]
        assert server.logins() == 1


def test_commands_that_last(count: Callable[[int, int], int]) -> None:
    """More than the server takes at once, so that each has to wait for another's end."""
    with stock() as server:
        node = node_of(server)
        jobs = [SshJob(node, "sleep 0.2; echo over") for _ in range(count(20, 100))]
        assert Engine(*jobs).orchestrate()


def nodes(server: Sshd, many: int) -> list[SshNode]:
    """Nodes that are different, each with a connection of its own, and lead to one server."""
    return [node_of(server, keepalive=15 + number) for number in range(many)]


def test_many_nodes_at_once(count: Callable[[int, int], int]) -> None:
    with stock() as server:
        many = nodes(server, count(40, 200))
        jobs = [SshJob(node, "echo $SSH_CONNECTION") for node in many]
        assert Engine(*jobs).orchestrate()
        assert len({job.result().stdout for job in jobs}) == len(jobs)
        assert server.logins() == len(jobs)


def test_many_nodes_at_once_behind_one_gateway(count: Callable[[int, int], int]) -> None:
    with stock() as gateway, stock() as server:
        between = node_of(gateway)
        many = [node_of(server, gateway=between, keepalive=15 + n) for n in range(count(20, 100))]
        assert Engine(*(SshJob(node, "true") for node in many)).orchestrate()
        assert (gateway.logins(), server.logins()) == (1, len(many))


def test_a_server_that_goes_by_many_names(count: Callable[[int, int], int]) -> None:
    """Nobody can know that these are one server; those that it drops are asked again."""
    addresses = ["127.0.0.1", *(f"127.0.1.{number}" for number in range(1, 15))]
    with stock(ListenAddress="\nListenAddress ".join(addresses)) as server:
        key = server.known_hosts.read_text().split(" ", 1)[1]
        server.known_hosts.write_text(f"127.0.* {key}")
        many = [
            SshNode(
                f"{server.username}@{addresses[number % len(addresses)]}:{server.port}",
                keys=server.key,
                known_hosts=server.known_hosts,
                config=None,
                keepalive=15 + number,
            )
            for number in range(count(30, 120))
        ]
        assert Engine(*(SshJob(node, "true") for node in many)).orchestrate()
        assert server.logins() == len(many)
