"""The sshd fixture itself: it serves, it can be cut and frozen, and it leaves nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import is_alive, is_stopped, send, wait_until
from tests.sshd import Sshd

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client")


def ssh(server: Sshd, command: str) -> list[str]:
    """The argument vector of OpenSSH's own client, told to trust this server only."""
    options = {
        "IdentityFile": server.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": server.known_hosts,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    user = ["-l", server.username, "-p", str(server.port)]
    return ["ssh", "-F", "none", *flags, *user, server.host, command]


@contextmanager
def session(server: Sshd, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client whose command runs by the time the body does."""
    with subprocess.Popen(
        ssh(server, f"echo on; exec {command}"), stdout=subprocess.PIPE
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"on\n"
            yield client
        finally:
            client.kill()


@pytest.mark.parametrize("plain", [False, True])
def test_serves_and_leaves_nothing(plain: bool) -> None:
    with Sshd(plain=plain) as server:
        said = subprocess.check_output(ssh(server, "id -u; id -un; pwd"), text=True)
        uid, user, home = said.split()
        assert (user, Path(home)) == (server.username, server.home)
        assert not plain or uid != "0"
        assert server.logins() == 1
        pid, folder = server.pid, server.folder
    assert not is_alive(pid)
    assert not folder.exists()


def test_sessions_can_be_frozen_thawed_and_killed() -> None:
    with Sshd() as server, session(server, "sleep 60") as client:
        assert server.connections() == 1
        wait_until(lambda: len(server.commands()) == 1, 30, "one command")

        frozen = server.freeze_sessions()
        assert all(map(is_stopped, frozen))
        server.thaw_sessions()
        assert not any(map(is_stopped, frozen))

        assert server.kill_sessions() == frozen
        assert client.wait(30) == 255
        assert server.connections() == 0
        (orphan,) = server.commands()
    assert not is_alive(orphan)


def test_stops_with_its_sessions_frozen() -> None:
    server = Sshd()
    server.start()
    with session(server, "sleep 60") as client:
        frozen = server.freeze_sessions()
        server.stop()
        assert client.wait(30) == 255
    assert not any(map(is_alive, frozen))


def test_options_reach_the_server() -> None:
    with Sshd(PermitOpen="none", Banner="none", host="127.0.0.2") as server:
        assert "PermitOpen none" in (server.folder / "sshd_config").read_text()
        assert subprocess.run(ssh(server, "exit 3"), check=False).returncode == 3


def test_a_bad_option_is_told_with_what_sshd_said() -> None:
    with pytest.raises(OSError, match="NoSuchOption"):
        Sshd(NoSuchOption="yes").start()


def test_a_host_that_goes_away_and_comes_back() -> None:
    with Sshd() as server, session(server, "sleep 60") as client:
        sessions = server.sessions()
        server.kill_listener()
        assert server.sessions() == sessions
        assert server.connections() == 1
        assert subprocess.run(ssh(server, "true"), check=False).returncode == 255
        server.restart()
        assert subprocess.run(ssh(server, "true"), check=False).returncode == 0
        server.stop()
        assert client.wait(30) == 255


def test_a_stopped_listener_is_ended_too() -> None:
    server = Sshd()
    server.start()
    pid = server.pid
    send([pid], signal.SIGSTOP)
    server.stop()
    assert not is_alive(pid)


@pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="no setpriv (apt-get install util-linux)"
)
def test_ends_with_a_process_that_is_killed() -> None:
    program = """
import os, signal
from tests.sshd import Sshd
server = Sshd()
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    pid, folder = killed.stdout.split()
    wait_until(lambda: not is_alive(int(pid)), 30, "sshd to end")
    shutil.rmtree(folder)
