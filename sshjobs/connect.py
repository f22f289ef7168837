"""Make one connection: attempts, deadlines, host keys, login, and the errors that tell why not.

Only what fails before the login begins is tried again, and only where the server dropped us without
a word, as a stock sshd does when too many come at once (`MaxStartups`).  Whoever refuses us is not
asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import asyncssh

from engine.text import safe_error, safe_line

from .agent import Agent
from .bundling import Carried, Network
from .errors import (
    AuthFailed,
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    SshError,
    SshTimeout,
    Unreachable,
)
from .hostkeys import Trust, entry_name, record
from .node import ACCEPT_NEW, AskPassword, SshNode
from .proxying import Proxy
from .secret import Secret
from .settings import Settings

log = logging.getLogger("sshjobs")

PLAIN_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""Kinds of host keys that are not certificates, best first."""
CIPHERS = (
    "aes128-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
"""asyncssh's own, the cheapest first: chacha20, its first, takes a third more processor time."""
LOST = (asyncssh.ConnectionLost, ConnectionError)
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0

Via = asyncssh.SSHClientConnection
Gate = contextlib.AbstractAsyncContextManager[Any]


class Client(asyncssh.SSHClient):
    """What one attempt learns: how far it came, and whose key the server showed.

    Attributes:
        begun: something answered; what follows is handshake and login.
        greeted: what answered has said that it is an ssh server.
        knows_server: the server had proved its key when the connection ended.
        verdict: what is wrong with the key that it showed.
        shown: that key, in words.
        new_key: that key, if it is to be recorded.
        agent: the user's agent.
        has_expired: the server took the password, and wants another from now on.
        missed: the options that the server would have had an answer from, and were not given.
    """

    def __init__(self, node: SshNode, settings: Settings, began: Callable[[], None]) -> None:
        self._node = node
        self._trust = settings.trust
        self._accept_new = settings.accept_new
        self._began = began
        self.verdict: type[SshError] | None = None
        self.new_key: asyncssh.SSHKey | None = None
        self.shown = ""
        self.begun = False
        self.greeted = False
        self.knows_server = False
        self.agent = Agent(settings.agent)
        self.has_expired = False
        self.missed: dict[str, None] = {}
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Something answered: the time for the login begins."""
        self._connection = conn
        self.begun = True
        self._began()

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep how far it came, and not the connection, which holds us."""
        if self._connection is not None:
            self.greeted = self._connection.get_extra_info("server_version") is not None
            self.knows_server = self._connection.get_server_host_key() is not None
            self._connection = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Judge a key that is not on record; it has not been proved yet, so it is not recorded."""
        self.shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
        known = self._trust.keys + self._trust.fallback + self._trust.authorities
        if known:
            self.verdict = HostKeyChanged
            return False
        if not self._accept_new:
            self.verdict = HostKeyUnknown
            return False
        self.new_key = key
        return True

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Refuse a key that is signed by somebody who is not on record."""
        self.shown = f"signed by {key.get_algorithm()} {key.get_fingerprint()}"
        self.verdict = HostKeyChanged if self._trust.authorities else HostKeyUnknown
        return False

    async def public_key_auth_requested(self) -> Any:
        """Offer the keys of the agent: our own have been refused."""
        return await self.agent.keys()

    def kbdint_auth_requested(self) -> Any:
        """Offer keyboard-interactive if there is somebody to ask, else leave it to the password."""
        if self._node.keyboard_interactive is not None:
            return ""
        if self._node.password is None:
            self.missed["keyboard_interactive="] = None
        return NotImplemented

    def password_auth_requested(self) -> None:
        """Keep that the server would take a password, if there is none."""
        if self._node.password is None:
            self.missed["password="] = None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Any:
        """Ask the user's function, with texts that are safe to print."""
        if self._node.keyboard_interactive is None:
            return None
        asked = [(safe_line(text), echo) for text, echo in prompts]
        answers = self._node.keyboard_interactive(safe_line(name), safe_line(instructions), asked)
        if isinstance(answers, Awaitable):
            answers = await answers
        return None if answers is None else [_revealed(answer) for answer in answers]

    def password_change_requested(self, prompt: str, lang: str) -> Any:
        """Change nothing, and keep that it is asked for."""
        self.has_expired = True
        return NotImplemented


async def connect(
    node: SshNode,
    settings: Settings,
    tunnel: Tunnel | None,
    gate: Callable[[], Gate],
) -> asyncssh.SSHClientConnection:
    """Return a connection to `node`, logged in.

    Args:
        node: where to.
        settings: what that means.
        tunnel: the way through the gateway, if there is one.
        gate: entered for each attempt; bounds the handshakes that go on at once.

    Raises:
        SshError: why there is none.
    """
    loop = asyncio.get_running_loop()
    left = node.connect_timeout
    pause = FIRST_PAUSE
    while True:
        async with gate():
            started = loop.time()
            attempt = _Attempt(node, settings, tunnel)
            try:
                return await attempt.run(left)
            except _Dropped as dropped:
                # Time in the queue, and in a login, is not time for connecting.
                left -= (attempt.answered_at or loop.time()) - started + pause
                if left <= 0:
                    raise dropped.error from dropped.__cause__
        log.debug("%s: dropped by the server, next attempt in %.1f s", node, pause)
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, LONGEST_PAUSE)


