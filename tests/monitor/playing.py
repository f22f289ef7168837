"""Runs of tests.monitor.play in a real terminal, and the look at what they leave of it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from tests.processes import wait_until
from tests.terminal import Terminal

ROOT = Path(__file__).parent.parent.parent
PLAY = [sys.executable, "-m", "tests.monitor.play"]

UP = "play ─"
"""What the screen shows once the run is on it."""


class Play:
    """A run of tests.monitor.play in a terminal, and its note.

    However little time it is given, it is not over before the test lets go of it, or asks what it
    came to: whoever looks may be late on a busy machine.
    """

    def __init__(self, terminal: Terminal, folder: Path) -> None:
        self.terminal = terminal
        self.note_path = folder / "note"
        self._hold = folder / "hold"
        self._hold.touch()
        self.command = [*PLAY, "--note", str(self.note_path), "--hold", str(self._hold)]

    def let_go(self) -> None:
        """Have it end when its time is over."""
        self._hold.unlink(missing_ok=True)

    def start(self, *arguments: str, wait: str = UP, **options: Any) -> Terminal:
        """Start it in the foreground, and wait until it is on the screen."""
        self.terminal.start([*self.command, *arguments], cwd=ROOT, **options)
        self.terminal.wait_for(wait)
        return self.terminal

    def start_shell(self) -> Terminal:
        """Start an interactive shell with job control instead, that has `$PLAY`."""
        line = shlex.join(self.command)
        environment = {"PS1": "prompt> ", "PLAY": line, "HISTFILE": "/dev/null"}
        self.terminal.start(
            ["bash", "--norc", "--noprofile", "-i"], cwd=ROOT, env=environment, rows=40
        )
        self.terminal.wait_for("prompt>")
        return self.terminal

    def type(self, line: str) -> None:
        """Type a line."""
        self.terminal.send_keys(line, literal=True)
        self.terminal.send_keys("Enter")

    def note(self) -> dict[str, Any]:
        """What the run noted at its end."""
        self.let_go()
        wait_until(lambda: self.note_path.exists() and self.note_path.read_text(), 30, "the note")
        note: dict[str, Any] = json.loads(self.note_path.read_text())
        return note

    def ended(self, status: int) -> str:
        """Check that it ended with a status and gave the terminal back; return all it left."""
        self.let_go()
        assert self.terminal.exit_status() == status
        assert_given_back(self.terminal)
        return self.terminal.screen(history=True)


def assert_given_back(terminal: Terminal) -> None:
    """Check that the terminal is as it was."""
    assert terminal.stty() == terminal.stty_before()
    assert not terminal.alternate_on()
    assert terminal.cursor_flag()
    for flag in "mouse_any_flag", "insert_flag", "origin_flag", "keypad_flag":
        assert not terminal.flag(flag)
    assert terminal.flag("wrap_flag")
