"""The command ``orchestrion``: ``orchestrion run scenario.py`` shows the runs of any program.

The program is run as ``python scenario.py`` would run it, and its engines are watched from outside,
by :func:`engine.watch`.  If it runs none of them, the one that it has made is run at its end.
"""

from __future__ import annotations

import concurrent.futures.thread
import math
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from engine import Engine, EngineError, watch
from engine.text import safe_line

from .curses import UIS, Ui, attach, ruled
from .deadly import exits_on_signals
from .journal import Journal
from .runs import Runs
from .script import Script, without_first_frame

UNUSABLE = 2
"""Exit status if what the command line says cannot be done."""

INTERRUPTED = 130
"""Exit status of a run that Ctrl-C has stopped."""

PATIENCE = 0.1
"""Seconds between two looks at the threads that are waited for."""

EXAMPLES = """\b
Examples:
  orchestrion run scenario.py
  orchestrion run --ui plain --timeout 600 scenario.py -- --hosts 12
  orchestrion run labs.py:nightly --log nightly.jsonl
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for; None leaves it to the program.

    Attributes:
        path: of the program.
        name: of the engine to run, if the program only makes it.
        arguments: of the program.
        ui: how to show runs.
        ascii: draw with ASCII characters only.
        timeout: seconds that each run may take.
        jobs_window: how many jobs of each run may run at once.
        log: path of the file that events are added to.
    """

    path: str
    name: str | None
    arguments: tuple[str, ...]
    ui: Ui | None
    ascii: bool | None
    timeout: float | None
    jobs_window: int | None
    log: str | None


def _seconds(text: str) -> float:
    """Read a number of seconds."""
    with suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    raise click.BadParameter(f"{text!r} is not a number of seconds, 0 or more")


def _jobs(text: str) -> int:
    """Read how many jobs may run at once."""
    with suppress(ValueError):
        jobs = int(text)
        if jobs >= 1:
            return jobs
    raise click.BadParameter(f"{text!r} is not a number of jobs, 1 or more")


@click.group()
@click.version_option(package_name="orchestrion", message="%(prog)s %(version)s")
def orchestrion() -> None:
    """Run jobs that wait for each other, and watch them in the terminal."""


@orchestrion.command(
    "run", short_help="Run a program and show what its engines do.", epilog=EXAMPLES
)
@click.argument("scenario", metavar="SCENARIO.py[:ENGINE]")
@click.argument("arguments", nargs=-1, metavar="[-- ARGUMENTS]")
@click.option(
    "--ui",
    type=click.Choice(UIS),
    help="How to show it. auto: on the screen where there is one, else as plain lines.",
)
@click.option("--ascii", is_flag=True, default=None, help="Draw with ASCII characters only.")
@click.option(
    "--timeout",
    type=_seconds,
    metavar="SECONDS",
    help="Stop a run that takes longer than that.",
)
@click.option(
    "--jobs-window",
    type=_jobs,
    metavar="N",
    help="Have at most N jobs running at once.",
)
@click.option("--log", metavar="FILE", help="Add all events to FILE, each a line of JSON.")
def run(scenario: str, **options: Any) -> Order:
    """Run a program as python would, and show the runs of its engines.

    If the program runs no Engine, the one that it makes at its top level is run at its end; ENGINE
    tells its name where there are several.  What follows -- is for the program.

    The exit status is that of the program, if it ends with sys.exit() or by an exception. Else it
    is 0 if all runs went well, 1 if not, 124 after a timeout, 130 after Ctrl-C.
    """
    path, colon, name = scenario.rpartition(":")
    if not colon or not name.isidentifier() or Path(scenario).exists():
        return Order(scenario, None, **options)
    return Order(path, name, **options)


def main() -> NoReturn:
    """Do what the command line says, and exit."""
    try:
        ending = _carry_out(_order())
    except KeyboardInterrupt as error:
        ending = error
    if isinstance(ending, KeyboardInterrupt):
        # All that is to be told has been.  Python ends now as programs do that Ctrl-C has ended.
        sys.excepthook = _tell_nothing
        raise KeyboardInterrupt from None
    sys.exit(ending.code if isinstance(ending, SystemExit) else 1)


def _order() -> Order:
    """Read the command line; exit if it asks for nothing that could be carried out."""
    try:
        # Not in standalone mode, nor inside click: the program may have its own use for it.
        order = orchestrion.main(prog_name="orchestrion", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption):
            _say("options of the program follow --, as in: run scenario.py -- --hosts 12")
        sys.exit(error.exit_code)
    except click.Abort:
        raise KeyboardInterrupt from None
    if not isinstance(order, Order):  # it was --help, or --version
        sys.exit(order)
    return order


