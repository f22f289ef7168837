"""What is known of a command once it is over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from engine.text import safe_line, safe_repr

from .secret import Secret, mask

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, repr=False)
class Completed:
    """A command that is over.

    Attributes:
        argv: the argument vector, or the shell line; secrets in it read ``***``.
        exit_status: 0 to 255, or None if a signal ended it.
        exit_signal: name of that signal (``"TERM"``), else None.
        stdout_bytes: what it wrote, as far as it was kept (see `capture=` of the commands).
        stderr_bytes: likewise.
        duration: seconds.
        truncated: True if something it wrote was not kept.
        secrets: values that the repr must not show.
    """

    argv: str | tuple[str, ...]
    exit_status: int | None = 0
    exit_signal: str | None = None
    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""
    duration: float = 0.0
    truncated: bool = False
    secrets: tuple[Secret, ...] = field(default=(), compare=False)

    @property
    def stdout(self) -> str:
        """The standard output as text; what is not UTF-8 reads U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """The error output as text; what is not UTF-8 reads U+FFFD."""
        return self.stderr_bytes.decode("utf-8", "replace")

    def lines(self, stream: Literal["stdout", "stderr"] = "stdout") -> Iterator[str]:
        r"""Return the lines of an output, as ``stdout.splitlines()`` has them, but not all at once.

        A million of them, which one goes through once, then take no room.

        >>> list(Completed("ls", stdout_bytes=b"one\ntwo\n").lines())
        ['one', 'two']
        """
        return chain.from_iterable(_blocks(getattr(self, f"{stream}_bytes")))

    @property
    def command(self) -> str:
        """The command as one readable, safe line."""
        words = [self.argv] if isinstance(self.argv, str) else self.argv
        return safe_line(" ".join(words), 120).strip()

    def outcome(self) -> str:
        """Return how it ended, in words: ``exit status 3`` or ``signal TERM``."""
        if self.exit_signal is None and self.exit_status is None:
            return "its end is not known"
        if self.exit_signal is not None:
            return f"signal {safe_line(self.exit_signal, 20)}"
        return f"exit status {self.exit_status}"

    def last_words(self, lines: int = 3) -> str:
        """Return the last lines of its error output, of its output if there are none."""
        text = mask(self.stderr.strip() or self.stdout.strip(), self.secrets)
        tail = [line for line in text[-2000:].splitlines() if line.strip()][-lines:]
        return " | ".join(safe_line(line, 200) for line in tail)

    def __repr__(self) -> str:
        said = mask(self.stdout, self.secrets) if self.secrets else self.stdout[:400]
        kept = ", truncated" if self.truncated else ""
        return f"<{self.command}: {self.outcome()}, stdout={safe_repr(said, 60)}{kept}>"


def _blocks(data: bytes) -> Iterator[list[str]]:
    """Cut into lines, some at a time."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK) + 1 or len(data)
        yield data[start:end].decode("utf-8", "replace").splitlines()
        start = end
