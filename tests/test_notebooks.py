"""The notebooks, executed in a real kernel; and the walk that one begins with, as a script too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import ROOT, executed

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WALK = ROOT / "notebooks" / "orchestration.ipynb"


@dataclass
class Cell:
    """A cell of code: what it says, the lines that it printed, what its last expression gave."""

    code: str
    printed: list[str]
    result: str = ""


def seed() -> list[Cell]:
    """Return the cells of the original walk, with what they showed."""
    text = Path(__file__).with_name("seed.txt").read_text()
    _, *parts = re.split(r"(?m)^(In \[\d+\]|Printed|Out\[\d+\]):\n", text)
    cells: list[Cell] = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        if kind.startswith("In"):
            cells.append(Cell(body.rstrip("\n"), []))
        elif kind == "Printed":
            cells[-1].printed = body.splitlines()
        else:
            cells[-1].result = body.rstrip("\n")
    return cells


def cells_of(notebook: Any) -> list[Cell]:
    """Return the cells of code of a notebook, with what they show."""
    found = []
    for each in notebook["cells"]:
        if each["cell_type"] != "code":
            continue
        cell = Cell("".join(each["source"]), [])
        for output in each["outputs"]:
            if output["output_type"] == "stream":
                cell.printed += "".join(output["text"]).splitlines()
            else:
                cell.result = "".join(output["data"]["text/plain"])
        found.append(cell)
    return found


def timeless(lines: list[str]) -> list[str]:
    """Return `lines` in an order of their own, without times, nor the names of cells as files."""
    lines = [re.sub(r"\d\d:\d\d:\d\d", "TIME", line) for line in lines]
    lines = [re.sub(r" *\d+\.\d\ds ", " SECONDS ", line) for line in lines]
    return sorted(re.sub(r"\b\d+\.py:", "CELL:", line) for line in lines)


def ends(lines: list[str]) -> list[str]:
    """Return which coroutines ended, in order: clocks that far apart leave no choice."""
    return [line.split()[-1] for line in lines if "<-" in line]


@cache
def shown(path: Path) -> list[Cell]:
    """Return the cells of a notebook after an execution."""
    return cells_of(executed(path))


def committed(path: Path) -> list[Cell]:
    """Return the cells of a notebook as it lies there."""
    return cells_of(json.loads(path.read_text()))


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_notebook_begins_with_the_original_walk() -> None:
    assert [cell.code for cell in committed(WALK)][: len(seed())] == [cell.code for cell in seed()]


def test_the_original_walk_shows_in_a_kernel_what_it_showed() -> None:
    for original, cell in zip(seed(), shown(WALK), strict=False):
        assert timeless(cell.printed) == timeless(original.printed), cell.code
        assert ends(cell.printed) == ends(original.printed), cell.code
        assert cell.result == original.result, cell.code


@each_notebook
def test_what_is_committed_is_what_an_execution_shows(path: Path) -> None:
    """If this fails after a change of the code: python -m tests.notebooks notebooks/*.ipynb."""
    for old, new in zip(committed(path), shown(path), strict=True):
        if ".graph()" in new.code and shutil.which("dot") is None:
            continue
        assert timeless(new.printed) == timeless(old.printed), new.code
        assert new.result == old.result, new.code


@each_notebook
def test_every_cell_was_executed_in_order_and_none_failed(path: Path) -> None:
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(out["output_type"] == "error" for cell in cells for out in cell["outputs"])


@each_notebook
def test_no_path_of_a_machine_is_in_the_notebook(path: Path) -> None:
    assert not re.search(r"/(home|root|tmp|work|usr|Users)/", path.read_text())


def test_the_original_walk_runs_as_a_script(tmp_path: Path) -> None:
    script = tmp_path / "walk.py"
    script.write_text("\n\n".join(cell.code for cell in seed()) + "\n")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", script],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for cell in seed() for line in cell.printed]
    assert timeless(done.stdout.splitlines()) == timeless(lines)
    assert ends(done.stdout.splitlines()) == ends(lines)