def _carry_out(order: Order) -> BaseException:
    """Run the program and what it has made; return what to end with, which has been told."""
    try:
        script = Script(order.path, order.arguments)
    except OSError as error:
        _refuse(f"can't open file {order.path!r}: {error.strerror}")
    with ExitStack() as shown:
        log = None if order.log is None else shown.enter_context(closing(Journal(order.log, _say)))
        runs = Runs(order.timeout, order.jobs_window, log, _say)
        shown.enter_context(watch(runs.begin))
        shown.enter_context(ruled(order.ui, order.ascii))
        shown.enter_context(attach())
        ending = script.run()
        if ending is not None and not _is_told(ending, runs):
            _tell(ending)
        if isinstance(ending, KeyboardInterrupt):
            runs.cancel("interrupted by SIGINT")
        interrupted = _wait_for_threads(runs)
        ending = ending if interrupted is None else interrupted
        if ending is None:
            engine = _engine_to_run(order, script.all_of(Engine), runs)
            ending = None if engine is None else _orchestrate(engine)
        elif isinstance(ending, SystemExit) and order.name is not None and not runs.count:
            _say(f"{order.path} left by sys.exit(), so {order.name} was not run")
            ending = SystemExit(ending.code or 1)
    return SystemExit(runs.status) if ending is None else ending


def _is_told(ending: BaseException, runs: Runs) -> bool:
    """Whether nothing is to be said of what a program has ended with.

    Of a Ctrl-C that has stopped a run its summary tells; a traceback would only show our own code.
    """
    if isinstance(ending, KeyboardInterrupt):
        return runs.status == INTERRUPTED
    return isinstance(ending, SystemExit)


def _wait_for_threads(runs: Runs) -> BaseException | None:
    """Wait for threads as Python does at its end; return what has interrupted that, if anything.

    Their runs know nothing of signals, which only the main thread gets: they are cancelled first.
    """
    try:
        with exits_on_signals(runs.cancel):
            _join_threads()
    except (KeyboardInterrupt, SystemExit) as error:
        runs.cancel("interrupted")
        _join_threads()
        return error
    return None


def _join_threads() -> None:
    main = threading.main_thread()
    while others := [
        each
        for each in threading.enumerate()
        if each is not main and not each.daemon and not _is_idle_worker(each)
    ]:
        others[0].join(PATIENCE)


def _is_idle_worker(thread: threading.Thread) -> bool:
    """Whether a thread is one of a ThreadPoolExecutor, as loops have, and has nothing to do.

    It waits for work until Python itself, at its very end, tells it to go.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_filename == concurrent.futures.thread.__file__


def _engine_to_run(order: Order, engines: dict[str, Engine], runs: Runs) -> Engine | None:
    """Return the engine that the program has made and not run, if there is one.

    Args:
        order: may say which.
        engines: those at the top level of the program, by name.
        runs: of the program.
    """
    if order.name is not None:
        if order.name not in engines:
            _refuse(f"{order.path} has no engine {order.name!r}; it has {_listed(engines)}")
        engine = engines[order.name]
        return engine if engine.is_idle() else None
    if runs.count:
        return None
    outermost = {it: name for name, it in reversed(engines.items()) if it.engine is None}
    if not outermost:
        _say(f"{order.path} has run no engine, and has none at its top level")
        return None
    if len(outermost) > 1:
        *_, first = names = list(outermost.values())
        _refuse(f"{order.path} has {_listed(reversed(names))}: say which, as {order.path}:{first}")
    return next(iter(outermost))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _orchestrate(engine: Engine) -> BaseException | None:
    """Run an engine; return what came out of it other than its verdict, which has been told."""
    try:
        engine.orchestrate()
    except EngineError as error:
        _say(f"{error}")
        return error
    except (KeyboardInterrupt, SystemExit) as error:
        return error
    except BaseException as error:
        _tell(without_first_frame(error))
        return error
    return None


def _tell(error: BaseException) -> None:
    """Tell an error as Python does that ends a program."""
    sys.excepthook(type(error), error, error.__traceback__)


def _tell_nothing(*error: object) -> None:
    """Take the place of `sys.excepthook`."""


def _refuse(text: str) -> NoReturn:
    _say(text)
    sys.exit(UNUSABLE)


def _say(text: str) -> None:
    """Tell the user something in a line on stderr."""
    with suppress(OSError, ValueError):  # nobody reads it, or the program has closed it
        sys.stderr.write(f"orchestrion: {safe_line(text)}\n")
