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

What can go wrong with hosts and networks can be made to: :meth:`Fleet.drop` and the methods after
it, whichever thread they are called from, while a run goes on.

At the end, an exception and Ctrl-C included, processes, thread, sockets and folders are gone.
Processes are found by a mark in their environment where there is a /proc; elsewhere one that leaves
its process group escapes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh

from engine import BadOption
from engine.text import safe_line, safe_repr

from .faults import Condition, Fault
from .loopback import LOOPBACK, Host, make_key, user_name
from .node import SshNode

_KILL_TIMEOUT = 5.0  # seconds that killed processes may take to vanish
_POLL = 0.01
_LAST_TURNS = 10  # of the event loop


class Fleet:
    """`count` ssh servers on loopback, and a gateway in front of them.

    Args:
        count: how many nodes, at least 1; they are named ``node1``, ``node2``, ...
        gateway: whether connections to the nodes go through one more node, ``gateway``.
        options: for all of the nodes, see :class:`~sshjobs.SshNode`: ``keepalive=0.2`` finds out in
            0.6 seconds that a node is frozen.

    Use it as a context manager, with ``with`` or ``async with``; once ended it can be entered
    again, and is then a new fleet::

        with Fleet(2) as fleet:
            first, second = fleet.nodes
            fleet.home(first)       # the folder where its commands start

    Starting takes some milliseconds a node.  Commands get a minimal environment: HOME, USER,
    LOGNAME, SHELL, TMPDIR (private to the node as well), and the PATH and language of this program.
    Like a stock sshd the servers allow 10 sessions on a connection, and begin to drop newcomers
    when 10 are not logged in yet.

    What goes wrong is a :class:`~sshjobs.faults.Fault`: it begins at once, and ends with its block,
    by its ``end()``, or with the fleet::

        with fleet.freeze(first):
            ...

    As a job of a run, let it happen in a coroutine: that is over before anybody notices, which a
    function in a thread, as a CallJob's, may not be.

    All of these methods take nodes of this fleet, one or more, the gateway too, and raise BadOption
    if one is not: a node of another fleet, or none at all.  Before the fleet is entered and once it
    has ended they raise RuntimeError.
    """

    def __init__(self, count: int, *, gateway: bool = True, **options: Any) -> None:
        given: object = count
        if not isinstance(given, int) or given < 1:
            raise BadOption(
                f"Fleet({safe_repr(given, 40)}): give a number of nodes, 1 or more", "count", count
            )
        self._names = [f"node{number}" for number in range(1, count + 1)]
        self._gateway = "gateway" if gateway else None
        self._options = options
        SshNode("node1", config=None, **options)  # what is wrong with them is told here
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
        """Return the home folder of `node`."""
        (host,) = self._hosts("home", [node])
        return host.home

    def drop(self, *nodes: SshNode) -> None:
        """Cut all connections of `nodes`, once.

        What runs there goes on, as far as it does not see to it itself; new connections are made.
        """
        hosts = self._hosts("drop", nodes)
        self._servers().do(lambda: _strike(hosts, Host.cut))

    def refuse(self, *nodes: SshNode) -> Fault:
        """Have `nodes` refuse new connections, as if no server ran there; old ones stay."""
        return self._fault("refuse", nodes, Condition(refusing=True))

    def unplug(self, *nodes: SshNode) -> Fault:
        """Have nobody reach `nodes`: connections hear nothing, and new ones get no answer at all.

        Those who try run into their `connect_timeout`.  When it ends, all goes on as if the packets
        had been sent again.
        """
        return self._fault("unplug", nodes, Condition(deaf=True, silent=True))

    def freeze(self, *nodes: SshNode) -> Fault:
        """Have the servers of `nodes` do nothing: who connects is let in, and hears nothing.

        Those who try run into their `login_timeout`, and those who are there notice it by their
        `keepalive`.  Commands go on.  When it ends, what was sent meanwhile is answered.
        """
        return self._fault("freeze", nodes, Condition(silent=True))

    def power_off(self, *nodes: SshNode) -> Fault:
        """Switch `nodes` off: commands are killed, connections cut, and new ones refused.

        The end of it is the end of the boot.
        """
        return self._fault("power_off", nodes, Condition(refusing=True), Host.cut, _kill_all)

    def slow(self, *nodes: SshNode, latency: float = 0.0, bandwidth: float | None = None) -> Fault:
        """Slow the way to `nodes` down.

        Args:
            nodes: which.
            latency: seconds that everything takes longer, in each direction.
            bandwidth: bytes per second, for each connection in each direction.
        """
        if not latency >= 0:
            raise _bad("slow", "latency", latency, "give a number of seconds")
        if bandwidth is not None and not bandwidth > 0:
            raise _bad("slow", "bandwidth", bandwidth, "give a number of bytes per second")
        return self._fault("slow", nodes, Condition(latency=latency, bandwidth=bandwidth))

    def fill(self, *nodes: SshNode) -> Fault:
        """Have the disks of `nodes` full.

        Over sftp all writing fails with ENOSPC.  Commands that start meanwhile cannot write to any
        file either, but are told EFBIG ("File too large"), as this is done by a limit of theirs;
        commands that run already are not concerned.
        """
        return self._fault("fill", nodes, Condition(full=True))

    def leftovers(self) -> list[str]:
        """Return what a test has left on the hosts: a line for each connection and process.

        Connections are open as long as a job has not been shut down, or a node is held.  Processes
        are told as far as /proc does.
        """
        return self._servers().leftovers()

    def _fault(
        self,
        what: str,
        nodes: Sequence[SshNode],
        condition: Condition,
        *blows: Callable[[Host], None],
    ) -> Fault:
        servers, hosts = self._servers(), self._hosts(what, nodes)

        def begin() -> None:
            for host in hosts:
                host.add(condition)
            _strike(hosts, *blows)

        def end() -> None:
            for host in hosts:
                host.remove(condition)

        servers.do(begin)
        told = ", ".join(host.name for host in hosts)
        return Fault(f"{what} {told}", lambda: servers.do(end))

    def _hosts(self, what: str, nodes: Sequence[SshNode]) -> list[Host]:
        servers = self._servers()
        if not nodes:
            raise BadOption(f"Fleet.{what}: give one node, or more", "nodes", nodes)
        config = (str(servers.config),)
        for node in nodes:
            given: object = node  # whatever it is
            ours = isinstance(given, SshNode) and given.config == config
            if not ours or node.hostname not in servers.hosts:
                raise _bad(
                    what, "node", node, f"it is none of this fleet: {', '.join(servers.hosts)}"
                )
        return [servers.hosts[node.hostname] for node in nodes]

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
        self._running = _Servers(self._names, self._gateway, self._options)
        return self._running

    def _stop(self) -> _Servers:
        servers, self._running = self._servers(), None
        servers.stop.set_result(None)
        return servers


