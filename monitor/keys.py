"""The keys: one table that makes what they do, the help screen and the page in the docs.

A key acts on a :class:`Desk`: what is shown, how it is looked at, and the few things that reach
beyond the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .model import Model
from .view import Pane, View


class Desk(Protocol):
    """What keys act upon."""

    model: Model
    view: View

    def ask(self, question: str, yes: Callable[[], None]) -> None:
        """Ask something and do `yes` if the next key is y."""

    def answer(self, *, yes: bool) -> None:
        """Take the answer."""

    def cancel_job(self, job: str) -> None:
        """Cancel the job of this id."""

    def stop_run(self) -> None:
        """Stop the run, as Ctrl-C does."""

    def redraw(self) -> None:
        """Draw the screen anew, whatever it shows."""

    def stream(self) -> None:
        """Go on in plain lines until the key is pressed again."""

    def leave(self) -> None:
        """Go on in plain lines for good."""

    def suspend(self) -> None:
        """Stop the program until the shell continues it."""

    def quit(self) -> None:
        """Have the program get SIGQUIT."""


Action = Callable[[Desk], object]


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the table: a key, or some that belong together.

    Attributes:
        shown: how they are called in the help.
        help: what they do, in a few words.
        actions: what each does, by its name as urwid has it; none for a key that is a signal.
        hint: the word for it at the bottom of the screen, if it is worth the room there.
    """

    shown: str
    help: str
    actions: dict[str, Action]
    hint: str = ""


def _pane(pane: Pane) -> Action:
    return lambda desk: desk.view.toggle(pane)


def _failure(step: int) -> Action:
    def go(desk: Desk) -> None:
        if not desk.view.next_failure(desk.model, step):
            desk.view.notice = "no failure in the list"

    return go


def _cancel(desk: Desk) -> None:
    job = desk.view.chosen
    if job is None:
        return
    line = desk.model.rows[job]
    name = desk.model.path(line)
    if line.state.is_over:
        desk.view.notice = f"{name} is over"
    else:
        desk.ask(f"cancel {name}?  y / n", lambda: desk.cancel_job(job))


def _stop(desk: Desk) -> None:
    desk.ask("stop the run: cancel what runs, then shut down?  y / n", desk.stop_run)


def _move(rows: int) -> Action:
    return lambda desk: desk.view.move(rows)


def _move_pages(pages: int) -> Action:
    return lambda desk: desk.view.move_pages(pages)


KEYS = (
    Key("?", "show these keys", {"?": _pane(Pane.HELP)}, "help"),
    Key(
        "Up Down k j",
        "a row up, a row down",
        {"up": _move(-1), "k": _move(-1), "down": _move(1), "j": _move(1)},
    ),
    Key(
        "PgUp PgDn Home End",
        "a page up, a page down, first row, last row",
        {
            "page up": _move_pages(-1),
            "page down": _move_pages(1),
            "home": lambda desk: desk.view.home(),
            "end": lambda desk: desk.view.end(),
        },
    ),
    Key(
        "/",
        "filter: state:failed name~node1; Enter keeps it",
        {"/": lambda desk: desk.view.type_filter()},
        "filter",
    ),
    Key("n N", "next failure, the one before", {"n": _failure(1), "N": _failure(-1)}),
    Key("s", "sort in another order", {"s": lambda desk: desk.view.next_sort()}, "sort"),
    Key("Space", "fold or unfold a group", {" ": lambda desk: desk.view.fold(desk.model)}),
    Key("Enter", "log of the job", {"enter": _pane(Pane.LOG)}, "log"),
    Key("f", "keep the log at its end, or not", {"f": lambda desk: desk.view.toggle_follow()}),
    Key("d", "details of the job", {"d": _pane(Pane.DETAILS)}),
    Key("w", "why the job waits, or failed", {"w": _pane(Pane.WHY)}, "why"),
    Key("Tab", "go to the pane, or back", {"tab": lambda desk: desk.view.switch()}),
    Key("Esc", "close the pane, else drop the filter", {"esc": lambda desk: desk.view.close()}),
    Key("x", "cancel the job; asks", {"x": _cancel}, "cancel"),
    Key("X", "stop the run, as Ctrl-C does; asks", {"X": _stop}),
    Key("S", "plain lines; S again: the screen", {"S": lambda desk: desk.stream()}, "stream"),
    Key("q", "plain lines for good; the run goes on", {"q": lambda desk: desk.leave()}, "leave"),
    Key("Ctrl-L", "draw the screen anew", {"ctrl l": lambda desk: desk.redraw()}),
    Key("Ctrl-C", "stop the run; twice: leave at once", {}),
    Key(
        "Ctrl-Z Ctrl-\\",
        "stop here until fg; quit without shutdown",
        {"ctrl z": lambda desk: desk.suspend(), "ctrl \\": lambda desk: desk.quit()},
    ),
)
"""All keys, in the order of the help."""

ACTIONS = {name: action for key in KEYS for name, action in key.actions.items()}
"""What each key does, by its name."""


def press(desk: Desk, name: str) -> bool:
    """Do what a key does; tell whether it means anything.

    While something is asked, y is yes and all else is no; while a filter is typed most are text.

    Args:
        desk: what it acts upon.
        name: of the key, as urwid calls it.
    """
    desk.view.notice = ""
    if desk.view.question:
        desk.answer(yes=name == "y")
        return True
    if desk.view.typing and name not in {"ctrl z", "ctrl \\", "ctrl l"}:
        return _type(desk.view, name)
    action = ACTIONS.get(name)
    if action is not None:
        action(desk)
    return action is not None


def _type(view: View, name: str) -> bool:
    if name == "enter":
        view.keep_filter()
    elif name == "esc":
        view.drop_filter()
    elif name == "backspace":
        view.erase()
    elif name == "ctrl u":
        view.filter = ""
    elif len(name) == 1 and name.isprintable():
        view.type(name)
    else:
        return False
    return True
