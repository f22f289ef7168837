"""Promise 5: Ctrl-C and SIGTERM cancel, shut down and come out; a second Ctrl-C leaves now.

Real signals to real processes.

Seen to fail against engines that did not handle SIGTERM, raised KeyboardInterrupt at the first
Ctrl-C, ignored the second, or told exit status 0 after a signal that came during the shutdown.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.processes import pause, wait_until

ROOT = Path(__file__).parent.parent.parent
MARGIN = 0.5
EXIT = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}
GRACE = {"slow": 0.0, "cleanup": 0.2, "nested": 0.0, "stubborn": 0.3}


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program of signalled.py, ended at the end of the block whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.promises.signalled", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def pending(pid: int) -> list[str]:
    """Return which of the sets of signals that wait for a process are not empty."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    sets = (line.split() for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))
    return [name for name, mask in sets if int(mask, 16)]


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    pytest.fail(f"it never said {word!r}")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_at_every_turn_of_the_loop(name: str) -> None:
    with program("at-every-turn", name) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    runs = json.loads(out)
    assert len(runs) > 10
    outcome, status = {
        "SIGINT": ("KeyboardInterrupt", 130),
        "SIGTERM": ("SystemExit 143", 143),
    }[name]
    for run in runs:
        assert run["outcome"] == outcome, run
        assert run["status"] == status, run
        assert run["tasks"] == 0, run
        for job in run["jobs"]:
            assert job["state"] in {"finished", "cancelled", "skipped"}, (run["turn"], job)
            assert job.get("cancelled", 0) <= 1, (run["turn"], job)
            shut = job.get("shut", 0)
            assert shut == job.get("shutdown", 0) <= 1, (run["turn"], job)
            assert shut >= job.get("started", 0), (run["turn"], job)


def test_from_outside_at_any_moment(
    count: Callable[[int, int], int], at_most: Callable[[float], float]
) -> None:
    rng = Random(5)
    for _ in range(count(6, 50)):
        name = rng.choice(list(GRACE))
        number = rng.choice(list(EXIT))
        with program(name) as process:
            wait_for(process, "started")
            time.sleep(rng.random() * 0.05)  # at any moment
            process.send_signal(number)
            sent = time.monotonic()
            out, _ = process.communicate(timeout=30)
            took = time.monotonic() - sent
        assert process.returncode == EXIT[number], f"{name} {number}"
        assert out.count("shutdown") == 1, f"{name} {number}"
        assert took <= at_most(GRACE[name] + MARGIN), f"{name} {number} took {took:.2f} s"


@pytest.mark.parametrize(
    ("name", "sign"),
    [("blocked", "started"), ("long cleanup", "cleaning up"), ("long shutdown", "shutdown")],
)
def test_a_second_one_leaves_now(name: str, sign: str, at_most: Callable[[float], float]) -> None:
    with program(name) as process:
        wait_for(process, "started")
        if sign == "shutdown":
            wait_for(process, sign)
        process.send_signal(signal.SIGINT)
        if sign == "cleaning up":
            wait_for(process, sign)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)  # the first one is patient
        # On a busy machine it may not have come through yet, and two that wait count as one.
        wait_until(lambda: not pending(process.pid), 30, "the first signal to come through")
        pause(0.1)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        _, err = process.communicate(timeout=30)
        took = time.monotonic() - sent
    assert process.returncode == EXIT[signal.SIGINT]
    assert "KeyboardInterrupt" in err
    assert took <= at_most(MARGIN), f"{took:.2f} s"
