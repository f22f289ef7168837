"""A fleet of ssh servers on loopback: real connections and real commands, without a lab.

The demo, the notebooks and the tests of users run against it::

    with Fleet(6) as fleet:
        job = SshJob(fleet.nodes[0], "uname -a")
        Engine(job).orchestrate()

The servers live in one thread of this process, with an event loop of their own, and listen on
127.0.0.1 only.  Each node has its own port, host key and home folder.  One key, made for the
occasion, opens them; host keys are checked as anywhere else.

What runs there is real: a command is given to ``/bin/sh -c`` as the current user, in the home
folder of its node, in a session of its own.  As with sshd, a pty can be asked for; a client that
goes away takes its pty along (the kernel then sends SIGHUP) but ends nothing that has none: whoever
starts a command sees to its end.  What is left is killed when the fleet ends.

At the end, an exception and Ctrl-C included, processes, thread, sockets and folders are gone.
Processes are found by a mark in their environment where there is a /proc; elsewhere one that leaves
its process group escapes.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import posixpath
import shutil
import signal
import sys
import tempfile
import termios
import threading
import time
import uuid
import weakref
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh

from engine import BadOption
from engine.text import safe_repr

from .node import SshNode

_LOOPBACK = "127.0.0.1"
_SHELL = "/bin/sh"
_MARK = "ORCHESTRION_FLEET"
_KEY_TYPE = "ssh-ed25519"
_CHUNK = 1 << 16
# Seconds of silence after which a background child that a command left behind loses its channel.
_LINGER = 0.5
# Seconds that killed processes may take to vanish.
_KILL_TIMEOUT = 5.0
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


class Fleet:
    """`count` ssh servers on loopback, and a gateway in front of them.

    Args:
        count: how many nodes, at least 1; they are named ``node1``, ``node2``, ...
        gateway: whether connections to the nodes go through one more node, ``gateway``.

    Use it as a context manager, with ``with`` or ``async with``; once ended it can be entered
    again, and is then a new fleet::

        with Fleet(2) as fleet:
            first, second = fleet.nodes
            fleet.home(first)       # the folder where its commands start

    Starting takes some milliseconds a node.  Commands get a minimal environment: HOME, USER,
    LOGNAME, SHELL, TMPDIR (private to the node as well), and the PATH and language of this program.
    """

    def __init__(self, count: int, *, gateway: bool = True) -> None:
        given: object = count
        if not isinstance(given, int) or given < 1:
            raise BadOption(
                f"Fleet({safe_repr(given, 40)}): give a number of nodes, 1 or more", "count", count
            )
        self._names = [f"node{number}" for number in range(1, count + 1)]
        self._gateway = "gateway" if gateway else None
        self._running: _Servers | None = None

    @property
    def nodes(self) -> list[SshNode]:
        """The nodes in order, each reached through the gateway if there is one."""
        nodes = self._servers().nodes
        return [nodes[name] for name in self._names]

    @property
    def gateway(self) -> SshNode | None:
        """The node that connections to the others go through, None if there is none."""
        nodes = self._servers().nodes
        return None if self._gateway is None else nodes[self._gateway]

    @property
    def config(self) -> Path:
        """A configuration file in the format of OpenSSH that knows all nodes by their names.

        It works for others too: ``ssh -F <config> node1`` from a terminal.
        """
        return self._servers().config

    def home(self, node: SshNode) -> Path:
        """Return the home folder of `node`; KeyError if it is not of this fleet."""
        return self._servers().homes[node.hostname]

    def __enter__(self) -> Self:
        servers = self._start()
        try:
            servers.started.result()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        servers = self._stop()
        servers.ended.result()
        servers.thread.join()

    async def __aenter__(self) -> Self:
        servers = self._start()
        try:
            await _wait(servers.started)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        servers = self._stop()
        await _wait(servers.ended)
        servers.thread.join()

    def _servers(self) -> _Servers:
        if self._running is None:
            raise RuntimeError("this fleet is not running: use `with Fleet(6) as fleet:`")
        return self._running

    def _start(self) -> _Servers:
        if self._running is not None:
            raise RuntimeError("this fleet is running already: make another one")
        self._running = _Servers(self._names, gateway=self._gateway)
        return self._running

    def _stop(self) -> _Servers:
        servers, self._running = self._servers(), None
        servers.stop.set_result(None)
        return servers


async def _wait(future: Future[None]) -> None:
    # Shielded: who waits may be cancelled, the thread goes on to its end all the same.
    await asyncio.shield(asyncio.wrap_future(future))


class _Servers:
    """All servers of a fleet and their thread, from start to end.

    The thread talks to others by three futures only: `started` is done once `nodes`, `homes` and
    `config` are set, `stop` is set from outside, `ended` is done when nothing is left.
    """

    def __init__(self, names: Iterable[str], *, gateway: str | None) -> None:
        self.started: Future[None] = Future()
        self.stop: Future[None] = Future()
        self.ended: Future[None] = Future()
        self.nodes: dict[str, SshNode] = {}
        self.homes: dict[str, Path] = {}
        self._gateway = gateway
        self._names = [name for name in (gateway, *names) if name is not None]
        self._mark = uuid.uuid4().hex
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        self.config = self._folder / "config"
        # It also runs at exit, if the program ends (a second Ctrl-C) before the thread did.
        self._clean = weakref.finalize(self, _clean, os.getpid(), self._folder, self._mark)
        self.thread = threading.Thread(target=self._main, name="fleet", daemon=True)
        self.thread.start()

    def _main(self) -> None:
        log = logging.getLogger("asyncio")
        log.addFilter(self._is_news)
        try:
            try:
                asyncio.run(self._serve())
            finally:
                self._clean()
                log.removeFilter(self._is_news)
        except BaseException as error:
            # Told once: to the one who enters the fleet or, if that went well, who leaves it.
            if self.started.done():
                self.ended.set_exception(error)
                return
            self.started.set_exception(error)
        self.ended.set_result(None)

    def _is_news(self, record: logging.LogRecord) -> bool:
        # Clients hang up while a server still answers them; asyncio warns of that, not knowing what
        # it is that gets lost.
        ours = record.thread == self.thread.ident
        return not (ours and record.getMessage().startswith("socket.send() raised"))

    async def _serve(self) -> None:
        key = asyncssh.generate_private_key(_KEY_TYPE, comment="made for a fleet on loopback")
        hosts = [_Host(name, self._folder / name, key, self._mark) for name in self._names]
        try:
            for host in hosts:
                await host.listen()
            self._write_files(key, hosts)
            self._make_nodes(hosts)
            self.started.set_result(None)
            await asyncio.wrap_future(self.stop)
        finally:
            for host in hosts:
                host.close()
            for host in hosts:
                await host.wait_closed()

    def _write_files(self, key: asyncssh.SSHKey, hosts: Iterable[_Host]) -> None:
        identity, known_hosts = self._folder / "key", self._folder / "known_hosts"
        identity.touch(mode=0o600)
        identity.write_bytes(key.export_private_key())
        known_hosts.write_text("".join(host.known_hosts_line() for host in hosts))
        common = {
            "User": _user(),
            "IdentityFile": identity,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known_hosts,
        }
        lines: list[str] = []
        for host in hosts:
            lines += [f"Host {host.name}", f"  HostName {_LOOPBACK}", f"  Port {host.port}"]
        lines += ["Host *", *(f'  {option} "{value}"' for option, value in common.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def _make_nodes(self, hosts: Iterable[_Host]) -> None:
        gateway: SshNode | None = None
        for host in hosts:
            node = SshNode(host.name, config=self.config, gateway=gateway)
            self.nodes[host.name], self.homes[host.name] = node, host.home
            if host.name == self._gateway:
                gateway = node


class _Host:
    """One server: its folders, its key, its connections and the commands they started."""

    def __init__(self, name: str, folder: Path, key: asyncssh.SSHKey, mark: str) -> None:
        self.name = name
        self.port = 0
        self.home = folder / "home"
        self._temporary = folder / "tmp"
        self._client_key = key.convert_to_public()
        self._host_key = asyncssh.generate_private_key(_KEY_TYPE)
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
            _LOOPBACK,
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
        return f"[{_LOOPBACK}]:{self.port} {public}"

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
        while self._commands:
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
        env |= {"USER": _user(), "LOGNAME": _user(), "SHELL": _SHELL}
        if process.term_type:
            env["TERM"] = process.term_type
        # A fleet may run inside a command of another fleet: both marks are kept.
        env[_MARK] = f"{os.environ.get(_MARK, '')} {self._mark}"
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
        return username == _user() and key == self._key

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        """Lead on to loopback only: a fleet opens no way out of this machine."""
        return dest_host in {_LOOPBACK, "localhost"}


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


def _user() -> str:
    """Return the name of the current user; some have none, in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def _clean(owner: int, folder: Path, mark: str) -> None:
    """Kill all processes that bear the mark, and remove the folder."""
    if os.getpid() != owner:
        return  # a fork of the program, at its own end
    deadline = time.monotonic() + _KILL_TIMEOUT
    while (pids := _marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)


def _marked(mark: str) -> list[int]:
    """Return the processes that have the mark in their environment, as far as /proc tells."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found
