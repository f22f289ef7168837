"""Promise 1: order and outcome follow from the graph and the jobs' outcomes alone.

Random graphs are played on a virtual clock and held against the reference model: the state, the
instants of start and end of every job and attempt, the order of starts, the verdict, the failures.

Seen to fail against engines that started the latest job first, took `requires` for `after`, made a
forever job ready at its start whatever `notify` says, skipped only the next in a chain, or cut the
last turns that forever jobs are given.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from engine.testing import JobSpec, differences, play, predict, random_graph, sketch, violations


def disagreement(graph: JobSpec) -> str:
    """What the engine does otherwise than the model, or against a rule; empty if nothing."""
    performance = play(graph)
    found = differences(predict(graph), performance) + violations(performance)
    return "\n".join([*found, sketch(graph)]) if found else ""


@pytest.mark.usefixtures("_quiet")
def test_seeded_graphs_end_as_the_model_says(count: Callable[[int, int], int]) -> None:
    for seed in range(count(600, 10_000)):
        graph = random_graph(seed, pauses=True)
        if not predict(graph).tied:
            assert not disagreement(graph), f"seed {seed}"


# Without the phase that shrinks what was found: it takes minutes, and a sketch is short enough.
@pytest.mark.usefixtures("_quiet")
@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.randoms(use_true_random=False))
def test_found_graphs_end_as_the_model_says(source: Random) -> None:
    graph = random_graph(source, most=6, pauses=True)
    assume(not predict(graph).tied)
    assert not disagreement(graph)


@pytest.mark.usefixtures("_quiet")
def test_where_everything_happens_at_once_the_rules_hold(count: Callable[[int, int], int]) -> None:
    for seed in range(count(400, 10_000)):
        graph = random_graph(seed, tied=True, pauses=True)
        assert not (broken := violations(play(graph))), "\n".join(
            [f"seed {seed}", *broken, sketch(graph)]
        )
