"""Nodes are values: cheap, compared by what was given, silent about secrets, checked where made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest

from engine import BadOption
from sshjobs import LocalNode, Secret, SshNode


def test_a_node_is_what_was_given() -> None:
    node = SshNode("root@fit01:2222", gateway="me@gw.lab", keys="~/.ssh/lab")
    assert (node.hostname, node.username, node.port) == ("fit01", "root", 2222)
    assert node.gateway == SshNode("gw.lab", username="me")
    assert node.keys == ("~/.ssh/lab",)
    assert (node.connect_timeout, node.login_timeout, node.keepalive) == (15, 30, 15)


@pytest.mark.parametrize(
    ("given", "host", "user", "port"),
    [
        ("fit01", "fit01", None, None),
        ("fit01:22", "fit01", None, 22),
        ("a.b@fit01", "fit01", "a.b", None),
        ("::1", "::1", None, None),
        ("[fe80::1%eth0]:2222", "fe80::1%eth0", None, 2222),
        ("me@[::1]", "::1", "me", None),
        ("bücher.example", "bücher.example", None, None),
    ],
)
def test_addresses(given: str, host: str, user: str | None, port: int | None) -> None:
    node = SshNode(given)
    assert (node.hostname, node.username, node.port) == (host, user, port)
    assert SshNode(str(node)) == node


def test_equal_nodes_are_one_key() -> None:
    def make() -> SshNode:
        return SshNode(
            "fit01",
            gateway=SshNode("gw", known_hosts="accept-new"),
            keys=[Path("a"), "b"],
            password=Secret("p"),
            known_hosts=("accept-new", Path("kh")),
            config=None,
        )

    assert {make(): 1}[make()] == 1
    assert hash(make()) == hash(make())


@pytest.mark.parametrize(
    "other",
    [
        {"username": "root"},
        {"port": 2222},
        {"gateway": "gw"},
        {"keys": "k"},
        {"password": "p"},
        {"known_hosts": "accept-new"},
        {"config": None},
        {"max_sessions": 1},
    ],
)
def test_each_option_makes_another_node(other: dict[str, Any]) -> None:
    assert SshNode("fit01", **other) != SshNode("fit01")


def test_a_node_does_not_change() -> None:
    with pytest.raises(AttributeError):
        SshNode("fit01").port = 3  # type: ignore[misc]


def test_a_repr_shows_no_secret() -> None:
    node = SshNode("fit01", password="canary", passphrase="canary")
    assert "canary" not in f"{node!r} {node} {node.password!r} {node.passphrase}"


def test_a_new_node_touches_no_file() -> None:
    SshNode("fit01", keys="/nowhere/key", known_hosts="/nowhere/kh", config="/nowhere/config")


@pytest.mark.parametrize(
    ("host", "options", "advice"),
    [
        ("", {}, "user@host:port"),
        ("-oProxyCommand=evil", {}, "user@host:port"),
        ("root@-host", {}, "user@host:port"),
        ("two words", {}, "user@host:port"),
        ("fit01\n", {}, "user@host:port"),
        (None, {}, "user@host:port"),
        (SshNode("fit01"), {}, "user@host:port"),
        ("fit01:0", {}, "65535"),
        ("fit01", {"port": 70000}, "65535"),
        ("fit01", {"port": "22"}, "65535"),
        ("fit01:22", {"port": 23}, "the host says 22"),
        ("me@fit01", {"username": "you"}, "the host says 'me'"),
        ("fit01", {"gateway": LocalNode()}, "SshNode or its name"),
        ("fit01", {"known_hosts": None}, 'known_hosts="accept-new"'),
        ("fit01", {"known_hosts": ("unchecked",)}, "accept-new"),
        ("fit01", {"known_hosts": ("a", "accept-new")}, "accept-new"),
        ("fit01", {"known_hosts": 3}, "path"),
        ("fit01", {"known_hosts": b"fit01 ssh-rsa AAAA"}, "path"),
        ("fit01", {"config": ""}, "path"),
        ("fit01", {"connect_timeout": 0}, "above 0"),
        ("fit01", {"login_timeout": float("nan")}, "above 0"),
        ("fit01", {"keepalive": -1}, "above 0"),
        ("fit01", {"max_sessions": 0}, "1 or more"),
        ("fit01,fit02", {}, "user@host:port"),
        ("ssh://fit01", {}, "user@host:port"),
        ("fit01", {"username": ""}, "a name"),
        ("fit01", {"username": 3}, "a name"),
        ("fit01", {"keys": 3}, "paths"),
        ("fit01", {"keys": ""}, "paths"),
        ("fit01", {"password": 3}, "Secret"),
        ("fit01", {"passphrase": lambda: "x"}, "Secret"),
        ("fit01", {"keyboard_interactive": "x"}, "function"),
    ],
)
def test_nonsense_is_refused_with_advice(host: Any, options: dict[str, Any], advice: str) -> None:
    with pytest.raises(BadOption) as caught:
        SshNode(host, **options)
    assert advice in str(caught.value)


def test_keys_may_be_objects() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    assert SshNode("fit01", keys=key) == SshNode("fit01", keys=[key])


def test_many() -> None:
    nodes = SshNode.many("fit[01-03],gw", username="root", gateway="lab")
    assert [node.hostname for node in nodes] == ["fit01", "fit02", "fit03", "gw"]
    assert {node.gateway for node in nodes} == {SshNode("lab")}


def test_the_local_node() -> None:
    assert LocalNode() == LocalNode()
    assert LocalNode().hostname == str(LocalNode()) == "localhost"
