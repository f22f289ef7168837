"""Text measured in cells of a terminal: cutting and padding that never halves a character.

Texts in ticks are safe to print already.  What is done here is about width alone: characters that
take no cell, or whose width depends on their neighbours, are taken out, so that the width of a
text is the sum of the widths of its characters, on every terminal and wherever it is cut.
"""

from __future__ import annotations

import re
import unicodedata

import urwid

_CLAUSE = re.compile(r": +(?=[^\W\d_]|\[)")  # numbers and what is quoted belong to what they follow
_FLAGS = range(0x1F1E6, 0x1F200)  # two of them join into one flag: shown as plain letters
_SKIN_TONES = range(0x1F3FB, 0x1F400)  # they melt into the emoji before them


class _Widths(dict[str, int]):
    """Width of each character, asked of urwid once."""

    def __missing__(self, char: str) -> int:
        width: int = urwid.calc_width(char, 0, 1)
        self[char] = width
        return width


class _Drawn(dict[int, str]):
    """What is drawn for each character, as `str.translate` wants it; worked out once."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if code in _FLAGS:
            drawn = chr(ord("A") + code - _FLAGS.start)
        elif code in _SKIN_TONES or not (char.isprintable() or char.isspace()):
            drawn = ""
        elif char.isspace():
            drawn = " "
        else:
            drawn = char if _WIDTHS[char] else ""
        self[code] = drawn
        return drawn


_WIDTHS = _Widths()
_DRAWN = _Drawn()


def clean(text: str, *, ascii_only: bool = False) -> str:
    r"""Return `text` with nothing in it whose width is not certain.

    Args:
        text: any text; line breaks and tabs become spaces.
        ascii_only: put a question mark for each character that is not ASCII.

    >>> clean("cafe\u0301 \u200b\U0001F1EB\U0001F1F7"), clean("caf\xe9", ascii_only=True)
    ('café FR', 'caf?')
    """
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text).translate(_DRAWN)
    return text.encode("ascii", "replace").decode("ascii") if ascii_only else text


def width(text: str) -> int:
    """Return how many cells a clean text takes.

    >>> width("abc"), width("世界")
    (3, 4)
    """
    return len(text) if text.isascii() else sum(map(_WIDTHS.__getitem__, text))


def cut(text: str, cells: int) -> str:
    """Return the longest beginning of a clean text that fits into `cells`.

    >>> cut("世界", 3)
    '世'
    """
    if text.isascii():
        return text[: max(cells, 0)]
    used = 0
    for index, char in enumerate(text):
        used += _WIDTHS[char]
        if used > cells:
            return text[:index]
    return text


def cut_end(text: str, cells: int, dots: str = "…") -> str:
    """Return a clean text cut to `cells`, with `dots` where something is missing at its end.

    >>> cut_end("writing sda2", 8)
    'writing…'
    """
    if width(text) <= cells:
        return text
    room = cells - width(dots)
    return cut(text, room) + dots if room > 0 else cut(text, cells)


def cut_middle(text: str, cells: int, dots: str = "…") -> str:
    """Return a clean text cut to `cells`, with `dots` where its middle is missing.

    Names differ at their ends (``node17``), so that is the part to keep.

    >>> cut_middle("measure-node17", 10)
    'measu…de17'
    """
    if width(text) <= cells:
        return text
    room = cells - width(dots)
    if room <= 1:
        return cut(text, cells)
    tail = cut(text[::-1], room // 2)[::-1]
    return cut(text, room - width(tail)) + dots + tail


def cut_reason(text: str, cells: int, dots: str = "…") -> str:
    """Return a clean message cut to `cells`: first, clause by clause, what comes before the point.

    What goes wrong is told from the outside in: kind of error, host, command, and at last what
    happened.  So that is what is kept, from its beginning, and the kind where there is room for it;
    if it is short, some of what comes before it.

    >>> cut_reason("TimeoutError: no answer on port 22", 20)
    'no answer on port 22'
    >>> cut_reason("ValueError: node1: no such image on the server", 20)
    '… no such image on …'
    >>> cut_reason("Unreachable: node1: no connection to port 22: connection refused", 36)
    'Unreachable: … connection refused'
    >>> cut_reason("CommandFailed: node1: make -C /srv/www all: exit status 2", 34)
    '… make -C /srv/ww…l: exit status 2'
    """
    if width(text) <= cells:
        return text
    kind, told, shorten = "", text, cut_end
    for colon in _CLAUSE.finditer(text):
        rest = (f"{dots} " if kind else "") + text[colon.end() :]
        if width(rest) < cells // 2:
            shorten = cut_middle
            break
        told = rest
        if kind and width(kind + rest) <= cells:
            return kind + rest
        kind = kind or text[: colon.end()]
        if width(rest) <= cells:
            break
    return shorten(told, cells, dots)


def fit(text: str, cells: int) -> str:
    """Return a clean text that takes exactly `cells`: cut, or padded with spaces.

    >>> fit("世界", 3) + "|"
    '世 |'
    """
    text = cut(text, cells)
    return text + " " * (cells - width(text))


def fit_right(text: str, cells: int) -> str:
    """Return the same with the padding on the left.

    >>> fit_right("12s", 5)
    '  12s'
    """
    text = cut(text, cells)
    return " " * (cells - width(text)) + text


def wrap(text: str, cells: int) -> list[str]:
    """Return a clean text in lines of at most `cells`, broken at spaces where there are some.

    >>> wrap("ssh: connect timed out", 12)
    ['ssh: connect', 'timed out']
    """
    lines = []
    # Each character has a cell at least, so that a long text need not be measured to its end.
    while len(text) > cells or width(text) > cells:
        line = cut(text, cells) or text[:1]
        space = text[: len(line) + 1].rfind(" ")
        if space > 0:
            line = text[:space]
        lines.append(line)
        text = text[len(line) :].lstrip()
    lines.append(text)
    return lines
