"""What was printed and is to be printed again: pieces of output, in memory or in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

SPOOL = 1_000_000
"""Bytes that are kept in memory; more goes to a temporary file."""

_PIECE = 65536


class Spool:
    """Pieces of output and the streams they are for, in order; in a file once they are many.

    >>> spool = Spool()
    >>> for name, data in ("stdout", b"one "), ("stdout", b"two"), ("stderr", b"!"):
    ...     spool.append(name, data)
    >>> list(spool.taken())
    [('stdout', b'one two'), ('stderr', b'!')]
    """

    def __init__(self, size: int = SPOOL) -> None:
        self._file = _file(size)
        self._runs: list[tuple[str, int]] = []

    def append(self, name: str, data: bytes) -> None:
        """Add what was written to a stream."""
        if not data:
            return
        self._file.write(data)
        if self._runs and self._runs[-1][0] == name:
            self._runs[-1] = name, self._runs[-1][1] + len(data)
        else:
            self._runs.append((name, len(data)))

    def taken(self) -> Iterator[tuple[str, bytes]]:
        """Give all there is, in pieces of bounded size; then the spool is used up."""
        with self._file as file:
            file.seek(0)
            for name, length in self._runs:
                left = length
                while left:
                    data = file.read(min(left, _PIECE))
                    left -= len(data)
                    yield name, data

    def close(self) -> None:
        """Forget what there is."""
        self._file.close()


def _file(size: int) -> tempfile.SpooledTemporaryFile[bytes]:
    """Open what is in memory up to `size` bytes, and in a file beyond."""
    return tempfile.SpooledTemporaryFile(max_size=size)
