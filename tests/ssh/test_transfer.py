"""Push and Pull: what arrives, under which name, and what happens when something is in the way."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from engine import BadOption, Engine, JobOutput, JobProgress, Tick
from engine.testing import run_virtual
from engine.testing.patience import looks
from sshjobs import (
    Command,
    Completed,
    ConnectionLost,
    LocalNode,
    Pull,
    Push,
    SshError,
    SshJob,
    SshNode,
    SshTimeout,
    TransferFailed,
    UnsafePath,
    copying,
    sources,
)
from sshjobs.filesystem import closing
from sshjobs.sandbox import Fleet
from tests.processes import pids
from tests.ssh.liar import FILE, Liar
from tests.sshd import Sshd

Node = SshNode | LocalNode


class Recorder:
    """A message queue that keeps what comes, and may do something at the first bytes copied."""

    def __init__(self, at_progress: Callable[[], object] | None = None) -> None:
        self.ticks: list[Tick] = []
        self._at_progress = at_progress

    def put_nowait(self, tick: Tick) -> None:
        self.ticks.append(tick)
        if self._at_progress is not None and isinstance(tick, JobProgress) and tick.done:
            action, self._at_progress = self._at_progress, None
            action()

    def of(self, kind: type[Any]) -> list[Any]:
        return [tick for tick in self.ticks if isinstance(tick, kind)]


def do(node: Node, *commands: Command, **options: Any) -> Completed:
    """Carry out commands as one job; return its result or raise what it raised."""
    job = SshJob(node, commands, label="it")
    Engine(job, **options).orchestrate()
    result: Completed = job.result()
    return result


def tree(folder: Path) -> dict[str, object]:
    """What is below a folder: text of files, ``None`` for folders, ``-> there`` for links."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = None if path.is_dir() else path.read_text()
    return found


