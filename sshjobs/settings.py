"""What a node means once the files are read: OpenSSH's configuration, keys, known hosts.

All of it blocks, and is called in a thread; what is read is kept (see :mod:`sshjobs.files`).
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast

import asyncssh

from engine.text import safe_error

from .agent import USUAL, Wanted, agent_path
from .errors import AuthFailed, SshError
from .files import FileCache
from .hostkeys import DEFAULT_FILES, DEFAULT_PORT, Trust, look_up
from .node import ACCEPT_NEW, UNCHECKED, SshNode
from .openssh import for_asyncssh, reading_order, replace_tokens
from .secret import Secret

UNREADABLE = (OSError, RuntimeError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError)
"""What reading a key raises; a RuntimeError where there is no home."""
DEFAULT_CONFIG = "~/.ssh/config"
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
KEEPALIVE_COUNT = 3
USER_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""What tells the name of the user here."""
NOT_FOR_SHELLS = re.compile(r"[\s'\"`$\\;&<>|(){}*?!#]")
"""What a name cannot hold that is put into a shell line."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a node, all told.

    Attributes:
        options: for asyncssh, configuration included, without what changes from attempt to attempt.
        files: the configuration's, if asyncssh has to read them once more.
        certificates: those that the configuration adds to the keys, as far as they are there.
        host: the name to connect to.
        port: the port.
        username: the login name.
        gateway: the node to go through, from the configuration if the user gave none.
        proxy_command: the shell line that makes the connection, from the configuration; empty:
            there is none.
        key_name: the name that the host's key goes by in known_hosts.
        key_port: the port that goes with it.
        check: whether host keys are checked.
        accept_new: whether the key of a host that is not known is recorded.
        known_hosts: files of known host keys; the first is the one to record in.
        trust: what they say about the host.
        keys: private keys, each with its certificate if there is one.
        unread: the configured or usual keys that are there and cannot be read, with the reason.
        agent: what a running agent is asked for.
        agent_path: where it listens; empty: there is none.
    """

    options: asyncssh.SSHClientConnectionOptions
    files: tuple[str, ...]
    certificates: tuple[str, ...]
    host: str
    port: int
    username: str
    gateway: SshNode | None
    proxy_command: str
    key_name: str
    key_port: int
    check: bool
    accept_new: bool
    known_hosts: tuple[str, ...]
    trust: Trust
    keys: tuple[Any, ...]
    unread: tuple[str, ...]
    agent: Wanted
    agent_path: str


def read_settings(node: SshNode) -> Settings:
    """Return what `node` means.

    Raises:
        AuthFailed: a key that was asked for cannot be read.
        SshError: the configuration is not one.
    """
    try:
        files = [file for path in _config_paths(node) for file in reading_order(path)]
        options = _read_short(node, files)
        known_hosts = _known_hosts(node, options)
        gateway, proxy_command = _way(node, options)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: there is no home
        problem = f"bad configuration: {_told(error)}"
        raise SshError(problem, node=node, phase="connect") from error
    alias = options.host_key_alias
    name, port = (alias, DEFAULT_PORT) if alias else (options.host, options.port)
    check = node.known_hosts != UNCHECKED
    try:
        trust = look_up(known_hosts, name, port) if check else Trust()
    except (OSError, RuntimeError) as error:
        problem = f"bad known_hosts: {_told(error)}"
        raise SshError(problem, node=node, phase="connect") from error
    agent = agent_path(cast("str | None", options.config.get("IdentityAgent", USUAL)))
    keys, public, unread = _load_keys(node, options, agent)
    only = node.keys is not None or bool(options.config.get("IdentitiesOnly"))
    return Settings(
        options=options,
        files=tuple(files) if options.config.has_match_final() else (),
        certificates=_certificate_files(options),
        host=options.host,
        port=options.port,
        username=options.username,
        gateway=gateway,
        proxy_command=proxy_command,
        key_name=name,
        key_port=port,
        check=check,
        accept_new=ACCEPT_NEW in (node.known_hosts, *node.known_hosts[:1]),
        known_hosts=known_hosts,
        trust=trust,
        keys=tuple(keys),
        unread=tuple(unread),
        agent=Wanted(
            path="" if only and not public else agent,
            first=tuple(public),
            others=not only,
            but=frozenset(_public_data(key) for key in keys),
        ),
        agent_path=agent,
    )


