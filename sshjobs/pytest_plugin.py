"""A fleet of ssh servers (:mod:`sshjobs.sandbox`) as a fixture of pytest.

One line in your ``conftest.py`` switches it on::

    pytest_plugins = ["sshjobs.pytest_plugin"]

and a test gets a fleet of its own: two nodes behind a gateway, unless its mark says otherwise, with
the arguments of :class:`~sshjobs.sandbox.Fleet`::

    @pytest.mark.fleet(6, gateway=False, keepalive=0.3)
    def test_a_server_that_hangs(fleet):
        with fleet.freeze(fleet.nodes[0]):
            ...

It fails if connections to the nodes are still open at its end, or processes run on them.  A test
that has failed already is not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from .sandbox import Fleet

_PATIENCE = 2.0  # seconds that servers have to notice that a client is gone
_POLL = 0.01
_has_failed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers", "fleet(count=2, **options): what fleet of ssh servers the fixture is to be"
    )


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet of ssh servers on loopback, on which the test must leave nothing behind.

    Use it so::

        def test_both_nodes_answer(fleet):
            jobs = [SshJob(node, "true") for node in fleet.nodes]
            assert Engine(*jobs).orchestrate()

    See :class:`sshjobs.sandbox.Fleet`.
    """
    mark = request.node.get_closest_marker("fleet")
    with _made(*mark.args, **mark.kwargs) if mark is not None else _made() as fleet:
        yield fleet
        left = [] if request.node.stash.get(_has_failed, False) else _left(fleet)
    if left:
        told = "\n  ".join(["this was left on the nodes of the fleet:", *left])
        pytest.fail(told, pytrace=False)


def _made(count: int = 2, **options: Any) -> Fleet:
    return Fleet(count, **options)


def _left(fleet: Fleet) -> list[str]:
    deadline = time.monotonic() + _PATIENCE
    while (left := fleet.leftovers()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return left


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test failed."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[_has_failed] = True
    return report
