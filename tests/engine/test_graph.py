"""The pure graph functions, held against the most naive ones that can be written."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import AbstractJob, AlreadyRunning, CycleError, Engine, GraphError, Job, graph


@dataclass
class Case:
    """A graph: names in insertion order, and the two kinds of links of each."""

    nodes: list[str]
    required: dict[str, list[str]]
    awaited: dict[str, list[str]] = field(default_factory=dict)

    def needs(self, node: str) -> list[str]:
        """Return what `node` waits for, in either way."""
        return self.requires(node) + self.after(node)

    def requires(self, node: str) -> list[str]:
        """Return what `node` requires."""
        return self.required.get(node, [])

    def after(self, node: str) -> list[str]:
        """Return what `node` comes after."""
        return self.awaited.get(node, [])

    def apply(self, edit: graph.Edit[str]) -> Case:
        """Return the graph as the edit makes it; what the edit says must make sense here."""
        nodes = [node for node in self.nodes if node not in edit.removed]
        new = Case(
            nodes,
            {node: list(self.requires(node)) for node in nodes},
            {node: list(self.after(node)) for node in nodes},
        )
        for node, need, kind in edit.cut:
            (new.required if kind == "requires" else new.awaited)[node].remove(need)
        for node, need, kind in edit.added:
            there = (new.required if kind == "requires" else new.awaited)[node]
            assert need not in there
            there.append(need)
        return new


def case(*nodes: str, **required: str) -> Case:
    """Return a graph of one-letter nodes: ``case("a", "b", b="a")``."""
    return Case(list(nodes), {node: list(needs) for node, needs in required.items()})


NAMES = "abcdefgh"
links = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=14)


@st.composite
def any_graphs(draw: st.DrawFn) -> Case:
    """Any graph: cycles, loops, doubled links and links to what is not in it."""
    nodes = draw(st.permutations(NAMES[: draw(st.integers(0, len(NAMES)))]))
    made = Case(nodes, {node: [] for node in nodes}, {node: [] for node in nodes})
    for node, need in draw(links):
        if node in made.required:
            made.required[node].append(need)
    for node, need in draw(links):
        if node in made.awaited:
            made.awaited[node].append(need)
    return made


@st.composite
def acyclic_graphs(draw: st.DrawFn) -> Case:
    """A graph that can be run, inserted in any order; a link is there once in each kind."""
    count = draw(st.integers(1, len(NAMES)))
    nodes = draw(st.permutations(NAMES[:count]))
    made = Case(nodes, {node: [] for node in nodes}, {node: [] for node in nodes})
    for kind in (made.required, made.awaited):
        for node, need in dict.fromkeys(draw(links)):
            if need < node < NAMES[count : count + 1] or (need < node and count == len(NAMES)):
                kind[node].append(need)
    return made


def closure(g: Case) -> set[tuple[str, str]]:
    """Return all pairs (node, what must be over before it), by Warshall's triple loop."""
    found = {(node, need) for node in g.nodes for need in g.needs(node) if need in g.nodes}
    for middle, node, need in product(g.nodes, repeat=3):
        if (node, middle) in found and (middle, need) in found:
            found.add((node, need))
    return found


def naive_order(g: Case) -> list[str]:
    """Return the order by looking, each time, for the first that can go; shorter if stuck."""
    order: list[str] = []
    while True:
        for node in g.nodes:
            waits = [need for need in g.needs(node) if need in g.nodes and need not in order]
            if node not in order and not waits:
                order.append(node)
                break
        else:
            return order


def is_cycle(g: Case, cycle: list[str]) -> bool:
    return len(set(cycle)) == len(cycle) > 0 and all(
        before in g.needs(node)
        for before, node in zip([cycle[-1], *cycle[:-1]], cycle, strict=True)
    )


# --- order


@given(any_graphs())
def test_order_and_cycles_are_those_of_the_naive_search(g: Case) -> None:
    expected = naive_order(g)
    if len(expected) == len(g.nodes):
        assert graph.topological_order(g.nodes, g.needs) == expected
        assert graph.find_cycle(g.nodes, g.needs) == []
    else:
        with pytest.raises(CycleError) as caught:
            graph.topological_order(g.nodes, g.needs)
        cycle = graph.find_cycle(g.nodes, g.needs)
        assert [str(job) for job in caught.value.jobs] == cycle
        assert is_cycle(g, cycle)
        assert cycle[0] == min(cycle, key=g.nodes.index)


@given(acyclic_graphs())
def test_acyclic_graphs_are_what_they_are_called(g: Case) -> None:
    assert len(naive_order(g)) == len(g.nodes)


