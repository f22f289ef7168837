"""What is typed after ``/``: terms that a job must all match to be shown.

====================  =============================================================
term                  a job matches if
====================  =============================================================
``name~node1``        its label contains ``node1``
``name:boot``         its label begins with ``boot``
``state:failed``      the word of its state begins with ``failed``
``host~lab``          its host contains ``lab``; likewise ``kind`` and ``id``
``node1``             the same as ``name~node1``
====================  =============================================================

Upper and lower case are the same.  Quotes keep spaces together: ``name~"load node"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from engine import State

from .records import JobLine

FIELDS: dict[str, Callable[[JobLine], str]] = {
    "name": lambda line: line.label,
    "state": lambda line: line.look.plain.value,
    "host": lambda line: line.row.host or "",
    "kind": lambda line: line.row.kind,
    "id": lambda line: line.id,
}
"""What can be asked for."""

_TERM = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_ASKED = re.compile(rf"({'|'.join(FIELDS)})([:~])(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Term:
    """One term: field, ``:`` (begins with) or ``~`` (contains), and what, in lower case."""

    field: str
    operator: str
    wanted: str

    def fits(self, value: str) -> bool:
        """Tell whether a value of its field is one that it asks for."""
        value = value.lower()
        return value.startswith(self.wanted) if self.operator == ":" else self.wanted in value

    def matches(self, line: JobLine) -> bool:
        """Tell whether a job is one that it asks for."""
        return self.fits(FIELDS[self.field](line))


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms that are and-ed; none of them lets everything through."""

    terms: tuple[Term, ...] = ()

    def matches(self, line: JobLine) -> bool:
        """Tell whether a job matches all terms."""
        return all(term.matches(line) for term in self.terms)

    @property
    def problem(self) -> str:
        """What can never match, in one line, or empty."""
        for term in self.terms:
            if term.field == "state" and not any(map(term.fits, State)):
                return f"no state {term.wanted!r}, there are: {', '.join(State)}"
        return ""


def parse(text: str) -> Filter:
    """Return the filter that `text` says; any text says one, as it is read while it is typed.

    >>> [term.wanted for term in parse('state:failed "load node"').terms]
    ['failed', 'load node']
    """
    return Filter(tuple(_term(found.group()) for found in _TERM.finditer(text)))


def _term(text: str) -> Term:
    text = text.replace('"', "").lower()
    asked = _ASKED.fullmatch(text)
    return Term(*asked.groups()) if asked else Term("name", "~", text)