class Tunnel:
    """The way through a gateway, for asyncssh's `tunnel=`.

    A connection to the far side that is still being opened cannot be taken back; if nobody waits
    for it any more, it is closed as soon as it is there.
    """

    def __init__(self, gateway: asyncssh.SSHClientConnection) -> None:
        self._gateway = gateway
        self._opening: set[asyncio.Task[Any]] = set()

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Open a connection from the gateway to `remote_host`; see asyncssh."""
        opening = asyncio.create_task(
            self._gateway.create_connection(
                lambda: cast(Any, Carried(session_factory)), remote_host, remote_port
            )
        )
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            channel, carried = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_channel)
            raise
        return channel, cast(Carried, carried).connection


def _close_channel(opening: asyncio.Task[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        channel, _ = opening.result()
        channel.abort()


class _Dropped(Exception):
    """The server closed the connection before the login began; worth another attempt."""

    def __init__(self, error: SshError) -> None:
        super().__init__()
        self.error = error


class _Attempt:
    """One attempt to connect."""

    def __init__(self, node: SshNode, settings: Settings, tunnel: Tunnel | None) -> None:
        self._node = node
        self._settings = settings
        self._proxy = Proxy(settings.proxy_command) if settings.proxy_command else None
        self._tunnel = tunnel or self._proxy or Network(settings.options)
        self._deadline = asyncio.timeout(None)
        self.answered_at: float | None = None

    async def run(self, seconds: float) -> asyncssh.SSHClientConnection:
        """Return the connection; it has `seconds` to be answered."""
        loop = asyncio.get_running_loop()
        client = Client(self._node, self._settings, self._begin_login)
        try:
            async with self._deadline:
                self._deadline.reschedule(loop.time() + seconds)
                connection = await self._connect(client)
        except BaseException as error:
            if self._proxy is not None:
                await self._proxy.wait_ended()
            if not isinstance(error, Exception):
                raise
            if isinstance(error, TimeoutError) and self._deadline.expired():
                raise _late(self._node, client) from error
            failure = self._proxy.failure() if self._proxy is not None else ""
            raise _explained(error, self._node, self._settings, client, failure) from error
        finally:
            client.agent.close()
        connection.set_extra_info(proxy=self._proxy)
        if not self._settings.check:
            log.warning("%s: its host key is not checked", self._node)
        if client.new_key is not None:
            await self._record(client.new_key, connection)
        return connection

    def _begin_login(self) -> None:
        self.answered_at = asyncio.get_running_loop().time()
        self._deadline.reschedule(self.answered_at + self._node.login_timeout)

    async def _connect(self, client: Client) -> asyncssh.SSHClientConnection:
        known = self._settings.trust.as_asyncssh()
        special: dict[str, Any] = {}
        if not self._settings.options.config.get("Ciphers"):
            special["encryption_algs"] = CIPHERS
        if not self._settings.options.config.get("HostKeyAlgorithms"):
            special["server_host_key_algs"] = _host_key_kinds(self._settings.trust)
        if self._settings.options.config.get("ForwardAgent") is True:
            special["agent_forwarding"] = self._settings.agent_path or False
        password = self._node.password
        return await asyncssh.connect(
            self._node.hostname,
            self._settings.port,
            options=self._settings.options,
            config=list(self._settings.files) or None,
            tunnel=self._tunnel,
            client_factory=lambda: client,
            known_hosts=known if self._settings.check else None,
            client_keys=self._keys(),
            client_certs=list(self._settings.certificates),
            agent_path="",  # we ask it ourselves
            password=password.reveal() if isinstance(password, Secret) else _revealing(password),
            **special,
        )

    def _keys(self) -> list[Any] | None:
        """Return the keys in asyncssh's words: an empty list would be the usual ones of ~/.ssh."""
        has_token = self._settings.options.config.get("PKCS11Provider")
        return list(self._settings.keys) or ([] if has_token else None)

    async def _record(self, key: asyncssh.SSHKey, connection: asyncssh.SSHClientConnection) -> None:
        settings = self._settings
        path = settings.known_hosts[0] if settings.known_hosts else "/dev/null"
        shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
        error: SshError | None = None
        try:
            recorded = await asyncio.get_running_loop().run_in_executor(
                None, record, path, settings.key_name, settings.key_port, key
            )
        except OSError as cause:
            problem = (
                f"cannot record its host key: {cause.strerror or cause}; give a file for it: "
                f'known_hosts=("{ACCEPT_NEW}", path)'
            )
            error = SshError(problem, node=self._node, phase="login", path=path)
        except BaseException:
            await _drop(connection)
            raise
        else:
            if not recorded:
                problem = _strange_key(HostKeyChanged, shown, settings)
                error = HostKeyChanged(problem, node=self._node, phase="connect")
        if error is not None:
            await _drop(connection)
            raise error
        log.info("%s: new host key %s recorded in %s", self._node, shown, path)


