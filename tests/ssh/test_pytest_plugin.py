"""The fixture for pytest: small test files of a user are run, and their reports read."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "ssh-faults.rst"
BLOCK = re.compile(r"\.\. code-block:: python\n   :caption: (\S+)\n\n((?:   .*\n|\n)+)")
# The files that the page shows.
SHOWN = {name: textwrap.dedent(text) for name, text in BLOCK.findall(PAGE.read_text())}


def report_of(pytester: pytest.Pytester, **tests: str) -> tuple[dict[str, int], str]:
    """Run test files in a pytest of its own; return the counts of outcomes, and all it says."""
    pytester.makeconftest(SHOWN["conftest.py"])
    pytester.makepyfile(**tests)
    options = ("-p", "no:cacheprovider", "--strict-markers", "-W", "error", "-rA")
    done = pytester.runpytest_subprocess(*options)
    return done.parseoutcomes(), done.stdout.str()


def test_a_test_gets_the_fleet_that_its_mark_says(pytester: pytest.Pytester) -> None:
    marked = """
import pytest
from engine import Engine
from sshjobs import SshJob

def test_two_nodes(fleet):
    assert Engine(*(SshJob(node, "true") for node in fleet.nodes)).orchestrate()
    assert (len(fleet.nodes), fleet.gateway.hostname) == (2, "gateway")

@pytest.mark.fleet(3, gateway=False)
def test_three_nodes(fleet):
    assert (len(fleet.nodes), fleet.gateway) == (3, None)

@pytest.mark.fleet(keepalive=7)
class TestOfAClass:
    def test_options_only(self, fleet):
        assert [node.keepalive for node in fleet.nodes] == [7, 7]

@pytest.mark.fleet(0)
def test_of_a_fleet_without_nodes(fleet):
    pass
"""
    outcomes, said = report_of(pytester, test_marked=marked, test_outage=SHOWN["test_outage.py"])
    assert outcomes == {"passed": 4, "errors": 1}, said
    assert "PASSED test_outage.py::" in said
    assert "BadOption: Fleet(0): give a number of nodes" in said


def test_what_is_wrong_is_told(pytester: pytest.Pytester) -> None:
    left = """
from engine import Engine
from sshjobs import SshJob

def leave_a_daemon(node):
    assert Engine(SshJob(node, "setsid sleep 97.3 >/dev/null 2>&1 &")).orchestrate()

def test_daemon(fleet):
    leave_a_daemon(fleet.nodes[1])

def test_daemon_and_failure(fleet):
    leave_a_daemon(fleet.nodes[1])
    assert False, "enough"

def test_connection(fleet):
    fleet.nodes[0].__enter__()
"""
    # The test in the documentation is one that can fail.
    no_outage = SHOWN["test_outage.py"].replace("600", "0.1").replace("power_off", "home")
    outcomes, said = report_of(pytester, test_left=left, test_no_outage=no_outage)
    assert outcomes == {"passed": 2, "failed": 2, "errors": 2}, said
    assert "FAILED test_no_outage.py::" in said
    # The summary tells it once more where the environment has CI.
    reports = said.partition("short test summary info")[0]
    told = re.findall(r"this was left on the nodes of the fleet:\n((?:  .*\n)+)", reports)
    assert [re.sub(r"process \d+", "process PID", each) for each in told] == [
        "  node2: process PID: sleep 97.3\n",
        "  gateway: an open connection\n  node1: an open connection\n",
    ]
