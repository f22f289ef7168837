"""To look again and again, in real time, for as long as one has the patience.

A machine stalls at times, for seconds: a disk is slow, memory is short, another guest of the same
hardware is busy.  What is waited for stands still then, too; so a stall takes little of the
patience, however long it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

STALL = 0.25
"""Seconds from one look to the next that count, at most."""


def looks(patience: float, every: float) -> Iterator[float]:
    """Yield the seconds spent so far: zero at once, and so on until the patience is spent.

    There is a last look after all that time: who ends the loop without success may give up.

    >>> for spent in looks(patience=30, every=0.01):
    ...     if spent > 0.02:
    ...         print("seen")
    ...         break
    seen
    """
    spent, last = 0.0, time.monotonic()
    yield spent
    while spent < patience:
        time.sleep(every)
        now = time.monotonic()
        spent += min(now - last, max(every, STALL))
        last = now
        yield spent
