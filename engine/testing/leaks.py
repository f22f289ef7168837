"""The leak check: what a block of code leaves behind.

Looked at are tasks (of every event loop), threads, open files, child processes, errors that asyncio
could only log ("Task was destroyed but it is pending", "exception was never retrieved") and
coroutines that were never awaited; with `cycles`, also objects that only the garbage collector
could take away.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine import AbstractJob, run

from .waiting import describe

_POLL = 0.005
_POOLS_OF_LOOPS = ("asyncio_", "uvloop_")
_HEAVY = (asyncio.Future, AbstractJob, BaseException, types.CoroutineType, types.FrameType)


class Leaked(AssertionError):
    """A block of code left something behind; `leaks` names each thing."""

    def __init__(self, leaks: list[str]) -> None:
        self.leaks = tuple(leaks)
        super().__init__("\n  ".join(["this was left behind:", *self.leaks]))


@contextmanager
def no_leaks(*, patience: float = 1.0, cycles: bool = False) -> Iterator[None]:
    """Raise :class:`Leaked` if the block leaves behind what it did not find.

    Args:
        patience: real seconds that threads and processes which are just ending have for it.
        cycles: also look for jobs, tasks, coroutines, exceptions and frames that hold each other
            in a cycle, so that only the garbage collector can take them away.

    A block that ends with an exception is not checked.  The event loop that this thread keeps for
    its runs (see :func:`engine.run`), and threads of that loop's own pool that have nothing to do,
    are not left behind: they are kept.

    >>> from engine import Engine, Job
    >>> import asyncio
    >>> with no_leaks():
    ...     Engine(Job(asyncio.sleep, 0)).orchestrate()
    True
    """
    run(asyncio.sleep(0))  # has the loop made that is kept
    gc.collect()
    before = _census()
    logged = _Collector()
    logger = logging.getLogger("asyncio")
    logger.addHandler(logged)
    try:
        with warnings.catch_warnings(record=True) as warned, _collector_held_back(cycles):
            # All other filters are those of the block, which may be made of errors.
            warnings.filterwarnings("always", ".* never awaited", RuntimeWarning)
            yield
            garbage = _cyclic_garbage() if cycles else []
            found = _left(before, patience) + garbage
    finally:
        logger.removeHandler(logged)
    found += logged.texts
    for warning in warned:
        if "never awaited" in str(warning.message):
            found.append(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if found:
        raise Leaked(found)


def _left(before: dict[tuple[str, object], str], patience: float) -> list[str]:
    deadline = time.monotonic() + patience
    while True:
        gc.collect()
        found = [f"{key[0]} {text}" for key, text in _census().items() if key not in before]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(_POLL)


def _census() -> dict[tuple[str, object], str]:
    """Return all there is: kind and identity of each thing, and how to describe it."""
    return {
        **{("task", id(task)): describe(task) for task in _tasks()},
        **{("thread", thread): repr(thread) for thread in _threads()},
        **{("file", number): text for number, text in _files()},
        **{("child process", pid): pid for pid in _children()},
    }


def _tasks() -> Iterator[asyncio.Task[Any]]:
    # asyncio.all_tasks() knows the tasks of one loop, and the leak may sit in another.
    for thing in gc.get_objects():
        # By type(), as isinstance() would ask proxies and run foreign code.
        if issubclass(type(thing), asyncio.Task) and not thing.done():
            yield thing


def _threads() -> Iterator[threading.Thread]:
    for thread in threading.enumerate():
        if not (thread.name.startswith(_POOLS_OF_LOOPS) and _is_idle(thread)):
            yield thread


def _is_idle(thread: threading.Thread) -> bool:
    """Whether a thread of ``asyncio.to_thread`` has nothing to do."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "_worker"


def _files() -> Iterator[tuple[str, str]]:
    """Yield the open files, where the system has a directory of them."""
    with suppress(OSError):
        for link in list(Path("/dev/fd").iterdir()):
            # The one that the listing itself uses is closed by now, and so left out.
            with suppress(OSError):
                yield link.name, f"{link.name}: {link.readlink()}"


def _children() -> Iterator[str]:
    """Yield the pids of the child processes, zombies too, where the system tells them."""
    with suppress(OSError):
        for thread in list(Path("/proc/self/task").iterdir()):
            with suppress(OSError):
                yield from (thread / "children").read_text().split()


@contextmanager
def _collector_held_back(hold: bool) -> Iterator[None]:
    """Keep the collector from taking away what is to be found."""
    held = hold and gc.isenabled()
    if held:
        gc.disable()
    try:
        yield
    finally:
        if held:
            gc.enable()


def _cyclic_garbage() -> list[str]:
    """Return what nobody refers to and what is still there."""
    flags = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        kinds = Counter(
            type(thing).__qualname__ for thing in gc.garbage if issubclass(type(thing), _HEAVY)
        )
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
    return [f"cyclic garbage: {count} x {kind}" for kind, count in sorted(kinds.items())]


class _Collector(logging.Handler):
    """Keeps what asyncio logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
