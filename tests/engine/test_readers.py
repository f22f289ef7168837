"""Those who read the events of a run, and what jobs say of themselves to them."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from engine import (
    AbstractJob,
    CallJob,
    Engine,
    EngineFailed,
    Job,
    JobOutput,
    JobProgress,
    JobReady,
    JobState,
    Message,
    Pool,
    RunEnded,
    RunStarted,
    RunStopping,
    State,
    Tick,
    output,
    ready,
    report,
    run,
    watch,
)
from engine.testing import Story, run_virtual
from tests.engine.cast import Stubborn, fail, for_ever, nothing, python, value


def graph(**options: Any) -> Engine:
    """Return an engine in which most things happen."""
    first = Job(value, 1, 1, label="first")
    broken = Job(fail, label="broken", critical=False, retry=1)
    bus = Job(for_ever, forever=True, label="bus")
    inner = Engine(Job(value, 2, 1), Job(nothing), label="inner", required=first)
    return Engine(
        first, broken, bus, inner, Job(nothing, required=broken, critical=False), **options
    )


def tell(ticks: list[Tick]) -> list[dict[str, Any]]:
    """Return events without what differs from run to run."""
    return [{**tick.to_dict(), "run": "", "wall": 0, "at": 0, "duration": 0} for tick in ticks]


# -- queues ----------------------------------------------------------------------------------


class Recorder(list[Tick]):
    """The least that can be read into."""

    put_nowait = list.append


QUEUES: dict[str, tuple[Callable[[], Any], Callable[[Any], list[Tick]]]] = {
    "asyncio.Queue": (asyncio.Queue, lambda q: [q.get_nowait() for _ in range(q.qsize())]),
    "queue.SimpleQueue": (queue.SimpleQueue, lambda q: [q.get_nowait() for _ in range(q.qsize())]),
    "queue.Queue": (queue.Queue, lambda q: [q.get_nowait() for _ in range(q.qsize())]),
    "recorder": (Recorder, list),
    "story": (Story, lambda story: story.ticks),
}


@pytest.mark.parametrize("kind", QUEUES)
def test_every_kind_of_queue_gets_the_same_story(kind: str) -> None:
    make, empty = QUEUES[kind]
    messages = make()
    assert run_virtual(graph(message_queue=messages).corun())
    ticks = empty(messages)
    story = Story(ticks)
    story.check()
    other = Story()
    assert run_virtual(graph(message_queue=other).corun())
    assert tell(ticks) == tell(other.ticks)


def test_a_queue_that_is_read_while_the_run_goes_on() -> None:
    async def main() -> list[Tick]:
        messages: asyncio.Queue[Tick] = asyncio.Queue()
        engine = graph(message_queue=messages)
        read: list[Tick] = []

        async def reader() -> None:
            while not isinstance((tick := await messages.get()), RunEnded):
                read.append(tick)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reader())
            tasks.create_task(engine.corun())
        return read

    assert isinstance(run_virtual(main())[0], RunStarted)


@pytest.mark.parametrize("kind", [asyncio.Queue, queue.Queue])
def test_a_full_queue_breaks_nothing_and_is_told_once(
    kind: Callable[[int], Any], caplog: pytest.LogCaptureFixture
) -> None:
    messages = kind(1)
    assert run_virtual(graph(message_queue=messages).corun())
    assert isinstance(messages.get_nowait(), RunStarted)
    assert len([text for text in caplog.messages if "full" in text]) == 1


class DeadError(Exception):
    """What a dead reader raises."""


class NotEvenAnError(BaseException):
    """What a very dead reader raises."""


class Dead:
    """A reader that raises from its nth event on, or at that one only."""

    def __init__(self, error: BaseException, nth: int, *, once: bool) -> None:
        self.error = error
        self.nth = nth
        self.once = once
        self.count = 0
        self.read: list[Tick] = []

    def put_nowait(self, tick: Tick) -> None:
        """Raise in its time."""
        self.count += 1
        if self.count == self.nth or (self.count > self.nth and not self.once):
            raise self.error
        self.read.append(tick)


ERRORS = [
    DeadError("gone"),
    asyncio.CancelledError(),
    GeneratorExit(),
    StopIteration(),
    asyncio.QueueFull(),
    RecursionError(),
    NotEvenAnError(),
]


def kinds(ticks: list[Tick]) -> list[type[Tick]]:
    """Return what was told, without what was logged."""
    return [type(tick) for tick in ticks if not isinstance(tick, Message)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_reader_that_raises_breaks_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = Story()
    assert run_virtual(graph(message_queue=quiet).corun())
    for nth in range(1, len(quiet.ticks) + 1):
        for once in (True, False):
            caplog.clear()
            dead, other = Dead(error, nth, once=once), Story()
            with watch(lambda _, other=other: other):  # type: ignore[misc]
                assert run_virtual(graph(message_queue=dead).corun())
            other.check()
            assert kinds(other.ticks) == kinds(quiet.ticks)
            text = "full" if isinstance(error, asyncio.QueueFull) else "reader"
            assert len([line for line in caplog.messages if text in line]) == 1


def test_a_reader_without_reader_is_refused_before_the_run() -> None:
    with pytest.raises(ValueError, match="put_nowait"):
        Engine(message_queue=[])


def test_nothing_is_built_when_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []
    for kind in (RunStarted, JobState, RunStopping, RunEnded, Message, JobReady, JobProgress):
        monkeypatch.setattr(kind, "__init__", lambda *_args, **_options: built.append(1))
    assert run_virtual(graph().corun())
    assert built == []


# -- tick ------------------------------------------------------------------------------------


class Watcher(Engine):
    """An engine that looks at its own events."""

    def __init__(self, *jobs: Any, **options: Any) -> None:
        super().__init__(*jobs, **options)
        self.seen: list[Tick] = []
        self.threads: set[int] = set()

    def tick(self, event: Tick) -> None:
        """Look, and hand on."""
        self.seen.append(event)
        self.threads.add(threading.get_ident())
        super().tick(event)


def test_tick_can_be_overridden_with_and_without_a_queue() -> None:
    for story in (None, Story()):
        engine = Watcher(Job(nothing), Engine(Job(nothing)), message_queue=story)
        assert engine.orchestrate()
        Story(engine.seen).check()
        if story is not None:
            assert story.ticks == engine.seen
        assert engine.threads == {threading.get_ident()}


def test_tick_without_super_keeps_the_queue_empty() -> None:
    class Selfish(Engine):
        """Hands nothing on."""

        def tick(self, event: Tick) -> None:
            """Drop it."""

    story = Story()
    assert Selfish(Job(nothing), message_queue=story).orchestrate()
    assert story.ticks == []


def test_tick_set_on_the_object_itself() -> None:
    seen: list[Tick] = []
    engine = Engine(Job(nothing))
    engine.tick = seen.append  # type: ignore[assignment, method-assign]
    assert engine.orchestrate()
    Story(seen).check()


def test_a_tick_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Engine):
        """Its tick is."""

        def tick(self, event: Tick) -> None:
            """Raise."""
            raise ValueError("in tick")

    assert Broken(Job(nothing), Job(value, 1)).orchestrate()
    assert len([text for text in caplog.messages if "in tick" in text]) == 1


def test_ticks_come_in_the_loops_thread_even_if_said_in_another() -> None:
    def work() -> None:
        report("from a thread")

    engine = Watcher(CallJob(work))
    assert engine.orchestrate()
    assert engine.threads == {threading.get_ident()}
    assert any(isinstance(tick, JobProgress) for tick in engine.seen)


# -- watch -----------------------------------------------------------------------------------


def test_every_outermost_run_that_starts_inside_is_watched() -> None:
    stories: dict[Engine, list[Story]] = {}

    def factory(engine: Engine) -> Story:
        stories.setdefault(engine, []).append(Story())
        return stories[engine][-1]

    inner = Engine(Job(nothing))
    one, two = Engine(Job(nothing), inner), Engine(Job(nothing))
    with watch(factory):
        assert one.orchestrate()
        assert two.orchestrate()
        assert one.orchestrate()
    assert two.orchestrate()
    assert {engine: len(told) for engine, told in stories.items()} == {one: 2, two: 1}
    for told in stories.values():
        for story in told:
            story.check()


def test_a_run_that_starts_inside_is_watched_to_its_end() -> None:
    story = Story()
    started = asyncio.Event()

    async def say() -> None:
        started.set()
        await asyncio.sleep(5)

    async def main() -> bool:
        with watch(lambda _: story):
            task = asyncio.create_task(Engine(Job(say)).corun())
            await started.wait()
        return await task

    assert run_virtual(main())
    story.check()


def test_watchers_nest_and_each_goes_with_its_own() -> None:
    story = Story()

    def factory(_: Engine) -> Story:
        return story

    count: list[int] = []
    with watch(factory), watch(lambda _: None):
        with watch(factory):
            Engine(Job(nothing)).orchestrate()
            count.append(len(story.ticks))
        Engine(Job(nothing)).orchestrate()
        count.append(len(story.ticks) - count[0])
    Engine(Job(nothing)).orchestrate()
    assert count[0] == 2 * count[1]
    assert len(story.ticks) == sum(count)


def test_a_watcher_sees_runs_of_other_threads() -> None:
    stories: list[Story] = []

    def factory(_: Engine) -> Story:
        stories.append(Story())
        return stories[-1]

    with watch(factory):
        threads = [threading.Thread(target=Engine(Job(nothing)).orchestrate) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(stories) == 3
    for story in stories:
        story.check()


def test_a_watcher_and_a_queue_get_the_same_events() -> None:
    one, two = Story(), Story()
    with watch(lambda _: two):
        assert run_virtual(graph(message_queue=one).corun())
    assert one.ticks == two.ticks


class Latest(Story):
    """A reader that takes reports as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[tuple[object, ...]] = []

    def put_progress(self, *fields: object) -> None:
        """Keep the fields of a report."""
        self.reports.append(fields)


