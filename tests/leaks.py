"""What a test leaves behind: tasks, threads, file descriptors, processes, signal handlers, errors.

``snapshot()`` before, ``leaks(before)`` after; the fixture in conftest.py does it round every test.
Processes are found below this one and, as orphans have another parent, by a mark in the environment
that whatever the tests start inherits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.processes import POLL, is_below, is_marked, pids, process

MARK = "ORCHESTRION_TESTS"
PATIENCE = 2.0
SIGNALS = [
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGWINCH,
    signal.SIGTSTP,
    signal.SIGCONT,
]


Snapshot = dict[tuple[str, int], object]


def snapshot() -> Snapshot:
    """All there is at this instant, by kind and number."""
    return {
        **{("task", id(task)): task for task in _tasks()},
        **{("thread", thread.ident or 0): thread for thread in threading.enumerate()},
        **{("file descriptor", number): target for number, target in _descriptors()},
        **{("process", pid): pid for pid in pids()},
        **{("signal handler", number): signal.getsignal(number) for number in SIGNALS},
    }


def leaks(before: Snapshot, patience: float = PATIENCE) -> list[str]:
    """One line for each thing there is now and was not ``before``.

    Things that are just ending (a thread that was told to, a process that was killed) have
    ``patience`` seconds to do so.
    """
    deadline = time.monotonic() + patience
    while True:
        # A cycle may hold a descriptor or a task; what only waits for the collector is not left.
        gc.collect()
        now = snapshot()
        new = [key for key, thing in now.items() if before.get(key, before) != thing]
        found = [(kind, number) for kind, number in new if kind != "process" or _is_ours(number)]
        if not found or time.monotonic() > deadline:
            return [f"{kind} {DETAILS[kind](number, now[kind, number])}" for kind, number in found]
        time.sleep(POLL)


@contextlib.contextmanager
def lost_errors() -> Iterator[list[str]]:
    """Collect what asyncio can only log: exceptions never retrieved, tasks destroyed pending."""
    found: list[str] = []
    handler = _Collector(found.append)
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def mark_children() -> None:
    """Have every process started from now on inherit the mark that tells it from others."""
    os.environ.setdefault(MARK, uuid.uuid4().hex)


class _Collector(logging.Handler):
    def __init__(self, collect: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._collect = collect

    def emit(self, record: logging.LogRecord) -> None:
        self._collect(f"error that nobody saw: {self.format(record)}")


def _tasks() -> Iterator[asyncio.Task[object]]:
    # asyncio.all_tasks() knows the tasks of one loop only, and a leak may sit in any.
    for thing in gc.get_objects():
        # By type(), as isinstance() would ask proxies and run foreign code.
        if issubclass(type(thing), asyncio.Task) and not thing.done():
            yield thing


def _descriptors() -> Iterator[tuple[int, str]]:
    for link in Path("/proc/self/fd").iterdir():
        # The one that the listing itself uses is closed by the time it would be counted.
        with contextlib.suppress(OSError):
            yield int(link.name), str(link.readlink())


def _is_ours(pid: int) -> bool:
    return is_below(pid, os.getpid()) or is_marked(pid, f"{MARK}={os.environ.get(MARK)}")


def _describe_thread(ident: int, thread: threading.Thread) -> str:
    frame = sys._current_frames().get(ident)
    if frame is None:
        return repr(thread)
    code = frame.f_code
    return f"{thread!r} in {code.co_name}, {Path(code.co_filename).name}:{frame.f_lineno}"


def _describe_descriptor(number: int, target: str) -> str:
    text = f"{number}: {target}"
    if target.startswith("socket:"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            text += f" bound to {copy.getsockname()!r}"
            with contextlib.suppress(OSError):
                text += f", connected to {copy.getpeername()!r}"
    return text


def _describe_process(pid: int, _: int) -> str:
    found = process(pid)
    if found is None:
        return f"{pid}, which has ended since"
    return f"{pid}: {found.command()}{'' if found.alive else ' (a zombie: nobody waited)'}"


def _describe_handler(number: int, handler: object) -> str:
    return f"of {signal.Signals(number).name}: {handler!r}"


DETAILS: dict[str, Callable[[int, Any], str]] = {
    "task": lambda _, task: repr(task),
    "thread": _describe_thread,
    "file descriptor": _describe_descriptor,
    "process": _describe_process,
    "signal handler": _describe_handler,
}
