"""What there is in a process that code could leave behind, and what of it is new.

A census is a dict: of each thing its kind and what tells it from the others of that kind, and the
thing itself.  :func:`new_since` compares two of them; who knows of more kinds of things gives it
another census than this one, and how to describe these.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from .patience import looks
from .waiting import describe

Census: TypeAlias = dict[tuple[str, Any], object]
Describers: TypeAlias = Mapping[str, Callable[[Any, Any], object]]
"""For each kind what describes a thing of it, given what its key and its value are."""

_POLL = 0.005
_POOLS_OF_LOOPS = ("asyncio_", "uvloop_")


def census() -> Census:
    """Return the tasks that are not done, the threads and the open files of this process."""
    return {
        **{("task", id(task)): task for task in _tasks()},
        **{("thread", thread.ident): thread for thread in _threads()},
        **{("file descriptor", number): target for number, target in _descriptors()},
    }


def new_since(
    before: Census, take: Callable[[], Census], describers: Describers, patience: float
) -> list[str]:
    """Return a line for each thing that there is now and was not `before`.

    Args:
        before: what `take` said then.
        take: what looks again.
        describers: for the kinds that `take` knows beside those of `census`.
        patience: seconds that things which are just ending (a thread that was told to, a process
            that was killed) have for it.
    """
    new: Census = {}
    for _ in looks(patience, _POLL):
        # A cycle may hold a file or a task; what only waits for the collector is not left.
        gc.collect()
        # What has the number of something else that is gone is new.
        new = {key: thing for key, thing in take().items() if before.get(key, before) != thing}
        if not new:
            break
    describe_a = {**_DESCRIBERS, **describers}
    return [f"{kind} {describe_a[kind](key, thing)}" for (kind, key), thing in new.items()]


@contextmanager
def lost_errors() -> Iterator[list[str]]:
    """Collect what asyncio can only log: exceptions never retrieved, tasks destroyed pending."""
    found: list[str] = []
    handler = _Collector(found)
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


async def warm_up_loop() -> None:
    """Have the loop make what it keeps until its end: uvloop opens a file with its first stream."""
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)
        writer.close()
        await writer.wait_closed()


class _Collector(logging.Handler):
    """Keeps what asyncio logs as an error."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(f"error that nobody saw: {self.format(record)}")


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


def _descriptors() -> Iterator[tuple[int, str]]:
    """Yield the open files, where the system has a directory of them."""
    with suppress(OSError):
        for link in list(Path("/dev/fd").iterdir()):
            # The one that the listing itself uses is closed by now, and so left out.
            with suppress(OSError):
                yield int(link.name), str(link.readlink())


def _describe_thread(ident: int, thread: threading.Thread) -> str:
    frame = sys._current_frames().get(ident)
    if frame is None:
        return repr(thread)
    code = frame.f_code
    return f"{thread!r} in {code.co_name}, {Path(code.co_filename).name}:{frame.f_lineno}"


def _describe_descriptor(number: int, target: str) -> str:
    text = f"{number}: {target}"
    if target.startswith("socket:"):
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            text += f" bound to {copy.getsockname()!r}"
            with suppress(OSError):
                text += f", connected to {copy.getpeername()!r}"
    return text


_DESCRIBERS: Describers = {
    "task": lambda _, task: describe(task),
    "thread": _describe_thread,
    "file descriptor": _describe_descriptor,
}
