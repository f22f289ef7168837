"""The way to a host that a program makes: the configuration's `ProxyCommand`.

As for OpenSSH it is a line for the user's shell, `~` and redirections included.  What it says on
its error output is no part of the connection, but may be the reason why there is none.  It has a
session of its own, so that Ctrl-C is for us alone, and what runs over there can still be ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from engine.text import safe_line

from .bounded import within
from .bundling import Bundler

LAST_WORDS = 1.0
"""Seconds that a program has, once it has closed its output, to say why and to end."""
END_TIMEOUT = 2.0
"""Seconds that we wait for one that was killed."""
_KEPT = 2000


class Proxy:
    """One run of the program, for asyncssh's `tunnel=`.

    Args:
        command: the line, its tokens replaced.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self._program: _Program | None = None

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Start it; see asyncssh."""
        program = _Program(session_factory)
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: program,
            os.environ.get("SHELL") or "/bin/sh",
            "-c",
            f"exec {self.command}",
            start_new_session=True,
        )
        self._program = program
        return transport, program.connection

    async def wait_ended(self) -> None:
        """Wait until it has ended, which it does soon once its connection is closed; bounded."""
        if self._program is not None:
            with suppress(TimeoutError):
                async with within(END_TIMEOUT):
                    await self._program.ended.wait()

    def failure(self) -> str:
        """Return how it failed, in words; an empty string if it did not, or was ended by us."""
        status = None if self._program is None else self._program.status
        if self._program is None or not status or self._program.was_killed:
            return ""
        lines = self._program.said.decode("utf-8", "replace").strip().splitlines()
        ended = f"exit status {status}" if status > 0 else f"signal {-status}"
        return f"{ended}: {safe_line(lines[-1], 200)}" if lines else ended


class _Program(asyncio.SubprocessProtocol):
    """The program, as asyncio sees it; what it writes is the connection.

    Attributes:
        connection: asyncssh's.
        said: the last bytes of its error output.
        status: as :class:`subprocess.Popen` has it; None: it runs.
        ended: set once it does not.
        was_killed: it had not ended by itself when nobody needed it any more.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.connection = make()
        self.said = b""
        self.status: int | None = None
        self.ended = asyncio.Event()
        self.was_killed = False
        self._is_over = False
        self._losing: asyncio.TimerHandle | None = None
        self._transport: asyncio.SubprocessTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.connection.connection_made(Bundler(cast(Any, _Wire(self._transport, self.end))))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take what it wrote."""
        if fd == 1:
            self.connection.data_received(data)
        else:
            self.said = (self.said + data)[-_KEPT:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It has closed one of its outputs, or does not read any more."""
        if fd == 1 and not self._is_over and self._losing is None:
            loop = asyncio.get_running_loop()
            self._losing = loop.call_later(LAST_WORDS, self._lose, exc)

    def process_exited(self) -> None:
        """Keep how it ended; what it said last may be still to come."""
        self.status = self._transport.get_returncode()
        self.ended.set()
        if self._is_over:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended and all that it wrote is here."""
        self._lose(exc)

    def end(self) -> None:
        """Make it end.  Its transport is closed after it: that of uvloop would not bury it."""
        self._is_over = True
        if self._losing is not None:
            self._losing.cancel()
        if self.status is not None:
            self._transport.close()
            return
        self.was_killed = True
        with suppress(ProcessLookupError):
            self._transport.kill()

    def _lose(self, problem: Exception | None) -> None:
        if not self._is_over:
            self.end()
            self.connection.connection_lost(problem)


class _Wire:
    """The input of a program; closed, that is the end of it."""

    def __init__(self, transport: asyncio.SubprocessTransport, end: Callable[[], None]) -> None:
        self._transport = transport
        self._stdin = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
        self._end = end

    def writelines(self, data: Iterable[bytes]) -> None:
        self._stdin.writelines(data)

    def is_closing(self) -> bool:
        return self._stdin.is_closing()

    def close(self) -> None:
        self._end()

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
