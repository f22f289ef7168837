"""The leak check: what a block of code leaves behind.

Looked at are tasks (of every event loop), threads, open files, child processes, errors that asyncio
could only log ("Task was destroyed but it is pending", "exception was never retrieved") and
coroutines that were never awaited; with `cycles`, also objects that only the garbage collector
could take away.  What there is at all is found by :mod:`engine.testing.census`.
"""

from __future__ import annotations

import asyncio
import gc
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine import AbstractJob, run

from .census import Census, Describers, census, lost_errors, new_since, warm_up_loop

_HEAVY = (asyncio.Future, AbstractJob, BaseException, types.CoroutineType, types.FrameType)


class Leaked(AssertionError):
    """A block of code left something behind; `leaks` names each thing."""

    def __init__(self, leaks: list[str]) -> None:
        self.leaks = tuple(leaks)
        super().__init__("\n  ".join(["this was left behind:", *self.leaks]))


@contextmanager
def no_leaks(*, patience: float = 1.0, cycles: bool = False) -> Iterator[None]:
    """Raise :class:`Leaked` if the block leaves behind what it did not find.

    Args:
        patience: real seconds that threads and processes which are just ending have for it.
        cycles: also look for jobs, tasks, coroutines, exceptions and frames that hold each other
            in a cycle, so that only the garbage collector can take them away.  From Python 3.12 on
            an exception that is kept may hold the frames of all its callers: what holds it, a
            failed job or a failed task, is to be no variable of whoever has called the run.

    A block that ends with an exception is not checked.  The event loop that this thread keeps for
    its runs (see :func:`engine.run`), and threads of that loop's own pool that have nothing to do,
    are not left behind: they are kept.

    >>> from engine import Engine, Job
    >>> import asyncio
    >>> with no_leaks():
    ...     Engine(Job(asyncio.sleep, 0)).orchestrate()
    True
    """
    run(warm_up_loop())
    gc.collect()
    before = _take()
    with (
        lost_errors() as lost,
        warnings.catch_warnings(record=True) as warned,
        _collector_held_back(cycles),
    ):
        # All other filters are those of the block, which may be made of errors.
        warnings.filterwarnings("always", ".* never awaited", RuntimeWarning)
        yield
        garbage = _cyclic_garbage() if cycles else []
        found = new_since(before, _take, _DESCRIBERS, patience) + garbage
    found += lost
    for warning in warned:
        if "never awaited" in str(warning.message):
            found.append(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if found:
        raise Leaked(found)


def _take() -> Census:
    return {**census(), **{("child process", pid): pid for pid in _children()}}


def _children() -> Iterator[str]:
    """Yield the pids of the child processes, zombies too, where the system tells them."""
    with suppress(OSError):
        for thread in list(Path("/proc/self/task").iterdir()):
            with suppress(OSError):
                yield from (thread / "children").read_text().split()


_DESCRIBERS: Describers = {"child process": lambda pid, _: pid}


@contextmanager
def _collector_held_back(hold: bool) -> Iterator[None]:
    """Keep the collector from taking away what is to be found."""
    held = hold and gc.isenabled()
    if held:
        gc.disable()
    try:
        yield
    finally:
        if held:
            gc.enable()


def _cyclic_garbage() -> list[str]:
    """Return what nobody refers to and what is still there."""
    flags = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        kinds = Counter(
            type(thing).__qualname__ for thing in gc.garbage if issubclass(type(thing), _HEAVY)
        )
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
    return [f"cyclic garbage: {count} x {kind}" for kind, count in sorted(kinds.items())]
