"""One job's hold on a node over ssh: its commands there, and what errors there mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import asyncssh
from asyncssh.constants import OPEN_REQUEST_PTY_FAILED, OPEN_REQUEST_SESSION_FAILED

from engine.text import safe_error, safe_line

from .errors import ConnectionLost, SshError, TransferFailed
from .node import SshNode
from .output import Output, Tell
from .pool import Lease, Link, pool
from .process import TERMINAL_SIZE, Process
from .results import Completed
from .running import Argv, Runner
from .script import Launch, Way, from_stage, way

ATTEMPTS = 3
"""Times that a command is tried which could not be sent: the connection was found dead."""
SFTP_ENDED = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)
LOST = (asyncssh.DisconnectError, ConnectionError, *SFTP_ENDED)
TERMINAL = "xterm"
REFUSALS = {
    OPEN_REQUEST_PTY_FAILED: "the server gives no terminal (PermitTTY)",
    OPEN_REQUEST_SESSION_FAILED: "the server runs no commands",
    asyncssh.OPEN_CONNECT_FAILED: (
        "the server opens no more of them (MaxSessions); give the node fewer max_sessions="
    ),
}
"""What it means that a session could not be opened, on a connection that lives."""


class RemoteProcess(Process, asyncssh.SSHClientSession[bytes]):
    """A command over ssh: one session of a connection.

    It is opened by a task of its own, since a session that has been asked for cannot be taken back:
    whoever loses interest meanwhile has to cut the leash as soon as there is one.
    """

    def __init__(self, way: Way, output: Output, link: Link, *, pty: bool) -> None:
        super().__init__(way, output)
        self._pty = pty
        self._link = link
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._cut = False
        self._opening: asyncio.Task[None] | None = None

    def open(self, connection: asyncssh.SSHClientConnection) -> None:
        """Begin to open it, in a slot that was taken for it, given back when it is closed."""
        self._opening = asyncio.create_task(self._open(connection))

    async def _open(self, connection: asyncssh.SSHClientConnection) -> None:
        async def ask() -> object:
            if self._cut:
                raise asyncio.CancelledError
            return await connection.create_session(
                lambda: self,
                self.way.command,
                env={},
                send_env=[],
                request_pty="force" if self._pty else False,
                term_type=TERMINAL if self._pty else None,
                term_size=TERMINAL_SIZE if self._pty else None,
                x11_forwarding=False,
                encoding=None,
            )

        try:
            await self._link.slots.open(connection, ask)
        except asyncio.CancelledError:
            self._gone(None)
        except Exception as error:
            if isinstance(error, asyncssh.ChannelOpenError) and not connection.is_closed():
                self.sent = False  # or it was, and is not done
                error.reason = REFUSALS.get(error.code, error.reason)
            self._gone(error)

    def cut(self) -> None:
        """Cut the leash: have the other side end it."""
        self._cut = True
        if self._pty:
            self.abandon()
        elif self._channel is not None:
            self._channel.write_eof()

    def abandon(self) -> None:
        """Close the session; what still runs goes on."""
        if self._channel is not None:
            self._channel.close()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The session is open, and the command is being sent."""
        self._channel = chan
        self.sent = True
        if (self.way.stdin or self._cut) and not self._pty:
            # One turn of the loop later the command has gone out, and the script can follow at
            # once instead of waiting for the server's answer.
            asyncio.get_running_loop().call_soon(self._hand_over)

    def session_started(self) -> None:
        """The command runs; on a terminal, nothing can be written before."""
        if self._pty:
            self._hand_over()

    def _hand_over(self) -> None:
        if self.way.stdin:
            self._write(self.way.stdin)
        if self._cut:
            self.cut()

    def _write(self, data: bytes) -> None:
        if self._channel is not None:
            # Cut a moment ago, or closed by the server: the end of the session tells which.
            with suppress(BrokenPipeError):
                self._channel.write(data)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take what it wrote."""
        self._wrote("stdout" if datatype is None else "stderr", data)

    def eof_received(self) -> bool:
        """Keep our own side open: it is the leash."""
        return True

    def exit_status_received(self, status: int) -> None:
        """Take how it ended."""
        self._ended(status, None)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Take how it ended."""
        self._ended(None, signal)

    def connection_lost(self, exc: Exception | None) -> None:
        """The session is closed, or the connection is gone."""
        self._channel = None
        self._gone(exc)

    @property
    def is_hung_up(self) -> bool:
        """True if it ran on a terminal, which is gone."""
        return self._pty and self.closed.is_set() and self.problem is None

    def _learned(self, shell: str) -> None:
        self._link.shell = shell

    def _gone(self, problem: BaseException | None) -> None:
        if not self.closed.is_set():
            self._link.slots.release()
        super()._gone(problem)


