"""A pool: a number of slots that jobs share, across engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from .errors import BadOption
from .text import safe_line, safe_repr


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class Pool:
    """At most `slots` of the jobs that are given this object run at once, in whichever engines.

    A job that waits for a pool holds no slot of its engine's window meanwhile.

    Args:
        slots: how many, at least 1.
        label: how the pool is called on screens.

    >>> from engine import Engine, Job, Pool
    >>> import asyncio
    >>> disks = Pool(2, label="disks")
    >>> engine = Engine(*(Job(asyncio.sleep, 0, pool=disks) for _ in range(5)))
    >>> engine.orchestrate()
    True
    >>> disks
    <Pool `disks' 0/2>
    """

    def __init__(self, slots: int, label: str | None = None) -> None:
        if not _is_count(slots):
            raise BadOption(
                f"a pool needs a whole number of slots, at least 1, not {safe_repr(slots, 80)}",
                "slots",
                slots,
            )
        self.slots = slots
        self.label = label
        # Engines of several threads may share a pool.
        self._lock = threading.Lock()
        self._holders: dict[Hashable, None] = {}
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def holders(self) -> tuple[Hashable, ...]:
        """Who holds a slot now."""
        with self._lock:
            return tuple(self._holders)

    @property
    def is_full(self) -> bool:
        """True if no slot is free."""
        return len(self._holders) >= self.slots

    def take(self, holder: Hashable) -> bool:
        """Give a slot to `holder` if there is one; return whether there was."""
        with self._lock:
            if len(self._holders) >= self.slots:
                return False
            self._holders[holder] = None
            return True

    def give_back(self, holder: Hashable) -> tuple[Callable[[], None], ...]:
        """Take the slot of `holder` back; return whom to call, in this order, now that it is free.

        Those returned wait no longer: who still finds no slot waits anew.
        """
        with self._lock:
            del self._holders[holder]
            waiting = tuple(self._waiting)
            self._waiting.clear()
            return waiting

    def wait(self, wake: Callable[[], None]) -> None:
        """Have `wake` returned by the next `give_back`."""
        with self._lock:
            self._waiting[wake] = None

    def leave(self, wake: Callable[[], None]) -> None:
        """Take `wake` back."""
        with self._lock:
            self._waiting.pop(wake, None)

    def __repr__(self) -> str:
        name = "NOLABEL" if self.label is None else safe_line(self.label, 80)
        return f"<Pool `{name}' {len(self._holders)}/{self.slots}>"
