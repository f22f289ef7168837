"""The monitor in a real terminal: what is seen, what keys do, and the terminal given back."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from monitor import keys
from tests.monitor.playing import PLAY, ROOT, UP, Play, assert_given_back
from tests.processes import descendants, is_alive, is_stopped, wait_until
from tests.terminal import Terminal


@pytest.fixture
def play(terminal: Terminal, tmp_path: Path) -> Play:
    return Play(terminal, tmp_path)


# -- what is seen ---------------------------------------------------------------------------------


def test_a_line_for_each_job_and_a_summary_that_stays(play: Play) -> None:
    terminal = play.start("--seconds", "2")
    screen = terminal.wait_for(lambda screen: "FAILED" in screen and "step" in screen)
    assert terminal.alternate_on()
    assert not terminal.cursor_flag()
    assert len(screen.splitlines()) == 24
    for job in "load00", "load05", "collect", "broken", "never", "bus":
        assert re.search(rf"{job} .*│", screen)
    assert re.search(r"✗ broken +│ FAILED ValueError: it broke", screen)
    assert re.search(r"▶ load05 +│ █+░+ +\d+%  step \d+", screen)
    assert re.search(r"∞ bus +│ forever, ready +beat \d", screen)
    assert re.search(r"- never +│ skipped: broken failed", screen)
    assert "printed" not in screen
    left = play.ended(0)
    assert left.index("before") < left.index("load00 printed 0") < left.index("7 jobs finished")
    assert left.index("7 jobs finished") < left.index("broken  FAILED") < left.index("verdict True")
    assert left.count("load05 printed 30") == 1
    assert "the last words" in left
    assert "┌" not in left


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60), (40, 10), (39, 5), (1, 1)])
def test_sizes(play: Play, columns: int, rows: int) -> None:
    terminal = play.start("--seconds", "0.6", columns=columns, rows=rows, wait="")
    wait_until(terminal.alternate_on, 30, "the screen")
    if columns >= 39:
        terminal.wait_for(re.compile(r"\d/9"))
    if columns == 200:
        assert "details" in terminal.screen()
    play.ended(0)
    assert len(play.note()["finished"]) == 7


def test_resizing(play: Play) -> None:
    terminal = play.start("--seconds", "3")
    terminal.resize(130, 30)
    terminal.wait_for("details")
    terminal.resize(40, 10)
    terminal.wait_for(lambda screen: "details" not in screen and "└" in screen.splitlines()[9])
    terminal.resize(30, 4)
    terminal.wait_for(lambda screen: re.match(r"\d/9 ", screen) and "└" not in screen)
    for columns, rows in ((1, 1), (300, 100), (20, 3), (81, 25)):
        terminal.resize(columns, rows)
    screen = terminal.wait_for(lambda screen: "└" in screen.splitlines()[24])
    assert all(len(line) == 81 for line in screen.splitlines())
    play.ended(0)


def colours(terminal: Terminal) -> set[int]:
    """The numbers of the colours and attributes that its screen has."""
    found = re.findall(r"\x1b\[([\d;]*)m", terminal.screen(escapes=True))
    return {int(number) for numbers in found for number in numbers.split(";") if number}


COLOURLESS = {0, 1, 2, 7, 22, 27, 39, 49}
"""Bold, faint and reverse, but no colour."""


def test_no_color_and_ascii(play: Play) -> None:
    terminal = play.start(
        "--seconds", "1", env={"NO_COLOR": "1", "ORCHESTRION_ASCII": "1"}, wait="play -"
    )
    screen = terminal.wait_for("FAILED")
    assert screen.isascii()
    assert colours(terminal) <= COLOURLESS
    assert play.ended(0).isascii()


@pytest.mark.parametrize(("name", "has_colours"), [("vt100", False), ("xterm", True)])
def test_colours_are_for_terminals_that_have_some(
    terminal: Terminal, name: str, has_colours: bool
) -> None:
    terminal.start(["env", f"TERM={name}", *PLAY, "--seconds", "30"], cwd=ROOT)
    terminal.wait_for("FAILED")
    assert (not colours(terminal) <= COLOURLESS) == has_colours


# -- keys -----------------------------------------------------------------------------------------


def test_every_key_of_the_help_works(play: Play) -> None:
    terminal = play.start("--seconds", "30", "--jobs", "30")
    names = set(keys.ACTIONS)

    def press(name: str, expected: str, key: str = "", *, history: bool = False) -> None:
        names.remove(name)
        terminal.send_keys(key or name)
        terminal.wait_for(expected, timeout=5, history=history)

    terminal.wait_for("FAILED")
    press("?", "show these keys")
    terminal.send_keys("?")
    press("end", "never", "End")
    press("home", "broken", "Home")
    press("enter", "the last words", "Enter")
    press("d", "details: broken")
    press("w", "why: broken")
    names.remove("esc")
    terminal.send_keys("Escape")
    terminal.wait_for(lambda screen: "why:" not in screen)
    press("/", "/")
    terminal.send_keys("load07", literal=True)
    terminal.wait_for(lambda screen: "load07" in screen and "load08" not in screen)
    terminal.send_keys("Enter")
    press("x", "cancel load07?")
    terminal.send_keys("n")
    terminal.wait_for(lambda screen: "cancel load07?" not in screen)
    terminal.send_keys("x", "y")
    terminal.wait_for(re.compile(r"⊘ load07 +│ cancelled"))
    terminal.send_keys("Escape")
    press("s", "job (")
    for name in "up", "down", "k", "j", "page up", "page down", "n", "N", "f", "tab", " ", "ctrl l":
        names.remove(name)
        tmux = {"page up": "PPage", "page down": "NPage", "tab": "Tab", " ": "Space"}
        terminal.send_keys(
            {"ctrl l": "C-l", "up": "Up", "down": "Down"}.get(name, tmux.get(name, name))
        )
    terminal.wait_for("details")
    press("S", "S: the screen again", history=True)
    assert not terminal.alternate_on()
    terminal.send_keys("S")
    wait_until(terminal.alternate_on, 30, "the screen again")
    press("X", "stop the run")
    terminal.send_keys("n")
    terminal.wait_for(lambda screen: "stop the run" not in screen)
    press("q", "running", history=True)
    assert not terminal.alternate_on()
    assert terminal.stty() == terminal.stty_before()
    assert names == {"ctrl z", "ctrl \\"}, "tested elsewhere"
    terminal.send_keys("C-c")
    play.ended(130)


def test_stop_by_key_is_as_control_c(play: Play) -> None:
    terminal = play.start("--seconds", "20")
    terminal.send_keys("X", "y")
    assert "KeyboardInterrupt" in play.ended(130)


def test_stream_prints_what_was_missed_and_what_comes(play: Play) -> None:
    terminal = play.start("--seconds", "3")
    terminal.wait_for("FAILED")
    terminal.send_keys("S")
    terminal.wait_for("failed")
    assert not terminal.alternate_on()
    left = play.ended(0)
    assert len(re.findall(r"\+\d+s +broken +failed", left)) == 1
    assert left.count("load05 printed 0\n") == left.count("load05 printed 10\n") == 1
    assert left.count("load05 printed 50") == 1
    assert "7 jobs finished" in left


# -- job control ----------------------------------------------------------------------------------


def test_stop_and_continue(play: Play) -> None:
    terminal = play.start_shell()
    before = terminal.stty()
    play.type("$PLAY --seconds 2")
    terminal.wait_for(UP)
    for _ in range(2):
        terminal.send_keys("C-z")
        terminal.wait_for("Stopped")
        wait_until(lambda: not terminal.alternate_on(), 30, "the main screen")
        assert terminal.cursor_flag()
        play.type("echo $((40 + 2)) typed")
        terminal.wait_for("42 typed")
        play.type("clear; fg")
        terminal.wait_for(UP)
        assert terminal.alternate_on()
    play.let_go()
    terminal.wait_for("verdict True")
    terminal.wait_for(re.compile(r"prompt> *\n*$"))
    assert terminal.stty() == before
    assert not terminal.alternate_on()


def test_stop_background_and_back_in_front(play: Play) -> None:
    terminal = play.start_shell()
    play.type("$PLAY --seconds 3")
    terminal.wait_for(UP)
    terminal.send_keys("C-z")
    terminal.wait_for("Stopped")
    play.type("bg")
    terminal.wait_for(re.compile(r"load00 +running +9\d%"))
    assert not terminal.alternate_on()
    play.type("echo $((40 + 2)) typed")
    terminal.wait_for("42 typed")
    play.type("fg")
    terminal.wait_for(UP)
    assert terminal.alternate_on()
    play.let_go()
    terminal.wait_for("verdict True")
    assert play.note()["status"] == 0


def test_stopped_by_a_signal_from_elsewhere(play: Play) -> None:
    terminal = play.start_shell()
    before = terminal.stty()
    play.type("$PLAY --seconds 2")
    terminal.wait_for(UP)
    pid = descendants(terminal.pid)[0].pid
    os.kill(pid, signal.SIGTSTP)
    terminal.wait_for("Stopped")
    assert not terminal.alternate_on()
    play.type("clear; fg")
    terminal.wait_for(UP)
    terminal.send_keys("q")
    wait_until(lambda: not terminal.alternate_on(), 30, "the main screen")
    terminal.send_keys("C-z")
    terminal.wait_for("Stopped")
    play.type("clear; fg")
    play.let_go()
    terminal.wait_for("verdict True")
    assert not terminal.alternate_on()
    terminal.wait_for(re.compile(r"prompt> *\n*$"))
    assert terminal.stty() == before


def test_started_in_the_background(play: Play) -> None:
    terminal = play.start_shell()
    before = terminal.stty()
    play.type("$PLAY --seconds 1 & sleep 0.2; echo $((40 + 2)) typed")
    terminal.wait_for("42 typed")
    play.type("stty -a | tail -1; jobs; echo pid $!")
    screen = terminal.wait_for(re.compile(r"^pid \d+", re.MULTILINE))
    assert "Running" in screen
    pid = int(re.findall(r"^pid (\d+)", screen, re.MULTILINE)[0])
    play.let_go()
    terminal.wait_for("verdict True")
    assert play.note()["status"] == 0
    assert not terminal.alternate_on()
    assert "┌" not in terminal.screen(history=True)
    wait_until(lambda: not is_alive(pid), 30, "the end")
    play.type("")
    terminal.wait_for("Done")
    assert terminal.stty() == before


def test_stopped_by_a_signal_that_cannot_be_caught(play: Play) -> None:
    terminal = play.start("--seconds", "2")
    pid = terminal.pid
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), 30, "the stop")
    # Somebody else uses the terminal meanwhile.
    tty = terminal.value("pane_tty")
    Path(tty).write_text("\x1b[?1049l\x1b[2Jsomebody else", encoding="utf-8")
    terminal.wait_for("somebody else")
    time.sleep(2.2)  # longer than what counts as a stop
    os.kill(pid, signal.SIGCONT)
    terminal.wait_for(UP)
    assert terminal.alternate_on()
    play.ended(0)


def test_flow_control_keys_do_not_stop_the_screen(play: Play) -> None:
    terminal = play.start("--seconds", "2")
    terminal.send_keys("C-s")
    terminal.wait_for("FAILED")
    terminal.send_keys("C-q")
    play.ended(0)


def test_hang_up(play: Play) -> None:
    terminal = play.start("--seconds", "3")
    pid = terminal.pid
    terminal.hang_up()
    assert play.note()["status"] == 129
    wait_until(lambda: not is_alive(pid), 30, "the end")


def test_hang_up_that_is_ignored(terminal: Terminal, play: Play) -> None:
    line = f"trap '' HUP; exec {shlex.join(play.command)} --seconds 2"
    terminal.start(["sh", "-c", line], cwd=ROOT)
    terminal.wait_for(UP)
    pid = terminal.pid
    terminal.hang_up()
    used = cpu_seconds(pid)
    time.sleep(1)
    assert cpu_seconds(pid) - used < 0.3, "it does not spin"
    note = play.note()
    assert note["status"] == 0
    assert len(note["finished"]) == 7


def cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def test_a_signal_while_the_main_thread_only_waits_for_the_run(play: Play) -> None:
    terminal = play.start("--seconds", "30", "--thread")
    os.kill(terminal.pid, signal.SIGTERM)
    left = play.ended(143)
    assert "shut down" in left
    assert "interrupted by SIGTERM" in left


def test_two_signals_while_the_main_thread_only_waits_for_the_run(play: Play) -> None:
    terminal = play.start("--seconds", "30", "--thread", "stubborn")
    pid = terminal.pid
    os.kill(pid, signal.SIGTERM)
    terminal.wait_for("stopping")
    os.kill(pid, signal.SIGTERM)
    play.ended(143)


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="a thread is waited for, whatever has cut its join short"
)
def test_what_a_program_says_that_leaves_its_run_behind_is_seen(play: Play) -> None:
    terminal = play.start("--seconds", "30", "--thread")
    terminal.send_keys("C-c")
    assert "KeyboardInterrupt" in play.ended(130)


# -- other ways to run ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["twice", "in a running loop", "attached"])
def test_other_ways_to_run(terminal: Terminal, way: str) -> None:
    script = """
