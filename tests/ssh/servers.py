"""What a server that a test makes of asyncssh does with commands: it runs them, for real."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from contextlib import suppress
from typing import Any

import asyncssh


async def run_command(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command that a client asked for; a `process_factory` for servers without encoding."""
    child = await asyncio.create_subprocess_exec(
        *("sh", "-c", process.command or ":"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    feeding = asyncio.create_task(carry(process.stdin, child.stdin))
    await asyncio.gather(
        carry(child.stdout, process.stdout), carry(child.stderr, process.stderr), child.wait()
    )
    feeding.cancel()
    await asyncio.wait([feeding])
    process.exit(child.returncode or 0)


async def carry(source: Any, sink: Any) -> None:
    """Carry bytes as long as there are any; then, or when cancelled, close what is a pipe."""
    try:
        with suppress(asyncssh.Error, ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
    finally:
        if isinstance(sink, asyncio.StreamWriter):
            sink.close()
