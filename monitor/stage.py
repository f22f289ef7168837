"""The run on the screen of a terminal: keys, frames, and every way off the screen and back.

A stage is in one of these places:

======  =============================================  =====================================
place   what is seen                                   left
======  =============================================  =====================================
WINGS   nothing yet; prints are held back              at the first turn, for the screen
SCREEN  the alternate screen; prints are held back     by S, q, Ctrl-Z, when an error happens
STREAM  plain lines, and keys are read                 by S, q, Ctrl-Z
BEHIND  plain lines, as another program is in front    once we are in front again
GONE    plain lines, and the terminal is given back    never
DEAD    nothing: the terminal hung up                  never
======  =============================================  =====================================

A run that is over before the first turn never gets to the screen: it leaves its summary, and no
flash.

At each turn it asks whether it is in front and how big the terminal is, so that it needs no
handlers for SIGCONT and SIGWINCH, which only the main thread can have.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from engine import JobOutput, JobProgress, Tick

from . import keys
from .deadly import Caught
from .jobcontrol import JobControl, signal_group
from .layout import compose
from .model import Model
from .plain import PlainPrinter
from .queue import CoalescingQueue
from .rows import Row
from .screen import Page, Screen
from .summary import summary
from .takeover import Takeover
from .terminal import Terminal
from .view import View
from .wake import CatchUp, Wake
from .writer import Writer

_LOG = logging.getLogger(__name__)

MISSED = 1000
"""How many events are kept for the plain lines that are printed when the screen is left."""

ESCAPE = 0.1
"""Seconds after which a lone Esc is the key, and not the beginning of another one."""

LATE = 2.0
"""After so many seconds without a turn we were stopped, and others may have used the terminal."""

LEAVING = 0.2
"""Seconds that the terminal is given to take in what is written before its settings change."""


class Controls(Protocol):
    """How a key reaches the run; safe in any thread."""

    def cancel_job(self, job: str) -> None:
        """Cancel the job of this id."""

    def stop_run(self) -> None:
        """Stop the run, as Ctrl-C does."""

    def cancel_run(self, reason: str) -> None:
        """Cancel the run, for this reason."""


class Place(Enum):
    """Where a stage is."""

    WINGS = "wings"
    SCREEN = "screen"
    STREAM = "stream"
    BEHIND = "behind"
    GONE = "gone"
    DEAD = "dead"


_HOLDING = frozenset({Place.WINGS, Place.SCREEN})
_WITH_KEYS = frozenset({Place.SCREEN, Place.STREAM})
_FOR_GOOD = frozenset({Place.GONE, Place.DEAD})
_IN_STREAM = frozenset({"q", "ctrl z", "ctrl \\"})


class Stage:
    """The face of a run on a terminal.

    It takes a fiftieth of the time: six frames a second of a run of some hundred jobs, two where
    ten thousand change all the time.

    Args:
        controls: of the run.
        ascii_only: use no character above 127.

    Raises:
        OSError: there is no terminal.
    """

    share = 0.02

    def __init__(self, controls: Controls, *, ascii_only: bool) -> None:
        self.model = Model()
        self.view = View(ascii_only=ascii_only)
        self._terminal = Terminal()
        self._controls = controls
        self._takeover = Takeover()
        self._job_control = JobControl(self._ask_to_stop)
        self._caught: Caught | None = None
        self._stop_asked = self._rescued = self._held = False
        self._place = Place.WINGS
        self._lines: list[str] = []
        self._printer = PlainPrinter(self._lines.append, self.model, ascii_only=ascii_only)
        self._missed: deque[Tick] = deque(maxlen=MISSED)
        self._left_out = 0
        self._page = Page(self._compose, self._press)
        self._yes: Callable[[], None] | None = None
        self._pressed = 0
        self._seen: tuple[object, ...] = ()
        self._turn_at = time.monotonic()

    # -- what the display calls ---------------------------------------------------------------

    def begin(self, wake: Wake, catch_up: CatchUp, queue: CoalescingQueue) -> None:
        """Hold prints back, and begin to write to the terminal."""
        self._wake, self._queue = wake, queue
        self.model.latest = queue.latest
        self._writer = Writer(self._terminal.target())
        self._screen = Screen(self._writer.write)
        self._takeover.start()
        self._takeover.hold()
        self._job_control.begin()
        atexit.register(self._left_behind)
        if threading.current_thread() is not threading.main_thread():
            self._caught = Caught(self._controls.cancel_run, self.rescue)
            self._caught.begin()

    def wait(self, timeout: float) -> None:
        """Wait for keys, and do what they say."""
        if self._place not in _WITH_KEYS:
            self._wake.wait(timeout)
            return
        if self._screen.half_typed:
            timeout = min(timeout, ESCAPE)
        ready = self._wake.wait(timeout, self._terminal.keys)
        try:
            typed = self._terminal.read() if ready else b""
        except EOFError:
            self._place = Place.DEAD
            return
        for key in self._screen.keys(typed) if typed else self._screen.rest():
            if self._place in _WITH_KEYS:
                self._page.keypress(self._terminal.size(), key)

    @property
    def busy(self) -> bool:
        """Lines wait for the terminal; frames do not, they are left out."""
        return self._place not in _HOLDING and not self._writer.idle

    def apply(self, event: Tick) -> None:
        """Take an event."""
        self.model.apply(event)
        if self._place not in _HOLDING:
            self._printer.apply(event)
        elif not isinstance(event, JobOutput | JobProgress):
            self._left_out += len(self._missed) == MISSED
            self._missed.append(event)

    def refresh(self) -> None:
        """Draw a frame, if it is time to, or tell what there is to tell in lines."""
        if self._stop_asked:
            self._stop_as_asked()
        now = time.monotonic()
        if self._place not in _FOR_GOOD:
            self._look_who_is_in_front(now)
        if self._place is Place.SCREEN:
            self._draw(now)
        elif self._place is not Place.DEAD:
            self._tell(now)

    def _ask_to_stop(self) -> None:
        self._stop_asked = True
        self._wake.set()

    def _stop_as_asked(self) -> None:
        self._stop_asked = False
        if self._place not in _FOR_GOOD:
            self._go(Place.BEHIND)
        self._job_control.stop_alone()

    def _look_who_is_in_front(self, now: float) -> None:
        late, self._turn_at = now - self._turn_at > LATE, now
        try:
            in_front = self._terminal.in_front()
        except EOFError:
            # Prints are held back for good: written to this terminal they would hurt who prints.
            self._place = Place.DEAD
            return
        if not in_front:
            self._go(Place.BEHIND)
        elif self._place in (Place.WINGS, Place.BEHIND):
            self._go(Place.SCREEN)
        elif late:
            self._come_back()

    def fail(self, error: Exception) -> None:
        """Leave the screen for good: the run goes on in plain lines."""
        if self._place in _FOR_GOOD:
            raise error
        _LOG.warning("the screen has failed, the run goes on in plain lines", exc_info=error)
        try:
            self._go(Place.GONE)
        except Exception:
            self.rescue()
            raise

    def close(self) -> None:
        """Give back the terminal."""
        self._held = self._place in _HOLDING
        if self._held:
            self._screen.leave()
            if not self._writer.wait(LEAVING):
                self.rescue()
        if self._place is not Place.DEAD:
            self._place = Place.GONE
            self._terminal.give_back()

    def rescue(self) -> None:
        """Give it back past a writer that is stuck, with all that it still had to write."""
        self._rescued = True
        self._writer.discard()
        self._terminal.rescue()

    def _left_behind(self) -> None:
        """The program ends without an end of the run: what it last printed tells why."""
        self.rescue()
        self._takeover.stop()

    def end(self, *, complete: bool) -> None:
        """Replay the prints that were held back, and leave a summary behind."""
        atexit.unregister(self._left_behind)
        self._job_control.end()
        now = time.monotonic()
        columns, _ = self._terminal.size()
        lines = (
            summary(self.model, now, ascii_only=self.view.ascii_only, columns=columns)
            if complete
            else []
        )
        # Who leaves now does not wait for a terminal that is stuck; what was printed is lost then.
        leaves_now = self._rescued and self.model.run.was_left
        self._takeover.stop(replay=not leaves_now)
        if complete and not self._held:
            self._tell(now)
        else:
            self._say("".join(f"{line}\n" for line in lines), wait=not leaves_now)
        self._writer.close()
        if complete:
            self._terminal.close()
        if self._caught is not None:
            self._caught.end()

    def _say(self, text: str, *, wait: bool) -> None:
        """Write a text; after a rescue past the writer, waiting for the terminal as prints do."""
        if not self._rescued:
            self._writer.write(text)
        elif wait:
            self._takeover.replay("stdout", text.encode(self._terminal.encoding, "replace"))
        else:
            self._terminal.write_at_once(text)

    # -- what keys do -------------------------------------------------------------------------

    def ask(self, question: str, yes: Callable[[], None]) -> None:
        """Ask something, and do `yes` if the next key is y."""
        self.view.question, self._yes = question, yes

    def answer(self, *, yes: bool) -> None:
        """Take the answer to what was asked."""
        do, self._yes, self.view.question = self._yes, None, ""
        if yes and do is not None:
            do()

    def cancel_job(self, job: str) -> None:
        """Cancel the job of this id."""
        self._controls.cancel_job(job)

    def stop_run(self) -> None:
        """Stop the run, as Ctrl-C does."""
        self._controls.stop_run()

    def redraw(self) -> None:
        """Draw the screen anew."""
        self._screen.redraw()
        self._seen = ()

    def stream(self) -> None:
        """Leave the screen for plain lines until the key is pressed again."""
        self._go(Place.STREAM)
        self._writer.write("(plain lines; S: the screen again, q: plain lines for good)\n")

    def leave(self) -> None:
        """Leave the screen for good."""
        self._go(Place.GONE)

    def suspend(self) -> None:
        """Give the terminal back, and stop the program until the shell continues it."""
        self._go(Place.BEHIND)
        self._job_control.stop_group()

    def quit(self) -> None:
        """Give the terminal back, and send SIGQUIT, as the key does elsewhere."""
        self._go(Place.BEHIND)
        signal_group(signal.SIGQUIT)

    def _press(self, key: str) -> bool:
        self._pressed += 1
        if self._place is Place.STREAM:
            if key == "S":
                self._go(Place.SCREEN)
                return True
            return key in _IN_STREAM and keys.press(self, key)
        return keys.press(self, key)

    # -- what is shown ------------------------------------------------------------------------

    def _compose(self, columns: int, rows: int) -> list[Row]:
        now, wall = time.monotonic(), time.time()
        return compose(self.model, self.view, columns, rows, now=now, wall=wall)

    def _draw(self, now: float) -> None:
        """Draw a frame, unless the last is not out yet."""
        size = self._terminal.size()
        # Clocks tick in whole seconds, each job's at its own instant.
        seen = (self.model.version, size, int(4 * now), self._pressed)
        if seen != self._seen and self._writer.idle:
            self._seen = seen
            self._screen.draw(self._page, size)

    def _tell(self, now: float) -> None:
        """Tell in lines what has happened."""
        for event in self._queue.take_reports(self.model.has_begun):
            self.apply(event)
        self._printer.beat(now)
        self._writer.write("".join(self._lines))
        self._lines.clear()

    def _tell_missed(self) -> None:
        """Tell in lines what would have been told if the screen had not been up."""
        if self._left_out:
            self._lines.append(f"({self._left_out} changes before these)\n")
            self._left_out = 0
        while self._missed:
            self._printer.apply(self._missed.popleft())
        for event in self._queue.take_reports(self.model.has_begun):
            self.model.apply(event)
        self._tell(time.monotonic())

    # -- going from place to place ------------------------------------------------------------

    def _go(self, place: Place) -> None:
        """Leave the place where we are for another one."""
        before, self._place = self._place, place
        if place is before:
            return
        if before in _HOLDING and place not in _HOLDING:
            self._leave_screen()
        if place not in _WITH_KEYS:
            self._terminal.give_back()
        elif before not in _WITH_KEYS and not self._take_terminal():
            return
        if place is Place.SCREEN:
            self._takeover.hold()
            self._screen.enter()
            self._seen = ()

    def _take_terminal(self) -> bool:
        try:
            self._terminal.take()
        except OSError:  # it hung up
            self._place = Place.DEAD
        return self._place is not Place.DEAD

    def _come_back(self) -> None:
        """Set up again what others may have changed while we were stopped."""
        if self._take_terminal() and self._place is Place.SCREEN:
            self._screen.leave()
            self._screen.enter()
            self._seen = ()

    def _leave_screen(self) -> None:
        self._screen.leave()
        # The settings of the terminal hold for what it has taken in, not for what was written.
        self._writer.wait(LEAVING)
        self._takeover.release(self._replay)
        self._tell_missed()

    def _replay(self, name: str, data: bytes) -> None:
        """Write a piece of what was printed in the place that the run's own lines go to."""
        if self._takeover.is_tty(name):
            self._writer.write(data)
            self._writer.wait(LEAVING)
        else:
            self._takeover.replay(name, data)
