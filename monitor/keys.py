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
    """One line of the table.

    Attributes:
        names: of the keys that do the same, as urwid calls them; none for one that is a signal.
        shown: how they are called in the help.
        help: what they do, in a few words.
        act: does it.
        hint: the word for it at the bottom of the screen, if it is worth the room there.
    """

    names: tuple[str, ...]
    shown: str
    help: str
    act: Action
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
    if line.state.is_over:
        desk.view.notice = f"{line.label} is over"
    else:
        desk.ask(f"cancel {line.label}?  y / n", lambda: desk.cancel_job(job))


def _stop(desk: Desk) -> None:
    desk.ask("stop the run: cancel what runs, then shut down?  y / n", desk.stop_run)


def _signal(_: Desk) -> None:
    """It never comes as a key."""


KEYS = (
    Key(("?",), "?", "show these keys", _pane(Pane.HELP), "help"),
    Key(("up", "k"), "Up k", "previous row", lambda desk: desk.view.move(-1)),
    Key(("down", "j"), "Down j", "next row", lambda desk: desk.view.move(1)),
    Key(("page up",), "PgUp", "a page up", lambda desk: desk.view.move_pages(-1)),
    Key(("page down",), "PgDn", "a page down", lambda desk: desk.view.move_pages(1)),
    Key(("home",), "Home", "first row", lambda desk: desk.view.home()),
    Key(("end",), "End", "last row", lambda desk: desk.view.end()),
    Key(
        ("/",),
        "/",
        "filter: state:failed name~node1",
        lambda desk: desk.view.type_filter(),
        "filter",
    ),
    Key(("n",), "n", "next failure", _failure(1)),
    Key(("N",), "N", "previous failure", _failure(-1)),
    Key(("s",), "s", "sort in another order", lambda desk: desk.view.next_sort(), "sort"),
    Key((" ",), "Space", "fold or unfold a group", lambda desk: desk.view.fold(desk.model)),
    Key(("enter",), "Enter", "log of the job", _pane(Pane.LOG), "log"),
    Key(("f",), "f", "follow the log", lambda desk: desk.view.toggle_follow()),
    Key(("d",), "d", "details of the job", _pane(Pane.DETAILS)),
    Key(("w",), "w", "why the job waits", _pane(Pane.WHY), "why"),
    Key(("tab",), "Tab", "go to the pane, or back", lambda desk: desk.view.switch()),
    Key(("esc",), "Esc", "close the pane, drop the filter", lambda desk: desk.view.close()),
    Key(("x",), "x", "cancel the job (asks)", _cancel, "cancel"),
    Key(("X",), "X", "stop the run, as Ctrl-C (asks)", _stop),
    Key(("S",), "S", "plain lines; S returns", lambda desk: desk.stream(), "stream"),
    Key(("ctrl l",), "Ctrl-L", "draw the screen anew", lambda desk: desk.redraw()),
    Key(("q",), "q", "plain lines for good; the run goes on", lambda desk: desk.leave(), "leave"),
    Key(("ctrl z",), "Ctrl-Z", "stop here; fg continues", lambda desk: desk.suspend()),
    Key(("ctrl \\",), "Ctrl-\\", "quit at once, without shutdown", lambda desk: desk.quit()),
    Key((), "Ctrl-C", "stop the run; twice: leave now", _signal),
)
"""All keys, in the order of the help."""


_BY_NAME = {name: key for key in KEYS for name in key.names}


def press(desk: Desk, name: str) -> bool:
    """Do what a key does while a filter is typed, or else; tell whether it means anything.

    Args:
        desk: what it acts upon.
        name: of the key, as urwid calls it.
    """
    desk.view.notice = ""
    if desk.view.typing and name not in {"ctrl z", "ctrl \\", "ctrl l"}:
        return _type(desk.view, name)
    key = _BY_NAME.get(name)
    if key is not None:
        key.act(desk)
    return key is not None


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


def table() -> str:
    """Return the keys as a table in reStructuredText, for the docs.

    >>> print(table().splitlines()[4])
       * - ``?``
    """
    rows = (f"   * - ``{key.shown}``\n     - {key.help}\n" for key in KEYS)
    return ".. list-table::\n   :header-rows: 0\n   :widths: auto\n\n" + "".join(rows)
