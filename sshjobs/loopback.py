"""One ssh server on loopback that runs real commands; :mod:`sshjobs.sandbox` makes fleets of them.

It does as sshd does, but that a child which a command left behind loses its channel after half a
second of silence, so that no client waits for it for ever.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import posixpath
import signal
import sys
import termios
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

LOOPBACK = "127.0.0.1"
MARK = "ORCHESTRION_FLEET"
"""The variable in the environment of all commands that tells whose they are."""

_KEY_TYPE = "ssh-ed25519"
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
    """One server: its folders, its key, its connections and the commands they started."""

    def __init__(self, name: str, folder: Path, key: asyncssh.SSHKey, mark: str) -> None:
        self.name = name
        self.port = 0
        self.home = folder / "home"
        self._temporary = folder / "tmp"
        self._client_key = key.convert_to_public()
        self._host_key = make_key()
        self._mark = mark
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._commands: set[asyncio.Task[None]] = set()
        self._groups: set[int] = set()
        for path in (self.home, self._temporary):
            path.mkdir(parents=True)

    async def listen(self) -> None:
        """Take connections from now on, on a port that the system chooses."""
        self._acceptor = await asyncssh.listen(
            LOOPBACK,
            0,
            server_factory=partial(_Login, self._connections, self._client_key),
            server_host_keys=[self._host_key],
            process_factory=self._accept,
            sftp_factory=partial(_Sftp, self.home),
            encoding=None,
            line_editor=False,
        )
        self.port = self._acceptor.get_port()

    def known_hosts_line(self) -> str:
        """Return the line of a known_hosts file that trusts this server."""
        public = self._host_key.export_public_key().decode()
        return f"[{LOOPBACK}]:{self.port} {public}"

    def close(self) -> None:
        """Stop listening and cut all connections; commands go on."""
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in list(self._connections):
            connection.abort()

    async def wait_closed(self) -> None:
        """Kill what still runs, and wait for the end of all that serves it."""
        for connection in list(self._connections):
            await connection.wait_closed()
        if self._acceptor is not None:
            await self._acceptor.wait_closed()
        deadline = time.monotonic() + _KILL_TIMEOUT
        while self._commands and time.monotonic() < deadline:
            for group in self._groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            await asyncio.wait(self._commands, timeout=_POLL)

    def _accept(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
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
        env[MARK] = f"{os.environ.get(MARK, '')} {self._mark}"
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
    """Who may come in: the holder of the fleet's key, as the current user."""

    def __init__(
        self, connections: set[asyncssh.SSHServerConnection], key: asyncssh.SSHKey
    ) -> None:
        self._connections = connections
        self._key = key
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection, so that it can be cut."""
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Nobody comes in without a key."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys only."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Commands run as the current user, so that is the only name there is."""
        return username == user_name() and key == self._key

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        """Lead on to loopback only: a fleet opens no way out of this machine."""
        return dest_host in {LOOPBACK, "localhost"}


class _Sftp(asyncssh.SFTPServer):
    """Files, with relative names taken from the home folder as sshd does."""

    def __init__(self, home: Path, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(chan)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """Return the path on this machine."""
        return posixpath.join(self._home, path)


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
