"""Any order: run a graph again and again, with its jobs held back at random."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random

from engine import AbstractJob, Engine, EngineFailed, Job, ready
from engine.errors import name_of, names_of

from .clock import run_virtual
from .trying import faults_found, new_engine

_PART_HELD_BACK = 0.7


class OrderFailed(AssertionError):
    """With some order of its jobs a graph did not do what it must; the message says with which.

    Attributes:
        seed: what makes the same order again: ``any_order(..., seeds=[seed])``.
        order: the jobs in the order in which they started.
        problems: what was wrong.
    """

    def __init__(self, seed: int, order: Iterable[AbstractJob], problems: list[str]) -> None:
        self.seed = seed
        self.order = tuple(order)
        self.problems = tuple(problems)
        head = f"with seed {seed}, jobs started in this order: {names_of(self.order, most=20)}"
        super().__init__("\n  ".join([head, *problems]))


def any_order(
    make_engine: Callable[[], Engine],
    *,
    check: Callable[[Engine], object] | None = None,
    seeds: Iterable[int] = range(50),
    delay: float = 3600.0,
) -> None:
    """Run a graph again and again on a virtual clock, with its jobs in other orders each time.

    What a job requires, it still waits for; but then it may be held back.  So an order that happens
    to be right, because one job is always quicker than another, is told from one that is required.

    Args:
        make_engine: makes the engine anew, with all its jobs; called outside of any loop.
        check: raises AssertionError if something is wrong with the engine after a run.  Without it
            the run must succeed.
        seeds: one run for each; the same seed holds back the same jobs for as long.
        delay: a job, at every depth, is held back for 1 to that many seconds, more often for few.
            What bounds a run as a whole, its `timeout`, does not know of that.

    Raises:
        OrderFailed: a run did not do what it must.
        Deadlock: a run did not end at all.
        EngineError: the graph cannot be run, see `Engine.corun`.
        TypeError: `make_engine` does not make an engine, or not a new one each time.

    >>> from engine import Engine, Job
    >>> import asyncio
    >>> built = []
    >>> async def build(): built.append("server")
    >>> async def check_it(): built.pop()
    >>> def graph():
    ...     return Engine(Job(build, label="build"), Job(check_it, label="check"))
    >>> graph().orchestrate()            # goes well, as jobs start in the order of insertion
    True
    >>> any_order(graph)
    Traceback (most recent call last):
        ...
    engine.testing.ordering.OrderFailed: with seed 1, jobs started in this order: check
      check failed: IndexError: pop from empty list
    """
    __tracebackhide__ = True
    engine: Engine | None = None
    for seed in seeds:
        engine = new_engine(make_engine, engine, "any_order")
        jobs = list(engine.iterate_jobs())
        _hold_back(engine, Random(seed), delay)
        try:
            run_virtual(_run(engine))
        except Exception as error:
            error.add_note(f"with seed {seed} of any_order()")
            raise
        problems = faults_found(engine, check or _check_verdict, f"with seed {seed}")
        if problems:
            started = [job for job in jobs if job.started_at is not None]
            raise OrderFailed(seed, sorted(started, key=lambda job: job.started_at or 0), problems)


def _check_verdict(engine: Engine) -> None:
    if engine.exit_status != 0:
        raise AssertionError(engine.why())


async def _run(engine: Engine) -> None:
    with suppress(EngineFailed):  # it is for the check to say whether that is right
        await engine.corun()


def _hold_back(engine: Engine, rng: Random, delay: float) -> None:
    """Have some of the jobs wait for one more thing that takes its time."""
    for job in engine.jobs:
        if isinstance(job, Engine):
            _hold_back(job, rng, delay)
        if rng.random() < _PART_HELD_BACK:
            # Forever jobs take no slot of a window, and what is not critical has no say.
            wait = Job(
                _wait,
                delay ** rng.random(),
                label=f"hold back {name_of(job)}",
                forever=True,
                notify=True,
                critical=False,
            )
            wait.requires(*job.required).after(*job.awaited)
            engine.add(wait)
            job.requires(wait)


async def _wait(seconds: float) -> None:
    await asyncio.sleep(seconds)
    ready()
