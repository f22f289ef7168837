"""Wait for a host that is on its way up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from engine import AbstractJob, report
from engine.text import safe_error

from .commands import check_seconds
from .errors import ConnectionLost, SshError, SshTimeout, Unreachable
from .script import Launch
from .session import SshSession

if TYPE_CHECKING:
    from .node import SshNode

PAUSES = (0.5, 5.0)
"""Seconds between two attempts, at first and at most."""
PASSING = (Unreachable, ConnectionLost, SshTimeout)
"""What passes by itself."""


class WaitUp(AbstractJob):
    """A job that ends once a command can be run on a node; made by :meth:`SshNode.wait_up`.

    Only what passes by itself is waited for: no route, refused, no answer, a link that breaks, a
    shell that is not there yet.  A login that is refused, or a host key that is not the right one,
    is a failure at once.
    """

    def __init__(self, node: SshNode, *, timeout: float | None, **options: Any) -> None:
        check_seconds(timeout)
        if options.get("label") is None:
            options["label"] = f"{node.hostname}: wait until it is up"
        super().__init__(**options)
        self.host = node.hostname
        self._node = node
        self._seconds = timeout
        self._session: SshSession | None = None

    def details(self) -> str:
        """Return what it does."""
        return f"wait for {self._node}"

    async def corun(self) -> None:
        """Try until a command has run there."""
        if self._session is None:
            self._session = SshSession(self._node, _ignore)
        last: SshError | None = None
        pause, longest = PAUSES
        try:
            async with asyncio.timeout(self._seconds) as bound:
                while True:
                    try:
                        await self._session.run(Launch(("true",)), ("true",), capture=False)
                    except SshError as error:
                        # While it comes up, a host may also let us in and run no command yet.
                        if not isinstance(error, PASSING) and error.phase != "command":
                            raise
                        last = error
                        report(f"not yet: {safe_error(error, 80)}")
                    else:
                        return
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, longest)
        except TimeoutError as error:
            if not bound.expired():
                raise
            why = f": {last.problem}" if last is not None else ""
            problem = f"not up after {self._seconds:g} s{why}"
            raise SshTimeout(problem, node=self._node, phase="connect") from (last or error)

    async def coshutdown(self) -> None:
        """Let go of the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _ignore(lines: bytes, stream: str, complete: bool) -> None:
    """What it prints is of no interest."""
