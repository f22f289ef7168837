"""Whether a port of a node accepts connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncssh

from .commands import Session
from .errors import SshError

_ANSWER = 5.0


async def is_port_open(session: Session, port: int) -> bool:
    """Return whether somebody listens on `port` of the session's node.

    It is tried from the node itself, through the ssh connection: first its loopback, then its name.

    Raises:
        SshError: the server does not allow to be asked.
    """
    connection = await session.connection()
    for host in ("127.0.0.1", session.node.hostname):
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER):
                if connection is None:
                    _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                    await writer.wait_closed()
                    return True
                if await _is_open_there(session, connection, host, port):
                    return True
    return False


async def _is_open_there(
    session: Session, connection: asyncssh.SSHClientConnection, host: str, port: int
) -> bool:
    try:
        _, writer = await connection.open_connection(host, port, encoding=None)
    except asyncssh.ChannelOpenError as error:
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            problem = (
                f"ready={port}: the server does not let its ports be tried (AllowTcpForwarding)"
            )
            raise SshError(problem, node=session.node, phase="command") from error
        return False
    writer.close()
    return True
