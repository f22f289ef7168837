"""A virtual clock: an event loop on which time jumps to the next timer.

A test of a ten-minute timeout takes no time, and gives the same result on a machine that is busy:
no real second passes.  What really runs beside the loop (threads, sockets, children) still works:
before time jumps it is given some real time to come back.

When nothing can happen any more, a loop with a real clock waits for ever.  This one raises
:class:`Deadlock`, which names the jobs and tasks that wait, and what each waits for.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import math
import selectors
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from engine import AbstractJob, Engine, NotACoroutine, run, watch
from engine.loop import lend
from engine.text import safe_repr

from .waiting import unfinished, who_waits

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PATIENT_TURNS = 10_000
_PIECES = 10
_RESOLUTION = time.get_clock_info("monotonic").resolution


class Deadlock(RuntimeError):
    """Nothing can happen any more: no callback, no timer, and nobody outside to wait for.

    Attributes:
        waiting: one line for each job and each other task that waits, and what it waits for.
        jobs: the jobs among them.
    """

    def __init__(
        self, waiting: Iterable[str], jobs: Iterable[AbstractJob] = (), now: float = 0.0
    ) -> None:
        self.waiting = tuple(waiting)
        self.jobs = tuple(jobs)
        lines = "".join(f"\n  {line}" for line in self.waiting) or "\n  no task at all"
        super().__init__(f"nothing can happen any more at {now:g}s; these wait:{lines}")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose :meth:`time` passes only when nothing else can happen.

    Args:
        start: what the clock says at the beginning, in seconds.
        patience: real seconds that threads and open files get to come back before time jumps.
        on_turn: called at the beginning of every turn of the loop with its number (from 0).

    A thread started since the loop was made, or a file that the loop watches, may have something
    to say, so it is waited for before time jumps; one that let `patience` pass without a word is
    taken to be idle until it speaks up.  Where neither is in play the loop is deterministic.
    """

    def __init__(
        self,
        *,
        start: float = 0.0,
        patience: float = 1.0,
        on_turn: Callable[[int], object] | None = None,
    ) -> None:
        self._now = start
        self._turns = 0
        self._on_turn = on_turn
        self._last_turn: int | None = None
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._engines: weakref.WeakKeyDictionary[Engine, None] = weakref.WeakKeyDictionary()
        super().__init__(_JumpingSelector(self._before_turn, self._jump, patience))

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule a callback, as every event loop does."""
        timer = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    @property
    def turns(self) -> int:
        """How many turns of the loop have begun."""
        return self._turns

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until `future` is done, as every event loop does."""
        __tracebackhide__ = True
        try:
            return super().run_until_complete(future)
        except Deadlock as deadlock:
            # Where inside the loop that was found out leads nobody anywhere.
            raise deadlock.with_traceback(None) from None

    def sees(self, engine: Engine) -> None:
        """Remember an engine whose run begins, to tell its jobs in a deadlock; see `watch`."""
        if asyncio.get_running_loop() is self:
            self._engines[engine] = None

    def finish(self) -> None:
        """Cancel what is left, give it some time to end, and close the loop.

        That time does not count: afterwards the clock says again what it said before.
        """
        if self.is_closed():
            return
        now = self._now
        try:
            self._cancel_all()
            self.run_until_complete(self.shutdown_asyncgens())
            self.run_until_complete(self.shutdown_default_executor())
        finally:
            self.close()
            self._now = now

    def _cancel_all(self) -> None:
        """Cancel all tasks, and run until they have ended or ten thousand turns have passed.

        What they raise meanwhile is nobody's any more, and is told to the exception handler.
        """
        tasks = asyncio.all_tasks(self)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        self._last_turn = self._turns + _PATIENT_TURNS
        # It is stopped where a task goes on for ever, and deadlocked where one waits for ever.
        with suppress(RuntimeError):
            self.run_until_complete(asyncio.wait(tasks))
        self._last_turn = None
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.call_exception_handler(
                    {
                        "message": "exception of a task that was cancelled at the end",
                        "exception": task.exception(),
                        "task": task,
                    }
                )

    def _before_turn(self) -> bool:
        """Count a turn; return whether something may have become ready by that."""
        if self._turns == self._last_turn:
            self.stop()
        self._turns += 1
        if self._on_turn is None:
            return False
        self._on_turn(self._turns - 1)
        return True

    def _jump(self) -> None:
        # To the very number that the timer has: with `now + (when - now)` the clock could stay a
        # rounding error before it, and a loop that sleeps until a deadline would never get there.
        while self._timers and (self._timers[0][2].cancelled() or self._timers[0][0] <= self._now):
            heapq.heappop(self._timers)
        when = self._timers[0][0] if self._timers else math.inf
        if when == math.inf:
            jobs = unfinished(list(self._engines))
            raise Deadlock(who_waits(jobs, asyncio.all_tasks(self)), jobs, self._now)
        # A timer is due when the clock has passed it by asyncio's resolution: beyond some months
        # that is lost in rounding, and the next number up has to do.
        self._now = when if when + _RESOLUTION > when else math.nextafter(when, math.inf)


