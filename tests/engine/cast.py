"""Jobs, coroutines and programs that several tests of the engine share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from engine import AbstractJob, Engine, EngineFailed
from engine.testing import Story, run_virtual

ROOT = Path(__file__).parent.parent.parent


async def nothing() -> None:
    """Return at once."""


async def value(result: Any, seconds: float = 0) -> Any:
    """Return `result`, after that many seconds."""
    await asyncio.sleep(seconds)
    return result


async def fail(error: BaseException | None = None, seconds: float = 0) -> None:
    """Raise `error`, after that many seconds."""
    await asyncio.sleep(seconds)
    raise ValueError("boom") if error is None else error


async def for_ever() -> None:
    """Never return."""
    await asyncio.get_running_loop().create_future()


class Stubborn(AbstractJob):
    """Goes on for `seconds`, whatever is asked of it."""

    def __init__(self, seconds: float = 100, **options: Any) -> None:
        super().__init__(**options)
        self.seconds = seconds
        self.asked = 0

    async def corun(self) -> str:
        """Count the cancellations, and swallow them."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.seconds
        while (left := end - loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                self.asked += 1
        return "over at last"


async def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


def leave_out_on_uvloop(reason: str) -> None:
    """Skip the test if it is of something that the loop of uvloop does in its own way."""
    if type(asyncio.get_event_loop_policy()).__module__.startswith("uvloop"):
        pytest.skip(reason)


async def lasts(coroutine: Coroutine[Any, Any, Any]) -> float:
    """Return how many seconds `coroutine` takes, however it ends."""
    start = await now()
    with suppress(EngineFailed):
        await coroutine
    return await now() - start


def play(engine: Engine) -> bool:
    """Run on a virtual clock, hold the ticks against the story, and return the verdict."""
    story = Story()
    if engine.message_queue is None:
        engine.message_queue = story
    try:
        return run_virtual(engine.corun())
    except EngineFailed:
        return False
    finally:
        if engine.message_queue is story:
            engine.message_queue = None
            story.check()


def explanation(engine: Engine) -> tuple[Exception, ...]:
    """Run on a virtual clock, and return what the EngineFailed that comes out holds."""
    try:
        run_virtual(engine.corun())
    except EngineFailed as failed:
        return failed.exceptions
    return ()


def python(code: str, *options: str, timeout: float = 45) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, to its end."""
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Program:
    """A program that runs beside the test, and says line by line how far it is."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.errors = ""

    def wait_for(self, word: str, timeout: float = 60) -> None:
        """Read what it says until it says `word`; if it does not, end it, and tell its errors."""
        assert self.process.stdout is not None
        late = threading.Timer(timeout, self.process.kill)
        late.start()
        try:
            while line := self.process.stdout.readline():
                if line.decode().strip() == word:
                    return
        finally:
            late.cancel()
            late.join()
        raise AssertionError(f"it ended without saying {word!r}: {self.process.communicate()}")

    def end(self, timeout: float = 45) -> tuple[int, list[str]]:
        """Wait for its end; return its exit status and the lines that it still said."""
        out, errors = self.process.communicate(timeout=timeout)
        self.errors = errors.decode()
        return self.process.returncode, out.decode().split("\n")[:-1]


@contextmanager
def program(code: str, *command: str) -> Iterator[Program]:
    """Start a program; it is ended with the block, whatever happens."""
    process = subprocess.Popen(
        [*command, sys.executable, "-u", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # to read a line takes nothing of what comes after it, which end() returns
    )
    with process:
        try:
            yield Program(process)
        finally:
            process.kill()
