"""The synchronous door: one event loop per thread, and what Ctrl-C does to what runs in it.

All calls of one thread run in the same loop, which is made at the first and closed at the thread's
end: a queue, a lock or a connection made for one run serves the next.  Where a loop is running in
this thread already, as in a notebook cell, ours is run by a helper thread while this one waits.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import inspect
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self, TypeVar

from .errors import NotACoroutine
from .text import safe_repr

T = TypeVar("T")

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class LeaveNow(KeyboardInterrupt):
    """The second Ctrl-C: out of whatever runs, without waiting for anything."""


class Interrupted:
    """What a task is cancelled with when a signal asks for it: ``error.args[0]``."""

    def __init__(self, signum: int) -> None:
        self.signum = signum

    def __str__(self) -> str:
        return signal.Signals(self.signum).name


def interrupted_by(error: asyncio.CancelledError) -> int | None:
    """Return the number of the signal that stands behind a cancellation, if one does."""
    cause = error.args[0] if error.args else None
    return cause.signum if isinstance(cause, Interrupted) else None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end in this thread's event loop and return its result.

    The door that `Engine.orchestrate` goes through, for any coroutine: at a prompt, in a script,
    any number of times, in any thread, in a notebook cell, and from code that a running loop has
    called (which then waits).  Unlike ``asyncio.run``, all calls of a thread share one loop.

    The first Ctrl-C (SIGTERM, SIGHUP) cancels the coroutine and, once it has ended, raises
    KeyboardInterrupt (SystemExit with 143, 129); the second raises KeyboardInterrupt at once.
    Signals that the program handles itself, or ignores, are left alone.

    Raises:
        NotACoroutine: `coroutine` is not one.

    >>> import asyncio
    >>> queue = run(asyncio.sleep(0, result=asyncio.Queue()))
    >>> run(queue.put("hello"))
    >>> run(queue.get())
    'hello'
    """
    if not inspect.iscoroutine(coroutine):
        raise NotACoroutine(
            f"run() takes a coroutine, as run(main()), not {safe_repr(coroutine, 80)}", coroutine
        )
    own = _own_loop()
    is_inside = own.is_running()  # our own loop has called this, from a job say
    signals = _Signals()
    outer = _signals.set(signals)
    result: T
    try:
        if not _is_loop_running():
            with signals:
                result = _drive(own.get(), coroutine, signals)
        else:
            # Where it is our own loop that waits the helper makes another.
            result = _drive_elsewhere(None if is_inside else own.get(), coroutine, signals)
    except LeaveNow as error:
        try:
            for call in signals.if_left:
                call()
        finally:
            if not is_inside:
                own.abandon()
        if is_inside:
            raise  # out of the run that this one is in, too
        # With its traceback, which says where the program was.
        raise KeyboardInterrupt().with_traceback(error.__traceback__) from None
    finally:
        _signals.reset(outer)
    return result


_signals: contextvars.ContextVar[_Signals | None] = contextvars.ContextVar("signals", default=None)
"""Those of the `run` that goes on, or of one round it."""


def if_left(call: Callable[[], None]) -> Callable[[], None]:
    """Have `call` called if the second Ctrl-C leaves what runs here; return what takes that back.

    It is not called where the loop is somebody else's, who then cancels what is left in it.
    """
    signals = _signals.get()
    if signals is None or not signals.guards(asyncio.get_running_loop()):
        return lambda: None
    signals.if_left.append(call)
    return functools.partial(signals.if_left.remove, call)


@contextmanager
def lend(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have all that this thread runs meanwhile go through `loop`, which stays the caller's."""
    own = _own_loop()
    before = own.replace(loop)
    try:
        yield
    finally:
        own.replace(before)


class _OwnLoop:
    """The loop of one thread, closed when the thread ends."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        return self._loop

    def replace(self, loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
        """Use another loop from now on; return the one before."""
        before, self._loop = self._loop, loop
        return before

    def is_running(self) -> bool:
        return self._loop is not None and self._loop.is_running()

    def abandon(self) -> None:
        """Leave the loop as it is; the next run gets a new one."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if not loop.is_running():  # else it is a helper thread that closes it, see `leave`
            _close(loop)

    def disown(self) -> None:
        """Leave the loop to the parent of this process, which shares its descriptors with us."""
        loop, self._loop = self._loop, None
        _inherited.append(loop)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed() and not loop.is_running():
            _close(loop)

    def __del__(self) -> None:
        self.close()


class _Threads(threading.local):
    own: _OwnLoop | None = None


_threads = _Threads()
_inherited: list[asyncio.AbstractEventLoop | None] = []
"""Loops of the parent of a forked process: neither used here, nor ever closed."""


def _after_fork() -> None:
    if _threads.own is not None:
        _threads.own.disown()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def _own_loop() -> _OwnLoop:
    if _threads.own is None:
        _threads.own = _OwnLoop()
        if threading.current_thread() is threading.main_thread():
            # The thread-local values of the main thread go too late, when modules are gone.
            atexit.register(_threads.own.close)
    return _threads.own


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _drive(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], signals: _Signals
) -> T:
    """Run `coroutine` in `loop`, by this thread."""
    task = loop.create_task(coroutine)
    signals.guard(loop, task)
    try:
        return loop.run_until_complete(task)
    except LeaveNow:
        raise
    except BaseException:
        if task.done():
            if not task.cancelled():
                task.exception()  # it is raised here; asyncio is not to say that nobody looked
        elif not signals.has_left:
            # Thrown out of the loop from elsewhere, by a signal handler of the program's say.
            task.cancel()
            with suppress(Exception, asyncio.CancelledError):
                loop.run_until_complete(task)
        raise


