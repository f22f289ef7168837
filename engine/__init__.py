"""Orchestration of asyncio jobs: run coroutines in the order that their requirements give.

>>> import asyncio
>>> from engine import Engine, Job
>>> async def step(number):
...     await asyncio.sleep(0)
...     return 10 * number
>>> b1, b2, b3 = Job(step, 1, label="b1"), Job(step, 2, label="b2"), Job(step, 3, label="b3")
>>> b3.requires(b1)
<Job `b3' idle - [requires [b1]]>
>>> Engine(b1, b2, b3).orchestrate()
True
>>> b3.result()
30

This package needs nothing outside the standard library.
"""

from __future__ import annotations

from .calls import CallJob
from .coruns import Job
from .current import output, ready, report
from .engine import Engine
from .errors import (
    AlreadyInEngine,
    AlreadyRunning,
    BadOption,
    CycleError,
    EngineError,
    EngineFailed,
    ForeignRequirement,
    GraphError,
    JobAbandoned,
    JobCancelled,
    JobSkipped,
    JobStarted,
    NotACoroutine,
    NotAJob,
    OnlyForever,
    SelfRequirement,
    Stuck,
    UsedCoroutine,
)
from .job import AbstractJob
from .loop import run
from .pool import Pool
from .sequence import Sequence
from .ticks import (
    JobAdded,
    JobOutput,
    JobProgress,
    JobReady,
    JobRow,
    JobState,
    JobStopping,
    Message,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    StopReason,
    Tick,
)
from .watching import watch

__all__ = [
    "AbstractJob",
    "AlreadyInEngine",
    "AlreadyRunning",
    "BadOption",
    "CallJob",
    "CycleError",
    "Engine",
    "EngineError",
    "EngineFailed",
    "ForeignRequirement",
    "GraphError",
    "Job",
    "JobAbandoned",
    "JobAdded",
    "JobCancelled",
    "JobOutput",
    "JobProgress",
    "JobReady",
    "JobRow",
    "JobSkipped",
    "JobStarted",
    "JobState",
    "JobStopping",
    "Message",
    "NotACoroutine",
    "NotAJob",
    "OnlyForever",
    "Pool",
    "RunEnded",
    "RunStarted",
    "RunStopping",
    "SelfRequirement",
    "Sequence",
    "State",
    "StopReason",
    "Stuck",
    "Tick",
    "UsedCoroutine",
    "output",
    "ready",
    "report",
    "run",
    "watch",
]
