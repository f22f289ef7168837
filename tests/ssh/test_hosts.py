"""Node sets: the notation, and that it means the same as ClusterShell's."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from ClusterShell.NodeSet import NodeSet
from hypothesis import given
from hypothesis import strategies as st

from engine import BadOption
from sshjobs.hosts import expand


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("gw", ["gw"]),
        ("a,b c,,a", ["a", "b", "c"]),
        ("fit[1-3]", ["fit1", "fit2", "fit3"]),
        ("fit[08-11]", ["fit08", "fit09", "fit10", "fit11"]),
        ("fit[099-101].lab", ["fit099.lab", "fit100.lab", "fit101.lab"]),
        ("n[0-6/3,9]", ["n0", "n3", "n6", "n9"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
    ],
)
def test_notation(hosts: str, names: list[str]) -> None:
    assert expand(hosts) == names


@pytest.mark.parametrize(
    "hosts",
    ["", "  ", "a[", "a[1-", "a]", "a[3-1]", "a[x]", "a[1-3/0]", "a[]", "a[1-999999]", ["a", "b"]],
)
def test_nonsense_is_refused(hosts: Any) -> None:
    with pytest.raises(BadOption, match="node set"):
        expand(hosts)


ranges = st.tuples(st.integers(0, 120), st.integers(0, 30), st.integers(1, 4), st.booleans())


@given(st.lists(ranges, min_size=1, max_size=3))
def test_ranges_mean_what_they_mean_elsewhere(parts: list[tuple[int, int, int, bool]]) -> None:
    texts = []
    for first, length, step, padded in parts:
        width = 3 if padded else 0
        texts.append(f"n{width}x[{first:0{width}d}-{first + length:0{width}d}/{step}]")
    hosts = ",".join(texts)
    assert sorted(expand(hosts)) == sorted(NodeSet(hosts))


def test_more_notation_comes_with_clustershell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert expand("a[1-4]!a[2-3]") == ["a1", "a4"]
    monkeypatch.setitem(sys.modules, "ClusterShell.NodeSet", None)
    with pytest.raises(BadOption, match="ClusterShell"):
        expand("a[1-4]!a[2-3]")
    assert expand("a[1-2]") == ["a1", "a2"]
