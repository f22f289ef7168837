"""Promise 15: a lost link is an error, never a success, and is told within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine import CallJob, Engine, Sequence
from sshjobs import ConnectionLost, Pull, Push, Run, SshJob
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

WITHIN = 1.0
SIZE = 2 << 30
SOLID = 300 << 20


def cut_in_the_middle(server: Sshd, job: SshJob, begun: Callable[[], object]) -> float:
    """Run `job`, kill the server's sessions once it has begun; return the seconds until its end."""
    cut_at: list[float] = []

    def cut() -> None:
        cut_at.append(time.monotonic())
        server.kill_sessions()

    wait = CallJob(wait_until, begun, 30, "the job to begin")
    assert not Engine(job, Sequence(wait, CallJob(cut)), keep_going=True).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, ConnectionLost), error
    assert error.node == job.target
    assert job.ended_at is not None
    return job.ended_at - cut_at[0]


@pytest.mark.parametrize("check", [True, False])
def test_in_the_middle_of_a_command(
    count: Callable[[int, int], int], at_most: Callable[[float], float], check: bool
) -> None:
    with Sshd(plain=True) as server:
        for _ in range(count(2, 10)):
            job = SshJob(node_of(server), Run("echo on; sleep 60", check=check))
            assert cut_in_the_middle(server, job, server.commands) < at_most(WITHIN)
            assert "may still run" in str(job.raised_exception())
            wait_until(lambda: not server.commands(), 30, "the command to end")


@pytest.mark.parametrize("command", ["sleep 60", "yes"])
def test_in_the_middle_of_many(count: Callable[[int, int], int], command: str) -> None:
    with Sshd(plain=True) as server:
        node = node_of(server)
        for _ in range(count(1, 10)):
            jobs = [SshJob(node, Run(command, capture=False)) for _ in range(5)]
            wait = CallJob(wait_until, lambda: len(server.commands()) >= 5, 30, "the commands")
            cut = CallJob(server.kill_sessions)
            assert not Engine(*jobs, Sequence(wait, cut), keep_going=True).orchestrate()
            assert all(isinstance(job.raised_exception(), ConnectionLost) for job in jobs)
            wait_until(lambda: not server.commands(), 30, "the commands to end")


@pytest.mark.parametrize("many", [False, True], ids=["one large file", "many small ones"])
def test_in_the_middle_of_a_push(
    count: Callable[[int, int], int],
    at_most: Callable[[float], float],
    tmp_path: Path,
    many: bool,
) -> None:
    source = tree(tmp_path / "source") if many else solid(tmp_path / "source")
    with Sshd(plain=True) as server:
        for number in range(count(2, 10)):
            job = SshJob(node_of(server), Push(source, f"{server.room}/pushed{number}"))
            took = cut_in_the_middle(server, job, partial(has_file, server.room))
            assert took < at_most(WITHIN)
            clear(server.room)


@pytest.mark.parametrize("many", [False, True], ids=["one large file", "many small ones"])
def test_in_the_middle_of_a_pull(
    count: Callable[[int, int], int],
    at_most: Callable[[float], float],
    tmp_path: Path,
    many: bool,
) -> None:
    source = tree(tmp_path / "source") if many else sparse(tmp_path / "source")
    # Root may read what pytest keeps to itself.
    with Sshd() as server:
        for _ in range(count(2, 10)):
            there = tmp_path / "there"
            there.mkdir()
            job = SshJob(node_of(server), Pull(source, there / "pulled"))
            took = cut_in_the_middle(server, job, partial(has_file, there))
            assert took < at_most(WITHIN)
            clear(there)
            there.rmdir()


def sparse(path: Path) -> Path:
    """A file that takes long to copy, and no room."""
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def solid(path: Path) -> Path:
    """A file that takes long to push: holes would not be sent."""
    with path.open("wb") as file:
        for _ in range(SOLID >> 20):
            file.write(bytes(1 << 20))
    return path


def tree(path: Path) -> Path:
    """A folder of many files."""
    path.mkdir()
    for number in range(5000):
        (path / str(number)).write_bytes(b"x" * 1000)
    return path


def has_file(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