async def reporting() -> None:
    report("half", done=1, total=2)
    report(percent=70)


def test_reports_are_no_events_if_all_readers_take_them_as_they_are() -> None:
    one, two = Latest(), Latest()
    with watch(lambda _: one), watch(lambda _: two):
        assert Engine(Job(reporting)).orchestrate()
    for reader in one, two:
        reader.check()
        assert reader.reports == [("1", 50.0, 1, 2, "half"), ("1", 70, None, None, None)]
        assert not any(isinstance(tick, JobProgress) for tick in reader.ticks)


def test_reports_are_events_if_one_reader_does_not() -> None:
    one, two = Latest(), Story()
    with watch(lambda _: one):
        assert Engine(Job(reporting), message_queue=two).orchestrate()
    assert one.reports == []
    assert one.ticks == two.ticks
    assert sum(isinstance(tick, JobProgress) for tick in one.ticks) == 2


def test_a_reader_that_fails_on_reports_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Latest):
        """Takes no report."""

        def put_progress(self, *fields: object) -> None:
            """Raise."""
            raise ValueError("no report")

    with watch(lambda _: Broken()):
        assert Engine(Job(reporting)).orchestrate()
    assert len([text for text in caplog.messages if "no report" in text]) == 1


@pytest.mark.parametrize(
    "factory",
    [lambda _: 1 / 0, lambda _: 42, lambda _: None, lambda: None],
    ids=["raises", "no reader", "None", "takes nothing"],
)
def test_a_factory_that_is_broken_breaks_nothing(factory: Any) -> None:
    with watch(factory):
        assert Engine(Job(nothing)).orchestrate()


