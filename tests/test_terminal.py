"""The terminal fixture itself: it shows, it types, it resizes, and it leaves nothing."""

from __future__ import annotations

import re
import sys

import pytest

from tests.processes import is_alive, wait_until
from tests.terminal import Terminal

SETTINGS = "-echo -icanon"


def test_screen_keys_and_status(terminal: Terminal) -> None:
    terminal.start("read word; echo \"got $word: $(printf '\\033[31mred\\033[m') ∞\"; exit 7")
    terminal.send_keys("-l; Enter", literal=True)
    terminal.send_keys("Space", "x", "Enter")
    assert "red ∞" in terminal.wait_for(re.compile(r"got -l; Enter x: "))
    assert "\x1b[31mred" in terminal.screen(escapes=True)


def test_exit_status(terminal: Terminal) -> None:
    terminal.start("(exit 7)")
    assert terminal.exit_status() == 7


def test_control_c_reaches_the_command_only(terminal: Terminal) -> None:
    terminal.start(["sh", "-c", "echo on; exec sleep 60"])
    terminal.wait_for("on")
    pid = terminal.pid
    terminal.send_keys("C-c")
    assert terminal.exit_status() == 130
    assert not is_alive(pid)
    assert is_alive(terminal.pane_pid)
    with pytest.raises(RuntimeError, match="ended"):
        _ = terminal.pid


def test_a_command_that_breaks_the_terminal_is_found(terminal: Terminal) -> None:
    terminal.start(f"stty {SETTINGS}; printf '\\033[?1049h\\033[?25l'")
    assert terminal.exit_status() == 0
    wait_until(terminal.alternate_on, 30, "the alternate screen")
    assert not terminal.cursor_flag()
    assert "-icanon" in terminal.stty()
    assert terminal.stty() != terminal.stty_before()


def test_a_command_that_breaks_nothing(terminal: Terminal) -> None:
    terminal.start("printf '\\033[?1049h\\033[?1049l'; stty -echo; stty echo")
    assert terminal.exit_status() == 0
    terminal.resize(100, 30)
    assert not terminal.alternate_on()
    assert terminal.cursor_flag()
    assert terminal.stty() == terminal.stty_before()


def test_what_a_command_leaves_behind(terminal: Terminal) -> None:
    terminal.start("sh -c 'sleep 61 & exit'")
    assert terminal.exit_status() == 0
    wait_until(lambda: [it.command() for it in terminal.left()] == ["sleep 61"], 30, "the orphan")


def test_resize(terminal: Terminal) -> None:
    size = "import os; print(*os.get_terminal_size())"
    program = f"import signal\ndef show(*_):\n {size}\nsignal.signal(28, show)\nshow()\ninput()"
    terminal.start([sys.executable, "-c", program], columns=61, rows=17)
    terminal.wait_for("61 17")
    terminal.resize(40, 6)
    terminal.wait_for("40 6")


def test_a_timeout_shows_the_screen(terminal: Terminal) -> None:
    terminal.start("echo something else; sleep 60")
    terminal.wait_for("something")
    with pytest.raises(TimeoutError, match="something else"):
        terminal.wait_for("what never comes", timeout=0.1)
    with pytest.raises(TimeoutError, match="something else"):
        terminal.exit_status(timeout=0.1)


def test_hang_up_and_a_command_that_ignores_it() -> None:
    with Terminal() as terminal:
        terminal.start("trap '' HUP TERM; echo on; while :; do sleep 0.1; done")
        terminal.wait_for("on")
        pid = terminal.pane_pid
        terminal.hang_up()
        assert is_alive(pid)
    assert not is_alive(pid)
