"""Promise 22: a pull stays in its target, whatever the server says.

Seen to fail with each check of sshjobs/sources.py, remote_files.py and copying.py taken out in its
turn.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from sshjobs import Command, Pull, Push, SshJob, TransferFailed, UnsafePath
from tests.ssh.liar import CONTENT, FILE, FOLDER, LINK, Liar, Listing

GOOD = [("good", FILE)]


@pytest.fixture(autouse=True)
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the target in it, in which we are; nothing in it is to change."""
    (tmp_path / "here").mkdir()
    (tmp_path / "evil").write_text("good")
    (tmp_path / "here/evil").write_text("good")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def pull(liar: Liar, max_files: int = 1000) -> None:
    """Pull all that there is into ``target``."""
    do(liar, Pull("/bait", "target", max_files=max_files))


def do(liar: Liar, command: Command) -> None:
    """Carry out a command, and raise what its job raised."""
    job = SshJob(liar.node, command, label="it")
    Engine(job).orchestrate()
    job.result()


def assert_untouched(around: Path) -> None:
    inside = around / "here/target"
    found = [p for p in around.rglob("*") if inside != p and inside not in p.parents]
    assert sorted(found) == [around / "evil", around / "here", around / "here/evil"]
    assert {path.read_text() for path in found if path.is_file()} == {"good"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "../../evil",
        "sub/../../evil",
        "/tmp/evil",
        "sub/evil",
        "evil\0good",
        "\x1b]0;evil\x07",
        "evil\x9b31m",
        "evil\nname",
        "evil\r",
        "",
    ],
)
@pytest.mark.parametrize("mode", [FILE, FOLDER, LINK])
def test_a_name_that_is_none(name: str, mode: int, around: Path) -> None:
    with Liar([*GOOD, (name, mode)]) as liar, pytest.raises(UnsafePath) as caught:
        pull(liar)
    assert caught.value.node == liar.node
    assert name in str(caught.value.path)
    assert str(caught.value).isprintable()
    # It is refused before the first file is written.
    assert not Path("target").exists()
    assert_untouched(around)


@pytest.mark.parametrize(
    "listing",
    [
        [("evil", FILE), ("evil", FILE)],
        [("evil", LINK), ("evil", FILE)],
        [("evil", LINK), ("evil", FOLDER)],
    ],
)
def test_the_same_name_twice(listing: Listing, around: Path) -> None:
    with Liar(listing, says="..") as liar, pytest.raises(UnsafePath, match="twice"):
        pull(liar)
    assert_untouched(around)


@pytest.mark.parametrize("says", ["/", "..", "../evil", "a/../../evil", "./..", "", "\x1b[31m"])
def test_a_link_that_leads_out(says: str, around: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Liar([*GOOD, ("link", LINK)], says=says) as liar:
        pull(liar)
    assert [path.name for path in Path("target").iterdir()] == ["good"]
    assert "link" in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert_untouched(around)


def test_a_link_of_an_earlier_pull_is_no_way_out(around: Path) -> None:
    Path("target").mkdir()
    Path("target/sub").symlink_to(around)
    with Liar([("sub", FOLDER)]) as liar, pytest.raises(UnsafePath):
        pull(liar)
    with Liar([("sub", FILE)]) as liar:
        pull(liar)
    assert Path("target/sub").read_bytes() == CONTENT
    assert_untouched(around)


def test_special_bits_are_masked() -> None:
    with Liar([("file", stat.S_IFREG | 0o6755), ("folder", stat.S_IFDIR | 0o7755)]) as liar:
        pull(liar)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("target").iterdir()}
    assert modes == {"file": 0o755, "folder": 0o755}


def test_neither_devices_nor_pipes_are_made() -> None:
    kinds = [stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK, 0]
    with Liar([(f"special{n}", kind | 0o644) for n, kind in enumerate(kinds)]) as liar:
        pull(liar)
    assert list(Path("target").iterdir()) == []


def test_dots_are_not_taken_for_names(around: Path) -> None:
    with Liar([(".", FOLDER), ("..", FOLDER), (".", FILE), *GOOD]) as liar:
        pull(liar)
    assert [path.name for path in Path("target").iterdir()] == ["good"]
    assert_untouched(around)


@pytest.mark.parametrize("what", ["/bait", "/bait/*", "/bait/nothing*"])
def test_names_without_end(what: str, count: Callable[[int, int], int]) -> None:
    most = count(1_000, 100_000)
    many = ((f"file{number}", FILE) for number in range(2 * most))
    with Liar(many) as liar, pytest.raises(TransferFailed, match=f"more than {most} "):
        do(liar, Pull(what, "target", max_files=most))
    assert not Path("target").exists()


def test_folders_without_end() -> None:
    liar = Liar([("d" * 200, FOLDER)], endless=True)
    with liar, pytest.raises(TransferFailed, match="without end"):
        pull(liar)
    assert not Path("target").exists()


def test_more_than_was_asked_for_is_not_taken() -> None:
    with Liar(GOOD, surplus=b"more") as liar, pytest.raises(TransferFailed, match="more than"):
        pull(liar)
    assert list(Path("target").iterdir()) == []


def test_less_than_was_announced_is_an_error() -> None:
    with Liar(GOOD, size=1 << 20) as liar, pytest.raises(TransferFailed, match="shorter"):
        pull(liar)
    assert list(Path("target").iterdir()) == []


def test_globs_are_no_way_round(around: Path) -> None:
    with Liar([("../evil", FILE)]) as liar, pytest.raises(UnsafePath):
        do(liar, Pull("/bait/*", "target/"))
    assert_untouched(around)


@pytest.mark.parametrize(
    ("lies", "told"),
    [
        ({"room": 0}, "No space left"),
        ({"inodes": 0}, "No space left"),
        ({"flags": 1}, "Read-only"),
        ({}, "gives no reason"),
    ],
)
def test_what_version_3_has_no_word_for_is_found_out(lies: dict[str, Any], told: str) -> None:
    with Liar(**lies) as liar, pytest.raises(TransferFailed, match=told) as caught:
        do(liar, Push("evil", "/bait/target"))
    assert caught.value.path == "/bait/target"
    (removed,) = liar.removed
    assert removed.startswith(b"/bait/.target.")
    assert removed.endswith(b".part")
