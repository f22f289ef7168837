"""The synchronous door: one loop per thread, inside of other loops, and what signals do to it."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from engine import Engine, Job, NotACoroutine, State, run
from engine.loop import LeaveNow, if_left
from tests.engine.cast import (
    fail,
    for_ever,
    leave_out_on_uvloop,
    nothing,
    program,
    python,
    value,
)
from tests.processes import pause, wait_until

PRELUDE = """
import asyncio, os, signal, sys, threading, time
from contextlib import suppress
from engine import CallJob, Engine, Job, Pool, run

async def work(seconds=60, cleanup=0):
    print("started")
    try:
        await asyncio.sleep(seconds)
        print("done")
    except asyncio.CancelledError:
        print("cancelled")
        if cleanup:
            await asyncio.sleep(cleanup)
            print("clean")
        raise

async def block(seconds=60):
    print("started")
    time.sleep(seconds)
    print("done")

async def shutdown():
    print("shutdown")

async def nothing():
    pass

def go(engine):
    try:
        print(engine.orchestrate())
    except BaseException as error:
        print(type(error).__name__, getattr(error, "code", ""), engine.exit_status)
        print(engine.why())
"""


async def this_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def this_thread() -> int:
    return threading.get_ident()


# -- run -------------------------------------------------------------------------------------


def test_run_returns_the_result_or_raises_the_error() -> None:
    assert run(value(42)) == 42
    with pytest.raises(ValueError, match="boom"):
        run(fail())


@pytest.mark.parametrize("error", [KeyboardInterrupt("k"), SystemExit(3), asyncio.CancelledError()])
def test_what_the_coroutine_raises_comes_out_as_it_is(error: BaseException) -> None:
    loop = run(this_loop())
    with pytest.raises(type(error)) as raised:
        run(fail(error))
    if not isinstance(error, asyncio.CancelledError):
        assert raised.value is error
    assert run(this_loop()) is loop


@pytest.mark.parametrize("wrong", [42, None, nothing, this_loop, [], "text"])
def test_what_is_no_coroutine_is_refused(wrong: Any) -> None:
    with pytest.raises(NotACoroutine, match=r"run\(main\(\)\)"):
        run(wrong)


def test_all_runs_of_a_thread_share_a_loop() -> None:
    loop = run(this_loop())
    job = Job(this_loop)
    for _ in range(3):
        assert Engine(job).orchestrate()
        assert job.result() is loop
        assert run(this_loop()) is loop
    assert not loop.is_closed()


def test_another_thread_has_another_which_is_closed_at_its_end() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    def work() -> None:
        loops.append(run(this_loop()))
        assert Engine(Job(nothing)).orchestrate()
        loops.append(run(this_loop()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert loops[0] is loops[1] is not run(this_loop())
    assert loops[0].is_closed()


def test_a_loop_that_somebody_closed_is_replaced() -> None:
    def work() -> None:
        run(this_loop()).close()
        verdicts.append(Engine(Job(nothing)).orchestrate())

    verdicts: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert verdicts == [True]


def test_it_does_not_mind_asyncio_run() -> None:
    loop = run(this_loop())
    assert asyncio.run(this_loop()) is not loop
    assert run(this_loop()) is loop


def test_what_one_run_leaves_goes_on_in_the_next() -> None:
    """As connections do, that serve several runs."""
    bus: asyncio.Queue[int] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def forward(out: list[int]) -> None:
        while (item := await bus.get()) != 0:
            out.append(item)

    async def start(out: list[int]) -> None:
        tasks.append(asyncio.create_task(forward(out)))

    async def put(item: int) -> None:
        await bus.put(item)

    out: list[int] = []
    assert Engine(Job(start, out)).orchestrate()
    for item in (1, 2, 0):
        assert Engine(Job(put, item)).orchestrate()
    run(value(tasks[0]))
    assert run(wait_for(tasks[0])) is None
    assert out == [1, 2]


async def wait_for(task: asyncio.Task[None]) -> None:
    await task


# -- where a loop is running already ---------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def cell(action: Callable[[], Any]) -> Any:
    """Do something where a loop is running in this thread, as in the cell of a notebook."""

    async def inside() -> Any:
        return action()

    return asyncio.run(inside())


def test_in_a_running_loop_it_works_and_waits() -> None:
    job = Job(this_thread)
    assert cell(Engine(job, Job(value, 1, 0.01)).orchestrate) is True
    assert job.result() != threading.get_ident()
    assert cell(Engine(Job(fail)).orchestrate) is False
    assert cell(lambda: run(value(3))) == 3


def test_cells_share_the_loop_of_the_thread() -> None:
    loop = run(this_loop())
    bus: asyncio.Queue[int] = asyncio.Queue()

    async def put() -> None:
        await bus.put(7)

    async def get() -> int:
        assert asyncio.get_running_loop() is loop
        return await bus.get()

    job = Job(get)

    async def cells() -> None:
        assert Engine(Job(put)).orchestrate()
        assert Engine(job).orchestrate()

    asyncio.run(cells())
    assert job.result() == 7


def test_errors_and_context_pass_through() -> None:
    async def read() -> str:
        return variable.get()

    def inside() -> None:
        variable.set("from the cell")
        assert run(read()) == "from the cell"
        with pytest.raises(KeyboardInterrupt):
            Engine(Job(fail, KeyboardInterrupt())).orchestrate()
        with pytest.raises(ValueError, match="boom"):
            run(fail())

    cell(inside)


def test_from_a_job_of_another_engine() -> None:
    """It blocks the loop of that job meanwhile, and has one of its own."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def nested() -> bool:
        loops.append(asyncio.get_running_loop())
        inner = Job(this_loop)
        verdict = Engine(inner).orchestrate()
        loops.append(inner.result())
        return verdict

    job = Job(nested)
    assert Engine(job).orchestrate()
    assert job.result() is True
    assert loops[0] is not loops[1]
    assert loops[1].is_closed()


