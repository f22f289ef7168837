"""Sets of host names in short: ``"fit[01-12],gw"``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine import BadOption
from engine.text import safe_repr

_PART = re.compile(r"[^\s,\[\]]*(?:\[[^\[\]]*\][^\s,\[\]]*)*")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:/(\d+))?)?")
MOST = 100_000
"""More hosts than that in one set are taken for a slip."""


def expand(hosts: str) -> list[str]:
    """Return the names of a node set, each once, in order.

    Names are separated by commas or blanks; a name can hold ranges in brackets, with a step after a
    slash, and keeps its leading zeros.  With ClusterShell, all of its notation is understood.

    Raises:
        BadOption: this is not a node set.

    >>> expand("fit[08-10],gw")
    ['fit08', 'fit09', 'fit10', 'gw']
    >>> expand("rack[1-2]-node[0-4/2]")
    ['rack1-node0', 'rack1-node2', 'rack1-node4', 'rack2-node0', 'rack2-node2', 'rack2-node4']
    """
    if not isinstance(hosts, str):
        raise _bad(hosts, "give text; for a list of names, write [SshNode(name) for name in ...]")
    if not hosts.strip():
        raise _bad(hosts, "give names, as in fit[01-12],gw")
    special = re.search(r"[@!&^%]", hosts)
    if special is None:
        return list(dict.fromkeys(_expand_plain(hosts)))
    try:
        # An optional library: without it there are no groups and no set operators.
        from ClusterShell.NodeSet import NodeSet, NodeSetException
    except ImportError:
        advice = f"{special[0]!r} needs ClusterShell (pip install ClusterShell)"
        raise _bad(hosts, advice) from None
    try:
        return [str(name) for name in NodeSet(hosts)]
    except NodeSetException as error:
        raise _bad(hosts, str(error)) from None


def _bad(hosts: object, advice: str) -> BadOption:
    return BadOption(f"not a node set: {safe_repr(hosts, 80)}: {advice}", "hosts", hosts)


def _expand_plain(hosts: str) -> Iterator[str]:
    place = 0
    left = MOST
    while place < len(hosts):
        if hosts[place] in ", \t\n":
            place += 1
            continue
        part = _PART.match(hosts, place)
        if part is None or not part[0]:
            raise _bad(hosts, f"a stray {hosts[place]!r}")
        place = part.end()
        for name in _product(hosts, re.split(r"\[([^\[\]]*)\]", part[0])):
            left -= 1
            if left < 0:
                raise _bad(hosts, f"more than {MOST} hosts")
            yield name


def _product(hosts: str, pieces: list[str]) -> Iterator[str]:
    """Yield the names that `pieces` stand for: text, range, text, range, ..., text."""
    if len(pieces) == 1:
        yield pieces[0]
        return
    for number in _numbers(hosts, pieces[1]):
        for rest in _product(hosts, pieces[2:]):
            yield f"{pieces[0]}{number}{rest}"


def _numbers(hosts: str, ranges: str) -> Iterator[str]:
    for text in ranges.split(","):
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise _bad(hosts, f"{text!r} is not a range")
        first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
        if int(first) > int(last) or step == 0:
            raise _bad(hosts, f"the range {text!r} is empty")
        for number in range(int(first), int(last) + 1, step):
            yield f"{number:0{len(first) if first.startswith('0') else 0}d}"
