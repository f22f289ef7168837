"""What the log and the monitor both know is told once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging
from engine import Engine, Job
from monitor.logs import told_once

class Dead:
    def put_nowait(self, event):
        raise RuntimeError("gone")

async def fail():
    raise ValueError("boom")

def run():
    Engine(Job(fail, label="culprit"), message_queue=Dead()).orchestrate()
"""


def said_by(*lines: str) -> str:
    """Run a program of its own: in this one, pytest has configured logging."""
    program = SCRIPT + "\n".join(lines)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_failures_are_left_to_the_monitor() -> None:
    said = said_by("with told_once():", "    run()")
    assert "culprit" not in said
    assert "a reader of events failed" in said


def test_afterwards_they_are_logged_again() -> None:
    said = said_by("with told_once():", "    pass", "run()")
    assert "culprit failed: ValueError: boom" in said


def test_a_program_with_logging_gets_all() -> None:
    said = said_by("logging.basicConfig()", "with told_once():", "    run()")
    assert said.count("culprit failed: ValueError: boom") == 1
