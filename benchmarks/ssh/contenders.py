"""Those who are measured, by name: where to find each, and what it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those who are measured.

    Attributes:
        module: has a class `Case`, made with a place, whose methods do what the cases say; one
            that is missing is something that the contender cannot do.
        needs: what has to be importable for it.
    """

    module: str
    needs: str = "asyncssh"


FLOOR = "asyncssh"
"""The one that all are compared with."""
OURS = "sshjobs"
CONTENDERS = {
    FLOOR: Contender("bare"),
    OURS: Contender("ours"),
    "apssh": Contender("with_apssh", "apssh"),
    "parallel-ssh": Contender("with_pssh", "pssh"),
    "fabric": Contender("with_fabric", "fabric"),
    "ssh": Contender("with_openssh"),
    "tar | ssh": Contender("with_tar"),
}