def _told(error: Exception) -> str:
    """Return what went wrong with a file, without what only Python has to say."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return safe_error(error) if isinstance(error, OSError) else str(error)


def _read_short(node: SshNode, files: list[str]) -> asyncssh.SSHClientConnectionOptions:
    """Return the options, read from other files where these are long or not for asyncssh."""
    with ExitStack() as stack:
        short = {stack.enter_context(_shortened(file, node.hostname)): file for file in files}
        try:
            return _read_options(node, list(short))
        except asyncssh.ConfigParseError as error:
            problem = str(error)
            for name, real in short.items():
                problem = problem.replace(name, real)
            raise ValueError(problem) from error


@contextmanager
def _shortened(path: str, host: str) -> Iterator[str]:
    """Give a file that says the same about `host`, as asyncssh reads it; gone afterwards."""
    text = for_asyncssh(path, host)
    if text is None:
        yield path
        return
    with NamedTemporaryFile("w", encoding="utf-8", prefix="ssh-config-") as file:
        file.write(text)
        file.flush()
        yield file.name


def _config_paths(node: SshNode) -> list[str]:
    if node.config is None:
        return []
    if isinstance(node.config, str):
        path = Path(DEFAULT_CONFIG).expanduser()
        return [str(path)] if path.is_file() else []
    return [str(Path(path).expanduser()) for path in node.config]


def _read_options(node: SshNode, files: list[str]) -> asyncssh.SSHClientConnectionOptions:
    given = node.username, node.port, node.keepalive
    if not files:
        # They are the same for all hosts then, and to prepare them is most of the work.
        user = tuple(os.environ.get(name) for name in USER_VARIABLES)
        options = copy(_options_without_files(user, *given))
        options.host = node.hostname
        return options
    options = _prepared(node.hostname, files, *given)
    if options.config.has_match_final():
        options.update(host=node.hostname, reload=True, canonical=False, final=True)
    return options


@lru_cache
def _options_without_files(
    _user: tuple[str | None, ...], *given: Any
) -> asyncssh.SSHClientConnectionOptions:
    return _prepared("", [], *given)


def _prepared(
    host: str, files: list[str], username: str | None, port: int | None, keepalive: float | None
) -> asyncssh.SSHClientConnectionOptions:
    given: dict[str, Any] = {}
    if username is not None:
        given["username"] = username
    if port is not None:
        given["port"] = port
    return asyncssh.SSHClientConnectionOptions(
        config=files or None,
        host=host,
        tunnel=(),
        client_keys=None,
        connect_timeout=None,
        client_certs=None,
        canonicalize_hostname=False,
        # Login is bounded by us, the attempts at it as well.
        login_timeout=0,
        keepalive_interval=keepalive or 0,
        # asyncssh counts the questions that went unanswered, and waits once more after the last.
        keepalive_count_max=KEEPALIVE_COUNT - 1,
        x11_forwarding=False,
        request_pty=False,
        command=None,
        env=None,
        send_env=None,
        gss_kex=False,
        # Who may say which machine this is: known_hosts, and nobody else.
        x509_trusted_certs=None,
        encoding=None,
        **given,
    )


def _tokens(node: SshNode, options: asyncssh.SSHClientConnectionOptions) -> dict[str, str]:
    """Return what the tokens of the configuration stand for."""
    return {
        "d": str(Path.home()),
        "h": options.host,
        "k": options.host_key_alias or node.hostname,
        "n": node.hostname,
        "p": str(options.port),
        "r": options.username,
        "u": getpass.getuser(),
    }


def _way(node: SshNode, options: asyncssh.SSHClientConnectionOptions) -> tuple[SshNode | None, str]:
    """Return the gateway, and the shell line that makes the connection.

    As for OpenSSH, the first of `ProxyJump` and `ProxyCommand` makes the other void, be it "none".
    """
    ways = ("ProxyJump", "ProxyCommand")
    first = next((name for name in options.config.get_options(reload=False) if name in ways), None)
    if node.gateway is not None or first == "ProxyJump":
        return node.gateway or _proxy_jump(node, options), ""
    command = cast("str | None", options.config.get("ProxyCommand")) or ""
    for name in (node.hostname, options.host, options.username) if command else ():
        if NOT_FOR_SHELLS.search(name):
            raise ValueError(f"{name!r} cannot go to a shell, as its ProxyCommand does")
    return None, command


def _proxy_jump(node: SshNode, options: asyncssh.SSHClientConnectionOptions) -> SshNode | None:
    """Return the gateway that `ProxyJump` names: hops in a row, each a node like any other.

    A host that is among the hops itself, as under ``Host *``, is reached by those before it.
    """
    hops = options.config.get("ProxyJump")
    gateway: SshNode | None = None
    for hop in replace_tokens(str(hops), _tokens(node, options)).split(",") if hops else ():
        next_one = SshNode(
            hop.strip().removeprefix("ssh://"),
            gateway=gateway,
            keys=node.keys,
            passphrase=node.passphrase,
            known_hosts=node.known_hosts,
            config=node.config,
            connect_timeout=node.connect_timeout,
            login_timeout=node.login_timeout,
            keepalive=node.keepalive,
        )
        if (
            next_one.hostname == node.hostname
            and next_one.username in (None, node.username)
            and next_one.port in (None, node.port)
        ):
            break
        gateway = next_one
    return gateway


def _known_hosts(node: SshNode, options: asyncssh.SSHClientConnectionOptions) -> tuple[str, ...]:
    if isinstance(node.known_hosts, tuple):
        return tuple(path for path in node.known_hosts if path != ACCEPT_NEW)
    users: Any = options.config.get("UserKnownHostsFile")
    if users is not None:
        tokens = _tokens(node, options)
        users = [replace_tokens(path, tokens) for path in users]
    everybody: Any = options.config.get("GlobalKnownHostsFile")
    # An empty list is the word "none": no file, which is not the same as no check.
    return (
        *(DEFAULT_FILES[:1] if users is None else tuple(users)),
        *(DEFAULT_FILES[1:] if everybody is None else tuple(everybody)),
    )


def _certificate_files(options: asyncssh.SSHClientConnectionOptions) -> tuple[str, ...]:
    """Return what `CertificateFile` names, without what is missing, as OpenSSH does."""
    configured: Any = options.config.get("CertificateFile", ())
    paths = dict.fromkeys(str(Path(path).expanduser()) for path in configured)
    return tuple(path for path in paths if Path(path).is_file())


def _load_keys(
    node: SshNode, options: asyncssh.SSHClientConnectionOptions, agent: str
) -> tuple[list[Any], list[bytes], list[str]]:
    """Return the keys to offer, the public halves of others for the agent, and what is unread."""
    configured: Any = options.config.get("IdentityFile")
    usual = [f"~/.ssh/{name}" for name in DEFAULT_KEYS]
    given = configured if node.keys is None else node.keys
    private, public, unread = [], [], []
    for key in usual if given is None else dict.fromkeys(given):
        try:
            private.append(_read_pair(key, node.passphrase) if isinstance(key, str) else key)
        except UNREADABLE as error:
            # As ssh does: the agent may have it, or another may do.
            known = _public_key(key) if agent else None
            if known is not None:
                public.append(known.public_data)
            elif node.keys is not None:
                raise _unreadable(node, key, error) from error
            if not isinstance(error, FileNotFoundError):
                unread.append(f"{key}: {_why_unread(node, error)}")
    return private, public, unread


def _public_data(key: Any) -> bytes:
    data: bytes = (key[0] if isinstance(key, tuple) else key).public_data
    return data


def _public_key(path: Any) -> asyncssh.SSHKey | None:
    """Return the public half of a private key that cannot be read."""
    for candidate in (f"{path}.pub", str(path)):
        with suppress(OSError, asyncssh.KeyImportError):
            return asyncssh.read_public_key(candidate)
    return None


def _unreadable(node: SshNode, path: Any, error: Exception) -> AuthFailed:
    problem = f"cannot read the key: {_why_unread(node, error)}"
    return AuthFailed(problem, node=node, phase="login", path=path)


def _why_unread(node: SshNode, error: Exception) -> str:
    encrypted = "passphrase" in str(error).lower()
    advice = "; give its passphrase=" if encrypted and node.passphrase is None else ""
    return f"{getattr(error, 'strerror', None) or error}{advice}"


def _read_pair(path: str, passphrase: Secret | None) -> Any:
    """Return the private key in `path`, with its certificate if there is one beside it."""
    key = _keys.get(path, passphrase)
    try:
        # A file of its own, which is renewed more often.
        return key, _certificates.get(f"{path}-cert.pub")
    except (OSError, asyncssh.KeyImportError):
        return key


def _read_key(path: str, passphrase: Secret | None) -> asyncssh.SSHKey:
    return asyncssh.read_private_key(path, passphrase.reveal() if passphrase else None)


_keys: FileCache[asyncssh.SSHKey] = FileCache(_read_key)
_certificates: FileCache[Any] = FileCache(asyncssh.read_certificate)
