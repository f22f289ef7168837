"""Promise 19: an argument vector is data: what goes in comes out, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import BadOption, Engine
from sshjobs import LocalNode, Run, Secret, SshJob, SshNode
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

# What shells, quoting and option parsers trip over, beside all that text may be.
NASTY = st.lists(
    st.sampled_from([*"'\"\\$`!*?[]{}()<>|&;#~=% \t\n\r", "$(id)", "${X}", "-n", "--", "\\n", "é"]),
    max_size=12,
).map("".join)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | NASTY
VECTORS = st.lists(WORDS, min_size=1, max_size=4)
# The program prints each argument, and what marks its end.
PRINT = ["printf", "%s\\001"]


@pytest.fixture(scope="module")
def node() -> Iterator[SshNode]:
    """A node that is connected all the while."""
    with Sshd(plain=True) as server:
        node = node_of(server)
        with node:
            # The server forks once more after the login, a moment later.
            assert Engine(SshJob(node, "true")).orchestrate()
            yield node


def come_back(node: SshNode | LocalNode, command: Run) -> str:
    job = SshJob(node, command)
    assert Engine(job).orchestrate()
    result = job.result().stdout_bytes
    assert isinstance(result, bytes)
    return result.decode()


def expected(words: list[str]) -> str:
    return "".join(f"{word}\1" for word in words)


FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@FIXTURES
@given(VECTORS)
def test_over_ssh(node: SshNode, words: list[str]) -> None:
    assert come_back(node, Run([*PRINT, *words])) == expected(words)


@FIXTURES
@given(VECTORS)
def test_by_stdin(node: SshNode, words: list[str]) -> None:
    """The other way that a script goes: as for everything that is not to be seen."""
    command = Run([*PRINT, *map(Secret, words)], env={"WORD": words[0]})
    assert come_back(node, command) == expected(words)


@FIXTURES
@given(VECTORS)
def test_on_this_machine(words: list[str]) -> None:
    assert come_back(LocalNode(), Run([*PRINT, *words])) == expected(words)


@FIXTURES
@given(WORDS)
def test_environment_and_input(node: SshNode, text: str) -> None:
    line = 'printf "%s\\001" "$TEXT"; cat'
    assert come_back(node, Run(line, env={"TEXT": text}, input=text)) == f"{text}\1{text}"


@pytest.mark.parametrize("words", [["echo", "a\0b"], ["a\0b"], ["echo", "\ud800"]])
def test_what_no_argument_can_be_is_refused(words: list[str]) -> None:
    with pytest.raises(BadOption):
        Run(words)
