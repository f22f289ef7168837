"""Jobs over ssh: nodes, commands, and the errors that tell what went wrong where.

::

    from engine import Engine
    from sshjobs import SshJob, SshNode

    node = SshNode("fit01", username="root", gateway="gw.lab")
    server = SshJob(node, "iperf3 -s", forever=True, ready="Server listening")
    ...
    Engine(server, ...).orchestrate()

A fleet of servers on loopback to try it with is in :mod:`sshjobs.sandbox`.
"""

from .commands import Argument, Command, Run, RunScript, RunString, Session
from .errors import (
    AuthFailed,
    CommandFailed,
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    SshError,
    SshTimeout,
    TransferFailed,
    Unreachable,
    UnsafePath,
)
from .jobs import SshJob
from .node import LocalNode, SshNode
from .results import Completed
from .secret import Secret
from .transfer import Pull, Push
from .waiting import WaitUp

__all__ = [
    "Argument",
    "AuthFailed",
    "Command",
    "CommandFailed",
    "Completed",
    "ConnectionLost",
    "HostKeyChanged",
    "HostKeyUnknown",
    "LocalNode",
    "Pull",
    "Push",
    "Run",
    "RunScript",
    "RunString",
    "Secret",
    "Session",
    "SshError",
    "SshJob",
    "SshNode",
    "SshTimeout",
    "TransferFailed",
    "Unreachable",
    "UnsafePath",
    "WaitUp",
]