def make(folder: Path, /, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(1) as fleet:
        yield fleet


@pytest.fixture(scope="module", params=["sandbox", "sshd", "local"])
def any_node(request: pytest.FixtureRequest) -> Node:
    """Our servers and the real one; the real one may be missing."""
    if request.param == "sandbox":
        fleet: Fleet = request.getfixturevalue("fleet")
        return fleet.nodes[0]
    return of_sshd(request.getfixturevalue("sshd")) if request.param == "sshd" else LocalNode()


@pytest.fixture
def place(any_node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Node, Path]:
    """A node and an empty folder of it; we are in another empty folder."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    return any_node, there


def of_sshd(sshd: Sshd) -> SshNode:
    return SshNode(
        sshd.host,
        port=sshd.port,
        username=sshd.username,
        keys=sshd.key,
        known_hosts=[sshd.known_hosts],
        config=None,
    )


@pytest.fixture
def node(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshNode:
    monkeypatch.chdir(tmp_path)
    return fleet.nodes[0]


def test_a_file_gets_the_new_name(place: tuple[Node, Path]) -> None:
    node, there = place
    Path("a").write_text("one")
    done = do(node, Push("a", there / "b"))
    assert (done.argv, done.exit_status) == (("push", "a", str(there / "b")), 0)
    assert done.stdout == "1 file: 3 bytes\n"
    assert tree(there) == {"b": "one"}
    Path("a").write_text("two")
    do(node, Push("a", there / "b"), Pull(there / "b", "c"))
    assert tree(Path()) == {"a": "two", "c": "two"}


def test_a_slash_means_inside(place: tuple[Node, Path]) -> None:
    node, there = place
    Path("a").write_text("one")
    do(node, Push("a", f"{there}/new/"), Push("a", f"{there}/new/"), Pull(f"{there}/new/a", "out/"))
    assert tree(there) == {"new": None, "new/a": "one"}
    assert tree(Path("out")) == {"a": "one"}


def test_a_folder_goes_with_all_that_is_in_it(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("conf"), a="1")
    make(Path("conf/sub/deep"), b="2")
    Path("conf/empty").mkdir()
    Path("conf/link").symlink_to("sub/deep/b")
    Path("conf/sub/up").symlink_to("../a")
    do(node, Push("conf", there / "etc"), Push("conf/", f"{there}/in/"))
    assert tree(there / "etc") == tree(there / "in/conf") == tree(Path("conf"))
    done = do(node, Pull(there / "etc", "back"))
    assert tree(Path("back")) == tree(Path("conf"))
    assert done.stdout == "2 files, 4 folders, 2 links: 2 bytes\n"


def test_a_second_time_adds_and_replaces(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("conf"), a="1", b="1")
    Path("conf/link").symlink_to("a")
    make(there / "etc", b="old", c="old")
    do(node, Push("conf", there / "etc"), Push("conf", there / "etc"))
    assert tree(there / "etc") == {"a": "1", "b": "1", "c": "old", "link": "-> a"}


def test_globs(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("x1"), a="1", b="2", **{".hidden": ""})
    make(Path("x2"), c="3")
    do(node, Push("x?/[ab]", f"{there}/"), Push("x*", f"{there}/all"), Push("x1/.*", f"{there}/"))
    all_of_it = {"x1": None, "x1/.hidden": "", "x1/a": "1", "x1/b": "2", "x2": None, "x2/c": "3"}
    assert tree(there / "all") == all_of_it
    do(node, Pull(f"{there}/a*/x*/[!a]", "out/"))
    assert tree(Path("out")) == {"b": "2", "c": "3"}
    do(node, Pull(f"{there}/all/x1/*", "shown/"))
    assert tree(Path("shown")) == {"a": "1", "b": "2"}
    Path("[ab]").write_text("its real name")
    do(node, Push("[ab]", there / "literal"))
    assert (there / "literal").read_text() == "its real name"


@pytest.mark.parametrize("name", ["two words", "-rf", "it's $(x) `y`;\\", "naïve ☃", "new\nline"])
def test_any_name_will_do(name: str, node: SshNode, tmp_path: Path) -> None:
    Path("d").mkdir()
    (Path("d") / name).write_text("content")
    do(node, Push("d", tmp_path / "there"), Push(tmp_path / "d" / name, tmp_path / "there/copy"))
    assert tree(tmp_path / "there") == {name: "content", "copy": "content"}


def test_names_need_not_be_utf8(node: SshNode, tmp_path: Path) -> None:
    make(Path("d"), **{os.fsdecode(b"caf\xe9"): "content"})
    do(node, Push("d", tmp_path / "there"), Pull(tmp_path / "there", tmp_path / "back"))
    assert [os.fsencode(path.name) for path in Path("back").iterdir()] == [b"caf\xe9"]


def test_permissions_go_along_without_special_bits(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("d"), a="")
    Path("d/a").chmod(0o6755)
    Path("d").chmod(0o1500)
    do(node, Push("d", there / "d"), Pull(there / "d/a", "b"), Pull(there / "d", "e"))
    for path in (there / "d/a", Path("b"), Path("e/a")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    for path in (there / "d", Path("e")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_private_file_is_private_all_the_time(node: SshNode, tmp_path: Path) -> None:
    Path("secret").write_bytes(bytes(1 << 20))
    Path("secret").chmod(0o600)
    seen: list[int] = []

    def look() -> None:
        seen.extend(path.stat().st_mode & 0o777 for path in (tmp_path / "there").iterdir())

    do(node, Push("secret", f"{tmp_path}/there/"), message_queue=Recorder(look))
    assert seen == [0o600]


def test_relative_names_start_at_home(fleet: Fleet, node: SshNode) -> None:
    Path("a").write_text("one")
    do(node, Push("a", "b"), Push("a", "~/c"), Pull("~/b", "d"))
    home = fleet.home(node)
    assert (home / "b").read_text() == (home / "c").read_text() == Path("d").read_text() == "one"
    assert "is a folder" in str(refused(node, Push("a", "~")))
    assert "whole path" in str(refused(node, Push("a", "~nobody/a")))
    assert refused(node, Push("~nobody-of-that-name/a", "a")).path == "~nobody-of-that-name/a"
    assert not any(path.name.startswith("~") for path in home.iterdir())


def test_a_path_may_be_known_late(node: SshNode, tmp_path: Path) -> None:
    Path("a").write_text("one")
    names: list[str] = []
    job = SshJob(node, Push(lambda: names[0], lambda: tmp_path / names[1]))
    assert "push ... ..." in job.details()
    names += ["a", "b"]
    assert Engine(job).orchestrate()
    assert Path("b").read_text() == "one"


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", None, 3])
def test_what_is_no_path_is_refused_where_it_is_written(path: Any) -> None:
    with pytest.raises(BadOption, match="not a path"):
        Push(path, "x")
    with pytest.raises(BadOption, match="not a path"):
        Pull("x", path)


def test_large_files_arrive_whole(place: tuple[Node, Path]) -> None:
    node, there = place
    data = os.urandom((1 << 22) + 12345)
    Path("big").write_bytes(data)
    do(node, Push("big", there / "big"), Pull(there / "big", "back"))
    assert (there / "big").read_bytes() == data
    assert Path("back").read_bytes() == data


def test_holes_stay_holes(place: tuple[Node, Path]) -> None:
    node, there = place
    with Path("image").open("wb") as image:
        image.truncate(30 << 20)
        image.seek(20 << 20)
        image.write(b"data")
    Path("zeros").write_bytes(bytes(1 << 20))
    do(node, Push("image", there / "image"), Pull(there / "image", "back"))
    for path in (there / "image", Path("back")):
        assert path.read_bytes() == Path("image").read_bytes()
        assert path.stat().st_blocks * 512 < 2 << 20
    # Room that was taken on purpose is taken over there too.
    do(node, Push("zeros", there / "zeros"))
    assert (there / "zeros").stat().st_blocks * 512 >= 1 << 20


def test_many_files_arrive_all(place: tuple[Node, Path]) -> None:
    node, there = place
    many = make(Path("many"), **{f"file{n}": "x" * n for n in range(200)})
    do(node, Push("many", there / "many"), Pull(there / "many", "back"))
    assert tree(Path("back")) == tree(there / "many") == tree(many)


def test_a_file_made_as_one_reads_it(node: SshNode) -> None:
    do(node, Pull("/proc/self/status", "status"))
    assert "Name:" in Path("status").read_text()


def test_progress_is_told_in_bytes(node: SshNode, tmp_path: Path) -> None:
    size = 20 << 20
    Path("big").write_bytes(bytes(size))
    recorder = Recorder()
    done = do(node, Push("big", tmp_path / "copy"), message_queue=recorder)
    told = recorder.of(JobProgress)
    assert [tick.done for tick in told] == sorted(tick.done for tick in told)
    assert (told[0].done, told[-1].done) == (0, size)
    assert {tick.total for tick in told} == {size}
    assert len(told) <= 3 + done.duration / 0.1
    assert len({tick.done for tick in told}) == len(told)


def test_what_leads_out_or_is_no_file_is_left_out_and_told(
    place: tuple[Node, Path], caplog: pytest.LogCaptureFixture
) -> None:
    node, there = place
    make(Path("d"), a="1")
    Path("d/out").symlink_to("/etc/passwd")
    Path("d/up").symlink_to("../x")
    os.mkfifo("d/pipe")
    recorder = Recorder()
    done = do(node, Push("d", there / "d"), message_queue=recorder)
    assert tree(there / "d") == {"a": "1"}
    for name in ("d/out", "d/up", "d/pipe"):
        assert name in done.stderr
        assert name in caplog.text
        assert any(name in tick.text for tick in recorder.of(JobOutput))


def test_what_a_glob_names_and_cannot_be_copied_is_left_out_and_told(
    place: tuple[Node, Path],
) -> None:
    node, there = place
    make(Path("d"), a="1")
    Path("d/nowhere").symlink_to("nothing")
    Path("d/round").symlink_to("round")
    Path("d/to_a").symlink_to("a")
    os.mkfifo("d/pipe")
    done = do(node, Push("d/*", there / "d"))
    assert tree(there / "d") == {"a": "1", "to_a": "1"}
    for name in ("nowhere", "round"):
        assert f"d/{name}: a link that leads nowhere" in done.stderr
    assert done.stdout == "2 files, 1 folder: 2 bytes\n"
    assert "d/pipe: neither" in done.stderr


def test_a_link_by_itself_is_followed(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("d"), a="1")
    Path("to_d").symlink_to("d")
    Path("to_a").symlink_to(Path("d/a").resolve())
    do(node, Push("to_d", there / "d"), Push("to_a", there / "a"))
    assert tree(there) == {"a": "1", "d": None, "d/a": "1"}


def test_links_in_the_target_are_not_followed(place: tuple[Node, Path], tmp_path: Path) -> None:
    node, there = place
    outside = make(tmp_path / "outside", a="untouched")
    make(Path("d/sub"), a="new")
    make(there / "d").joinpath("sub").symlink_to(outside)
    with pytest.raises(UnsafePath) as caught:
        do(node, Push("d", there / "d"))
    assert caught.value.path == str(there / "d/sub")
    # A link in the place of a file is replaced, not written through.
    (there / "file").symlink_to(outside / "a")
    do(node, Push("d/sub/a", there / "file"))
    assert tree(outside) == {"a": "untouched"}
    assert not (there / "file").is_symlink()
    # The target itself is the user's word, link or not.
    (there / "way").symlink_to(outside)
    do(node, Push("d", f"{there}/way/"))
    assert tree(outside) == {"a": "untouched", "d": None, "d/sub": None, "d/sub/a": "new"}


@pytest.mark.parametrize(
    ("says", "depth", "inside"),
    [
        ("a", 0, True),
        ("./a/b", 0, True),
        ("../a", 0, False),
        ("../a", 1, True),
        ("../../a", 1, False),
        ("a/../b", 5, False),
        ("/a", 5, False),
        ("", 5, False),
        ("a\x1b[31m", 0, False),
    ],
)
def test_links_that_stay_inside(says: str, depth: int, inside: bool) -> None:
    assert sources.stays_inside(says, depth) is inside


def refused(node: Node, command: Command) -> TransferFailed:
    with pytest.raises(TransferFailed) as caught:
        do(node, command)
    error = caught.value
    assert (error.node, error.phase) == (node, "transfer")
    assert str(error.path) in str(error)
    return error


def test_what_is_missing_is_told_with_its_path(place: tuple[Node, Path]) -> None:
    node, there = place
    Path("a").touch()
    nowhere = str(there / "no/such/file")
    assert refused(node, Push("nothing", there / "b")).path == "nothing"
    for command in (Push("a", nowhere), Push("a", f"{nowhere}/")):
        error = refused(node, command)
        assert error.path == nowhere
        assert f"there is no folder {there}/no/such" in str(error)
    assert refused(node, Pull(nowhere, "b")).path == nowhere
    assert refused(node, Pull(f"{there}/*.txt", "b/")).path == f"{there}/*.txt"
    assert refused(node, Pull(there, "no/such")).path == "no/such"
    assert (tree(there), tree(Path())) == ({}, {"a": ""})


def test_what_is_in_the_way_is_told(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("d"), a="")
    make(there / "folder", kept="")
    make(there, file="")
    assert f"{there}/folder/" in str(refused(node, Push("d/a", there / "folder")))
    (there / "way").symlink_to("folder")
    assert f"{there}/way/" in str(refused(node, Push("d/a", there / "way")))
    (there / "way").unlink()
    assert refused(node, Push("d", there / "file")).path == str(there / "file")
    assert refused(node, Push("d/a", f"{there}/file/")).path == str(there / "file")
    assert refused(node, Push("/dev/null", there / "null")).path == "/dev/null"
    assert "no name" in str(refused(node, Push("..", f"{there}/")))
    make(Path("g"), folder="")
    assert "s a directory" in str(refused(node, Push("g", there)))
    assert "too long" in str(refused(node, Push("d/a", there / ("n" * 300))))
    make(Path("e"), a="")
    assert "two of the sources" in str(refused(node, Push("[de]/a", f"{there}/")))
    assert tree(there) == {"file": "", "folder": None, "folder/kept": ""}


def test_no_file_takes_the_place_of_a_device(place: tuple[Node, Path]) -> None:
    node, there = place
    Path("a").write_text("one")
    os.mkfifo(there / "pipe")
    (there / "way").symlink_to("pipe")
    for target in (f"{there}/pipe", f"{there}/way"):
        assert "a device, a pipe" in str(refused(node, Push("a", target)))
    assert (there / "pipe").is_fifo()
    assert (there / "way").is_symlink()


def test_too_many_files_are_refused_before_one_is_copied(place: tuple[Node, Path]) -> None:
    node, there = place
    make(Path("d"), a="", b="", c="")
    do(node, Push("d", there / "d", max_files=3))
    assert "max_files" in str(refused(node, Push("d", there / "e", max_files=2)))
    assert not (there / "e").exists()


def test_missing_rights_are_told() -> None:
    with Sshd(plain=True) as sshd:
        node = of_sshd(sshd)
        private = sshd.folder / "private"
        private.mkdir()
        target = private / "x"
        target.touch(mode=0)
        private.chmod(0o500)
        error = refused(node, Push(__file__, target))
        assert error.path == str(target)
        assert "ermission denied" in str(error)
        assert "ermission denied" in str(refused(node, Pull(target, "y")))
        private.chmod(0o700)  # or who is not root could not remove it


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"Subsystem": "other /bin/false"}, "offers no sftp"),
        ({"Subsystem": "sftp /bin/false"}, "ended its sftp"),
        ({"ForceCommand": "echo hello"}, "not sftp"),
    ],
)
def test_a_server_without_sftp(options: dict[str, Any], told: str) -> None:
    with Sshd(**options) as sshd, pytest.raises(TransferFailed, match=told) as caught:
        do(of_sshd(sshd), Push(__file__, "x"))
    assert any("files go by sftp" in note for note in caught.value.__notes__)


def test_an_sftp_that_ended_is_opened_again(tmp_path: Path) -> None:
    with Liar([("a", FILE)], hangs_up=True) as liar, liar.node:
        error = refused(liar.node, Pull("/bait", tmp_path / "a"))
        assert "ended its sftp" in str(error)
        liar.hangs_up = False
        do(liar.node, Pull("/bait", tmp_path / "a"))


def test_many_files_take_few_descriptors(sshd: Sshd, tmp_path: Path) -> None:
    many = make(tmp_path / "many", **{f"file{n}": "x" for n in range(100)})
    with of_sshd(sshd) as node, few_descriptors(8):
        do(node, Push(many, tmp_path / "there"), Pull(tmp_path / "there", tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(many)


@contextmanager
def few_descriptors(free: int) -> Iterator[None]:
    """Have no more than so many to give."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/", os.O_RDONLY))
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("verb", [Push, Pull])
def test_a_lost_link_is_an_error(verb: type[Push | Pull], tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(200 << 20))
    (tmp_path / "to").mkdir()
    with Sshd() as sshd:
        recorder = Recorder(sshd.kill_sessions)
        with pytest.raises(ConnectionLost) as caught:
            do(of_sshd(sshd), verb(tmp_path / "big", f"{tmp_path}/to/"), message_queue=recorder)
    assert caught.value.path
    left = list((tmp_path / "to").iterdir())
    # What is on the other side of a link that is gone cannot be taken away.
    assert [path.suffix for path in left] == ([".part"] if verb is Push else [])


