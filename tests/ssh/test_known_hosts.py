"""Host keys: who is known, who is not, who has changed, and what is recorded."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import asyncssh
import pytest

from engine import Engine
from sshjobs import HostKeyChanged, HostKeyUnknown, SshError, SshJob, SshNode
from sshjobs.hostkeys import look_up, record
from tests.ssh.conftest import node_of
from tests.sshd import Sshd, program

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ecdsa-sha2-nistp256")


def line(name: str, key: asyncssh.SSHKey = KEY, marker: str = "") -> str:
    return f"{marker}{name} {key.export_public_key().decode()}"


def why_not(node: SshNode) -> SshError:
    """Return the error that a command on `node` fails with."""
    job = SshJob(node, "true", critical=False)
    Engine(job).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, SshError)
    return error


def hash_names(file: Path) -> None:
    """Have OpenSSH replace the names in a file by hashes of theirs."""
    keygen = program("ssh-keygen", "openssh-client")
    subprocess.run([keygen, "-H", "-f", file], check=True, capture_output=True)


def works(node: SshNode) -> bool:
    return Engine(SshJob(node, "true")).orchestrate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def test_the_key_on_record_is_accepted(server: Sshd) -> None:
    assert works(node_of(server))


def test_a_host_that_is_on_no_record_is_unknown(server: Sshd, file: Path) -> None:
    error = why_not(node_of(server, known_hosts=file))
    assert isinstance(error, HostKeyUnknown)
    assert f"[127.0.0.1]:{server.port} is not in {file}" in str(error)
    assert "SHA256:" in str(error)
    assert "accept-new" in str(error)
    assert not file.exists()


@pytest.mark.parametrize("known_hosts", [[], "/dev/null"])
def test_no_file_is_no_reason_to_trust(server: Sshd, known_hosts: object) -> None:
    assert isinstance(why_not(node_of(server, known_hosts=known_hosts)), HostKeyUnknown)


@pytest.mark.parametrize("policy", ["check", "accept-new"])
@pytest.mark.parametrize("key", [KEY, OTHER], ids=["same kind", "other kind"])
def test_another_key_is_a_change(
    server: Sshd, file: Path, policy: str, key: asyncssh.SSHKey
) -> None:
    file.write_text(line(f"[127.0.0.1]:{server.port}", key))
    before = file.read_text()
    known_hosts = file if policy == "check" else ("accept-new", file)
    error = why_not(node_of(server, known_hosts=known_hosts))
    assert isinstance(error, HostKeyChanged)
    assert str(file) in str(error)
    assert file.read_text() == before


def test_a_revoked_key_is_refused(server: Sshd, file: Path) -> None:
    key = server.known_hosts.read_text()
    file.write_text(f"{key}@revoked * {key.split(' ', 1)[1]}")
    error = why_not(node_of(server, known_hosts=file))
    assert isinstance(error, HostKeyChanged)
    assert "is not to be trusted: Host key is revoked" in str(error)


def test_a_new_key_is_recorded_once_and_checked_from_then_on(server: Sshd, file: Path) -> None:
    node = node_of(server, known_hosts=("accept-new", file))
    jobs = [SshJob(node, "true") for _ in range(3)]
    assert Engine(*jobs).orchestrate()
    assert works(node)
    assert len(file.read_text().splitlines()) == 1
    assert file.stat().st_mode & 0o777 == 0o600
    assert works(node_of(server, known_hosts=file))
    # OpenSSH reads what was written.
    name = f"[127.0.0.1]:{server.port}"
    subprocess.run(["ssh-keygen", "-F", name, "-f", file], check=True, capture_output=True)


def test_accept_new_uses_the_users_own_file(server: Sshd, home: Path) -> None:
    assert works(node_of(server, known_hosts="accept-new"))
    assert (home / ".ssh/known_hosts").read_text().startswith(f"[127.0.0.1]:{server.port} ssh-")
    assert (home / ".ssh").stat().st_mode & 0o777 == 0o700


def test_what_is_recorded_has_been_proved(file: Path) -> None:
    # A server that shows a key and is then unable to let us in has not earned an entry.
    with Sshd(PubkeyAuthentication="no") as locked:
        node = node_of(locked, known_hosts=("accept-new", file))
        why_not(node)
        assert not file.exists()


def test_a_record_that_cannot_be_written_is_an_error(server: Sshd) -> None:
    error = why_not(node_of(server, known_hosts=("accept-new", "/proc/known_hosts")))
    assert "cannot record its host key" in str(error)
    assert error.path == "/proc/known_hosts"


def test_unchecked_is_the_loud_word(
    server: Sshd, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(line(f"[127.0.0.1]:{server.port}"))
    assert works(node_of(server, known_hosts="unchecked"))
    assert "not checked" in caplog.text


def test_a_file_that_cannot_be_read_is_told(server: Sshd, tmp_path: Path) -> None:
    error = why_not(node_of(server, known_hosts=tmp_path))
    assert "bad known_hosts" in str(error)
    assert str(tmp_path) in str(error)


def test_lines_that_are_none_are_passed_over(file: Path) -> None:
    strange = [
        "fit01",
        "fit01 ssh-ed25519",
        "|1|salt",
        "|1|?|? ssh-rsa x",
        "@what fit01 x y",
        "# y",
    ]
    file.write_text("\n".join([*strange, line("fit01")]))
    assert look_up((str(file),), "fit01", 22).keys == (KEY.convert_to_public(),)


def test_a_host_certificate_is_checked_by_its_authority(tmp_path: Path, file: Path) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    with Sshd() as plain:
        host_key = asyncssh.read_private_key(str(plain.host_key))
    certificate = authority.generate_host_certificate(host_key, "id", principals=["127.0.0.1"])
    key_file = tmp_path / "key"
    key_file.touch(mode=0o600)
    host_key.write_private_key(str(key_file))
    certificate.write_certificate(str(tmp_path / "key-cert.pub"))
    with Sshd(HostKey=key_file, HostCertificate=tmp_path / "key-cert.pub") as server:
        name = f"[127.0.0.1]:{server.port}"
        file.write_text(line(name, authority, "@cert-authority "))
        assert works(node_of(server, known_hosts=file))
        file.write_text(line(name, KEY, "@cert-authority "))
        assert isinstance(why_not(node_of(server, known_hosts=file)), HostKeyChanged)
        # Nobody can judge the certificate of a host that is not known; the plain key will do.
        file.unlink()
        assert works(node_of(server, known_hosts=("accept-new", file)))
        assert isinstance(why_not(node_of(server, known_hosts="/dev/null")), HostKeyUnknown)


def test_names_and_ports(file: Path) -> None:
    file.write_text(line("fit01") + line("[fit01]:2222", OTHER) + line("*.lab"))
    assert look_up((str(file),), "fit01", 22).keys == (KEY.convert_to_public(),)
    exact = look_up((str(file),), "fit01", 2222)
    assert (exact.keys, exact.fallback) == ((OTHER.convert_to_public(),), ())
    # As OpenSSH: a key without a port does for any port that has none of its own.
    assert look_up((str(file),), "fit01", 2223).fallback == (KEY.convert_to_public(),)
    assert look_up((str(file),), "a.lab", 22).keys
    assert not look_up((str(file),), "fit02", 22).keys
    assert look_up(("/nowhere",), "fit01", 22) == look_up((), "fit01", 22)


def test_hashed_names(file: Path) -> None:
    file.write_text(line("fit01"))
    hash_names(file)
    assert "fit01" not in file.read_text()
    assert look_up((str(file),), "fit01", 22).keys


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    assert not look_up((str(file),), "fit01", 22).keys
    file.write_text(line("fit01"))
    assert look_up((str(file),), "fit01", 22).keys
    file.write_text(line("fit02"))
    assert not look_up((str(file),), "fit01", 22).keys


def test_records_made_at_once_are_lines_of_their_own(file: Path) -> None:
    file.write_text("# no end of line")
    names = [f"host{number % 20}" for number in range(60)]
    with ThreadPoolExecutor(8) as threads:
        public = KEY.convert_to_public()
        list(threads.map(lambda name: record(str(file), name, 22, public), names))
    lines = file.read_text().splitlines()
    assert lines[0] == "# no end of line"
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(set(names))


def test_who_came_first_is_on_record(file: Path) -> None:
    """Two that meet a host for the first time, at once, and are shown different keys."""
    one, two = KEY.convert_to_public(), OTHER.convert_to_public()
    assert record(str(file), "fit01", 22, one)
    assert record(str(file), "fit01", 22, one)
    assert not record(str(file), "fit01", 22, two)
    assert look_up((str(file),), "fit01", 22).keys == (one,)


RECORD = """
import sys
from pathlib import Path
import asyncssh
from sshjobs.hostkeys import record

key = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
print(flush=True)
sys.stdin.readline()
print(sum(record(sys.argv[1], f"host{number}", 22, key) for number in range(300)))
"""


def test_who_came_first_is_on_record_whichever_program_it_was(file: Path) -> None:
    command = [sys.executable, "-c", RECORD, str(file)]
    both = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        process.stdout.readline()
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=30)[0]) for process in both) == 300
    assert len(file.read_text().splitlines()) == 300


def test_a_name_is_the_same_in_capitals(file: Path) -> None:
    file.write_text(line("Fit01") + line("@cert-authority *.LAB", OTHER))
    assert look_up((str(file),), "fIT01", 22).keys
    assert look_up((str(file),), "a.Lab", 22).authorities
    assert record(str(file), "FIT02", 2222, KEY.convert_to_public())
    assert file.read_text().splitlines()[-1].startswith("[fit02]:2222 ")
    assert look_up((str(file),), "Fit02", 2222).keys


def test_a_large_file_is_no_burden(file: Path) -> None:
    rest = line("").strip()
    file.write_text("".join(f"fit{number} {rest}\n" for number in range(5000)))
    hash_names(file)
    start = time.process_time()
    assert look_up((str(file),), "fit4999", 22).keys
    assert not look_up((str(file),), "fit5000", 22).keys
    # Parsing all of it would take seconds; this is ten times what it takes on a slow machine.
    assert time.process_time() - start < 0.5
