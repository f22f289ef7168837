"""Promise 23: secrets are never shown: in a repr, a tick, a log, a traceback or on a screen."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import asyncssh
import pytest

from engine import CallJob, Engine, Tick, run
from sshjobs import LocalNode, Run, RunString, Secret, SshJob, SshNode
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.ssh.servers import run_command
from tests.sshd import Sshd, needs_terminals

CANARY = "c4n4ry'x \"$y"
SECRET = Secret(CANARY)


class Log:
    """Everything that anybody logs, asyncssh's debugging included, and all that runs show."""

    def __init__(self) -> None:
        self.shown = io.StringIO()
        self.handler = logging.StreamHandler(self.shown)

    def run(self, *jobs: SshJob) -> None:
        queue: SimpleQueue[Tick] = SimpleQueue()
        engine = Engine(*jobs, message_queue=queue, keep_going=True)
        engine.orchestrate()
        engine.list(details=True)
        engine.debrief()
        while not queue.empty():
            self.tell(json.dumps(queue.get().to_dict(), ensure_ascii=False))
        self.tell(engine.why(), repr(engine))
        for job in jobs:
            self.tell(repr(job), str(job), job.details(), repr(job.commands), repr(job.results))
            self.tell(repr(job.target), str(job.target), repr(vars(job)))
            error = job.raised_exception()
            if error is not None:
                self.tell(repr(error), *traceback.format_exception(error), repr(vars(error)))

    def tell(self, *texts: str) -> None:
        self.shown.write("\n".join([*texts, ""]))


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Iterator[Log]:
    log = Log()
    root = logging.getLogger()
    level = root.level
    root.addHandler(log.handler)
    root.setLevel(logging.DEBUG)
    asyncssh.set_log_level(logging.DEBUG)
    asyncssh.set_debug_level(2)
    yield log
    asyncssh.set_debug_level(1)
    asyncssh.set_log_level(logging.NOTSET)
    root.setLevel(level)
    root.removeHandler(log.handler)
    out, err = capfd.readouterr()
    everything = log.shown.getvalue() + out + err
    hits = [line for line in everything.splitlines() if "c4n4ry" in line]
    assert hits == []


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd(plain=True) as server:
        yield server


def commands() -> list[Run | RunString]:
    """Commands with a secret wherever one may be; some print it, and some fail."""
    show = ["sh", "-c", 'echo "$0" "$1" "$A"; cat; echo "$A" >&2']
    env = {"A": SECRET}
    return [
        Run([*show, SECRET], env=env, input=SECRET),
        Run(["echo", SECRET]),
        Run("env; cat; exit 3", env=env, input=SECRET, check=False),
        Run("env >&2; exit 3", env=env),
        Run("env; sleep 9", env=env, timeout=0.3),
        Run(["/nowhere/program", SECRET], env=env),
        Run("read x; echo $x; exit 1", input=SECRET),
        RunString("env; exit 1", SECRET, env=env),
        Run("echo fine", sudo=SECRET),
        Run(lambda: ["echo", SECRET], env={"A": lambda: SECRET}),
    ]


@pytest.mark.parametrize("kind", ["ssh", "local"])
def test_commands(log: Log, server: Sshd, kind: str) -> None:
    node: Any = node_of(server) if kind == "ssh" else LocalNode()
    jobs = [SshJob(node, command) for command in commands()]
    log.run(*jobs)
    # asyncssh was heard, and they did get it.
    assert kind == "local" or "Received exit status" in log.shown.getvalue()
    assert jobs[1].result().stdout == f"{CANARY}\n"
    assert jobs[0].result().stdout.count(CANARY) == 3


@needs_terminals
def test_a_terminal(log: Log, server: Sshd) -> None:
    jobs = [SshJob(node_of(server), Run('echo "$A"', env={"A": SECRET}, pty=True))]
    log.run(*jobs)
    assert CANARY in jobs[0].result().stdout


def test_plain_values_of_the_environment_and_the_input_are_not_shown(
    log: Log, server: Sshd
) -> None:
    """They are no secrets, but are nobody's business either; what a command prints, it prints."""
    command = Run('test "$A" = "$(cat)"', env={"A": CANARY}, input=CANARY)
    job = SshJob(node_of(server), command)
    log.run(job)
    assert job.result().exit_status == 0


def test_what_others_see_on_the_machine(server: Sshd, log: Log) -> None:
    """No command line shows it, neither that of the login shell nor that of what it becomes."""
    node = node_of(server)
    job = SshJob(node, Run("sleep 60; true", env={"A": SECRET}, input=SECRET), forever=True)

    seen: set[str] = set()

    def has_begun() -> bool:
        for pid in server.commands():
            with suppress(OSError):  # it may have ended since
                seen.add(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
        return any(line.startswith("sleep") for line in seen)

    look = CallJob(wait_until, has_begun, 30, "the command")
    assert Engine(job, look).orchestrate()
    assert "c4n4ry" not in "".join(seen)


class Server(asyncssh.SSHServer):
    """A server that takes the password, or asks for it."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == CANARY


@pytest.mark.parametrize("right", [True, False])
def test_passwords(log: Log, tmp_path: Path, right: bool) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Server,
            server_host_keys=[key],
            process_factory=run_command,
            encoding=None,
        )

    acceptor = run(serve())
    known = tmp_path / "known_hosts"
    port = acceptor.get_port()
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    wrong = f"{CANARY}?"
    jobs = [
        SshJob(
            SshNode(
                f"me@127.0.0.1:{port}", known_hosts=known, config=None, keys=[], password=password
            ),
            "true",
        )
        for password in ((CANARY, SECRET, lambda: CANARY) if right else (wrong, lambda: wrong))
    ]
    log.run(*jobs)
    acceptor.close()
    run(acceptor.wait_closed())
    assert {job.raised_exception() is None for job in jobs} == {right}


@pytest.mark.parametrize("right", [True, False])
def test_passphrases(log: Log, server: Sshd, tmp_path: Path, right: bool) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    key = asyncssh.read_private_key(str(server.key))
    key.write_private_key(str(path), passphrase=CANARY if right else "other", rounds=60)
    job = SshJob(node_of(server, keys=path, passphrase=SECRET), "true")
    log.run(job)
    assert (job.raised_exception() is None) is right
