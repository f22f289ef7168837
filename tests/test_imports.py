"""Who may know whom: the rules that keep the three packages apart, read from their source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import engine

ROOT = Path(__file__).parent.parent
# What each package may import beside the standard library and itself.
ALLOWED = {"engine": set(), "monitor": {"engine", "urwid"}, "sshjobs": {"engine", "asyncssh"}}
# What single files may import as well: click, pytest; libraries that are optional, inside functions
# only; and, in the whole of engine, what only the type checker sees.
SINGLE = {
    "monitor/cli.py": {"click"},
    "engine/testing/pytest_plugin.py": {"pytest"},
    "sshjobs/pytest_plugin.py": {"pytest"},
}
# What nobody of ours may import, as what it needs is not installed with us: pytest does.
LOADED_BY_OTHERS = {"engine.testing.pytest_plugin", "sshjobs.pytest_plugin"}
OPTIONAL = {"engine/drawing.py": {"graphviz"}, "sshjobs/hosts.py": {"ClusterShell"}}
TYPES_ONLY = {"engine": {"tenacity"}}
# The modules of engine that are public as such; of engine itself all that is in its __all__.
PUBLIC = {"text", "ticks", "testing"}
PURE = {f"engine/{name}.py" for name in ("graph", "node", "plan", "ticks", "text")}
IMPURE = {"asyncio", "time"}

SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for name in ALLOWED for path in (ROOT / name).rglob("*.py")
)


@dataclass
class Import:
    """One imported name, dotted, and where it stands."""

    name: str
    in_function: bool
    for_types: bool

    @property
    def top(self) -> str:
        return self.name.split(".", maxsplit=1)[0]


def imports(source: str, path: str) -> Iterator[Import]:
    """All that a file imports, at whatever depth."""
    tree = ast.parse(source)
    late = below(tree, lambda node: isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    typing = below(tree, lambda n: isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    for node in ast.walk(tree):
        for name in names(node, path.split("/")[:-1]):
            yield Import(name, node in late, node in typing)


def below(tree: ast.AST, accepts: Callable[[ast.AST], bool]) -> set[ast.AST]:
    return {inner for node in ast.walk(tree) if accepts(node) for inner in ast.walk(node)}


def names(node: ast.AST, package: list[str]) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def faults(source: str, path: str) -> Iterator[str]:
    """What the file imports and may not."""
    home = path.split("/", maxsplit=1)[0]
    allowed = {home, *ALLOWED[home], *SINGLE.get(path, ()), *sys.stdlib_module_names}
    for found in imports(source, path):
        optional = found.in_function and found.top in OPTIONAL.get(path, ())
        types = found.for_types and found.top in TYPES_ONLY.get(home, ())
        if found.top not in allowed and not optional and not types:
            yield f"{path} imports {found.name}"
        if any(found.name.startswith(name) for name in LOADED_BY_OTHERS):
            yield f"{path} imports {found.name}, which is for others to load"
        if home != "engine" and not is_public(found.name):
            yield f"{path} imports {found.name}, which engine does not offer"
        if path in PURE and found.top in IMPURE:
            yield f"{path} is to be pure and imports {found.name}"


def is_public(name: str) -> bool:
    """Whether engine offers this name to the other packages; true of all that is not engine's."""
    match name.split("."):
        case ["engine", first, *rest]:
            inner = first in PUBLIC and not any(part.startswith("_") for part in rest)
            return inner or (not rest and first in engine.__all__)
        case _:
            return True


@pytest.mark.parametrize("path", SOURCES)
def test_imports_only_what_it_may(path: str) -> None:
    assert list(faults((ROOT / path).read_text(encoding="utf-8"), path)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/job.py", "import urwid"),
        ("engine/job.py", "from monitor import model"),
        ("engine/job.py", "from tenacity import AsyncRetrying"),
        ("engine/job.py", "def draw():\n    import graphviz"),
        ("engine/drawing.py", "import graphviz"),
        ("engine/plan.py", "import asyncio"),
        ("engine/ticks.py", "def now():\n    from time import monotonic"),
        ("monitor/model.py", "import sshjobs.node"),
        ("monitor/model.py", "import click"),
        ("monitor/model.py", "from engine import _private"),
        ("monitor/model.py", "from engine._private import name"),
        ("sshjobs/jobs.py", "from monitor import EngineCurses"),
        ("sshjobs/node.py", "import ClusterShell"),
        ("monitor/model.py", "from engine.plan import Plan"),
        ("sshjobs/node.py", "from ..monitor import model"),
        ("engine/job.py", "import tenacity"),
        ("engine/testing/clock.py", "import pytest"),
        ("sshjobs/sandbox.py", "from .pytest_plugin import fleet"),
        ("engine/testing/__init__.py", "from engine.testing.pytest_plugin import sequencer"),
    ],
)
def test_a_breach_is_found(path: str, source: str) -> None:
    assert len(list(faults(source, path))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/drawing.py", "def draw():\n    from graphviz import Source"),
        ("engine/job.py", "if TYPE_CHECKING:\n    from tenacity import AsyncRetrying"),
        ("monitor/model.py", "from engine import Engine, text\nfrom engine.text import safe_line"),
        ("engine/listing.py", "import textwrap\nfrom . import text\nfrom engine.job import _x"),
        ("engine/testing/pytest_plugin.py", "import pytest"),
        ("sshjobs/pytest_plugin.py", "import pytest"),
        ("monitor/cli.py", "import click, urwid\nfrom engine import Engine"),
        ("sshjobs/hosts.py", "async def f():\n    from ClusterShell.NodeSet import NodeSet"),
    ],
)
def test_what_is_allowed_is_not(path: str, source: str) -> None:
    assert list(faults(source, path)) == []