def test_from_a_job_of_a_job_of_a_job() -> None:
    async def deeper(depth: int) -> bool:
        return depth == 0 or Engine(Job(deeper, depth - 1)).orchestrate()

    job = Job(deeper, 4)
    assert Engine(job).orchestrate()
    assert job.result() is True


def test_in_many_threads_at_once() -> None:
    verdicts: list[bool] = []

    def work() -> None:
        verdicts.extend(Engine(Job(value, 1, 0.001)).orchestrate() for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 40


# -- signals, in this process ----------------------------------------------------------------


@contextmanager
def handler(number: signal.Signals, handle: Any) -> Iterator[None]:
    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_handlers_are_ours_during_a_run_and_what_they_were_after_it(number: signal.Signals) -> None:
    default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL

    async def look() -> Any:
        return signal.getsignal(number)

    for end in (look, fail):
        with handler(number, default):
            job = Job(look)
            Engine(job, Job(end, required=job)).orchestrate()
            assert job.result() is not default
            assert signal.getsignal(number) is default


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_handlers_of_the_program_are_left_alone(number: signal.Signals) -> None:
    got: list[int] = []

    def mine(signum: int, frame: FrameType | None) -> None:
        got.append(signum)

    async def send() -> None:
        signal.raise_signal(number)
        await asyncio.sleep(0)
        assert signal.getsignal(number) is mine

    with handler(number, mine):
        assert Engine(Job(send)).orchestrate()
    assert got == [number]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_ignored_stays_ignored(number: signal.Signals) -> None:
    async def send() -> None:
        signal.raise_signal(number)
        await asyncio.sleep(0)

    with handler(number, signal.SIG_IGN):
        assert Engine(Job(send)).orchestrate()
        assert signal.getsignal(number) is signal.SIG_IGN


def test_a_run_in_another_thread_installs_nothing() -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=Engine(Job(look)).orchestrate)
    thread.start()
    thread.join()
    assert seen == [before]


class Alarm(Exception):
    """What the handler of the program raises."""


class HardAlarm(BaseException):
    """The same, harder."""


