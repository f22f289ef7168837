"""Real runs of the engine: what the monitor makes of their ticks is what the engine says."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import pairwise

from engine import Engine, Job, Pool, RunEnded, State, Tick, output, ready, report
from monitor import layout
from monitor.model import Model
from monitor.plain import JsonPrinter, PlainPrinter
from monitor.rows import row_text
from monitor.summary import critical_path, summary
from monitor.view import View


class Reader:
    """Shows a run in every way at once."""

    def __init__(self) -> None:
        self.model = Model()
        self.plain: list[str] = []
        self.json: list[str] = []
        self._printer = PlainPrinter(self.plain.append, self.model)
        self._json_printer = JsonPrinter(self.json.append)

    def put_nowait(self, event: Tick) -> None:
        self.model.apply(event)
        self._printer.apply(event)
        self._json_printer.apply(event)


async def work(turns: int, *, fails: bool = False) -> None:
    for turn in range(turns):
        report(f"turn {turn}", done=turn, total=turns)
        output(f"line {turn}")
        await asyncio.sleep(0)
    if fails:
        raise ValueError("no space left")


async def server() -> None:
    await asyncio.sleep(0)
    ready()
    output("serving")
    await asyncio.Event().wait()


def mixed() -> tuple[Engine, Reader]:
    reader = Reader()
    pool = Pool(1)
    gate = Job(server, label="gate", forever=True, notify=True)
    bad = Job(work, 3, label="bad", critical=False)
    bad.requires(gate)
    worse = Job(work(2, fails=True), label="worse", critical=False, pool=pool)
    never = Job(work, 1, label="never", required=worse, critical=False)
    first = Job(work, 2, label="first", pool=pool)
    site = Engine(first, Job(work, 2, label="second", required=first), label="site", jobs_window=1)
    slow = Job(asyncio.sleep, 60, label="slow", timeout=0.01, critical=False, retry=1)
    jobs = [gate, bad, worse, never, site, slow]
    return Engine(*jobs, label="lab", jobs_window=2, message_queue=reader), reader


def test_the_model_agrees_with_the_engine() -> None:
    engine, reader = mixed()
    assert engine.orchestrate()
    model = reader.model
    assert {line.label: line.state for line in model.rows.values()} == {
        job.label: job.state for job in engine.iterate_jobs()
    } | {"site": State.FINISHED}
    assert [model.rows[job].label for job in model.failures] == ["worse", "slow"]
    assert {job.label for job in engine.failures} == {"worse", "slow"}
    ended = model.run.ended
    assert isinstance(ended, RunEnded)
    for state in State:
        assert sum(line.state is state for line in model.rows.values()) == ended.counts.get(
            state, 0
        )
    assert all(line.missing == 0 for line in model.rows.values() if line.state is State.FINISHED)
    assert model.root.busy == 0
    assert model.counts.percent == 100
    assert model.rows["6"].attempt == 2


def test_every_job_is_told_in_plain_lines_and_at_the_end() -> None:
    engine, reader = mixed()
    engine.orchestrate()
    told = "".join(reader.plain)
    for line in reader.model.rows.values():
        assert re.search(rf"  {reader.model.path(line)} +{line.state}\b", told)
    assert "    | line 1" in told
    last = summary(reader.model, 0.0, tails=False)
    assert told.endswith("".join(f"{line}\n" for line in last))


def test_a_run_can_be_shown_again_from_its_json_lines() -> None:
    engine, reader = mixed()
    engine.orchestrate()
    again = Model()
    for line in reader.json:
        again.apply(Tick.from_dict(json.loads(line)))
    assert again.rows == reader.model.rows
    frames = [
        layout.compose(model, View(), 100, 30, now=0.0, wall=0.0) for model in (reader.model, again)
    ]
    assert frames[0] == frames[1]
    assert any("FAILED TimeoutError" in row_text(row) for row in frames[0])


def test_the_critical_path_of_a_chain_is_the_chain() -> None:
    reader = Reader()
    jobs = [Job(work, 2, label=f"step {number}") for number in range(5)]
    for before, job in pairwise(jobs):
        job.requires(before)
    assert Engine(*reversed(jobs), message_queue=reader).orchestrate()
    assert [line.label for line in critical_path(reader.model)] == [job.label for job in jobs]


def test_a_job_added_while_running_has_a_line() -> None:
    reader = Reader()
    engine = Engine(message_queue=reader)

    async def grow() -> None:
        engine.add(Job(work, 1, label="late"))

    engine.add(Job(grow, label="grow"))
    assert engine.orchestrate()
    assert [line.label for line in reader.model.rows.values()] == ["grow", "late"]
    assert reader.model.counts.done == 2
