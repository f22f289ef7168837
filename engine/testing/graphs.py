"""Random graphs for the reference model and for the engine, from a seed.

Two kinds.  In the first no two things happen at one instant, so that the outcome is decided and can
be compared to the last detail.  In the second (`tied=True`) everything takes a whole number of
seconds, often none: many things happen at once, more than one outcome is right, and what can be
checked is that the rules hold (see :func:`engine.testing.violations`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import Random
from typing import Any

from .model import GRACE, Attempt, JobSpec

_FINE = 1 << 20


def random_graph(
    seed: int | Random,
    *,
    most: int = 10,
    depth: int = 2,
    tied: bool = False,
    pauses: bool = False,
) -> JobSpec:
    """Return a random graph: an outermost engine, with its jobs and nested engines.

    Args:
        seed: the same seed gives the same graph; or the source of randomness itself.
        most: an engine has at most so many jobs.
        depth: how deep engines nest; 0 for none.
        tied: many things happen at the same instant.
        pauses: some jobs pause before they are tried again; to play them needs tenacity.

    Raises:
        ValueError: `most` is below 1, or `depth` below 0.

    >>> [job.id for job in random_graph(7, most=3).walk()] == [
    ...     job.id for job in random_graph(7, most=3).walk()
    ... ]
    True
    """
    if most < 1 or depth < 0:
        raise ValueError(f"a graph has at least one job, not {most}, and depth 0, not {depth}")
    rng = seed if isinstance(seed, Random) else Random(seed)
    return _Maker(rng, most, tied, pauses).root(depth)


def sketch(root: JobSpec) -> str:
    """Return a graph as text: a line for each job, which tells what is not as usual.

    >>> a = JobSpec("1", attempts=(Attempt(2.0, fails=True),), critical=False)
    >>> print(sketch(JobSpec("", window=1, jobs=(a, JobSpec("2", requires=(a,))))))
    engine: window 1
      1: not critical, attempts 2s fails
      2: requires 1, attempts 1s
    """
    lines = []
    for spec in root.walk():
        depth = len(spec.id.split(".")) if spec.id else 0
        name = " ".join(filter(None, [spec.id, "engine" if spec.jobs is not None else ""]))
        facts = ", ".join([*_place(spec), *_script(spec)])
        lines.append(f"{'  ' * depth}{name}: {facts}")
    return "\n".join(lines)


def _place(spec: JobSpec) -> Iterator[str]:
    for word, jobs in (("requires", spec.requires), ("after", spec.after)):
        if jobs:
            yield f"{word} {' '.join(job.id for job in jobs)}"
    for word in ("window", "timeout", "pool", "cancel_at", "add_at"):
        if getattr(spec, word) is not None:
            yield f"{word} {getattr(spec, word)}"
    for word in ("forever", "keep_going"):
        if getattr(spec, word):
            yield word
    if not spec.critical:
        yield "not critical"


def _script(spec: JobSpec) -> Iterator[str]:
    if spec.notify:
        yield f"ready after {spec.ready_after:g}s"
    if spec.jobs is None:
        yield f"attempts {' then '.join(map(_attempt, spec.attempts))}"
    if spec.when_cancelled != "end" or spec.cleanup:
        yield f"when cancelled {spec.when_cancelled}s after {spec.cleanup:g}s"


def _attempt(attempt: Attempt) -> str:
    pause = f" (pause {attempt.pause:g}s)" if attempt.pause else ""
    return f"{attempt.seconds:g}s{' fails' * attempt.fails}{pause}"


@dataclass(frozen=True, slots=True)
class _Maker:
    rng: Random
    most: int
    tied: bool
    pauses: bool

    def root(self, depth: int) -> JobSpec:
        pools = {name: self.rng.randint(1, 2) for name in self.pool_names("")}
        root = replace(
            self.engine("", depth, forever=False),
            pools=pools,
            cancel_at=self.seconds(15) if self.chance(0.05) else None,
        )
        inner = [job.id for job in root.walk() if job.jobs is not None]
        pools.update(
            (name, self.rng.randint(1, 2)) for job in inner for name in self.pool_names(job)
        )
        return root

    def engine(self, ident: str, depth: int, *, forever: bool, **options: Any) -> JobSpec:
        return JobSpec(
            ident,
            jobs=self.jobs(ident, depth, may_stay=forever),
            forever=forever,
            window=self.rng.randint(1, 3) if self.chance(0.4) else None,
            keep_going=self.chance(0.3),
            timeout=self.seconds(20) if self.chance(0.15) else None,
            **options,
        )

    def jobs(self, engine: str, depth: int, *, may_stay: bool) -> tuple[JobSpec, ...]:
        """Return the jobs of an engine; they wait for each other with no regard to their order."""
        count = self.rng.randint(1, self.most) if not self.chance(0.03) else 0
        forever = [self.chance(0.15) for _ in range(count)]
        if count and all(forever) and not may_stay:
            forever[0] = False
        order = list(range(count))
        self.rng.shuffle(order)
        made: dict[int, JobSpec] = {}
        for index in order:
            earlier = list(made.values())
            ident = f"{engine}.{index + 1}".lstrip(".")
            options: dict[str, Any] = {
                "requires": self.some_of(earlier, 0.4),
                "after": self.some_of(earlier, 0.15),
                "critical": self.chance(0.6),
                "cancel_at": self.seconds(12) if self.chance(0.08) else None,
            }
            if depth and self.chance(0.15):
                # With the pools of `tied`, its own jobs might wait for ever for the slot it has.
                pool = self.pool(engine, 0.0 if self.tied or forever[index] else 0.2)
                options |= {"forever": forever[index], "pool": pool}
                made[index] = self.engine(ident, depth - 1, **options)
            elif forever[index]:
                made[index] = self.forever_job(ident, **options)
            else:
                options["pool"] = self.pool(engine, 0.25)
                made[index] = self.job(ident, top=not engine, **options)
        jobs = [made[index] for index in sorted(made)]
        return (*jobs, *self.late_jobs(engine, jobs))

    def late_jobs(self, engine: str, jobs: list[JobSpec]) -> list[JobSpec]:
        """Return jobs that are added while the run goes on, in the order in which they are."""
        late: list[JobSpec] = []
        # What is added to an engine of forever jobs only, or makes one of an empty engine, changes
        # what it is; the contract does not say when such an engine ends.
        may_end = any(not job.forever for job in jobs)
        if may_end and self.chance(0.15):
            count = self.rng.randint(1, 3)
            # Never two at once: timers of the same instant have no order in asyncio.
            seconds = self.rng.sample(range(1, 12), count)
            for when in sorted(float(it) if self.tied else it + self.seconds(1) for it in seconds):
                ident = f"{engine}.{len(jobs) + len(late) + 1}".lstrip(".")
                options: dict[str, Any] = {
                    "requires": self.some_of([*jobs, *late], 0.4),
                    "after": self.some_of([*jobs, *late], 0.15),
                    "critical": self.chance(0.6),
                    "cancel_at": None,
                }
                make = self.forever_job if self.chance(0.15) else partial(self.job, top=not engine)
                late.append(replace(make(ident, **options), add_at=when))
        return late

    def job(self, ident: str, *, top: bool, cancel_at: float | None, **options: Any) -> JobSpec:
        cleanup = 0.0
        # Inside a nested engine a slow cleanup has that engine asked to stop for two reasons, and
        # the contract does not say which one counts.
        if top and self.chance(0.15):
            cleanup = self.seconds(4) if self.chance(0.8) else 4 * GRACE
        may_time_out = cleanup < GRACE and self.chance(0.15)
        count = self.rng.randint(2, 3) if self.chance(0.2) else 1
        pauses = self.pauses and self.chance(0.3)
        return JobSpec(
            ident,
            attempts=tuple(
                Attempt(self.seconds(8), self.chance(0.12), self.seconds(3) if pauses else 0.0)
                for _ in range(count)
            ),
            timeout=self.seconds(8) if may_time_out else None,
            when_cancelled=self.rng.choice(("end", "end", "return", "raise")),
            cleanup=cleanup,
            cancel_at=cancel_at,
            **options,
        )

    def forever_job(self, ident: str, **options: Any) -> JobSpec:
        stays = self.chance(0.7)
        notify = self.chance(0.5)
        return JobSpec(
            ident,
            forever=True,
            notify=notify,
            ready_after=self.seconds(8) if notify else 0.0,
            attempts=(Attempt(inf if stays else self.seconds(15), self.chance(0.3)),),
            when_cancelled=self.rng.choice(("end", "end", "end", "return", "raise")),
            **options,
        )

    def some_of(self, jobs: list[JobSpec], probability: float) -> tuple[JobSpec, ...]:
        if not jobs or not self.chance(probability):
            return ()
        return tuple(self.rng.sample(jobs, min(len(jobs), self.rng.randint(1, 3))))

    def pool_names(self, engine: str) -> tuple[str, str]:
        """Return the pools that the jobs of an engine use: their own, unless ties do not matter.

        When a slot comes back at the instant at which a nested engine ends, the contract does not
        say which engine's jobs are asked first.
        """
        prefix = "" if self.tied else engine
        return f"{prefix}/a", f"{prefix}/b"

    def pool(self, engine: str, probability: float) -> str | None:
        return self.rng.choice(self.pool_names(engine)) if self.chance(probability) else None

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def seconds(self, most: int) -> float:
        # Multiples of a power of two: sums of them are exact, for the model as for the clock.
        if self.tied:
            return float(self.rng.randint(0, 3))
        return self.rng.randint(1, most * _FINE) / _FINE
