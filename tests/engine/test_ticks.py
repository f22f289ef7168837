"""The events and their JSON form: what is told comes back, what is not understood is refused."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ticks
from engine.ticks import (
    EVENTS,
    VERSION,
    JobReady,
    JobRow,
    JobState,
    RunStarted,
    State,
    Tick,
    unfrozen,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return what may stand in a field of this type."""
    known: dict[Any, st.SearchStrategy[Any]] = {
        float: NUMBERS,
        float | None: NUMBERS | st.none(),
        Mapping[State, int]: st.dictionaries(st.sampled_from(State), st.integers()),
        JobRow: ROWS,
        tuple[JobRow, ...]: st.lists(ROWS, max_size=3).map(tuple),
    }
    return known[hint] if hint in known else st.from_type(hint)


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return instances of a dataclass, with every field filled."""
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})


ROWS = st.builds(
    JobRow,
    **{name: st.from_type(hint) for name, hint in get_type_hints(JobRow).items()},
)
KINDS = pytest.mark.parametrize("kind", EVENTS.values(), ids=list(EVENTS))


@KINDS
@given(data=st.data())
def test_every_event_comes_back_from_json(kind: type[Tick], data: st.DataObject) -> None:
    event = data.draw(instances(kind))
    told = event.to_dict()
    text = json.dumps(told, allow_nan=False)
    assert Tick.from_dict(json.loads(text)) == event
    assert type(Tick.from_dict(told)) is kind
    assert told["event"] == kind.__name__
    assert told["v"] == VERSION


@KINDS
@given(data=st.data())
def test_what_is_told_is_plain(kind: type[Tick], data: st.DataObject) -> None:
    """A string enumeration is a str too, so that json says nothing of it; other writers do."""

    def check(value: Any) -> None:
        assert type(value) in {str, int, float, bool, type(None), list, dict}
        for inner in value if isinstance(value, list) else ():
            check(inner)
        for key, inner in value.items() if isinstance(value, dict) else ():
            check(key)
            check(inner)

    check(data.draw(instances(kind)).to_dict())


@KINDS
def test_events_are_frozen_and_slotted(kind: type[Tick]) -> None:
    assert issubclass(kind, Tick)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__dict__" not in dir(kind)
    assert [field.name for field in dataclasses.fields(kind)][:4] == ["run", "seq", "at", "wall"]


def test_every_event_of_the_module_is_in_the_table() -> None:
    found = {
        name
        for name, thing in vars(ticks).items()
        if inspect.isclass(thing) and issubclass(thing, Tick) and thing is not Tick
    }
    assert set(EVENTS) == found


def ready(**changes: Any) -> dict[str, Any]:
    """Return an event as told, with changes."""
    return {**JobReady("r", 1, 2.0, 3.0, job="1").to_dict(), **changes}


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match="version"):
        Tick.from_dict(ready(v=version))


def test_no_version_is_refused() -> None:
    told = ready()
    del told["v"]
    with pytest.raises(ValueError, match="version None"):
        Tick.from_dict(told)


@pytest.mark.parametrize("event", ["JobVanished", "", "Tick", "JobRow", None, 3, ["JobReady"], {}])
def test_an_unknown_event_is_refused(event: object) -> None:
    with pytest.raises(ValueError, match="not an event"):
        Tick.from_dict(ready(event=event))


@pytest.mark.parametrize("data", [{}, {"v": VERSION}, [], None, "JobReady", 7])
def test_what_is_no_event_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="not an event"):
        Tick.from_dict(data)


@pytest.mark.parametrize("field", ["job", "run", "seq", "at", "wall"])
def test_an_incomplete_event_is_refused(field: str) -> None:
    told = ready()
    del told[field]
    with pytest.raises(ValueError, match=f"incomplete JobReady.*{field}"):
        Tick.from_dict(told)


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        (JobState("r", 1, 2.0, 3.0, "1", State.IDLE, State.RUNNING), "new", "asleep"),
        (JobState("r", 1, 2.0, 3.0, "1", State.IDLE, State.RUNNING), "old", None),
        (RunStarted("r", 1, 2.0, 3.0, "", ()), "jobs", [{"label": "no id"}]),
        (RunStarted("r", 1, 2.0, 3.0, "", ()), "jobs", [7]),
        (RunStarted("r", 1, 2.0, 3.0, "", ()), "jobs", None),
        (ticks.JobAdded("r", 1, 2.0, 3.0, JobRow("1", "a", "Job")), "row", None),
        (ticks.RunStopping("r", 1, 2.0, 3.0, ticks.StopReason.DONE), "reason", "boredom"),
        (ticks.RunEnded("r", 1, 2.0, 3.0, ok=True, why="", counts={}, duration=1.0), "counts", [1]),
        (
            ticks.RunEnded("r", 1, 2.0, 3.0, ok=True, why="", counts={}, duration=1.0),
            "counts",
            {"asleep": 1},
        ),
    ],
)
def test_a_broken_field_is_refused(event: Tick, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Tick.from_dict({**event.to_dict(), field: value})


def test_what_a_later_release_adds_is_left_out() -> None:
    assert Tick.from_dict(ready(colour="red")) == JobReady("r", 1, 2.0, 3.0, job="1")
    row = JobRow("1", "a", "Job")
    started = RunStarted("r", 0, 2.0, 3.0, "", (row,))
    told = started.to_dict()
    told["jobs"][0]["colour"] = "red"
    assert Tick.from_dict(told) == started


def test_the_states_that_are_over() -> None:
    over = {State.FINISHED, State.FAILED, State.CANCELLED, State.SKIPPED}
    assert {state for state in State if state.is_over} == over
    assert str(State.FINISHED) == f"{State.FINISHED}" == "finished"


@pytest.mark.parametrize("kind", [JobState, JobRow, JobReady])
def test_what_was_unfrozen_at_first_is_the_same(kind: type[Any]) -> None:
    fields = dataclasses.fields(kind)
    values = [State.RUNNING if each.name in {"old", "new"} else each.name for each in fields]
    made, constructed = unfrozen(kind)(*values), kind(*values)
    made.__class__ = kind
    assert made == constructed
    assert hash(made) == hash(constructed)
    assert copy.deepcopy(made) == constructed
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.__setattr__(fields[0].name, "something else")
    least = [value for value, each in zip(values, fields, strict=True) if each.default is MISSING]
    made = unfrozen(kind)(*least)
    made.__class__ = kind
    assert made == kind(*least)