@pytest.mark.parametrize("kind", [Alarm, HardAlarm, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["here", "in a running loop"])
def test_an_error_thrown_by_a_handler_of_the_program(kind: type[BaseException], where: str) -> None:
    """It comes out; the run is stopped and shut down first, and does not go on as a ghost."""
    log: list[str] = []

    async def work() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            await asyncio.sleep(60)
            log.append("ghost")
        finally:
            log.append("end")

    async def shutdown() -> None:
        log.append("shutdown")

    def alarm(signum: int, frame: FrameType | None) -> None:
        raise kind

    if where == "here" and kind in {Alarm, HardAlarm}:
        leave_out_on_uvloop("its loop logs what handlers raise, other than an order to leave")
    engine = Engine(Job(work, coshutdown=shutdown))
    with handler(signal.SIGALRM, alarm), pytest.raises(kind):
        engine.orchestrate() if where == "here" else cell(engine.orchestrate)
    assert log == ["end", "shutdown"]
    assert engine.jobs[0].state is State.CANCELLED
    assert Engine(Job(asyncio.sleep, 0.3)).orchestrate()
    assert "ghost" not in log
    engine.shutdown()
    assert log.count("shutdown") == 1


def test_a_signal_in_a_job_stops_the_run_and_comes_out() -> None:
    log: list[str] = []

    async def send(number: signal.Signals) -> None:
        signal.raise_signal(number)
        try:
            await for_ever()
        finally:
            log.append("cancelled")

    async def shutdown() -> None:
        log.append("shutdown")

    for number, kind, status in (
        (signal.SIGINT, KeyboardInterrupt, 130),
        (signal.SIGTERM, SystemExit, 143),
        (signal.SIGHUP, SystemExit, 129),
    ):
        log.clear()
        engine = Engine(Job(send, number, coshutdown=shutdown), Job(for_ever))
        before = signal.getsignal(number)
        default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        with handler(number, default), pytest.raises(kind) as raised:
            engine.orchestrate()
        assert signal.getsignal(number) is before
        assert getattr(raised.value, "code", 0) in {0, status}
        assert log == ["cancelled", "shutdown"]
        assert engine.exit_status == status
        assert number.name in engine.why() or str(number.value) in engine.why()
        assert Engine(Job(nothing)).orchestrate()


def test_a_signal_in_shutdown_lets_it_end() -> None:
    log: list[str] = []

    async def shutdown() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.02)
        log.append("shut down")

    engine = Engine(Job(nothing, coshutdown=shutdown))
    with handler(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        engine.orchestrate()
    assert log == ["shut down"]
    assert engine.exit_status == 130


LEAVES_TWICE = """
async def stuck():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    time.sleep(30)

async def other():
    await asyncio.sleep(0.05)
    print("went on")

async def this_loop():
    return asyncio.get_running_loop()

pool, loop = Pool(1), run(this_loop())
first, last = Job(stuck, pool=pool), Job(nothing)
engine = Engine(Job(other), first, last.requires(first))
start = time.monotonic()
go(engine)
print(time.monotonic() - start < 25, *(job.state for job in engine))
print(run(this_loop()) is not loop, loop.is_closed(), pool.holders)
print(Engine(Job(work, 0.1, pool=pool), timeout=60).orchestrate())
engine.remove(last)
engine.remove(first)
print(engine.orchestrate())
"""


def test_a_second_one_leaves_at_once_and_the_next_run_is_not_hurt() -> None:
    done = python(PRELUDE + LEAVES_TWICE, "-W", "error")
    assert done.stdout.splitlines() == [
        "KeyboardInterrupt  130",
        "left at once by a second Ctrl-C",
        "True cancelled cancelled skipped",
        "True True ()",
        "started",
        "done",  # and nothing of the run before
        "True",
        "went on",
        "True",
    ]
    assert (done.returncode, done.stderr) == (0, "")


LEAVES_TELLING = """
from engine import RunStopping, watch
from engine.testing import Story

async def stuck():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    time.sleep(30)

async def read(queue):
    while True:
        await queue.get()

class Meddler:
    def put_nowait(self, tick):
        if story.ticks[-1].seq > 10:
            engine.cancel()
            for job in engine.iterate_jobs():
                job.cancel()

def leave(door):
    global engine, story
    queue, story = asyncio.Queue(), Story()
    bus = Job(read, queue, forever=True)
    inner = Engine(Job(work), Job(nothing))
    inner.jobs[1].requires(inner.jobs[0])
    engine = Engine(bus, inner, Job(nothing, required=inner), message_queue=queue)
    engine.add(Job(stuck, after=bus))
    try:
        with watch(lambda engine: story), watch(lambda engine: Meddler()):
            door()
    except KeyboardInterrupt:
        print(engine.exit_status, engine.state, engine.stats())
    story.check()
    stopping = [tick.reason.value for tick in story.ticks if isinstance(tick, RunStopping)]
    print(stopping, story.ticks[-1].ok, story.ticks[-1].why)

leave(lambda: engine.orchestrate())
leave(lambda: run(engine.corun()))
engine.keep_only(engine.jobs[1:3])
print(engine.orchestrate(timeout=0.1))
"""


def test_a_run_that_is_left_at_once_tells_its_end() -> None:
    """To all its readers, as their loop is not closed yet; and whatever door it went through."""
    done = python(PRELUDE + LEAVES_TELLING, "-W", "error")
    stats = "4 jobs: 2 cancelled, 2 skipped; 1 forever job: 1 cancelled; 1 engine: 1 cancelled"
    left = [
        f"130 cancelled {stats}",
        "['signal'] False left at once by a second Ctrl-C",
    ]
    assert done.stdout.splitlines() == [*left, *left, "started", "cancelled", "False"]
    assert (done.returncode, done.stderr) == (0, "")


LEAVES_SHUTDOWN = """
async def stuck():
    signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGINT)

async def never():
    print("never")

engine = Engine(Job(nothing, coshutdown=never) >> Job(nothing, coshutdown=stuck))
engine.add(engine.jobs[0].required[0])
go(engine)
import gc
gc.collect()
"""

LEAVES_A_CELL = """
unblocked = threading.Event()

async def block():
    print("started")
    signals.start()
    unblocked.wait()
    print("goes on to where it waits")
    await asyncio.sleep(60)
    print("never")

def send():
    for _ in range(2):
        for _ in range(5): time.sleep(0.05)  # two that come at once are one
        os.kill(os.getpid(), signal.SIGINT)

async def never():
    print("never")

async def cell():
    go(engine)

signals = threading.Thread(target=send)
helpers = threading.active_count()
engine = Engine(Job(work), Job(block, coshutdown=never), Job(never))
asyncio.run(cell())
unblocked.set()
signals.join()
while threading.active_count() > helpers: time.sleep(0.01)
print(*(job.state for job in engine))
import gc
gc.collect()
"""


ENDED_BY_A_JOB = """
async def end():
    raise SystemExit(3)

for door in (lambda: Engine(Job(end)).orchestrate(), lambda: run(end())):
    try: door()
    except SystemExit as error: print(error.code)
import gc
gc.collect()
"""


def test_what_comes_out_is_not_said_to_be_lost() -> None:
    done = python(PRELUDE + ENDED_BY_A_JOB)
    assert done.stdout.splitlines() == ["3", "3"]
    assert done.stderr.splitlines() == ["NOLABEL (end) failed: SystemExit: 3"]


LEAVES_TWO = """
from engine import watch
from engine.testing import Story

async def count():
    signals.start()
    with suppress(asyncio.CancelledError): await asyncio.sleep(60)
    await asyncio.sleep(60)
    print("never")

async def inner():
    nested.orchestrate()

async def never():
    print("never")

def send():
    for _ in range(2):
        for _ in range(5): time.sleep(0.05)  # two that come at once are one
        os.kill(os.getpid(), signal.SIGINT)

signals = threading.Thread(target=send)
threads, stories = threading.active_count(), []
nested = Engine(Job(count), label="nested")
with watch(lambda engine: stories.append(Story()) or stories[-1]):
    go(Engine(Job(inner, coshutdown=never)))
for story in stories: story.check()
print(len(stories), nested.why())
signals.join()
while threading.active_count() > threads: time.sleep(0.01)
import gc
gc.collect()
"""


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (LEAVES_SHUTDOWN, []),
        (LEAVES_TWO, ["2 left at once by a second Ctrl-C"]),
        (
            LEAVES_A_CELL,
            ["goes on to where it waits", "cancelled cancelled cancelled"],
        ),
    ],
    ids=["in shutdown", "in a run in a run", "in a cell"],
)
def test_nothing_complains_of_what_was_left_at_once(code: str, lines: list[str]) -> None:
    done = python(PRELUDE + code, "-W", "error")
    told = ["KeyboardInterrupt  130", "left at once by a second Ctrl-C"]
    started = done.stdout.splitlines().index(told[0])
    assert done.stdout.splitlines()[started:] == [*told, *lines]
    assert (done.returncode, done.stderr) == (0, "")


