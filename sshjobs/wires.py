"""The network in front of one server of a fleet: it can be cut, refused, frozen and slowed down.

An :class:`Entrance` listens, and makes a :class:`Wire` of each connection.  A wire stands between
the socket and the server, with a :class:`_Line` for each direction.  As long as nothing is wrong a
line passes on what it is given; otherwise bytes wait in it, in order, until the condition of the
host lets them go.  So a server that is frozen blocks nobody but its clients.

asyncssh takes an entrance for a tunnel through which servers can listen.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Self, cast

import asyncssh

from .faults import FINE, Condition

Server = asyncio.Protocol
"""What asyncssh makes for each connection."""

_BACKLOG = 100
_ENOUGH = 1 << 18  # bytes that wait in a line before the socket is read no further
_SLICE = 0.02  # seconds; what takes a slow line longer goes in pieces
_NEXT_TRY = 1.0  # seconds until the next accept, where the system has no more descriptors


class Entrance(asyncssh.SSHListener):
    """Where one server listens, always at the same port, and the wires that lead in.

    Args:
        admits: asked at each new connection, with the number of others; one that is not admitted is
            dropped without a word.
    """

    def __init__(self, admits: Callable[[int], bool]) -> None:
        super().__init__()
        self.wires: set[Wire] = set()
        self.condition = FINE
        self._admits = admits
        self._sockets: list[socket.socket] = []
        self._arriving: set[asyncio.Task[Any]] = set()

    async def create_server(
        self, session_factory: Callable[[str, int], Server], listen_host: str, listen_port: int
    ) -> Self:
        """Listen from now on; `session_factory` makes the server of each connection."""
        self._loop = asyncio.get_running_loop()
        self._make_server = session_factory
        self._address = (listen_host, listen_port)
        self._listen()
        return self

    def get_port(self) -> int:
        """Return the port."""
        return self._address[1]

    def change(self, condition: Condition) -> None:
        """Behave as `condition` says from now on."""
        before, self.condition = self.condition, condition
        if (before.refusing, before.deaf) != (condition.refusing, condition.deaf):
            self._listen()
        for wire in list(self.wires):
            wire.look()

    def cut(self) -> None:
        """Cut all wires."""
        for wire in list(self.wires):
            wire.cut()

    def close(self) -> None:
        """Stop listening."""
        before, self._sockets = self._sockets, []
        for each in before:
            self._loop.remove_reader(each)
            each.close()

    async def wait_closed(self) -> None:
        """Wait until nobody is on the way in any more."""
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _listen(self) -> None:
        """Listen as the condition says: properly, not at all, or with a full queue.

        The new socket is bound before the old one is closed, so that nobody else gets the port.
        """
        new = socket.socket()
        new.setblocking(False)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        new.bind(self._address)
        self._address = new.getsockname()
        if self.condition.deaf:
            # Who has no room for more connections does not answer those who ask, as if nobody was
            # there.  (So does Linux; where it is otherwise, they are let in and hear nothing.)
            self.close()
            new.listen(0)
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._address)
            self._sockets = [new, filler]
            return
        if not self.condition.refusing:
            new.listen(_BACKLOG)
            self._loop.add_reader(new, self._accept, new)
        self.close()
        self._sockets = [new]

    def _accept(self, listener: socket.socket) -> None:
        """Let one in; the loop calls again if there are more."""
        try:
            arrived, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError:  # no descriptors are left
            self._loop.remove_reader(listener)
            self._loop.call_later(_NEXT_TRY, self._accept_again, listener)
            return
        if not self._admits(len(self.wires)):
            arrived.close()
            return
        arrived.setblocking(False)
        wire = Wire(self, self._make_server(*self._address))
        self.wires.add(wire)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: wire, arrived))
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, wire))

    def _arrived(self, wire: Wire, task: asyncio.Task[Any]) -> None:
        self._arriving.discard(task)
        if task.cancelled() or task.exception() is not None:  # it was gone before it was here
            self.wires.discard(wire)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            self._loop.add_reader(listener, self._accept, listener)


class Wire(asyncio.Protocol):
    """One connection, seen from the network; :class:`_Socket` is what its server sees of it."""

    def __init__(self, entrance: Entrance, server: Server) -> None:
        self._entrance = entrance
        self._server = server
        self._is_made = self._is_cut = self._is_over = False
        self._inward = _Line(entrance, self._to_server)
        self._outward = _Line(entrance, self._to_network)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there; it may be unwanted by now."""
        self._transport = cast(asyncio.Transport, transport)
        if self._is_cut:
            self._transport.abort()
            return
        self._is_made = True
        self._server.connection_made(_Socket(self._transport, self._outward))

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._inward.put(data)
        if self._inward.size > _ENOUGH:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; the server learns it once it hears again."""
        self._is_over = True
        self._outward.clear()
        if self._is_cut:
            self._to_server(None)
        else:
            self._inward.put(None)

    def look(self) -> None:
        """See what the condition says now."""
        self._inward.look()
        self._outward.look()

    def cut(self) -> None:
        """Break it, for both sides, whatever the condition."""
        self._is_cut = True
        self._inward.clear()
        if self._is_over:
            self._to_server(None)
        elif self._is_made:
            self._transport.abort()

    def _to_server(self, data: bytes | None) -> None:
        if data is None:
            self._entrance.wires.discard(self)
            self._server.connection_lost(None)
            return
        self._server.data_received(data)
        if self._inward.size <= _ENOUGH and not self._transport.is_closing():
            self._transport.resume_reading()

    def _to_network(self, data: bytes | None) -> None:
        if data is None:
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(data)


class _Socket(asyncio.Transport):
    """What a server takes for its socket."""

    def __init__(self, real: asyncio.Transport, outward: _Line) -> None:
        super().__init__()
        self._real = real
        self._outward = outward

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the real one says."""
        return self._real.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether the real one is closed, or about to be."""
        return self._real.is_closing()

    def write(self, data: Any) -> None:
        """Send."""
        self._outward.put(bytes(data))

    def abort(self) -> None:
        """Close, once all that was sent before has gone out."""
        self._outward.put(None)


class _Line:
    """One direction of a wire.

    Args:
        entrance: knows the condition.
        deliver: called with the bytes, in order; with None for the end.
    """

    def __init__(self, entrance: Entrance, deliver: Callable[[bytes | None], None]) -> None:
        self.size = 0
        self._entrance = entrance
        self._deliver = deliver
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, data: bytes | None) -> None:
        """Take some bytes, or the end."""
        if not self._waiting and self._entrance.condition == FINE:
            self._deliver(data)
            return
        self._waiting.append((asyncio.get_running_loop().time(), data))
        self.size += len(data or b"")
        self.look()

    def look(self) -> None:
        """Deliver what may go by now, and come back for the rest when its time has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting and not self._entrance.condition.silent:
            sent = self._sent()
            comes_out = sent + self._entrance.condition.latency
            if comes_out > loop.time():
                self._timer = loop.call_at(comes_out, self.look)
                return
            self._free_at = sent
            _, data = self._waiting.popleft()
            self.size -= len(data or b"")
            self._deliver(data)

    def _sent(self) -> float:
        """Return when the first piece is on its way as a whole; a long one is divided before."""
        arrived, data = self._waiting[0]
        start = max(arrived, self._free_at)
        bandwidth = self._entrance.condition.bandwidth
        if data is None or bandwidth is None:
            return start
        piece = max(1, int(bandwidth * _SLICE))
        if len(data) > piece:
            self._waiting[0] = (arrived, data[:piece])
            self._waiting.insert(1, (arrived, data[piece:]))
        return start + min(len(data), piece) / bandwidth

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self.size = 0
