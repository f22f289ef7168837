"""Readers of a run's events: the engine's own, and those of tools that show runs of others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from .text import safe_error
from .ticks import Tick

if TYPE_CHECKING:
    from .engine import Engine


class Reader(Protocol):
    """What takes events: an asyncio.Queue, a queue.SimpleQueue, a recorder, a fan-out...

    A reader that keeps only the latest report of each job may have a second method, `put_progress`,
    which takes what a `JobProgress` has from `job` on.  If all readers of a run have it, reports
    are told by it, and no event is made of them.
    """

    def put_nowait(self, event: Tick, /) -> Any:
        """Take `event`, at once."""


Factory = Callable[["Engine"], Reader | None]

_factories: list[Factory] = []
_lock = threading.Lock()


@contextmanager
def watch(factory: Factory) -> Iterator[None]:
    """Have every outermost run that starts meanwhile, in any thread, tell its events to a reader.

    The hook for tools that show runs that they did not make.

    Args:
        factory: called with the engine when its run starts; returns the reader for that run, an
            object with ``put_nowait``, or None.

    >>> from engine import Engine, Job
    >>> import asyncio, queue
    >>> events = queue.SimpleQueue()
    >>> with watch(lambda engine: events):
    ...     Engine(Job(asyncio.sleep, 0)).orchestrate()
    True
    >>> type(events.get_nowait()).__name__
    'RunStarted'
    """
    with _lock:
        _factories.append(factory)
    try:
        yield
    finally:
        with _lock:
            # The one that was added, not an equal one.
            index = next(i for i, known in enumerate(_factories) if known is factory)
            del _factories[index]


Take = Callable[..., object]
"""A method of a reader: takes an event, or the fields of a report."""


def readers_of(engine: Engine, has_own_tick: bool) -> tuple[list[Take], list[Take]]:
    """Return what is to be called with each event of a run of `engine`, and with each report.

    The first is empty if nobody reads: then no event is even made.  The second is empty unless all
    who read take reports as they are: then these are events like others.
    """
    readers: list[Take] = []
    reports: list[Take] = []
    if has_own_tick:
        readers.append(engine.tick)
    elif engine.message_queue is not None:  # what `tick` would do, at half the cost
        readers.append(engine.message_queue.put_nowait)
    with _lock:
        factories = list(_factories)
    for factory in factories:
        try:
            reader = factory(engine)
            if reader is not None:
                readers.append(reader.put_nowait)
                if (take := getattr(reader, "put_progress", None)) is not None:
                    reports.append(take)
        except Exception as error:  # a tool that watches must never hurt the run
            logging.getLogger("engine").warning("watch(): %s", safe_error(error))
    return readers, reports if len(reports) == len(readers) else []
