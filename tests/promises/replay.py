"""Prints a digest of the ticks of many graphs: ``-m tests.promises.replay COUNT``."""

from __future__ import annotations

import hashlib
import json
import logging
import sys

from engine import Message
from engine.testing import play, random_graph


def digest(graphs: int) -> str:
    """Return a digest of all ticks of `graphs` graphs, without names of runs and wall clocks."""
    total = hashlib.sha256()
    for seed in range(graphs):
        for tick in play(random_graph(seed, tied=seed % 2 == 0)).story.ticks:
            told = tick.to_dict()
            del told["run"], told["wall"]
            if isinstance(tick, Message):
                del told["text"]  # may hold what is different each time, as addresses
            total.update(json.dumps(told).encode())
    return total.hexdigest()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.stdout.write(digest(int(sys.argv[1])))
