"""stdout and stderr while a display has the terminal: prints are told to the run, and kept.

Two things happen to what is printed while the screen is up.  Line by line it is told to the run, so
that it is seen beside the job that printed it; there it is made safe like all foreign text.  And it
is kept as it is, to be replayed to the stream it was meant for once the screen is gone: in order,
and once.

What a child process writes to the descriptors, and what is written to a stream that was taken from
`sys` before the run, passes this by.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from typing import Any, TextIO
from weakref import WeakKeyDictionary, WeakSet

from engine import output

from .spool import Spool

_LONG = 65536
"""Characters without a line break that are told as a line all the same."""

_BREAK = re.compile(r"[\r\n]")
_NAMES = ("stdout", "stderr")

_telling: ContextVar[bool] = ContextVar("telling", default=False)
"""Set while a line is told, so that what this makes somebody print is not told in its turn."""


class Way(Enum):
    """What is done with what is printed, beside telling it to the run."""

    THROUGH = "through"  # write it, as if nobody were in between
    HOLD = "hold"  # keep it for later
    ASIDE = "aside"  # write all of it to stderr, as stdout is somebody else's


class Takeover:
    """What is between the program and its stdout and stderr while a run is shown.

    Between `start` and `stop` each line that is printed inside a job is told as its output.  What
    else happens to it changes with `hold`, `release` and `put_aside`; at first it passes.

    Args:
        write: takes, instead, the name of a stream and what is printed to it: then nothing is told,
            as what is printed is seen at once.
    """

    def __init__(self, write: Callable[[str, bytes], None] | None = None) -> None:
        self._lock = threading.RLock()
        self._way = Way.THROUGH
        self._write = write
        self.tells = write is None
        self._spool: Spool | None = None
        self._streams: dict[str, tuple[TextIO, TextIO]] = {}
        _takeovers.add(self)

    def start(self) -> None:
        """Put ourselves in the place of stdout and stderr, for logging handlers too."""
        for name in _NAMES:
            before = getattr(sys, name)
            if before is not None:
                with suppress(OSError):  # the reader went away; whoever prints next is told
                    before.flush()
                ours = _proxy(before, _Sink(self, name, before))
                self._streams[name] = before, ours
                setattr(sys, name, ours)
                _redirect_logging(before, ours)

    def stop(self, *, replay: bool = True) -> None:
        """Give stdout and stderr back, and replay what was kept.

        Whoever still holds one of our streams can go on writing to it.

        Args:
            replay: False drops what was kept.
        """
        for name, (before, ours) in self._streams.items():
            # Whoever put something else there in the meantime wants it there.
            if getattr(sys, name) is ours:
                setattr(sys, name, before)
            _redirect_logging(ours, before)
        self._write = None
        self.release(None if replay else _drop)

    def hold(self) -> None:
        """Keep what is printed from now on."""
        with self._lock:
            self._way = Way.HOLD

    def put_aside(self) -> None:
        """Keep stdout free for somebody else from now on."""
        with self._lock:
            self._way = Way.ASIDE

    def release(self, write: Callable[[str, bytes], None] | None = None) -> None:
        """Replay what was kept, and let pass what is printed from now on.

        Args:
            write: takes the name of a stream and what was printed to it; None writes it there.
        """
        while True:
            with self._lock:
                spool, self._spool = self._spool, None
                if spool is None:
                    self._way = Way.THROUGH
                    break
            # What is printed meanwhile has to come after it, so it is still kept.
            for name, data in spool.taken():
                (write or self.replay)(name, data)
        for _, ours in self._streams.values():
            with suppress(OSError):
                ours.flush()

    def printed(self, name: str, data: bytes) -> None:
        """Take what was printed to the stream of this name."""
        with self._lock:
            way, write = self._way, self._write
            if way is Way.HOLD and self._keep(name, data):
                return
        (write or self.pass_on)("stderr" if way is Way.ASIDE else name, data)

    def _keep(self, name: str, data: bytes) -> bool:
        """Keep a piece of output; False if there is no room for it on the disk."""
        self._spool = self._spool or Spool()
        try:
            self._spool.append(name, data)
        except OSError:
            return False
        return True

    def after_fork(self) -> None:
        """Let pass what a child process prints: it keeps nothing, as nobody would replay it."""
        self._lock = threading.RLock()
        self._write = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._way is Way.HOLD:
            self._way = Way.THROUGH

    def is_tty(self, name: str) -> bool:
        """Whether the stream of this name is a terminal."""
        return name in self._streams and self._streams[name][0].isatty()

    def replay(self, name: str, data: bytes) -> None:
        """Write a piece of what was kept to the stream it is for."""
        with suppress(OSError):  # nobody reads it any more
            self.pass_on(name, data)

    def pass_on(self, name: str, data: bytes) -> None:
        """Write to a stream, as if nobody were in between; OSError if its reader went away."""
        if name in self._streams:
            with suppress(ValueError):  # its owner closed it
                _write(self._streams[name][0], data)


_takeovers: WeakSet[Takeover] = WeakSet()


def _after_fork() -> None:
    for takeover in _takeovers:
        takeover.after_fork()


os.register_at_fork(after_in_child=_after_fork)


class _Sink(io.BufferedIOBase):
    """The bytes under one of our streams: they go to the takeover, and line by line to the run."""

    def __init__(self, takeover: Takeover, name: str, stream: TextIO) -> None:
        self._takeover = takeover
        self._stream = stream
        self._stream_name = name
        self._begun: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self.name = getattr(stream, "name", f"<{name}>")
        self.mode = "wb"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        with suppress(ValueError):  # its owner closed it
            self._stream.flush()

    def write(self, data: Any) -> int:
        data = bytes(data)
        self._takeover.printed(self._stream_name, data)
        if self._takeover.tells:
            for line in self._lines(data.decode(_encoding(self._stream), "replace")):
                _tell(line, self._stream_name)
        return len(data)

    def _lines(self, text: str) -> list[str]:
        """Return the lines that `text` completes; of each task and thread what is begun is kept."""
        whose = _task_or_thread()
        *lines, rest = _BREAK.split(self._begun.pop(whose, "") + text)
        if len(rest) > _LONG:
            lines.append(rest)
        elif rest:
            self._begun[whose] = rest
        return [line for line in lines if line]


def _drop(name: str, data: bytes) -> None:
    """Take a piece of output and do nothing with it."""


def _tell(line: str, stream: str) -> None:
    """Tell a line as output of the job that printed it, if one did."""
    if not _telling.get():
        token = _telling.set(True)
        try:
            output(line, stream)
        finally:
            _telling.reset(token)


def _task_or_thread() -> object:
    try:
        return asyncio.current_task() or threading.current_thread()
    except RuntimeError:
        return threading.current_thread()


def _proxy(stream: TextIO, sink: _Sink) -> TextIO:
    """Return a text stream over `sink` that encodes as `stream` does, and refuses what it would."""
    return io.TextIOWrapper(
        sink,
        encoding=_encoding(stream),
        errors=getattr(stream, "errors", None) or "replace",
        newline="\n",
        write_through=True,
    )


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _write(stream: TextIO, data: bytes) -> None:
    """Write bytes to a text stream; a line is seen once it is whole, as on any terminal."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode(_encoding(stream), "replace"))
    else:
        buffer.write(data)
    if b"\n" in data:
        stream.flush()


def _redirect_logging(before: TextIO, after: TextIO) -> None:
    """Have the handlers that log to one stream log to another."""
    for handler in _logging_handlers():
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)


def _logging_handlers() -> Iterator[logging.Handler]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    return (handler for logger in loggers for handler in logger.handlers)
