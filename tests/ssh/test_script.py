"""The script that a command becomes, on machines that lack this or that."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshjobs import Secret
from sshjobs.script import Launch, Private, way
from tests.processes import marked, send, wait_until

PROGRAMS = ["sh", "sleep", "cat", "rm", "setsid", "ps", "pkill", "mktemp", "head", "tar", "printf"]


class Machine:
    """A folder of programs, and what was started with it."""

    def __init__(self, folder: Path, lacking: list[str]) -> None:
        self.mark = f"MACHINE={os.urandom(4).hex()}"
        name, value = self.mark.split("=")
        for program in PROGRAMS:
            path = shutil.which(program)
            if path is not None and program not in lacking:
                (folder / program).symlink_to(path)
        self.env = {"PATH": str(folder), "TMPDIR": str(folder), name: value}

    def start(self, launch: Launch, *, shell: str = "sh", leader: bool = True) -> Leash:
        how = way(launch, shell)
        process = subprocess.Popen(
            [shutil.which(shell) or shell, "-c", how.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.env,
            start_new_session=leader,
        )
        assert process.stdin is not None
        process.stdin.write(how.stdin)
        process.stdin.flush()
        return process

    def running(self) -> list[str]:
        return [process.name for process in marked(self.mark)]


Leash = subprocess.Popen[bytes]


@pytest.fixture(params=["", "setsid", "pkill", "ps", "setsid pkill ps"], ids=lambda p: f"no {p}")
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, request.param.split())
    yield machine
    wait_until(lambda: not machine.running(), 30, "everything to end")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp.")] == []


def end(process: Leash) -> float:
    """Cut the leash; return the seconds until the end."""
    start = time.monotonic()
    process.communicate(timeout=30)
    return time.monotonic() - start


LINES = ["sleep 60; :", "sleep 60 | sleep 61 | cat", "sleep 60 & sleep 61 & wait"]
STUBBORN = "trap '' TERM; sleep 60; sleep 61; sleep 62"


def test_cutting_the_leash_ends_it(machine: Machine) -> None:
    launches = [Launch(line) for line in LINES]
    launches += [Launch(line, env={"A": "b"}, input=b"x") for line in LINES]
    processes = [machine.start(launch) for launch in launches]
    stubborn = machine.start(Launch(STUBBORN))
    wait_until(lambda: machine.running().count("sleep") == 11, 30, "the commands")
    for process in processes:
        assert end(process) < 20
    assert 1.9 < end(stubborn) < 20


def test_who_is_stopped_can_clean_up(machine: Machine, tmp_path: Path) -> None:
    line = f"trap 'echo > {tmp_path}/cleaned; exit' TERM; sleep 60 & kill -STOP $$; wait"
    process = machine.start(Launch(line))
    wait_until(lambda: machine.running().count("sleep") == 1, 30, "the command")
    assert end(process) < 20
    assert (tmp_path / "cleaned").exists()


def test_what_is_no_group_is_ended_all_the_same(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [])
    process = machine.start(Launch("sleep 60; :"), leader=False)
    wait_until(lambda: "sleep" in machine.running(), 30, "the command")
    assert end(process) < 20
    wait_until(lambda: not machine.running(), 30, "everything to end")


def test_an_end_of_its_own_leaves_its_children_alone(machine: Machine) -> None:
    process = machine.start(Launch("sleep 60 >/dev/null & :"))
    assert process.wait(30) == 0
    end(process)
    wait_until(lambda: machine.running() == ["sleep"], 30, "only the child to be left")
    send((left.pid for left in marked(machine.mark)), signal.SIGKILL)


SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "ksh", "busybox") if shutil.which(shell)]
FOREIGN = [shell for shell in ("tcsh", "fish") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
def test_shells(shell: str, tmp_path: Path) -> None:
    """Each shell that is here understands a script as its command line, or by stdin."""
    machine = Machine(tmp_path, [])
    for env in ({}, {"A": Secret("b")}):
        process = machine.start(Launch(("printf", "<%s>", "a 'b"), cwd="/", env=env), shell=shell)
        assert process.stdout is not None
        assert process.wait(30) == 0
        assert process.stdout.read().endswith(b"<a 'b>")
        process.communicate()


TRICKY = "it's \\ \\\\ a \"b\" !! !x $HOME `no` $(no) %s ~ * {a,b}  #c \\'"


@pytest.mark.parametrize("shell", SHELLS + FOREIGN)
@pytest.mark.parametrize("times", [1, 20])
def test_a_shell_that_nobody_knows_is_told_from_others(
    shell: str, times: int, tmp_path: Path
) -> None:
    """It runs the command at once if it can, else it asks for a script."""
    how = way(Launch(("printf", "<%s>|", *[TRICKY] * times, "", "-")), None)
    assert how.stdin == b""
    process = subprocess.Popen(
        [shutil.which(shell) or shell, *["sh"] * (shell == "busybox"), "-c", how.command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"HOME": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    first = process.stdout.readline()
    assert (first == f"{how.mark} ?\n".encode()) is (shell in FOREIGN)
    if shell in FOREIGN:
        process.stdin.write(how.script)
        process.stdin.flush()
        assert process.stdout.readline().startswith(f"{how.mark} ".encode())
    said = process.stdout.read()
    assert process.wait(30) == 0
    process.communicate()
    assert said.decode() == f"<{TRICKY}>|" * times + "<>|<->|"


def test_a_restricted_shell_runs_nothing_without_a_watchdog(tmp_path: Path) -> None:
    how = way(Launch(("touch", str(tmp_path / "was here"))), None)
    done = subprocess.run(["bash", "-r", "-c", how.command], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (126, b"")
    assert not list(tmp_path.iterdir())


def test_private_files(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [])
    files = {"run me": b'cat "$1" "${0%/*}/with me"\n', "with me": bytes(range(256))}
    words = (Private("run me"), "/dev/stdin")
    process = machine.start(Launch(words, files=files, input=b"input"))
    assert process.stdout is not None
    told = process.stdout.read().partition(b"\n")[2]
    assert told == b"input" + bytes(range(256))
    process.communicate()
    wait_until(lambda: not list(tmp_path.glob("tmp.*")), 30, "the folder to be removed")


def test_private_files_are_gone_once_all_is_said(tmp_path: Path) -> None:
    """Who waits for the end of the outputs, as a job does, finds nothing of a script any more."""
    how = way(Launch((Private("mine"),), files={"mine": b"echo $0"}), "sh")
    process = subprocess.run(
        ["sh", "-c", how.command],
        input=how.stdin,
        capture_output=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
        check=True,
    )
    assert process.stdout.decode().splitlines()[-1].startswith(f"{tmp_path}/tmp.")
    assert list(tmp_path.iterdir()) == []


def test_programs_run_where_none_are_allowed(tmp_path: Path) -> None:
    """A folder for temporary files that is mounted `noexec`, as the hardened have it."""
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("only root can mount")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    how = way(Launch((Private("run me"),), files={"run me": b"echo $0\n"}), "sh")
    mount = f'mount -t tmpfs -o noexec tmpfs {temporary} && exec sh -c "$1"'
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount, "sh", how.command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(how.stdin)
    process.stdin.flush()
    assert process.wait(30) == 0
    assert process.stdout.read().decode().splitlines()[1].startswith(f"{home}/tmp.")
    process.communicate()
    wait_until(lambda: not list(home.iterdir()), 30, "the folder to be removed")


@pytest.mark.parametrize(
    ("launch", "posix", "other"),
    [
        (Launch("ls"), False, False),
        (Launch("ls", pty=True), False, False),
        (Launch("ls", pty=True, cwd="/"), False, True),
        (Launch(("ls",), pty=True), False, True),
        (Launch("ls", pty=True, env={"A": "b"}), True, True),
    ],
)
def test_what_is_for_a_terminal_is_staged_if_the_shell_would_not_understand(
    launch: Launch, posix: bool, other: bool
) -> None:
    assert launch.needs_staging("/bin/bash") is posix
    assert launch.needs_staging("/bin/tcsh") is other
    assert launch.needs_staging(None) is other


def test_half_a_script_does_nothing(tmp_path: Path) -> None:
    """A link that breaks while the script goes over."""
    machine = Machine(tmp_path, [])
    how = way(Launch(("rm", str(tmp_path / "sh")), env={"A": "b"}), "sh")
    for cut in (10, len(how.stdin) // 2, len(how.stdin) - 2):
        done = subprocess.run(
            ["sh", "-c", how.command], input=how.stdin[:cut], env=machine.env, check=False
        )
        assert done.returncode == 255
    assert (tmp_path / "sh").exists()