def test_what_runs_in_the_loop_of_somebody_else_is_not_left_with_ours() -> None:
    left: list[str] = []

    async def note(name: str) -> None:
        if_left(lambda: left.append(name))

    def leave() -> None:
        raise LeaveNow

    async def main() -> None:
        await asyncio.to_thread(asyncio.run, note("theirs"))
        await note("ours")
        asyncio.get_running_loop().call_soon(leave)
        await for_ever()

    def door() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(main())

    # In a thread, as the loop that is left is closed: that of this one is for all tests.
    thread = threading.Thread(target=door)
    thread.start()
    thread.join()
    assert left == ["ours"]


# -- signals, in programs of their own -------------------------------------------------------


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a process has not taken notice of a signal yet: a second one would be lost."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [
        line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))
    ]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def ends(code: str, *signals: signal.Signals) -> tuple[int, list[str], float, str]:
    """Start a program and send it signals once it has started; return how it ended, and when."""
    with program(PRELUDE + code) as running:
        running.wait_for("started")
        pid = running.process.pid
        for number in signals:
            wait_until(lambda number=number: not is_pending(pid, number), 30, "the signal before")  # type: ignore[misc]
            pause(0.2)
            running.process.send_signal(number)
        start = time.monotonic()
        status, lines = running.end()
        return status, lines, time.monotonic() - start, running.errors