class SshSession(Runner):
    """One job's hold on a node.

    Args:
        node: the node.
        tell: called with lines of output; see :class:`sshjobs.output.Lines`.
    """

    def __init__(self, node: SshNode, tell: Tell) -> None:
        super().__init__(tell)
        self._node = node
        self._lease: Lease | None = None

    @property
    def node(self) -> SshNode:
        """The node."""
        return self._node

    @property
    def _shell(self) -> str | None:
        return self.lease().link.shell

    def lease(self) -> Lease:
        """Return the lease, taken when it is first needed."""
        if self._lease is None:
            self._lease = pool().lease(self.node)
        return self._lease

    async def connection(self) -> asyncssh.SSHClientConnection:
        """Return the node's connection, opened or reopened if need be."""
        return await self.lease().connection()

    @asynccontextmanager
    async def sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give an sftp client, shared by all jobs of the node; SshError if there is none."""
        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(self.lease().link.sftp())
            except SshError:
                raise
            except (asyncssh.Error, OSError) as error:
                why = _no_sftp(error)
                failure = (
                    TransferFailed(why, node=self.node, phase="transfer")
                    if why
                    else self.failure(error, "transfer")
                )
                failure.add_note("files go by sftp, which the server has to offer")
                raise failure from error
            yield client

    async def _carry_out(
        self, launch: Launch, folder: str | None, output: Output, argv: Argv
    ) -> RemoteProcess:
        link = self.lease().link
        for attempt in range(1, ATTEMPTS + 1):
            connection = await self._connection_and_slot(link)
            how = way(launch, link.shell) if folder is None else from_stage(launch, folder)
            process = RemoteProcess(how, output, link, pty=launch.pty)
            process.open(connection)
            await self._see_through(process, argv)
            if process.sent or not connection.is_closed() or attempt == ATTEMPTS:
                break
        return process

    async def _connection_and_slot(self, link: Link) -> asyncssh.SSHClientConnection:
        """Return a connection that lived when the slot on it was taken.

        Whoever waits for a slot sees the connection break as often as it does; only an attempt to
        use it counts as one.  Nobody keeps a slot while waiting for a connection: if there is none
        to be had, all who wait are to know at once.
        """
        while True:
            connection = await self.connection()
            await link.slots.acquire()
            if not connection.is_closed():
                return connection
            link.slots.release()

    def _unknown(self, process: Process, completed: Completed) -> SshError:
        """Return the error for a command of which nobody knows how it ended."""
        if not process.sent and _is_lost(process.problem):
            problem = (
                f"connection lost, {ATTEMPTS} times, before this was sent: {completed.command}"
            )
            return ConnectionLost(problem, node=self.node, phase="command")
        if not process.sent:
            problem = f"no session for {completed.command}: {_reason(process.problem)}"
            return SshError(problem, node=self.node, phase="command")
        return ConnectionLost(
            f"{_lost(process.problem)} while this ran: {completed.command}; it may still run there",
            node=self.node,
            phase="command",
            completed=completed,
        )

    async def wait_lost(self, seconds: float) -> None:
        """Wait until the connection is lost, but not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.lease().link.wait_lost()

    def failure(self, error: Exception, phase: str, path: str | None = None) -> SshError:
        """Return the SshError that tells what `error` means."""
        if isinstance(error, SshError):
            return error
        # The server's side of sftp is a program of its own, which may end, or be ended, alone.
        alone = isinstance(error, SFTP_ENDED) and self.lease().link.is_connected
        lost = _is_lost(error) and not alone
        kind = ConnectionLost if lost else TransferFailed
        problem = _lost(error) if lost else _reason(error)
        if alone:
            problem = "the server ended its sftp, while the connection lives"
        return kind(problem, node=self.node, phase=phase, path=path)

    async def close(self) -> None:
        """End what still runs, and give the lease back."""
        try:
            await super().close()
        except BaseException:
            # Out of time: whoever still runs over there is ended by its watchdog.
            if self._lease is not None:
                self._lease.drop()
            raise
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()


def _no_sftp(error: Exception) -> str:
    """Return what it means that there is no sftp; an empty string if only `error` can tell."""
    if isinstance(error, asyncssh.ChannelOpenError) and error.code == OPEN_REQUEST_SESSION_FAILED:
        return "the server offers no sftp (a Subsystem line in its sshd_config)"
    if isinstance(error, asyncssh.SFTPBadMessage):
        return (
            f"what answers is not sftp: {error.reason}; a forced command, or login scripts "
            "that print something"
        )
    return ""


def _is_lost(error: BaseException | None) -> bool:
    return isinstance(error, LOST) or (
        isinstance(error, asyncssh.ChannelOpenError) and "closed" in error.reason
    )


def _lost(error: BaseException | None) -> str:
    reason = _reason(error)
    return (
        "connection lost" if reason.lower() == "connection lost" else f"connection lost ({reason})"
    )


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "closed by the other side"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return safe_line(reason) if reason else safe_error(error)
