"""What a node means once the files are read: OpenSSH's configuration, keys, known hosts.

All of it blocks, and is called in a thread; what is read is kept (see :mod:`sshjobs.files`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh

from engine.text import safe_error, safe_line

from .agent import USUAL, Wanted, agent_path
from .errors import AuthFailed, SshError
from .files import FileCache
from .hostkeys import DEFAULT_FILES, DEFAULT_PORT, Trust, look_up
from .node import ACCEPT_NEW, UNCHECKED, SshNode
from .secret import Secret

log = logging.getLogger("sshjobs")

DEFAULT_CONFIG = "~/.ssh/config"
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
KEEPALIVE_COUNT = 3
TOO_LONG = 100
DEEPEST = 16
"""How deep files may include others, as for OpenSSH."""


_OBEYED = """
    host match include addressfamily bindaddress canonicaldomains canonicalizefallbacklocal
    canonicalizehostname canonicalizemaxdots canonicalizepermittedcnames casignaturealgorithms
    certificatefile challengeresponseauthentication ciphers compression enablesshkeysign
    forwardagent globalknownhostsfile gssapiauthentication gssapidelegatecredentials
    hostbasedauthentication hostkeyalgorithms hostname hostkeyalias identitiesonly identityagent
    identityfile kbdinteractiveauthentication kexalgorithms macs passwordauthentication
    pkcs11provider port preferredauthentications proxycommand proxyjump pubkeyauthentication
    rekeylimit tag tcpkeepalive user userknownhostsfile
