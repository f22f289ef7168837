"""Promise 21: remote text cannot drive the terminal, whichever way it comes out."""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import asyncssh
import pytest

from engine import Engine, Tick, run
from sshjobs import Pull, Push, Run, Secret, SshJob, SshNode
from tests.ssh.conftest import node_of
from tests.sshd import Sshd

ALL_BYTES = bytes(range(256))
NASTY = "".join(
    [
        *map(chr, range(1, 32)),
        "\x7f\x9b31m\x9d0;x\x9c\x90q\x9c",
        "\x1b[2J\x1b]0;title\x07\x1b]52;c;AAAA\x1b\\\x1bP1$r\x1b\\\x1b^pm\x1b\\\x1bc\x1b(0\x1b[6n",
        "\u202e\u2066\u200b\u200d\ufeff\u2028\u2029\u0300\U000e0041",
    ]
)
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def unsafe(text: str) -> set[str]:
    """The characters of a text, line ends apart, that could do more than be seen."""
    return {char for char in text if char != "\n" and unicodedata.category(char) in FORBIDDEN}


class Ways:
    """All that comes out of runs."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.queue: SimpleQueue[Tick] = SimpleQueue()

    def run(self, *jobs: SshJob) -> None:
        engine = Engine(*jobs, message_queue=self.queue, keep_going=True)
        engine.orchestrate()
        self.texts["why"] = engine.why()
        engine.list(details=True)
        engine.debrief()
        self.look_at(*jobs)

    def look_at(self, *jobs: SshJob) -> None:
        for number, job in enumerate(jobs):
            error = job.raised_exception()
            self.texts[f"print {number}"] = str(job)
            self.texts[f"repr {number}"] = repr(job)
            self.texts[f"details {number}"] = job.details()
            self.texts[f"results {number}"] = repr(job.results)
            if error is not None:
                self.texts[f"error {number}"] = f"{error}"
        while not self.queue.empty():
            for name, value in flat(self.queue.get().to_dict()):
                self.texts[f"tick {name}"] = self.texts.get(f"tick {name}", "") + value


def flat(told: object, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(told, dict):
        for key, value in told.items():
            yield from flat(value, key)
    elif isinstance(told, list | tuple):
        for value in told:
            yield from flat(value, name)
    else:
        yield name, str(told)


@pytest.fixture
def ways(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[Ways]:
    """Nothing unsafe has come out by any way."""
    caplog.set_level(logging.DEBUG, "sshjobs")
    ways = Ways()
    yield ways
    out, err = capsys.readouterr()
    ways.texts["stdout"], ways.texts["stderr"] = out, err
    ways.texts["log"] = "\n".join(record.getMessage() for record in caplog.records)
    found = {way: unsafe(text) for way, text in ways.texts.items()}
    assert {way: chars for way, chars in found.items() if chars} == {}


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


def test_all_bytes_of_output(ways: Ways, server: Sshd) -> None:
    node = node_of(server)
    jobs = [
        SshJob(node, Run(["cat"], input=ALL_BYTES + b"\n" + NASTY.encode() + b"\n")),
        SshJob(node, Run("cat >&2; exit 3", input=ALL_BYTES[::-1] + NASTY.encode())),
        SshJob(node, Run(["sh", "-c", "cat; kill -TERM $$"], input=NASTY.encode("utf-16"))),
    ]
    ways.run(*jobs)
    assert jobs[0].result().stdout_bytes.startswith(ALL_BYTES)
    assert "exit status 3" in str(jobs[1].raised_exception())
    assert len(ways.texts["tick text"]) > 400


def test_labels_and_commands(ways: Ways, server: Sshd) -> None:
    node = node_of(server)
    clean = NASTY.replace("\n", "")
    ways.run(
        SshJob(node, Run(["printf", NASTY]), label=NASTY),
        SshJob(node, Run(f": '{clean}'; exit 1")),
        SshJob(node, Run("exit 1", label=NASTY)),
        SshJob(node, Run("exit 1", cwd=f"/{clean}")),
        SshJob(node, Run("sleep 9", label=NASTY, timeout=0.1)),
        SshJob(node, Run("exit 1", env={"A": Secret(NASTY)})),
    )


def test_file_names(ways: Ways, server: Sshd, tmp_path: Path) -> None:
    node = node_of(server)
    name = NASTY.replace("/", "").replace("\\", "")[:60]
    (tmp_path / name).write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text("x")
    ways.run(
        SshJob(node, Push(tmp_path / "missing" / name, "there")),
        SshJob(node, Push(tmp_path / name, tmp_path / "no" / "folder" / name)),
        SshJob(node, Pull(tmp_path / "folder", tmp_path / "pulled")),
        SshJob(node, Pull(f"/nowhere/{name}", tmp_path / "pulled2")),
        SshJob(node, Run(["ls", "-N", f"/nowhere/{name}"])),
    )


def test_host_names(ways: Ways) -> None:
    node = SshNode("nowhere\u202e\u200b.invalid", config=None, keys=[])
    ways.run(SshJob(node, "true"))
    assert "unknown name" in ways.texts["error 0"]


class Rude(asyncssh.SSHServer):
    """A server whose banner, refusal and questions are escape sequences."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        self._connection.send_auth_banner(NASTY)
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, *_: str) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return NASTY, NASTY, "", [(NASTY, False)]

    def validate_kbdint_response(self, username: str, responses: object) -> bool:
        raise asyncssh.DisconnectError(asyncssh.DISC_ILLEGAL_USER_NAME, NASTY)


def test_banners_questions_and_refusals(ways: Ways, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    asked: list[str] = []

    def answer(title: str, instructions: str, prompts: object) -> list[str]:
        asked.append(f"{title} {instructions} {prompts}")
        return ["x"]

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen("127.0.0.1", 0, server_factory=Rude, server_host_keys=[key])

    acceptor = run(serve())
    port = acceptor.get_port()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    node = SshNode(
        f"me@127.0.0.1:{port}",
        known_hosts=known,
        config=None,
        keys=[],
        keyboard_interactive=answer,
    )
    ways.run(SshJob(node, "true"))
    acceptor.close()
    run(acceptor.wait_closed())
    assert asked
    ways.texts["asked"] = "".join(asked)
    assert "refused" in ways.texts["error 0"]


@pytest.mark.parametrize("first", [b"", b"SSH-2.0-"])
def test_what_does_not_speak_ssh(ways: Ways, first: bytes) -> None:
    """Text that comes before any key is exchanged."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first + ALL_BYTES[32:] + b"\r\n" + NASTY.encode() * 100 + b"\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            node = SshNode(f"127.0.0.1:{port}", config=None, keys=[], connect_timeout=0.5)
            job = SshJob(node, "true", critical=False)
            await Engine(job, message_queue=ways.queue).corun()
            ways.look_at(job)

    run(main())
    assert "error 0" in ways.texts


def test_the_check_sees_what_it_is_for() -> None:
    assert unsafe("a\x1b[31m\u202e\x9b") == {"\x1b", "\u202e", "\x9b"}
    assert unsafe("fine é\n") == set()
