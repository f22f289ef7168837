"""A Sequence: jobs that run one after the other, usable wherever a job is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .coroutines import drop_coroutine
from .errors import NotAJob
from .job import AbstractJob, JobSequence, jobs_in, last_jobs
from .listing import label_of
from .text import safe_repr

if TYPE_CHECKING:
    from .engine import Engine
    from .job import Jobs


class Sequence(JobSequence):
    """Chain `jobs`: each requires the one before it.

    To wait for a Sequence is to wait for its last job; what a Sequence waits for, its first job
    waits for.  Sequences among `jobs` are taken in, one job after the other.

    Args:
        jobs: jobs and Sequences, in order.
        required: what the first job requires.
        engine: an engine to add all of them to.

    >>> from engine import Engine, Job, Sequence
    >>> async def step(): pass
    >>> a, b, c, d = (Job(step, label=name) for name in "abcd")
    >>> Sequence(a, Sequence(b, c)) >> d
    <Job `d' idle - [requires [c]]>
    >>> Engine(Sequence(a, b, c), d).orchestrate()
    True
    """

    def __init__(
        self,
        *jobs: AbstractJob | Sequence,
        required: Jobs = None,
        engine: Engine | None = None,
    ) -> None:
        self._jobs: list[AbstractJob] = []
        self._engine = engine
        # What was asked of a Sequence before it had a first job.
        self._early: dict[str, list[AbstractJob | Sequence]] = {"requires": [], "after": []}
        self.requires(required)
        self.append(*jobs)

    @property
    def jobs(self) -> tuple[AbstractJob, ...]:
        """The jobs in their order."""
        return tuple(self._jobs)

    def append(self, *jobs: AbstractJob | Sequence) -> Sequence:
        """Add `jobs` at the end, each requiring the one before it; return this Sequence."""
        for job in list(flat_jobs(jobs, "Sequence")):  # all are looked at before any is taken
            if self._jobs:
                job.requires(self._jobs[-1])
                engine = self._engine or self._jobs[-1].engine
            else:
                job.requires(self._early["requires"]).after(self._early["after"])
                engine = self._engine
            self._jobs.append(job)
            if engine is not None and job.engine is not engine:
                engine.add(job)
        return self

    def last_jobs(self) -> list[AbstractJob]:
        """Return the last job; of an empty Sequence, what it requires."""
        if self._jobs:
            return self._jobs[-1:]
        return last_jobs(self._early["requires"])

    def requires(self, *jobs: Jobs, remove: bool = False) -> Sequence:
        """Have the first job require `jobs`, see `AbstractJob.requires`; return this Sequence."""
        return self._relate("requires", jobs, remove)

    def after(self, *jobs: Jobs, remove: bool = False) -> Sequence:
        """Have the first job start after `jobs`, see `AbstractJob.after`; return this Sequence."""
        return self._relate("after", jobs, remove)

    def _relate(self, how: str, jobs: tuple[Jobs, ...], remove: bool) -> Sequence:
        if self._jobs:
            getattr(self._jobs[0], how)(*jobs, remove=remove)
            return self
        early, others = self._early[how], jobs_in(jobs, "Sequence.", how, "()")
        self._early[how] = [job for job in early if job not in others]
        if not remove:
            self._early[how] += others
        return self

    def __rshift__(self, others: Any) -> Any:
        """``sequence >> b`` is ``b.requires(sequence)``, and `b`."""
        for other in jobs_in(others, "Sequence >> ..."):
            other.requires(self)
        return others

    def __rrshift__(self, others: Any) -> Sequence:
        """``[a, b] >> sequence`` is ``sequence.requires([a, b])``."""
        return self.requires(others)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[AbstractJob]:
        return iter(self._jobs)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        names = ", ".join(label_of(job) for job in self._jobs)
        return f"<Sequence [{names}]>"


def flat_jobs(things: Iterable[object], where: str) -> Iterator[AbstractJob]:
    """Give the jobs of `things`, Sequences taken apart; anything else, a list say, is refused."""
    for thing in things:
        if isinstance(thing, AbstractJob):
            yield thing
        elif isinstance(thing, Sequence):
            yield from thing
        elif isinstance(thing, list | tuple | set | frozenset):
            raise NotAJob(
                f"{where} takes jobs one by one, as {where}(*jobs), not {safe_repr(thing, 80)}",
                thing,
            )
        else:
            drop_coroutine(thing)
            raise NotAJob(f"{where} takes jobs and Sequences, not {safe_repr(thing, 80)}", thing)