CODES: dict[str, str] = {
    "one job": "Engine(Job(work, coshutdown=shutdown)).orchestrate()",
    "nested": "Engine(Engine(Job(work, coshutdown=shutdown))).orchestrate()",
    "corun": "run(Engine(Job(work, coshutdown=shutdown)).corun())",
    "cell": """
loop = asyncio.new_event_loop()
async def cell(): Engine(Job(work, coshutdown=shutdown)).orchestrate()
try: loop.run_until_complete(cell())
finally: loop.close()
""",
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_one_signal_cancels_shuts_down_and_comes_out(
    code: str, number: signal.Signals, status: int
) -> None:
    got, lines, took, errors = ends(CODES[code], number)
    assert (got, lines) == (status, ["cancelled", "shutdown"])
    assert took < 30
    assert "never" not in errors
    assert errors.count("Traceback") == (1 if number is signal.SIGINT else 0)


def test_ctrl_c_in_a_cell_of_asyncio_run() -> None:
    """Its own handler of Ctrl-C is left alone, and the run is stopped all the same."""
    code = """
async def main(): Engine(Job(work, coshutdown=shutdown)).orchestrate()
asyncio.run(main())
"""
    status, lines, took, _ = ends(code, signal.SIGINT, signal.SIGINT)
    assert status == -signal.SIGINT
    assert lines == ["cancelled", "shutdown"]
    assert took < 30


def test_the_first_is_patient_and_the_second_is_not() -> None:
    code = "Engine(Job(work, 60, 60, coshutdown=shutdown), cancel_grace=60).orchestrate()"
    status, lines, took, errors = ends(code, signal.SIGINT, signal.SIGINT)
    assert (status, lines) == (-signal.SIGINT, ["cancelled"])
    assert took < 30
    assert "KeyboardInterrupt" in errors
    assert "never" not in errors


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, -2), (signal.SIGTERM, 143)])
def test_one_reaches_a_run_that_a_job_waits_for(number: signal.Signals, ended: int) -> None:
    code = """
inner = Engine(Job(work, coshutdown=shutdown))
async def nested():
    inner.orchestrate()
outer = Engine(Job(nested, coshutdown=shutdown), Job(nothing))
try: outer.orchestrate()
finally: print(inner.exit_status, outer.exit_status, outer.why())
"""
    status, lines, took, errors = ends(code, number)
    assert status == ended
    told = f"{128 + number} {128 + number} interrupted by {number.name}"
    assert lines == ["cancelled", "shutdown", "shutdown", told]
    assert took < 30
    assert "never" not in errors


