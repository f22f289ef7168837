"""Engines that show themselves: `EngineCurses`, and `attach` to show the run of any other."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

from engine import AbstractJob, BadOption, Engine, RunEnded, RunStarted, Sequence, Tick, watch
from engine.text import safe_repr

from .deadly import exits_on_signals
from .display import Display, Face
from .lines import Json, Plain
from .logs import told_once
from .stage import Controls, Stage
from .terminal import is_capable

_LOG = logging.getLogger(__name__)

Ui: TypeAlias = Literal["auto", "curses", "plain", "json", "none"]

UIS: tuple[Ui, ...] = ("auto", "curses", "plain", "json", "none")
"""The ways to show a run."""

ASCII_VARIABLE = "ORCHESTRION_ASCII"
"""Set to anything but 0, it has only ASCII characters drawn."""


class EngineCurses(Engine):
    """An Engine whose `orchestrate` shows the run while it runs.

    On a terminal it takes the whole screen, with a line for each job; elsewhere it prints a line
    for each change of state.  Only the outermost `orchestrate` shows: `corun()` and engines inside
    this one draw nothing.

    Args:
        jobs: those of :class:`engine.Engine`.
        ui: ``"auto"`` is ``"curses"`` (the screen) on a terminal that can show it and whose
            foreground we are, else ``"plain"`` (lines); ``"json"`` prints each event as a line of
            JSON; ``"none"`` shows nothing.
        ascii: draw with ASCII characters only; None asks the encoding of stdout.
        options: those of :class:`engine.Engine`.

    Raises:
        BadOption: `ui` is none of these.

    >>> from engine import Job
    >>> async def load(): pass
    >>> engine = EngineCurses(Job(load, label="load"), ui="none")
    >>> engine.orchestrate()
    True
    """

    def __init__(
        self,
        *jobs: AbstractJob | Sequence,
        ui: Ui = "auto",
        ascii: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*jobs, **options)
        _check(ui)
        self.ui = ui
        self.ascii = ascii

    def orchestrate(self, timeout: float | None = None) -> bool:
        """Run, shut down and tell, as :meth:`engine.Engine.orchestrate`, and show it meanwhile."""
        with (
            _shown(self, self.ui, self.ascii) as display,
            watch(lambda engine: display if engine is self else None),
        ):
            return super().orchestrate(timeout)


@contextmanager
def attach(
    engine: Engine | None = None,
    *,
    ui: Ui = "auto",
    ascii: bool | None = None,
) -> Iterator[None]:
    """Show the runs of an engine of any kind, by `orchestrate()` or `corun()`.

    Args:
        engine: the outermost one; None shows every run that starts meanwhile, one at a time, an
            EngineCurses among them as it says itself.
        ui: as for :class:`EngineCurses`.
        ascii: likewise.

    Raises:
        BadOption: `ui` is not one of those.

    >>> from engine import Job
    >>> async def load(): pass
    >>> engine = Engine(Job(load, label="load"))
    >>> with attach(engine, ui="none"):
    ...     engine.orchestrate()
    True
    """
    _check(ui)
    # As one run is shown at a time, the one before has been closed when another one comes.
    last: _Guest | None = None
    pid = os.getpid()

    def guest(started: Engine) -> _Guest | None:
        nonlocal last
        # A child process inherits this, but not the thread that shows something.
        if (engine is not None and started is not engine) or os.getpid() != pid:
            return None
        if engine is None and isinstance(started, EngineCurses):
            coming = _Guest(started, started.ui, started.ascii)
        else:
            coming = _Guest(started, ui, ascii)
        if not coming.shows:
            return None
        last = coming
        return coming

    with watch(guest):
        try:
            yield
        finally:
            if last is not None:
                last.close()


class _Guest:
    """Shows a run that somebody else began; ends with the run, or when it is closed."""

    def __init__(self, engine: Engine, ui: Ui, ascii_only: bool | None) -> None:
        self._engine = engine
        self._signals = ExitStack()
        self._shown = ExitStack()
        # Whoever began the run may be long in leaving it, after a second Ctrl-C.
        is_lost = asyncio.get_running_loop().is_closed
        self._display = self._shown.enter_context(_shown(engine, ui, ascii_only, is_lost))
        if self._display is not None and hasattr(self._display, "put_progress"):
            self.put_progress = self._display.put_progress

    @property
    def shows(self) -> bool:
        """There is something that it does: it was not told to show nothing."""
        return self._display is not None

    def put_nowait(self, event: Tick) -> None:
        """Show an event."""
        if isinstance(event, RunStarted):
            self._signals.enter_context(exits_on_signals(self._engine.cancel))
        if self._display is not None:
            self._display.put_nowait(event)
        if isinstance(event, RunEnded):
            self.close()

    def close(self) -> None:
        """Give the terminal back; a second call does nothing."""
        with self._signals:
            self._shown.close()


class _Controls:
    """What keys may do to a run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_signal = threading.current_thread() is threading.main_thread()

    def cancel_job(self, job: str) -> None:
        """Cancel the job of this id."""
        self._engine.find(job).cancel()

    def stop_run(self) -> None:
        """Do what Ctrl-C does; in another thread than the main one that cancels the run."""
        if self._by_signal:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            self._engine.cancel()

    def cancel_run(self, reason: str) -> None:
        """Cancel the run, for this reason."""
        self._engine.cancel(reason)


