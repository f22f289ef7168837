"""The writer: whoever writes never waits, nothing is lost while somebody reads, and it ends."""

from __future__ import annotations

import io
import os
import pty
import sys
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.writer import Descriptor, Stream, Writer, target_of
from tests.processes import wait_until

FULL = 1 << 20
"""More characters than any pipe or terminal takes without a reader."""


@contextmanager
def a_pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)


def read_all(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as file:
        return file.read()


def test_all_is_written_in_order() -> None:
    with a_pipe() as (reader, fd):
        writer = Writer(Descriptor(fd, "utf-8"))
        for number in range(1000):
            writer.write(f"{number} ✓\n")
        assert writer.close()
        assert read_all(reader).decode() == "".join(f"{number} ✓\n" for number in range(1000))


def test_what_the_encoding_lacks_is_a_question_mark() -> None:
    with a_pipe() as (reader, fd):
        writer = Writer(Descriptor(fd, "ascii"))
        writer.write("✓ done")
        assert writer.close()
        assert read_all(reader) == b"? done"


def test_nobody_reads() -> None:
    with a_pipe() as (reader, fd):
        writer = Writer(Descriptor(fd, "utf-8"))
        started = time.monotonic()
        writer.write("x" * FULL)
        writer.write("the last")
        assert not writer.idle
        assert not writer.wait(0.01)
        assert not writer.close(timeout=0.05)
        assert time.monotonic() - started < 10
        # The reader comes back while the program runs: nothing was lost.
        assert read_all(reader).endswith(b"xthe last")


def test_nobody_reads_a_descriptor_that_does_not_block() -> None:
    with a_pipe() as (reader, fd):
        os.set_blocking(fd, False)
        writer = Writer(Descriptor(fd, "utf-8"))
        writer.write("x" * FULL)
        assert not writer.wait(0.05)
        writer.discard()
        writer.write("dropped")
        assert writer.close(), "it is told to write nothing more"
        assert len(read_all(reader)) < FULL


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_the_reader_goes_away(when: str) -> None:
    with a_pipe() as (reader, fd):
        writer = Writer(Descriptor(fd, "utf-8"))
        if when == "before":
            os.close(reader)
            writer.write("x")
        else:
            writer.write("x" * FULL)
            os.close(reader)
        wait_until(lambda: writer.broken, 30, "the writer to see it")
        writer.write("y" * FULL)
        assert writer.idle
        assert writer.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), reader)  # for the end of the context
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_terminal_that_is_stopped() -> None:
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        writer = Writer(Descriptor(os.dup(slave), "utf-8"))
        writer.write("x" * FULL)
        assert not writer.wait(0.05)
        got = 0
        while got < FULL:
            got += len(os.read(master, 65536))
        assert writer.close()
    finally:
        os.close(master)
        os.close(slave)


def test_a_stream_without_a_descriptor() -> None:
    page = io.StringIO()
    assert isinstance(target_of(page), Stream)
    writer = Writer(target_of(page))
    writer.write("a line\n")
    assert writer.close()
    assert page.getvalue() == "a line\n"


def test_a_stream_whose_descriptor_leads_elsewhere(tmp_path: Path) -> None:
    """As the stdout of a notebook's cell, whose descriptor is that of the server's log."""

    class Cell(io.StringIO):
        def fileno(self) -> int:
            return elsewhere.fileno()

    with (tmp_path / "elsewhere").open("w") as elsewhere:
        cell = Cell()
        writer = Writer(target_of(cell))
        writer.write("a line\n")
        assert writer.close()
    assert cell.getvalue() == "a line\n"
    assert (tmp_path / "elsewhere").read_text() == ""


def test_an_unbuffered_stdout() -> None:
    with a_pipe() as (reader, fd):
        stream = io.TextIOWrapper(os.fdopen(fd, "wb", buffering=0), "utf-8", write_through=True)
        target = target_of(stream)
        assert isinstance(target, Descriptor)
        target.write(b"a line\n")
        target.close()
        stream.close()
        assert read_all(reader) == b"a line\n"


def test_a_stream_that_its_owner_closes() -> None:
    page = io.StringIO()
    writer = Writer(Stream(page))
    page.close()
    writer.write("a line\n")
    assert writer.close()
    assert writer.broken


def test_what_a_stream_has_buffered_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("first\n")
        writer = Writer(target_of(stream))
        writer.write("second\n")
        assert writer.close()
    assert path.read_text(encoding="utf-8") == "first\nsecond\n"


def test_an_idle_writer_costs_nothing() -> None:
    with a_pipe() as (_, fd):
        writer = Writer(Descriptor(fd, "utf-8"))
        before = time.process_time()
        threading.Event().wait(0.2)
        assert time.process_time() - before < 0.05
        assert writer.close()


def test_stdout_of_a_test_is_a_target() -> None:
    target = target_of(sys.stdout)
    target.write(b"")
    target.close()