def test_order_takes_the_first_inserted_that_is_free_and_not_a_whole_layer() -> None:
    g = case("d", "c", "b", "a", c="a", d="b")
    assert graph.topological_order(g.nodes, g.needs) == ["b", "d", "a", "c"]


def test_a_cycle_is_named_in_running_order() -> None:
    class Named:
        def __init__(self, label: str) -> None:
            self.label = label
            self.needs: list[Named] = []

    a, b, c, late = (Named(label) for label in ("a", "b", "c", "late"))
    a.needs, b.needs, c.needs, late.needs = [c], [a], [b], [a]
    with pytest.raises(CycleError, match=r"a -> b -> c -> a"):
        graph.topological_order([late, a, b, c], lambda node: node.needs)


def test_a_loop_is_a_cycle_of_one() -> None:
    assert graph.find_cycle("a", lambda _: "a") == ["a"]


def test_needs_that_are_not_in_the_graph_are_looked_over() -> None:
    g = case("a", "b", b="ax", a="y")
    assert graph.topological_order(g.nodes, g.needs) == ["a", "b"]
    assert graph.entries(g.nodes, g.needs) == ["a"]


@pytest.mark.parametrize("step", [1, -1], ids=["inserted forwards", "inserted backwards"])
def test_a_long_chain_needs_no_stack(step: int) -> None:
    size = 300_000
    chain = range(size)[::step]
    order = graph.topological_order(chain, lambda n: (n - 1,) if n else ())
    assert order == list(range(size))


def test_naming_a_cycle_is_linear() -> None:
    """Many cycles, tails that end in them, and each node is asked a few times only."""
    size = 5_000
    rng = random.Random(1)
    needs = [[rng.randrange(size), rng.randrange(size)] for _ in range(size)]
    asked = [0] * size

    def count(node: int) -> list[int]:
        asked[node] += 1
        return needs[node]

    cycle = graph.find_cycle(range(size), count)
    assert all(
        before in needs[node] for before, node in zip([cycle[-1], *cycle], cycle, strict=False)
    )
    assert max(asked) <= 3


# --- neighbours


@given(any_graphs(), st.data())
def test_neighbours_are_those_of_the_naive_search(g: Case, data: st.DataObject) -> None:
    of = data.draw(st.lists(st.sampled_from(g.nodes))) if g.nodes else []
    far = closure(g)
    direct = {(node, need) for node in g.nodes for need in g.needs(node)}

    def where(pairs: set[tuple[str, str]], *, up: bool) -> list[str]:
        if up:
            return [n for n in g.nodes if any((start, n) in pairs for start in of)]
        return [n for n in g.nodes if any((n, start) in pairs for start in of)]

    assert graph.predecessors(g.nodes, g.needs, of) == where(direct, up=True)
    assert graph.successors(g.nodes, g.needs, of) == where(direct, up=False)
    assert graph.upstream(g.nodes, g.needs, of) == where(far, up=True)
    assert graph.downstream(g.nodes, g.needs, of) == where(far, up=False)
    assert graph.dependents(g.nodes, g.needs) == {
        node: [other for other in g.nodes if (other, node) in direct] for node in g.nodes
    }
    assert graph.entries(g.nodes, g.needs) == [
        node for node in g.nodes if not any((node, other) in direct for other in g.nodes)
    ]
    assert graph.exits(g.nodes, g.needs) == [
        node for node in g.nodes if not any((other, node) in direct for other in g.nodes)
    ]


@given(any_graphs(), st.data())
def test_between_is_that_of_the_naive_search(g: Case, data: st.DataObject) -> None:
    some = st.none() | (st.lists(st.sampled_from(g.nodes)) if g.nodes else st.just([]))
    starts, ends = data.draw(some), data.draw(some)
    keep_starts, keep_ends = data.draw(st.booleans()), data.draw(st.booleans())
    far = closure(g)

    def on_a_way(node: str) -> bool:
        come = starts is None or any(s == node or (node, s) in far for s in starts)
        lead = ends is None or any(e == node or (e, node) in far for e in ends)
        dropped = (not keep_starts and node in (starts or [])) or (
            not keep_ends and node in (ends or [])
        )
        return come and lead and not dropped

    found = graph.between(
        g.nodes, g.needs, starts=starts, ends=ends, keep_starts=keep_starts, keep_ends=keep_ends
    )
    assert found == [node for node in g.nodes if on_a_way(node)]