import asyncio, sys
from engine import Engine, Job
from monitor import EngineCurses, attach
def make(kind):
    return kind(*(Job(asyncio.sleep, 0.5, label=f"nap{i}") for i in range(3)), label="play")
async def in_a_running_loop():
    return make(EngineCurses).orchestrate()
async def attached():
    engine = make(Engine)
    with attach(engine):
        return await engine.corun()
def twice():
    return [make(EngineCurses).orchestrate() for _ in range(2)]
way = globals()[sys.argv[1].replace(" ", "_")]
print("verdict", way() if way is twice else asyncio.run(way()))
"""
    terminal.start([sys.executable, "-c", script, way], cwd=ROOT)
    terminal.wait_for(re.compile(r"▶ nap0"))
    assert terminal.exit_status() == 0
    assert_given_back(terminal)
    left = terminal.screen(history=True)
    assert left.count("3 jobs finished") == 1 + (way == "twice")


def test_a_run_too_short_to_be_seen_leaves_its_summary(terminal: Terminal) -> None:
    script = """
import asyncio
from engine import Job
from monitor import EngineCurses
async def short():
    print("printed")
engine = EngineCurses(*(Job(short) for i in range(3)), label="short")
engine.orchestrate()
"""
    terminal.start([sys.executable, "-c", script], cwd=ROOT)
    assert terminal.exit_status() == 0
    assert_given_back(terminal)
    lines = terminal.screen().splitlines()
    assert lines[:3] == ["printed"] * 3
    assert "short: 3 jobs finished" in lines[3]
    assert "started" not in terminal.screen()


# -- many jobs ------------------------------------------------------------------------------------


def test_ten_thousand_jobs_scroll(play: Play) -> None:
    terminal = play.start("--seconds", "6", "--jobs", "10000", "--window", "200")
    terminal.send_keys("End")
    terminal.wait_for(re.compile("load9999|collect|never"))
    terminal.send_keys("PPage", "PPage", "PPage")
    terminal.send_keys("/")
    terminal.send_keys("load777", literal=True)
    terminal.wait_for(lambda screen: "load7770" in screen and "load8888" not in screen)
    terminal.send_keys("Enter", "C-c")
    play.ended(130)
