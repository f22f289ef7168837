"""Text on its way out, in a thread of its own: whoever writes never waits for whoever reads.

A terminal that was stopped, a pipe that nobody empties and a link that hangs all look the same from
here: the thread waits, the run does not.  A display asks `idle` before it makes the next frame, so
a slow terminal gets fewer frames, never old ones.  A reader that goes away silences the writer.
"""

from __future__ import annotations

import io
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO

CLOSING = 0.5
"""Seconds that a writer is given at the end to get rid of what it still has."""

_CHUNK = 65536
_PATIENCE = 100
"""Milliseconds between two looks at whether the text is still wanted."""


class Target(Protocol):
    """Where a writer's text goes; its methods may block, and raise."""

    encoding: str
    """In which text becomes the bytes that are written."""

    def write(self, data: bytes) -> None:
        """Write all of `data`."""

    def discard(self) -> None:
        """Have a `write` that goes on return soon, with its rest unwritten; may do nothing."""

    def close(self) -> None:
        """Let go of what it holds."""


class Descriptor:
    """A descriptor as a target.

    The descriptor may be in non-blocking mode, by its owner's will or by that of another process.

    Args:
        fd: the descriptor, which is closed by `close`.
        encoding: of the text written to it.
    """

    def __init__(self, fd: int, encoding: str) -> None:
        self.encoding = encoding
        self._fd = fd
        self._discarded = False

    def write(self, data: bytes) -> None:
        """Write all of `data`, however long it takes."""
        rest = memoryview(data)
        while rest and not self._discarded:
            try:
                rest = rest[os.write(self._fd, rest[:_CHUNK]) :]
            except BlockingIOError:
                ready = select.poll()
                ready.register(self._fd, select.POLLOUT)
                ready.poll(_PATIENCE)

    def discard(self) -> None:
        """Write nothing more."""
        self._discarded = True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


class Stream:
    """A text stream without a descriptor as a target, as ``sys.stdout`` of a notebook's cell."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write `data` and have it shown."""
        self._stream.write(data.decode(self.encoding, "replace"))
        self._stream.flush()

    def discard(self) -> None:
        """Do nothing: nobody can interrupt a stream."""

    def close(self) -> None:
        """Leave the stream to its owner."""


def target_of(stream: TextIO | None) -> Target:
    """Return the target that writes where `stream` does; what it has buffered goes first.

    A program without a console has None for its stdout: what is written there is dropped.  Only a
    plain file is written to by its descriptor; others, as the stdout of a notebook's cell, may have
    one that leads somewhere else.
    """
    if stream is None:
        return Descriptor(os.open(os.devnull, os.O_WRONLY), "utf-8")
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # `python -u` has no buffer in between
    if not isinstance(raw, io.FileIO) or raw.closed:
        return Stream(stream)
    with suppress(OSError, ValueError):
        stream.flush()
    return Descriptor(os.dup(raw.fileno()), stream.encoding or "utf-8")


class Writer:
    r"""Writes to a target, in the order of `write`, in a daemon thread.

    >>> import io
    >>> page = io.StringIO()
    >>> writer = Writer(Stream(page))
    >>> writer.write("one line\n")
    >>> writer.close()
    True
    >>> page.getvalue()
    'one line\n'
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._writing = False
        self._closing = False
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="monitor-writer", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """All that was written is out: the time for the next frame."""
        return not (self._waiting or self._writing)

    @property
    def broken(self) -> bool:
        """The reader went away; whatever is written now is dropped."""
        return self._broken

    def write(self, text: str | bytes) -> None:
        """Have `text` written; return at once.  What the encoding lacks becomes question marks."""
        data = text.encode(self._target.encoding, "replace") if isinstance(text, str) else text
        with self._changed:
            if data and not (self._broken or self._closing):
                self._waiting.append(data)
                self._changed.notify_all()

    def discard(self) -> None:
        """Drop what is not out yet, and whatever is written from now on."""
        self._broken = True
        self._target.discard()

    def wait(self, timeout: float) -> bool:
        """Wait until all is out, at most `timeout` seconds; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.idle, timeout)

    def close(self, timeout: float = CLOSING) -> bool:
        """Stop once all is out; wait for that at most `timeout` seconds, and tell whether it is.

        What is not out by then is left to the thread, which still writes it if the reader comes
        back while the program runs.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        block_signals()
        try:
            while data := self._next():
                self._write(data)
        finally:
            self._close_target()

    def _next(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._writing = bool(data)
            return data

    def _write(self, data: bytes) -> None:
        try:
            self._target.write(data)
        except Exception:
            # Closed pipe, terminal hung up, stream closed by its owner, or one that raises what it
            # likes: nobody is there to be told.
            self._broken = True
        finally:
            with self._changed:
                if self._broken:
                    self._waiting.clear()
                self._writing = False
                self._changed.notify_all()

    def _close_target(self) -> None:
        try:
            self._target.close()
        except OSError:
            self._broken = True


def block_signals() -> None:
    """Keep signals out of the calling thread, for good.

    Those for the program are for its main thread, which may be asleep in a call that only a signal
    delivered to itself interrupts.  And whoever touches a terminal that belongs to another process
    group gets SIGTTOU or SIGTTIN, which stop the whole program unless the thread blocks them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Keep them out for a while."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
