"""Connections that are shared: one per node and event loop, however many jobs use it.

Whoever works on a node holds a *lease* on its :class:`Link`.  The link connects when it is first
asked for its connection, and again after a loss; it holds a lease on the link of its gateway as
long as it is connected, so gateways are shared in the same way and outlive what goes through them.
The last lease that is given back closes the link: first its own connection, then the gateway's.

Nothing here knows about commands.  All of it runs in one event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from .bounded import within
from .connect import Tunnel, connect, wait_closed
from .errors import ConnectionLost, SshError, Unreachable
from .node import SshNode
from .settings import Settings, read_settings
from .slots import Slots

T = TypeVar("T")
log = logging.getLogger("sshjobs")

HANDSHAKES = 8
"""So many at once per server: a stock sshd drops newcomers from 10 on."""
ATTEMPTS = 3
"""Times that a connection is tried whose gateway is lost in the middle."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a server may take to say goodbye."""


class Pool:
    """The links of one event loop."""

    def __init__(self) -> None:
        self._links: dict[SshNode, Link] = {}
        self._gates: dict[object, asyncio.Semaphore] = {}

    def lease(self, node: SshNode) -> Lease:
        """Return a lease on the link of `node`."""
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = Link(self, node)
        return Lease(link)

    def gate(self, server: object) -> asyncio.Semaphore:
        """Return what bounds the handshakes with one server."""
        return self._gates.setdefault(server, asyncio.Semaphore(HANDSHAKES))

    def forget(self, link: Link) -> None:
        """Make the next lease one on a new link."""
        if self._links.get(link.node) is link:
            del self._links[link.node]
        if not self._links:
            self._gates.clear()
            _drop(self)

    def __len__(self) -> int:
        return len(self._links)


_pools: dict[asyncio.AbstractEventLoop, Pool] = {}


def pool() -> Pool:
    """Return the pool of the running loop."""
    loop = asyncio.get_running_loop()
    found = _pools.get(loop)
    if found is None:
        for closed in [known for known in list(_pools) if known.is_closed()]:
            _pools.pop(closed, None)
        found = _pools[loop] = Pool()
    return found


def _drop(empty: Pool) -> None:
    """Let go of a pool without links, and so of its loop."""
    for loop, known in list(_pools.items()):
        if known is empty:
            del _pools[loop]


