"""The table that ``make promises`` writes for the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.promises import record

PROMISES = sorted(record.HERE.glob("test_*.py"))


def report(
    path: Path,
    test: str,
    *counts: int,
    outcome: Literal["passed", "failed", "skipped"] = "passed",
) -> pytest.TestReport:
    nodeid = f"tests/promises/{path.name}::{test}"
    properties: list[tuple[str, object]] = [("count", count) for count in counts]
    return pytest.TestReport(
        nodeid, (nodeid, 0, test), {}, outcome, None, "call", user_properties=properties
    )


def test_there_is_a_row_for_each_promise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "TABLE", tmp_path / "promises.csv")
    kept = record.Record()
    for path in PROMISES[1:]:
        kept.pytest_runtest_logreport(report(path, "test"))
    kept.pytest_sessionfinish()
    assert not record.TABLE.exists()  # one promise was not tried

    first = PROMISES[0]
    kept.pytest_runtest_logreport(report(first, "test_one", 10_000, 1000, 1000))
    kept.pytest_runtest_logreport(report(first, "test_two", outcome="failed"))
    kept.pytest_runtest_logreport(report(first, "test_three", outcome="skipped"))
    kept.pytest_sessionfinish()
    head, row, *rows = record.TABLE.read_text().splitlines()
    assert head == "n,promise,tests,counts,date"
    assert row.startswith("1,order and outcome follow from ")
    assert ',1 of 2,"10 000, 1 000",' in row
    assert len(rows) == len(PROMISES) - 1
