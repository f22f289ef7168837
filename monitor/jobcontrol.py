"""Stopping as Ctrl-Z does: the terminal is given back before anything stops.

While a screen is up Ctrl-Z is a key like others, see :meth:`monitor.terminal.Terminal.take`, so it
is for us to stop our process group, `make` that started us included, once the terminal is given
back.  A SIGTSTP from elsewhere, by `kill`, must not stop us before that either; it is caught where
it can be, in the main thread.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

ON_ITS_WAY = 1.0
"""Seconds that a signal to ourselves is waited for; blocked in all threads it never comes."""


class JobControl:
    """Stops this program, from a thread that blocks signals.

    Args:
        asked: called, in the main thread, when a SIGTSTP has come from elsewhere; it is to have
            the thread call `stop_alone` soon.
    """

    def __init__(self, asked: Callable[[], None]) -> None:
        self._asked = asked
        self._own = 0
        self._caught = False

    def begin(self) -> None:
        """Catch SIGTSTP, if this is the main thread and the program leaves it to the system."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._handle)
            self._caught = True

    def end(self) -> None:
        """Leave SIGTSTP to the system again."""
        # A bound method is made anew each time it is looked up, so no `is`.
        if self._caught and signal.getsignal(signal.SIGTSTP) == self._handle:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def stop_group(self) -> None:
        """Stop this process group, as Ctrl-Z does; return once it is continued."""
        if self._caught:
            self._own += 1
            os.killpg(os.getpgrp(), signal.SIGTSTP)
            self.stop_alone()
        else:
            signal_group(signal.SIGTSTP)

    def stop_alone(self) -> None:
        """Stop this program, of which the rest of the group knows already."""
        # To this very thread, so that it does not go on for a moment before the stop.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._own:
            self._own -= 1
        else:
            self._asked()


def signal_group(signum: int) -> None:
    """Send a signal to this process group; return once it has had its effect here.

    That is when the kernel gives it to the main thread, which may be after `killpg` has returned:
    until then nobody must touch the terminal again.  Only a thread that blocks the signal sees that
    it is still on its way.
    """
    os.killpg(os.getpgrp(), signum)
    deadline = time.monotonic() + ON_ITS_WAY
    while signum in signal.sigpending() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.02)