class _JumpingSelector(selectors.BaseSelector):
    """A real selector that never waits for a timer, only for what is outside the loop."""

    def __init__(
        self,
        before_turn: Callable[[], bool],
        jump: Callable[[], None],
        patience: float,
    ) -> None:
        self._real = selectors.DefaultSelector()
        self._before_turn = before_turn
        self._jump = jump
        self._patience = patience
        self._threads = set(threading.enumerate())
        self._silent: frozenset[object] = frozenset()
        self._has_begun = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not self._has_begun and self._before_turn() and timeout != 0:
            # The loop saw nothing ready when it decided to wait; it must look again before it does.
            self._has_begun = True
            return []
        self._has_begun = False
        events = self._real.select(0)
        if not events and timeout != 0 and not self._silent >= (outside := self._outside()):
            events = self._wait_outside()
            self._silent = outside
        if events:
            self._silent = frozenset()
        elif timeout != 0:
            self._jump()
        return events

    def _wait_outside(self) -> list[tuple[selectors.SelectorKey, int]]:
        # In pieces, as a machine that stalls stops the threads that are waited for, too.
        for _ in range(_PIECES):
            if events := self._real.select(self._patience / _PIECES):
                return events
        return []

    def _outside(self) -> frozenset[object]:
        """Return what may wake the loop by itself: new threads, watched files."""
        ours = {*self._threads, threading.current_thread()}
        threads = {thread for thread in threading.enumerate() if thread not in ours}
        watched = self._real.get_map()
        # One file is always watched, and says nothing by itself: what call_soon_threadsafe uses.
        return frozenset(threads | set(watched) if len(watched) > 1 else threads)


@contextmanager
def virtual_clock(
    *,
    start: float = 0.0,
    patience: float = 1.0,
    on_turn: Callable[[int], object] | None = None,
) -> Iterator[VirtualLoop]:
    """Have all that this thread runs meanwhile go by a clock that jumps.

    `Engine.orchestrate()` and :func:`engine.run` use the loop that is given, which also tells the
    time.  Tasks that are left at the end are cancelled, and get some time to end.

    Args:
        start: what the clock says at the beginning, in seconds.
        patience: real seconds that threads and open files get to come back before time jumps.
        on_turn: called at the beginning of every turn of the loop with its number (from 0).

    Raises:
        Deadlock: out of what is run: nothing can happen any more.

    >>> from engine import Engine, Job
    >>> import asyncio
    >>> with virtual_clock() as clock:
    ...     Engine(Job(asyncio.sleep, 7200), timeout=3600).orchestrate()
    ...     clock.time()
    False
    3600.0
    """
    loop = VirtualLoop(start=start, patience=patience, on_turn=on_turn)
    try:
        with lend(loop), watch(loop.sees):
            yield loop
    finally:
        _apart(loop.finish)


def run_virtual(
    main: Coroutine[Any, Any, T],
    *,
    start: float = 0.0,
    patience: float = 1.0,
    on_turn: Callable[[int], object] | None = None,
) -> T:
    """Run the coroutine `main` under a :func:`virtual_clock`, and return its result.

    As `asyncio.run` does, but in a notebook cell too; and a task that is left and swallows its
    cancellation is not waited for.

    Raises:
        Deadlock: nothing can happen any more and `main` has not ended.
        NotACoroutine: `main` is not a coroutine.

    >>> import asyncio
    >>> async def an_hour():
    ...     loop = asyncio.get_running_loop()
    ...     before = loop.time()
    ...     await asyncio.sleep(3600)
    ...     return loop.time() - before
    >>> run_virtual(an_hour())
    3600.0
    """
    __tracebackhide__ = True
    is_coroutine = inspect.iscoroutine(main)
    if not is_coroutine:
        text = f"run_virtual() takes a coroutine, as run_virtual(main()), not {safe_repr(main, 80)}"
        raise NotACoroutine(text, main)
    with virtual_clock(start=start, patience=patience, on_turn=on_turn):
        return run(main)


def _apart(call: Callable[[], None]) -> None:
    """Call what runs a loop: in another thread, if one is running in this one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        call()
    else:
        helper = threading.Thread(target=call, name="virtual clock")
        helper.start()
        helper.join()
