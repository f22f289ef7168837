"""What can be wrong with a host of a fleet (:mod:`sshjobs.sandbox`), and for how long.

A *condition* says what is wrong, as a value.  A host has a list of them, one for each fault that
goes on, and behaves as the worst of all: frozen twice, it answers again once both are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong with a host, or with the way to it.

    Attributes:
        refusing: new connections are refused.
        deaf: new connections get no answer at all, not even from the system.
        silent: nothing goes in or out on the connections.
        latency: seconds by which everything is late, in each direction.
        bandwidth: bytes per second, for each connection and direction; None: no bound.
        full: nothing can be written to files.
    """

    refusing: bool = False
    deaf: bool = False
    silent: bool = False
    latency: float = 0.0
    bandwidth: float | None = None
    full: bool = False


FINE = Condition()


def worst(conditions: Iterable[Condition]) -> Condition:
    """Return what several conditions come to.

    >>> worst([Condition(latency=1), Condition(silent=True, latency=2), Condition(bandwidth=1e6)])
    Condition(refusing=False, deaf=False, silent=True, latency=3.0, bandwidth=1000000.0, full=False)
    """
    several = list(conditions)
    rates = [each.bandwidth for each in several if each.bandwidth is not None]
    return Condition(
        refusing=any(each.refusing for each in several),
        deaf=any(each.deaf for each in several),
        silent=any(each.silent for each in several),
        latency=sum((each.latency for each in several), 0.0),
        bandwidth=min(rates, default=None),
        full=any(each.full for each in several),
    )


class Fault:
    """Something that is wrong with hosts of a fleet, from the moment it is made until its end.

    That is the call of :meth:`end`, the end of the block for which it is a context manager, or that
    of the fleet, whichever comes first.  Made by the methods of
    :class:`~sshjobs.sandbox.Fleet`.
    """

    def __init__(self, what: str, mend: Callable[[], None]) -> None:
        self._what = what
        self._mend: Callable[[], None] | None = mend

    def end(self) -> None:
        """Mend it; a second call does nothing."""
        mend, self._mend = self._mend, None
        if mend is not None:
            mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<Fault {self._what}{', ended' if self._mend is None else ''}>"
