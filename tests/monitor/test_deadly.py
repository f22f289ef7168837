"""Signals while another thread than the main one runs what is shown."""

from __future__ import annotations

import signal
import subprocess
import sys

TWO_AT_ONCE = """
import os, signal, threading
from monitor.deadly import Caught
stopped = threading.Event()
def stop(reason):
    print(reason, flush=True)
    stopped.set()
caught = Caught(stop, lambda: print("rescued", flush=True))
caught.begin()
both = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, both)
for each in both:
    os.kill(os.getpid(), each)
signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
stopped.wait(60)
caught.end()
"""


def test_two_signals_at_once_are_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.count("interrupted by") == 1
    assert "rescued" not in done.stdout
    assert -done.returncode in {signal.SIGHUP, signal.SIGTERM}
