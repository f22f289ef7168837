"""Waiting for keys and for other threads at once."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

CatchUp: TypeAlias = Callable[[], None]
"""Returns once what has happened so far is told, or after a moment."""


class Wake:
    """Wakes one thread that waits for descriptors; set by any other.

    >>> wake = Wake()
    >>> wake.set()
    >>> wake.wait(10.0)
    []
    >>> wake.close()
    """

    def __init__(self) -> None:
        # Reentrant, as a signal handler may set what it interrupts being set.
        self._lock = threading.RLock()
        self._closed = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        """End the wait that goes on, or the next one; may be called by a signal handler."""
        # If the pipe is full it is set already, many times over.
        with self._lock, suppress(BlockingIOError):
            if not self._closed:
                os.write(self._writer, b"!")

    def wait(self, timeout: float, *descriptors: int) -> list[int]:
        """Wait for `set` or for one of `descriptors`; return those that can be read, or hung up."""
        poll = select.poll()
        for fd in (self._reader, *descriptors):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(timeout * 1000)]
        if self._reader in ready:
            os.read(self._reader, 4096)
            ready.remove(self._reader)
        return ready

    def close(self) -> None:
        """Close its descriptors; to be called by the thread that waits."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._reader)
                os.close(self._writer)
