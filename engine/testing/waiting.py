"""Who waits, and for what: jobs by what keeps them, tasks by the line where they are."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import engine
from engine import AbstractJob, Engine, State
from engine.errors import name_of

_ASYNCIO, _ENGINE = (f"{Path(inspect.getfile(it)).parent}{os.sep}" for it in (asyncio, engine))


def unfinished(engines: Iterable[Engine]) -> list[AbstractJob]:
    """Return the jobs of `engines` that are not over; for a nested engine that runs, its jobs."""
    found: list[AbstractJob] = []
    for each in engines:
        for job in each.jobs:
            if isinstance(job, Engine) and job.is_running():
                found += unfinished([job])
            elif not job.is_done():
                found.append(job)
    return found


def who_waits(jobs: Iterable[AbstractJob], tasks: Iterable[asyncio.Task[Any]]) -> list[str]:
    """Return a line for each of `jobs`, then for each of the `tasks` that is not one of a job.

    The task of a job goes by its name.  If several have one name and are not all at one place, it
    is open whose is whose, and they are told apart from the jobs.
    """
    named: dict[str, set[str]] = {}
    for task in tasks:
        if not _is_the_engines(task):
            named.setdefault(task.get_name(), set()).add(where(task))
    told = set()
    lines = []
    for job in jobs:
        name = job.label or "NOLABEL"
        at = ""
        if job.is_running() and len(named.get(name, ())) == 1:
            told.add(name)
            at = f", at {min(named[name])}"
        lines.append(f"job {name_of(job)}: {job.state}{at}{_waits_for(job)}")
    left = {name: places for name, places in named.items() if name not in told}
    return lines + [f"task {name}: {at}" for name in sorted(left) for at in sorted(left[name])]


def _waits_for(job: AbstractJob) -> str:
    if job.is_scheduled():
        if job.pool is not None and job.pool.is_full:
            return f", waits for a slot of {job.pool!r}"
        return ", waits for a slot of its engine's window"
    if not job.is_idle():
        return ""
    missing = [wanted for wanted in job.required if wanted.state is not State.FINISHED]
    missing += [wanted for wanted in job.awaited if not wanted.is_done()]
    told = (f"{name_of(it)} ({'not ready' if it.forever else it.state})" for it in missing)
    return f", waits for {', '.join(told)}" if missing else ""


def describe(task: asyncio.Task[Any]) -> str:
    """Return the name of a task and where it waits."""
    return f"{task.get_name()}: {where(task)}"


def where(task: asyncio.Task[Any]) -> str:
    """Return where a task waits: the innermost line of the user's, and what is called there."""
    line, inside = "", ""
    for code, number in _frames(task.get_coro()):
        if _is_not_the_users(code.co_filename):
            inside = inside or code.co_qualname
        else:
            line, inside = f"{_short(code.co_filename)}:{number} in {code.co_qualname}", ""
    if line and inside:
        return f"{line} (in {inside})"
    return line or (f"in {inside}" if inside else "not started, or over")


def _is_the_engines(task: asyncio.Task[Any]) -> bool:
    """Whether a task runs the engine's own code and no line of the user's."""
    files = [code.co_filename for code, _ in _frames(task.get_coro())]
    return bool(files) and files[0].startswith(_ENGINE) and all(map(_is_not_the_users, files))


def _is_not_the_users(file: str) -> bool:
    return file.startswith((_ASYNCIO, _ENGINE))


def _short(path: str) -> str:
    """Return a path as seen from here; only the name of a file that is elsewhere."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return Path(path).name


def _frames(awaited: Any) -> Iterator[tuple[Any, int]]:
    """Yield code and line of each coroutine or generator that waits, outermost first."""
    while awaited is not None:
        for kind, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame.f_code, frame.f_lineno
                awaited = getattr(awaited, inner)
                break
        else:
            return
