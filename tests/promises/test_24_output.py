"""Promise 24: output is bytes-safe, bounded and linear."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine import Engine
from sshjobs import SshJob
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

MIB = 1 << 20
ROOM = 60 * MIB


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd(plain=True) as server:
        yield server


@pytest.mark.parametrize("bad", [r"\377", r"\303", r"\355\240\200", r"ok\200\nmore\376", r"\0"])
def test_one_bad_byte_hurts_nobody(server: Sshd, bad: str) -> None:
    node = node_of(server)
    others = [SshJob(node, "sleep 0.2; echo fine") for _ in range(5)]
    job = SshJob(node, f"printf '{bad}'; printf '{bad}' >&2; sleep 0.1; echo; echo end")
    assert Engine(job, *others).orchestrate()
    assert {other.result().stdout for other in others} == {"fine\n"}
    assert job.result().stdout.endswith("end\n")


# What a program of a user's needs, in a process of its own: the growth of its memory and its time.
PROGRAM = """
import json, re, sys, time
from engine import Engine
from sshjobs import SshJob, SshNode

def memory():
    # Not ru_maxrss, which begins with what the process that started this one had.
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])

options = json.loads(sys.argv[1])
node = SshNode(options["host"], port=options["port"], username=options["username"],
               keys=options["key"], known_hosts=options["known_hosts"], config=None)
read = []
class Count:
    def put_nowait(self, tick):
        read.append(type(tick).__name__ == "JobOutput" and len(tick.text))
with node:
    Engine(SshJob(node, "seq 1000")).orchestrate()
    before = memory()
    job = SshJob(node, options["line"])
    start = time.process_time()
    ok = Engine(job, message_queue=Count() if options["read"] else None).orchestrate()
    used = time.process_time() - start
print(json.dumps({"ok": ok, "cpu": used, "grown": memory() - before, "all": memory(),
                  "tail": job.result().stdout[-10:], "kept": len(job.result().stdout_bytes),
                  "lines": sum(size is not False for size in read)}))
"""


def measure(server: Sshd, line: str, *, read: bool = False) -> dict[str, Any]:
    options = {
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "key": str(server.key),
        "known_hosts": str(server.known_hosts),
        "line": line,
        "read": read,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(options)], stdout=subprocess.PIPE, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"]
    return told


def test_a_large_output_takes_no_room(server: Sshd, count: Callable[[int, int], int]) -> None:
    size = count(20, 100) * 1_000_000
    told = measure(server, f"head -c {size} /dev/zero; echo; echo end")
    assert told["tail"] == "\0\0\0\0\0\nend\n"
    assert told["kept"] == MIB
    assert told["all"] < ROOM


def test_many_lines_take_no_room(server: Sshd, count: Callable[[int, int], int]) -> None:
    lines = count(200_000, 1_000_000)
    told = measure(server, f"seq {lines}")
    assert told["tail"].endswith(f"{lines}\n")
    assert told["all"] < ROOM


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("line", ["seq {n}", "head -c {n}0 /dev/zero", "yes '' | head -n {n}"])
def test_the_cost_is_linear(
    server: Sshd, line: str, read: bool, count: Callable[[int, int], int]
) -> None:
    small, large = (
        measure(server, line.format(n=n), read=read)["cpu"]
        for n in (count(20_000, 100_000), count(200_000, 1_000_000))
    )
    # Ten times as much, and what it costs anyway; twice that is the noise of a busy machine.
    assert large < 20 * small + 0.2


def test_each_line_is_told(server: Sshd, count: Callable[[int, int], int]) -> None:
    lines = count(20_000, 1_000_000)
    assert measure(server, f"seq {lines}", read=True)["lines"] == lines
