"""A row of a frame: segments of text, each with the name of an attribute."""

from __future__ import annotations

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


def row_text(row: Row) -> str:
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


def joined(left: Row, joint: Segment, right: Row) -> Row:
    """Return two rows side by side, with `joint` in place of the border that they share.

    Args:
        left: a row that ends in a border one cell wide.
        joint: what is drawn there.
        right: a row that begins with one.
    """
    *before, (last, end) = left
    (first, begin), *behind = right
    return [*before, (last, end[:-1]), joint, (first, begin[1:]), *behind]
