"""Print what commands and files over ssh cost: ``python -m benchmarks.ssh [--rounds 3]``.

OpenSSH servers on many loopback addresses of this machine do the work.  In each round every
contender does every case once, in a process of its own, so that whatever the machine does meanwhile
hits all alike.  Measured are wall time and the processor time of the client, from the first call to
the last return, starting Python and importing not counted; what is told are medians of all rounds,
over that of bare asyncssh (:mod:`benchmarks.ssh.bare`).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.measuring import ROOT, progress
from benchmarks.ssh.cases import CASES, Case
from benchmarks.ssh.contenders import CONTENDERS, FLOOR, OURS
from benchmarks.ssh.place import Place
from benchmarks.ssh.servers import servers
from benchmarks.tables import table

PATIENCE = 60
"""Seconds, after which a contender is taken for one that never ends."""
KINDS = ("wall", "cpu", "room")
Measured = dict[str, float]


@dataclass(slots=True)
class Results:
    """What was measured, by contender and case."""

    rounds: dict[tuple[str, str], list[Measured]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def median(self, name: str, case: str, kind: str) -> float | None:
        """Return the median of all rounds, None if there was none."""
        found = self.rounds.get((name, case))
        return median(one[kind] for one in found) if found else None

    def ratio(self, name: str, case: str, kind: str) -> float | None:
        """Return the median over that of the floor."""
        mine, floor = self.median(name, case, kind), self.median(FLOOR, case, kind)
        return mine / floor if mine and floor else None


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table."""
    options = parse(arguments)
    installed = {name: python for name in options.only if (python := python_for(name, options))}
    results = measure(installed, options)
    text = "\n".join([headline(options), "", *tables(results, list(installed), options)])
    print(text)
    if options.table:
        options.table.write_text(f"{text}\n")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ssh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--only", choices=CONTENDERS, nargs="+", default=list(CONTENDERS))
    parser.add_argument(
        "--peers", metavar="PYTHON", help="interpreter that has benchmarks/ssh/peers.txt"
    )
    parser.add_argument("--table", type=Path, help="file to write the tables to")
    return parser.parse_args(arguments)


def python_for(name: str, options: argparse.Namespace) -> str | None:
    """Return the interpreter that has what a contender needs, None if there is none."""
    module = CONTENDERS[name].needs
    for python in filter(None, (sys.executable, options.peers)):
        probe = [python, "-c", f"import {module}"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return str(python)
    return None


def measure(installed: dict[str, str], options: argparse.Namespace) -> Results:
    """Let every contender do every case, round by round, one after the other."""
    results = Results()
    with servers() as place:
        for round_ in range(1, options.rounds + 1):
            for case in options.cases:
                for name, python in installed.items():
                    progress(f"round {round_} of {options.rounds}: {case}, {name}")
                    if (name, case) not in results.failures:
                        measure_one(python, name, case, place, results)
    progress("")
    return results


def measure_one(python: str, name: str, case: str, place: Place, results: Results) -> None:
    """Measure once, and keep what was found."""
    target = Path(place.there, "target")
    call = [python, "-m", "benchmarks.ssh.one", CONTENDERS[name].module, case]
    given = replace(place, target=str(target)).to_json()
    try:
        done = subprocess.run(
            call,
            cwd=ROOT,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        results.failures[name, case] = f"> {PATIENCE} s"
    else:
        if done.returncode:
            sys.stderr.write(done.stderr[-2000:])
            results.failures[name, case] = "fails"
        elif found := json.loads(done.stdout.splitlines()[-1]):
            results.rounds.setdefault((name, case), []).append(found)
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)


def headline(options: argparse.Namespace) -> str:
    """Say where and when this was measured."""
    today = dt.datetime.now(tz=dt.UTC).date()
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    return (
        f"{today}, Python {platform.python_version()}, {ssh.split(',')[0]}, "
        f"{os.cpu_count()} cores, client and servers on the same; median of {options.rounds} rounds"
    )


def tables(results: Results, names: list[str], options: argparse.Namespace) -> list[str]:
    """Return all tables."""
    rows = [["case", FLOOR, *(name for name in names if name != FLOOR), "target", "met"]]
    for key in options.cases:
        cells = [told(results, name, key) for name in names if name != FLOOR]
        floor = "{:.2f} s / {:.2f} s".format(
            *(results.median(FLOOR, key, k) or 0 for k in KINDS[:2])
        )
        rows.append([CASES[key].title, floor, *cells, wanted(CASES[key]), verdict(results, key)])
    room = [["memory at most, MB", *names, "target"]]
    for key in options.cases:
        if CASES[key].room is not None:
            most = [results.median(name, key, "room") for name in names]
            cells = [f"{mb:.0f}" if mb else "" for mb in most]
            room.append([CASES[key].title, *cells, f"{CASES[key].room:g}"])
    missing = [name for name in options.only if name not in names]
    return [
        table(rows),
        *([table(room)] if len(room) > 1 else []),
        *([f"Not installed here: {', '.join(missing)}.\n"] if missing else []),
    ]


def told(results: Results, name: str, case: str) -> str:
    """Return wall and processor time over that of the floor, or why there is none."""
    wall, cpu = (results.ratio(name, case, kind) for kind in KINDS[:2])
    if wall is None or cpu is None:
        return results.failures.get((name, case), "")
    return f"{wall:.2f} / {cpu:.2f}"


def wanted(case: Case) -> str:
    """Return the targets in words."""
    return f"{case.wall:.2f}" if case.cpu is None else f"{case.wall:.2f} / {case.cpu:.2f}"


def verdict(results: Results, key: str) -> str:
    """Say whether we are within the targets."""
    case = CASES[key]
    found = [
        (results.ratio(OURS, key, "wall"), case.wall),
        (results.ratio(OURS, key, "cpu"), case.cpu),
        (results.median(OURS, key, "room"), case.room),
    ]
    missed = [
        kind
        for kind, (value, most) in zip(KINDS, found, strict=True)
        if most is not None and (value is None or round(value, 2) > most)
    ]
    return f"not {', '.join(missed)}" if missed else "yes"


if __name__ == "__main__":
    main()
