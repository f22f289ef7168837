"""Logging in: keys, agents, certificates, passwords, questions; and the files of OpenSSH."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from engine import Engine, run
from sshjobs import (
    AuthFailed,
    ConnectionLost,
    Secret,
    SshError,
    SshJob,
    SshNode,
    Unreachable,
    openssh,
)
from sshjobs.settings import read_settings
from tests.ssh.conftest import node_of
from tests.ssh.servers import run_command
from tests.sshd import PASSWORD, Sshd


def why_not(node: SshNode) -> SshError:
    job = SshJob(node, "true", critical=False)
    Engine(job).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, SshError), error
    return error


def works(node: SshNode) -> bool:
    return Engine(SshJob(node, "true")).orchestrate()


@pytest.fixture
def encrypted(server: Sshd, tmp_path: Path) -> Path:
    """The key of the server, encrypted."""
    path = tmp_path / "encrypted"
    shutil.copy(server.key, path)
    shutil.copy(f"{server.key}.pub", f"{path}.pub")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "canary", "-f", path], check=True)
    return path


@pytest.fixture
def agent(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent that knows the key of the server."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        while subprocess.run(["ssh-add", "-q", server.key], check=False).returncode == 2:
            pass
        yield socket
        process.terminate()


def test_no_key_will_do(server: Sshd, home: Path) -> None:
    error = why_not(node_of(server, keys=None))
    assert isinstance(error, AuthFailed)
    assert error.phase == "login"
    assert f"login as {server.username} refused (no keys and no password to try)" in str(error)


def test_the_usual_keys_are_tried(server: Sshd, home: Path) -> None:
    (home / ".ssh").mkdir()
    shutil.copy(server.key, home / ".ssh/id_ed25519")
    assert works(node_of(server, keys=None))


def test_an_encrypted_key_needs_its_passphrase(server: Sshd, encrypted: Path, home: Path) -> None:
    assert works(node_of(server, keys=encrypted, passphrase="canary"))
    assert works(node_of(server, keys=encrypted, passphrase=Secret("canary")))
    error = why_not(node_of(server, keys=encrypted))
    assert isinstance(error, AuthFailed)
    assert error.path == str(encrypted)
    assert "give its passphrase=" in str(error)
    error = why_not(node_of(server, keys=encrypted, passphrase="wrong"))
    assert isinstance(error, AuthFailed)
    assert "wrong" not in str(error).replace("wrong passphrase", "")


def test_a_key_that_is_not_there_is_told(server: Sshd, home: Path) -> None:
    error = why_not(node_of(server, keys="/nowhere/key"))
    assert isinstance(error, AuthFailed)
    assert (error.path, error.phase) == ("/nowhere/key", "login")
    assert "No such file" in str(error)


def test_an_agent_is_asked(agent: Path, server: Sshd, encrypted: Path) -> None:
    assert works(node_of(server, keys=None))
    # It has the key that we cannot read.
    assert works(node_of(server, keys=encrypted))


@pytest.fixture
def full_agent(agent: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent with six keys, none of them the server's; the usual keys are none."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    for name in "abcdef":
        key = home / name
        key.touch(mode=0o600)
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(key))
        subprocess.run(["ssh-add", "-q", key], check=True)
    return agent


@pytest.mark.parametrize("kind", ["in no agent", "in the agent", "encrypted, in the agent"])
def test_what_the_configuration_names_comes_first(
    kind: str, full_agent: Path, server: Sshd, encrypted: Path
) -> None:
    """A server refuses no more than six keys (`MaxAuthTries`)."""
    if "in the agent" in kind:
        subprocess.run(["ssh-add", "-q", server.key], check=True)
    config = full_agent.with_name("config")
    config.write_text(f"IdentityFile {encrypted if 'encrypted' in kind else server.key}")
    assert works(node_of(server, keys=None, config=config))
    error = why_not(node_of(server, keys=None))
    assert "keys of the agent tried): Too many authentication failures; give keys=" in str(error)


@pytest.mark.parametrize("where", ["{}", "$ELSEWHERE", "SSH_AUTH_SOCK", "none"])
def test_the_configuration_says_where_the_agent_is(
    where: str, agent: Path, server: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where != "{}":
        monkeypatch.setenv("ELSEWHERE" if "$" in where else "SSH_AUTH_SOCK", str(agent))
    config = home / "config"
    config.write_text(f"IdentityAgent {where.format(agent)}")
    node = node_of(server, keys=None, config=config)
    if where == "none":
        assert isinstance(why_not(node), AuthFailed)
    else:
        assert works(node)


@pytest.mark.parametrize("forward", ["yes", "no"])
def test_the_agent_is_forwarded_where_the_configuration_says_so(
    forward: str, agent: Path, server: Sshd, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(f"ForwardAgent {forward}\nIdentityFile {server.key}\n")
    job = SshJob(node_of(server, keys=None, config=config), "ssh-add -l 2>&1 || :")
    assert Engine(job).orchestrate()
    assert ("made for a test" in job.result().stdout) is (forward == "yes")


def test_a_usual_key_that_cannot_be_read_is_told(server: Sshd, encrypted: Path, home: Path) -> None:
    (home / ".ssh").mkdir()
    shutil.copy(encrypted, home / ".ssh/id_ed25519")
    error = why_not(node_of(server, keys=None))
    assert isinstance(error, AuthFailed)
    assert "cannot read ~/.ssh/id_ed25519: " in str(error)
    assert "give its passphrase=" in str(error)
    assert works(node_of(server, keys=None, passphrase="canary"))


def test_with_keys_given_the_agent_is_asked_for_no_others(
    agent: Path, server: Sshd, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(key))
    assert isinstance(why_not(node_of(server, keys=key)), AuthFailed)
    assert isinstance(why_not(node_of(server, keys=[])), AuthFailed)


def test_with_no_keys_given_none_is_tried(server: Sshd, home: Path) -> None:
    (home / ".ssh").mkdir()
    shutil.copy(server.key, home / ".ssh/id_ed25519")
    assert isinstance(why_not(node_of(server, keys=[])), AuthFailed)


def test_a_certificate_beside_the_key_is_used(tmp_path: Path) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    authority.write_public_key(str(tmp_path / "authority"))
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "key").touch(mode=0o600)
    key.write_private_key(str(tmp_path / "key"))
    with Sshd(TrustedUserCAKeys=tmp_path / "authority") as server:
        node = node_of(server, keys=tmp_path / "key")
        assert isinstance(why_not(node), AuthFailed)
        certificate = authority.generate_user_certificate(key, "id", principals=[server.username])
        certificate.write_certificate(str(tmp_path / "key-cert.pub"))
        assert works(node)
        # One that is renewed is read again.
        expired = authority.generate_user_certificate(
            key, "id", principals=[server.username], valid_before=1
        )
        expired.write_certificate(str(tmp_path / "key-cert.pub"))
        assert isinstance(why_not(node), AuthFailed)
        # The configuration may tell of one that is elsewhere; one that is missing does no harm.
        certificate.write_certificate(str(tmp_path / "elsewhere"))
        config = tmp_path / "config"
        config.write_text(f"CertificateFile /nowhere\nCertificateFile {tmp_path}/elsewhere\n")
        (tmp_path / "key-cert.pub").unlink()
        assert works(node_of(server, keys=tmp_path / "key", config=config))


def test_a_key_is_read_once(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = asyncssh.read_private_key

    def count(path: str, *more: Any) -> Any:
        read.append(path)
        return original(path, *more)

    monkeypatch.setattr(asyncssh, "read_private_key", count)
    node = node_of(server)
    for _ in range(3):
        assert works(node)
    assert len(read) <= 1


class Server(asyncssh.SSHServer):
    """A server that takes a password, or asks questions."""

    asked = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        type(self).asked += 1
        if self.kind == "cut":
            self._connection.abort()
        return True

    def password_auth_supported(self) -> bool:
        return self.kind in ("password", "expired")

    def validate_password(self, username: str, password: str) -> bool:
        type(self).asked += 10
        if self.kind == "expired":
            raise asyncssh.PasswordChangeRequired("Your password has expired\x1b[31m")
        return password == "canary"

    def kbdint_auth_supported(self) -> bool:
        return self.kind in ("question", "questions")

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        if self.kind == "question":
            return "", "", "en", [("Password: ", False)]
        return "Title\x1b[31m", "Hello\nthere", "en", [("Colour?\x07 ", True), ("Code? ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        type(self).asked += 10
        return list(responses) in (["canary"], ["blue", "42"])

    kind = "password"


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[SshNode]:
    """A node whose server takes a password or asks questions (`Server.kind`)."""
    monkeypatch.setattr(Server, "asked", 0)
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def start() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Server,
            server_host_keys=[key],
            process_factory=run_command,
            encoding=None,
        )

    async def stop(acceptor: Any) -> None:
        acceptor.close()
        await acceptor.wait_closed()

    acceptor = run(start())
    port = acceptor.get_port()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    yield SshNode("me@127.0.0.1", port=port, known_hosts=known, config=None)
    run(stop(acceptor))


def with_options(node: SshNode, **options: Any) -> SshNode:
    return SshNode(str(node), known_hosts=node.known_hosts, config=None, **options)


async def coming_later() -> Secret:
    await asyncio.sleep(0)
    return Secret("canary")


PASSWORDS = ["canary", Secret("canary"), lambda: "canary", lambda: Secret("canary"), coming_later]


@pytest.mark.parametrize("kind", ["password", "question"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_passwords(
    asking: SshNode, kind: str, password: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "kind", kind)
    assert works(with_options(asking, password=password))
    assert Server.asked == 11


@pytest.mark.parametrize("kind", ["password", "question"])
def test_a_wrong_password_is_tried_once(
    asking: SshNode, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "kind", kind)
    error = why_not(with_options(asking, password="hunter2"))
    assert isinstance(error, AuthFailed)
    assert "(a password tried)" in str(error)
    assert "hunter2" not in repr(error)
    assert Server.asked == 11


def test_what_the_server_asks_for_besides_is_told(home: Path) -> None:
    both = "publickey,password"
    with Sshd(
        plain=True, sudoers="", PasswordAuthentication="yes", AuthenticationMethods=both
    ) as server:
        error = why_not(node_of(server))
        assert isinstance(error, AuthFailed)
        assert "(1 key tried); the server also asks for what password= would give" in str(error)
        error = why_not(node_of(server, password="wrong"))
        assert str(error).endswith("refused (1 key and a password tried)")
        assert works(node_of(server, password=PASSWORD))


def test_an_expired_password_is_told(asking: SshNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "kind", "expired")
    error = why_not(with_options(asking, password="canary"))
    assert isinstance(error, AuthFailed)
    assert "the password has expired" in str(error)


def fail(*asked: object) -> Any:
    raise LookupError("not in the safe")


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("password", {"password": fail}, "LookupError: not in the safe"),
        ("question", {"keyboard_interactive": fail}, "LookupError: not in the safe"),
        ("password", {"password": lambda: 3}, "text or a Secret, not int"),
        ("question", {"keyboard_interactive": lambda *_: [3]}, "text or a Secret, not int"),
    ],
)
def test_a_function_that_fails_is_told(
    asking: SshNode, monkeypatch: pytest.MonkeyPatch, kind: str, options: Any, told: str
) -> None:
    monkeypatch.setattr(Server, "kind", kind)
    error = why_not(with_options(asking, **options))
    assert isinstance(error, AuthFailed)
    assert told in str(error)


def test_a_link_that_breaks_during_the_login(
    asking: SshNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "kind", "cut")
    error = why_not(with_options(asking, password="canary"))
    assert isinstance(error, ConnectionLost)
    assert error.phase == "login"
    assert Server.asked == 1


@pytest.mark.parametrize("later", [False, True])
def test_questions(asking: SshNode, monkeypatch: pytest.MonkeyPatch, later: bool) -> None:
    monkeypatch.setattr(Server, "kind", "questions")
    seen: list[Any] = []

    def answer(title: str, instructions: str, prompts: Any) -> Any:
        seen.append((title, instructions, prompts))
        return ["blue", Secret("42")]

    async def answer_later(*asked: Any) -> Any:
        return answer(*asked)

    node = with_options(asking, keyboard_interactive=answer_later if later else answer)
    assert works(node)
    assert seen == [("Title", "Hello there", [("Colour? ", True), ("Code? ", False)])]
    assert isinstance(why_not(with_options(asking, password="canary")), AuthFailed)


# -- OpenSSH's files --------------------------------------------------------------------------


@pytest.fixture
def configured(server: Sshd, home: Path) -> Path:
    """A configuration in the home that knows the server."""
    (home / ".ssh").mkdir()
    (home / ".ssh/more").write_text(f"Host lab-*\n  IdentityFile {server.key}\n")
    config = home / ".ssh/config"
    config.write_text(
        f"""
        Include more
        Host lab-one
          HostName {server.host}
          Port {server.port}
          User {server.username}
          UserKnownHostsFile {server.known_hosts}
        """
    )
    return config


def test_the_configuration_is_read(configured: Path) -> None:
    node = SshNode("lab-one")
    assert works(node)
    assert node.hostname == "lab-one"
    assert isinstance(why_not(SshNode("lab-one", username="nosuchuser")), AuthFailed)
    assert why_not(SshNode("lab-one", config=None, connect_timeout=1)).phase == "connect"


def test_another_file_may_be_given(configured: Path, tmp_path: Path) -> None:
    other = configured.rename(tmp_path / "other")
    (tmp_path / "more").write_text("")
    assert works(SshNode("lab-one", config=other))
    assert works(SshNode("lab-one", config=[str(other)]))


def test_jumps_are_gateways_like_others(
    configured: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sshd(plain=True) as far:
        with configured.open("a") as file:
            file.write(
                f"""
                Host lab-far
                  HostName {far.host}
                  Port {far.port}
                  User {far.username}
                  IdentityFile {far.key}
                  UserKnownHostsFile {far.known_hosts}
                  ProxyJump lab-one
                """
            )
        before = server.logins()
        jobs = [SshJob(SshNode("lab-far", keepalive=k), "true") for k in (1, 2)]
        at_gateway = SshJob(SshNode("lab-one"), "true")
        assert Engine(*jobs, at_gateway).orchestrate()
        # The gateways of the two have other options than the node above.
        assert server.logins() - before == 3


def test_jumps_in_a_row(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Host far\n ProxyJump me@one:2222,two\n")
    gateway = read_settings(SshNode("far", known_hosts="accept-new")).gateway
    assert gateway == SshNode(
        "two",
        known_hosts="accept-new",
        gateway=SshNode("me@one:2222", known_hosts="accept-new"),
    )
    given = SshNode("far", gateway="other")
    assert read_settings(given).gateway == SshNode("other")


def test_a_host_among_its_own_jumps_is_reached_by_those_before(home: Path) -> None:
    config = home / "config"
    config.write_text("Host *\n ProxyJump one,two\n")
    one = SshNode("one", config=config)
    two = SshNode("two", config=config, gateway=one)
    assert read_settings(SshNode("far", config=config)).gateway == two
    assert read_settings(SshNode("two", config=config)).gateway == one
    assert read_settings(one).gateway is None


def test_jumps_in_a_circle_are_an_error(home: Path) -> None:
    config = home / "config"
    config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    both = [SshJob(SshNode(host, config=config), "true", critical=False) for host in "ab"]
    Engine(*both).orchestrate(timeout=10)
    for job in both:
        assert "lead back to it: check the ProxyJump of" in str(job.exception())


def test_tokens_stand_for_something(
    server: Sshd, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDER", str(configured.parent))
    shutil.copy(server.known_hosts, configured.with_name("known.lab-one.100%"))
    text = configured.read_text()
    known = "${FOLDER}/known.%n.100%%"
    configured.write_text(
        text.replace(str(server.known_hosts), known) + " ProxyJump %r@lab-two:1\n"
    )
    settings = read_settings(SshNode("lab-one"))
    assert settings.gateway == SshNode(f"{server.username}@lab-two:1")
    assert len(settings.trust.keys) == 1


def test_files_are_included_in_the_order_of_their_names(home: Path) -> None:
    (home / ".ssh/conf.d").mkdir(parents=True)
    config = home / ".ssh/config"
    config.write_text("# First\nInclude conf.d/* conf.d/nothing*\nHost *\n Port 50\n")
    for name in ("9", "1", "5", "3", "7", ".0", "2"):
        # They say where they come from; the first one is right.
        (home / ".ssh/conf.d" / name).write_text(f"Host far\n Port 10{name.strip('.')}\n")
    assert read_settings(SshNode("far")).port == 101
    assert read_settings(SshNode("other")).port == 50


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("/nowhere/nc", "exit status 127: "),
        ("false", "exit status 1"),
        ("sh -c 'echo no way >&2; exit 5'", "exit status 5: no way"),
        ("true", "what answers there is no ssh server"),
    ],
)
def test_a_proxy_command_that_fails_is_told(program: str, reason: str, home: Path) -> None:
    config = home / "config"
    config.write_text(f"ProxyCommand {program} %h %p")
    error = why_not(SshNode("lab.invalid", config=config, connect_timeout=30))
    assert isinstance(error, Unreachable)
    assert f"no connection by its ProxyCommand ({program} lab.invalid 22): {reason}" in str(error)


@pytest.mark.parametrize("host", ["lab;reboot", "$(reboot)", "lab|reboot"])
def test_a_proxy_command_is_given_no_line_for_the_shell(host: str, home: Path) -> None:
    config = home / "config"
    config.write_text(f"ProxyCommand touch {home}/%h")
    assert "cannot go to a shell" in str(why_not(SshNode(host, config=config)))


@pytest.mark.parametrize(
    ("lines", "gateway", "command"),
    [
        ("ProxyJump gw\nProxyCommand nc", SshNode("gw"), ""),
        ("ProxyCommand nc\nProxyJump gw", None, "nc"),
        ("ProxyJump none\nProxyCommand nc", None, ""),
        ("ProxyCommand none\nProxyJump gw", None, ""),
    ],
)
def test_the_first_way_that_is_named_is_taken(
    lines: str, gateway: SshNode | None, command: str, home: Path
) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text(f"Host far\n{lines}\n")
    settings = read_settings(SshNode("far"))
    assert (settings.gateway, settings.proxy_command) == (gateway, command)


LONG = """
IdentityFile ~/.ssh/first
Host fit* !fit7
  User many
{hosts}
Host alias7 other
  Port 77
  ProxyJump gw
  HostName fit7.lab
