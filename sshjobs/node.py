"""Where commands run: nodes, as values.

A node says how to get there and nothing more.  Making one is cheap and touches neither files nor
network; nodes that are equal in all that was given share one connection (see :mod:`sshjobs.pool`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncssh

from engine import BadOption, run
from engine.text import safe_line, safe_repr

from .hosts import expand
from .secret import Secret

if TYPE_CHECKING:
    from .waiting import WaitUp

PathArg = str | PathLike[str]
Key = PathArg | asyncssh.SSHKey | asyncssh.SSHKeyPair
AskPassword = Callable[[], "str | Secret | Awaitable[str | Secret | None] | None"]
Answers = Callable[
    [str, str, Sequence[tuple[str, bool]]],
    "Sequence[str | Secret] | Awaitable[Sequence[str | Secret] | None] | None",
]

DEFAULT = "default"
ACCEPT_NEW = "accept-new"
UNCHECKED = "unchecked"
LAST_PORT = 65535

_ADDRESS = re.compile(
    r"(?:(?P<user>[^@]+)@)?"
    r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^@:\[\]]+)|(?P<bare>[^@\[\]]*:[^@\[\]]*:[^@\[\]]*))"
    r"(?::(?P<port>\d+))?",
)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class SshNode:
    """A machine that is reached by ssh.

    Args:
        host: a name, an address, or an alias of the configuration; ``"root@fit01:2222"`` gives
            user and port too.
        username: the login name; by default what the configuration says, else the local user's.
        port: by default what the configuration says, else 22.
        gateway: the node to go through, a node or its name; by default the configuration's
            `ProxyJump`, for which keys and policies are the same, while a password is never sent.
        keys: private keys, as paths (a certificate beside it is used) or asyncssh's objects; by
            default the configuration's `IdentityFile`, else the usual ones of ~/.ssh.  The keys of
            a running agent are tried as well.
        password: a password, or a function (or coroutine function) that returns it.  A function is
            called in the event loop: one that takes its time, and is to stop nobody else meanwhile,
            is a coroutine function, ``async def ask(): return await asyncio.to_thread(getpass)``.
        passphrase: for encrypted keys.
        keyboard_interactive: called with the server's title, its instructions and its prompts, as
            pairs (text, whether what is typed may be shown); returns as many answers, or None to
            give up, and may be a coroutine function as well.  Without it a `password` answers a
            single prompt for one.
        known_hosts: files of known host keys.  By default what the configuration says, else
            ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.  ``"accept-new"`` records the key of a
            host that is not known yet in the first of these files (``("accept-new", path)``: in
            `path`) and refuses one that has changed.  ``"unchecked"`` checks nothing: whoever sits
            in between reads and writes everything.
        config: configuration files in the format of OpenSSH, by default ~/.ssh/config; None reads
            none.
        connect_timeout: seconds, for all attempts to reach the server together, handshake excluded.
        login_timeout: seconds, for handshake and login.
        keepalive: seconds of silence before the server is asked for a sign of life; after three
            times as long the connection is lost.  None: never.
        max_sessions: how many sessions may be open at once, the stock server's `MaxSessions`.  One
            carries all transfers; commands that find none of the others free wait.

    Raises:
        BadOption: an option makes no sense, or is `known_hosts=None`.

    As a context manager, ``with node:`` or ``async with node:``, a node is connected and keeps its
    connection until the end, across runs.

    >>> node = SshNode("root@fit01:2222", gateway="gw.lab")
    >>> node.hostname, node.username, node.port, node.gateway
    ('fit01', 'root', 2222, <SshNode gw.lab>)
    >>> node == SshNode("fit01", username="root", port=2222, gateway=SshNode("gw.lab"))
    True
    """

    hostname: str
    username: str | None
    port: int | None
    gateway: SshNode | None
    keys: tuple[str | asyncssh.SSHKey | asyncssh.SSHKeyPair, ...] | None
    password: Secret | AskPassword | None
    passphrase: Secret | None
    keyboard_interactive: Answers | None
    known_hosts: str | tuple[str, ...]
    config: str | tuple[str, ...] | None
    connect_timeout: float
    login_timeout: float
    keepalive: float | None
    max_sessions: int
    _hash: int = field(compare=False)

    def __init__(
        self,
        host: str,
        *,
        username: str | None = None,
        port: int | None = None,
        gateway: SshNode | str | None = None,
        keys: Key | Iterable[Key] | None = None,
        password: str | Secret | AskPassword | None = None,
        passphrase: str | Secret | None = None,
        keyboard_interactive: Answers | None = None,
        known_hosts: PathArg | Iterable[PathArg] = DEFAULT,
        config: PathArg | Iterable[PathArg] | None = DEFAULT,
        connect_timeout: float = 15,
        login_timeout: float = 30,
        keepalive: float | None = 15,
        max_sessions: int = 10,
    ) -> None:
        given: dict[str, Any] = {
            **_address(host, username, port),
            "gateway": _gateway(gateway),
            "keys": _keys(keys),
            "password": _secret("password", password, may_ask=True),
            "passphrase": _secret("passphrase", passphrase),
            "keyboard_interactive": _answers(keyboard_interactive),
            "known_hosts": _known_hosts(known_hosts),
            "config": config if config == DEFAULT else _paths("config", config),
            "connect_timeout": _seconds("connect_timeout", connect_timeout),
            "login_timeout": _seconds("login_timeout", login_timeout),
            "keepalive": None if keepalive is None else _seconds("keepalive", keepalive),
            "max_sessions": _sessions(max_sessions),
        }
        # A node is looked up for every command, and its gateways are part of it.
        given["_hash"] = hash(tuple(given.values()))
        for name, value in given.items():
            object.__setattr__(self, name, value)

    @classmethod
    def many(cls, hosts: str, **same: Any) -> list[SshNode]:
        """Return the nodes of a node set such as ``"fit[01-12],gw"``, in its order.

        Args:
            hosts: names separated by commas or spaces; ``[01-03,07]`` in a name stands for a range,
                ``[01-12/2]`` for every second.  Where ClusterShell is installed all of its notation
                works, groups (``@rack1``) included.
            same: options given to every node.

        >>> [node.hostname for node in SshNode.many("fit[08-10]", username="root")]
        ['fit08', 'fit09', 'fit10']
        """
        return [cls(host, **same) for host in expand(hosts)]

    def wait_up(self, timeout: float | None = 180, **options: Any) -> WaitUp:
        """Return a job that ends once a command can be run here, as after a reboot.

        Args:
            timeout: seconds, after which the job fails with the last reason why not; None: never.
            options: those of :class:`engine.AbstractJob`.
        """
        from .waiting import WaitUp

        return WaitUp(self, timeout=timeout, **options)

    async def __aenter__(self) -> Self:
        from .pool import hold

        await hold(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from .pool import let_go

        await let_go(self)

    def __enter__(self) -> Self:
        return run(self.__aenter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run(self.__aexit__(kind, error, traceback))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        user = f"{self.username}@" if self.username is not None else ""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        port = f":{self.port}" if self.port is not None else ""
        return safe_line(f"{user}{host}{port}")

    def __repr__(self) -> str:
        return f"<SshNode {self}>"


@dataclass(frozen=True, slots=True)
class LocalNode:
    """This machine: the same commands, without ssh.

    Commands run as the current user, in the current folder and with the current environment, by
    ``/bin/sh``; each in a session of its own, so that they can be ended as a whole.

    >>> LocalNode().hostname
    'localhost'
    """

    @property
    def hostname(self) -> str:
        """``"localhost"``."""
        return "localhost"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """There is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """There is nothing to close."""

    def __str__(self) -> str:
        return self.hostname