async def _drop(connection: asyncssh.SSHClientConnection) -> None:
    connection.abort()
    await wait_closed(connection)


async def wait_closed(connection: asyncssh.SSHClientConnection) -> None:
    """Wait until a connection is closed, and the program has ended that made it."""
    await connection.wait_closed()
    proxy: Proxy | None = connection.get_extra_info("proxy")
    if proxy is not None:
        await proxy.wait_ended()


def _host_key_kinds(trust: Trust) -> str | list[str]:
    """Return the kinds of host keys to ask for.

    Those on record come first, but the others too: a server that has none of the former is to be
    told from one that does not answer.  Whom nobody knows is asked for a plain key, as nobody could
    judge a certificate.
    """
    if trust.authorities:
        return "+" + ",".join(PLAIN_KEYS)
    known = {key.get_algorithm().replace("ssh-rsa", "rsa-sha2-") for key in trust.as_asyncssh()[0]}
    return sorted(PLAIN_KEYS, key=lambda kind: not any(kind.startswith(name) for name in known))


def _late(node: SshNode, client: Client) -> SshTimeout:
    if client.greeted:
        return SshTimeout(f"no login within {node.login_timeout:g} s", node=node, phase="login")
    if client.begun:
        problem = f"what answers there did not speak ssh within {node.login_timeout:g} s"
        return SshTimeout(problem, node=node, phase="login")
    return SshTimeout(f"no answer within {node.connect_timeout:g} s", node=node, phase="connect")


