"""Pictures of an engine: text in the DOT language, a graphviz object, a file in SVG.

How to read one:

* a box is a job, a frame round boxes an engine that is a job, with its label on top;
* an arrow goes from what comes first to what waits for it: solid for `requires`, dashed for
  `after`;
* a dashed outline is a forever job; square corners and a bold outline a critical one, round corners
  and a thin outline one that may fail;
* the filling tells the state: white idle, yellow scheduled, blue running, green finished, red
  failed, sand cancelled, grey skipped;
* dotted, with a question mark: something that is required but is not in the engine.

The same engine in the same state gives the same text, and any label is drawn as it is written:
nothing in it is taken for a part of the language.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import graph as graphs
from .errors import EngineError
from .listing import inner_engine, label_of
from .text import safe_line
from .ticks import State

if TYPE_CHECKING:
    from os import PathLike

    from .engine import Engine
    from .job import AbstractJob

FILLINGS = {
    State.IDLE: "#ffffff",
    State.SCHEDULED: "#fff3b0",
    State.RUNNING: "#9fd3f5",
    State.FINISHED: "#a8e6a1",
    State.FAILED: "#ff8a75",
    State.CANCELLED: "#f1ddb3",
    State.SKIPPED: "#dcdcdc",
}
"""The colour of a job in each state: red, green, blue."""

_TINT = "50"
"""How much of it, of ff, fills the frame of an engine, so that the jobs stand out in it."""

_LONGEST_LINE = 80


def dot_format(engine: Engine) -> str:
    r"""Return a drawing of `engine` in the DOT language of graphviz.

    A job is called by its `graph_label()`, which may have several lines.  Nested engines are drawn
    as clusters, with what is in them, at every depth.

    >>> from engine import Engine, Job
    >>> async def step(): pass
    >>> a, b = Job(step, label="a"), Job(step, label='the "b"')
    >>> print(dot_format(Engine(a, b.requires(a))))
    digraph {
      compound=true rankdir=LR
      node [shape=box fontname="sans-serif"]
      graph [fontname="sans-serif"]
      "1" [label="a" style="filled" fillcolor="#ffffff" penwidth=1.5]
      "2" [label="the \"b\"" style="filled" fillcolor="#ffffff" penwidth=1.5]
      "1" -> "2"
    }
    """
    return "\n".join(
        [
            "digraph {",
            "  compound=true rankdir=LR",
            '  node [shape=box fontname="sans-serif"]',
            '  graph [fontname="sans-serif"]',
            *_Drawing(engine).lines(),
            "}",
        ]
    )


def graph(engine: Engine) -> Any:
    """Return the drawing as a ``graphviz.Source``, which shows itself in a notebook.

    Raises:
        ImportError: the Python library graphviz is not installed.
    """
    try:
        graphviz = importlib.import_module("graphviz")
    except ImportError as error:
        raise ImportError(
            "graph() needs the Python library graphviz: pip install graphviz "
            "(dot_format() and export_as_svgfile() do without it)"
        ) from error
    return graphviz.Source(dot_format(engine))


def export_as_svgfile(engine: Engine, filename: str | PathLike[str]) -> Path:
    """Draw `engine` into a file in SVG; return its path.

    The program ``dot`` is run directly, no shell is involved.

    Args:
        engine: the engine to draw.
        filename: the file to write; ``.svg`` is added to a name that does not end so.

    Raises:
        EngineError: the program ``dot`` is not installed, or failed.
        OSError: the file cannot be written.
    """
    path = Path(filename)
    if path.suffix.lower() != ".svg":
        path = path.with_name(path.name + ".svg")
    path.write_bytes(_svg(dot_format(engine)))
    return path


def _svg(source: str) -> bytes:
    dot = shutil.which("dot")
    if dot is None:
        raise EngineError(
            "drawing needs the program `dot`, which is not on PATH: install graphviz, "
            "for instance with `apt-get install graphviz` or `brew install graphviz`"
        )
    done = subprocess.run([dot, "-Tsvg"], input=source.encode(), capture_output=True, check=False)
    if done.returncode:
        raise EngineError(f"`dot` failed ({done.returncode}): {safe_line(done.stderr, 500)}")
    return done.stdout


class _Drawing:
    """One drawing in the making: what each job is called in it, and its lines."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ids = dict(_numbered(engine))
        self.strangers: dict[AbstractJob, str] = {}
        for job in list(self.ids):
            for need in graphs.needs_of(job):
                if need not in self.ids:
                    self.ids[need] = self.strangers[need] = f"?{len(self.strangers) + 1}"

    def lines(self) -> Iterator[str]:
        if self.engine.label is not None:
            yield f'  label="{_escaped(self.engine.graph_label())}" labelloc=t'
        yield from self._contents(self.engine, "  ")
        for job, number in self.strangers.items():
            yield f'  "{number}" [label="{_label(job)} ?" style="dotted"]'
        yield from self._edges()

    def _contents(self, engine: Engine, indent: str) -> Iterator[str]:
        for job in engine:
            inner = inner_engine(job)
            if inner is None:
                yield f'{indent}"{self.ids[job]}" [label="{_label(job)}" {_look(job)}]'
                continue
            yield f'{indent}subgraph "cluster_{self.ids[job]}" {{'
            yield f'{indent}  label="{_label(job)}" {_look(job, _TINT)}'
            if not len(inner):
                yield f'{indent}  "{self.ids[job]}.0" [label="(empty)" shape=plaintext]'
            yield from self._contents(inner, indent + "  ")
            yield f"{indent}}}"

    def _edges(self) -> Iterator[str]:
        for job in [job for job in self.ids if job not in self.strangers]:
            strong = set(job.required)
            for need in dict.fromkeys(graphs.needs_of(job)):
                looks = [] if need in strong else ["style=dashed"]
                if inner_engine(need) is not None and need not in self.strangers:
                    looks.append(f'ltail="cluster_{self.ids[need]}"')
                if inner_engine(job) is not None:
                    looks.append(f'lhead="cluster_{self.ids[job]}"')
                shown = f" [{' '.join(looks)}]" if looks else ""
                yield f'  "{self._end(need, -1)}" -> "{self._end(job, 0)}"{shown}'

    def _end(self, job: AbstractJob, which: int) -> str:
        """Return the box at which an edge ends: in an engine its first entry or last exit.

        DOT has no edges between clusters; it has edges between boxes that are cut at the frame.
        """
        inner = None if job in self.strangers else inner_engine(job)
        if inner is None:
            return self.ids[job]
        boxes = list(inner)
        if not boxes:
            return f"{self.ids[job]}.0"
        choose = graphs.exits if which else graphs.entries
        # An engine with a cycle has neither: any box will do to show it.
        return self._end((choose(boxes, graphs.needs_of) or boxes)[which], which)


