"""Promise 11: ticks have no gaps, tell legal stories, and no reader can change a run.

That every story is legal is checked on all runs of all promises (see conftest.py); here it is
checked with readers that misbehave, and for the form in which ticks travel.

Seen to fail against engines with a gap in `seq`, an end told early, readers whose errors came
through, a `Message` about a dead reader told before the start or after the end of the run, and jobs
added while running that were told of without an id.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from engine import Engine, Job, Message, Tick, run, watch
from engine.testing import (
    JobSpec,
    Story,
    build,
    check_story,
    differences,
    perform,
    play,
    predict,
    random_graph,
    run_virtual,
    violations,
)


class Dead:
    """A reader that breaks at the first word."""

    def put_nowait(self, _: Tick) -> NoReturn:
        raise RuntimeError("dead")


class DiesLater:
    """A reader that works for a while."""

    def __init__(self) -> None:
        self.left = 5

    def put_nowait(self, _: Tick) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError("gone")


def full() -> asyncio.Queue[Tick]:
    return asyncio.Queue(maxsize=1)


def never_read() -> asyncio.Queue[Tick]:
    return asyncio.Queue()


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("reader", [Dead, DiesLater, full, never_read])
def test_no_reader_changes_a_run(
    reader: Callable[[], Any], count: Callable[[int, int], int]
) -> None:
    for seed in range(count(40, 1000)):
        graph = random_graph(seed)
        with watch(lambda _: reader()):
            performance = play(graph)
        broken = violations(performance) + differences(predict(graph), performance)
        assert not broken, f"seed {seed}"


def test_a_reader_that_sleeps_takes_its_time_and_not_that_of_the_run() -> None:
    queue: asyncio.Queue[Tick] = asyncio.Queue()
    engine = Engine(*(Job(asyncio.sleep, 1) for _ in range(50)), message_queue=queue)
    read: list[Tick] = []

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()

        async def sleepy() -> None:
            while len(read) < 152:
                read.append(await queue.get())
                await asyncio.sleep(10)

        reader = asyncio.create_task(sleepy())
        assert await engine.corun()
        run_took = loop.time()
        await reader
        return run_took, loop.time()

    run_took, all_took = run_virtual(main())
    assert run_took == 1.0
    assert all_took >= 1000
    assert read[-1].seq == len(read) - 1


def test_several_readers_get_the_same_ticks() -> None:
    stories = [Story(), Story()]
    own = Story()
    engine = Engine(Job(asyncio.sleep, 0), message_queue=own)
    with watch(lambda _: stories[0]), watch(lambda _: Dead()), watch(lambda _: stories[1]):
        assert engine.orchestrate()
    for story in stories:
        story.check()
        assert [tick for tick in story.ticks if not isinstance(tick, Message)] == [
            tick for tick in own.ticks if not isinstance(tick, Message)
        ]


@pytest.mark.usefixtures("_quiet")
def test_ticks_travel_as_json(count: Callable[[int, int], int]) -> None:
    for seed in range(count(40, 1000)):
        story = play(random_graph(seed)).story
        sent = [json.loads(json.dumps(tick.to_dict(), allow_nan=False)) for tick in story.ticks]
        received = [Tick.from_dict(told) for told in sent]
        assert received == story.ticks
        check_story(received)


def test_a_nested_engine_tells_no_run_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    inner = Story()
    outer = Story()
    engine = Engine(
        Engine(Job(asyncio.sleep, 0), label="nested", message_queue=inner), message_queue=outer
    )
    assert engine.orchestrate()
    outer.check()
    assert set(outer.states()) == {"1", "1.1"}
    assert not inner.ticks
    assert "nested" in caplog.text


def test_jobs_added_while_running_have_their_story() -> None:
    story = Story()
    engine = Engine(message_queue=story)

    async def add_two() -> None:
        first = engine.add(Job(asyncio.sleep, 0, label="late"))
        engine.add(Engine(Job(asyncio.sleep, 0), label="nested", required=first))

    engine.add(Job(add_two, label="first"))
    assert engine.orchestrate()
    story.check()
    assert set(story.states()) == {"1", "2", "3", "3.1"}


def test_a_nested_engine_that_is_tried_again_has_its_story() -> None:
    story, tries = Story(), 0

    async def fail_twice() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError("not yet")

    inner = Engine(Job(fail_twice), Job(asyncio.sleep, 100, forever=True), label="inner")
    engine = Engine(Engine(inner, retry=2, label="outer"), message_queue=story)
    assert engine.orchestrate()
    assert tries == 3
    story.check()


def test_a_run_that_is_cut_short_has_its_story() -> None:
    graph = JobSpec("", jobs=(JobSpec("1"), JobSpec("2", jobs=(JobSpec("2.1"),))))
    for seconds in (0.0, 0.5, 2.0):
        stage = build(graph)

        async def main(seconds: float = seconds) -> None:
            task = asyncio.create_task(perform(stage))
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.wait([task])

        run_virtual(main())
        stage.story.check()


def test_a_tick_that_is_overridden_gets_every_event() -> None:
    class Teller(Engine):
        """Keeps what it is told."""

        told: list[Tick]

        def tick(self, event: Tick) -> None:
            self.told.append(event)

    engine = Teller(Job(asyncio.sleep, 0))
    engine.told = []
    assert run(engine.corun())
    check_story(engine.told)
