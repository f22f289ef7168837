"""Fabric: paramiko in threads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.ssh.place import BIG, LINES, Place

SESSIONS = 8
PAUSE = 0.01


class Case:
    """All cases."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.fabric: Any = import_module("fabric")

    def options(self, port: int) -> dict[str, Any]:
        """Return what all connections share."""
        return {
            "user": self.place.username,
            "port": port,
            "config": self.fabric.Config(lazy=True),
            "connect_kwargs": {
                "key_filename": self.place.key,
                "allow_agent": False,
                "look_for_keys": False,
            },
        }

    def connection(self) -> Any:
        """Return a connection to one host."""
        return self.fabric.Connection(self.place.host, **self.options(self.place.port))

    def hosts(self, many: int, commands: int) -> None:
        """Run commands on many hosts, one after the other on each."""
        self.run_on(many, commands)

    def behind(self, many: int) -> None:
        """Run a command on many hosts behind a gateway."""
        gateway = self.fabric.Connection("127.0.0.1", **self.options(self.place.gateway_port))
        gateway.open()
        self.run_on(many, 1, gateway=gateway)
        gateway.close()

    def run_on(self, many: int, commands: int, **special: Any) -> None:
        """Run commands on many hosts."""
        options = self.options(self.place.port) | special
        group = self.fabric.ThreadingGroup(*self.place.addresses[:many], **options)
        for _ in range(commands):
            group.run("echo hello", hide=True, in_stream=False)
        group.close()

    def sequence(self, many: int) -> None:
        """Run commands on one host, one after the other."""
        with self.connection() as connection:
            for _ in range(many):
                connection.run("echo hello", hide=True, in_stream=False)

    def concurrent(self, many: int) -> None:
        """Run commands on one host, as many at once as it takes."""
        with self.connection() as connection:
            connection.open()
            refused = import_module("paramiko").SSHException

            def one(_: int) -> None:
                while True:
                    try:
                        connection.run("echo hello", hide=True, in_stream=False)
                    except refused:
                        time.sleep(PAUSE)
                    else:
                        return

            with ThreadPoolExecutor(SESSIONS) as threads:
                list(threads.map(one, range(many)))

    def put(self) -> None:
        """Put the big file there."""
        with self.connection() as connection:
            connection.put(f"{self.place.here}/big", self.place.target)

    def get(self) -> None:
        """Get the big file."""
        with self.connection() as connection:
            connection.get(f"{self.place.there}/big", self.place.target)

    def tree(self) -> None:
        """Put the folder of many files there, one by one: it knows no folders."""
        with self.connection() as connection:
            connection.sftp().mkdir(self.place.target)
            for name in self.place.files:
                source = Path(self.place.here, "many", name)
                connection.put(str(source), f"{self.place.target}/{name}")

    def lines(self) -> None:
        """Read many lines of output, one by one."""
        told = self.output(f"seq {LINES}")
        assert sum(bool(line) for line in told.splitlines()) == LINES

    def bulk(self) -> None:
        """Read a large output."""
        self.output(f"head -c {BIG} /dev/zero")

    def output(self, line: str) -> str:
        """Return what a command prints."""
        with self.connection() as connection:
            told: str = connection.run(line, hide=True, in_stream=False).stdout
        return told
