"""The same commands on this machine, without ssh."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AbstractAsyncContextManager
from typing import cast

import asyncssh

from engine import BadOption
from engine.text import safe_line

from .errors import SshError, TransferFailed
from .node import LocalNode
from .output import Capture, Output, Tell
from .process import Process
from .results import Completed
from .script import Launch, Way, way
from .session import teller

log = logging.getLogger("sshjobs")

SHELL = "/bin/sh"
_STREAMS = {1: "stdout", 2: "stderr"}


class LocalProcess(Process, asyncio.SubprocessProtocol):
    """A command on this machine: a shell in a session of its own."""

    def __init__(self, way: Way, output: Output) -> None:
        super().__init__(way, output)
        self._transport: asyncio.SubprocessTransport | None = None
        self._leash: asyncio.WriteTransport | None = None
        self._open_streams = set(_STREAMS)

    async def open(self) -> None:
        """Start it; OSError if that cannot be done."""
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self, SHELL, "-c", self.way.command, start_new_session=True
        )

    def cut(self) -> None:
        """Cut the leash: have the watchdog end it."""
        if self._leash is not None:
            self._leash.close()

    def abandon(self) -> None:
        """Listen no longer; what still runs goes on, but for the first process."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The shell runs: hand over the script."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._leash = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self._leash.write(self.way.stdin)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take what it wrote."""
        self._wrote(_STREAMS[fd], data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Take that one stream is at its end."""
        self._open_streams.discard(fd)
        self._look_around()

    def process_exited(self) -> None:
        """Take how it ended."""
        code = None if self._transport is None else self._transport.get_returncode()
        if code is not None and code < 0:
            self._ended(None, signal.Signals(-code).name.removeprefix("SIG"))
        else:
            self._ended(code, None)
        # The watchdog is told that it is over, as sshd would do.
        self.cut()
        self._look_around()

    def connection_lost(self, exc: Exception | None) -> None:
        """All pipes are closed."""
        self._gone(exc)

    def _look_around(self) -> None:
        if self.exited.is_set() and not self._open_streams:
            self.abandon()

    def _learned(self, shell: str) -> None:
        """Nothing to learn: it is always the same."""


class LocalSession:
    """One job's hold on this machine; see :class:`sshjobs.session.SshSession`."""

    def __init__(self, tell: Tell) -> None:
        self.node = LocalNode()
        self._tell = tell
        self._processes: set[LocalProcess] = set()

    async def connection(self) -> asyncssh.SSHClientConnection | None:
        """Return None: there is no connection."""
        return None

    def sftp(self) -> AbstractAsyncContextManager[asyncssh.SFTPClient]:
        """Refuse: files of this machine are just there."""
        raise SshError("this machine's files are not reached by sftp", node=self.node)

    async def run(self, launch: Launch, argv: str | tuple[str, ...], capture: Capture) -> Completed:
        """Run a command and return how it ended; SshError if it cannot be started."""
        if launch.pty:
            raise BadOption("pty=True: not on a LocalNode", "pty", True)
        started = asyncio.get_running_loop().time()
        output = Output(capture, teller(self._tell, launch))
        process = LocalProcess(way(launch, SHELL, line_shell=SHELL), output)
        self._processes.add(process)
        try:
            await process.open()
            await process.wait()
        except OSError as error:
            raise SshError(f"cannot start {SHELL}: {error}", node=self.node) from error
        except asyncio.CancelledError:
            if not await process.end():
                log.warning("%s: it may still run", safe_line(str(argv), 80))
                raise asyncio.CancelledError("it may still run") from None
            raise
        self._processes.discard(process)
        await process.closed.wait()
        duration = asyncio.get_running_loop().time() - started
        return process.completed(argv, launch, duration)

    def failure(self, error: Exception, phase: str, path: str | None = None) -> SshError:
        """Return the SshError that tells what `error` means."""
        if isinstance(error, SshError):
            return error
        reason = getattr(error, "strerror", None) or error
        return TransferFailed(reason, node=self.node, phase=phase, path=path)

    async def close(self) -> None:
        """End what still runs."""
        processes, self._processes = self._processes, set()
        await asyncio.gather(*(process.end() for process in processes))