"""
OBEYED = frozenset(_OBEYED.split())
"""The options of OpenSSH's configuration that are obeyed, in lower case; case does not matter."""
INSTEAD = {
    "stricthostkeychecking": 'host keys are always checked, see known_hosts="accept-new"',
    "connecttimeout": "see connect_timeout=",
    "connectionattempts": "see retry= of jobs",
    "serveraliveinterval": "see keepalive=",
    "serveralivecountmax": "see keepalive=",
    "requesttty": "see pty= of commands",
    "remotecommand": "the commands are those of the jobs",
    "sendenv": "see env= of commands",
    "setenv": "see env= of commands",
}
"""What to do instead of some that are not."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a node, all told.

    Attributes:
        options: for asyncssh, configuration included, without what changes from attempt to attempt.
        host: the name to connect to.
        port: the port.
        username: the login name.
        gateway: the node to go through, from the configuration if the user gave none.
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
    host: str
    port: int
    username: str
    gateway: SshNode | None
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
        options = _read_options(node)
    except (OSError, ValueError) as error:
        problem = f"bad configuration: {safe_error(error)}"
        raise SshError(problem, node=node, phase="connect") from error
    alias = options.host_key_alias
    name, port = (alias, DEFAULT_PORT) if alias else (options.host, options.port)
    check = node.known_hosts != UNCHECKED
    known_hosts = _known_hosts(node, options)
    try:
        trust = look_up(known_hosts, name, port) if check else Trust()
    except OSError as error:
        problem = f"bad known_hosts: {safe_error(error)}"
        raise SshError(problem, node=node, phase="connect") from error
    agent = agent_path(cast("str | None", options.config.get("IdentityAgent", USUAL)))
    keys, public, unread = _load_keys(node, options, agent)
    only = node.keys is not None or bool(options.config.get("IdentitiesOnly"))
    return Settings(
        options=options,
        host=options.host,
        port=options.port,
        username=options.username,
        gateway=node.gateway or _proxy_jump(node, options),
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


def _config_paths(node: SshNode) -> list[str]:
    if node.config is None:
        return []
    if isinstance(node.config, str):
        path = Path(DEFAULT_CONFIG).expanduser()
        return [str(path)] if path.is_file() else []
    return [str(Path(path).expanduser()) for path in node.config]


def _read_options(node: SshNode) -> asyncssh.SSHClientConnectionOptions:
    paths = _config_paths(node)
    for path in paths:
        _warn_of_ignored(path)
    given: dict[str, Any] = {}
    if node.username is not None:
        given["username"] = node.username
    if node.port is not None:
        given["port"] = node.port
    return asyncssh.SSHClientConnectionOptions(
        config=paths or None,
        host=node.hostname,
        tunnel=(),
        client_keys=None,
        connect_timeout=None,
        # Login is bounded by us, the attempts at it as well.
        login_timeout=0,
        keepalive_interval=node.keepalive or 0,
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


def _proxy_jump(node: SshNode, options: asyncssh.SSHClientConnectionOptions) -> SshNode | None:
    """Return the gateway that `ProxyJump` names: hops in a row, each a node like any other."""
    gateway: SshNode | None = None
    hops = options.config.get("ProxyJump")
    for hop in str(hops).split(",") if hops else ():
        gateway = SshNode(
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
    return gateway


def _known_hosts(node: SshNode, options: asyncssh.SSHClientConnectionOptions) -> tuple[str, ...]:
    if isinstance(node.known_hosts, tuple):
        return tuple(path for path in node.known_hosts if path != ACCEPT_NEW)
    users: Any = options.config.get("UserKnownHostsFile")
    everybody: Any = options.config.get("GlobalKnownHostsFile")
    # An empty list is the word "none": no file, which is not the same as no check.
    return (
        *(DEFAULT_FILES[:1] if users is None else tuple(users)),
        *(DEFAULT_FILES[1:] if everybody is None else tuple(everybody)),
    )


def _load_keys(
    node: SshNode, options: asyncssh.SSHClientConnectionOptions, agent: str
) -> tuple[list[Any], list[bytes], list[str]]:
    """Return the keys to offer, the public halves of others for the agent, and what is unread."""
    configured: Any = options.config.get("IdentityFile")
    usual = [f"~/.ssh/{name}" for name in DEFAULT_KEYS]
    given = configured if node.keys is None else node.keys
    private, public, unread = [], [], []
    for key in usual if given is None else given:
        try:
            private.append(_keys.get(key, node.passphrase) if isinstance(key, str) else key)
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
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


def _read_key(path: str, passphrase: Secret | None) -> Any:
    """Return the private key in `path`, with its certificate if there is one beside it."""
    key = asyncssh.read_private_key(path, passphrase.reveal() if passphrase else None)
    try:
        return key, asyncssh.read_certificate(f"{path}-cert.pub")
    except (OSError, asyncssh.KeyImportError):
        return key


def _read_ignored(path: str) -> tuple[list[str], list[str]]:
    """Return the options of a configuration file that are not obeyed, and the files it includes."""
    ignored: dict[str, None] = {}
    included: list[str] = []
    for line in Path(path).read_text(errors="replace").splitlines():
        words = re.split(r"[\s=]+", line.strip().replace('"', ""))
        option = words[0].lower()
        if option == "include":
            included += (str(file) for word in words[1:] for file in _glob(word))
        elif option == "stricthostkeychecking" and words[1:] in (["yes"], ["ask"]):
            continue
        elif option and not option.startswith("#") and option not in OBEYED:
            advice = f" ({INSTEAD[option]})" if option in INSTEAD else ""
            ignored[safe_line(" ".join(words), TOO_LONG) + advice] = None
    return list(ignored), included


def _glob(pattern: str) -> Iterable[Path]:
    path = Path("~/.ssh", Path(pattern).expanduser()).expanduser()
    return Path(path.anchor).glob(str(path.relative_to(path.anchor)))


_keys: FileCache[Any] = FileCache(_read_key)
_ignored: FileCache[tuple[list[str], list[str]]] = FileCache(_read_ignored)
_warned: set[tuple[str, ...]] = set()


def _warn_of_ignored(path: str, depth: int = 0) -> None:
    """Tell what a file asks for in vain, once for each file as it is."""
    ignored, included = _ignored.get(path)
    told = (path, *ignored)
    if ignored and told not in _warned:
        _warned.add(told)
        log.warning("%s: not obeyed: %s", path, ", ".join(ignored))
    for file in included:
        if depth < DEEPEST:
            _warn_of_ignored(file, depth + 1)
