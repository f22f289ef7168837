"""Chaos: jobs that do whatever they may, in random engines, and the run still keeps its word.

They cancel each other and themselves, the engines and the run; they add jobs and engines, relate
and unrelate; they kill tasks, raise, swallow, clean up, and go on in shutdown.  A reader calls back
into the engine in the middle of it.  Nothing of it may hang the run, crash it, or make its story
illegal, and each job that was started is shut down once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from tenacity import AsyncRetrying, stop_after_attempt, wait_fixed

from engine import (
    AbstractJob,
    Engine,
    EngineError,
    Pool,
    RunEnded,
    State,
    Stuck,
    Tick,
    ready,
    report,
)
from engine.testing import Story, run_virtual

BOUND = 1000.0
"""Far more than any of these runs may take."""


class Stage:
    """A random engine and what may happen in it; all is decided by the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.pool = Pool(self.rng.randint(1, 2))
        self.jobs: list[AbstractJob] = []
        self.engines: list[Engine] = []
        self.started: Counter[AbstractJob] = Counter()
        self.shut: Counter[AbstractJob] = Counter()
        self.story = Story()
        self.errors: list[dict[str, Any]] = []
        self.meddles = self.rng.random() < 0.3
        self.root = self.engine(0, timeout=self.maybe(0.4, 30), message_queue=self.story)
        self.outcome: object = None
        self.actions: list[Callable[[], object]] = [
            lambda: self.any_job().cancel("chaos"),
            lambda: self.rng.choice(self.engines).cancel("chaos"),
            self.add,
            self.relate,
            self.unrelate,
            self.kill,
            self.cancel_the_run,
            ready,
            lambda: report("chaos", percent=self.rng.uniform(-10, 200)),
            lambda: self.rng.choice(self.engines).remove(self.any_job()),
        ]

    # Who there is.

    def maybe(self, chance: float, what: Any) -> Any:
        return what if self.rng.random() < chance else None

    def options(self) -> dict[str, Any]:
        rng = self.rng
        again = AsyncRetrying(stop=stop_after_attempt(3), wait=wait_fixed(rng.choice([0, 1])))
        return {
            "critical": rng.random() < 0.3,
            "forever": rng.random() < 0.2,
            "notify": rng.random() < 0.3,
            "timeout": self.maybe(0.25, rng.choice([0, 1, 2.5])),
            "retry": self.maybe(0.25, rng.choice([0, 1, 2, again])),
        }

    def job(self, **options: Any) -> Actor:
        options = {**self.options(), **options}
        # A forever job would keep its slot, and an engine wait for its own: both are stuck.
        pool = None if options["forever"] else self.maybe(0.2, self.pool)
        job = Actor(self, label=f"job {len(self.jobs)}", pool=pool, **options)
        self.jobs.append(job)
        return job

    def engine(self, depth: int, **options: Any) -> Engine:
        rng = self.rng
        engine = Meddled(
            self,
            label=f"engine {len(self.engines)}",
            jobs_window=rng.choice([None, None, 1, 2]),
            keep_going=rng.random() < 0.5,
            cancel_grace=rng.choice([0, 1, 3]),
            shutdown_timeout=rng.choice([0, 2, 10]),
            **(options or self.options()),
        )
        self.engines.append(engine)
        for _ in range(rng.randint(1, 4)):
            nested = depth < 2 and rng.random() < 0.25
            engine.add(self.engine(depth + 1) if nested else self.job())
        if all(job.forever for job in engine):
            engine.add(self.job(forever=False))
        for place, job in enumerate(engine):
            for other in engine.jobs[:place]:
                if rng.random() < 0.25:
                    (job.requires if rng.random() < 0.6 else job.after)(other)
        return engine

    def any_job(self) -> AbstractJob:
        return self.rng.choice([*self.jobs, *self.engines])

    # What may happen.

    def act(self) -> None:
        with suppress(EngineError):
            self.rng.choice(self.actions)()

    def add(self) -> None:
        engine = self.rng.choice(self.engines)
        engine.add(self.engine(2) if self.rng.random() < 0.3 else self.job())

    def relate(self) -> None:
        job = self.any_job()
        if job.engine is not None:
            relate = job.requires if self.rng.random() < 0.5 else job.after
            relate(self.rng.choice(job.engine.jobs))

    def unrelate(self) -> None:
        job = self.any_job()
        job.requires(*job.required[:1], remove=True)

    def kill(self) -> None:
        for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
            if task.get_name().startswith("job") and self.rng.random() < 0.2:
                task.cancel()

    def cancel_the_run(self) -> None:
        if self.rng.random() < 0.2:
            self.task.cancel()

    # The run.

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.task = asyncio.create_task(self.run())
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(BOUND):
                await asyncio.wait([self.task])
        # Whatever was abandoned may come to its end before it is looked at.
        await asyncio.sleep(20)

    async def run(self) -> None:
        try:
            self.outcome = await self.root.corun()
        except BaseException as error:
            self.outcome = error

    def problems(self) -> list[object]:
        """What is wrong with how it went."""
        found: list[object] = [*self.errors]
        if not self.task.done() or isinstance(self.outcome, Stuck):
            found.append(f"it did not end: {self.outcome}")
        known = EngineError | asyncio.CancelledError | KeyboardInterrupt | SystemExit
        if self.outcome is not True and not isinstance(self.outcome, known):
            found.append(f"it crashed: {self.outcome!r}")
        if self.story.ticks:
            found += self.story.problems()
            jobs = list(self.root.iterate_jobs(scan_engines=True))
            found += [f"{job} is not over" for job in jobs if not job.is_done()]
        for job, times in self.started.items():
            if self.shut[job] != 1:
                found.append(f"{job} was started {times} times, shut down {self.shut[job]} times")
        if self.outcome is True:
            bad = [job for job in self.root if job.critical and not job.forever]
            found += [f"True, and yet {job}" for job in bad if job.state is not State.FINISHED]
        if self.pool.holders:
            found.append(f"held for ever: {self.pool}")
        return found


