"""The user's ssh agent: which of its keys are offered, and when.

A server counts the keys that it refuses, and hangs up after six (`MaxAuthTries`), while an agent
may hold any number.  So our own keys come first, then those of the agent that stand for a file that
we cannot read, then its others, and none twice.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from engine.text import safe_error

log = logging.getLogger("sshjobs")

USUAL = "SSH_AUTH_SOCK"
"""The variable that tells where the agent listens."""


def agent_path(configured: str | None) -> str:
    """Return where the agent listens, or an empty string if there is none.

    Args:
        configured: what `IdentityAgent` says; None: there shall be none.
    """
    if configured is None:
        return ""
    variable = configured.removeprefix("$")
    if variable in (configured, "") and configured != USUAL:
        return str(Path(configured).expanduser())
    return os.environ.get(variable, "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask an agent for.

    Attributes:
        path: where it listens; empty: there is none, or none of its keys are wanted.
        first: public keys that stand for files that we cannot read.
        others: whether all else that it has is wanted as well.
        but: public keys that are offered anyway.
    """

    path: str = ""
    first: tuple[bytes, ...] = ()
    others: bool = True
    but: frozenset[bytes] = frozenset()


class Agent:
    """The agent, as one login asks it.

    Attributes:
        offered: how many of its keys the server was offered.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.offered = 0
        self._wanted: Wanted | None = wanted if wanted.path else None
        self._client: asyncssh.SSHAgentClient | None = None

    async def keys(self) -> list[asyncssh.SSHKeyPair]:
        """Return the keys to offer, best first; none the second time, or if it does not answer."""
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return []
        try:
            self._client = await asyncssh.connect_agent(wanted.path)
            known = {key.public_data: key for key in await self._client.get_keys()}
        except (OSError, ValueError) as error:
            log.debug("the agent at %s does not answer: %s", wanted.path, safe_error(error))
            return []
        rest = list(known) if wanted.others else []
        order = dict.fromkeys([data for data in wanted.first if data in known] + rest)
        keys = [known[data] for data in order if data not in wanted.but]
        self.offered = len(keys)
        return keys

    def close(self) -> None:
        """Let go of it: the login is over."""
        if self._client is not None:
            self._client.close()
