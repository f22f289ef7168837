"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sshd import Sshd
from tests.terminal import Terminal


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
