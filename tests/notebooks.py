"""Notebooks, executed for real: in a kernel that runs this interpreter.

As a program it executes notebooks in place, so that what they show is what the code does now::

    python -m tests.notebooks notebooks/*.ipynb

Jupyter leaves sockets, threads and files behind as it likes; so tests run this program, too,
instead of a kernel of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from traitlets.config import Config

nbformat: Any = import_module("nbformat")  # it has types, but in part only
ROOT = Path(__file__).parent.parent
_SECONDS_PER_CELL = 60


def executed(path: Path) -> Any:
    """Return the notebook at `path` as it is after an execution, which fails if a cell does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(path.read_bytes())
        # Neither the settings nor the kernels of whoever runs this play a part.
        own = {f"JUPYTER_{what}_DIR": folder for what in ("CONFIG", "DATA", "RUNTIME")}
        subprocess.run(
            [sys.executable, "-m", "tests.notebooks", copy],
            cwd=ROOT,
            env={**os.environ, **own, "IPYTHONDIR": folder, "JUPYTER_PREFER_ENV_PATH": "1"},
            check=True,
        )
        return nbformat.read(copy, as_version=4)


def _execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=_SECONDS_PER_CELL,
        coalesce_streams=True,
        resources={"metadata": {"path": ROOT}},
        config=Config(KernelManager={"transport": "ipc"}),  # no port that others could talk to
    ).execute()
    _forget_circumstances(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _forget_circumstances(notebook: Any) -> None:
    """Take out what differs from one execution to the next and is of no interest to anybody."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            plain = output.get("data", {}).get("text/plain")
            if plain is not None:
                output.data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", plain)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _execute(Path(name))
