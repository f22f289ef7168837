"""What carries a connection: TCP, or a channel of the gateway's, written to in bundles.

An ssh packet is written as soon as it is made, in front of each goes an empty one that makes the
traffic harder to read, and each write is a system call here and wakes the server up.  A
:class:`Bundler` writes all that was made in one turn of the loop at once.  That is half of the
client's processor time for short commands, and less work for the other side.

And what came is acknowledged at once.  sshd leaves Nagle's algorithm on until a first session is
opened, and so for ever where it is a gateway only: a second small packet waits until the first is
acknowledged, which systems put off by 40 ms in case there is something to say.  That is a third of
the time that a login takes on a fast network, and more behind a gateway.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, cast

import asyncssh

ENOUGH = 1 << 16
"""Bytes that are not worth waiting for more."""
LARGE = 1 << 14
"""Bytes that are written as they are: to bundle them is to copy them, which was a tenth of the
processor time of a Push."""
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""What it is called to acknowledge at once, on Linux; others cannot be told."""

Wire = asyncio.WriteTransport | asyncssh.SSHTCPChannel[bytes]


class Bundler(asyncio.Transport):
    """A transport that writes to another one, all that comes in one turn of the loop at once."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire
        self._call_soon = asyncio.get_running_loop().call_soon
        self._waiting: list[Any] = []
        self._size = 0

    def write(self, data: Any) -> None:
        """Write, in a moment."""
        if len(data) >= LARGE:
            self.flush()
            if not self._wire.is_closing():
                self._wire.write(data)
            return
        if not self._waiting:
            self._call_soon(self.flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= ENOUGH:
            self.flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write, in a moment."""
        for data in list_of_data:
            self.write(data)

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            waiting, self._waiting, self._size = self._waiting, [], 0
            if not self._wire.is_closing():
                self._wire.writelines(waiting)

    def close(self) -> None:
        """Close it, once all is written."""
        self.flush()
        self._wire.close()

    def abort(self) -> None:
        """Close it at once; what is written is on its way, the last words of a connection."""
        self.flush()
        self._wire.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._wire.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the other transport knows."""
        return self._wire.get_extra_info(name, default)


class Carried(asyncio.Protocol):
    """An ssh connection, as that which carries it sees it: a protocol, or the session of a channel.

    Args:
        make: returns the connection.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.connection = make()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have it write in bundles."""
        self.connection.connection_made(Bundler(cast(Wire, transport)))

    def session_started(self) -> None:
        """Pass on that the channel is open."""
        self.connection.session_started()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Pass it on, in pieces: what waits is copied for each packet that is taken from it."""
        for start in range(0, len(data), ENOUGH):
            self.connection.data_received(data[start : start + ENOUGH])

    def eof_received(self) -> None:
        """Pass it on."""
        self.connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self.connection.connection_lost(exc)


class Connected(Carried):
    """The same, where it is TCP that carries it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have it write in bundles."""
        self._socket = transport.get_extra_info("socket")
        super().connection_made(transport)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Acknowledge it, which has to be asked for each time, and pass it on."""
        if QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        super().data_received(data, datatype)


class Network:
    """The way to a host that is reached without a gateway, for asyncssh's `tunnel=`.

    Args:
        options: say from which address and over which protocol (BindAddress, AddressFamily).
    """

    def __init__(self, options: asyncssh.SSHClientConnectionOptions) -> None:
        self._options = options

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Open a connection to `remote_host`; see asyncssh."""
        transport, carried = await asyncio.get_running_loop().create_connection(
            lambda: Connected(session_factory),
            remote_host,
            remote_port,
            family=self._options.family,
            local_addr=self._options.local_addr,
        )
        return transport, carried.connection
