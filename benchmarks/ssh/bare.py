"""Bare asyncssh, as somebody would write it who knows it well: what the others are measured by.

One coroutine for each host, keys and known hosts read once, the cheapest cipher, bytes instead of
text, and as many sessions at once as a stock server takes, asked for again where it was a little
late to free one.  Failures raise; there is neither a retry nor anybody who would end a command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from functools import cached_property
from typing import Any

import asyncssh

from benchmarks.ssh.place import BIG, LINES, Place

CIPHER = "aes128-gcm@openssh.com"
SESSIONS = 10
PAUSE = 0.01
BLOCK = 1 << 18


class Case:
    """All cases."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @cached_property
    def options(self) -> dict[str, Any]:
        """What all connections share."""
        return {
            "port": self.place.port,
            "username": self.place.username,
            "client_keys": [asyncssh.read_private_key(self.place.key)],
            "known_hosts": asyncssh.read_known_hosts(self.place.known_hosts),
            "config": None,
            "agent_path": None,
            "encryption_algs": [CIPHER],
        }

    def connect(self, host: str, **special: Any) -> Any:
        """Return a connection, to be awaited or entered."""
        return asyncssh.connect(host, **(self.options | special))

    def hosts(self, many: int, commands: int) -> None:
        """Run commands on many hosts, one after the other on each."""

        async def one(host: str) -> None:
            async with self.connect(host) as connection:
                for _ in range(commands):
                    await connection.run("echo hello", check=True)

        asyncio.run(together(one(host) for host in self.place.addresses[:many]))

    def behind(self, many: int) -> None:
        """Run a command on many hosts behind a gateway."""

        async def one(host: str, gateway: asyncssh.SSHClientConnection) -> None:
            async with self.connect(host, tunnel=gateway) as connection:
                await connection.run("echo hello", check=True)

        async def main() -> None:
            async with self.connect("127.0.0.1", port=self.place.gateway_port) as gateway:
                await together(one(host, gateway) for host in self.place.addresses[:many])

        asyncio.run(main())

    def sequence(self, many: int) -> None:
        """Run commands on one host, one after the other."""

        async def main() -> None:
            async with self.connect(self.place.host) as connection:
                for _ in range(many):
                    await connection.run("echo hello", check=True)

        asyncio.run(main())

    def concurrent(self, many: int) -> None:
        """Run commands on one host, as many at once as it takes."""
        free = asyncio.Semaphore(SESSIONS)

        async def one(connection: asyncssh.SSHClientConnection) -> None:
            async with free:
                while True:
                    try:
                        await connection.run("echo hello", check=True)
                    except asyncssh.ChannelOpenError:
                        await asyncio.sleep(PAUSE)
                    else:
                        return

        async def main() -> None:
            async with self.connect(self.place.host) as connection:
                await together(one(connection) for _ in range(many))

        asyncio.run(main())

    def put(self) -> None:
        """Put the big file there."""
        asyncio.run(self.transfer("put", f"{self.place.here}/big"))

    def get(self) -> None:
        """Get the big file."""
        asyncio.run(self.transfer("get", f"{self.place.there}/big"))

    def tree(self) -> None:
        """Put the folder of many files there."""
        asyncio.run(self.transfer("put", f"{self.place.here}/many", recurse=True))

    async def transfer(self, verb: str, source: str, **options: bool) -> None:
        """Copy by sftp."""
        async with (
            self.connect(self.place.host) as connection,
            connection.start_sftp_client() as sftp,
        ):
            await getattr(sftp, verb)(source, self.place.target, **options)

    def lines(self) -> None:
        """Read many lines of output, one by one."""

        async def main() -> None:
            async with (
                self.connect(self.place.host) as connection,
                connection.create_process(f"seq {LINES}", encoding=None) as process,
            ):
                count = 0
                async for line in process.stdout:
                    count += bool(line)
                assert count == LINES

        asyncio.run(main())

    def bulk(self) -> None:
        """Read a large output, and keep nothing of it."""

        async def main() -> None:
            async with (
                self.connect(self.place.host) as connection,
                connection.create_process(f"head -c {BIG} /dev/zero", encoding=None) as process,
            ):
                count = 0
                while data := await process.stdout.read(BLOCK):
                    count += len(data)
                assert count == BIG

        asyncio.run(main())


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once."""
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)
