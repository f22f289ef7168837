"""Measure one contender once, in a process of its own: ``-m benchmarks.ssh.one MODULE CASE``.

The place comes as JSON on the standard input.  Prints a line of JSON: seconds of wall time and of
processor time (children included) from the first call to the last return, and the most memory that
was ever taken, in MB.  Null: the contender cannot do this.
"""

from __future__ import annotations

import gc
import json
import re
import resource
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.ssh.cases import CASES
from benchmarks.ssh.place import Place


def measure(module: str, case: str, place: Place) -> dict[str, float] | None:
    """Return what it took."""
    name, *arguments = CASES[case].does
    contender = import_module(f"benchmarks.ssh.{module}").Case(place)
    if not hasattr(contender, name):
        return None
    gc.collect()
    used, began = processor_time(), time.perf_counter()
    getattr(contender, name)(*arguments)
    wall = time.perf_counter() - began
    return {"wall": wall, "cpu": processor_time() - used, "room": most_memory() / 1e6}


def processor_time() -> float:
    """Return the seconds that this process and its children have used."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))


def most_memory() -> int:
    """Return the most bytes that this process ever had in memory."""
    # Not ru_maxrss, which begins with what the process that started this one had.
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], Place.from_json(sys.stdin.read()))))