AnyNode = SshNode | LocalNode


def _bad(option: str, value: object, advice: str) -> BadOption:
    return BadOption(f"SshNode: {option}={safe_repr(value, 80)}: {advice}", option, value)


def _address(host: Any, username: Any, port: int | None) -> dict[str, Any]:
    """Return host, username and port from what was given, taking ``user@host:port`` apart."""
    match = _ADDRESS.fullmatch(host) if isinstance(host, str) else None
    # What begins with a dash, or holds a blank, is no host but an accident or an attack.
    if match is None or re.search(r"^-|@-|[\s,/\x00-\x1f\x7f]", match[0]):
        raise _bad("host", host, 'give a name or an address, or "user@host:port"')
    if match["user"] is not None:
        if username not in (None, match["user"]):
            raise _bad("username", username, f"the host says {match['user']!r}")
        username = match["user"]
    if match["port"] is not None:
        if port not in (None, int(match["port"])):
            raise _bad("port", port, f"the host says {match['port']}")
        port = int(match["port"])
    if username is not None and not (
        isinstance(username, str) and username.isprintable() and username
    ):
        raise _bad("username", username, "give a name")
    if port is not None and port not in range(1, LAST_PORT + 1):
        raise _bad("port", port, "give a number from 1 to 65535")
    name = match["bracketed"] or match["host"] or match["bare"]
    return {"hostname": name, "username": username, "port": port}


