"""The fixtures for pytest: small test files of a user are run, and their reports read."""

from __future__ import annotations

import pytest

CONFTEST = 'pytest_plugins = ["engine.testing.pytest_plugin"]'

GRAPH = """
import asyncio
from engine import CallJob, Engine, Job, run

async def boot(seconds):
    await asyncio.sleep(seconds)

def scenario(seconds):
    node = Job(boot, seconds, label="boot fit01", timeout=600)
    return Engine(node, Job(boot, 60, label="load fit01", required=node))
"""


def report_of(pytester: pytest.Pytester, test: str) -> tuple[dict[str, int], str]:
    """Run a test file in a pytest of its own; return the counts of outcomes, and all it says."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_scenario=GRAPH + test)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    return done.parseoutcomes(), done.stdout.str()


def test_good_tests_pass_with_all_fixtures(pytester: pytest.Pytester) -> None:
    outcomes, said = report_of(
        pytester,
        """
def test_time(virtual_clock):
    assert scenario(300).orchestrate()
    assert virtual_clock.time() == 360
    run(boot(40))
    assert virtual_clock.time() == 400

def test_the_clock_is_that_of_one_test(virtual_clock):
    assert virtual_clock.time() == 0

def test_order(virtual_clock, sequencer):
    seen = []
    async def step(position):
        async with sequencer(position):
            seen.append(position)
    assert Engine(Job(step, 1), Job(step, 0)).orchestrate()
    assert seen == [0, 1]

def test_cancel(cancel_everywhere):
    assert cancel_everywhere(lambda: scenario(300)) > 5

def test_any_order(any_order):
    any_order(lambda: scenario(300))

def test_leaks(no_leaks):
    assert Engine(Job(asyncio.to_thread, len, "abc"), CallJob(len, "abc")).orchestrate()
""",
    )
    assert outcomes == {"passed": 6}, said


def test_what_fails_names_the_jobs(pytester: pytest.Pytester) -> None:
    outcomes, said = report_of(
        pytester,
        """
import threading
over = threading.Event()

async def never():
    await asyncio.Event().wait()

async def careless():
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        asyncio.create_task(asyncio.sleep(100), name="forgotten")
        raise

def leave_a_thread(name):
    threading.Thread(target=over.wait, name=name, daemon=True).start()

def test_time(virtual_clock):
    engine = scenario(10_000)
    assert engine.orchestrate()

def test_deadlock(virtual_clock):
    engine = scenario(300)
    engine.add(Job(never, label="never")) >> Job(boot, 1, label="then", engine=engine)
    engine.orchestrate()

def test_cancel(cancel_everywhere):
    cancel_everywhere(lambda: Engine(Job(boot, 1), Job(careless, label="careless")))

def test_thread(no_leaks):
    leave_a_thread("left over")

def test_thread_and_failure(no_leaks):
    leave_a_thread("not told of")
    assert False

def test_coroutine(no_leaks):
    boot(1)

def test_no_run():
    assert 1 + 1 == 3
""",
    )
    assert outcomes == {"passed": 2, "failed": 5, "errors": 2}, said
    for line in (
        "FAILED - boot fit01 failed: TimeoutError: it took more than its 600s",
        "load fit01: boot fit01 failed",
        "job never: running, at test_scenario.py:15 in never (in Event.wait)",
        "job then: idle, waits for never (running)",
        "cancelled at turn 1 of the loop:",
        "task left: forgotten: in sleep",
        "job careless: running",
        "this was left behind:",
        "thread <Thread(left over",
        "coroutine 'boot' was never awaited",
    ):
        assert line in said
    assert said.count("- jobs of the last run -") == 3
    assert "not told of, started" not in said
