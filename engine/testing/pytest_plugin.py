"""The tools of :mod:`engine.testing` as fixtures of pytest.

One line in your ``conftest.py`` switches them on::

    pytest_plugins = ["engine.testing.pytest_plugin"]

=====================  ===========================================================================
``virtual_clock``      what the test orchestrates goes by a clock that jumps; ``.time()`` reads it
``sequencer``          puts the steps of several tasks in the order that the test wants
``cancel_everywhere``  runs a graph again and again, cancelled at each turn of the loop in turn
``any_order``          runs a graph again and again, with its jobs in other orders each time
``no_leaks``           the test fails if it leaves tasks, threads, files or processes behind
=====================  ===========================================================================

With it the report of a test that fails has the jobs of its last run and what became of each.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, testing, watch
from engine.listing import debrief

_ENGINE = Path(testing.__file__).parent.parent
_last_run = pytest.StashKey[weakref.ref[Engine]]()
_has_failed = pytest.StashKey[bool]()


@pytest.fixture
def virtual_clock() -> Iterator[testing.VirtualLoop]:
    """A clock that jumps, for all that the test runs by `orchestrate()` or `engine.run()`.

    Use it so::

        def test_it_gives_up(virtual_clock):
            assert not scenario(boot_seconds=10_000).orchestrate()
            assert virtual_clock.time() == 600

    See :func:`engine.testing.virtual_clock`.
    """
    with testing.virtual_clock() as clock:
        yield clock


@pytest.fixture
def sequencer() -> testing.Sequencer:
    """Steps of several tasks, in the order of their numbers.

    Use it as ``async with sequencer(0):`` and so on.  See :class:`engine.testing.Sequencer`.
    """
    return testing.Sequencer()


@pytest.fixture
def cancel_everywhere() -> Callable[..., int]:
    """The function :func:`engine.testing.cancel_everywhere`."""
    return testing.cancel_everywhere


@pytest.fixture
def any_order() -> Callable[..., None]:
    """The function :func:`engine.testing.any_order`."""
    return testing.any_order


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if it, or a fixture that it asks for after this one, leaves something behind.

    A test that has failed already is not looked at.  See :func:`engine.testing.no_leaks`.
    """
    try:
        with suppress(_NotLookedAt), testing.no_leaks():
            yield
            _look_at(request.node)
    except testing.Leaked as leaked:
        pytest.fail(str(leaked), pytrace=False)


class _NotLookedAt(Exception):
    """Gets out of a leak check without its verdict."""


def _look_at(item: pytest.Item) -> None:
    if item.stash.get(_has_failed, False):
        raise _NotLookedAt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Remember the last engine that the test runs."""

    def remember(engine: Engine) -> None:
        # Weakly: what a test drops is gone, with or without this plugin.
        item.stash[_last_run] = weakref.ref(engine)

    with watch(remember):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have the report of a test that fails tell what became of the jobs."""
    if call.excinfo is not None and call.excinfo.errisinstance(testing.Deadlock):
        # It says where each job waits; how the engine got there says nothing.
        call.excinfo.traceback = call.excinfo.traceback.filter(_is_not_the_engines)
    report = yield
    if call.when == "call" and report.failed:
        item.stash[_has_failed] = True
        known = item.stash.get(_last_run, None)
        engine = known() if known is not None else None
        if engine is not None:
            report.sections.append(("jobs of the last run", debrief(engine)))
    return report


def _is_not_the_engines(entry: Any) -> bool:
    return _ENGINE not in Path(entry.path).parents
