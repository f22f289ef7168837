"""Signals that would end the program on the spot: while a run is shown, it leaves in good order."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .writer import block_signals

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

SETTLING = 0.05
"""Seconds in which a traceback is written out; signals that come within them are one, the first.

Who means it sends several at once: SIGTERM and SIGHUP for one.
"""


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


class Caught:
    """SIGTERM and SIGHUP kept from ending the program on the spot while another thread runs a run.

    Only the main thread can have handlers in Python, and it may be asleep in a `join`.  But any
    thread may have `faulthandler` write to a descriptor when a signal comes, in place of what the
    signal does by default.  A pipe for each signal tells which one it was; what is written, the
    traceback of the main thread, does not matter.  (A program that has `faulthandler` registered
    for one of these two finds that undone.)

    Args:
        stop: called, in a thread of ours, with the reason, when the first signal comes.
        rescue: called when one more comes; then the program ends at once.
    """

    def __init__(self, stop: Callable[[str], object], rescue: Callable[[], object]) -> None:
        self._stop = stop
        self._rescue = rescue
        self._came: int | None = None
        self._pipes: dict[int, int] = {}
        self._writers: list[int] = []
        self._ending, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, name="monitor-signals", daemon=True)

    def begin(self) -> None:
        """Keep them from ending the program, if nobody else has a use for them."""
        for signum in _SIGNALS:
            if signal.getsignal(signum) is signal.SIG_DFL:
                reader, writer = os.pipe()
                os.set_blocking(writer, False)
                self._pipes[reader] = signum
                self._writers.append(writer)
                faulthandler.register(signum, writer, all_threads=False)
        _catching.add(self)
        self._thread.start()

    def end(self) -> None:
        """Let them do what they do; if one has come, that is now."""
        os.close(self._end)
        self._thread.join()
        self.let_go()
        for fd in self._ending, *self._pipes, *self._writers:
            os.close(fd)
        if self._came is not None:
            os.kill(os.getpid(), self._came)

    def let_go(self) -> None:
        """Have them end the program."""
        _catching.discard(self)
        for signum in self._pipes.values():
            faulthandler.unregister(signum)

    def _run(self) -> None:
        block_signals()
        while True:
            ready, _, _ = select.select([self._ending, *self._pipes], [], [])
            if self._ending in ready:
                return
            time.sleep(SETTLING)
            came, _, _ = select.select(self._pipes, [], [], 0)
            for reader in came:
                os.read(reader, 65536)
            self._take(self._pipes[ready[0]])

    def _take(self, signum: int) -> None:
        if self._came is None:
            self._came = signum
            self._stop(f"interrupted by {signal.Signals(signum).name}")
        else:
            self._rescue()
            self.let_go()
            os.kill(os.getpid(), signum)


_catching: set[Caught] = set()


def _after_fork() -> None:
    # A child process inherits what catches its signals, but not the thread that would act on them.
    for caught in list(_catching):
        caught.let_go()


os.register_at_fork(after_in_child=_after_fork)
