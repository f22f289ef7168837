"""Secrets, results and errors: what they show, and that they can be copied."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshjobs import (
    CommandFailed,
    Completed,
    ConnectionLost,
    RunString,
    Secret,
    SshError,
    SshNode,
    SshTimeout,
    UnsafePath,
)
from sshjobs.script import way
from sshjobs.secret import mask

NODE = SshNode("root@fit01")
GATEWAY = SshNode("gw")


def test_a_secret_shows_nothing() -> None:
    secret = Secret("canary")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{[secret]}"]
    assert not any("canary" in text for text in shown)
    assert secret.reveal() == "canary"


def test_secrets_are_values() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\udcff") == Secret("\udcff") != Secret("\ud800")
    assert {Secret("a"): 1}[Secret("a")] == 1
    assert copy.deepcopy([Secret("a")]) == [copy.copy(Secret("a"))]


def test_a_secret_is_not_written_anywhere() -> None:
    with pytest.raises(TypeError, match="in clear"):
        pickle.dumps(Secret("canary"))
    with pytest.raises(TypeError, match="not of int") as caught:
        Secret(4711)  # type: ignore[arg-type]
    assert "4711" not in str(caught.value)


def test_masking_covers_each_line_of_a_secret() -> None:
    text = "a first b second c"
    assert mask(text, [Secret("first\nsecond\n")]) == "a *** b *** c"
    assert mask("text", [Secret("")]) == "text"
    assert mask("onetwo", [Secret("one"), Secret("onetwo")]) == "***"
    assert mask("a \ufffd b", [Secret(os.fsdecode(b"a \xff"))]) == "*** b"


@pytest.mark.parametrize("before", [0, 100, 150, 190])
@pytest.mark.parametrize("after", [0, 1800, 1900, 1990])
def test_no_part_of_a_secret_is_seen_where_text_is_cut(before: int, after: int) -> None:
    secret = Secret("\t".join(f"\x1bcanary{number}" for number in range(40)))
    said = b"%s%s\n%s" % (b"-" * before, secret.reveal().encode(), b"-" * after)
    done = Completed("ls", 1, None, said * 2, said, secrets=(secret,))
    assert "canary" not in done.last_words() + repr(done)


def test_what_a_debugger_shows_of_a_command_holds_no_secret() -> None:
    command = RunString(
        "echo", Secret("canary"), env={"A": Secret("canary")}, input=Secret("canary")
    )
    launch = command.launch()
    assert "canary" not in repr((launch, way(launch, "sh")))


@pytest.mark.parametrize("kind", [SshError, ConnectionLost, SshTimeout, CommandFailed, UnsafePath])
def test_errors_tell_where_and_can_be_copied(kind: type[SshError]) -> None:
    done = Completed("ls", 2)
    error = kind(
        "no \x1b[31mway", node=NODE, hop=GATEWAY, phase="connect", path="p", completed=done
    )
    assert str(error) == "root@fit01 (at its gateway gw): p: no way"
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (again.node, again.hop, again.phase, again.path) == (NODE, GATEWAY, "connect", "p")
        assert str(again) == str(error)


def test_an_error_seen_from_behind_a_gateway() -> None:
    error = ConnectionLost("gone", node=GATEWAY, phase="connect")
    seen = error.seen_from(NODE)
    assert (seen.node, seen.hop, seen.phase) == (NODE, GATEWAY, "connect")
    assert seen.seen_from(SshNode("behind")).hop == GATEWAY
    assert error.seen_from(GATEWAY).hop is None


def test_a_result_tells_how_it_ended() -> None:
    assert Completed("ls", 3).outcome() == "exit status 3"
    assert Completed("ls", None, "TERM").outcome() == "signal TERM"
    assert Completed("ls", None).outcome() == "its end is not known"
    done = Completed(("a", "b c"), stderr_bytes=b"one\n\ntwo\xff\n\x1b[2Jthree\nfour\n")
    assert done.last_words() == "two� | three | four"
    assert Completed("ls", stdout_bytes=b"only out\n").last_words() == "only out"


PIECES = [
    b"a",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\x0b",
    b"\xff",
    b"\xc3",
    "é".encode(),
    "\u2028".encode(),
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=20), st.integers(0, 20_000))
def test_lines_one_by_one_are_those_of_the_whole_text(pieces: list[bytes], times: int) -> None:
    done = Completed("ls", stdout_bytes=b"".join(pieces) * times, stderr_bytes=b"one\ntwo")
    assert list(done.lines()) == done.stdout.splitlines()
    assert list(done.lines("stderr")) == ["one", "two"]