_showing = threading.Lock()
"""Held while a run is shown: runs that begin meanwhile, inside it or beside it, are not."""

_rules: list[tuple[Ui | None, bool | None]] = []
"""What `ruled` was told; the last counts."""


@contextmanager
def ruled(ui: Ui | None, ascii_only: bool | None) -> Iterator[None]:
    """Have runs that begin meanwhile shown so, whatever their engines say; None: as these say."""
    rule = ui, ascii_only
    _rules.append(rule)
    try:
        yield
    finally:
        _rules.remove(rule)


@contextmanager
def _shown(
    engine: Engine, ui: Ui, ascii_only: bool | None, is_lost: Callable[[], bool] = lambda: False
) -> Iterator[Display | None]:
    """Give the display for the run that is about to begin, or None if it shows nothing."""
    if _rules:
        ruled_ui, ruled_ascii = _rules[-1]
        ui = ui if ruled_ui is None else ruled_ui
        ascii_only = ascii_only if ruled_ascii is None else ruled_ascii
    if ui == "none" or not _showing.acquire(blocking=False):
        yield None
        return
    try:
        face = partial(_face, _Controls(engine), ui, ascii_only)
        display = Display(face, is_lost=is_lost, only_events=ui == "json")
        with told_once():
            try:
                yield display
            finally:
                display.close()
    finally:
        _showing.release()


def _face(controls: Controls, ui: Ui, ascii_only: bool | None) -> Face:
    if ui == "json":
        return Json()
    if ascii_only is None:
        ascii_only = _is_ascii_wanted()
    if ui in {"auto", "curses"} and is_capable():
        try:
            return Stage(controls, ascii_only=ascii_only)
        except OSError as error:
            _LOG.warning("no screen, plain lines instead: %s", error)
    elif ui == "curses":
        _LOG.warning("no screen, plain lines instead: stdin and stdout are not a terminal in front")
    return Plain(ascii_only=ascii_only)


def _is_ascii_wanted() -> bool:
    if os.environ.get(ASCII_VARIABLE, "0") not in {"", "0"}:
        return True
    # A stream without an encoding, as io.StringIO is, takes every character.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        "\u2714\u2500\u25b6".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def _check(ui: object) -> None:
    if ui not in UIS:
        raise BadOption(f"ui is one of {', '.join(UIS)}, not {safe_repr(ui, 40)}", "ui", ui)
