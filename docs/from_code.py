"""What these pages take from the code itself, so that the two cannot disagree.

``.. keys::`` is the table of the monitor's keys, ``.. states::`` that of what a state looks like,
``.. help::`` what ``orchestrion run --help`` says, ``.. promises::`` what the promises came to.
And a public name that no page describes is a warning, which ends the build.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from monitor.cli import run
from monitor.keys import KEYS
from monitor.states import LOOKS

WIDTH = 90
"""Of what the command says, in columns."""

_log = logging.getLogger(__name__)


class Keys(SphinxDirective):
    """The keys and what they do."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = ((" ".join(map(_literal, key.shown.split())), _escaped(key.help)) for key in KEYS)
        return self.parse_text_to_nodes(_table(["key", "what it does"], rows, "25 75"))


class States(SphinxDirective):
    """How the state of a job is shown."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        head = ["sign", "in ASCII", "word on the screen", "word in lines, JSON and filter"]
        rows = (
            (_literal(look.glyph), _literal(look.ascii), look.word, _literal(look.plain))
            for look in LOOKS
        )
        return self.parse_text_to_nodes(_table(head, rows, "10 15 35 40"))


class Help(SphinxDirective):
    """What the command says of itself."""

    def run(self) -> list[nodes.Node]:
        """Return its help, as it stands."""
        with click.Context(run, info_name="orchestrion run", max_content_width=WIDTH) as context:
            text = run.get_help(context)
        return [nodes.literal_block(text, text, language="text")]


class Promises(SphinxDirective):
    """What the promises came to."""

    def run(self) -> list[nodes.Node]:
        """Return the table; a word instead if there is none."""
        file = Path(__file__).with_name("promises.csv")
        self.env.note_dependency(str(file))
        if not file.exists():
            return self.parse_text_to_nodes("*They have not been tried in full yet.*")
        with file.open(newline="", encoding="utf-8") as lines:
            head, *rows = csv.reader(lines)
        escaped = ([_escaped(cell) for cell in row] for row in rows)
        return self.parse_text_to_nodes(_table(head, escaped, "5 50 12 20 13"))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], widths: str) -> str:
    return "\n".join(
        [
            ".. list-table::",
            "   :header-rows: 1",
            f"   :widths: {widths}",
            "",
            *(line for row in [head, *rows] for line in _row(row)),
        ]
    )


def _row(row: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(row):
        yield f"   {' ' if number else '*'} - {text}"


def _literal(text: str) -> str:
    return f"``{text}``"


def _escaped(text: str) -> str:
    return re.sub(r"([*`|_\\])", r"\\\1", text)


def tell_what_is_missing(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that has no place in the pages."""
    known = env.get_domain("py").data["objects"]
    for module in app.config.public_modules:
        for name in getattr(import_module(module), "__all__", ()):
            if f"{module}.{name}" not in known:
                _log.warning("no page describes %s.%s", module, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make all of it known to sphinx."""
    app.add_config_value("public_modules", [], "env")
    app.add_directive("help", Help)
    app.add_directive("keys", Keys)
    app.add_directive("states", States)
    app.add_directive("promises", Promises)
    app.connect("env-check-consistency", tell_what_is_missing)
    return {"parallel_read_safe": True}
