"""What the machine runs, read from /proc: for fixtures that end by pid all they started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

POLL = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table; equal if it is the same process."""

    pid: int
    parent: int = field(compare=False)
    state: str = field(compare=False)
    name: str = field(compare=False)

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


def process_table() -> dict[int, Process]:
    """All processes of the machine, by pid."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end between the listing and the reading.
            with suppress(OSError):
                process = _parse_stat((entry / "stat").read_text(errors="replace"))
                table[process.pid] = process
    return table


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


def is_alive(pid: int) -> bool:
    """Whether ``pid`` runs; a zombie does not."""
    process = _process(pid)
    return process is not None and process.alive


def is_stopped(pid: int) -> bool:
    """Whether ``pid`` is stopped, as by SIGSTOP, which takes effect a little after it was sent."""
    process = _process(pid)
    return process is not None and process.state == "T"


def _process(pid: int) -> Process | None:
    try:
        return _parse_stat(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
    except OSError:
        return None


def marked(mark: str, table: dict[int, Process] | None = None) -> list[Process]:
    """The living processes that have ``mark`` in their environment, orphans included."""
    table = process_table() if table is None else table
    needle = mark.encode()
    found = []
    for process in table.values():
        with suppress(OSError):
            if process.alive and needle in Path(f"/proc/{process.pid}/environ").read_bytes():
                found.append(process)
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each pid; one that has ended meanwhile is no error."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Poll another process's doing; a TimeoutError says ``what`` was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:g} s still waiting for {what}")
        time.sleep(POLL)
