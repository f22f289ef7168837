"""A server to log in to as a plain user, and nodes that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshjobs import SshNode
from tests.sshd import PLAIN_USER, Sshd


def node_of(server: Sshd, **options: Any) -> SshNode:
    """A node that leads to `server`, and reads no file of this machine's user."""
    known: dict[str, Any] = {
        "username": server.username,
        "port": server.port,
        "keys": server.key,
        "known_hosts": server.known_hosts,
        "config": None,
    }
    return SshNode(server.host, **(known | options))


@pytest.fixture(scope="session")
def server() -> Iterator[Sshd]:
    """A stock server, to log in to as a plain user."""
    with Sshd(plain=True) as server:
        yield server


@pytest.fixture
def node(server: Sshd) -> SshNode:
    """A node that leads to the server."""
    return node_of(server)


@pytest.fixture(scope="session")
def sudoer() -> Iterator[SshNode]:
    """A node whose user may do all as root, by the real sudo and with a password."""
    with Sshd(plain=True, sudoers=f"{PLAIN_USER} ALL=(ALL) ALL") as server:
        yield node_of(server)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, empty: no configuration, no keys, no known hosts, no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path