async def _wait(future: Future[None]) -> None:
    # Shielded: who waits may be cancelled, the thread goes on to its end all the same.
    await asyncio.shield(asyncio.wrap_future(future))


def _strike(hosts: Iterable[Host], *blows: Callable[[Host], None]) -> None:
    for host in hosts:
        for blow in blows:
            blow(host)


def _bad(what: str, option: str, value: object, advice: str) -> BadOption:
    return BadOption(f"Fleet.{what}: {option} {safe_repr(value, 40)}: {advice}", option, value)


class _Servers:
    """All servers of a fleet and their thread, from start to end.

    The thread talks to others by three futures: `started` is done once `nodes`, `hosts` and
    `config` are set, `stop` is set from outside, `ended` is done when nothing is left.  Between the
    first and the last, others can have it `do` something.
    """

    def __init__(
        self, names: Iterable[str], gateway: str | None, options: Mapping[str, Any]
    ) -> None:
        self.started: Future[None] = Future()
        self.stop: Future[None] = Future()
        self.ended: Future[None] = Future()
        self.nodes: dict[str, SshNode] = {}
        self.hosts: dict[str, Host] = {}
        self._gateway = gateway
        self._options = options
        self._names = [name for name in (gateway, *names) if name is not None]
        self._mark = uuid.uuid4().hex
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        self.config = self._folder / "config"
        # It also runs at exit, if the program ends (a second Ctrl-C) before the thread did.
        self._clean = weakref.finalize(self, _clean, os.getpid(), self._folder, self._mark)
        self.thread = threading.Thread(target=self._main, name="fleet", daemon=True)
        self.thread.start()

    def do(self, work: Callable[[], None]) -> None:
        """Have the thread do it, and wait until it has; once the fleet has ended do nothing."""
        done: Future[None] = Future()

        def at_once() -> None:
            try:
                work()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(at_once)
            wait([done, self.ended], return_when=FIRST_COMPLETED)
        if done.done():
            done.result()

    def leftovers(self) -> list[str]:
        """Return a line for each connection and each process."""
        found = []
        for host in self.hosts.values():
            found += [f"{host.name}: an open connection"] * len(host.connections)
            for pid in _marked(f"{host.mark} "):
                with suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    found.append(
                        f"{host.name}: process {pid}: {safe_line(b' '.join(words).strip(), 80)}"
                    )
        return found

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
        self._loop = asyncio.get_running_loop()
        key = make_key("made for a fleet on loopback")
        hosts = [Host(name, self._folder / name, key, self._mark) for name in self._names]
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
            # Sockets are closed in the turns that follow.
            for _ in range(_LAST_TURNS):
                await asyncio.sleep(0)

    def _write_files(self, key: asyncssh.SSHKey, hosts: Iterable[Host]) -> None:
        identity, known_hosts = self._folder / "key", self._folder / "known_hosts"
        identity.touch(mode=0o600)
        identity.write_bytes(key.export_private_key())
        known_hosts.write_text("".join(host.known_hosts_line() for host in hosts))
        common = {
            "User": user_name(),
            "IdentityFile": identity,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known_hosts,
        }
        lines: list[str] = []
        for host in hosts:
            lines += [f"Host {host.name}", f"  HostName {LOOPBACK}", f"  Port {host.port}"]
        lines += ["Host *", *(f'  {option} "{value}"' for option, value in common.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def _make_nodes(self, hosts: Iterable[Host]) -> None:
        gateway: SshNode | None = None
        for host in hosts:
            node = SshNode(host.name, config=self.config, gateway=gateway, **self._options)
            self.nodes[host.name], self.hosts[host.name] = node, host
            if host.name == self._gateway:
                gateway = node


def _clean(owner: int, folder: Path, mark: str) -> None:
    """Kill all processes that bear the mark, and remove the folder."""
    if os.getpid() != owner:
        return  # a fork of the program, at its own end
    deadline = time.monotonic() + _KILL_TIMEOUT
    while (pids := _marked(mark)) and time.monotonic() < deadline:
        _kill(pids)
        time.sleep(_POLL)
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _kill_all(host: Host) -> None:
    """Kill the commands of a host, and those of their children that left them."""
    host.kill()
    _kill(_marked(f"{host.mark} "))


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    """Return the processes that have the mark in their environment, as far as /proc tells."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found
