"""A Sequence: jobs in a row, usable wherever a job is."""

from __future__ import annotations

from typing import Any

import pytest

from engine import (
    AbstractJob,
    AlreadyInEngine,
    Engine,
    EngineError,
    GraphError,
    Job,
    NotAJob,
    SelfRequirement,
    Sequence,
    State,
)
from tests.engine.cast import fail, nothing, play, value


def jobs(labels: str) -> list[AbstractJob]:
    return [Job(nothing, label=label) for label in labels]


def test_each_requires_the_one_before() -> None:
    a, b, c = jobs("abc")
    line = Sequence(a, b, c)
    assert [job.required for job in line] == [(), (a,), (b,)]
    assert line.jobs == (a, b, c)
    assert list(line) == [a, b, c]
    assert len(line) == 3
    assert Engine(line).orchestrate()
    assert a.ended_at <= b.started_at <= b.ended_at <= c.started_at  # type: ignore[operator]


def test_an_empty_one_is_something() -> None:
    line = Sequence()
    assert bool(line)
    assert len(line) == 0
    assert line.jobs == ()
    assert Engine(line).orchestrate()


def test_of_one() -> None:
    (a,) = jobs("a")
    assert Sequence(a).jobs == (a,)
    assert a.required == ()


def test_of_sequences() -> None:
    a, b, c, d = jobs("abcd")
    assert Sequence(a, Sequence(b, c), d).jobs == (a, b, c, d)
    assert [job.required for job in (b, c, d)] == [(a,), (b,), (c,)]


def test_of_engines() -> None:
    a, b = jobs("ab")
    inner = Engine(b)
    line = Sequence(a, inner)
    assert inner.required == (a,)
    assert len(line) == 2


def test_append_goes_on_at_the_end_and_returns_it() -> None:
    a, b, c, d = jobs("abcd")
    line = Sequence(a)
    assert line.append(b, c) is line
    line.append(Sequence(d))
    assert list(line) == [a, b, c, d]
    assert d.required == (c,)


def test_required_goes_to_the_first_job() -> None:
    a, b, c, d = jobs("abcd")
    line = Sequence(b, c, required=a)
    assert (b.required, c.required) == ((a,), (b,))
    assert line.requires([d, None]) is line
    assert b.required == (a, d)
    assert line.after(d) is line
    assert b.awaited == (d,)
    line.requires(a, remove=True)
    assert list(b.required) == [d]


def test_what_an_empty_one_requires_waits_for_its_first_job() -> None:
    a, b, c, d = jobs("abcd")
    line = Sequence(required=a)
    line.requires(b).after(c)
    line.append(d)
    assert (d.required, d.awaited) == ((a, b), (c,))


def test_an_early_requirement_can_be_taken_back() -> None:
    a, b, c = jobs("abc")
    line = Sequence(required=[a, b])
    line.requires(a, remove=True)
    line.append(c)
    assert c.required == (b,)


@pytest.mark.parametrize("how", ["requires", "after"])
def test_to_wait_for_it_is_to_wait_for_its_last_job(how: str) -> None:
    a, b, c = jobs("abc")
    getattr(c, how)([Sequence(a, b)])
    assert (c.required if how == "requires" else c.awaited) == (b,)


def test_a_sequence_after_a_sequence() -> None:
    a, b, c, d = jobs("abcd")
    first, second = Sequence(a, b), Sequence(c, d)
    assert (first >> second) is second
    assert c.required == (b,)
    third = Sequence(*jobs("xy"))
    third.requires(second)
    assert third.jobs[0].required == (d,)


def test_arrows_with_jobs_and_lists() -> None:
    a, b, c, d = jobs("abcd")
    line = Sequence(b, c)
    assert (a >> line) is line
    assert b.required == (a,)
    assert (line >> d) is d
    assert d.required == (c,)
    e, f = jobs("ef")
    assert ([e, f] >> line) is line
    assert list(b.required) == [a, e, f]
    g, h = jobs("gh")
    targets = [g, Sequence(h)]
    assert (line >> targets) is targets
    assert (g.required, h.required) == ((c,), (c,))


def test_a_link_over_an_empty_sequence_is_not_lost_in_silence() -> None:
    """Never silently dropped: it carries over, or is refused."""
    a, b = jobs("ab")
    try:
        a >> Sequence() >> b
    except EngineError:
        return
    assert b.required == (a,)


def test_in_an_engine_all_its_jobs_are_in() -> None:
    a, b, c = jobs("abc")
    engine = Engine(Sequence(a, b), c)
    assert engine.jobs == (a, b, c)
    engine = Engine()
    line = Sequence(*jobs("xy"))
    assert engine.add(line) is line
    assert engine.jobs == line.jobs
    engine.update([Sequence(*jobs("z"))])
    assert len(engine) == 3


