"""What a test leaves behind: tasks, threads, file descriptors, processes, signal handlers.

``snapshot()`` before, ``leaks(before)`` after; the fixture in conftest.py does it round every test.
What ``engine.testing`` looks at is looked at here too; and processes, found below this one and, as
orphans have another parent, by a mark in the environment that whatever the tests start inherits.
"""

from __future__ import annotations

import os
import signal
import uuid
from functools import partial

from engine.testing.census import Census, Describers, census, new_since
from tests.processes import is_below, is_marked, pids, process

MARK = "ORCHESTRION_TESTS"
PATIENCE = 2.0
SIGNALS = [
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGWINCH,
    signal.SIGTSTP,
    signal.SIGCONT,
]


def snapshot(before: Census | None = None) -> Census:
    """All there is at this instant; of what was not there `before`, only those processes are ours.

    To ask whose a process is takes its time.
    """
    kept = [pid for pid in pids() if before is None or ("process", pid) in before or _is_ours(pid)]
    return {
        **census(),
        **{("process", pid): pid for pid in kept},
        **{("signal handler", number): signal.getsignal(number) for number in SIGNALS},
    }


def leaks(before: Census, patience: float = PATIENCE) -> list[str]:
    """One line for each thing there is now and was not ``before``, after ``patience`` seconds."""
    return new_since(before, partial(snapshot, before), DESCRIBERS, patience)


def mark_children() -> None:
    """Have every process started from now on inherit the mark that tells it from others."""
    os.environ.setdefault(MARK, uuid.uuid4().hex)


def _is_ours(pid: int) -> bool:
    return is_below(pid, os.getpid()) or is_marked(pid, f"{MARK}={os.environ.get(MARK)}")


def _tell_process(pid: int, _: object) -> str:
    found = process(pid)
    if found is None:
        return f"{pid}, which has ended since"
    return f"{pid}: {found.command()}{'' if found.alive else ' (a zombie: nobody waited)'}"


DESCRIBERS: Describers = {
    "process": _tell_process,
    "signal handler": lambda number, handler: f"of {signal.Signals(number).name}: {handler!r}",
}
