"""EngineCurses: the choice of what is shown, that it changes nothing of a run, lines and JSON."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import logging
import os
import queue
import re
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from engine import AbstractJob, BadOption, CallJob, Engine, Job, RunEnded, Tick, output, report, run
from monitor import EngineCurses, attach
from monitor.curses import UIS, Ui
from tests.processes import wait_until


async def work(number: int = 0) -> int:
    report(f"step {number}", percent=50)
    output(f"output {number}")
    await asyncio.sleep(0)
    return number


async def boom() -> None:
    output("last words")
    raise ValueError("boom")


class Pipe:
    """A stdout that is a pipe, and what came out of its other end."""

    def __init__(self, *, read: bool = True) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w", encoding="utf-8")
        self.text = ""
        self._thread = threading.Thread(target=self._read)
        if read:
            self._thread.start()

    def _read(self) -> None:
        with os.fdopen(os.dup(self.reader), encoding="utf-8") as file:
            self.text = file.read()

    @contextlib.contextmanager
    def as_stdout(self) -> Iterator[None]:
        with contextlib.redirect_stdout(self.stream):
            yield

    def go_away(self) -> None:
        """Close the end that is read from, but for its number."""
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, self.reader)
        os.close(null)

    def close(self) -> str:
        """Close the end that is written to; return what was read."""
        with contextlib.suppress(BrokenPipeError):
            self.stream.close()
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self.reader)
        return self.text


def told(*jobs: AbstractJob, ui: Ui = "auto", **options: Any) -> str:
    """Run jobs and return what stdout got."""
    pipe = Pipe()
    with pipe.as_stdout():
        EngineCurses(*jobs, ui=ui, **options).orchestrate()
    return pipe.close()


# -- the choice -----------------------------------------------------------------------------------


def test_the_choices_are_named() -> None:
    assert get_args(Ui) == UIS
    with pytest.raises(BadOption, match="auto, curses, plain, json, none, not 'tty'"):
        EngineCurses(ui="tty")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="auto, curses"), attach(Engine(), ui=7):  # type: ignore[arg-type]
        pass


def test_lines_where_there_is_no_terminal() -> None:
    text = told(Job(work, label="load"))
    assert "load" in text
    assert "running" in text
    assert "finished" in text
    assert "\x1b" not in text


def test_curses_without_a_terminal_is_plain_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = told(Job(work, label="load"), ui="curses")
    assert "finished" in text
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "not a terminal" in caplog.text


def test_none_shows_nothing() -> None:
    assert told(Job(work), Job(boom, label="broken"), ui="none") == ""


def test_a_failure_with_its_last_words() -> None:
    text = told(Job(boom, label="broken"), Job(work, label="fine"), ui="plain", label="demo")
    assert "failed     ValueError: boom" in text
    assert "last words" in text
    assert "demo: FAILED" in text


@pytest.mark.parametrize(
    ("given", "variable", "encoding", "expected"),
    [
        (True, None, "utf-8", True),
        (False, None, "ascii", False),
        (None, None, "utf-8", False),
        (None, None, "ascii", True),
        (None, None, "latin-1", True),
        (None, "1", "utf-8", True),
        (None, "0", "utf-8", False),
        (None, "", "utf-8", False),
    ],
)
def test_ascii(
    monkeypatch: pytest.MonkeyPatch,
    given: bool | None,
    variable: str | None,
    encoding: str,
    expected: bool,
) -> None:
    monkeypatch.delenv("ORCHESTRION_ASCII", raising=False)
    if variable is not None:
        monkeypatch.setenv("ORCHESTRION_ASCII", variable)
    page = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    with contextlib.redirect_stdout(page):
        EngineCurses(Job(boom, label="broken"), ui="plain", ascii=given).orchestrate()
    page.seek(0)
    text = page.read()
    assert ("✗ broken" in text) == (not expected and encoding == "utf-8")
    assert ("X broken" in text) == expected


# -- JSON -----------------------------------------------------------------------------------------


def test_json_is_the_events_and_nothing_else() -> None:
    recorder: queue.SimpleQueue[Tick] = queue.SimpleQueue()

    async def chatty() -> None:
        print("printed \x1b[31min red")
        await asyncio.to_thread(print, "by a thread")

    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        text = told(Job(work), Job(chatty), ui="json", message_queue=recorder)
    events = [Tick.from_dict(json.loads(line)) for line in text.splitlines()]
    expected = [recorder.get_nowait() for _ in range(recorder.qsize())]
    assert events == expected
    assert isinstance(events[-1], RunEnded)
    assert "printed in red" in text
    assert "by a thread" in text
    assert "printed \x1b[31min red\nby a thread\n" in err.getvalue()


# -- it changes nothing of a run ------------------------------------------------------------------


@pytest.mark.parametrize("ui", ["plain", "json", "none"])
def test_the_verdict_and_the_users_own_queue(ui: Ui) -> None:
    recorder: queue.SimpleQueue[Tick] = queue.SimpleQueue()
    pipe = Pipe()
    with pipe.as_stdout():
        engine = EngineCurses(Job(work, 1), Job(work, 2), ui=ui, message_queue=recorder)
        assert engine.orchestrate()
        assert engine.exit_status == 0
        assert [job.result() for job in engine.jobs] == [1, 2]
        first = recorder.qsize()
        assert engine.orchestrate(), "any number of times"
        assert recorder.qsize() == 2 * first
    pipe.close()
    seqs = [recorder.get_nowait().seq for _ in range(2 * first)]
    assert seqs == 2 * list(range(first))


def test_timeout_is_passed_on() -> None:
    pipe = Pipe()
    with pipe.as_stdout():
        engine = EngineCurses(Job(asyncio.sleep, 60), ui="plain")
        assert not engine.orchestrate(timeout=0.01)
        assert engine.exit_status == 124
    assert "timeout" in pipe.close()


def test_a_graph_that_cannot_be_run_shows_nothing() -> None:
    job = Job(work)
    other = Job(work, required=job)
    job.requires(other)
    pipe = Pipe()
    with pipe.as_stdout(), pytest.raises(ValueError, match="wait for each other"):
        EngineCurses(job, other, ui="plain").orchestrate()
    assert pipe.close() == ""


def test_corun_and_inner_engines_draw_nothing() -> None:
    async def inner() -> bool:
        return await EngineCurses(Job(work, label="hidden"), ui="plain").corun()

    nested = EngineCurses(Job(work, label="member"), ui="plain", label="nested")
    in_a_thread = EngineCurses(Job(work, label="hidden"), ui="plain")
    called = CallJob(in_a_thread.orchestrate, label="b")
    text = told(Job(inner, label="a"), called, nested, ui="plain")
    assert called.result() is True
    assert "hidden" not in text
    assert text.count("started") == 1
    assert text.count("member") >= 2

    pipe = Pipe()
    with pipe.as_stdout():
        assert run(EngineCurses(Job(work, label="hidden"), ui="plain").corun())
    assert pipe.close() == ""


def test_attach_shows_any_engine() -> None:
    recorder: queue.SimpleQueue[Tick] = queue.SimpleQueue()
    engine = Engine(Job(work, label="load"), message_queue=recorder)
    beside = Engine(Job(work, label="hidden"))
    pipe = Pipe()
    with pipe.as_stdout(), attach(engine, ui="plain"):
        assert beside.orchestrate()
        assert run(engine.corun())
    text = pipe.close()
    assert "load" in text
    assert "hidden" not in text
    assert recorder.qsize() > 5


def test_attach_shows_every_run_one_after_the_other() -> None:
    pipe = Pipe()
    with pipe.as_stdout(), attach(ui="plain"):
        for name in "first", "second":
            assert Engine(Job(work, label=name), label=name).orchestrate()
            print(f"after {name}")
        assert EngineCurses(Job(work, label="third"), ui="json").orchestrate()
    lines = pipe.close().splitlines()
    ends = [lines.index("after first"), lines.index("after second")]
    assert all("first" in line for line in lines[: ends[0]] if "counts" not in line)
    assert all("second" in line for line in lines[ends[0] + 1 : ends[1]] if "counts" not in line)
    assert all(line.startswith("{") for line in lines[ends[1] + 1 :])


def test_attach_keeps_none_but_the_last_of_many_engines() -> None:
    pipe = Pipe()
    kept: weakref.WeakSet[Engine] = weakref.WeakSet()
    with pipe.as_stdout(), attach(ui="plain"):
        for _ in range(5):
            engine = Engine(Job(work, label="load"))
            kept.add(engine)
            assert engine.orchestrate()
        del engine
        gc.collect()
        assert len(kept) <= 1
    pipe.close()


def test_a_face_that_cannot_begin_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert EngineCurses(Job(work), ui="plain").orchestrate()
    assert EngineCurses(Job(work), ui="json").orchestrate()
    assert caplog.text == ""


def test_an_exception_of_the_run_comes_out() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    pipe = Pipe()
    with pipe.as_stdout(), pytest.raises(SystemExit):
        EngineCurses(Job(leave, label="leaver"), ui="plain").orchestrate()
    assert "leaver" in pipe.close()


# -- slow readers, and none -----------------------------------------------------------------------


@pytest.mark.parametrize("ui", ["plain", "json"])
def test_a_reader_that_never_reads_does_not_hold_the_run(ui: Ui) -> None:
    async def chatty() -> None:
        for number in range(20_000):
            output(f"line {number} " + 50 * "x")
            report(f"step {number}")
            if number % 100 == 0:
                await asyncio.sleep(0)

    jobs = [Job(chatty), *(Job(work, number) for number in range(2000))]
    pipe = Pipe(read=False)
    loop_time = asyncio.new_event_loop()
    before = loop_time.time()
    with pipe.as_stdout():
        assert EngineCurses(*jobs, ui=ui).orchestrate()
    assert loop_time.time() - before < 60
    loop_time.close()
    # What could not be written is still waiting: a reader that comes late gets every state.
    reader = os.fdopen(os.dup(pipe.reader), encoding="utf-8")
    pipe.stream.close()
    text = reader.read()
    reader.close()
    os.close(pipe.reader)
    assert text.count("finished") >= 2001


@pytest.mark.parametrize("ui", ["plain", "json"])
def test_a_reader_that_goes_away_silences_the_monitor_not_the_run(ui: Ui) -> None:
    pipe = Pipe(read=False)
    gone = threading.Event()

    async def close_and_go_on() -> int:
        wait_until(lambda: len(os.read(pipe.reader, 100)), 30, "the first line")
        pipe.go_away()
        gone.set()
        for number in range(100):
            report(f"step {number}")
            print("printed for nobody")
            await asyncio.sleep(0)
        return 7

    with pipe.as_stdout():
        engine = EngineCurses(Job(asyncio.sleep, 0.3), Job(close_and_go_on), ui=ui)
        assert engine.orchestrate()
        assert gone.is_set()
        assert engine.jobs[1].result() == 7
    pipe.close()


def test_prints_come_between_the_lines_that_explain_them() -> None:
    async def hello(name: str) -> None:
        print("hello from", name)

    first = Job(hello, "one", label="one")
    then = CallJob(print, "hello from two", required=first, label="two")
    last = Job(hello, "three", required=then, label="three")
    lines = told(first, then, last, ui="plain").splitlines()
    words = [" ".join(re.sub(r"^\+\d+s|\(\d+\.\ds\)", "", line).split()[:3]) for line in lines]
    assert [word for word in words if word.startswith(("hello", "one", "two", "three"))] == [
        "one running",
        "hello from one",
        "one finished",
        "two running",
        "hello from two",
        "two finished",
        "three running",
        "hello from three",
        "three finished",
    ]


def test_prints_keep_their_place() -> None:
    async def printing() -> None:
        await asyncio.sleep(0.3)
        print("printed")
        await asyncio.sleep(0.3)

    pipe = Pipe()
    with pipe.as_stdout():
        sys.stdout.write("before\n")
        EngineCurses(Job(printing, label="printing"), ui="plain").orchestrate()
        sys.stdout.write("after\n")
    lines = pipe.close().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    place = lines.index("printed")
    assert "running" in lines[place - 1]
    assert "finished" in lines[place + 1]
