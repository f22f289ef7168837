"""The keys: each line of the table does what it says, asked questions are answered by y alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine import State
from monitor import keys
from monitor.layout import compose
from monitor.listing import Sort
from monitor.model import Model
from monitor.view import Pane, View
from tests.monitor.stories import WALL, Story, row


class Recorder:
    """A desk that notes what reaches beyond the screen."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.view = View()
        self.done: list[str] = []
        self._yes: Callable[[], None] | None = None

    def ask(self, question: str, yes: Callable[[], None]) -> None:
        self.view.question, self._yes = question, yes

    def answer(self, *, yes: bool) -> None:
        assert self._yes is not None
        self.view.question = ""
        if yes:
            self._yes()

    def cancel_job(self, job: str) -> None:
        self.done.append(f"cancel {job}")

    def stop_run(self) -> None:
        self.done.append("stop")

    def redraw(self) -> None:
        self.done.append("redraw")

    def stream(self) -> None:
        self.done.append("stream")

    def leave(self) -> None:
        self.done.append("leave")

    def suspend(self) -> None:
        self.done.append("suspend")

    def quit(self) -> None:
        self.done.append("quit")

    def press(self, *names: str) -> None:
        """Press keys as a user does: after each the frame is drawn again."""
        for name in names:
            self.draw()
            assert keys.press(self, name), f"{name} means nothing"
        self.draw()

    def draw(self) -> str:
        frame = compose(self.model, self.view, 80, 24, now=1000.0, wall=WALL)
        return "\n".join("".join(text for _, text in row) for row in frame)


@pytest.fixture
def desk() -> Recorder:
    story = Story(*(row(str(number)) for number in range(1, 31)), row("31", "group"), row("31.1"))
    story.to(State.FAILED, "7", "9").to(State.RUNNING, "1", "2").to(State.FINISHED, "3")
    return Recorder(story.model)


def test_no_key_is_twice_in_the_table() -> None:
    names = [name for key in keys.KEYS for name in key.actions]
    assert len(names) == len(set(names)) == len(keys.ACTIONS)


def test_a_key_that_means_nothing(desk: Recorder) -> None:
    assert not keys.press(desk, "f13")


def test_moving(desk: Recorder) -> None:
    desk.press("j", "down", "j", "k", "up")
    assert desk.view.place == 1
    desk.press("end")
    assert desk.view.place == len(desk.view.shown) - 1
    desk.press("page up")
    assert 0 < desk.view.place < len(desk.view.shown) - 1
    desk.press("page down", "home")
    assert desk.view.place == 0


def test_failures(desk: Recorder) -> None:
    desk.press("n")
    assert desk.view.chosen == "9"
    desk.press("n")
    assert desk.view.chosen == "7"
    desk.press("N")
    assert desk.view.chosen == "9"


def test_no_failure() -> None:
    desk = Recorder(Story(row("1")).model)
    desk.press("n")
    assert "no failure" in desk.view.notice
    desk.press("j")
    assert desk.view.notice == ""


@pytest.mark.parametrize(
    ("name", "pane"),
    [("?", Pane.HELP), ("enter", Pane.LOG), ("d", Pane.DETAILS), ("w", Pane.WHY)],
)
def test_panes_open_and_close_by_their_key_and_by_escape(
    desk: Recorder, name: str, pane: Pane
) -> None:
    seen = []
    for press in name, name, name, "esc":
        desk.press(press)
        seen.append(desk.view.pane)
    assert seen == [pane, None, pane, None]


def test_the_help_shows_the_table_on_the_usual_screen(desk: Recorder) -> None:
    desk.press("?")
    shown = desk.draw()
    for key in keys.KEYS:
        assert key.shown in shown
        assert key.help in shown


def test_the_bottom_line_shows_the_hints(desk: Recorder) -> None:
    bottom = desk.draw().splitlines()[-1]
    for key in keys.KEYS:
        assert not key.hint or key.hint in bottom


def test_tab_goes_to_the_pane_and_back(desk: Recorder) -> None:
    desk.press("tab")
    assert (desk.view.pane, desk.view.in_pane) == (Pane.DETAILS, True)
    desk.press("tab")
    assert (desk.view.pane, desk.view.in_pane) == (Pane.DETAILS, False)


def test_follow(desk: Recorder) -> None:
    desk.press("enter", "f")
    assert not desk.view.follow
    desk.press("f")
    assert desk.view.follow


def test_sort_goes_through_the_orders(desk: Recorder) -> None:
    seen = {desk.view.sort}
    for _ in Sort:
        desk.press("s")
        seen.add(desk.view.sort)
    assert seen == set(Sort)


def test_fold(desk: Recorder) -> None:
    desk.press("/", *"group", "enter", " ")
    assert desk.view.folded == {"31"}
    desk.press(" ")
    assert desk.view.folded == set()


def test_filter_is_live_kept_by_enter_and_cleared_by_escape(desk: Recorder) -> None:
    desk.press("/", *"job1x", "backspace")
    assert desk.view.filter == "job1"
    assert "job1 " in desk.draw()
    assert "job7" not in desk.draw()
    desk.press("enter")
    assert not desk.view.typing
    assert "job7" not in desk.draw()
    desk.press("esc")
    assert desk.view.filter == ""
    assert "job7" in desk.draw()


def test_letters_are_text_while_a_filter_is_typed(desk: Recorder) -> None:
    desk.press("/", *"qSxX?é", " ", "ctrl u", "n")
    assert desk.view.filter == "n"
    assert desk.done == []
    desk.press("esc")
    assert (desk.view.typing, desk.view.filter) == (False, "")
    desk.press("/")
    assert not keys.press(desk, "f5")


def test_control_keys_work_while_a_filter_is_typed(desk: Recorder) -> None:
    desk.press("/", "ctrl z", "ctrl l", "ctrl \\")
    assert desk.done == ["suspend", "redraw", "quit"]


def test_cancel_asks(desk: Recorder) -> None:
    desk.press("/", *"job1", "enter", "x")
    assert "job1" in desk.view.question
    assert desk.view.question in desk.draw()
    desk.press("n")
    assert (desk.view.question, desk.done) == ("", [])
    desk.press("x", "Y")
    assert (desk.view.question, desk.done) == ("", [])
    desk.press("x", "y")
    assert desk.done == ["cancel 1"]


def test_cancel_of_what_is_over_does_not_ask(desk: Recorder) -> None:
    desk.press("n", "x")
    assert desk.view.question == ""
    assert "over" in desk.view.notice


def test_cancel_without_any_job() -> None:
    desk = Recorder(Story().model)
    desk.press("x")
    assert desk.view.question == ""


def test_stop_asks(desk: Recorder) -> None:
    desk.press("X", "enter")
    assert desk.done == []
    desk.press("X", "y")
    assert desk.done == ["stop"]


def test_what_reaches_beyond(desk: Recorder) -> None:
    desk.press("S", "ctrl l", "q", "ctrl z", "ctrl \\")
    assert desk.done == ["stream", "redraw", "leave", "suspend", "quit"]
