"""The programs that promise 5 sends signals to; each is run as ``-m tests.promises.signalled``.

They say on stdout what happened to them: a line for each thing, or one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from engine import AbstractJob, Engine, Job, run


def say(*words: object) -> None:
    print(*words, flush=True)


# A signal at every turn of the loop


class Spinning(AbstractJob):
    """A job of some turns of the loop, with a cleanup and a shutdown of some turns."""

    def __init__(self, label: str, *, forever: bool = False) -> None:
        super().__init__(label=label, forever=forever)
        self.count: Counter[str] = Counter()

    async def corun(self) -> None:
        """Take three turns, or all there are."""
        self.count["started"] += 1
        try:
            for _ in itertools.count() if self.forever else range(3):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.count["cancelled"] += 1
            raise
        finally:
            await asyncio.sleep(0)

    async def coshutdown(self) -> None:
        """Take a turn."""
        self.count["shutdown"] += 1
        await asyncio.sleep(0)
        self.count["shut"] += 1


class SignalAtTurn:
    """Sends this process a signal at the given turn of a loop, unless told to stop before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: int, number: int) -> None:
        self.left = turn
        self.number = number
        self.sent = False
        self.loop = loop
        self.handle = loop.call_soon(self.count_down)

    def count_down(self) -> None:
        """Count a turn; at zero, send."""
        if self.left == 0:
            self.sent = True
            os.kill(os.getpid(), self.number)
        else:
            self.left -= 1
            self.handle = self.loop.call_soon(self.count_down)


def spinning_engine() -> Engine:
    first, second = Spinning("first"), Spinning("second")
    second.requires(first)
    bus, inner = Spinning("bus", forever=True), Spinning("inner")
    return Engine(bus, first, second, Engine(inner, label="nested"), label="run")


async def this_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def at_every_turn(name: str) -> None:
    """Run a graph again and again, with the signal one turn later each time."""
    loop = run(this_loop())
    told: list[dict[str, Any]] = []
    for turn in itertools.count():
        engine = spinning_engine()
        signal_at_turn = SignalAtTurn(loop, turn, signal.Signals[name])
        outcome: object = None
        try:
            outcome = engine.orchestrate()
        except KeyboardInterrupt:
            outcome = "KeyboardInterrupt"
        except SystemExit as error:
            outcome = f"SystemExit {error.code}"
        signal_at_turn.handle.cancel()
        if not signal_at_turn.sent:
            break
        told.append({"turn": turn, "outcome": outcome, "status": engine.exit_status})
        told[-1]["jobs"] = [
            {"label": job.label, "state": job.state, **job.count}
            for job in engine.iterate_jobs()
            if isinstance(job, Spinning)
        ]
        told[-1]["tasks"] = len(asyncio.all_tasks(loop))
    say(json.dumps(told))


# A signal from outside


async def slow(seconds: float, cleanup: float = 0.0) -> None:
    say("started")
    try:
        await asyncio.sleep(seconds)
    finally:
        if cleanup:
            say("cleaning up")
            await asyncio.sleep(cleanup)


async def stubborn(seconds: float) -> None:
    say("started")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


async def block(seconds: float) -> None:
    say("started")
    time.sleep(seconds)


async def say_shutdown() -> None:
    say("shutdown")


async def hang_in_shutdown() -> None:
    say("shutdown")
    await asyncio.sleep(60)


PROGRAMS: dict[str, Callable[[], Engine]] = {
    "slow": lambda: Engine(Job(slow, 60, coshutdown=say_shutdown)),
    "cleanup": lambda: Engine(Job(slow, 60, 0.2, coshutdown=say_shutdown)),
    "nested": lambda: Engine(Engine(Job(slow, 60, coshutdown=say_shutdown))),
    "stubborn": lambda: Engine(Job(stubborn, 60, coshutdown=say_shutdown), cancel_grace=0.3),
    "blocked": lambda: Engine(Job(block, 60)),
    "long cleanup": lambda: Engine(Job(slow, 60, 60), cancel_grace=60),
    "long shutdown": lambda: Engine(
        Job(slow, 0.01, coshutdown=hang_in_shutdown), shutdown_timeout=60
    ),
}


if __name__ == "__main__":
    # What a shell starts in the background ignores Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.argv[1] == "at-every-turn":
        at_every_turn(sys.argv[2])
    else:
        PROGRAMS[sys.argv[1]]().orchestrate()
