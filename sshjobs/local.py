"""The same commands on this machine, without ssh."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import cast

import asyncssh

from .errors import SshError, TransferFailed
from .node import LocalNode
from .output import Output
from .process import TERMINAL_SIZE, Process
from .results import Completed
from .running import Argv, Runner
from .script import Launch, Way, from_stage, way

SHELL = "/bin/sh"
_STREAMS = {1: "stdout", 2: "stderr"}


class LocalProcess(Process, asyncio.SubprocessProtocol):
    """A command on this machine: a shell in a session of its own.

    It is started by a task of its own: asyncio would kill the shell, if it is cancelled meanwhile,
    and not what the shell has started by then.
    """

    def __init__(self, way: Way, output: Output) -> None:
        super().__init__(way, output)
        self._transport: asyncio.SubprocessTransport | None = None
        self._leash: asyncio.WriteTransport | None = None
        self._open_streams = set(_STREAMS)
        self._is_cut = False
        self._opening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to start it."""
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._start()
        except OSError as error:
            self._gone(error)
        else:
            if self._is_cut:
                self.cut()

    async def _start(self) -> None:
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self, SHELL, "-c", self.way.command, start_new_session=True
        )

    def cut(self) -> None:
        """Cut the leash: have the watchdog end it."""
        self._is_cut = True
        if self._leash is not None:
            self._leash.close()

    def abandon(self) -> None:
        """Listen no longer; what still runs goes on, but for the first process."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The shell runs: hand over the script."""
        self.sent = True
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._leash = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self._write(self.way.stdin)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take what it wrote."""
        self._wrote(_STREAMS[fd], data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Take that one stream is at its end."""
        self._open_streams.discard(fd)
        self._look_around()

    def process_exited(self) -> None:
        """Take how it ended, and tell the watchdog, as sshd would do."""
        self._exited()
        self.cut()
        self._look_around()

    def _exited(self) -> None:
        code = None if self._transport is None else self._transport.get_returncode()
        if code is not None and code < 0:
            self._ended(None, _signal_name(-code))
        else:
            self._ended(code, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """All pipes are closed."""
        self._gone(exc)

    def _look_around(self) -> None:
        if self.exited.is_set() and not self._open_streams:
            self.abandon()

    def _write(self, data: bytes) -> None:
        if self._leash is not None:
            self._leash.write(data)

    def _learned(self, shell: str) -> None:
        """Nothing to learn: it is always the same."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"RTMIN+{number - signal.SIGRTMIN}"


class LocalTerminal(LocalProcess):
    """A command on a terminal of this machine: the leash is our end of the terminal."""

    def __init__(self, way: Way, output: Output) -> None:
        super().__init__(way, output)
        self._open_streams = {1}
        self._screen: asyncio.ReadTransport | None = None
        self._keyboard: _Keyboard | None = None

    async def _start(self) -> None:
        ours, theirs = os.openpty()
        columns, lines = TERMINAL_SIZE
        termios.tcsetwinsize(theirs, (lines, columns))
        # Who leads a session without a terminal gets the one that it opens.
        command = f"exec <>{os.ttyname(theirs)} >&0 2>&0\n{self.way.command}"
        loop = asyncio.get_running_loop()
        try:
            self._screen, _ = await loop.connect_read_pipe(
                lambda: _Screen(self.pipe_data_received, self.pipe_connection_lost),
                os.fdopen(ours, "rb", 0),
            )
            self._keyboard = _Keyboard(os.dup(ours))
            await loop.subprocess_exec(
                lambda: self,
                *(SHELL, "-c", command),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        except BaseException:
            self.cut()
            raise
        finally:
            os.close(theirs)
        if self._keyboard is not None:
            self._keyboard.type(self.way.stdin)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The shell runs."""
        self.sent = True
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def cut(self) -> None:
        """Hang up, which is when both of our ends are closed."""
        self._is_cut = True
        keyboard, self._keyboard = self._keyboard, None
        if keyboard is not None:
            keyboard.close()
        if self._screen is not None:
            self._screen.close()

    def process_exited(self) -> None:
        """Take how it ended; what it wrote last is still to come."""
        self._exited()
        self._look_around()

    def abandon(self) -> None:
        """Hang up, and listen no longer."""
        self.cut()
        super().abandon()


class _Keyboard:
    """Our end of a terminal, as far as typing goes.

    A terminal takes no more than a few pages at once, so what is typed may have to wait.  As a pipe
    of the loop it would also be read from, by uvloop.
    """

    def __init__(self, handle: int) -> None:
        os.set_blocking(handle, False)
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._typed = b""

    def type(self, data: bytes) -> None:
        """Type this, after what waits."""
        if data:
            self._typed += data
            self._loop.add_writer(self._handle, self._go_on)

    def _go_on(self) -> None:
        try:
            self._typed = self._typed[os.write(self._handle, self._typed) :]
        except BlockingIOError:
            return
        except OSError:  # nobody is there any more
            self._typed = b""
        if not self._typed:
            self._loop.remove_writer(self._handle)

    def close(self) -> None:
        """Close it; what waits is not typed any more."""
        self._loop.remove_writer(self._handle)
        os.close(self._handle)


class _Screen(asyncio.Protocol):
    """What comes from our end of a terminal, told as if it were a pipe."""

    def __init__(
        self,
        received: Callable[[int, bytes], None],
        lost: Callable[[int, Exception | None], None],
    ) -> None:
        self._received = received
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        self._received(1, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(1, exc)


class LocalSession(Runner):
    """One job's hold on this machine; see :class:`sshjobs.session.SshSession`."""

    node = LocalNode()

    @property
    def _shell(self) -> str:
        return SHELL

    async def connection(self) -> asyncssh.SSHClientConnection | None:
        """Return None: there is no connection."""
        return None

    def sftp(self) -> AbstractAsyncContextManager[asyncssh.SFTPClient]:
        """Refuse: files of this machine are just there."""
        raise SshError("this machine's files are not reached by sftp", node=self.node)

    async def _carry_out(
        self, launch: Launch, folder: str | None, output: Output, argv: Argv
    ) -> LocalProcess:
        how = from_stage(launch, folder) if folder else way(launch, SHELL, line_shell=SHELL)
        process = (LocalTerminal if launch.pty else LocalProcess)(how, output)
        process.open()
        await self._see_through(process, argv)
        await process.closed.wait()
        return process

    def _unknown(self, process: Process, completed: Completed) -> SshError:
        """Return the error for a command of which nobody knows how it ended."""
        if not process.sent:
            problem = f"cannot start {SHELL}: {process.problem}"
            return SshError(problem, node=self.node, phase="command")
        problem = f"nobody knows how this ended: {completed.command}"
        return SshError(problem, node=self.node, phase="command", completed=completed)

    def failure(self, error: Exception, phase: str, path: str | None = None) -> SshError:
        """Return the SshError that tells what `error` means."""
        if isinstance(error, SshError):
            return error
        reason = getattr(error, "strerror", None) or error
        return TransferFailed(reason, node=self.node, phase=phase, path=path)
