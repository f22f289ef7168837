"""What the machine runs, read from /proc: for fixtures that end by pid all they started."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.testing.patience import looks

POLL = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    state: str
    name: str

    @property
    def alive(self) -> bool:
        """False for a zombie: it has ended and waits for its parent to notice."""
        return self.state not in "ZX"

    def command(self) -> str:
        """The command line, for messages; the bare name where it cannot be read."""
        with suppress(OSError):
            raw = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            return raw.replace(b"\0", b" ").decode(errors="replace").strip() or self.name
        return self.name


def pids() -> list[int]:
    """The pids of all processes of the machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def process_table() -> dict[int, Process]:
    """All processes of the machine, by pid."""
    found = (process(pid) for pid in pids())
    # One may have ended between the listing and the reading.
    return {process.pid: process for process in found if process is not None}


def process(pid: int) -> Process | None:
    """What is known of one process; None if there is none of that number."""
    try:
        return _parse_stat(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
    except OSError:
        return None


def _parse_stat(stat: str) -> Process:
    # The name is in parentheses and may itself hold spaces and parentheses.
    before, _, after = stat.rpartition(")")
    pid, _, name = before.partition(" (")
    state, parent = after.split()[:2]
    return Process(int(pid), int(parent), state, name)


def descendants(root: int, table: dict[int, Process] | None = None) -> list[Process]:
    """The processes below ``root``, parents before their children, zombies included."""
    table = process_table() if table is None else table
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    front = [root]
    while front:
        below = [child for pid in front for child in children.get(pid, ())]
        found += below
        front = [child.pid for child in below]
    return found


def is_below(pid: int, root: int) -> bool:
    """Whether ``pid`` is a child of ``root``, or a child's child, ..."""
    while (found := process(pid)) is not None:
        if found.parent == root:
            return True
        pid = found.parent
    return False


def is_alive(pid: int) -> bool:
    """Whether ``pid`` runs; a zombie does not."""
    found = process(pid)
    return found is not None and found.alive


def is_stopped(pid: int) -> bool:
    """Whether ``pid`` is stopped, as by SIGSTOP, which takes effect a little after it was sent."""
    found = process(pid)
    return found is not None and found.state == "T"


def is_marked(pid: int, mark: str) -> bool:
    """Whether ``pid`` was started with ``mark``, some text, in its environment."""
    with suppress(OSError):
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def marked(mark: str) -> list[Process]:
    """The living processes that have ``mark`` in their environment, orphans included."""
    found = (process(pid) for pid in pids() if is_marked(pid, mark))
    return [process for process in found if process is not None and process.alive]


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each pid; one that has ended meanwhile is no error."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def pause(seconds: float) -> None:
    """Let others come to what they are about to do, of which nothing tells that they did.

    In pieces, so that a machine that stalls does not take the time from them.
    """
    for _ in looks(seconds, seconds / 10):
        pass


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Poll another process's doing; a TimeoutError says ``what`` was waited for."""
    if not any(condition() for _ in looks(timeout, POLL)):
        raise TimeoutError(f"after {timeout:g} s still waiting for {what}")
