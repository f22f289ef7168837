"""A row of a frame: segments of text, each with the name of an attribute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from .cells import cut, width

Segment: TypeAlias = tuple[str, str]
"""The name of an attribute (empty for plain text) and a clean text."""

Row: TypeAlias = list[Segment]
"""The segments of a row, from left to right."""


def row_width(row: Row) -> int:
    """Return how many cells a row takes.

    >>> row_width([("ok", "done"), ("", "  世")])
    8
    """
    return sum(width(text) for _, text in row)


def row_text(row: Iterable[Segment]) -> str:
    """Return the text of a row, without attributes."""
    return "".join(text for _, text in row)


def padded(row: Row, cells: int) -> Row:
    """Return a row of exactly `cells`, cut or filled with spaces; empty segments are left out.

    >>> padded([("ok", "done"), ("", "  世")], 7)
    [('ok', 'done'), ('', '  '), ('', ' ')]
    """
    fitted: Row = []
    left = cells
    for attribute, text in row:
        part = cut(text, left)
        if part:
            fitted.append((attribute, part))
            left -= width(part)
    if left > 0:
        fitted.append(("", " " * left))
    return fitted


def crossed(row: Row, places: Iterable[int], line: str, tee: str) -> Row:
    """Return a row with `tee` in place of `line` where other lines meet it.

    >>> crossed([("border", "+--"), ("head", " log "), ("border", "----+")], (2, 5, 9), "-", "T")
    [('border', '+-T'), ('head', ' log '), ('border', '-T--+')]

    Args:
        row: the row.
        places: how many cells are before each of them; where there is a text, it stays.
        line: the character of the line, one cell wide.
        tee: what is drawn there, likewise.
    """
    drawn: Row = []
    first = 0
    for attribute, text in row:
        cells = list(text)
        if attribute == "border":
            for cell in (place - first for place in places):
                if 0 <= cell < len(cells) and cells[cell] == line:
                    cells[cell] = tee
        drawn.append((attribute, "".join(cells)))
        first += width(text)
    return drawn


def lines_down(row: Row, line: str) -> list[int]:
    """Return how many cells are before each line between two columns of a row.

    >>> lines_down([("border", "|"), ("", "a|"), ("border", "|"), ("", "b"), ("border", "|")], "|")
    [3]
    """
    places = []
    first = 0
    for attribute, text in row:
        if first and text == line and attribute == "border":
            places.append(first)
        first += width(text)
    return [place for place in places if place < first - 1]


def joined(left: Row, joint: Segment, right: Row) -> Row:
    """Return two rows side by side, with `joint` in place of the border that they share.

    Args:
        left: a row that ends in a border one cell wide.
        joint: what is drawn there.
        right: a row that begins with one.
    """
    *before, (last, end) = left
    (first, begin), *behind = right
    return [
        part for part in (*before, (last, end[:-1]), joint, (first, begin[1:]), *behind) if part[1]
    ]
