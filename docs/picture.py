"""Draw docs/pictures: what the monitor shows, from real screens of tmux; ``make picture`` runs it.

The demo gives a sequence, for the README; ``lab.py``, beside this, shows each pane at two sizes.
Arguments are the names of the pictures to draw, the beginning of a name is enough; else all are.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from svg import picture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "pictures"
SOON = 60.0
"""Seconds within which what is waited for comes, also on a slow machine."""
KEYS_ARE_TOLD = r".*\? help"
"""The last line tells the keys: there is no news to tell there."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture: what is pressed, and what is on the screen when it is taken.

    Attributes:
        name: of the file.
        title: what it shows, in words.
        keys: pressed before, in tmux's names.
        moment: pattern that the screen matches, across lines.
        first: pattern that it matches before the keys are pressed.
    """

    name: str
    title: str
    keys: str
    moment: str
    first: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A program on a terminal of some size, and the pictures taken of it.

    Attributes:
        words: its command line.
        columns, rows: the size.
        shots: in the order in which they are taken.
        end: name and title of the picture of what it leaves on the terminal; else it is stopped.
    """

    words: tuple[str, ...]
    columns: int
    rows: int
    shots: tuple[Shot, ...]
    end: tuple[str, str] | None = None


PYTHON = ("env", "-u", "NO_COLOR", "-u", "ORCHESTRION_ASCII", sys.executable)
DEMO = (*PYTHON, "examples/fleet.py")
LAB = (*PYTHON, "-m", "monitor", "run", "docs/lab.py")


def panes(columns: int, rows: int) -> Session:
    """Return the session that shows each pane on a terminal of that size."""

    def shot(pane: str, keys: str, moment: str, first: str = "") -> Shot:
        title = f"the monitor on {columns} columns: {pane}"
        return Shot(f"{pane}-{columns}", title, keys, moment, first)

    shots = (
        shot("list", "", r"load node2 .* [23]\d%" + KEYS_ARE_TOLD),
        shot("log", "n Enter", r"log: south/boot node6.*no link"),
        shot("details", "Down d", r"details: south/load node5.*image server"),
        shot("why", "End Up Up w", r"why: plots.*iperf udp.*north"),
        shot("help", "?", r"show these keys"),
        shot("filter", "? / l o a d Space s t a t e : s c h", r"/load state:sch_"),
        shot("question", "Escape Home Down Down x", r"cancel \w+/load node\d\?"),
    )
    return Session(LAB, columns, rows, shots)


SESSIONS = (
    Session(
        DEMO,
        80,
        24,
        (
            Shot("demo-1", "the demo begins", "", r"measure node2 +│ █+░+ +10%"),
            # The last row tells how many are done; above it is the job that waits for all others.
            Shot(
                "demo-2",
                "half way through the demo: why its last job waits",
                "End Up w",
                r"measure node\d +│ █+░+ +50%" + KEYS_ARE_TOLD,
                first="1 FAIL",
            ),
        ),
        end=("demo-3", "what the demo leaves on the terminal"),
    ),
    panes(80, 24),
    panes(120, 36),
    Session(
        LAB,
        40,
        10,
        (Shot("list-40", "the monitor on 40 columns", "", r"boot node6" + KEYS_ARE_TOLD),),
    ),
    Session(LAB, 36, 5, (Shot("line", "the monitor on a tiny terminal", "", "1FAIL"),)),
    Session((*LAB, "--", "0.02"), 80, 24, (), end=("summary", "what a run leaves on the terminal")),
)


def main() -> None:
    """Take the pictures."""
    if shutil.which("tmux") is None:
        sys.exit("the pictures need tmux")
    TARGET.mkdir(exist_ok=True)
    for session in SESSIONS:
        names = [shot.name for shot in session.shots] + ([session.end[0]] if session.end else [])
        if any(name.startswith(tuple(sys.argv[1:] or [""])) for name in names):
            with Terminal() as terminal:
                take(session, terminal)


def take(session: Session, terminal: Terminal) -> None:
    """Run a session and draw what is to be drawn of it."""
    terminal.start(session.words, columns=session.columns, rows=session.rows, cwd=ROOT)
    try:
        for shot in session.shots:
            terminal.wait_for(re.compile(shot.first, re.DOTALL), SOON)
            terminal.send_keys(*shot.keys.split())
            terminal.wait_for(re.compile(shot.moment, re.DOTALL), SOON)
            draw(shot.name, shot.title, terminal, session.columns)
        if session.end is not None:
            terminal.exit_status(SOON)
            draw(*session.end, terminal, session.columns)
    finally:
        # What runs closes what it has opened, servers too; then nothing is left to kill.
        terminal.send_keys("C-c")
        terminal.exit_status()


def draw(name: str, title: str, terminal: Terminal, columns: int) -> None:
    """Draw what the screen shows, without empty lines at its end."""
    lines = terminal.screen(escapes=True).rstrip().splitlines()
    (TARGET / f"{name}.svg").write_text(picture(title, lines, columns), encoding="utf-8")
    sys.stdout.write(f"drawn: {name}\n")


if __name__ == "__main__":
    main()
