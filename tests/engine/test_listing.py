"""Jobs and engines in words: the forms of the contract, letter by letter."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from contextlib import suppress
from typing import Any

import pytest

from engine import AbstractJob, Engine, Job, listing, run


async def give(value: Any) -> Any:
    return value


async def boom() -> None:
    raise ValueError("boom")


async def endless() -> None:
    await asyncio.Event().wait()


class SshJob(AbstractJob):
    """A job of another class."""

    async def corun(self) -> int:
        return 7


# --- one job


def test_a_job_that_did_not_run() -> None:
    b1, b3 = Job(give, 1, label="b1"), Job(give, 2, label="b3")
    d1 = Job(give, 3, label="d1", required=[b1, b3])
    assert repr(d1) == str(d1) == "<Job `d1' idle - [requires [b1, b3]]>"
    engine = Engine(b1, b3, d1)
    assert d1 in engine
    assert repr(b1) == "<Job `b1' idle - [allows [d1]]>"


def test_the_forms_of_the_contract() -> None:
    seen = []

    async def look() -> None:
        seen.append(repr(f1))

    b1, b2, b3 = Job(give, 1000, label="b1"), Job(give, 2000), Job(give, 1500.0, label="b3")
    c2 = Job(boom, label="c2", critical=False)
    e1 = Job(give, 1, label="e1", required=c2, critical=False)
    f1 = Job(look, label="f1", required=b1, after=e1)
    g1 = Job(give, None, label="g1", required=f1)
    monitor = Job(endless, label="monitor", forever=True)
    engine = Engine(b1, b2, b3.requires(b1), c2, e1, f1, g1, monitor, SshJob(label="x"))
    assert engine.orchestrate()
    assert [repr(job) for job in engine] == [
        "<Job `b1' finished -> 1000 - [allows [b3, f1]]>",
        "<Job `NOLABEL' finished -> 2000>",
        "<Job `b3' finished -> 1500.0 - [requires [b1]]>",
        "<Job `c2' failed !! ValueError: boom - [allows [e1]]>",
        "<Job `e1' skipped: c2 failed - [requires [c2]] - [allows [f1]]>",
        "<Job `f1' finished -> None - [requires [b1]] - [after [e1]] - [allows [g1]]>",
        "<Job `g1' finished -> None - [requires [f1]]>",
        "<Job `monitor'[∞] cancelled>",
        "<SshJob `x' finished -> 7>",
    ]
    assert seen == ["<Job `f1' running - [requires [b1]] - [after [e1]] - [allows [g1]]>"]


def test_an_engine_is_described_as_the_job_that_it_is() -> None:
    inner = Engine(Job(give, 1), label="inner")
    engine = Engine(inner)
    assert repr(engine) == "<Engine `NOLABEL' idle>"
    assert engine.orchestrate()
    assert repr(inner) == "<Engine `inner' finished -> True>"
    assert repr(engine) == "<Engine `NOLABEL' finished -> True>"


@pytest.mark.parametrize(
    ("label", "result", "line"),
    [
        ("a\x1b[2J\nb", "x\ny", r"<Job `a b' finished -> 'x\ny'>"),
        ("\u202eevil\u200b", "\x1b[31m", r"<Job `evil' finished -> '\x1b[31m'>"),
        ("", b"\x00", r"<Job `' finished -> b'\x00'>"),
        ("x" * 90, "y" * 300, f"<Job `{'x' * 77}...' finished -> '{'y' * 196}...>"),
    ],
)
def test_what_comes_from_outside_is_one_safe_line(label: str, result: object, line: str) -> None:
    job = Job(give, result, label=label)
    assert Engine(job).orchestrate()
    assert repr(job) == line


def test_no_broken_hook_breaks_a_line() -> None:
    class Broken(AbstractJob):
        async def corun(self) -> Any:
            return self

        def text_label(self) -> str:
            raise RuntimeError

        def details(self) -> str:
            raise RuntimeError("no details")

    class Result:
        def __repr__(self) -> str:
            raise RuntimeError

    broken, job = Broken(label="b"), Job(give, Result(), label="r")
    engine = Engine(broken, job)
    assert engine.orchestrate()
    text = listing.listing(engine, details=True)
    assert "<Broken `b' finished -> <Broken `b' running>>" not in text
    assert "<Job `r' finished -> <Result: its __repr__ raised RuntimeError>>" in text
    assert "(its details() raised RuntimeError: no details)" in text


def test_of_many_neighbours_the_first_are_named() -> None:
    jobs = [Job(give, 1, label=str(number)) for number in range(1000)]
    last = Job(give, 1, label="last", required=jobs)
    names = ", ".join(str(number) for number in range(20))
    assert repr(last) == f"<Job `last' idle - [requires [{names} and 980 more]]>"


# --- all jobs


def test_a_list_is_in_topological_then_insertion_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    d, c, b, a = (Job(give, 1, label=label) for label in "dcba")
    engine = Engine(d.requires(b), c.after(a), b, a)
    engine.list()
    assert capsys.readouterr().out.splitlines() == [
        "<Job `b' idle - [allows [d]]>",
        "<Job `d' idle - [requires [b]]>",
        "<Job `a' idle - [allows [c]]>",
        "<Job `c' idle - [after [a]]>",
    ]


def test_jobs_that_wait_for_each_other_are_listed_all_the_same() -> None:
    a, b = Job(give, 1, label="a"), Job(give, 1, label="b")
    engine = Engine(b.requires(a), a.requires(b))
    assert listing.listing(engine).splitlines() == [
        "<Job `b' idle - [requires [a]] - [allows [a]]>",
        "<Job `a' idle - [requires [b]] - [allows [b]]>",
    ]


def test_a_list_with_details_and_nested_engines() -> None:
    class Command(Job):
        def details(self) -> str:
            return "echo one\n\x1b[31mecho two"

    async def once_more() -> None:
        tried.append(1)
        if len(tried) < 2:
            await boom()

    tried: list[int] = []
    command = Command(give, 1, label="command")
    inner = Engine(Job(once_more, label="again", retry=1), label="inner", required=command)
    engine = Engine(command, inner)
    assert engine.orchestrate()
    text = listing.listing(engine, details=True)
    assert re.sub(r"\d+\.\d\ds", "TIME", text).splitlines() == [
        "<Command `command' finished -> 1 - [allows [inner]]>",
        "    echo one",
        "    echo two",
        "    took TIME",
        "<Engine `inner' finished -> True - [requires [command]]>",
        "    1 job",
        "    took TIME",
        "  <Job `again' finished -> None>",
        "      test_a_list_with_details_and_nested_engines.<locals>.once_more",
        "      took TIME, 2 attempts",
    ]


def test_stats_count_every_state_at_every_depth() -> None:
    bad = Job(boom, critical=False)
    inner = Engine(Job(give, 1), Job(give, 2))
    engine = Engine(bad, Job(give, 3, required=bad, critical=False), inner)
    engine.add(Job(endless, forever=True))
    assert engine.stats() == "4 jobs: 4 idle; 1 forever job: 1 idle; 1 engine: 1 idle"
    assert engine.orchestrate()
    assert engine.stats() == (
        "4 jobs: 2 finished, 1 failed, 1 skipped; 1 forever job: 1 cancelled; 1 engine: 1 finished"
    )
    assert engine.why().startswith("2 jobs finished")
    assert Engine().stats() == "no jobs"
    assert Engine(Job(give, 1)).stats() == "1 job: 1 idle"


# --- the report


def report(engine: Engine, *, details: bool = False) -> list[str]:
    """Return the lines of the report, with neither times nor line numbers."""
    text = listing.debrief(engine, details=details)
    text = re.sub(r" +\d+\.\d\ds ", "    TIME ", text)
    return re.sub(r"(\.py:)\d+", r"\1N", re.sub(r"\d+\.\ds", "TIME", text)).splitlines()


def test_the_report_of_a_good_run() -> None:
    engine = Engine(*(Job(asyncio.sleep, 0.01 * n, label=f"j{n}") for n in range(7)))
    assert report(engine) == ["it has not run yet", "  7 jobs: 7 idle"]
    assert engine.orchestrate()
    assert report(engine) == [
        "OK - 7 jobs finished in TIME",
        "  7 jobs: 7 finished",
        "  slowest:",
        *(f"    TIME j{n}" for n in (6, 5, 4, 3, 2)),
    ]


def test_the_report_of_a_run_in_which_all_went_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    released = asyncio.Event()

    async def swallow() -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    async def no_shutdown() -> None:
        raise OSError("no link")

    a = Job(asyncio.sleep, 0.05, label="a", coshutdown=no_shutdown)
    b = Job(boom, label="b", required=a, retry=1)
    c, d = Job(give, 1, label="c", required=b), Job(give, 1, label="d", required=b)
    e = Job(boom, label="e", critical=False)
    bus = Job(endless, label="bus", forever=True)
    stubborn = Job(swallow, label="stubborn")
    waiting = Job(endless, label="waiting")
    late = Job(boom, label="i2")
    inner = Engine(Job(endless, label="i1"), late, label="inner", critical=False)
    engine = Engine(a, b, c, d, e, bus, stubborn, waiting, inner, cancel_grace=0.02)
    assert not engine.orchestrate()
    assert engine.stats() == (
        "9 jobs: 1 finished, 3 failed, 3 cancelled, 2 skipped; "
        "1 forever job: 1 cancelled; 1 engine: 1 failed"
    )
    lines = report(engine)
    first = lines.index("  slowest:")
    assert lines[:first] == [
        "FAILED - b failed: ValueError: boom; abandoned, may still run: stubborn",
        f"  {engine.stats()}",
        "  failed:",
        "    b !! ValueError: boom [test_listing.py:N, in boom] (2 attempts)",
        "    e !! ValueError: boom [test_listing.py:N, in boom] (not critical)",
        "    inner !! EngineFailed: i2 failed: ValueError: boom (not critical)",
        "  abandoned:",
        "    stubborn: abandoned, it may still run: it swallowed its cancellation (b failed)",
        "  cancelled:",
        "    waiting: b failed",
        "  skipped:",
        "    c, d: b failed",
        "  failed in shutdown:",
        "    a !! OSError: no link [test_listing.py:N, in no_shutdown]",
        "  in inner:",
        "    failed:",
        "      i2 !! ValueError: boom [test_listing.py:N, in boom]",
        "    cancelled:",
        "      i1: i2 failed",
    ]
    slowest = [line.split()[-1] for line in lines[first + 1 :]]
    assert set(slowest[:3]) == {"a", "stubborn", "waiting"}
    assert len(slowest) == 5
    engine.debrief()
    assert capsys.readouterr().out == listing.debrief(engine) + "\n"

    released.set()
    run(asyncio.sleep(0.01))


def test_the_report_with_details_has_the_tracebacks() -> None:
    engine = Engine(Job(boom, label="b"))
    assert not engine.orchestrate()
    lines = report(engine, details=True)
    start = lines.index("      Traceback (most recent call last):")
    assert lines[start - 1] == "    b !! ValueError: boom [test_listing.py:N, in boom]"
    assert '        raise ValueError("boom")' in (line[2:] for line in lines)
    assert "      ValueError: boom" in lines


def test_the_report_tells_each_thing_once_and_where_it_belongs() -> None:
    async def no_shutdown() -> None:
        raise OSError("no link")

    inner = Engine(Job(give, 1, label="i", coshutdown=no_shutdown), label="inner")
    bad = Job(boom, label="bad", critical=False)
    never = Engine(Job(give, 1, label="n"), label="never", required=bad, critical=False)
    engine = Engine(inner, bad, never)
    assert not engine.orchestrate()
    assert report(engine)[2:-3] == [
        "  failed:",
        "    bad !! ValueError: boom [test_listing.py:N, in boom] (not critical)",
        "  skipped:",
        "    never: bad failed",
        "  in inner:",
        "    failed in shutdown:",
        "      i !! OSError: no link [test_listing.py:N, in no_shutdown]",
    ]


def test_an_output_without_the_characters_gets_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(Job(give, 1, label="caf\u00e9"), Job(give, 1, forever=True, label="bus"))
    assert engine.orchestrate()
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding="ascii", write_through=True) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        engine.list()
        engine.debrief()
        monkeypatch.undo()
        assert b"<Job `caf\\xe9' finished -> 1>" in written.getvalue()
        assert b"<Job `bus'[\\u221e]" in written.getvalue()
