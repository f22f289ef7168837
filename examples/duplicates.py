"""Which files below a folder are the same?  Each folder in it is read by a job of its own.

A program like any other, which knows nothing of the monitor.  This shows what it does::

    orchestrion run examples/duplicates.py -- /usr/share

On its own it finds the same files, and prints them: ``python examples/duplicates.py /usr/share``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from engine import CallJob, Engine, report

SMALL = 4096
"""Files of fewer bytes are not worth the trouble."""

Digests = Mapping[Path, str]


def main() -> int:
    """Look for duplicates, and print them; return the exit status."""
    top = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folders = [path for path in sorted(top.iterdir()) if path.is_dir() and not path.is_symlink()]
    reading = [CallJob(read, folder, label=folder.name) for folder in folders]
    # A list of jobs as an argument: it gets the list of their results, once there are all.
    comparing = CallJob(compare, reading, label="compare")
    engine = Engine(*reading, comparing, label=f"duplicates in {top}", jobs_window=os.cpu_count())
    if engine.orchestrate():
        for files in comparing.result():
            print(*files, sep="\n  = ")
    return engine.exit_status


def read(folder: Path) -> Digests:
    """Return what tells each file in a folder, at any depth, from all that are not the same."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [path for path in files if path.stat().st_size >= SMALL]
    digests = {}
    for number, path in enumerate(files, 1):
        with path.open("rb") as file:
            digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        report(str(path.relative_to(folder)), done=number, total=len(files))
    return digests


def compare(found: list[Digests]) -> list[list[Path]]:
    """Return the groups of files that are the same."""
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for digests in found:
        for path, digest in digests.items():
            groups[digest].append(path)
    return [files for files in groups.values() if len(files) > 1]


if __name__ == "__main__":
    sys.exit(main())
