"""parallel-ssh: libssh2 in greenlets."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.ssh.place import BIG, LINES, Place


class Case:
    """All cases that it can do."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.clients: Any = import_module("pssh.clients")

    def options(self) -> dict[str, Any]:
        """Return what all connections share."""
        place = self.place
        return {
            "user": place.username,
            "port": place.port,
            "pkey": place.key,
            "allow_agent": False,
            "identity_auth": False,
        }

    def client(self) -> Any:
        """Return a client of one host."""
        return self.clients.SSHClient(self.place.host, **self.options())

    def hosts(self, many: int, commands: int) -> None:
        """Run commands on many hosts, one after the other on each."""
        self.run_on(many, commands)

    def behind(self, many: int) -> None:
        """Run a command on many hosts behind a gateway."""
        self.run_on(
            many,
            1,
            proxy_host="127.0.0.1",
            proxy_port=self.place.gateway_port,
            proxy_user=self.place.username,
            proxy_pkey=self.place.key,
        )

    def run_on(self, many: int, commands: int, **special: Any) -> None:
        """Run commands on many hosts."""
        hosts = self.place.addresses[:many]
        client = self.clients.ParallelSSHClient(hosts, **self.options(), **special)
        for _ in range(commands):
            outputs = client.run_command("echo hello")
            client.join(outputs, consume_output=True)
            assert [output.exit_code for output in outputs] == [0] * many

    def sequence(self, many: int) -> None:
        """Run commands on one host, one after the other."""
        client = self.client()
        for _ in range(many):
            output = client.run_command("echo hello")
            assert list(output.stdout) == ["hello"]
            client.wait_finished(output)

    def put(self) -> None:
        """Put the big file there."""
        self.client().copy_file(f"{self.place.here}/big", self.place.target)

    def get(self) -> None:
        """Get the big file."""
        self.client().copy_remote_file(f"{self.place.there}/big", self.place.target)

    def tree(self) -> None:
        """Put the folder of many files there."""
        self.client().copy_file(f"{self.place.here}/many", self.place.target, recurse=True)

    def lines(self) -> None:
        """Read many lines of output, one by one."""
        output = self.client().run_command(f"seq {LINES}")
        assert sum(bool(line) for line in output.stdout) == LINES

    def bulk(self) -> None:
        """Read a large output, as lines: it knows nothing else."""
        output = self.client().run_command(f"head -c {BIG} /dev/zero")
        assert sum(map(len, output.stdout)) == BIG
