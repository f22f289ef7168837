"""What is measured, and how good we want to be at it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table.

    Attributes:
        title: how it is called.
        does: the method of the contenders that does it, and its arguments.
        wall: the target: wall time, over that of bare asyncssh.
        cpu: likewise for the processor time of the client, if there is a target.
        room: how many MB the client may take in all, if that is bounded.
    """

    title: str
    does: tuple[str, *tuple[int, ...]]
    wall: float
    cpu: float | None = None
    room: float | None = None


CASES = {
    "hosts32": Case("32 hosts x 1 command, connect included", ("hosts", 32, 1), 1.10, 1.15),
    "hosts63": Case("63 hosts x 1 command, connect included", ("hosts", 63, 1), 1.10, 1.15),
    "sequence": Case("200 commands in sequence, one connection", ("sequence", 200), 1.10, 1.10),
    "concurrent": Case("200 commands at once, one connection", ("concurrent", 200), 1.10, 1.10),
    "hosts32x10": Case("32 hosts x 10 commands", ("hosts", 32, 10), 1.10, 1.15),
    "gateway": Case("32 hosts behind one gateway", ("behind", 32), 1.10, 1.15),
    "put": Case("put 100 MB", ("put",), 1.00),
    "get": Case("get 100 MB", ("get",), 1.00),
    "tree": Case("1,000 files of 2 kB, recursive put", ("tree",), 0.50),
    "lines": Case("1 M lines of output, line by line", ("lines",), 0.10, room=60),
    "bulk": Case("100 MB of output", ("bulk",), 1.20, room=60),
}