def test_a_second_one_gets_out_of_a_blocked_loop() -> None:
    code = "Engine(Job(block, coshutdown=shutdown), Job(work)).orchestrate()"
    status, lines, took, errors = ends(code, signal.SIGINT, signal.SIGINT)
    assert (status, lines) == (-signal.SIGINT, [])
    assert took < 30
    assert "in block" in errors  # the traceback tells where
    assert "never" not in errors


def test_out_of_a_blocked_loop_in_a_cell() -> None:
    code = CODES["cell"].replace("work", "block")
    status, _, took, errors = ends(code, signal.SIGINT, signal.SIGINT)
    assert status == -signal.SIGINT
    assert took < 30
    assert "never" not in errors


def test_the_first_is_enough_once_a_blocked_loop_turns() -> None:
    code = "Engine(Job(block, 1), Job(work, coshutdown=shutdown)).orchestrate()"
    status, lines, took, _ = ends(code, signal.SIGINT)
    assert status == -signal.SIGINT
    assert lines[-1] == "shutdown"
    assert took < 30


def test_a_thread_that_runs_does_not_hold_it_up() -> None:
    code = """
def nap():
    print("started")
    time.sleep(60)
Engine(CallJob(nap)).orchestrate()
"""
    status, _, took, errors = ends(code, signal.SIGINT)
    assert status == -signal.SIGINT
    assert took < 30
    assert "never" not in errors


def test_one_that_swallows_it_is_abandoned_after_the_grace() -> None:
    code = """
async def mule():
    print("started")
    while True:
        with suppress(asyncio.CancelledError): await asyncio.sleep(60)
Engine(Job(mule, label="mule", coshutdown=shutdown), cancel_grace=0.2).orchestrate()
"""
    status, lines, took, errors = ends(code, signal.SIGTERM)
    assert (status, lines) == (143, ["shutdown"])
    assert took < 30
    assert "mule abandoned" in errors


def test_afterwards_the_program_can_go_on() -> None:
    code = """
go(Engine(Job(work, coshutdown=shutdown)))
print(Engine(Job(work, 0)).orchestrate())
"""
    status, lines, _, _ = ends(code, signal.SIGINT)
    assert status == 0
    assert lines[:3] == ["cancelled", "shutdown", "KeyboardInterrupt  130"]
    assert lines[-3:] == ["started", "done", "True"]


def test_sigterm_leaves_by_system_exit() -> None:
    status, lines, _, _ = ends("go(Engine(Job(work)))", signal.SIGTERM)
    assert status == 0
    assert lines[1] == "SystemExit 143 143"


def test_a_program_under_nohup_does_not_mind_a_hang_up() -> None:
    with program(PRELUDE + "print(Engine(Job(work, 0.5)).orchestrate())", "nohup") as running:
        running.wait_for("started")
        running.process.send_signal(signal.SIGHUP)
        status, lines = running.end()
    assert (status, lines) == (0, ["done", "True"])


def test_a_run_in_a_thread_lets_the_main_thread_have_its_signals() -> None:
    code = """
engine = Engine(Job(work, 60, coshutdown=shutdown))
over = threading.Event()
thread = threading.Thread(target=lambda: (engine.orchestrate(), over.set()))
try:
    thread.start()  # the signal may come before the next line is reached
    over.wait()
except KeyboardInterrupt:
    print("mine")
    engine.cancel()
    over.wait()
"""
    status, lines, _, _ = ends(code, signal.SIGINT)
    assert (status, lines) == (0, ["mine", "cancelled", "shutdown"])


