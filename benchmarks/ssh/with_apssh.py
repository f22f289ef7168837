"""apssh: jobs in a scheduler of asynciojobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cached_property
from importlib import import_module
from typing import Any

from benchmarks.ssh.place import BIG, LINES, Place

SESSIONS = 4
"""With more, some fail: the server is late to free them, and nothing asks again."""


class Case:
    """All cases."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.apssh: Any = import_module("apssh")

    @cached_property
    def keys(self) -> list[Any]:
        """The key, read once."""
        return [import_module("asyncssh").read_private_key(self.place.key)]

    def node(self, host: str, **special: Any) -> Any:
        """Return a host."""
        options = {
            "port": self.place.port,
            "username": self.place.username,
            "keys": self.keys,
            "known_hosts": self.place.known_hosts,
            "formatter": self.apssh.CaptureFormatter(verbose=False),
        }
        return self.apssh.SshNode(host, **(options | special))

    def job(self, node: Any, commands: list[Any]) -> Any:
        """Return a job."""
        return self.apssh.SshJob(node, commands=commands)

    def hello(self) -> Any:
        """Return the usual command."""
        return self.apssh.Run("echo hello")

    def hosts(self, many: int, commands: int) -> None:
        """Run commands on many hosts, one after the other on each."""
        orchestrate(
            self.job(self.node(host), [self.hello() for _ in range(commands)])
            for host in self.place.addresses[:many]
        )

    def behind(self, many: int) -> None:
        """Run a command on many hosts behind a gateway."""
        gateway = self.node("127.0.0.1", port=self.place.gateway_port)
        orchestrate(
            self.job(self.node(host, gateway=gateway), [self.hello()])
            for host in self.place.addresses[:many]
        )

    def sequence(self, many: int) -> None:
        """Run commands on one host, one after the other."""
        node = self.node(self.place.host)
        orchestrate([self.job(node, [self.hello() for _ in range(many)])])

    def concurrent(self, many: int) -> None:
        """Run commands on one host, as many at once as it takes."""
        node = self.node(self.place.host)
        orchestrate((self.job(node, [self.hello()]) for _ in range(many)), jobs_window=SESSIONS)

    def put(self) -> None:
        """Put the big file there."""
        self.copy(self.apssh.Push(f"{self.place.here}/big", self.place.target))

    def get(self) -> None:
        """Get the big file."""
        self.copy(self.apssh.Pull(f"{self.place.there}/big", self.place.target))

    def tree(self) -> None:
        """Put the folder of many files there."""
        self.copy(self.apssh.Push(f"{self.place.here}/many", self.place.target, recurse=True))

    def copy(self, command: Any) -> None:
        """Copy something."""
        orchestrate([self.job(self.node(self.place.host), [command])])

    def lines(self) -> None:
        """Read many lines of output, one by one."""
        assert self.output(f"seq {LINES}").count("\n") >= LINES - 1

    def bulk(self) -> None:
        """Read a large output."""
        self.output(f"head -c {BIG} /dev/zero")

    def output(self, line: str) -> str:
        """Return what a command prints."""
        formatter = self.apssh.CaptureFormatter(verbose=False)
        formatter.start_capture()
        node = self.node(self.place.host, formatter=formatter)
        orchestrate([self.job(node, [self.apssh.Run(line)])])
        told: str = formatter.get_capture()
        return told


def orchestrate(jobs: Iterable[Any], **options: Any) -> None:
    """Run jobs, all at once, and close the connections."""

    async def main() -> None:
        scheduler = import_module("asynciojobs").Scheduler(*jobs, **options)
        assert await scheduler.co_run()
        await import_module("apssh").co_close_ssh_in_scheduler(scheduler)

    asyncio.run(main())
