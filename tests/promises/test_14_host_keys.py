"""Promise 14: host keys are checked however a node is made; one loud word turns that off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from engine import BadOption, Engine
from sshjobs import HostKeyChanged, HostKeyUnknown, SshError, SshJob, SshNode
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
Way = Callable[[Sshd, Path], SshNode]

ALIAS = """
Host lab*
  HostName {host}
  Port {port}
  User {user}
  IdentityFile {key}
  {more}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd(plain=True) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, so that nobody is known there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def aliased(more: str = "") -> Way:
    """A way by the configuration."""

    def make(server: Sshd, known: Path) -> SshNode:
        config = known.with_name("config")
        text = ALIAS.format(
            host=server.host,
            port=server.port,
            user=server.username,
            key=server.key,
            more=more.format(known=known),
        )
        config.write_text(text)
        return SshNode("lab1", config=config)

    return make


def behind(gateway_known: str) -> Way:
    """A way through a gateway, the same server, whose key is known or is the one to judge."""

    def make(server: Sshd, known: Path) -> SshNode:
        trusted = {"known": server.known_hosts, "same": known}[gateway_known]
        judged = {"known": known, "same": server.known_hosts}[gateway_known]
        gateway = node_of(server, known_hosts=trusted, keepalive=9)
        return node_of(server, known_hosts=judged, gateway=gateway)

    return make


def jump(server: Sshd, known: Path) -> SshNode:
    """A way through a gateway that the configuration names, and whose key is the one to judge."""
    aliased("UserKnownHostsFile {known}")(server, known)
    config = known.with_name("config")
    with config.open("a") as file:
        file.write("Host far\n  HostName 127.0.0.1\n  ProxyJump lab1\n")
    return SshNode("far", config=config)


WAYS: dict[str, Way] = {
    "a node": lambda server, known: node_of(server, known_hosts=known),
    "many": lambda server, known: SshNode.many(
        server.host,
        username=server.username,
        port=server.port,
        keys=server.key,
        known_hosts=[known],
        config=None,
    )[0],
    "one string": lambda server, known: SshNode(
        f"{server.username}@{server.host}:{server.port}",
        keys=server.key,
        known_hosts=known,
        config=None,
    ),
    "an alias": aliased("UserKnownHostsFile {known}"),
    "StrictHostKeyChecking no": aliased("UserKnownHostsFile {known}\n  StrictHostKeyChecking no"),
    "StrictHostKeyChecking off": aliased("StrictHostKeyChecking off\n  UserKnownHostsFile {known}"),
    "UserKnownHostsFile none": aliased("UserKnownHostsFile none\n  GlobalKnownHostsFile {known}"),
    "behind a gateway": behind("known"),
    "a gateway": behind("same"),
    "a jump": jump,
}


def why_not(node: SshNode) -> SshError | None:
    job = SshJob(node, "true", critical=False)
    Engine(job).orchestrate()
    error = job.raised_exception()
    assert error is None or isinstance(error, SshError)
    return error


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_unknown_key_is_refused(server: Sshd, tmp_path: Path, way: Way) -> None:
    known = tmp_path / "kh"
    known.write_text(f"somebody.else {KEY}")
    before = server.logins()
    error = why_not(way(server, known))
    assert type(error) is HostKeyUnknown
    # A gateway that is known may be logged in to; nobody else.
    assert server.logins() - before == (way is WAYS["behind a gateway"])


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_changed_key_is_refused_and_told_apart(server: Sshd, tmp_path: Path, way: Way) -> None:
    known = tmp_path / "kh"
    known.write_text(f"[{server.host}]:{server.port} {KEY}")
    assert type(why_not(way(server, known))) is HostKeyChanged


@pytest.mark.parametrize("policy", ["file", "accept-new"])
def test_a_change_is_refused_by_accept_new_too(server: Sshd, home: Path, policy: str) -> None:
    (home / ".ssh").mkdir()
    known = home / ".ssh/known_hosts"
    known.write_text(f"[{server.host}]:{server.port} {KEY}")
    given = policy if policy == "accept-new" else ("accept-new", known)
    assert type(why_not(node_of(server, known_hosts=given))) is HostKeyChanged
    known.write_text("")
    assert why_not(node_of(server, known_hosts=given)) is None
    assert len(known.read_text().splitlines()) == 1


def test_one_loud_word_turns_it_off(server: Sshd, tmp_path: Path) -> None:
    assert why_not(node_of(server, known_hosts="unchecked")) is None
    for no_word in (None, "", b""):
        with pytest.raises(BadOption):
            node_of(server, known_hosts=no_word)
    nobody_known: list[Any] = [[], "/dev/null", tmp_path / "missing"]
    for nobody in nobody_known:
        assert type(why_not(node_of(server, known_hosts=nobody))) is HostKeyUnknown
