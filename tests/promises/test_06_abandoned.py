"""Promise 6: a job that swallows its cancellation is named and abandoned, within its grace.

Seen to fail against engines that waited for ever, or forgot in their verdict who was abandoned.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from engine import AbstractJob, CallJob, Engine, EngineFailed, Job, JobAbandoned, State, run
from engine.testing import run_virtual, virtual_clock

MARGIN = 0.1


class Stubborn(AbstractJob):
    """Goes on for an hour, whatever it is told."""

    shut = 0

    async def corun(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 3600
        while (left := end - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    async def coshutdown(self) -> None:
        self.shut += 1


async def fail_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ValueError("on purpose")


WAYS: dict[str, Callable[[AbstractJob, float], Engine]] = {
    "end of the run": lambda job, grace: Engine(job, Job(asyncio.sleep, 1), cancel_grace=grace),
    "critical failure": lambda job, grace: Engine(job, Job(fail_after, 1), cancel_grace=grace),
    "timeout": lambda job, grace: Engine(job, Job(asyncio.sleep, 9), timeout=1, cancel_grace=grace),
    "nested timeout": lambda job, grace: Engine(
        Engine(job, Job(asyncio.sleep, 9), timeout=1, cancel_grace=grace), cancel_grace=grace
    ),
}


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("grace", [0.5, 5.0])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_given_up_after_its_grace(
    way: str,
    grace: float,
    critical: bool,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = Stubborn(label="mule", critical=critical, forever=way == "end of the run")
    engine = WAYS[way](job, grace)
    with caplog.at_level(logging.WARNING, "engine"), virtual_clock() as clock:
        assert not engine.orchestrate()
    assert 1 + grace <= clock.time() <= 1 + grace + MARGIN
    assert job.state is State.CANCELLED
    assert job.shut == 1
    assert any("mule" in record.getMessage() for record in caplog.records)
    engine.debrief()
    assert "mule" in capsys.readouterr().out


@pytest.mark.parametrize("critical", [True, False])
def test_cancelled_by_hand_it_lets_the_others_go_on(critical: bool) -> None:
    job, other = Stubborn(label="mule", critical=critical), Job(asyncio.sleep, 20, "went on")
    engine = Engine(job, other, cancel_grace=2)

    with virtual_clock() as clock:
        clock.call_later(1, job.cancel)
        assert not engine.orchestrate()
    assert clock.time() == pytest.approx(20, abs=MARGIN)
    assert other.result() == "went on"
    assert job.state is State.CANCELLED


def test_corun_tells_it_apart_from_a_job_that_was_cancelled() -> None:
    job = Stubborn(label="mule")
    engine = Engine(job, timeout=1, cancel_grace=1)
    with pytest.raises(EngineFailed) as got:
        run_virtual(engine.corun())
    abandoned, rest = got.value.split(JobAbandoned)
    assert abandoned is not None
    assert "mule" in str(abandoned.exceptions[0])
    assert rest is not None
    assert [type(error) for error in rest.exceptions] == [TimeoutError]


def test_on_the_real_clock(at_most: Callable[[float], float]) -> None:
    """Once with real time, as a deadline that only a virtual clock meets is worth nothing."""
    released = asyncio.Event()

    async def mule() -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    engine = Engine(Job(mule, label="mule"), timeout=0.1, cancel_grace=0.2)
    began = time.monotonic()
    assert not engine.orchestrate()
    took = time.monotonic() - began
    assert 0.3 <= took <= at_most(0.3 + MARGIN)
    released.set()
    run(asyncio.sleep(0))  # it ends by itself, so that nothing is left


def test_a_thread_that_cannot_be_stopped_is_said_to_run_still(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    end = threading.Event()
    engine = Engine(CallJob(end.wait, label="thread"), timeout=0.1, cancel_grace=0.1)
    try:
        with caplog.at_level(logging.WARNING, "engine"):
            assert not engine.orchestrate()
        engine.debrief()
        assert "may still run" in capsys.readouterr().out + caplog.text
    finally:
        end.set()
