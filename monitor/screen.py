"""The screen, by urwid: rows of a layout become frames of a terminal, bytes typed become keys.

urwid decides what of a frame differs from the last, and in which bytes to say so.  It is kept away
from the terminal itself: it writes to a writer that never blocks, it is told the size, it installs
no signal handler and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import urwid
from urwid.display import raw

from .rows import Row

Size: TypeAlias = tuple[int, int]
"""Columns and rows."""

PALETTE = (
    ("border", "faint", "", "faint"),
    ("head", "bold", "", "bold"),
    ("title", "bold", "", "bold"),
    ("dim", "faint", "", "faint"),
    ("cursor", "standout", "", "standout"),
    ("bar", "dark green", "", ""),
    ("empty", "faint", "", "faint"),
    ("question", "standout,bold", "", "standout,bold"),
    ("notice", "brown,bold", "", "bold"),
    ("fail", "dark red,bold", "", "bold"),
    ("stop", "brown,bold", "", "bold"),
    ("run", "dark cyan", "", ""),
    ("forever", "dark cyan", "", ""),
    ("retry", "brown", "", ""),
    ("queue", "", "", ""),
    ("wait", "faint", "", "faint"),
    ("cancel", "dark magenta", "", ""),
    ("skip", "brown", "", ""),
    ("ok", "dark green", "", ""),
)
"""The attributes of :mod:`monitor.layout`: colour, background, and their look without colours.

Only colours that themes, dark and light, keep readable; grey is the text's own colour made faint.
"""


class Page(urwid.Widget):
    """A box of rows that a function composes for its size, and keys that a function takes.

    Args:
        compose: given columns and rows, returns as many rows of that width.
        press: given a key, tells whether it means something.

    >>> page = Page(lambda columns, rows: [[("title", "run".ljust(columns))]] * rows, lambda key: 0)
    >>> from urwid.testing import render_text
    >>> render_text(page, (5, 2))
    ['run  ', 'run  ']
    """

    _sizing = frozenset([urwid.BOX])
    _selectable = True
    # What is shown depends on more than the size, so urwid must ask each time.
    no_cache = ("render",)

    def __init__(
        self, compose: Callable[[int, int], Sequence[Row]], press: Callable[[str], object]
    ) -> None:
        super().__init__()
        self._compose = compose
        self._press = press

    def render(self, size: Size, focus: bool = False) -> urwid.TextCanvas:  # type: ignore[override]
        """Return the rows for this size as one canvas."""
        columns, rows = size
        texts, attributes = [], []
        for row in self._compose(columns, rows) if columns and rows else [[]] * rows:
            pieces = [(attribute, text.encode()) for attribute, text in row]
            texts.append(b"".join(piece for _, piece in pieces))
            attributes.append([(attribute, len(piece)) for attribute, piece in pieces])
        return urwid.TextCanvas(texts, cast("Any", attributes), maxcol=columns)

    def keypress(self, size: Size, key: str) -> str | None:  # type: ignore[override]
        """Take a key; return it if it means nothing."""
        return None if self._press(key) else key


class Screen:
    """The alternate screen of a terminal, drawn through `write`.

    Args:
        write: takes what is to be sent to the terminal; should not block.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._raw = _Raw(write)
        self._raw.register_palette(cast("Any", PALETTE))
        self._size: Size = (0, 0)
        self._content: list[Any] = []
        self._typed: list[int] = []

    def enter(self) -> None:
        """Go to the alternate screen."""
        urwid.set_encoding("utf-8")
        self._raw.start()
        self.redraw()

    def leave(self) -> None:
        """Go back to the main screen, which is as it was."""
        self._raw.stop()

    def redraw(self) -> None:
        """Have the next frame drawn whole, whatever the terminal shows."""
        self._size = (0, 0)

    def draw(self, page: Page, size: Size) -> None:
        """Draw a page; only what differs from the last frame is written."""
        canvas = page.render(size)
        content = list(canvas.content())
        if size != self._size:
            self._raw.clear()
        elif content == self._content:
            return
        self._size, self._content = size, content
        self._raw.draw_screen(size, canvas)

    def keys(self, typed: bytes) -> list[str]:
        """Return the keys that `typed` completes; what is the beginning of one is kept."""
        self._typed += typed
        keys, used = self._raw.parse_input(None, None, self._typed)
        self._typed = self._typed[len(used) :]
        return _named(keys)

    @property
    def half_typed(self) -> bool:
        """The beginning of a key has come, and the rest may follow."""
        return bool(self._typed)

    def rest(self) -> list[str]:
        """Return the keys in what was kept, now that nothing followed: a lone Esc, mostly."""
        typed, self._typed = self._typed, []
        keys, _ = self._raw.parse_input(None, None, typed, wait_for_more=False)
        return _named(keys)


class _Raw(raw.Screen):
    """urwid's terminal without the terminal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        # An input that has no descriptor is one whose settings urwid leaves alone.
        super().__init__(input=cast("Any", None), output=cast("Any", None))
        self._write_out = write

    def write(self, data: str) -> None:
        self._write_out(data)

    def flush(self) -> None:
        pass

    def signal_init(self) -> None:
        pass

    def signal_restore(self) -> None:
        pass

    def tty_signal_keys(self, *keys: Any, **options: Any) -> None:
        """Leave them to :mod:`monitor.terminal`."""


def _named(keys: Sequence[object]) -> list[str]:
    """Return the keys without mouse events and answers of the terminal, which are tuples.

    No key has a meaning with Alt held down, which sends Esc first: whoever is quick after Esc means
    two keys.
    """
    names = [key for key in keys if isinstance(key, str)]
    return [name for key in names for name in key.replace("meta ", "esc\0").split("\0")]
