"""What carries a connection, over a real socket and through the channel of a real gateway."""

from __future__ import annotations

import asyncio
import hashlib
import random
import select
import socket
from collections.abc import Awaitable, Callable

import pytest

from engine import Engine, run
from sshjobs import ConnectionLost, Run, SshJob, SshNode
from sshjobs.bundling import ENOUGH, LARGE, Bundler
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

Use = Callable[[Bundler, socket.socket], Awaitable[None]]


def with_bundler(use: Use) -> None:
    """Call `use` with one end of a connection, and the socket of the other."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
            other, _ = listener.accept()
        other.setblocking(False)
        with other:
            try:
                await use(Bundler(transport), other)
            finally:
                transport.abort()
                await asyncio.sleep(0)

    run(main())


async def read_all(sock: socket.socket, size: int, pause: float = 0) -> bytes:
    """Read that many bytes, or all there are, slowly if need be."""
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, ENOUGH)
        if not piece:
            break
        data += piece
        await asyncio.sleep(pause)
    return data


def has_something(sock: socket.socket, patience: float) -> bool:
    return bool(select.select([sock], [], [], patience)[0])


def test_what_is_written_in_one_turn_goes_out_at_its_end_and_in_order() -> None:
    async def use(bundler: Bundler, other: socket.socket) -> None:
        pieces = [b"%d " % number for number in range(500)]
        for piece in pieces:
            bundler.write(piece)
        bundler.writelines([b"the ", b"end"])
        assert not has_something(other, 0)
        await asyncio.sleep(0)
        assert has_something(other, 5)
        text = b"".join(pieces) + b"the end"
        assert await read_all(other, len(text)) == text

    with_bundler(use)


def test_much_goes_out_at_once() -> None:
    """Who writes without a pause has no copy of it all here first."""

    async def use(bundler: Bundler, other: socket.socket) -> None:
        for _ in range(63):
            bundler.write(bytes(ENOUGH // 64))
        assert not has_something(other, 0)
        bundler.write(bytes(ENOUGH // 64))
        assert has_something(other, 5)

    with_bundler(use)


def test_what_is_large_goes_out_at_once_and_after_what_came_before() -> None:
    async def use(bundler: Bundler, other: socket.socket) -> None:
        bundler.write(b"before")
        bundler.write(bytes(LARGE))
        assert has_something(other, 5)
        bundler.write(b"after")
        text = b"before" + bytes(LARGE) + b"after"
        assert await read_all(other, len(text)) == text

    with_bundler(use)


def test_who_reads_slowly_gets_everything() -> None:
    async def use(bundler: Bundler, other: socket.socket) -> None:
        pieces = [random.randbytes(random.randrange(3 * ENOUGH)) for _ in range(60)]
        for number, piece in enumerate(pieces):
            bundler.write(piece)
            if number % 7 == 0:
                await asyncio.sleep(0)
        text = b"".join(pieces)
        assert await read_all(other, len(text), pause=0.0001) == text

    with_bundler(use)


@pytest.mark.parametrize("end", [Bundler.close, Bundler.abort])
def test_last_words_go_out_and_what_comes_later_does_not(end: Callable[[Bundler], None]) -> None:
    async def use(bundler: Bundler, other: socket.socket) -> None:
        bundler.write(b"bye")
        end(bundler)
        assert bundler.is_closing()
        bundler.write(b"too late")
        assert await read_all(other, 1000) == b"bye"

    with_bundler(use)


@pytest.fixture(params=["directly", "behind a gateway"])
def there(request: pytest.FixtureRequest, server: Sshd, sshd: Sshd) -> SshNode:
    """A node, and both ways to it."""
    gateway = node_of(sshd) if request.param == "behind a gateway" else None
    return node_of(server, gateway=gateway)


def test_megabytes_of_input_and_output_arrive_whole(there: SshNode) -> None:
    data = random.randbytes(5_000_000)
    job = SshJob(there, Run("cat", input=data, capture=True))
    assert Engine(job).orchestrate()
    digest = hashlib.sha256(job.result().stdout_bytes).hexdigest()
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_link_that_breaks_among_large_writes_is_told(there: SshNode, server: Sshd) -> None:
    job = SshJob(there, Run("sleep 60; cat >/dev/null", input=bytes(20_000_000)))

    async def main() -> None:
        running = asyncio.create_task(Engine(job).corun())
        await asyncio.to_thread(wait_until, lambda: bool(server.commands()), 30, "the command")
        server.kill_sessions()
        await asyncio.wait([running])
        running.exception()

    run(main())
    assert isinstance(job.raised_exception(), ConnectionLost)
