"""Fixtures that all tests share, and the leak check that goes round every test.

``--full`` runs the promises with the counts that the project claims, instead of quick ones;
``--loop`` has every event loop that the tests make be another one than asyncio's own.
"""

from __future__ import annotations

import asyncio
import gc
import re
import signal
from collections.abc import Callable, Iterator
from importlib import import_module

import hypothesis
import pytest

from engine import run
from engine.testing.census import lost_errors, warm_up_loop
from tests.leaks import leaks, mark_children, snapshot
from tests.sshd import Sshd
from tests.terminal import Terminal

pytest_plugins = ["engine.testing.pytest_plugin", "pytester"]

AT_ONCE = re.compile(r"^\+000s", re.MULTILINE)
BUSY = 15.0
"""Seconds that a busy machine may take for what a quiet one does at once."""

hypothesis.settings.register_profile("quick", max_examples=50, deadline=None)
hypothesis.settings.register_profile("full", max_examples=1000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run the promises with their full counts (slow)"
    )
    parser.addoption(
        "--loop",
        choices=["asyncio", "uvloop", "eager"],
        default="asyncio",
        help="the event loop: asyncio's own, that of uvloop, or one whose tasks start eagerly",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Tests send these; under nohup, or in the background of a script, they come ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    hypothesis.settings.load_profile("full" if config.getoption("full") else "quick")
    if config.getoption("loop") == "uvloop":
        asyncio.set_event_loop_policy(import_module("uvloop").EventLoopPolicy())
    elif config.getoption("loop") == "eager":
        if not hasattr(asyncio, "eager_task_factory"):
            raise pytest.UsageError("--loop eager: tasks start eagerly from Python 3.12 on")
        asyncio.set_event_loop_policy(_eager_policy())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the lines of a run that takes no second come later than pages say: a machine is busy."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.dtest is not None:
            for example in item.dtest.examples:
                example.want = AT_ONCE.sub("+...s", example.want)


def _eager_policy() -> asyncio.AbstractEventLoopPolicy:
    """Return one whose tasks run up to their first wait as they are made: from Python 3.12 on."""

    class Eager(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()
            loop.set_task_factory(vars(asyncio)["eager_task_factory"])
            return loop

    return Eager()


@pytest.fixture
def count(
    pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> Callable[[int, int], int]:
    """``count(100, 10_000)``: how often to try, in ``make test`` and in ``make promises``.

    The report of the test tells it, see tests/promises/record.py.
    """
    full = pytestconfig.getoption("full")

    def choose(quick: int, promised: int) -> int:
        chosen = promised if full else quick
        record_property("count", chosen)
        return chosen

    return choose


@pytest.fixture
def at_most(pytestconfig: pytest.Config) -> Callable[[float], float]:
    """``at_most(0.5)``: the seconds that something may take.

    That long in ``make promises``; in ``make test``, whose machine may be busy, a while longer.
    """
    return lambda seconds: seconds if pytestconfig.getoption("full") else seconds + BUSY


@pytest.fixture(scope="session", autouse=True)
def _settled() -> None:
    """What is made once and kept: the loop of this thread."""
    mark_children()
    run(warm_up_loop())


@pytest.fixture(scope="module", autouse=True)
def _out_of_the_way(_settled: None) -> None:
    """What exists by now stays; without it in the way the collection after each test is quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_is_left(_out_of_the_way: None) -> Iterator[None]:
    before = snapshot()
    with lost_errors() as errors:
        yield
        found = leaks(before)
    if found or errors:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found + errors), pytrace=False)


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """One stock OpenSSH server for all who neither break nor configure it."""
    with Sshd() as server:
        yield server


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal that nothing runs in yet."""
    with Terminal() as terminal:
        yield terminal
