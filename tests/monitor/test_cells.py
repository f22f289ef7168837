"""Text in cells: the width of a clean text is certain, and a cut never halves a character."""

from __future__ import annotations

import unicodedata

import pytest
import urwid
from hypothesis import given
from hypothesis import strategies as st

from monitor import cells

from .stories import any_texts


def urwid_width(text: str) -> int:
    width: int = urwid.calc_width(text, 0, len(text))
    return width


@pytest.mark.parametrize(
    ("foreign", "drawn"),
    [
        ("plain", "plain"),
        ("cafe\u0301", "café"),
        ("x\u0304\u0301y", "x̄y".replace("\u0304", "")),
        ("a\u200bb\u200dc\u2060d", "abcd"),
        ("\u202eevil\u202c", "evil"),
        ("\U0001f1eb\U0001f1f7", "FR"),
        ("👍\U0001f3fd!", "👍!"),
        ("❤\ufe0f", "❤"),
        ("का", "क"),
        ("one\ttwo\nthree\u2028four", "one two three four"),
        ("\x1b[31m\x7f\x9b", "[31m"),
        ("\ud800\ue000\u0378", ""),
        ("世界", "世界"),
    ],
)
def test_what_is_drawn(foreign: str, drawn: str) -> None:
    assert cells.clean(foreign) == drawn


@given(any_texts())
def test_a_clean_text_is_as_wide_as_its_characters(text: str) -> None:
    clean = cells.clean(text)
    assert clean.isprintable()
    assert cells.width(clean) == urwid_width(clean) == sum(map(urwid_width, clean))
    assert all(urwid_width(char) for char in clean)
    assert cells.clean(clean) == clean


def test_no_character_changes_the_width_of_its_neighbours() -> None:
    for code in range(0x110000):
        char = cells.clean(chr(code))
        for neighbour in ("a", "世", "👍") if char else ():
            for text in (char + neighbour, neighbour + char):
                assert cells.width(text) == urwid_width(text), hex(code)


@given(any_texts())
def test_ascii_is_all_there_is_in_ascii(text: str) -> None:
    clean = cells.clean(text, ascii_only=True)
    assert clean.isascii()
    assert clean.isprintable()
    assert len(clean) == len(cells.clean(unicodedata.normalize("NFC", text)))


@given(any_texts(), st.integers(-1, 40))
def test_cuts_fit(text: str, room: int) -> None:
    clean = cells.clean(text)
    least = max(room, 0)
    assert cells.width(cells.cut(clean, room)) <= least
    assert cells.width(cells.cut_end(clean, room)) <= least
    assert cells.width(cells.cut_middle(clean, room)) <= least
    assert cells.width(cells.fit(clean, least)) == least
    assert cells.width(cells.fit_right(clean, least)) == least
    if cells.width(clean) <= room:
        assert cells.cut_end(clean, room) == cells.cut_middle(clean, room) == clean


def test_dots_stand_where_something_is_missing() -> None:
    assert cells.cut_end("writing sda2", 8, "..") == "writin.."
    assert cells.cut_middle("measure-node17", 9, "..") == "meas..e17"
    assert cells.cut_end("abc", 1) == "a"
    assert cells.cut_middle("abc", 2) == "ab"


@given(any_texts(), st.integers(1, 40))
def test_wrapping_loses_nothing_but_spaces(text: str, room: int) -> None:
    clean = cells.clean(text)
    lines = cells.wrap(clean, room)
    assert all(cells.width(line) <= max(room, 2) for line in lines)
    assert "".join(lines).replace(" ", "") == clean.replace(" ", "")
