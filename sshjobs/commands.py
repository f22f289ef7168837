"""What a job does on a node: the commands, told apart from how they get there.

A command is made where the user writes it and checked there.  It is carried out by
:meth:`Command.run_on`, which gets a :class:`Session`: one job's hold on a node, here or remote.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import asyncssh

from .node import AnyNode
from .results import Completed


class Session(Protocol):
    """One job's hold on a node, as a command sees it."""

    @property
    def node(self) -> AnyNode:
        """The node, for messages."""

    async def connection(self) -> asyncssh.SSHClientConnection | None:
        """Return the node's connection, opened or reopened if need be; None on a LocalNode.

        Raises:
            SshError: why there is none.
        """

    def sftp(self) -> AbstractAsyncContextManager[asyncssh.SFTPClient]:
        """Return a context that gives an sftp client.

        The client is shared by all jobs of the node: do not close it.  It raises asyncssh's own
        errors; `failure` translates them.
        """

    def failure(self, error: Exception, phase: str, path: str | None = None) -> Exception:
        """Return the SshError that tells what asyncssh (or the system) means by `error`."""


class Command(ABC):
    """Base of all commands.

    Args:
        label: how it is called in messages; made from what it does when not given.
        timeout: seconds, over which it is ended and fails with SshTimeout; None: no bound.
    """

    phase = "command"
    """What SshTimeout says went on: ``"command"`` or ``"transfer"``."""

    def __init__(self, *, label: str | None = None, timeout: float | None = None) -> None:
        self.label = label
        self.timeout = timeout

    @abstractmethod
    async def run_on(self, session: Session) -> Completed:
        """Carry it out; raises SshError.

        The job applies `timeout` by cancelling this coroutine, which then has the engine's
        `cancel_grace` to clean up, as for any cancellation.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return what it does, in one line without secrets, for labels and messages."""