class Actor(AbstractJob):
    """A job that does what comes to its mind."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        super().__init__(**options)
        self.stage = stage

    async def corun(self) -> int:
        """Act, wait, fail."""
        stage, rng = self.stage, self.stage.rng
        stage.started[self] += 1
        try:
            for _ in range(rng.randint(0, 3)):
                if rng.random() < 0.5:
                    stage.act()
                await asyncio.sleep(rng.choice([0, 0, 1, 2]))
                if rng.random() < 0.15:
                    errors = [ValueError("chaos")] * 8 + [asyncio.CancelledError()]
                    raise rng.choice([*errors, KeyboardInterrupt(), SystemExit(3)])
            ready()
            if self.forever and rng.random() < 0.8:
                await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await self.clean_up(rng.random())
            raise
        return 1

    async def clean_up(self, mood: float) -> None:
        """Be stubborn, fail, act, or just end."""
        if mood < 0.1:
            loop = asyncio.get_running_loop()
            end = loop.time() + self.stage.rng.choice([1, 8])
            while (left := end - loop.time()) > 0:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
        elif mood < 0.2:
            raise ValueError("in cleanup")
        elif mood < 0.4:
            self.stage.act()

    async def coshutdown(self) -> None:
        """Act, wait, fail."""
        rng = self.stage.rng
        self.stage.shut[self] += 1
        if rng.random() < 0.2:
            self.stage.act()
        await asyncio.sleep(rng.choice([0, 0, 0.5, 3]))
        if rng.random() < 0.05:
            raise ValueError("in shutdown")


class Meddled(Engine):
    """An engine into whose events somebody meddles."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        super().__init__(**options)
        self.stage = stage

    def tick(self, event: Tick) -> None:
        """Act now and then."""
        super().tick(event)
        stage = self.stage
        if stage.meddles and not isinstance(event, RunEnded) and stage.rng.random() < 0.03:
            stage.act()


def test_whatever_jobs_do_the_run_keeps_its_word(
    count: Callable[[int, int], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    for seed in range(count(1000, 20_000)):
        stage = Stage(seed)
        run_virtual(stage.play())
        problems = stage.problems()
        assert not problems, f"seed {seed}"
