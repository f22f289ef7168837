"""The terminal: whether there is one, its settings while a screen is up, and giving it back.

A terminal is shared: with the shell that started us, and with every process of our group.  So it is
opened anew, by name, because the mode of a descriptor (blocking or not) is shared with all who
inherited it; it is touched only while we are its foreground group, because anything else stops the
whole program (SIGTTOU) or disturbs whoever is in front; and its settings are put back by whichever
way the program leaves, the interpreter's own exit included.
"""

from __future__ import annotations

import atexit
import curses
import os
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .writer import Descriptor, signals_blocked

LEAVE = "\x1b[0m\x0f\x1b[?1049l\x1b[?25h"
"""Colours off, plain characters, the main screen, a cursor: for when nobody else can say it."""

_IFLAG, _LFLAG, _CC = 0, 3, 6
_FORCED = ("FORCE_COLOR", "CLICOLOR_FORCE")


def is_capable() -> bool:
    """Whether stdin and stdout are a terminal that can show a screen, and it is ours to use now."""
    if os.environ.get("TERM", "dumb") in {"", "dumb"}:
        return False
    try:
        return (
            sys.stdin.isatty()
            and sys.stdout.isatty()
            and os.isatty(sys.stdin.fileno())
            and os.isatty(sys.stdout.fileno())
            and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        )
    except (AttributeError, OSError, ValueError):
        # A stream that is None, closed or without descriptor; a terminal that is not ours.
        return False


def is_colourless() -> bool:
    """Whether the description of the terminal, by TERM, has no colours, as that of a vt100.

    What else there is to know of colours, NO_COLOR for one, urwid asks for by itself.
    """
    if any(os.environ.get(name) for name in _FORCED):
        return False
    try:
        curses.setupterm(fd=1)
    except curses.error:  # nothing is known of it
        return False
    return curses.tigetnum("colors") <= 0


class Terminal:
    """The terminal of this program, opened anew for reading keys and for writing frames.

    Raises:
        OSError: there is none.
    """

    def __init__(self) -> None:
        self.keys = _reopen(sys.stdin.fileno(), os.O_RDONLY)
        """Descriptor to read keys from; never blocks."""
        try:
            self._out = _reopen(sys.stdout.fileno(), os.O_WRONLY)
        except OSError:
            os.close(self.keys)
            raise
        self.encoding = sys.stdout.encoding or "utf-8"
        self._settings: list[Any] | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def target(self) -> Descriptor:
        """Return where a writer writes its frames."""
        return Descriptor(os.dup(self._out), self.encoding)

    def in_front(self) -> bool:
        """Whether we are the terminal's foreground process group: only then it may be touched.

        Raises:
            EOFError: the terminal hung up.
        """
        try:
            return os.tcgetpgrp(self.keys) == os.getpgrp()
        except OSError as error:
            raise EOFError("the terminal hung up") from error

    def size(self) -> tuple[int, int]:
        """Return its columns and rows, as they are now; 80x24 where it does not know."""
        with suppress(OSError):
            columns, rows = os.get_terminal_size(self._out)
            if columns > 0 and rows > 0:
                return columns, rows
        return 80, 24

    def read(self) -> bytes:
        """Return the bytes typed so far, none if there are none.

        Raises:
            EOFError: the terminal hung up.
        """
        try:
            typed = os.read(self.keys, 4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            if self.in_front():
                raise EOFError("the terminal cannot be read") from error
            return b""  # what was typed is for somebody else
        if not typed:
            raise EOFError("the terminal hung up")
        return typed

    def take(self) -> None:
        r"""Have keys come one by one and unechoed, and Ctrl-S mean nothing.

        Ctrl-C stays the signal it is.  Ctrl-Z and Ctrl-\ come as keys: the terminal has to be given
        back before anything stops, and a signal would stop the rest of our group, and bring the
        shell back, before that is done.

        Raises:
            OSError: the terminal is gone.
        """
        with self._lock, _as_os_error():
            settings = termios.tcgetattr(self.keys)
            if self._settings is None:
                self._settings = settings
                atexit.register(self.rescue)
            termios.tcsetattr(self.keys, termios.TCSANOW, self._key_by_key(settings))

    def give_back(self) -> None:
        """Put its settings back as they were before `take`; do nothing if they are."""
        atexit.unregister(self.rescue)
        with self._lock:
            settings, self._settings = self._settings, None
            if settings is None or os.getpid() != self._pid:
                return
            with suppress(OSError, EOFError), _as_os_error(), signals_blocked():
                if self.in_front():
                    # Keys typed for a screen that is gone are not meant for the shell.
                    termios.tcflush(self.keys, termios.TCIFLUSH)
                    termios.tcsetattr(self.keys, termios.TCSANOW, settings)

    def rescue(self) -> None:
        """Leave the screen and give the terminal back at once, past a writer that is stuck."""
        if self._settings is None or os.getpid() != self._pid:
            return
        with suppress(OSError), _as_os_error(), signals_blocked():
            # What was not read by now goes, so that there is room for this.
            termios.tcflush(self._out, termios.TCOFLUSH)
        self.write_at_once(LEAVE)
        self.give_back()

    def write_at_once(self, text: str) -> None:
        """Write a short text if there is room for it."""
        with suppress(OSError), signals_blocked():
            os.write(self._out, text.encode(self.encoding, "replace"))

    def close(self) -> None:
        """Close its descriptors."""
        os.close(self.keys)
        os.close(self._out)

    def _key_by_key(self, settings: list[Any]) -> list[Any]:
        mode = [*settings[:_CC], list(settings[_CC])]
        mode[_IFLAG] &= ~(termios.IXON | termios.ISTRIP)
        mode[_IFLAG] |= termios.ICRNL
        mode[_LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        mode[_LFLAG] |= termios.ISIG
        off = bytes([os.fpathconf(self.keys, "PC_VDISABLE")])
        mode[_CC][termios.VSUSP] = mode[_CC][termios.VQUIT] = off
        mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
        return mode


def _reopen(fd: int, flags: int) -> int:
    """Return a descriptor of its own for the terminal behind `fd`."""
    flags |= os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(os.ttyname(fd), flags)
    except OSError:
        # In a container the name that the kernel knows may not be there.
        return os.open("/dev/tty", flags)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Tell an error of a terminal as what it is: termios has an exception of its own."""
    try:
        yield
    except termios.error as error:
        raise OSError(*error.args) from error