def test_the_block_may_end_with_an_error() -> None:
    story = Story()
    with pytest.raises(ValueError, match="boom"), watch(lambda _: story):
        run(fail())
    Engine(Job(nothing)).orchestrate()
    assert story.ticks == []


# -- what is told ----------------------------------------------------------------------------


def test_rows_say_all_there_is_to_know_beforehand() -> None:
    class Remote(AbstractJob):
        """On a host."""

        host = "node1\x1b[2J"

        async def corun(self) -> None:
            """Do nothing."""

    remote = Remote(label="copy\n", pool=Pool(2, label="disks"))
    bus = Job(for_ever, forever=True, critical=False)
    job = Job(nothing, required=[remote, bus], after=bus, label="job")
    story = Story()
    assert run_virtual(Engine(bus, job, remote, message_queue=story, jobs_window=4).corun())
    start = story.ticks[0]
    assert isinstance(start, RunStarted)
    assert start.window == 4
    one, two, three = start.jobs
    assert (one.id, one.label, one.kind, one.forever, one.critical) == (
        "1",
        "NOLABEL",
        "Job",
        True,
        False,
    )
    assert (two.id, two.requires, two.after) == ("2", ("1", "3"), ("1",))
    assert (three.kind, three.label, three.host, three.pool) == ("Remote", "copy", "node1", "disks")
    assert (three.engine, three.window) == (None, None)


