"""Tools to test graphs of jobs with, ours and yours.

Time and order:

* :func:`virtual_clock`, :func:`run_virtual`, :class:`VirtualLoop`: a clock that jumps, a
  :class:`Deadlock` that names the jobs;
* :class:`Sequencer`: the steps of several tasks in the order that the test wants.

Checks round any run:

* :class:`Story`, :func:`check_story`: the ticks of a run tell a whole and legal story;
* :func:`no_leaks`: nothing is left behind;
* :func:`cancel_everywhere`: a run can be cancelled at any turn of the loop;
* :func:`any_order`: a run comes out right in whatever order its requirements allow.

The reference model, for those who work on the engine:

* :class:`JobSpec`, :func:`predict`: what a graph of scripted jobs must come to, by the contract;
* :func:`random_graph`: such a graph from a seed; :func:`sketch`: how it looks;
* :func:`play`, :func:`differences`, :func:`violations`: what it comes to, and what is wrong there.

A graph of your own, and what it makes of a server that never answers, in no time at all:

>>> import asyncio
>>> from engine import Engine, Job
>>> async def answer():
...     await asyncio.sleep(3600)
>>> server = Job(answer, label="server", timeout=60, critical=False)
>>> report = Job(asyncio.sleep, 1, label="report", after=server)
>>> engine = Engine(server, report)
>>> with virtual_clock() as clock:
...     engine.orchestrate(), clock.time()
(True, 61.0)
>>> server
<Job `server' failed !! TimeoutError: it took more than its 60s - [allows [report]]>

:mod:`engine.testing.pytest_plugin` offers these as fixtures.

Only the standard library is needed, but for graphs with pauses between attempts: tenacity.
"""

from __future__ import annotations

from .cancelling import CancelFailed, cancel_everywhere
from .clock import Deadlock, VirtualLoop, run_virtual, virtual_clock
from .graphs import random_graph, sketch
from .judging import differences, violations
from .leaks import Leaked, no_leaks
from .model import Attempt, Fate, JobSpec, Prediction, predict
from .ordering import OrderFailed, any_order
from .sequencer import SequenceBroken, Sequencer
from .stage import (
    Note,
    Performance,
    ScriptedFailure,
    ScriptedJob,
    build,
    perform,
    play,
)
from .story import IllegalStory, Story, check_story

__all__ = [
    "Attempt",
    "CancelFailed",
    "Deadlock",
    "Fate",
    "IllegalStory",
    "JobSpec",
    "Leaked",
    "Note",
    "OrderFailed",
    "Performance",
    "Prediction",
    "ScriptedFailure",
    "ScriptedJob",
    "SequenceBroken",
    "Sequencer",
    "Story",
    "VirtualLoop",
    "any_order",
    "build",
    "cancel_everywhere",
    "check_story",
    "differences",
    "no_leaks",
    "perform",
    "play",
    "predict",
    "random_graph",
    "run_virtual",
    "sketch",
    "violations",
    "virtual_clock",
]
