"""Prints of jobs: told to the run, safe; kept raw, and replayed once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from engine import Engine, Job, JobOutput, Tick
from monitor.spool import SPOOL, Spool
from monitor.takeover import Takeover


class Streams:
    """A stdout and a stderr that share one record, so that their order can be seen."""

    def __init__(self) -> None:
        self.record: list[tuple[str, bytes]] = []
        self.out = self._stream("out")
        self.err = self._stream("err")

    def _stream(self, name: str) -> io.TextIOWrapper:
        record = self.record

        class Raw(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: object) -> int:
                told = bytes(data)  # type: ignore[call-overload]
                record.append((name, told))
                return len(told)

        return io.TextIOWrapper(io.BufferedWriter(Raw()), encoding="utf-8", errors="strict")

    @property
    def text(self) -> str:
        return b"".join(data for _, data in self.record).decode()

    def __enter__(self) -> Self:
        # Not a fixture: pytest puts its own streams in place when the test itself begins.
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.out, self.err
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout, sys.stderr = self._before


@pytest.fixture
def streams() -> Streams:
    return Streams()


@contextlib.contextmanager
def held(streams: Streams) -> Iterator[Takeover]:
    takeover = Takeover()
    with streams:
        takeover.start()
        takeover.hold()
        try:
            yield takeover
        finally:
            takeover.stop()


def outputs(*jobs: Job) -> list[tuple[str, str, str]]:
    """Run jobs and return what was told: job, stream, text."""
    told: list[JobOutput] = []

    class Told:
        def put_nowait(self, event: Tick) -> None:
            if isinstance(event, JobOutput):
                told.append(event)

    assert Engine(*jobs, message_queue=Told()).orchestrate()
    return [(event.job, event.stream, event.text) for event in told]


def test_kept_and_replayed_in_order(streams: Streams) -> None:
    with held(streams):
        print("one")
        print("two", file=sys.stderr)
        sys.stdout.write("thr")
        sys.stdout.write("ee\n")
        assert streams.record == []
    assert streams.record == [("out", b"one\n"), ("err", b"two\n"), ("out", b"three\n")]


def test_the_streams_are_given_back(streams: Streams) -> None:
    with streams:
        takeover = Takeover()
        takeover.start()
        assert sys.stdout is not streams.out
        takeover.stop()
        assert (sys.stdout, sys.stderr) == (streams.out, streams.err)


def test_what_is_printed_after_a_release_passes_and_nothing_comes_twice(streams: Streams) -> None:
    with held(streams) as takeover:
        print("a")
        takeover.release()
        print("b")
        assert streams.text == "a\nb\n"
        takeover.hold()
        print("c")
        assert streams.text == "a\nb\n"
    assert streams.text == "a\nb\nc\n"


def test_what_is_printed_during_the_replay_comes_after_it(streams: Streams) -> None:
    with held(streams) as takeover:
        print("first")

        def write(name: str, data: bytes) -> None:
            assert name == "stdout"
            if data == b"first\n":
                print("second")
            streams.record.append(("out", data))

        takeover.release(write)
    assert streams.text == "first\nsecond\n"


def test_the_raw_bytes_are_kept(streams: Streams) -> None:
    raw = "\x1b[31mred\x1b[m \u202e é".encode()
    with held(streams):
        sys.stdout.write(raw.decode())
        sys.stdout.buffer.write(b"\xff\x00")
    assert streams.record == [("out", raw + b"\xff\x00")]


def test_a_long_text_goes_to_a_file_and_comes_back(streams: Streams) -> None:
    line = "x" * 99
    with held(streams):
        for _ in range(3 * SPOOL // 100):
            print(line)
    assert streams.text == f"{line}\n" * (3 * SPOOL // 100)


def test_a_spool_is_in_memory_first() -> None:
    spool = Spool(size=10)
    spool.append("stdout", b"12345")
    spool.append("stderr", b"67890abc")
    spool.append("stderr", b"")
    assert list(spool.taken()) == [("stdout", b"12345"), ("stderr", b"67890abc")]


def test_prints_of_jobs_are_told(streams: Streams) -> None:
    async def task() -> None:
        print("a", 1)
        await asyncio.to_thread(print, "from a thread", file=sys.stderr)
        print("\x1b]0;evil\x07title \u202eback")
        print("no break", end="")
        await asyncio.sleep(0)
        print(" yet")

    with held(streams):
        print("before")
        told = outputs(Job(task))
    assert told == [
        ("1", "stdout", "a 1"),
        ("1", "stderr", "from a thread"),
        ("1", "stdout", "title back"),
        ("1", "stdout", "no break yet"),
    ]
    assert streams.text.startswith("before\na 1\nfrom a thread\n\x1b]0;evil")


def test_lines_of_two_jobs_are_not_mixed(streams: Streams) -> None:
    async def task(name: str) -> None:
        for number in range(3):
            print(name, end="")
            await asyncio.sleep(0)
            print(number)

    with held(streams):
        told = outputs(Job(task, "a"), Job(task, "b"))
    assert [text for job, _, text in told if job == "1"] == ["a0", "a1", "a2"]
    assert [text for job, _, text in told if job == "2"] == ["b0", "b1", "b2"]
    assert streams.text.startswith("ab0\n")


def test_a_reader_that_prints_is_not_told_of_it(streams: Streams) -> None:
    lines = []

    class Printing:
        def put_nowait(self, event: Tick) -> None:
            if isinstance(event, JobOutput):
                lines.append(event.text)
                print("told:", event.text)

    async def task() -> None:
        print("once")

    with held(streams):
        assert Engine(Job(task), message_queue=Printing()).orchestrate()
    assert lines == ["once"]
    assert streams.text == "once\ntold: once\n"


def test_stdout_is_kept_free(streams: Streams) -> None:
    with held(streams) as takeover:
        takeover.put_aside()
        print("a")
        print("b", file=sys.stderr)
        assert streams.record == [("err", b"a\n"), ("err", b"b\n")]


def test_a_line_is_written_at_once_and_its_beginning_when_flushed(streams: Streams) -> None:
    with held(streams) as takeover:
        takeover.release()
        print("a", 1, "b")
        print("begun", end="")
        assert streams.record == [("out", b"a 1 b\n")]
        sys.stdout.flush()
        assert streams.record == [("out", b"a 1 b\n"), ("out", b"begun")]


def test_logging_is_redirected_and_given_back(streams: Streams) -> None:
    logger = logging.getLogger("tests.monitor.takeover")
    early = logging.StreamHandler(streams.err)
    logger.addHandler(early)
    try:
        with held(streams):
            late = logging.StreamHandler(sys.stderr)
            logger.addHandler(late)
            logger.warning("held")
            assert streams.record == []
        assert streams.text == "held\nheld\n"
        assert early.stream is streams.err
        assert late.stream is streams.err
    finally:
        logger.handlers.clear()


def test_what_somebody_put_in_our_place_stays(streams: Streams) -> None:
    page = io.StringIO()
    with streams:
        takeover = Takeover()
        takeover.start()
        sys.stdout = page
        takeover.stop()
        assert sys.stdout is page


def test_a_stream_that_is_kept_by_somebody_goes_on(streams: Streams) -> None:
    with held(streams):
        kept = sys.stdout
        print("a", file=kept)
    print("b", file=kept)
    assert streams.text == "a\nb\n"


def test_it_looks_like_the_stream_it_stands_for(streams: Streams) -> None:
    with held(streams):
        assert sys.stdout.encoding == "utf-8"
        assert not sys.stdout.isatty()
        with pytest.raises(UnicodeEncodeError):
            print("\udc80")
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
    assert streams.text == ""


def test_no_stderr_at_all(streams: Streams) -> None:
    streams.err = None  # type: ignore[assignment]
    with held(streams):
        assert sys.stderr is None
        print("a")
    assert streams.text == "a\n"


def test_streams_that_are_closed_meanwhile(streams: Streams) -> None:
    with held(streams):
        print("a")
        streams.out.close()
        sys.stdout.flush()


def test_many_threads(streams: Streams) -> None:
    def work(name: str) -> None:
        for _ in range(200):
            sys.stdout.write(f"{name}\n")

    with held(streams) as takeover:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        takeover.release()
        for thread in threads:
            thread.join()
    assert sorted(streams.text.split()) == sorted("abcd" * 200)


def test_a_forked_child_keeps_nothing() -> None:
    script = """if True:
        import os, sys
        from monitor.takeover import Takeover
        takeover = Takeover()
        takeover.start()
        takeover.hold()
        print("parent")
        child = os.fork()
        if child == 0:
            print("child")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        takeover.stop()
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "child\nparent\n"
