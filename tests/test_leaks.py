"""The leak check finds what is left, waits for what is ending, and blames the right test."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.leaks import leaks, snapshot
from tests.processes import is_alive, marked, process_table, send, wait_until

ROOT = Path(__file__).parent.parent


@contextmanager
def left_task() -> Iterator[None]:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(asyncio.sleep(60), name="sleeper")
        loop.run_until_complete(asyncio.sleep(0))
        yield
        task.cancel()


@contextmanager
def left_thread() -> Iterator[None]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="waiter")
    thread.start()
    yield
    end.set()
    thread.join()


@contextmanager
def left_file() -> Iterator[None]:
    with Path(os.devnull).open():
        yield


@contextmanager
def left_socket() -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)):
        yield


@contextmanager
def left_child() -> Iterator[None]:
    with subprocess.Popen(["sleep", "60"]) as child:
        # For a moment after the exec its arguments cannot be read.
        wait_until(lambda: process_table()[child.pid].command() == "sleep 60", 30, "its arguments")
        yield
        child.kill()


@contextmanager
def left_zombie() -> Iterator[None]:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        yield


@contextmanager
def left_orphan() -> Iterator[None]:
    # Its parent ends at once, so it is nobody's child; only the mark tells that it is ours.
    mark = f"{time.monotonic_ns()}"
    subprocess.run(["sh", "-c", "sleep 60 &"], env={**os.environ, "MARK": mark}, check=True)
    wait_until(
        lambda: [each for each in marked(f"MARK={mark}") if each.command() == "sleep 60"],
        30,
        "the orphan to start, and to be no shell any more",
    )
    yield
    send((process.pid for process in marked(f"MARK={mark}")), signal.SIGKILL)


@contextmanager
def left_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("leak", "told"),
    [
        (left_task, "task sleeper"),
        (left_thread, r"thread <Thread\(waiter, started \d+\)> in wait, threading.py:\d+"),
        (left_file, r"file descriptor \d+: /dev/null"),
        (left_socket, r"file descriptor \d+: socket:\[\d+\] bound to \('127.0.0.1', \d+\)"),
        (left_child, r"process \d+: sleep 60"),
        (left_zombie, r"process \d+: true \(a zombie"),
        (left_orphan, r"process \d+: sleep 60"),
        (left_handler, "signal handler of SIGTERM: .*SIG_IGN"),
    ],
)
def test_finds(leak: Callable[[], AbstractContextManager[None]], told: str) -> None:
    before = snapshot()
    with leak():
        found = leaks(before, patience=0)
        assert any(re.match(told, line) for line in found), found
    assert leaks(before) == []


def test_waits_for_what_is_just_ending() -> None:
    before = snapshot()
    with ExitStack() as stack:
        for leak in (left_thread, left_child):
            stack.enter_context(leak())
        end = threading.Timer(0.1, stack.pop_all().close)
        end.start()
        assert leaks(before, patience=5) == []


def test_a_cycle_that_waits_for_the_collector_is_no_leak() -> None:
    before = snapshot()
    keeper: list[object] = [socket.socket().detach()]
    os.close(int(str(keeper[0])))
    keeper.append(keeper)
    del keeper
    assert leaks(before, patience=0) == []


LEAKY = """
import asyncio, os

async def fail():
    raise ValueError("boom")

async def forget():
    asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0)

def test_leaves_two_things():
    os.open(os.devnull, os.O_RDONLY)
    os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")

def test_never_awaits():
    cycle = [fail()]
    cycle.append(cycle)

def test_loses_an_error():
    asyncio.run(forget())

def test_leaves_nothing():
    pass
"""


def test_the_fixture_blames_the_test_that_leaks(tmp_path: Path) -> None:
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, *plugins, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = ended.stdout
    left = {int(pid) for pid in re.findall(r"process (\d+): sleep 60", said)}
    send(left, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, left)), 30, "what the inner test left to end")

    assert "4 passed, 3 errors" in said
    report = r"(?ms)^_+ ERROR at teardown of (\w+) _+$(.*?)^(?=_|=)"
    blamed = dict(re.findall(report, said))
    assert blamed.keys() == {"test_leaves_two_things", "test_never_awaits", "test_loses_an_error"}
    assert re.search(r"file descriptor \d+: /dev/null", blamed["test_leaves_two_things"])
    assert len(left) == 1
    assert "coroutine 'fail' was never awaited" in blamed["test_never_awaits"]
    assert "ValueError: boom" in blamed["test_loses_an_error"]