def _numbered(engine: Engine, prefix: str = "") -> Iterator[tuple[AbstractJob, str]]:
    """Give every job at every depth with its number, ``2.1`` for the first job in the second."""
    for number, job in enumerate(engine, 1):
        yield job, f"{prefix}{number}"
        inner = inner_engine(job)
        if inner is not None:
            yield from _numbered(inner, f"{prefix}{number}.")


def _look(job: AbstractJob, tint: str = "") -> str:
    styles = ["filled"]
    if not job.critical:
        styles.append("rounded")
    if job.forever:
        styles.append("dashed")
    width = "1.5" if job.critical else "0.75"
    colour = FILLINGS[job.state] + tint
    return f'style="{",".join(styles)}" fillcolor="{colour}" penwidth={width}'


def _label(job: AbstractJob) -> str:
    try:
        return _escaped(job.graph_label())
    except Exception:  # a hook of the user must not break the drawing
        return _escaped(label_of(job))


def _escaped(text: str) -> str:
    r"""Return `text` as it stands between double quotes in DOT, its lines joined by ``\n``.

    A label of DOT knows three specials: the quote, the backslash (``\n``, ``\N``, ...) and, not so
    well known, the entities of HTML.
    """
    safe = (safe_line(line, _LONGEST_LINE) for line in str(text).splitlines())
    return r"\n".join(
        line.replace("&", "&amp;").replace("\\", r"\\").replace('"', r"\"") for line in safe
    )