def _drive_elsewhere(
    loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T], signals: _Signals
) -> T:
    """Run `coroutine` in `loop` (None: one of its own) by a helper thread; wait for it."""
    ended: list[tuple[T | None, BaseException | None]] = []
    over = threading.Event()  # a join() that a signal has interrupted does not wait any more
    context = contextvars.copy_context()

    def work() -> None:
        here = _own_loop().get() if loop is None else loop
        try:
            ended.append((_drive(here, coroutine, signals), None))
        except BaseException as error:  # it is raised again by the thread that waits
            ended.append((None, error))
        finally:
            over.set()
            if signals.has_left:
                _close(here)  # nobody else will

    helper = threading.Thread(target=context.run, args=(work,), name="orchestrate", daemon=True)
    with signals:
        helper.start()
        try:
            over.wait()
        except LeaveNow:
            signals.leave()
            raise
        except BaseException:  # thrown by a signal handler of the program's
            signals.cancel()
            over.wait()
            raise
        finally:
            if over.is_set():
                helper.join()
    result, error = ended[0]
    if error is not None:
        try:
            raise error
        finally:
            del error, ended  # the traceback leads here: no cycle
    return result  # type: ignore[return-value]


class _Signals:
    """While entered: the first signal cancels the task, the second raises `LeaveNow`.

    Entered by the thread that waits; only the main thread gets signals.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._before: dict[int, Any] = {}
        self._struck: asyncio.Task[Any] | None = None
        """The task that was at work when the second one came."""
        self.has_left = False
        """Whoever waited for a helper thread has gone on without it."""
        self.if_left: list[Callable[[], None]] = []
        """What to call after the second one."""

    def guard(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """Say which task, in which loop, a signal is to cancel."""
        self._loop, self._task = loop, task
        if self._signum is not None:  # it has come already
            self.cancel()

    def guards(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether the task that a signal is to cancel is in `loop`."""
        return self._loop is loop

    def cancel(self) -> None:
        """Cancel the task, from any thread."""
        if self._loop is not None and self._task is not None:
            cause = None if self._signum is None else Interrupted(self._signum)
            self._loop.call_soon_threadsafe(self._task.cancel, cause)

    def leave(self) -> None:
        """Have the helper thread, which may be blocked, do nothing more but close its loop."""
        self.has_left = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has done so just now
                self._loop.call_soon_threadsafe(self._loop.stop)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                signum = getattr(signal, name, None)
                if signum is None:  # there is no SIGHUP on Windows
                    continue
                if _is_nobodys(signum):
                    self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        struck, self._struck = self._struck, None
        if struck is not None and struck.done() and not struck.cancelled():
            struck.exception()  # it comes out here; asyncio is not to say that nobody looked at it
        self._loop = self._task = None
        if self._signum is not None and not isinstance(error, KeyboardInterrupt):
            raise _leaving(self._signum) from None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        before: Any = self._before.get(signum)
        if _is_ours(before):  # of the run that waits for this one, in a job of its
            before(signum, frame)
        if self._signum is not None:
            self._struck = None if self._loop is None else asyncio.current_task(self._loop)
            raise LeaveNow
        self._signum = signum
        self.cancel()


def _is_nobodys(signum: int) -> bool:
    """Tell whether the program has no handler of its own for a signal.

    That of ``asyncio.run`` does not count: it cancels a task that waits for us, in vain.  So does
    that of a run of ours; but it is to know.
    """
    handler = signal.getsignal(signum)
    if _is_ours(handler):
        return True
    if isinstance(handler, functools.partial):
        return isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)
    default = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
    return handler is default


def _is_ours(handler: object) -> bool:
    return isinstance(getattr(handler, "__self__", None), _Signals)


def _leaving(signum: int) -> BaseException:
    return KeyboardInterrupt() if signum == signal.SIGINT else SystemExit(128 + signum)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close `loop`, whatever is still pending in it; nothing is waited for."""
    for task in asyncio.all_tasks(loop):
        # They were abandoned, and that was told: no second message when they are collected.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
