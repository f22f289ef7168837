"""What can go wrong between here and a node, as one tree; each error tells where.

::

    SshError
    ├── Unreachable                 no connection: name unknown, refused, no route, no answer
    ├── HostKeyUnknown              the server's key is in no known_hosts file
    ├── HostKeyChanged              the server's key is not the one that is known
    ├── AuthFailed                  the server accepts none of our credentials
    ├── ConnectionLost              the link broke; what ran there may still run
    ├── SshTimeout (TimeoutError)   out of time; `phase` is connect, login, command or transfer
    ├── CommandFailed               a command ended with a status or signal that is not allowed
    └── TransferFailed              a file could not be read or written, here or there
        └── UnsafePath              a name that would lead out of the target

Programs react to the class and the attributes; the message is built here from them, names the node
and the hop, and is always one safe line (see :mod:`engine.text`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from engine.text import safe_line

if TYPE_CHECKING:
    from .node import AnyNode, SshNode
    from .results import Completed


class SshError(Exception):
    """Base of all errors of this package.

    Attributes:
        node: the node that the work was meant for.
        hop: the gateway at which it went wrong; None if that was at the node itself.
        phase: ``"connect"``, ``"login"``, ``"command"`` or ``"transfer"``.
        path: the file concerned, if there is one.
        completed: what is known of the command that failed, if there is one.
    """

    def __init__(
        self,
        problem: object,
        *,
        node: AnyNode,
        hop: SshNode | None = None,
        phase: str = "",
        path: str | None = None,
        completed: Completed | None = None,
    ) -> None:
        where = f"{node} (at its gateway {hop})" if hop is not None else f"{node}"
        file = f"{path}: " if path is not None else ""
        super().__init__(safe_line(f"{where}: {file}{problem}"))
        self.problem = problem
        self.node = node
        self.hop = hop
        self.phase = phase
        self.path = path
        self.completed = completed

    def seen_from(self, node: AnyNode) -> Self:
        """Return this error as `node` meets it: what is wrong with a gateway is its `hop`."""
        hop = self.hop
        if hop is None and node != self.node and self.node is not None:
            hop = cast("SshNode", self.node)  # nothing is between here and this machine
        return type(self)(
            self.problem,
            node=node,
            hop=hop,
            phase=self.phase,
            path=self.path,
            completed=self.completed,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors be copied and pickled, whatever their constructors take."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[SshError], args: tuple[Any, ...], state: dict[str, Any]) -> SshError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Unreachable(SshError):
    """No connection could be made: name unknown, refused, no route, or no ssh server there."""


class HostKeyUnknown(SshError):
    """The server's key is in none of the known_hosts files, so nobody knows who answered.

    The message shows the fingerprint.  If it is the right one, record it with ``ssh-keyscan``, or
    use ``known_hosts="accept-new"``.
    """


class HostKeyChanged(SshError):
    """The server's key is not the one on record: another machine, or somebody in between.

    It is refused under every policy but ``"unchecked"``.
    """


class AuthFailed(SshError):
    """The server accepts none of our keys and passwords, or a key cannot be read."""


class ConnectionLost(SshError):
    """The link broke, or that of the gateway; the message says if a command may still run there."""


class SshTimeout(SshError, TimeoutError):
    """Out of time; `phase` says in what: connect, login, command or transfer."""


class CommandFailed(SshError):
    """A command ended with an exit status or signal that is not allowed; see `completed`."""


class TransferFailed(SshError):
    """A file could not be read or written, here or there; `path` says which."""


class UnsafePath(TransferFailed):
    """A name from the other side that would lead out of the target; `path` is that name."""