def _explained(
    error: Exception, node: SshNode, settings: Settings, client: Client, failure: str
) -> SshError | _Dropped:
    """Return the error that tells the user what `error` means.

    Args:
        error: what asyncssh or the system says.
        node: where to.
        settings: what that means.
        client: what it has learned.
        failure: how the program failed that made the connection, if it did.
    """
    if isinstance(error, asyncssh.HostKeyNotVerifiable) and client.verdict is None:
        problem = f"its host key is not to be trusted: {error.reason}"  # revoked, or expired
        return HostKeyChanged(problem, node=node, phase="connect")
    mistrust = _mistrust(error, client)
    if mistrust is not None:
        return mistrust[0](_strange_key(*mistrust, settings), node=node, phase="connect")
    if client.knows_server and isinstance(error, LOST):
        return ConnectionLost(
            "connection lost in the middle of the login", node=node, phase="login"
        )
    if isinstance(error, asyncssh.PermissionDenied) or client.knows_server:
        return AuthFailed(_refusal(error, node, settings, client), node=node, phase="login")
    if isinstance(error, asyncssh.ChannelOpenError):
        forbids = error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
        rule = "its server does not allow it (AllowTcpForwarding, PermitOpen)"
        problem = f"the gateway cannot reach it: {rule if forbids else error.reason}"
        return Unreachable(problem, node=node, hop=settings.gateway, phase="connect")
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        problem = f"nobody answers who could look up the name {settings.host!r}"
        return Unreachable(problem, node=node, phase="connect")
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return Unreachable(f"unknown name {settings.host!r}", node=node, phase="connect")
    problem = failure or _obstacle(error, client)
    way = f"by its ProxyCommand ({proxy})" if (proxy := settings.proxy_command) else ""
    way = way or f"to port {settings.port}"
    unreachable = Unreachable(f"no connection {way}: {problem}", node=node, phase="connect")
    if client.begun and isinstance(error, LOST) and not failure:
        return _Dropped(unreachable)
    return unreachable


def _mistrust(error: Exception, client: Client) -> tuple[type[SshError], str] | None:
    """Return which error it is, and what the server showed, if its key is what is wrong."""
    if client.verdict is not None:
        return client.verdict, client.shown
    if isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in error.reason:
        return HostKeyChanged, "of another kind"
    return None


def _obstacle(error: Exception, client: Client) -> str:
    if client.begun and not client.greeted:
        return "what answers there is no ssh server, or one that turns us away"
    if isinstance(error, OSError) and error.errno:
        # asyncio's own text tells the address twice, and the errno in figures.
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _strange_key(kind: type[SshError], shown: str, settings: Settings) -> str:
    files = ", ".join(settings.known_hosts) or "no file"
    name = entry_name(settings.key_name, settings.key_port)
    if kind is HostKeyUnknown:
        # The advice has to be there when the line is cut.
        return (
            'unknown host key: add it to known_hosts, or use known_hosts="accept-new"; '
            f"it is {shown}, and {name} is not in {files}"
        )
    return (
        f"its host key ({shown}) is not the one on record for {name} in {files}: another machine, "
        "or somebody in between; if the change is meant, remove the old key there"
    )


def _refusal(error: Exception, node: SshNode, settings: Settings, client: Client) -> str:
    counts = (len(settings.keys), ""), (client.agent.offered, " of the agent")
    tried = [f"{count} key{'s' * (count != 1)}{whose}" for count, whose in counts if count]
    if node.password is not None:
        tried.append("a password")
    if node.keyboard_interactive is not None:
        tried.append("keyboard-interactive")
    told = f"{' and '.join(tried)} tried" if tried else "no keys and no password to try"
    reason = getattr(error, "reason", None) or safe_error(error)
    said = "" if isinstance(error, asyncssh.PermissionDenied) else f": {reason}"
    if client.has_expired:
        said = ": the password has expired, change it there"
    advice = "; give keys=, the server lets few be tried" if "Too many" in said else ""
    if client.missed and not advice:
        advice = f"; the server also asks for what {' or '.join(client.missed)} would give"
    if settings.unread and not client.agent.offered:
        advice += f"; cannot read {', '.join(settings.unread)}"
    return f"login as {settings.username} refused ({told}){said}{advice}"


def _revealing(password: AskPassword | None) -> Any:
    """Return a function for asyncssh that calls the user's, and takes a Secret from it too."""
    if password is None:
        return None

    async def ask() -> str | None:
        answer = password()
        if isinstance(answer, Awaitable):
            answer = await answer
        return None if answer is None else _revealed(answer)

    return ask


def _revealed(answer: Any) -> str:
    text = answer.reveal() if isinstance(answer, Secret) else answer
    if not isinstance(text, str):
        raise TypeError(f"an answer is text or a Secret, not {type(text).__name__}")
    return text
