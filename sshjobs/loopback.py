"""One ssh server on loopback that runs real commands; :mod:`sshjobs.sandbox` makes fleets of them.

It does as a stock sshd does, `MaxSessions` and `MaxStartups` included, but that a child which a
command left behind loses its channel after half a second of silence, so that no client waits for it
for ever.  What can go wrong with it is a list of conditions, see :mod:`sshjobs.faults`.
"""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
import posixpath
import random
import signal
import sys
import termios
import time
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import asyncssh

from .faults import Condition, worst
from .wires import Entrance

LOOPBACK = "127.0.0.1"
MARK = "ORCHESTRION_FLEET"
"""The variable in the environment of all commands that tells whose they are."""

MAX_SESSIONS = 10
"""So many sessions can be open at once on a connection."""
MAX_STARTUPS = (10, 30, 100)
"""From so many connections that are not logged in on, newcomers are dropped, with this probability,
in percent; it rises to 100 at that many."""

_KEY_TYPE = "ssh-ed25519"
_SFTP_VERSION = 3
_SHELL = "/bin/sh"
_CHUNK = 1 << 16
_LINGER = 0.5  # seconds of silence after which a child left behind loses its channel
_KILL_TIMEOUT = 5.0  # seconds that killed processes may take to vanish
_POLL = 0.01
# Makes the terminal on stdin the controlling one of a new session, then becomes the shell, without
# what Python does to signals.
_ON_TERMINAL = """
import os, signal, sys
os.login_tty(0)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
# No file can grow beyond nothing.  For want of a disk that is full, this is as close as one comes
# without being root: the error is EFBIG, and not ENOSPC.
_ON_FULL_DISK = """trap '' XFSZ; ulimit -S -f 0; exec "$@"
"""


def make_key(comment: str = "") -> asyncssh.SSHKey:
    """Return a new private key."""
    return asyncssh.generate_private_key(_KEY_TYPE, comment=comment)


def user_name() -> str:
    """Return the name of the current user; some have none, in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