Match originalhost alias7
  User me
Host *
  User nobody
  Port 1
"""


@pytest.mark.parametrize("host", ["fit0", "fit7", "fit199", "alias7", "other", "nobody"])
def test_a_long_file_says_the_same(host: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"Host FIT{n}\n Port 10{n}\nHost fit{n} f{n}\n Port 20{n}" for n in range(200)]
    config = home / "config"
    config.write_text(LONG.format(hosts="\n".join(names)))
    read = [read_settings(SshNode(host, config=config))]
    monkeypatch.setattr(openssh, "MANY", 10_000)
    read.append(read_settings(SshNode(host, config=config)))
    short, full = ((s.host, s.port, s.username, s.gateway and s.gateway.hostname) for s in read)
    assert short == full


def test_a_mistake_in_a_long_file_is_told_with_its_line(home: Path) -> None:
    config = home / "config"
    config.write_text("".join(f"Host fit{n}\n Port {n or 'many'}\n" for n in reversed(range(200))))
    assert read_settings(SshNode("fit7", config=config)).port == 7
    error = why_not(SshNode("fit0", config=config))
    assert f"{config} line 400: Invalid Port integer value: many" in str(error)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"# caf\xe9\n", "line 1: this is not UTF-8"),
        (b"\xef\xbb\xbfHost x\n", "byte order mark"),
        (b"Include config\n", "includes itself"),
        (b"ProxyJump ,\n", "give a name or an address"),
    ],
)
def test_what_is_no_configuration_is_told(content: bytes, advice: str, home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_bytes(content)
    error = why_not(SshNode("far"))
    assert "far: bad configuration: " in str(error)
    assert advice in str(error)


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ('"test a = a"', 7),
        ('"test a = b"', 9),
        ("test\\ a=b\\ =\\ a=b", 7),
        (r"""'x="it\\0s %n"; test "$x" = "it\\0s %n"'""", 7),
    ],
)
def test_a_match_may_run_a_comparison(command: str, port: int, home: Path) -> None:
    (home / ".ssh").mkdir()
    text = f"match originalhost=far exec {command}\n  Port=7\nHost far\n  Port 9\n"
    (home / ".ssh/config").write_text(text)
    assert read_settings(SshNode("far")).port == port


def test_a_match_may_wait_for_the_name(server: Sshd, configured: Path) -> None:
    text = configured.read_text().replace(f"Port {server.port}", "")
    more = f"\nMatch final host {server.host}\n Port {server.port}\n"
    configured.write_text(text + more)
    assert works(SshNode("lab-one"))


def test_what_is_not_obeyed_is_warned_about(
    configured: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with configured.open("a") as file:
        file.write(
            "  StrictHostKeyChecking no\n  ServerAliveInterval=3\n"
            "Host *\n  LocalForward 1 a:2\n  StrictHostKeyChecking ask\n  Compression yes\n"
        )
    more = configured.with_name("more")
    with more.open("a") as file:
        file.write('  \tVISUALHOSTKEY "yes"\n  # Comment\n')
    for _ in range(2):
        assert works(SshNode("lab-one"))
    told = [record.getMessage() for record in caplog.records if "not obeyed" in record.msg]
    checked = '(host keys are always checked, see known_hosts="accept-new")'
    ignored = f"StrictHostKeyChecking no {checked}, ServerAliveInterval 3 (see keepalive=)"
    assert told == [
        f"{configured}: not obeyed: {ignored}, LocalForward 1 a:2",
        f"{more}: not obeyed: VISUALHOSTKEY yes",
    ]


@pytest.mark.parametrize(
    "line", ["StrictHostKeyChecking no", "UserKnownHostsFile none", "UserKnownHostsFile /dev/null"]
)
def test_no_configuration_switches_the_check_off(server: Sshd, configured: Path, line: str) -> None:
    text = configured.read_text().replace(f"UserKnownHostsFile {server.known_hosts}", line)
    configured.write_text(text)
    assert "unknown host key" in str(why_not(SshNode("lab-one")))
    assert works(SshNode("lab-one", known_hosts=server.known_hosts))


def test_a_bad_configuration_is_told(configured: Path) -> None:
    with configured.open("a") as file:
        file.write("  Port many\n")
    error = why_not(SshNode("lab-two"))
    assert "bad configuration" in str(error) or error.phase == "connect"
    error = why_not(SshNode("x", config="/nowhere/config"))
    assert "/nowhere/config" in str(error)


def test_what_commands_the_configuration_asks_for_is_not_run(
    server: Sshd, configured: Path
) -> None:
    with configured.open("a") as file:
        file.write("  RemoteCommand echo no\n  RequestTTY force\n  SetEnv LANG=x\n  SendEnv *\n")
    job = SshJob(SshNode("lab-one"), "tty; echo yes")
    assert Engine(job).orchestrate()
    assert job.result().stdout == "not a tty\nyes\n"


PROXY = """
import os, select, socket, sys
print("what programs say", file=sys.stderr, flush=True)
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for source in select.select([0, link], [], [])[0]:
        data = os.read(0, 65536) if source == 0 else link.recv(65536)
        if not data:
            sys.exit()
        link.sendall(data) if source == 0 else os.write(1, data)
"""


def test_a_proxy_command_is_run(server: Sshd, configured: Path) -> None:
    proxy = configured.with_name("proxy.py")
    proxy.write_text(PROXY)
    command = f"{sys.executable} ~/.ssh/proxy.py {server.host} '{server.port}' 2>&2"
    with configured.open("a") as file:
        file.write(f"  ProxyCommand {command}\n")
    assert works(SshNode("lab-one"))
