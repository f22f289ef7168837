"""The screen: rows become frames in which only what changed is sent, bytes become keys."""

from __future__ import annotations

from functools import partial

import pytest
import urwid
from urwid.testing import check_box_sizing, press, render_runs, render_text, resolve_attr

from engine import State
from monitor.layout import ATTRIBUTES, compose
from monitor.rows import Row
from monitor.screen import PALETTE, Page, Screen
from monitor.view import View
from tests.monitor.stories import WALL, Story, row


class Sent:
    """What a screen sends to its terminal."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        self.text += text

    def taken(self) -> str:
        text, self.text = self.text, ""
        return text


def page_of(*lines: str) -> Page:
    def rows(columns: int, rows: int) -> list[Row]:
        padded = [*lines, *[""] * rows][:rows]
        return [[("ok", line.ljust(columns)[:columns])] for line in padded]

    return Page(rows, lambda key: key == "known")


def test_the_frames_of_any_run_fit_their_box() -> None:
    story = Story(row("1", "世界 é"), row("2", forever=True), row("3"), row("3.1"))
    story.to(State.RUNNING, "1").progress("1", percent=55.0, message="writing").output("1", "a")
    draw = partial(compose, story.model, View(), now=1002.0, wall=WALL)
    page = Page(draw, bool)
    check_box_sizing(page, cols=80, rows=24)
    for size in (1, 1), (20, 3), (40, 6), (80, 24), (120, 30), (200, 60):
        assert len(render_text(page, size)) == size[1]


def test_attributes_reach_the_canvas() -> None:
    runs = render_runs(page_of("ab"), (3, 1))
    assert runs == [[("ok", "ab ")]]


def test_keys_that_mean_nothing_come_back() -> None:
    assert press(page_of(), (3, 1), "known", "unknown") == ["unknown"]


def test_each_attribute_has_a_colour_and_a_look_without_colours() -> None:
    names = [entry[0] for entry in PALETTE]
    assert sorted(names) == sorted(set(names))
    assert set(names) == set(ATTRIBUTES) - {""}
    for name in names:
        resolve_attr(name, PALETTE, colors=256)
        resolve_attr(name, PALETTE, colors=1)


@pytest.mark.parametrize("name", ["fail", "cursor", "question", "stop", "notice"])
def test_what_matters_stands_out_without_colours(name: str) -> None:
    spec = resolve_attr(name, PALETTE, colors=1)
    assert spec.bold or spec.standout


def test_only_what_changed_is_sent() -> None:
    sent = Sent()
    screen = Screen(sent)
    screen.enter()
    screen.draw(page_of("first", "second"), (20, 3))
    text = sent.taken()
    assert "first" in text
    assert "second" in text
    screen.draw(page_of("first", "changed"), (20, 3))
    text = sent.taken()
    assert "first" not in text
    assert "changed" in text
    screen.draw(page_of("first", "changed"), (20, 3))
    assert sent.taken() == ""
    screen.redraw()
    screen.draw(page_of("first", "changed"), (20, 3))
    assert "first" in sent.taken()
    screen.draw(page_of("first", "changed"), (30, 4))
    assert "first" in sent.taken()
    screen.leave()


def test_the_main_screen_comes_back() -> None:
    sent = Sent()
    screen = Screen(sent)
    screen.enter()
    screen.draw(page_of("first"), (20, 3))
    assert sent.taken().startswith("\x1b[?1049h")
    screen.leave()
    assert sent.taken().endswith("\x1b[?1049l\x1b[?25h")
    screen.leave()
    assert sent.taken() == ""
    screen.enter()
    screen.draw(page_of("first"), (20, 3))
    assert "first" in sent.taken()
    screen.leave()


def test_no_query_is_sent_whose_answer_the_shell_would_get() -> None:
    sent = Sent()
    screen = Screen(sent)
    screen.enter()
    screen.draw(page_of("first"), (20, 3))
    screen.leave()
    for query in "\x1b[c", "\x1b[?1;2c", "$p", "\x1b[6n", "\x1b]":
        assert query not in sent.text


def test_keys() -> None:
    screen = Screen(Sent())
    assert screen.keys(b"j\x1b[A\x1b[5~\r\t \x7f") == [
        "j",
        "up",
        "page up",
        "enter",
        "tab",
        " ",
        "backspace",
    ]
    assert screen.keys(b"\x0c\x1a\x1c\x15") == ["ctrl l", "ctrl z", "ctrl \\", "ctrl u"]


def test_keys_that_come_in_pieces() -> None:
    screen = Screen(Sent())
    assert screen.keys(b"\xc3") == []
    assert screen.keys(b"\xa9x") == ["é", "x"]
    assert screen.keys(b"\x1b[") == []
    assert screen.keys(b"B") == ["down"]


def test_a_lone_escape() -> None:
    screen = Screen(Sent())
    assert screen.keys(b"\x1b") == []
    assert screen.rest() == ["esc"]
    assert screen.rest() == []


def test_a_key_right_after_escape() -> None:
    screen = Screen(Sent())
    assert screen.keys(b"\x1bs") == ["esc", "s"]
    assert screen.keys(b"\x1b\x1b[A") == ["esc", "up"]


def test_mouse_and_answers_are_no_keys() -> None:
    screen = Screen(Sent())
    assert screen.keys(b"\x1b[<0;3;4Mq\x1b[?2026;2$y") == ["q"]


def test_bytes_that_are_no_text() -> None:
    screen = Screen(Sent())
    keys = screen.keys(bytes(range(256))) + screen.rest()
    assert "q" in keys
    assert all(isinstance(key, str) for key in keys)


def test_wide_characters_are_cut_nowhere() -> None:
    page = Page(lambda *_: [[("", "世界"), ("ok", "x")]], bool)
    assert render_text(page, (5, 1)) == ["世界x"]
    with pytest.raises(urwid.CanvasError):
        page.render((4, 1))