def test_all_events_are_json(caplog: pytest.LogCaptureFixture) -> None:
    async def say() -> None:
        report("x", percent=float("inf"))
        report(done=Decimal("1.5"), total=Fraction(7, 2))  # type: ignore[arg-type]
        report(done=float("nan"), total=float("inf"))
        output("text")

    story = Story()
    engine = Engine(
        Job(say), graph(), message_queue=story, timeout=float("inf"), label="\ud800 odd"
    )
    assert run_virtual(engine.corun())
    for tick in story.ticks:
        text = json.dumps(tick.to_dict(), allow_nan=False)
        assert Tick.from_dict(json.loads(text)) == tick


# -- report, output, ready -------------------------------------------------------------------


def said(*calls: Callable[[], None]) -> list[JobProgress]:
    """Return what `report` in a job comes to."""

    async def speak() -> None:
        for call in calls:
            call()

    story = Story()
    assert run_virtual(Engine(Job(speak), message_queue=story).corun())
    story.check()
    return [tick for tick in story.ticks if isinstance(tick, JobProgress)]


@pytest.mark.parametrize(
    ("options", "percent"),
    [
        ({"percent": 30}, 30),
        ({"percent": -5}, 0),
        ({"percent": 250.5}, 100),
        ({"percent": float("nan")}, None),
        ({"percent": True}, 1),
        ({"done": 3, "total": 12}, 25),
        ({"done": 3, "total": 0}, None),
        ({"done": 3}, None),
        ({"total": 12}, None),
        ({"done": 30, "total": 12}, 100),
        ({"percent": 10**400}, None),
        ({"done": 10**307, "total": 1}, 100),
        ({"percent": 10, "done": 3, "total": 12}, 10),
        ({}, None),
    ],
)
def test_report_brings_the_percentage_inside(options: Any, percent: float | None) -> None:
    (tick,) = said(lambda: report(**options))
    assert tick.percent == percent
    assert tick.message is None


@pytest.mark.parametrize("message", ["writing\x1b[2J\nsda2", b"bytes \xff", 42, object()])
def test_a_message_is_one_safe_line(message: Any) -> None:
    (tick,) = said(lambda: report(message))
    assert tick.message is not None
    assert tick.message.isprintable()


class Unprintable:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no")


def test_a_message_that_cannot_be_shown_breaks_nothing() -> None:
    (tick,) = said(lambda: report(Unprintable()))
    assert "Unprintable" in str(tick.message)


BAD_CALLS: dict[str, Callable[[], None]] = {
    "percent of text": lambda: report(percent="30"),  # type: ignore[arg-type]
    "done of text": lambda: report(done="3", total=4),  # type: ignore[arg-type]
    "total a list": lambda: report(done=3, total=[]),  # type: ignore[arg-type]
    "output of a number": lambda: output(3),  # type: ignore[arg-type]
    "output that cannot be shown": lambda: output(Unprintable()),  # type: ignore[arg-type]
    "stream a number": lambda: output("x", stream=3),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_bad_call_has_the_same_end_whether_somebody_reads_or_not(call: str) -> None:
    async def speak() -> str:
        BAD_CALLS[call]()
        return "went on"

    ends = []
    for story in (None, Story()):
        job = Job(speak, critical=False)
        assert Engine(job, message_queue=story).orchestrate()
        ends.append((job.state, type(job.raised_exception())))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one", ["one"]),
        ("one\n", ["one"]),
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\ntwo\rthree", ["one", "two", "three"]),
        ("", [""]),
        ("\n", [""]),
        ("a\n\nb", ["a", "", "b"]),
        (b"caf\xc3\xa9 \xff", ["café \N{REPLACEMENT CHARACTER}"]),
        ("\x1b[31mred\x1b[0m\x9b2J\u202e", ["red"]),
    ],
)
def test_output_is_told_line_by_line(text: Any, lines: list[str]) -> None:
    async def speak() -> None:
        output(text, stream="std\x1b[2Jerr")

    story = Story()
    assert run_virtual(Engine(Job(speak), message_queue=story).corun())
    told = [tick for tick in story.ticks if isinstance(tick, JobOutput)]
    assert [tick.text for tick in told] == lines
    assert {tick.stream for tick in told} == {"stderr"}


