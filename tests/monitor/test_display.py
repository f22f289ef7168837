"""The thread of a display: whatever its face does, the run goes on and the display ends."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from engine import JobReady, RunEnded, RunStarted, Tick
from monitor.display import CLOSING, Display
from monitor.queue import CoalescingQueue
from monitor.wake import CatchUp, Wake
from tests.processes import wait_until

STARTED = RunStarted("r", 0, 0.0, 0.0, label="run", jobs=())
READY = JobReady("r", 1, 0.0, 0.0, job="1")
ENDED = RunEnded("r", 2, 0.0, 0.0, ok=True, why="", counts={}, duration=1.0)


class Face:
    """Notes what happens to it; fails or gets stuck where it is told to."""

    share = 1.0

    def __init__(self, *, fails: str = "", stuck: threading.Event | None = None) -> None:
        self.notes: list[str] = []
        self.events: list[Tick] = []
        self.fails = fails
        self.stuck = stuck
        self.busy = False

    def _note(self, what: str) -> None:
        self.notes.append(what)
        if what == self.fails:
            raise RuntimeError(f"{what} fails")

    def begin(self, wake: Wake, catch_up: CatchUp, queue: CoalescingQueue) -> None:
        self._wake = wake
        self._note("begin")

    def wait(self, timeout: float) -> None:
        self._wake.wait(0.005)

    def apply(self, event: Tick) -> None:
        self.events.append(event)

    def refresh(self) -> None:
        if self.stuck is not None:
            self.stuck.wait()
        self._note("refresh")

    def fail(self, error: Exception) -> None:
        self.fails = ""
        self._note(f"fail: {error}")

    def close(self) -> None:
        self._note("close")

    def rescue(self) -> None:
        self._note("rescue")

    def end(self, *, complete: bool) -> None:
        self._note(f"end {complete}")


class Hopeless(Face):
    """A face that cannot even fail."""

    def fail(self, error: Exception) -> None:
        raise error


def test_a_run_from_its_start_to_its_end() -> None:
    face = Face()
    display = Display(lambda: face)
    for event in STARTED, READY:
        display.put_nowait(event)
    wait_until(lambda: len(face.events) == 2, 30, "the events")
    display.put_nowait(ENDED)
    display.close()
    assert face.events == [STARTED, READY, ENDED]
    assert face.notes[0] == "begin"
    assert face.notes[-2:] == ["close", "end True"]
    display.close()
    display.put_nowait(READY)
    assert face.notes.count("end True") == 1
    assert READY not in face.events[3:]


def test_nothing_is_shown_of_what_never_starts() -> None:
    display = Display(Face)
    display.close()


def test_a_face_that_is_busy_gets_its_events_later() -> None:
    face = Face()
    face.busy = True
    display = Display(lambda: face)
    display.put_nowait(STARTED)
    wait_until(lambda: "refresh" in face.notes, 30, "a turn")
    assert face.events == []
    display.close()
    assert face.events == [STARTED], "at the end it gets them all the same"


def test_an_error_makes_it_go_on_in_a_simpler_way() -> None:
    face = Face(fails="refresh")
    display = Display(lambda: face)
    display.put_nowait(STARTED)
    wait_until(lambda: face.notes.count("refresh") > 2, 30, "more turns")
    assert "fail: refresh fails" in face.notes
    display.close()
    assert face.notes[-1] == "end True"


def test_an_error_there_too_ends_the_show_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    face = Hopeless(fails="refresh")
    display = Display(lambda: face)
    display.put_nowait(STARTED)
    wait_until(lambda: "close" in face.notes, 30, "the terminal to be given back")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    for _ in range(1000):
        display.put_nowait(READY)
    display.close()
    assert READY not in face.events, "and nothing piles up"
    assert face.notes[-1] == "end True"


def test_a_face_that_cannot_be_made_is_told_once() -> None:
    made = []

    def make() -> Face:
        made.append(1)
        raise OSError("no terminal")

    display = Display(make)
    with pytest.raises(OSError, match="no terminal"):
        display.put_nowait(STARTED)
    display.put_nowait(READY)
    display.put_nowait(STARTED)
    display.close()
    assert made == [1]


def test_a_face_that_cannot_begin_leaves_nothing() -> None:
    face = Face(fails="begin")
    display = Display(lambda: face)
    with pytest.raises(RuntimeError, match="begin fails"):
        display.put_nowait(STARTED)
    display.close()


def test_a_thread_that_is_stuck_is_not_waited_for() -> None:
    release = threading.Event()
    face = Face(stuck=release)
    display = Display(lambda: face)
    display.put_nowait(STARTED)
    before = time.monotonic()
    display.close()
    assert time.monotonic() - before < 2 * CLOSING + 10
    assert face.notes == ["begin", "rescue", "end False"]
    release.set()
    wait_until(lambda: "close" in face.notes, 30, "the thread to end")
