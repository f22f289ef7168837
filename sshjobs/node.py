"""Where commands run: nodes, as values.

A node says how to get there and nothing more.  Making one is cheap and touches neither files nor
network; nodes that are equal in all that was given share one connection (see :mod:`sshjobs.pool`).
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
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
Password = str | Secret | Callable[[], "str | None | Awaitable[str | None]"]
Answers = Callable[[str, str, Sequence[tuple[str, bool]]], "Sequence[str] | Awaitable[Sequence[str]]"]
KnownHosts = PathArg | Sequence[PathArg]

DEFAULT = "default"
ACCEPT_NEW = "accept-new"
UNCHECKED = "unchecked"

_ADDRESS = re.compile(
    r"(?:(?P<user>[^@]+)@)?"
    r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^@:\[\]]+)|(?P<bare>[^@\[\]]*:[^@\[\]]*:[^@\[\]]*))"
    r"(?::(?P<port>\d+))?",
)


@dataclass(frozen=True, slots=True, repr=False)
class SshNode:
    """A machine that is reached by ssh.

    Args:
        host: a name, an address, or an alias of the configuration; ``"root@fit01:2222"`` gives
            user and port too.
        username: the login name; by default what the configuration says, else the local user's.
        port: by default what the configuration says, else 22.
        gateway: the node to go through, a node or its name; by default the configuration's
            `ProxyJump`.
        keys: private keys, as paths (a certificate beside it is used) or asyncssh's objects; by
            default the configuration's `IdentityFile`, else the usual ones of ~/.ssh.  The keys of
            a running agent are tried as well.
        password: a password, or a function (or coroutine function) that returns it.
        passphrase: for encrypted keys.
        keyboard_interactive: called with the server's title, its instructions and its prompts, as
            pairs (text, whether what is typed may be shown); returns as many answers.  Without it
            a `password` answers a single prompt for one.
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
        max_sessions: how many commands and transfers may go on at once; more of them wait.  The
            stock server's `MaxSessions` is 10.

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

    host: str
    _: KW_ONLY
    username: str | None = None
    port: int | None = None
    gateway: SshNode | str | None = None
    keys: Key | Sequence[Key] | None = None
    password: Password | None = None
    passphrase: str | Secret | None = None
    keyboard_interactive: Answers | None = None
    known_hosts: KnownHosts = DEFAULT
    config: PathArg | Sequence[PathArg] | None = DEFAULT
    connect_timeout: float = 15
    login_timeout: float = 30
    keepalive: float | None = 15
    max_sessions: int = 10
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _OPTIONS}
        given |= _address(self.host, self.username, self.port)
        given["gateway"] = _gateway(self.gateway)
        given["keys"] = _keys(self.keys)
        given["known_hosts"] = _known_hosts(self.known_hosts)
        if self.config != DEFAULT:
            given["config"] = _paths("config", self.config)
        for name in ("password", "passphrase"):
            if isinstance(given[name], str):
                given[name] = Secret(given[name])
        for name in ("connect_timeout", "login_timeout", "keepalive"):
            _check_seconds(name, given[name], optional=name == "keepalive")
        if not isinstance(self.max_sessions, int) or self.max_sessions < 1:
            raise _bad("max_sessions", self.max_sessions, "give a number, 1 or more")
        for name, value in given.items():
            object.__setattr__(self, name, value)
        # A node is looked up for every command, and its gateways are part of it.
        object.__setattr__(self, "_hash", hash(tuple(given.values())))

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

    @property
    def hostname(self) -> str:
        """The name that was given, without user and port."""
        return self.host

    def wait_up(self, timeout: float = 180, **options: Any) -> WaitUp:
        """Return a job that ends once a command can be run here, as after a reboot.

        Args:
            timeout: seconds, after which the job fails with the last reason why not.
            options: those of :class:`engine.AbstractJob`.
        """
        from .waiting import WaitUp  # noqa: PLC0415 - jobs are made of nodes

        return WaitUp(self, timeout=timeout, **options)

    async def __aenter__(self) -> Self:
        from .pool import hold  # noqa: PLC0415 - connections are made of nodes

        await hold(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from .pool import let_go  # noqa: PLC0415 - same

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
        host = f"[{self.host}]" if ":" in self.host else self.host
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

    def __str__(self) -> str:
        return self.hostname


AnyNode = SshNode | LocalNode

_OPTIONS = [f.name for f in fields(SshNode) if f.init]


def _bad(option: str, value: object, advice: str) -> BadOption:
    return BadOption(f"SshNode: {option}={safe_repr(value, 80)}: {advice}", option, value)


def _address(host: object, username: str | None, port: int | None) -> dict[str, Any]:
    """Return host, username and port from what was given, taking ``user@host:port`` apart."""
    match = _ADDRESS.fullmatch(host) if isinstance(host, str) else None
    # What begins with a dash, or holds a blank, is no host but an accident or an attack.
    if match is None or re.search(r"^-|@-|[\s\x00-\x1f\x7f]", match[0]):
        raise _bad("host", host, 'give a name or an address, or "user@host:port"')
    if match["user"] is not None:
        if username not in (None, match["user"]):
            raise _bad("username", username, f"the host says {match['user']!r}")
        username = match["user"]
    if match["port"] is not None:
        if port not in (None, int(match["port"])):
            raise _bad("port", port, f"the host says {match['port']}")
        port = int(match["port"])
    if port is not None and not (isinstance(port, int) and 0 < port < 65536):  # noqa: PLR2004
        raise _bad("port", port, "give a number from 1 to 65535")
    name = match["bracketed"] or match["host"] or match["bare"]
    return {"host": name, "username": username, "port": port}


def _gateway(gateway: object) -> SshNode | None:
    if isinstance(gateway, str):
        gateway = SshNode(gateway)
    if gateway is not None and not isinstance(gateway, SshNode):
        raise _bad("gateway", gateway, "give an SshNode or its name")
    return gateway


def _keys(keys: Any) -> tuple[Key, ...] | None:
    if keys is None:
        return None
    single = isinstance(keys, (str, PathLike, asyncssh.SSHKey, asyncssh.SSHKeyPair))
    keys = (keys,) if single else tuple(keys)
    return tuple(fspath(key) if isinstance(key, PathLike) else key for key in keys)


def _known_hosts(given: Any) -> KnownHosts:
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
    many = (given,) if isinstance(given, (str, PathLike)) else given
    try:
        paths = tuple(fspath(path) for path in many)
    except TypeError:
        paths = ("",)
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise _bad(option, given, "give a path, or a sequence of them")
    return paths


def _check_seconds(option: str, value: object, *, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, (int, float)) or math.isnan(value) or value <= 0:
        raise _bad(option, value, "give a number of seconds, above 0")
