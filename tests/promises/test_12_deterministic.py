"""Promise 12: same graph, same outcomes, same clock: the same ticks.

Run twice in a process, and in processes whose hashes differ.

Seen to fail against an engine that went through the jobs it released in the order of their hashes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.promises.replay import digest

ROOT = Path(__file__).parent.parent.parent


def in_a_process(graphs: int, seed: int) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tests.promises.replay", str(graphs)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.usefixtures("_quiet")
def test_twice_in_a_process_and_once_with_each_hash_seed(count: Callable[[int, int], int]) -> None:
    graphs = count(100, 1000)
    digests = [digest(graphs), digest(graphs), *(in_a_process(graphs, seed) for seed in range(5))]
    assert set(digests) == {digests[0]}
