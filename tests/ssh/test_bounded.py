"""Whoever cleans up has so many seconds."""

from __future__ import annotations

import asyncio

import pytest

from engine.testing import run_virtual
from sshjobs.bounded import stopping_within, within


def this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def told_to_stop() -> None:
    """Be cancelled, and take it."""
    this_task().cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)


def test_one_that_was_told_to_stop_is_told_that_time_is_up() -> None:
    async def main() -> int:
        await told_to_stop()
        with pytest.raises(TimeoutError):
            async with within(5):
                await asyncio.sleep(60)
        await asyncio.sleep(1)  # nothing of it is left
        return this_task().cancelling()

    assert run_virtual(main()) == 1


def test_to_be_told_once_more_is_no_timeout() -> None:
    async def clean_up() -> None:
        await told_to_stop()
        async with within(5):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(clean_up())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_who_is_in_time_hears_nothing() -> None:
    async def main() -> None:
        async with within(5):
            await asyncio.sleep(4)
        await asyncio.sleep(60)

    run_virtual(main())


def test_what_does_not_stop_is_left_alone_after_a_while() -> None:
    ended: list[float] = []

    async def stubborn(seconds: float) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(seconds)
            ended.append(seconds)

    async def main() -> float:
        tasks = [asyncio.create_task(stopping_within(5, stubborn(time))) for time in (3, 30)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in told] == [asyncio.CancelledError] * 2
        assert ended == [3]
        took = asyncio.get_running_loop().time()
        await asyncio.sleep(60)
        assert ended == [3, 30]
        return took

    assert run_virtual(main()) == pytest.approx(6)


def test_what_comes_of_it_comes_through() -> None:
    async def work(problem: Exception | None) -> str:
        if problem is not None:
            raise problem
        return "done"

    async def main() -> None:
        assert await stopping_within(5, work(None)) == "done"
        with pytest.raises(KeyError):
            await stopping_within(5, work(KeyError()))

    run_virtual(main())