class Host:
    """One server: its folders, its key, its connections and the commands they started.

    Attributes:
        name: what it is called.
        port: where it listens.
        home: the folder where its commands start.
        mark: what the environment of its commands has as a word of ``MARK``.
        logins: the connections that are logged in.
    """

    def __init__(self, name: str, folder: Path, key: asyncssh.SSHKey, mark: str) -> None:
        self.name = name
        self.port = 0
        self.home = folder / "home"
        self.mark = f"{mark}-{name}"
        self.client_key = key.convert_to_public()
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.logins: set[asyncssh.SSHServerConnection] = set()
        self._temporary = folder / "tmp"
        self._host_key = make_key()
        self._entrance = Entrance(self._admits)
        self._conditions: list[Condition] = []
        self._commands: set[asyncio.Task[None]] = set()
        self._groups: set[int] = set()
        for path in (self.home, self._temporary):
            path.mkdir(parents=True)

    async def listen(self) -> None:
        """Take connections from now on, on a port that the system chooses."""
        await asyncssh.listen(
            LOOPBACK,
            0,
            tunnel=self._entrance,
            server_factory=partial(_Login, self),
            server_host_keys=[self._host_key],
            encoding=None,
            line_editor=False,
        )
        self.port = self._entrance.get_port()

    def known_hosts_line(self) -> str:
        """Return the line of a known_hosts file that trusts this server."""
        public = self._host_key.export_public_key().decode()
        return f"[{LOOPBACK}]:{self.port} {public}"

    @property
    def is_full(self) -> bool:
        """Whether nothing can be written to files."""
        return self._entrance.condition.full

    def add(self, condition: Condition) -> None:
        """Have one more thing go wrong."""
        self._conditions.append(condition)
        self._entrance.change(worst(self._conditions))

    def remove(self, condition: Condition) -> None:
        """Have one of these less."""
        self._conditions.remove(condition)
        self._entrance.change(worst(self._conditions))

    def cut(self) -> None:
        """Cut all connections; commands go on."""
        self._entrance.cut()

    def kill(self) -> None:
        """Kill all commands, with those of their children that did not leave them."""
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def close(self) -> None:
        """Stop listening and cut all connections; commands go on."""
        self._entrance.close()
        self._entrance.cut()

    async def wait_closed(self) -> None:
        """Kill what still runs, and wait for the end of all that serves it."""
        await self._entrance.wait_closed()
        for connection in list(self.connections):
            await connection.wait_closed()
        deadline = time.monotonic() + _KILL_TIMEOUT
        while self._commands and time.monotonic() < deadline:
            self.kill()
            await asyncio.wait(self._commands, timeout=_POLL)

    def _admits(self, others: int) -> bool:
        """Decide about a newcomer as sshd does."""
        begin, rate, full = MAX_STARTUPS
        startups = others - len(self.logins)
        if startups < begin:
            return True
        return random.uniform(0, 100) > rate + (100 - rate) * (startups - begin) / (full - begin)

    def accept(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run a command; it may be over later than its connection."""
        # A task of ours, since those of the connection are not waited for.
        command = asyncio.create_task(self._run(process))
        self._commands.add(command)
        command.add_done_callback(self._commands.discard)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Serve one command until it has ended, even if its client went away before."""
        streams = _Streams(process.term_size if process.term_type else None)
        try:
            await streams.connect()
            child = await self._spawn(process, streams)
        except OSError as error:
            process.stderr.write(f"{error}\n".encode())
            process.exit(255)
            streams.close()
            return
        finally:
            streams.release()
        self._groups.add(child.pid)
        await _converse(process, streams, child)
        streams.close()
        await child.wait()
        self._groups.discard(child.pid)

    async def _spawn(
        self, process: asyncssh.SSHServerProcess[bytes], streams: _Streams
    ) -> asyncio.subprocess.Process:
        """Start the shell with the command, or alone, in a session of its own."""
        shell = [_SHELL] if process.command is None else [_SHELL, "-c", process.command]
        if self.is_full:
            shell = [_SHELL, "-c", _ON_FULL_DISK, _SHELL, *shell]
        if streams.terminal is not None:
            shell = [sys.executable, "-I", "-S", "-c", _ON_TERMINAL, *shell]
        stdin, stdout, stderr = streams.given
        return await asyncio.create_subprocess_exec(
            *shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self.home,
            env=self._environment(process),
            start_new_session=streams.terminal is None,
        )

    def _environment(self, process: asyncssh.SSHServerProcess[bytes]) -> dict[str, str]:
        inherited = {"LANG", "LANGUAGE", "TZ"}
        env = {k: v for k, v in os.environ.items() if k in inherited or k.startswith("LC_")}
        # The interpreter's folder comes last, so that there is a python3 in any case.
        folders = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
        env |= {
            "HOME": str(self.home),
            "TMPDIR": str(self._temporary),
            "PATH": os.pathsep.join(folders),
        }
        env |= {"USER": user_name(), "LOGNAME": user_name(), "SHELL": _SHELL}
        if process.term_type:
            env["TERM"] = process.term_type
        # A fleet may run inside a command of another fleet: both marks are kept.
        env[MARK] = f"{os.environ.get(MARK, '')} {self.mark} "
        return env


async def _converse(
    process: asyncssh.SSHServerProcess[bytes],
    streams: _Streams,
    child: asyncio.subprocess.Process,
) -> None:
    """Carry data between client and command until one of them is gone, then tell the status."""
    feeding = asyncio.create_task(_feed(process, streams, child.pid))
    exited = asyncio.create_task(child.wait())
    closed = asyncio.create_task(process.wait_closed())
    ways = list(zip(streams.outputs, (process.stdout, process.stderr), strict=False))
    pumps = [asyncio.create_task(_pump(*way, None)) for way in ways]
    await asyncio.wait({exited, closed}, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(feeding, *pumps)
    streams.end_input()  # who was left behind may wait for it
    if not closed.done():
        await asyncio.gather(*(_pump(*way, _LINGER) for way in ways))
        status = await exited
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)
    await _cancel(closed, exited)


async def _feed(process: asyncssh.SSHServerProcess[bytes], streams: _Streams, group: int) -> None:
    """Give the command what its client sends: data, signals, sizes of the terminal, the end."""
    stdin = streams.stdin
    with suppress(asyncssh.Error):
        while True:
            try:
                data = await process.stdin.read(_CHUNK)
                if not data:
                    break
                # What a command does not want to read is dropped; signals still come this way.
                if not stdin.is_closing():
                    with suppress(ConnectionError):
                        stdin.write(data)
                        await stdin.drain()
            except asyncssh.SignalReceived as request:
                with suppress(AttributeError, ProcessLookupError):
                    os.killpg(group, getattr(signal, f"SIG{request.signal}"))
            except asyncssh.TerminalSizeChanged as change:
                streams.resize(change.term_size)
            except asyncssh.BreakReceived:
                continue
    if streams.terminal is None:
        with suppress(OSError):
            stdin.write_eof()


async def _pump(
    source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes], patience: float | None
) -> None:
    """Carry output to the client until its end, or until nothing came for `patience` seconds."""
    # OSError: the client is gone or, EIO, the last one who had the terminal open is.
    with suppress(OSError, asyncssh.Error, TimeoutError):
        while True:
            async with asyncio.timeout(patience):
                data = await source.read(_CHUNK)
            if not data:
                break
            sink.write(data)
            await sink.drain()


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class _Login(asyncssh.SSHServer):
    """One connection: the holder of the fleet's key comes in, as the current user."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._sessions: set[_Session] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Have it known, so that its end can be waited for."""
        self._connection = conn
        self._host.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._host.connections.discard(self._connection)
        self._host.logins.discard(self._connection)

    def auth_completed(self) -> None:
        """It is no newcomer any more."""
        self._host.logins.add(self._connection)

    def session_requested(self) -> _Session | bool:
        """Open one more session, for a command or for files; False if there are too many."""
        if len(self._sessions) >= MAX_SESSIONS:
            return False
        return _Session(self._host, self._sessions)

    def begin_auth(self, username: str) -> bool:
        """Nobody comes in without a key."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys only."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Commands run as the current user, so that is the only name there is."""
        return username == user_name() and key == self._host.client_key

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool | Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Lead on to loopback only: a fleet opens no way out of this machine."""
        if dest_host not in {LOOPBACK, "localhost"}:
            return False
        return self._lead_on(dest_host, dest_port)

    async def _lead_on(self, host: str, port: int) -> asyncssh.SSHTCPSession[bytes]:
        try:
            onward = await self._connection.forward_connection(host, port)
        except asyncssh.ChannelOpenError as error:
            if isinstance(error.__context__, OSError) and error.__context__.errno:
                error.reason = os.strerror(error.__context__.errno)  # as sshd has it
            raise
        if self._connection.is_closed():  # meanwhile, and asyncssh leaves this one open
            onward.close()
        return cast(asyncssh.SSHTCPSession[bytes], onward)


class _Session(asyncssh.SSHServerProcess[bytes]):
    """One session of a connection, as long as it is open."""

    def __init__(self, host: Host, sessions: set[_Session]) -> None:
        super().__init__(host.accept, partial(_Sftp, host), _SFTP_VERSION, allow_scp=False)
        self._sessions = sessions
        sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._sessions.discard(self)
        super().connection_lost(exc)


class _Sftp(asyncssh.SFTPServer):
    """Files, with relative names taken from the home folder as sshd does."""

    def __init__(self, host: Host, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(chan)
        self._host = host
        self._home = os.fsencode(host.home)

    def map_path(self, path: bytes) -> bytes:
        """Return the path on this machine."""
        return posixpath.join(self._home, path)

    def write(self, file_obj: object, offset: int, data: bytes) -> int | Awaitable[int]:
        """Write to a file, if there is room."""
        if self._host.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(file_obj, offset, data)


class _Streams:
    """The standard streams of one command: three pipes, or one terminal of the given size.

    `given` are the fds for its stdin, stdout and stderr; `stdin` and `outputs` are our ends.
    """

    def __init__(self, size: asyncssh.misc.TermSize | None) -> None:
        self.terminal: int | None = None
        if size is None:
            (stdin, ours), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
            self.given, outs = (stdin, stdout, stderr), [out, err]
        else:
            self.terminal, theirs = os.openpty()
            self.given, outs = (theirs, theirs, theirs), [self.terminal]
            ours = os.dup(self.terminal)
            self.resize(size)
        self._into, self._outs = os.fdopen(ours, "wb", 0), [os.fdopen(fd, "rb", 0) for fd in outs]
        self.outputs: list[asyncio.StreamReader] = []
        self._transports: list[asyncio.BaseTransport] = []

    async def connect(self) -> None:
        """Join our ends to the event loop."""
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        writing, _ = await loop.connect_write_pipe(lambda: protocol, self._into)
        self.stdin = asyncio.StreamWriter(writing, protocol, None, loop)
        self._transports.append(writing)
        for out in self._outs:
            reader = asyncio.StreamReader()
            factory = partial(asyncio.StreamReaderProtocol, reader)
            reading, _ = await loop.connect_read_pipe(factory, out)
            self.outputs.append(reader)
            self._transports.append(reading)

    def resize(self, size: asyncssh.misc.TermSize) -> None:
        """Tell the terminal, if there is one, how many columns and rows it has."""
        if self.terminal is not None:
            termios.tcsetwinsize(self.terminal, (size[1], size[0]))

    def end_input(self) -> None:
        """Have nothing more come from stdin, as sshd does once a command has ended."""
        if self.terminal is None and not self.stdin.is_closing():
            self.stdin.transport.abort()

    def release(self) -> None:
        """Close the ends that were given to the command."""
        for fd in set(self.given):
            os.close(fd)

    def close(self) -> None:
        """Close our ends; for a terminal this is its hang-up."""
        if not self.stdin.is_closing():
            self.stdin.transport.abort()
        for transport in self._transports:
            transport.close()