def test_they_know_their_job_in_every_task_that_it_starts() -> None:
    async def child() -> None:
        await asyncio.sleep(1)
        report("child")

    async def parent() -> None:
        await asyncio.gather(child(), asyncio.create_task(child()))
        asyncio.get_running_loop().call_soon(report, "callback")
        await asyncio.sleep(0)

    story = Story()
    inner = Engine(Job(parent), Job(nothing))
    assert run_virtual(Engine(Job(nothing), inner, message_queue=story).corun())
    told = [(tick.job, tick.message) for tick in story.ticks if isinstance(tick, JobProgress)]
    assert told == [("2.1", "child"), ("2.1", "child"), ("2.1", "callback")]


def test_outside_of_a_job_they_do_nothing() -> None:
    def say() -> None:
        report("nobody")
        output("nobody")
        ready()

    say()
    story = Story()

    async def main() -> bool:
        say()
        verdict = await Engine(Job(nothing), message_queue=story).corun()
        say()
        return verdict

    assert run_virtual(main())
    assert not any(isinstance(tick, JobProgress | JobOutput) for tick in story.ticks)


def test_what_a_job_leaves_behind_speaks_to_nobody_after_the_run() -> None:
    left: list[asyncio.Task[None]] = []

    async def late() -> None:
        await asyncio.sleep(10)
        report("late")
        output("late")
        ready()

    async def leave() -> None:
        left.append(asyncio.create_task(late()))

    async def main() -> int:
        engine = Engine(Job(leave), message_queue=story)
        assert await engine.corun()
        count = len(story.ticks)
        other = Engine(Job(value, 1, 20), message_queue=story)
        assert await other.corun()
        await left[0]
        return count

    story = Story()
    count = run_virtual(main())
    Story(story.ticks[:count]).check()
    Story(story.ticks[count:]).check()
    assert not any(isinstance(tick, JobProgress) for tick in story.ticks)


def test_in_shutdown_they_still_speak_for_their_job() -> None:
    async def shutdown() -> None:
        report("closing")

    story = Story()
    assert run_virtual(Engine(Job(nothing, coshutdown=shutdown), message_queue=story).corun())
    story.check()
    told = [(tick.job, tick.message) for tick in story.ticks if isinstance(tick, JobProgress)]
    assert told == [("1", "closing")]


# -- what is logged --------------------------------------------------------------------------


def test_what_the_engine_logs_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    engine = Engine(Job(fail, label="a"), Job(fail, label="b", critical=False), message_queue=story)
    with pytest.raises(EngineFailed):
        run_virtual(engine.corun())
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    told = [(tick.level, tick.text) for tick in story.ticks if isinstance(tick, Message)]
    assert logged == told
    assert ("ERROR", "a failed: ValueError: boom") in told
    assert {record.name for record in caplog.records} == {"engine"}


class Exploding(logging.Handler):
    """A handler without a net."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Raise."""
        raise OSError("the disk is full")


@pytest.mark.parametrize("how", ["failure", "abandoned", "shutdown", "reader"])
def test_a_logging_handler_that_raises_hangs_nothing(how: str) -> None:
    async def bad_shutdown() -> None:
        raise ValueError("in shutdown")

    jobs: dict[str, Callable[[], AbstractJob]] = {
        "failure": lambda: Job(fail, label="a", critical=False),
        "abandoned": lambda: Stubborn(timeout=1, label="a", critical=False),
        "shutdown": lambda: Job(nothing, coshutdown=bad_shutdown, label="a"),
        "reader": lambda: Job(nothing),
    }
    job = jobs[how]()
    dead = Dead(DeadError(), 1, once=False) if how == "reader" else None
    engine = Engine(job, Job(value, 1, 20), message_queue=dead)
    logger, handler = logging.getLogger("engine"), Exploding()
    logger.addHandler(handler)
    try:
        verdict = run_virtual(verdict_of(engine))
    finally:
        logger.removeHandler(handler)
    assert all(each.is_done() for each in engine)
    assert verdict is (how in {"failure", "reader"})
    assert engine.jobs[1].state is State.FINISHED


async def verdict_of(engine: Engine) -> bool:
    try:
        return await engine.corun()
    except EngineFailed:
        return False


def test_without_any_handler_a_failure_still_shows_on_stderr() -> None:
    done = python(
        """
        from engine import Engine, Job
        async def fail(): raise ValueError("boom")
        Engine(Job(fail, label="a")).orchestrate()
        """
    )
    assert done.stdout == ""
    assert "a failed: ValueError: boom" in done.stderr
    assert "Traceback" not in done.stderr