def _gateway(gateway: object) -> SshNode | None:
    if isinstance(gateway, str):
        gateway = SshNode(gateway)
    if gateway is not None and not isinstance(gateway, SshNode):
        raise _bad("gateway", gateway, "give an SshNode or its name")
    return gateway


def _keys(keys: Any) -> tuple[Any, ...] | None:
    if keys is None:
        return None
    single = isinstance(keys, (str, PathLike, asyncssh.SSHKey, asyncssh.SSHKeyPair))
    try:
        several = (keys,) if single else tuple(keys)
    except TypeError:
        several = ("",)
    paths = tuple(fspath(key) if isinstance(key, PathLike) else key for key in several)
    for key in paths:
        if not isinstance(key, (str, asyncssh.SSHKey, asyncssh.SSHKeyPair)) or key == "":
            raise _bad("keys", keys, "give paths, or keys of asyncssh")
    return paths


def _secret(option: str, given: Any, *, may_ask: bool = False) -> Any:
    if given is None or isinstance(given, Secret) or (may_ask and callable(given)):
        return given
    if not isinstance(given, str):
        # Not shown: it may well be one.
        raise BadOption(f"SshNode: {option}: give text, or a Secret", option, None)
    return Secret(given)


def _answers(given: Any) -> Any:
    if given is not None and not callable(given):
        raise _bad("keyboard_interactive", given, "give a function")
    return given


def _known_hosts(given: Any) -> str | tuple[str, ...]:
    """Return one of the words, ``("accept-new", path)``, or a tuple of paths."""
    if given is None:
        raise _bad(
            "known_hosts",
            given,
            f'host keys are always checked; known_hosts="{ACCEPT_NEW}" records new ones, and if '
            f'nobody could sit in between, known_hosts="{UNCHECKED}" checks nothing',
        )
    if isinstance(given, str) and given in (DEFAULT, ACCEPT_NEW, UNCHECKED):
        return given
    paths = _paths("known_hosts", given) or ()
    if UNCHECKED in paths or (ACCEPT_NEW in paths and (len(paths), paths[0]) != (2, ACCEPT_NEW)):
        raise _bad("known_hosts", given, f'give a word, paths, or ("{ACCEPT_NEW}", path)')
    return paths


def _paths(option: str, given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    try:
        many = (given,) if isinstance(given, (str, bytes, PathLike)) else tuple(given)
        paths = tuple(fspath(path) for path in many)
    except TypeError:
        paths = ("",)
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise _bad(option, given, "give a path, or several")
    return paths


def _seconds(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise _bad(option, value, "give a number of seconds, above 0")
    return value


def _sessions(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad("max_sessions", value, "give a number, 1 or more")
    return value