@pytest.mark.parametrize("verb", [Push, Pull])
def test_cancel_takes_the_temporary_files_away(
    verb: type[Push | Pull], place: tuple[Node, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_REPORT_EVERY", 0)  # so that we are there in time
    node, there = place
    make(Path("d"), a="x")
    Path("d/big").write_bytes(bytes(20 << 20))
    target = there / "to"
    job = SshJob(node, verb(Path("d").resolve(), target), label="it")
    names: list[str] = []

    def cancel() -> None:
        names.extend(path.name for path in target.iterdir())
        job.cancel()

    assert not Engine(job, message_queue=Recorder(cancel)).orchestrate()
    assert job.state == "cancelled"
    assert any(name.endswith(".part") for name in names)
    assert [path.name for path in target.iterdir() if path.name != "a"] == []


def test_who_fails_waits_for_no_server_that_does_not_answer() -> None:
    class Silent:
        was_told = False

        async def close(self) -> None:
            self.was_told = True
            await asyncio.Event().wait()

        async def read(self, offset: int, size: int) -> bytes:
            raise TransferFailed("no", node=LocalNode())

    async def main() -> bool:
        file = Silent()
        with pytest.raises(TransferFailed):
            async with closing(file):
                await file.read(0, 1)
        return file.was_told

    assert run_virtual(main())


@pytest.mark.parametrize("verb", [Push, Pull])
def test_a_copy_that_was_cut_short_leaves_no_file_open(
    verb: type[Push | Pull], sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_REPORT_EVERY", 0)
    make(tmp_path / "many", **{f"file{n}": "x" for n in range(100)})
    with of_sshd(sshd) as node:
        for target in ("one", "two", "three"):
            job = SshJob(node, verb(tmp_path / "many", tmp_path / target))
            Engine(job, message_queue=Recorder(job.cancel)).orchestrate()
        for _ in looks(patience=30, every=0.01):
            if not (left := open_below(tmp_path)):
                break
        assert left == []


def test_a_copy_that_is_cut_short_disturbs_no_other(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_REPORT_EVERY", 0)
    (tmp_path / "big").write_bytes(bytes(20 << 20))
    with of_sshd(sshd) as node:
        cut, beside, later = (
            SshJob(node, Push(tmp_path / "big", tmp_path / name), critical=False, label=name)
            for name in ("cut", "beside", "later")
        )
        later.after(cut)
        recorder = Recorder(cut.cancel)
        assert Engine(beside, cut, later, message_queue=recorder).orchestrate()
    assert [job.state for job in (cut, beside, later)] == ["cancelled", "finished", "finished"]


def open_below(folder: Path) -> list[str]:
    """The files in `folder` that some process has open."""
    names = []
    for pid in pids():
        with suppress(OSError):  # it may end meanwhile
            names += [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return [name for name in names if name.startswith(f"{folder}/")]


def test_a_timeout_is_told_as_such(node: SshNode, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(50 << 20))
    with pytest.raises(SshTimeout) as caught:
        do(node, Push("big", tmp_path / "to", timeout=0.05))
    assert caught.value.phase == "transfer"
    assert not list(tmp_path.glob(".*"))


def test_a_slow_link_carries_word_to_clean_up(fleet: Fleet, node: SshNode) -> None:
    Path("big").write_bytes(os.urandom(20 << 20))
    folder = fleet.home(node) / "slow"
    folder.mkdir()
    with fleet.slow(node, bandwidth=1e6), pytest.raises(SshTimeout):
        do(node, Push("big", "slow/", timeout=1))
    assert list(folder.iterdir()) == []


def test_errors_are_of_the_one_family() -> None:
    assert issubclass(UnsafePath, TransferFailed)
    assert issubclass(TransferFailed, SshError)