def test_what_is_not_in_the_graph_is_refused_by_name() -> None:
    g = case("a", "b", b="a")

    class Stray:
        label = "stray"

    nodes: list[object] = list(g.nodes)
    for search in (graph.predecessors, graph.successors, graph.upstream, graph.downstream):
        with pytest.raises(GraphError, match="not in this engine: stray"):
            search(nodes, lambda _: (), ["a", Stray()])
    with pytest.raises(GraphError, match="stray"):
        graph.between(nodes, lambda _: (), ends=[Stray()])
    with pytest.raises(GraphError, match="stray"):
        graph.keep_only(nodes, lambda _: (), lambda _: (), [Stray()])
    with pytest.raises(GraphError, match="stray"):
        graph.bypass(nodes, lambda _: (), lambda _: (), Stray())


# --- algebra


@given(any_graphs())
def test_sanitize_cuts_what_leads_out_and_nothing_else(g: Case) -> None:
    edit = graph.sanitize(g.nodes, g.requires, g.after)
    mended = g.apply(edit)
    assert not edit.removed
    assert not edit.added
    assert all(link.need not in g.nodes for link in edit.cut)
    assert mended.nodes == g.nodes
    for node in g.nodes:
        assert mended.requires(node) == [n for n in g.requires(node) if n in g.nodes]
        assert mended.after(node) == [n for n in g.after(node) if n in g.nodes]
    assert graph.sanitize(mended.nodes, mended.requires, mended.after) == graph.Edit()


@given(any_graphs(), st.data())
def test_keep_only_leaves_the_induced_graph(g: Case, data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.sampled_from(g.nodes))) if g.nodes else []
    rest = g.apply(graph.keep_only(g.nodes, g.requires, g.after, kept))
    assert rest.nodes == [node for node in g.nodes if node in kept]
    gone = set(g.nodes) - set(kept)
    for node in rest.nodes:
        assert rest.requires(node) == [n for n in g.requires(node) if n not in gone]
        assert rest.after(node) == [n for n in g.after(node) if n not in gone]


def outcomes(g: Case, failing: set[str]) -> dict[str, str]:
    """Return how each job of a graph that can be run ends, if those of `failing` fail."""
    ends: dict[str, str] = {}
    for node in naive_order(g):
        if any(ends[need] != "finished" for need in g.requires(node)):
            ends[node] = "skipped"
        else:
            ends[node] = "failed" if node in failing else "finished"
    return ends


@given(acyclic_graphs(), st.data())
def test_bypass_keeps_every_outcome_and_every_order_of_the_others(
    g: Case, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(g.nodes))
    failing = set(data.draw(st.lists(st.sampled_from(g.nodes)))) - {gone}
    rest = g.apply(graph.bypass(g.nodes, g.requires, g.after, gone))

    before = outcomes(g, failing)
    del before[gone]
    assert outcomes(rest, failing) == before
    assert closure(rest) == {pair for pair in closure(g) if gone not in pair}


@pytest.mark.parametrize(
    ("follower_waits", "node_waits", "then"),
    [
        ("requires", "requires", "requires"),
        ("requires", "after", "after"),
        ("after", "requires", "after"),
        ("after", "after", "after"),
    ],
)
def test_bypass_requires_only_where_both_did(
    follower_waits: str, node_waits: str, then: str
) -> None:
    wants = {("f", follower_waits): ["x"], ("x", node_waits): ["n"]}
    edit = graph.bypass(
        ["n", "x", "f"],
        lambda node: wants.get((node, "requires"), []),
        lambda node: wants.get((node, "after"), []),
        "x",
    )
    assert edit.removed == ("x",)
    assert edit.cut == (("f", "x", follower_waits),)
    assert edit.added == (("f", "n", then),)


def test_bypass_adds_no_link_that_another_implies() -> None:
    """Requiring is more than coming after: the strongest of several ways is what remains."""
    g = Case(["n", "x", "f"], {"x": ["n"], "f": ["x", "n"]}, {"x": ["n"], "f": ["x"]})
    assert graph.bypass(g.nodes, g.requires, g.after, "x").added == ()
    g = Case(["n", "x", "f"], {"x": ["n"], "f": ["x"]}, {"x": ["n"], "f": ["x"]})
    assert graph.bypass(g.nodes, g.requires, g.after, "x").added == (("f", "n", "requires"),)


def test_bypass_passes_a_foreign_need_on_for_the_check_to_see() -> None:
    g = case("x", "f", x="z", f="x")
    edit = graph.bypass(g.nodes, g.requires, g.after, "x")
    assert edit.added == (("f", "z", "requires"),)


def test_bypass_refuses_to_make_a_job_wait_for_itself() -> None:
    g = case("x", "f", x="f", f="x")
    with pytest.raises(CycleError):
        graph.bypass(g.nodes, g.requires, g.after, "x")


