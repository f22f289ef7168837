"""The demo as anybody runs it: a program of its own, without a terminal, left alone or interrupted.

What it looks like on a terminal is judged in tests/monitor.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import marked

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "examples" / "fleet.py"
NODES = ["node2", "node3", "node4", "node5", "node6"]


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start it, with all that it makes below `folder`."""
    env = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    # With its own process group it has no terminal to ask, whoever runs the tests.
    command = [sys.executable, "-W", "error", str(DEMO)]
    with subprocess.Popen(
        command,
        env=env,
        text=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_nothing_left(folder: Path) -> None:
    # Commands on the nodes have a folder of theirs in their environment.
    assert [process.command() for process in marked(str(folder))] == []
    assert list(folder.iterdir()) == []


def test_it_runs_to_the_end(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 0, said
    rows = re.findall(r"^(node\d) +(\d+) +(\d+) us +(\d+) us +(\d+) MB/s$", said, re.MULTILINE)
    assert [row[0] for row in rows] == NODES
    assert all(int(figure) > 0 for row in rows for figure in row[1:])
    assert re.search(r"try udp.*failed", said)
    assert "1 failed, not critical" in said
    assert not re.search("Traceback|Exception ignored|Warning", said), said
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("moment", ["ask port +running", "measure node3 +running +[0-9]+%"])
def test_ctrl_c_in_its_middle(moment: str, tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        said = ""
        while not re.search(moment, said):
            line = process.stdout.readline()
            assert line, said
            said += line
        assert marked(str(tmp_path)), "the server on node1 runs by now"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said + rest
    assert not re.search("Traceback|Exception ignored|Warning", rest), rest
    assert_nothing_left(tmp_path)
