"""Failures are told once: by the monitor, not by the log as well."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_once() -> Iterator[None]:
    """Keep what the engine logs of jobs off stderr, as long as logging is not configured.

    The monitor tells it anyway.  What it does not tell (a reader that failed, say) still shows, and
    a program that has set up logging gets all of it.
    """
    logger = logging.getLogger("engine")
    if logger.hasHandlers():
        yield
        return
    rest = _Rest()
    logger.addHandler(rest)
    try:
        yield
    finally:
        logger.removeHandler(rest)


class _Rest(logging.Handler):
    """Does what logging does by itself where it is not configured, but for records about jobs."""

    def emit(self, record: logging.LogRecord) -> None:
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and not hasattr(record, "job"):
            last.handle(record)
