"""Promise 21, the monitor's part: foreign text cannot drive the terminal, by no way out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import wait_until
from tests.terminal import Terminal

ROOT = Path(__file__).parent.parent.parent

# What a screen may send: cursor moves, colours, erasing to the end of the line, the alternate
# screen, the cursor shown or hidden, mouse off, and the character sets urwid sets up.
ALLOWED = re.compile(
    r"\x1b\[(?:\d+;\d+)?H|\x1b\[[\d;]*m|\x1b\[K|\x1b\[\?(?:1049|25)[hl]|\x1b\[\?100[026]l"
    r"|\x1b\)0|\x0f|\x1b\[4[hl]|\x08"
)
LEAVE = "\x1b[?1049l"
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me"})

SCRIPT = r"""
import asyncio, sys
from engine import Engine, Job, output, report
from monitor import EngineCurses

EVIL = (
    "MARK\x1b]0;owned\x07\x1b]52;c;aGk=\x1b\\\x1b[2J\x1b[31mred\x1b[999;999H\x9b31m\x9d0;x\x9c\x90q\x9c"
    "\x1bc\x1b(0\x0e\u202eevil\u2066\u200b\u200d\ufeff\u0301\U000e0041\r\n\t\b\x7f\0"
    + "".join(map(chr, range(0x100))) + "wide \u4e16\u754c"
)

class Hosted(Job):
    host = EVIL
    def text_label(self):
        return "job " + EVIL

async def evil(fail):
    for _ in range(35 if fail else 3):
        output(EVIL)
        output(bytes(range(256)), stream="stderr")
        report(EVIL, percent=40)
        await asyncio.sleep(0.1)
    if fail:
        raise ValueError(EVIL)

first = Hosted(evil, True, label="job " + EVIL, critical=False)
second = Hosted(evil, False, label="more " + EVIL, required=first, critical=False)
third = Engine(Hosted(evil, False), label="group " + EVIL)
engine = EngineCurses(first, second, third, label="run " + EVIL, ui=sys.argv[1])
engine.orchestrate()
"""

# Runs the rest of its arguments in a terminal within the terminal, and records all that is sent.
RECORDER = """
import os, pty, sys
record = open(sys.argv[1], "wb", buffering=0)
def read(fd):
    data = os.read(fd, 65536)
    record.write(data)
    return data
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:], read)))
"""


def unsafe(text: str) -> list[str]:
    """The characters of a text that could do something to a terminal."""
    return [char for char in text if char != "\n" and unicodedata.category(char) in UNSAFE]


def run(ui: str) -> bytes:
    """What stdout and stderr get in lines."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ui],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout


def test_plain() -> None:
    text = run("plain").decode()
    assert "MARK" in text
    assert unsafe(text) == []


def test_json() -> None:
    lines = [line for line in run("json").splitlines() if line.startswith(b"{")]
    assert len(lines) > 50
    assert b"".join(lines).isascii()
    for line in lines:
        for text in strings(json.loads(line)):
            assert unsafe(text) == []
            assert "\n" not in text


def strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.items() if isinstance(value, dict) else value:
            yield from strings(list(item) if isinstance(item, tuple) else item)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_screen(terminal: Terminal, tmp_path: Path, ascii_only: bool) -> None:
    record = tmp_path / "record"
    command = [sys.executable, "-c", RECORDER, str(record), sys.executable, "-c", SCRIPT, "curses"]
    terminal.start(command, cwd=ROOT, env={"ORCHESTRION_ASCII": "1"} if ascii_only else None)
    terminal.wait_for("MARK")
    for key in "Enter", "d", "w", "?", "?", "x", "n", "s", "s", "/", "E", "Enter", "S":
        press(terminal, key, record)
    assert terminal.exit_status() == 0
    text = record.read_bytes().decode()
    assert text.count("MARK") > 10
    assert unsafe(ALLOWED.sub("", text).replace("\r\n", "\n")) == []
    assert "owned" not in terminal.value("pane_title")
    if ascii_only:
        assert text.split(LEAVE)[0].isascii()


def press(terminal: Terminal, key: str, record: Path) -> None:
    """Press a key and wait until something is drawn."""
    size = record.stat().st_size
    terminal.send_keys(key)
    wait_until(lambda: record.stat().st_size > size, 30, f"what {key} shows")


def test_what_is_unsafe_is_found() -> None:
    for text in "\x1b]0;x\x07", "\x9b2J", "\u202e", "\x1b[2J", "\x1bc":
        assert unsafe(ALLOWED.sub("", text))
