"""What goes round every promise."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from engine import watch
from tests.promises.record import Record
from tests.promises.witness import Witness


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("full"):
        config.pluginmanager.register(Record())


@pytest.fixture(autouse=True)
def _no_false_success() -> Iterator[None]:
    problems: list[str] = []
    with watch(lambda engine: Witness(engine, problems)):
        yield
    if problems:
        pytest.fail("a run was not what it said:\n  " + "\n  ".join(problems), pytrace=False)


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Keep pytest from collecting, and printing, what the engine logs in a thousand runs."""
    logger = logging.getLogger("engine")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)
