"""The servers of the benchmarks: OpenSSH as distributions ship it, and the files to copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.ssh.place import BIG, FILE_SIZE, FILES, Place
from tests.sshd import Sshd

HOSTS = 63
AT_MOST = 16
"""One sshd listens on so many addresses at most."""
# One process serves many hosts, which as hosts of their own would not see each other's newcomers.
SHARED = "1000:30:2000"


@contextmanager
def servers() -> Iterator[Place]:
    """Give a place with a host on each of 63 addresses, and a gateway; gone at the end."""
    addresses = [f"127.0.1.{number}" for number in range(1, HOSTS + 1)]
    with ExitStack() as stack:
        gateway = stack.enter_context(Sshd(plain=True, MaxStartups=SHARED))
        known = gateway.known_hosts.read_text()
        port = None
        for start in range(0, HOSTS, AT_MOST):
            some = addresses[start : start + AT_MOST]
            server = stack.enter_context(listening_on(some, port))
            # All hosts of the others' port: peers have one option for all.
            port = server.port
            shutil.copy(gateway.folder / "authorized_keys", server.folder)
            key = server.known_hosts.read_text().split(" ", 1)[1]
            known += "".join(f"[{address}]:{port} {key}" for address in some)
        gateway.known_hosts.write_text(known)
        here, there = gateway.folder / "here", gateway.folder / "there"
        there.mkdir()
        there.chmod(0o777)
        fill(here)
        shutil.copy(here / "big", there)
        yield Place(
            addresses=addresses,
            port=server.port,
            gateway_port=gateway.port,
            username=gateway.username,
            key=str(gateway.key),
            known_hosts=str(gateway.known_hosts),
            here=str(here),
            there=str(there),
            target="",
        )


def listening_on(addresses: list[str], port: int | None) -> Sshd:
    """Return a server with several addresses."""
    listen = "\nListenAddress ".join(addresses)
    return Sshd(host=addresses[0], port=port, plain=True, ListenAddress=listen, MaxStartups=SHARED)


def fill(folder: Path) -> None:
    """Make the files to copy."""
    many = folder / "many"
    many.mkdir(parents=True)
    (folder / "big").write_bytes(os.urandom(BIG))
    for number in range(FILES):
        (many / f"file{number:04}").write_bytes(os.urandom(FILE_SIZE))
