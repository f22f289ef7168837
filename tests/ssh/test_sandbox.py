"""A fleet on loopback: real commands, real files, a gateway, and nothing left at the end.

The clients here are asyncssh's and OpenSSH's own, so that the servers are judged apart from ours.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from engine import BadOption
from sshjobs.sandbox import Fleet
from tests.processes import is_alive, marked, wait_until

Client = asyncssh.SSHClientConnection
MARK = "ORCHESTRION_FLEET"


@asynccontextmanager
async def login(fleet: Fleet, name: str, **options: object) -> AsyncIterator[Client]:
    async with asyncssh.connect(name, config=str(fleet.config), **options) as client:
        yield client


def on_node(fleet: Fleet, work: Callable[[Client], Awaitable[object]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), login(fleet, "node1") as client:
            await work(client)

    asyncio.run(main())


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(2) as fleet:
        # With the first pipe to a process its loop, if it is uvloop's, opens a file that it keeps.
        on_node(fleet, lambda client: client.run("true"))
        yield fleet


def test_commands_run_at_home_and_tell_how_they_ended(fleet: Fleet) -> None:
    async def work(client: Client) -> None:
        told = await client.run("pwd; echo $HOME; id -un >&2; exit 3")
        home = f"{fleet.home(fleet.nodes[0])}\n"
        assert (told.stdout, told.exit_status) == (home + home, 3)
        assert told.stderr == f"{pwd.getpwuid(os.getuid()).pw_name}\n"
        killed = await client.run("kill -KILL $$")
        assert killed.exit_signal is not None
        assert killed.exit_signal[0] == "KILL"

    on_node(fleet, work)


def test_a_command_sees_a_small_environment(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PROGRAM", "canary")

    async def work(client: Client) -> None:
        env = (await client.run("env; mktemp")).stdout
        assert "canary" not in str(env)
        assert f"TMPDIR={fleet.config.parent / 'node1'}" in str(env)
        assert (await client.run("python3 -c 'print(6 * 7)'")).stdout == "42\n"

    on_node(fleet, work)


def test_data_goes_both_ways_in_any_amount(fleet: Fleet) -> None:
    data = os.urandom(1 << 20) * 8

    async def work(client: Client) -> None:
        echo = await client.run("cat", input=data, encoding=None)
        assert echo.stdout == data
        # A command that does not read what it is sent ends all the same.
        assert (await client.run("exit 4", input=data, encoding=None)).exit_status == 4

    on_node(fleet, work)


def test_a_slow_client_slows_the_command(fleet: Fleet) -> None:
    blocks = fleet.home(fleet.nodes[0]) / "blocks"
    script = """
import os, sys
told = open("blocks", "wb", buffering=0)
for block in range(1000):
    os.write(1, bytes(1 << 16))
    told.write(b".")
