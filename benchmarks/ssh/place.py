"""Where the contenders work: servers on many loopback addresses, and files to copy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

MEGABYTE = 1_000_000
BIG = 100 * MEGABYTE
"""Bytes of the big file, and of the big output."""
FILES = 1_000
FILE_SIZE = 2_000
LINES = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a contender has to know.

    Attributes:
        addresses: of the hosts.
        port: of all hosts.
        gateway_port: of the gateway, on 127.0.0.1.
        username: of the login, everywhere.
        key: the private key.
        known_hosts: the file that knows all of them.
        here: the folder with ``big``, a file, and ``many``, a folder of files.
        there: a folder over there, with ``big`` too.
        target: where this contender may write; its parent exists, it does not.
    """

    addresses: list[str]
    port: int
    gateway_port: int
    username: str
    key: str
    known_hosts: str
    here: str
    there: str
    target: str

    @property
    def host(self) -> str:
        """The host of those who need but one."""
        return self.addresses[0]

    @property
    def files(self) -> list[str]:
        """The names in the folder ``many``."""
        return sorted(path.name for path in Path(self.here, "many").iterdir())

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` was called on."""
        return cls(**json.loads(text))
