"""What was measured, as tables of reStructuredText: those of the page on benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measuring import Options, Results, contenders


@dataclass(frozen=True, slots=True)
class Goal:
    """What was to be reached, at most, and what was found."""

    what: str
    found: float
    most: float
    form: str = "x {:.2f}"


def cost_table(results: Results, size: int, options: Options) -> str:
    """Microseconds for each job, and times the floor."""
    rows = [["us per job (x floor)", *options.shapes]]
    rows += [cells(results, name, size, options) for name in contenders(options)]
    return f"{size:,} jobs:\n\n{table(rows)}"


def cells(
    results: Results, name: str, size: int, options: Options, label: str | None = None
) -> list[str]:
    """Return the row of a contender: microseconds for each job and times the floor, by shape."""
    row = [label or name]
    for shape in options.shapes:
        seconds, ratio = results.median(name, shape, size), results.ratio(name, shape, size)
        known = seconds is not None and ratio is not None
        row.append(f"{1e6 * (seconds or 0) / size:.1f} ({ratio:.2f})" if known else "")
    return row


def cost_goals(results: Results, size: int, options: Options) -> Iterator[Goal]:
    """What the engine was to cost, in times of the floor."""
    plain, read = (results.ratios(n, options.shapes, size) for n in ("engine", "engine, read"))
    mean = math.exp(sum(map(math.log, plain)) / len(plain))
    yield Goal(f"{size:,} jobs, the worst shape", max(plain), 1.20)
    yield Goal(f"{size:,} jobs, geometric mean of the shapes", mean, 1.05)
    yield Goal(f"{size:,} jobs, read, the worst shape", max(read), 1.45)


def growth_table(results: Results, options: Options) -> str:
    """How the cost of a job grows from the smallest graph to the largest."""
    small, large = min(options.sizes), max(options.sizes)
    rows = [["growth of us per job", *options.shapes]]
    for name in contenders(options):
        growths = []
        for shape in options.shapes:
            here, there = results.median(name, shape, large), results.median(name, shape, small)
            growths.append(f"x {here / large / (there / small):.2f}" if here and there else "")
        rows.append([name, *growths])
    return f"{large:,} jobs over {small:,}:\n\n{table(rows)}"


def elsewhere_table(found: list[tuple[str, Results]], size: int, options: Options) -> str:
    """The engine with other interpreters and event loops, each over the floor there."""
    rows = [["us per job (x floor there)", *options.shapes]]
    rows += [cells(results, "engine", size, options, label) for label, results in found]
    return f"The engine elsewhere, {size:,} jobs:\n\n{table(rows)}"


def huge_table(results: Results, room: Results, options: Options) -> str:
    """The largest graphs: seconds, times the floor, and how much the process grew at most."""
    rows = [["run", "seconds", "us per job", "x floor", "bytes per job"]]
    for shape in options.shapes:
        for size in options.sizes:
            seconds = results.median("engine", shape, size) or math.nan
            rows.append(
                [
                    f"{shape} of {size:,}",
                    f"{seconds:.1f}",
                    f"{1e6 * seconds / size:.1f}",
                    f"{results.ratio('engine', shape, size):.2f}",
                    f"{room.median('engine', shape, size):.0f}",
                ]
            )
    return f"To the end of a million, once each:\n\n{table(rows)}"


def goals_table(goals: list[Goal]) -> str:
    """What was to be reached, and whether it was."""
    rows = [["goal", "at most", "found", "met"]]
    for goal in goals:
        # As it is told, or what is told as 1.20 could be more than 1.20.
        found = goal.form.format(goal.found)
        met = float(found.split()[-1]) <= goal.most
        rows.append([goal.what, goal.form.format(goal.most), found, "yes" if met else "no"])
    return f"What was to be reached by the engine (x: times the floor):\n\n{table(rows)}"


def table(rows: list[list[str]]) -> str:
    """Return rows as a simple table of reStructuredText; what was not measured is left blank."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)

    def lines() -> Iterator[str]:
        yield rule
        for number, row in enumerate(rows):
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            yield "  ".join([row[0].ljust(widths[0]), *cells]).rstrip()
            if number == 0:
                yield rule
        yield rule

    return "\n".join(lines()) + "\n"
