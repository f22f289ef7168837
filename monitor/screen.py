"""The screen, by urwid: rows of a layout become frames of a terminal, bytes typed become keys.

urwid decides what of a frame differs from the last, and in which bytes to say so.  It is kept away
from the terminal itself: it writes to a writer that never blocks, it is told the size, it installs
no signal handler and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import urwid
from urwid.display import raw

from .rows import Row, Segment, row_text
from .terminal import is_colourless

Line: TypeAlias = list[tuple[str, None, bytes]]
"""A row as urwid has it in a canvas: attributes, character sets, and text in UTF-8."""

Size: TypeAlias = tuple[int, int]
"""Columns and rows."""

PALETTE = (
    ("border", "faint", "", "faint"),
    ("scroll", "faint", "", "faint"),
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


class Frame(urwid.Canvas):
    """A canvas of rows that are as wide as it is; shown as a whole, never a part of another one."""

    cacheable = False

    def __init__(self, lines: list[Line], columns: int) -> None:
        super().__init__()
        self.lines = lines
        self._columns = columns

    def rows(self) -> int:
        """Return how many there are."""
        return len(self.lines)

    def cols(self) -> int:
        """Return how wide they are."""
        return self._columns

    def content(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Give them, all of them."""
        return iter(self.lines)


class Page(urwid.Widget):
    """A box of rows that a function composes for its size, and keys that a function takes.

    A row that was in the last frame too is not made again.

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
        self._made: dict[tuple[Segment, ...], Line] = {}
        self._columns = 0

    def render(self, size: Size, focus: bool = False) -> Frame:  # type: ignore[override]
        """Return the rows for this size as one canvas.

        Raises:
            urwid.CanvasError: a row is not as wide as the screen.
        """
        columns, rows = size
        composed = self._compose(columns, rows) if columns and rows else [[]] * rows
        keys = [tuple(row) for row in composed]
        before = self._made if columns == self._columns else {}
        self._columns = columns
        self._made = {key: before.get(key) or _line(key, columns) for key in keys}
        return Frame([self._made[key] for key in keys], columns)

    def keypress(self, size: Size, key: str) -> str | None:  # type: ignore[override]
        """Take a key; return it if it means nothing."""
        return None if self._press(key) else key


def _line(row: tuple[Segment, ...], columns: int) -> Line:
    """Return a row as urwid has it in a canvas."""
    text = row_text(row)
    if urwid.calc_width(text, 0, len(text)) != columns:
        raise urwid.CanvasError(f"a row that is not {columns} cells wide: {text!r}")
    return [(attribute, None, text.encode()) for attribute, text in row]


class Screen:
    """The alternate screen of a terminal, drawn through `write`.

    Args:
        write: takes what is to be sent to the terminal; should not block.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._raw = _Raw(write)
        if is_colourless():
            self._raw.set_terminal_properties(colors=1)
        self._raw.register_palette(cast("Any", PALETTE))
        self._size: Size = (0, 0)
        self._lines: list[Line] = []
        self._typed: list[int] = []
        self._encoding = ""

    def enter(self) -> None:
        """Go to the alternate screen."""
        self._encoding = urwid.util.get_encoding()
        urwid.set_encoding("utf-8")
        self._raw.start()
        self.redraw()

    def leave(self) -> None:
        """Go back to the main screen, which is as it was."""
        if self._raw.started:
            self._raw.stop()
            urwid.set_encoding(self._encoding)

    def redraw(self) -> None:
        """Have the next frame drawn whole, whatever the terminal shows."""
        self._size = (0, 0)

    def draw(self, page: Page, size: Size) -> None:
        """Draw a page; only what differs from the last frame is written."""
        frame = page.render(size)
        if size != self._size:
            self._raw.clear()
        elif frame.lines == self._lines:
            return
        self._size, self._lines = size, frame.lines
        self._raw.draw_screen(size, frame)

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
