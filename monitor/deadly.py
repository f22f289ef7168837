"""Signals that would end the program on the spot: while a run is shown, it leaves in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def exits_on_signals(stop: Callable[[str], object]) -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise SystemExit where nobody handles them: 143, 129.

    `orchestrate()` handles them by itself, but ``asyncio.run(engine.corun())`` does not, and would
    leave the terminal as it is.  Only the main thread can have handlers; elsewhere nothing is done.

    Args:
        stop: called before that, with the reason: has the run end by itself, as far as it can.
    """

    def leave(signum: int, *_: object) -> None:
        stop(f"interrupted by {signal.Signals(signum).name}")
        raise SystemExit(128 + signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [signum for signum in _SIGNALS if signal.getsignal(signum) is signal.SIG_DFL]
    for signum in ours:
        signal.signal(signum, leave)
    try:
        yield
    finally:
        for signum in ours:
            if signal.getsignal(signum) is leave:
                signal.signal(signum, signal.SIG_DFL)