@example(g=Case([], {}))
@given(g=any_graphs())
def test_nothing_changes_the_graph_it_is_given(g: Case) -> None:
    twin = Case(
        list(g.nodes),
        {node: list(needs) for node, needs in g.required.items()},
        {node: list(needs) for node, needs in g.awaited.items()},
    )
    graph.find_cycle(g.nodes, g.needs)
    graph.sanitize(g.nodes, g.requires, g.after)
    graph.keep_only(g.nodes, g.requires, g.after, g.nodes[1:])
    assert g == twin


# --- the same, as methods of an engine


async def step() -> None:
    """Do nothing."""


def diamond() -> tuple[Engine, dict[str, Job]]:
    """Return an engine of ``a -> (b, c) -> d``, d coming only after c, inserted backwards."""
    jobs = {label: Job(step, label=label) for label in "dcba"}
    jobs["b"].requires(jobs["a"])
    jobs["c"].requires(jobs["a"])
    jobs["d"].requires(jobs["b"]).after(jobs["c"])
    return Engine(*jobs.values()), jobs


def labels(jobs: Iterable[AbstractJob]) -> str:
    return "".join(str(job.label) for job in jobs)


def test_an_engine_knows_its_graph() -> None:
    engine, jobs = diamond()
    assert labels(engine) == "dcba"
    assert labels(engine.topological_order()) == "acbd"
    assert labels(engine.entry_jobs()) == "a"
    assert labels(engine.exit_jobs()) == "d"
    assert labels(engine.predecessors(jobs["d"])) == "cb"
    assert labels(engine.successors(jobs["a"], [jobs["b"]])) == "dcb"
    assert labels(engine.predecessors_upstream(jobs["d"])) == "cba"
    assert labels(engine.successors_downstream(jobs["a"])) == "dcb"
    assert labels(engine.iterate_jobs()) == "dcba"


def test_an_engine_of_what_is_kept_runs() -> None:
    engine, jobs = diamond()
    engine.keep_only([jobs["d"], jobs["b"]])
    assert labels(engine) == "db"
    assert jobs["d"].required == (jobs["b"],)
    assert jobs["d"].awaited == ()
    assert jobs["a"].engine is None
    assert engine.orchestrate()
    assert jobs["a"].is_idle()


def test_an_engine_is_cut_to_what_lies_between() -> None:
    engine, jobs = diamond()
    engine.keep_only_between(starts=jobs["b"])
    assert labels(engine) == "db"
    engine, jobs = diamond()
    engine.keep_only_between(starts=jobs["a"], ends=jobs["b"], keep_starts=False)
    assert labels(engine) == "b"
    assert jobs["b"].required == ()


def test_an_engine_bypasses_a_job() -> None:
    engine, jobs = diamond()
    engine.bypass_and_remove(jobs["c"])
    engine.bypass_and_remove(jobs["b"])
    assert labels(engine) == "da"
    assert jobs["d"].required == jobs["d"].awaited == (jobs["a"],)
    assert engine.orchestrate()


def test_a_link_of_both_kinds_shows_in_the_list_and_is_drawn_once() -> None:
    engine, jobs = diamond()
    engine.bypass_and_remove(jobs["c"])
    jobs["d"].after(jobs["b"])
    assert repr(jobs["d"]) == "<Job `d' idle - [requires [b]] - [after [a, b]]>"
    assert engine.dot_format().count('-> "1"') == 2


def test_an_engine_is_mended_at_every_depth(caplog: pytest.LogCaptureFixture) -> None:
    stray = Job(step, label="stray")
    inside = Job(step, label="inside", required=stray)
    inner = Engine(inside, label="inner", after=stray)
    engine = Engine(inner, label="outer")
    with pytest.raises(GraphError, match="stray"):
        engine.check()
    engine.sanitize()
    assert inside.required == inner.awaited == ()
    assert engine.check() is None  # type: ignore[func-returns-value]
    assert "inside no longer waits for stray" in caplog.text
    assert engine.orchestrate()


def test_a_graph_is_not_changed_under_a_run() -> None:
    async def meddle() -> None:
        for change in (
            lambda: engine.keep_only(jobs["a"]),
            lambda: engine.keep_only_between(starts=jobs["a"]),
            lambda: engine.bypass_and_remove(jobs["b"]),
            engine.sanitize,
        ):
            with pytest.raises(AlreadyRunning):
                change()

    engine, jobs = diamond()
    engine.add(Job(meddle))
    assert engine.orchestrate(), engine.why()
    assert labels(jobs["d"].required) == "b"