def test_a_handler_of_the_program_decides() -> None:
    code = """
engine = Engine(Job(work, coshutdown=shutdown))
signal.signal(signal.SIGTERM, lambda *_: engine.cancel("told to"))
go(engine)
print(engine.why())
"""
    status, lines, _, _ = ends(code, signal.SIGTERM)
    assert status == 0
    assert lines[:3] == ["cancelled", "shutdown", "False"]
    assert "told to" in lines[3]


def test_in_a_run_inside_of_a_job() -> None:
    code = """
inner = Engine(Job(work, coshutdown=shutdown))
async def outer():
    inner.orchestrate()
Engine(Job(outer)).orchestrate()
"""
    status, lines, took, _ = ends(code, signal.SIGINT, signal.SIGINT)
    assert status == -signal.SIGINT
    assert took < 30
    assert "done" not in lines


FORK = """
import multiprocessing
fork = multiprocessing.get_context("fork")

def child():
    print("child", Engine(Job(work, 0.01)).orchestrate())

def start_and_wait():
    process = fork.Process(target=child)
    process.start()
    process.join(30)
    print("exit", process.exitcode)

async def in_a_job():
    start_and_wait()
"""


@pytest.mark.parametrize(
    "how",
    ["start_and_wait()", "Engine(Job(in_a_job)).orchestrate()", "asyncio.run(in_a_job())"],
)
def test_a_forked_child_has_a_loop_of_its_own(how: str) -> None:
    done = python(f"{PRELUDE}{FORK}run(nothing())\n{how}\nprint(run(asyncio.sleep(0, 'fine')))")
    assert done.stdout.splitlines() == ["started", "done", "child True", "exit 0", "fine"]
    assert done.returncode == 0


# -- at the end of the program ---------------------------------------------------------------


LEFT: dict[str, str] = {
    "a run": "print(Engine(Job(nothing)).orchestrate())",
    "an abandoned job": """
async def mule():
    while True:
        with suppress(asyncio.CancelledError): await asyncio.sleep(60)
print(Engine(Job(mule), timeout=0.01, cancel_grace=0.01).orchestrate())
""",
    "a task": """
async def leave():
    leave.task = asyncio.ensure_future(asyncio.sleep(60))
print(Engine(Job(leave)).orchestrate())
""",
    "an async generator": """
async def numbers():
    try:
        while True: yield 1
    finally: pass
async def first():
    first.numbers = numbers()
    return await anext(first.numbers)
print(Engine(Job(first)).orchestrate())
""",
    "a loop of a thread": """
thread = threading.Thread(target=lambda: print(Engine(Job(nothing)).orchestrate()))
thread.start()
thread.join()
""",
    "threads of to_thread": """
async def work(): await asyncio.to_thread(time.sleep, 0)
print(Engine(Job(work)).orchestrate())
""",
    "a cell": """
async def cell(): print(Engine(Job(nothing)).orchestrate())
asyncio.run(cell())
""",
}


@pytest.mark.parametrize("what", LEFT)
def test_a_program_ends_without_a_word(what: str) -> None:
    done = python(PRELUDE + LEFT[what], "-X", "dev", "-W", "error")
    assert done.returncode == 0
    assert done.stdout in {"True\n", "False\n"}
    lines = [line for line in done.stderr.splitlines() if "mule" not in line]
    assert lines == []


@pytest.mark.parametrize(
    ("engine", "status"),
    [
        ("Engine(Job(nothing))", 0),
        ("Engine(Job(work, 'no number'))", 1),
        ("Engine(Job(work), timeout=0.05)", 124),
    ],
)
def test_exit_status_is_for_sys_exit(engine: str, status: int) -> None:
    done = python(PRELUDE + f"e = {engine}\ne.orchestrate()\nsys.exit(e.exit_status)")
    assert done.returncode == status