def test_it_leaves_an_engine_as_a_whole() -> None:
    a, b, c, d = jobs("abcd")
    line = Sequence(a, b)
    engine = Engine(c, line, d.requires(c))
    assert line in engine
    engine.remove(line)
    assert list(engine) == [c, d]
    assert line not in engine
    engine.add(a)
    with pytest.raises(GraphError, match="job b is not in"):
        engine.remove(line)
    assert list(engine) == [c, d, a]


def test_the_graph_round_it() -> None:
    a, b, c, d, e = jobs("abcde")
    line = Sequence(b, c).requires(a)
    engine = Engine(a, line, d.requires(line), e.requires(d))
    assert engine.predecessors(line) == engine.predecessors_upstream(line) == [a]
    assert engine.successors(line) == [d]
    assert engine.successors_downstream(line) == [d, e]
    assert engine.keep_only_between(starts=line).jobs == (b, c, d, e)
    assert engine.keep_only(line, e).jobs == (b, c, e)
    assert e.required == ()
    engine = Engine(*jobs("xy"))
    engine.add(Sequence(engine.jobs[0], middle := Job(nothing), engine.jobs[1]))
    engine.bypass_and_remove(Sequence(middle))
    assert engine.jobs[1].required == engine.jobs[:1]


def test_with_engine_all_are_added_later_ones_too() -> None:
    engine = Engine()
    a, b, c = jobs("abc")
    line = Sequence(a, b, engine=engine)
    assert list(engine) == [a, b]
    line.append(c)
    assert list(engine) == [a, b, c]
    late = Sequence(engine=engine)
    (d,) = jobs("d")
    late.append(d)
    assert d in engine


def test_what_is_appended_to_one_in_an_engine_is_in_that_engine() -> None:
    a, b = jobs("ab")
    line = Sequence(a)
    engine = Engine(line)
    line.append(b)
    assert engine.jobs == (a, b)


@pytest.mark.parametrize("wrong", [42, "a", nothing, None, [1]])
def test_what_is_no_job_is_refused(wrong: Any) -> None:
    with pytest.raises(NotAJob, match="Sequence"):
        Sequence(Job(nothing), wrong)
    with pytest.raises(NotAJob, match="Sequence"):
        Sequence().append(wrong)


def test_a_list_of_jobs_is_refused_and_says_how() -> None:
    with pytest.raises(NotAJob, match=r"one by one.*\*jobs"):
        Sequence(jobs("ab"))  # type: ignore[arg-type]


def test_the_same_job_twice_in_a_row() -> None:
    (a,) = jobs("a")
    with pytest.raises(SelfRequirement, match="a"):
        Sequence(a, a)


def test_what_is_refused_changes_nothing() -> None:
    a, b = jobs("ab")
    line = Sequence(a)
    with pytest.raises(NotAJob):
        line.append(b, 42)  # type: ignore[arg-type]
    assert line.jobs == (a,)
    assert b.required == ()


def test_a_job_of_another_engine_is_refused_and_nothing_is_added() -> None:
    a, b = jobs("ab")
    other = Engine(b)
    engine = Engine()
    with pytest.raises(AlreadyInEngine, match="job b "):
        engine.add(Sequence(a, b))
    assert list(engine) == []
    assert list(other) == [b]
    assert list(Engine(a)) == [a]


def test_a_failure_in_the_row_skips_the_rest_of_it() -> None:
    a, b, c = Job(nothing), Job(fail, critical=False, label="b"), Job(nothing)
    assert not play(Engine(Sequence(a, b, c)))
    assert [job.state for job in (a, b, c)] == [State.FINISHED, State.FAILED, State.SKIPPED]


def test_rows_run_side_by_side() -> None:
    one = Sequence(*(Job(value, None, 2) for _ in range(3)))
    two = Sequence(*(Job(value, None, 3) for _ in range(2)))
    end = Job(nothing, required=[one, two])
    assert play(Engine(one, two, end))
    assert [job.ended_at for job in one] == [2, 4, 6]
    assert [job.ended_at for job in two] == [3, 6]
    assert end.started_at == 6


def test_repr_names_its_jobs_in_order() -> None:
    assert repr(Sequence(*jobs("ab"), Job(nothing))).startswith("<Sequence [a, b, NOLABEL")


def test_a_hostile_label_is_made_safe_in_its_repr() -> None:
    assert repr(Sequence(Job(nothing, label="a\x1b[2J\n\u202e"))).isprintable()


def test_a_row_of_many_is_quick() -> None:
    line = Sequence(*(Job(nothing) for _ in range(5000)))
    engine = Engine(line)
    assert engine.orchestrate()
    assert line.jobs[-1].state is State.FINISHED
