"""What a process writes: kept up to a bound, and told line by line.

Output is bytes from end to end.  It becomes lines for those who look at them only, whole blocks at
a time: a million lines pass in the time of a `bytes.rfind` for each block that arrives.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import IO

from engine import BadOption
from engine.text import safe_repr

KEPT = 1 << 20
"""Bytes of each stream that are kept by default, the last ones."""
LONGEST_LINE = 1 << 16
"""A line that is longer is told in pieces, so that output without line ends is told at all."""

Capture = bool | str | PathLike[str] | None
Tell = Callable[[bytes, str, bool], None]


def check_capture(capture: object) -> None:
    """Refuse what is no value for `capture=`; BadOption."""
    if capture is not None and not isinstance(capture, (bool, str, PathLike)):
        problem = f"capture={safe_repr(capture, 80)}: give True, False or the path of a file"
        raise BadOption(problem, "capture", capture)


class Kept:
    """The last bytes of a stream, all of them, or none.

    Args:
        limit: how many bytes; None keeps all.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        # Its value is handed out without a copy.
        self._buffer = BytesIO()
        self._dropped = False

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer.write(data)
        # Cut when it is twice too long: each byte is then moved once, however small the pieces.
        if self._limit is not None and self._buffer.tell() > 2 * self._limit:
            self._cut(self._limit)

    def _cut(self, limit: int) -> None:
        surplus = self._buffer.tell() - limit
        if surplus > 0:
            kept = self._buffer.getbuffer()[surplus:]
            self._buffer = BytesIO()
            self._buffer.write(kept)
            self._dropped = True

    def value(self) -> tuple[bytes, bool]:
        """Return what is kept, and whether something is missing."""
        if self._limit is not None:
            self._cut(self._limit)
        return self._buffer.getvalue(), self._dropped


class Lines:
    """Cuts a stream into lines, and tells them in blocks, each block in the job's context.

    Args:
        stream: ``"stdout"`` or ``"stderr"``.
        tell: called with lines, joined by line ends, the stream, and True; or, with False, with the
            beginning of a line that may go on: a prompt, for instance, ends nowhere.
    """

    def __init__(self, stream: str, tell: Tell) -> None:
        self._stream = stream
        self._tell = tell
        # Data arrives in the context of the connection, which serves many jobs.
        self._context = contextvars.copy_context()
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what came; tell the lines that are complete."""
        end = data.rfind(b"\n")
        if end < 0:
            self._rest += data
        else:
            block = self._rest + data[:end] if self._rest else data[:end]
            self._rest = data[end + 1 :]
            self._context.run(self._tell, block, self._stream, True)
        if len(self._rest) > LONGEST_LINE:
            self.flush()
        elif self._rest:
            self._context.run(self._tell, self._rest, self._stream, False)

    def flush(self) -> None:
        """Tell what is left, a line without an end."""
        if self._rest:
            block, self._rest = self._rest, b""
            self._context.run(self._tell, block, self._stream, True)


class Output:
    """Both streams of a process.

    Args:
        capture: None keeps the last MiB of each stream, True all, False nothing; with a path the
            standard output goes to that file, from its beginning.
        tell: see :class:`Lines`.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, capture: Capture, tell: Tell) -> None:
        limit = None if capture is True else 0 if capture is False else KEPT
        self._kept = {"stdout": Kept(limit), "stderr": Kept(limit)}
        self._lines = {stream: Lines(stream, tell) for stream in self._kept}
        self.received = 0
        self._closed = False
        file = None if capture is None or isinstance(capture, bool) else Path(capture)
        self._file: IO[bytes] | None = None if file is None else file.open("wb")

    def feed(self, stream: str, data: bytes) -> None:
        """Take what came; OSError if it cannot be written to the file."""
        if self._closed:
            return
        self.received += len(data)
        self._kept[stream].feed(data)
        self._lines[stream].feed(data)
        if self._file is not None and stream == "stdout":
            with self._naming_the_file():
                self._file.write(data)

    def close(self) -> None:
        """Take no more; OSError if it cannot be written to the file."""
        self._closed = True
        for lines in self._lines.values():
            lines.flush()
        if self._file is not None:
            with self._naming_the_file():
                self._file.close()

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._file is not None:
                error.filename = str(self._file.name)
            raise

    def value(self, stream: str) -> tuple[bytes, bool]:
        """Return what is kept of a stream, and whether something is missing."""
        return self._kept[stream].value()