class Link:
    """One connection to a node, made when it is needed, shared by all who hold a lease.

    Attributes:
        node: where it leads.
        leases: how many there are.
        slots: bounds the sessions that are open at once.
        shell: the login shell over there, once a command has told.
    """

    def __init__(self, pool: Pool, node: SshNode) -> None:
        self.node = node
        self.leases = 0
        self.slots = Slots(node.max_sessions)
        self.shell: str | None = None
        self._pool = pool
        self._connection: asyncssh.SSHClientConnection | None = None
        self._gateway: Lease | None = None
        self._connecting: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._waiting: Counter[asyncio.Task[Any]] = Counter()
        self._ending: set[asyncio.Task[Any]] = set()
        self._sftp: _Sftp | None = None

    async def connection(self) -> asyncssh.SSHClientConnection:
        """Return the connection, made or made anew if need be.

        Those who wait for the same attempt get the same outcome, each as an error of its own; when
        none is left to wait for it, the attempt is given up.
        """
        while True:
            connection = self._connection
            if connection is not None and not connection.is_closed():
                return connection
            if self._connecting is None or self._connecting.done():
                self._connecting = self._start(self._connect())
            task = self._connecting
            self._waiting[task] += 1
            try:
                return await asyncio.shield(task)
            except SshError as error:
                raise error.seen_from(self.node) from error.__cause__
            except asyncio.CancelledError:
                me = asyncio.current_task()
                if task.cancelled() and not (me and me.cancelling()):
                    continue  # it was given up a moment before we came
                raise
            finally:
                self._waiting[task] -= 1
                if not self._waiting[task]:
                    del self._waiting[task]
                    self._give_up(task)

    def leads_through(self, other: Link) -> bool:
        """Whether `other` is on the way, or is this one, as far as that is known."""
        if self is other or self._gateway is None:
            return self is other
        return self._gateway.link.leads_through(other)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, and nothing is known to be wrong with it."""
        return self._connection is not None and not self._connection.is_closed()

    async def wait_lost(self) -> None:
        """Wait until there is no connection."""
        if self._connection is not None:
            await self._connection.wait_closed()

    @asynccontextmanager
    async def sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give the sftp client that all transfers of the node share.

        It takes the session that commands leave free; where there is but one session, they take
        turns.  A file that is being opened cannot be taken back, and a server has few to give: once
        a transfer has been cut short, the next one gets a new client, and the old one goes with the
        last who uses it.
        """
        is_alone = self.node.max_sessions == 1
        async with self.slots if is_alone else nullcontext():
            connection = await self.connection()
            if self._sftp is None or not self._sftp.serves(connection):
                opened = asyncio.get_running_loop().create_future()
                keeping = self._start(self._keep_sftp(connection, opened))
                self._sftp = _Sftp(connection, opened, keeping)
            sftp = self._sftp
            sftp.users += 1
            is_to_stay = False
            try:
                yield await asyncio.shield(sftp.opened)
                is_to_stay = not is_alone
            finally:
                sftp.users -= 1
                if self._sftp is sftp and not is_to_stay:
                    self._sftp = None
                if self._sftp is not sftp and not sftp.users:
                    sftp.opened.add_done_callback(_exit)
            if is_alone:
                await asyncio.wait([sftp.keeping], timeout=CLOSE_TIMEOUT)

    async def close(self) -> None:
        """Close the connection, then let go of the gateway; bounded, and then by force.

        If it is cancelled, it is done by force at once.
        """
        self._pool.forget(self)
        if self._connecting is not None:
            self._give_up(self._connecting)
        if self._sftp is not None:
            self._give_up(self._sftp.keeping)
        try:
            if self._ending:
                await asyncio.wait(self._ending, timeout=CLOSE_TIMEOUT)
            if self._connection is not None:
                await _close(self._connection)
                log.debug("%s: closed", self.node)
        except BaseException:
            self.abort()
            raise
        self._connection = self._sftp = None
        await self._through(None)

    def abort(self) -> None:
        """Drop the connection, and the hold on the gateway, without a word."""
        self._pool.forget(self)
        if self._connecting is not None:
            self._give_up(self._connecting)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.drop()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # In a context of its own: what it does is not done for the job that happened to be first.
        task = asyncio.create_task(work, context=contextvars.Context(), name=f"ssh {self.node}")
        task.add_done_callback(_retrieve)
        return task

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        if self._connecting is task:
            self._connecting = None
        if not task.done():
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _connect(self) -> asyncssh.SSHClientConnection:
        loop = asyncio.get_running_loop()
        settings = await loop.run_in_executor(None, read_settings, self.node)
        gateway = await self._through(settings.gateway)
        if gateway is not None and gateway.link.leads_through(self):
            await self._through(None)
            problem = f"its gateways lead back to it: check the ProxyJump of {settings.gateway}"
            raise SshError(problem, node=self.node, phase="connect")
        self._connection = await self._connect_through(gateway, settings)
        log.debug("%s: connected", self.node)
        return self._connection

    async def _connect_through(
        self, gateway: Lease | None, settings: Settings
    ) -> asyncssh.SSHClientConnection:
        """Connect, once more if it is the gateway's connection that breaks meanwhile."""
        server = settings.gateway, settings.host, settings.port
        left = ATTEMPTS
        while True:
            through = None if gateway is None else await gateway.connection()
            tunnel = None if through is None else Tunnel(through)
            try:
                return await connect(self.node, settings, tunnel, lambda: self._pool.gate(server))
            except (ConnectionLost, Unreachable) as error:
                left -= 1
                if through is None or not through.is_closed():
                    raise
                if not left:
                    raise ConnectionLost(
                        f"the connection to the gateway was lost, {ATTEMPTS} times",
                        node=self.node,
                        hop=settings.gateway,
                        phase="connect",
                    ) from error

    async def _through(self, gateway: SshNode | None) -> Lease | None:
        """Hold a lease on `gateway`, and no longer on the one before."""
        before = self._gateway
        self._gateway = None if gateway is None else self._pool.lease(gateway)
        if before is not None:
            await before.release()
        return self._gateway

    async def _keep_sftp(
        self,
        connection: asyncssh.SSHClientConnection,
        opened: asyncio.Future[asyncssh.SFTPClient],
    ) -> None:
        """Open an sftp client, and see it to its end, which may come before the connection's."""
        opened.add_done_callback(_retrieve)
        try:
            client = await self._open_sftp(connection)
        except asyncio.CancelledError:
            opened.cancel()
            raise
        except Exception as error:
            opened.set_exception(error)
            return
        opened.set_result(client)
        await client.wait_closed()

    async def _open_sftp(self, connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
        return await self.slots.open(connection, lambda: connection.start_sftp_client(env={}))


@dataclass(slots=True)
class _Sftp:
    """An sftp client, or the attempt to open it.

    Attributes:
        connection: the one that it belongs to.
        opened: the client, once it is there.
        keeping: the task that opens it and sees it to its end.
        users: how many use it.
    """

    connection: asyncssh.SSHClientConnection
    opened: asyncio.Future[asyncssh.SFTPClient]
    keeping: asyncio.Task[None]
    users: int = 0

    def serves(self, connection: asyncssh.SSHClientConnection) -> bool:
        """Whether it can be used on `connection`."""
        return self.connection is connection and not self.keeping.done()


class Lease:
    """A hold on a link; given back once, by `release`."""

    def __init__(self, link: Link) -> None:
        self._link: Link | None = link
        link.leases += 1

    @property
    def link(self) -> Link:
        """The link; an error once the lease has been given back."""
        if self._link is None:
            raise RuntimeError("this lease has been given back")
        return self._link

    async def connection(self) -> asyncssh.SSHClientConnection:
        """Return the connection; see :meth:`Link.connection`."""
        return await self.link.connection()

    async def release(self) -> None:
        """Give it back; the last one closes the link.  A second call does nothing."""
        link, self._link = self._link, None
        if link is not None:
            link.leases -= 1
            if not link.leases:
                await link.close()

    def drop(self) -> None:
        """Give it back where there is no time: the last one drops the connection."""
        link, self._link = self._link, None
        if link is not None:
            link.leases -= 1
            if not link.leases:
                link.abort()


_held: dict[tuple[asyncio.AbstractEventLoop, SshNode], list[Lease]] = {}


async def hold(node: SshNode) -> None:
    """Connect to `node` and stay so until :func:`let_go`, in this loop."""
    lease = pool().lease(node)
    try:
        await lease.connection()
    except BaseException:
        await lease.release()
        raise
    _held.setdefault((asyncio.get_running_loop(), node), []).append(lease)


async def let_go(node: SshNode) -> None:
    """Undo one :func:`hold`; RuntimeError if there is none in this loop."""
    key = (asyncio.get_running_loop(), node)
    if key not in _held:
        raise RuntimeError(f"{node}: left more often than entered, or in another thread")
    lease = _held[key].pop()
    if not _held[key]:
        del _held[key]
    await lease.release()


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        with suppress(TimeoutError):
            async with within(CLOSE_TIMEOUT):
                await wait_closed(connection)
    finally:
        connection.abort()
        # The socket is closed one turn of the loop later, and this may be the last one.
        await asyncio.sleep(0)


def _exit(opened: asyncio.Future[asyncssh.SFTPClient]) -> None:
    """End a client that nobody uses any more."""
    if not opened.cancelled() and opened.exception() is None:
        opened.result().exit()


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Look at the outcome, which nobody may be left to wait for."""
    if not task.cancelled():
        task.exception()
