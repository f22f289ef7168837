"""What ``make promises`` came to, written down for the documentation: docs/promises.csv.

One row for each promise: its number, what its test file says it is, how many of its tests passed,
with which counts, and when.  Written only if all promises were tried.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = HERE.parent.parent / "docs" / "promises.csv"
HEAD = ("n", "promise", "tests", "counts", "date")


class Record:
    """A plugin of pytest that keeps what came of each test, and writes the table at the end."""

    def __init__(self) -> None:
        self._passed: dict[str, dict[str, bool]] = defaultdict(dict)
        self._counts: dict[str, set[int]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what one phase of one test came to."""
        name = report.nodeid.partition("::")[0].rpartition("/")[2]
        tests = self._passed[name]
        if not report.skipped:
            tests[report.nodeid] = tests.get(report.nodeid, True) and report.passed
        self._counts[name].update(
            int(value)
            for key, value in report.user_properties
            if key == "count" and isinstance(value, int)
        )

    def pytest_sessionfinish(self) -> None:
        """Write the table, if every promise was tried."""
        promises = sorted(HERE.glob("test_*.py"))
        if all(path.name in self._passed for path in promises):
            with TABLE.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([HEAD, *self._rows(promises)])

    def _rows(self, promises: list[Path]) -> list[tuple[str, ...]]:
        today = datetime.now(UTC).date().isoformat()
        rows: list[tuple[str, ...]] = []
        for path in promises:
            number, said = _told(path)
            passed = self._passed[path.name].values()
            counts = sorted(self._counts[path.name], reverse=True)
            told = ", ".join(f"{count:,}".replace(",", " ") for count in counts)
            rows.append((number, said, f"{sum(passed)} of {len(passed)}", told, today))
        return rows


def _told(path: Path) -> tuple[str, str]:
    """Return the number of a promise and what it is, as the docstring of its test says."""
    text = path.read_text(encoding="utf-8")
    found = re.match(r'"""Promise (\d+)[^:]*: (.*?)[.]?("""|\n)', text)
    assert found, f"{path.name} does not begin with the promise that it is about"
    return found[1], found[2]