"""

    async def work(client: Client) -> None:
        async with client.create_process(f"python3 -c '{script}'", encoding=None) as process:
            await process.stdout.read(1)
            said = []
            for _ in range(20):  # until pipe and window are full
                said.append(blocks.stat().st_size)
                if said[-2:] == said[-1:] * 2:
                    break
                await asyncio.sleep(0.3)
            assert said[-1] < 200
            process.kill()
        blocks.unlink()

    on_node(fleet, work)


def test_signals_reach_the_whole_group(fleet: Fleet) -> None:
    async def work(client: Client) -> None:
        process = await client.create_process("sleep 100 & echo $!; echo on; wait; sleep 100")
        child = int(await process.stdout.readline())
        assert await process.stdout.readline() == "on\n"
        process.send_signal("NOSUCH")
        process.terminate()
        ended = await process.wait()
        assert ended.exit_signal is not None
        assert ended.exit_signal[0] == "TERM"
        wait_until(lambda: not is_alive(child), 30, "the child to end")

    on_node(fleet, work)


def test_a_child_left_behind_does_not_hold_the_channel_for_ever(fleet: Fleet) -> None:
    async def work(client: Client) -> None:
        told = await client.run("sleep 100 & echo $!", timeout=45)
        assert is_alive(int(str(told.stdout)))
        os.kill(int(str(told.stdout)), signal.SIGKILL)

    on_node(fleet, work)


def test_a_terminal_for_those_who_ask(fleet: Fleet) -> None:
    async def work(client: Client) -> None:
        shell = (
            "yes | head -1; tty; stty size; "
            "trap 'stty size; exit 5' WINCH; echo $TERM; sleep 100 & wait"
        )
        process = await client.create_process(shell, term_type="vt100", term_size=(90, 30))
        # A pipe that breaks is the end of `yes`, and no error to talk about.
        assert await process.stdout.readline() == "y\r\n"
        assert (await process.stdout.readline()).startswith("/dev/")
        lines = [await process.stdout.readline() for _ in range(2)]
        assert lines == ["30 90\r\n", "vt100\r\n"]
        process.change_terminal_size(70, 20)
        assert await process.stdout.readline() == "20 70\r\n"
        assert (await process.wait()).exit_status == 5

        process = await client.create_process("echo on; exec cat", term_type="vt100")
        assert await process.stdout.readline() == "on\r\n"
        process.stdin.write("\x03")  # the terminal makes it a signal
        ended = await process.wait()
        assert ended.exit_signal is not None
        assert ended.exit_signal[0] == "INT"

    on_node(fleet, work)


def test_a_client_that_hangs_up_takes_its_terminal_along_and_nothing_else(fleet: Fleet) -> None:
    pids: list[int] = []

    async def work(client: Client) -> None:
        for terminal in ("vt100", None):
            process = await client.create_process("echo $$; exec sleep 100", term_type=terminal)
            pids.append(int(await process.stdout.readline()))

    on_node(fleet, work)
    with_terminal, without = pids
    wait_until(lambda: not is_alive(with_terminal), 30, "SIGHUP to end the command")
    assert is_alive(without)
    os.kill(without, signal.SIGKILL)


def test_files_start_at_home(fleet: Fleet) -> None:
    async def work(client: Client) -> None:
        home = fleet.home(fleet.nodes[0])
        async with client.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == str(home.resolve())
            async with sftp.open("note", "w") as file:
                await file.write("here")
            assert (home / "note").read_text() == "here"
            assert await sftp.listdir(str(home)) == [".", "..", "note"]
            await sftp.remove("note")

    on_node(fleet, work)


def test_the_gateway_leads_to_the_nodes_and_not_out(fleet: Fleet) -> None:
    async def main() -> None:
        async with login(fleet, "gateway") as gateway:
            async with login(fleet, "node2", tunnel=gateway) as client:
                assert (await client.run("echo through")).stdout == "through\n"
            with (
                socket.create_server(("127.0.0.2", 0)) as other,
                pytest.raises(asyncssh.ChannelOpenError),
            ):
                await gateway.open_connection("127.0.0.2", other.getsockname()[1])

    asyncio.run(main())


def test_nobody_else_comes_in(fleet: Fleet) -> None:
    async def main() -> None:
        stranger = asyncssh.generate_private_key("ssh-ed25519")
        options: list[dict[str, object]] = [{"username": "nobody2"}, {"client_keys": [stranger]}]
        for option in options:
            with pytest.raises(asyncssh.PermissionDenied):
                async with login(fleet, "node1", **option):
                    pass

    asyncio.run(main())


def test_each_node_has_its_own_host_key(fleet: Fleet, tmp_path: Path) -> None:
    lines = (fleet.config.parent / "known_hosts").read_text().splitlines()
    assert len({line.split()[2] for line in lines}) == len(lines) == 3
    # The right port with another node's key: somebody in between.
    names = [line.split()[0] for line in lines]
    (tmp_path / "known_hosts").write_text(
        "".join(
            f"{name} {' '.join(line.split()[1:])}\n"
            for name, line in zip(names, lines[1:], strict=False)
        )
    )

    async def main() -> None:
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            async with login(fleet, "node1", known_hosts=str(tmp_path / "known_hosts")):
                pass

    asyncio.run(main())


def test_servers_listen_on_loopback_only(fleet: Fleet) -> None:
    port = int(fleet.config.read_text().split("Port ")[1].split()[0])
    with socket.create_connection(("127.0.0.1", port), timeout=30):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=30)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client")
def test_openssh_understands_the_configuration(fleet: Fleet) -> None:
    command = ["ssh", "-F", str(fleet.config), "-J", "gateway", "node2", "pwd"]
    command[3:5] = ["-o", f"ProxyCommand=ssh -F '{fleet.config}' -W %h:%p gateway"]
    said = subprocess.check_output(command, text=True, stdin=subprocess.DEVNULL)
    assert said == f"{fleet.home(fleet.nodes[1])}\n"


def test_nodes_are_named_and_behind_the_gateway(fleet: Fleet) -> None:
    assert [node.hostname for node in fleet.nodes] == ["node1", "node2"]
    assert fleet.gateway is not None
    assert [node.gateway for node in fleet.nodes] == [fleet.gateway, fleet.gateway]
    with Fleet(1, gateway=False) as other:
        assert other.gateway is None
        assert [node.gateway for node in other.nodes] == [None]


@pytest.mark.parametrize("count", [0, -1, 1.5, "6", None])
def test_a_fleet_has_a_number_of_nodes(count: int) -> None:
    with pytest.raises(BadOption, match="Fleet"):
        Fleet(count)


def test_fifty_nodes_are_up_at_once() -> None:
    async def main() -> None:
        start = time.monotonic()
        async with Fleet(50) as fleet:
            assert time.monotonic() - start < 60
            for node in ("node1", "node50"):
                async with login(fleet, node) as client:
                    assert (await client.run("echo up")).stdout == "up\n"

    asyncio.run(main())


def test_a_fleet_can_be_entered_again_but_not_twice_at_once() -> None:
    fleet = Fleet(1)
    with pytest.raises(RuntimeError, match="not running"):
        _ = fleet.nodes
    with fleet:
        first = fleet.config
        with pytest.raises(RuntimeError, match="already"), fleet:
            pass
        assert first.exists()
    with fleet:
        assert fleet.config != first
        on_node(fleet, lambda client: client.run("true", check=True))


def leave_processes(fleet: Fleet) -> list[int]:
    """Start some that no one would find again, and return their pids."""
    pids: list[int] = []

    async def work(client: Client) -> None:
        for command in ("exec sleep 100", "trap '' TERM HUP INT; sleep 100; :"):
            process = await client.create_process(f"echo $$; {command}")
            pids.append(int(await process.stdout.readline()))
        orphan = await client.create_process("(setsid sleep 100 >/dev/null 2>&1 & echo $!)")
        pids.append(int(await orphan.stdout.readline()))

    on_node(fleet, work)
    assert all(map(is_alive, pids))
    return pids


class Oops(Exception):
    """Raised by a test."""


@pytest.mark.parametrize("error", [None, Oops, KeyboardInterrupt])
def test_nothing_is_left(error: type[BaseException] | None) -> None:
    pids: list[int] = []
    folder = Path()
    try:
        with Fleet(2) as fleet:
            folder = fleet.config.parent
            pids += leave_processes(fleet)
            readonly = fleet.home(fleet.nodes[0]) / "readonly"
            readonly.mkdir()
            (readonly / "file").touch(mode=0o400)
            readonly.chmod(0o500)
            if error is not None:
                raise error
    except (Oops, KeyboardInterrupt):
        assert error is not None
    assert len(pids) == 3
    assert not any(map(is_alive, pids))
    assert not folder.exists()


def test_a_client_that_stays_does_not_hold_the_end_up() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        await fleet.__aenter__()
        async with login(fleet, "node1") as client:
            process = await client.create_process("sleep 100")
            async with asyncio.timeout(30):
                await fleet.__aexit__(None, None, None)
            async with asyncio.timeout(30):
                await process.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_leaves_nothing(interrupts: int, tmp_path: Path) -> None:
    script = """
        import os, signal, subprocess, sys, time
        from sshjobs.sandbox import Fleet
        with Fleet(1) as fleet:
            home = fleet.home(fleet.nodes[0])
            mark = subprocess.Popen(["ssh", "-F", fleet.config, "node1", "setsid sleep 100"])
            print("up", flush=True)
            try:
                # In pieces: the system may give a signal to the fleet's thread, and then nothing
                # wakes this one up.
                for _ in range(1000):
                    time.sleep(0.1)
            finally:
                mark.kill(), mark.wait()
                if sys.argv[1] == "2":
                    os.kill(os.getpid(), signal.SIGINT)
    """
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(script), str(interrupts)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == b"up\n"
        (folder,) = tmp_path.iterdir()
        wait_until(lambda: len(marked(str(folder / "node1"))) > 0, 30, "the command")
        pids = [process.pid for process in marked(str(folder / "node1"))]
        it.send_signal(signal.SIGINT)
        assert it.wait(30) == -signal.SIGINT
    assert not any(map(is_alive, pids))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_name_may_hold_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a blank in a näme"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with Fleet(1) as fleet:
        on_node(fleet, lambda client: client.run("true", check=True))
