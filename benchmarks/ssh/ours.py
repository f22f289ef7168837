"""Ours: jobs in an engine, as the guide says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.ssh.place import BIG, LINES, Place
from engine import Engine
from sshjobs import Command, Pull, Push, Run, SshJob, SshNode


class Case:
    """All cases."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def node(self, host: str, **special: Any) -> SshNode:
        """Return a host."""
        options: dict[str, Any] = {
            "port": self.place.port,
            "username": self.place.username,
            "keys": self.place.key,
            "known_hosts": self.place.known_hosts,
            "config": None,
        }
        return SshNode(host, **(options | special))

    def hosts(self, many: int, commands: int) -> None:
        """Run commands on many hosts, one after the other on each."""
        hosts = self.place.addresses[:many]
        orchestrate(SshJob(self.node(host), [Run("echo hello")] * commands) for host in hosts)

    def behind(self, many: int) -> None:
        """Run a command on many hosts behind a gateway."""
        gateway = self.node("127.0.0.1", port=self.place.gateway_port)
        nodes = [self.node(host, gateway=gateway) for host in self.place.addresses[:many]]
        orchestrate(SshJob(node, "echo hello") for node in nodes)

    def sequence(self, many: int) -> None:
        """Run commands on one host, one after the other."""
        orchestrate([SshJob(self.node(self.place.host), [Run("echo hello")] * many)])

    def concurrent(self, many: int) -> None:
        """Run commands on one host, as many at once as it takes."""
        node = self.node(self.place.host)
        orchestrate(SshJob(node, "echo hello") for _ in range(many))

    def put(self) -> None:
        """Put the big file there."""
        self.copy(Push(f"{self.place.here}/big", self.place.target))

    def get(self) -> None:
        """Get the big file."""
        self.copy(Pull(f"{self.place.there}/big", self.place.target))

    def tree(self) -> None:
        """Put the folder of many files there."""
        self.copy(Push(f"{self.place.here}/many", self.place.target))

    def copy(self, command: Command) -> None:
        """Copy something."""
        orchestrate([SshJob(self.node(self.place.host), command)])

    def lines(self) -> None:
        """Read many lines of output, one by one."""
        run = Run(f"seq {LINES}", capture=True)
        job = SshJob(self.node(self.place.host), run)
        orchestrate([job])
        count = 0
        for line in job.result().lines():
            count += bool(line)
        assert count == LINES

    def bulk(self) -> None:
        """Read a large output, and keep nothing of it."""
        run = Run(f"head -c {BIG} /dev/zero", capture=False)
        orchestrate([SshJob(self.node(self.place.host), run)])


def orchestrate(jobs: Iterable[SshJob], reader: Any = None) -> None:
    """Run jobs, all at once."""
    assert Engine(*jobs, message_queue=reader).orchestrate()
