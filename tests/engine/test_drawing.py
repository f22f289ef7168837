"""Drawings: valid whatever the labels, true to the graph, the same every time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import graphviz
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import AbstractJob, Engine, EngineError, Job, State
from engine.drawing import FILLINGS
from engine.text import safe_line

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="needs dot, of graphviz")
SVG = "{http://www.w3.org/2000/svg}"


async def step() -> None:
    """Do nothing."""


async def boom() -> None:
    raise ValueError


def job(label: str | None = None, **options: Any) -> Job:
    return Job(step, label=label, **options)


def drawn(engine: Engine, form: str) -> str:
    """Return the drawing as `dot` makes it, which must find nothing to complain about."""
    source = engine.dot_format()
    done = subprocess.run(
        ["dot", f"-T{form}"], input=source.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b""), source
    return done.stdout.decode()


def boxes(engine: Engine) -> dict[str, list[str]]:
    """Return the lines of text in each box and frame of the picture, by its name in DOT."""
    root = ET.fromstring(drawn(engine, "svg"))
    found = {}
    for group in root.iter(f"{SVG}g"):
        if group.get("class") in {"node", "cluster"}:
            title = group.findtext(f"{SVG}title") or ""
            lines = [text.text or "" for text in group.iter(f"{SVG}text")]
            found[title] = [line.replace("\xa0", " ") for line in lines]
    return found


def edges(engine: Engine) -> set[tuple[str, str, str, str, str]]:
    """Return (tail, head, style, tail's frame, head's frame) of each edge."""
    graph = json.loads(drawn(engine, "dot_json"))
    names = [thing["name"] for thing in graph["objects"]]
    return {
        (
            names[edge["tail"]],
            names[edge["head"]],
            edge.get("style", ""),
            edge.get("ltail", ""),
            edge.get("lhead", ""),
        )
        for edge in graph.get("edges", [])
    }


def node_line(engine: Engine, number: str) -> str:
    return next(line for line in engine.dot_format().splitlines() if f'"{number}" [' in line)


NASTY = [
    'quotes " and \\" and \\\\"',
    "ends in a backslash \\",
    r"\n \N \G \l \r \E \T \H",
    "<b>bold</b> & &lt; &amp;lt; &#34; <&>",
    "}; digraph x { a -> b }",
    'x" shape="circle',
    "日本語 ünï → 👍",
    "/* comment */ // # ",
    "subgraph",
    "%s {} $(touch x) `y`",
]


@needs_dot
@settings(max_examples=10)
@given(st.lists(st.text(), min_size=1, max_size=30))
@example(NASTY)
def test_every_label_is_drawn_as_it_is_written(labels: list[str]) -> None:
    outer = [*(job(label) for label in labels), Engine(job(), label=labels[0])]
    engine = Engine(*outer, label=labels[-1])
    found = boxes(engine)
    for number, each in enumerate(outer, 1):
        name = f"cluster_{number}" if isinstance(each, Engine) else str(number)
        told = "".join(found[name])
        assert told == "".join(safe_line(line, 80) for line in str(each.label).splitlines())


@needs_dot
def test_a_label_of_a_graph_may_have_lines_and_a_hook_may_fail() -> None:
    class Shown(AbstractJob):
        def __init__(self, shown: Any, **options: Any) -> None:
            super().__init__(**options)
            self.shown = shown

        async def corun(self) -> None:
            """Do nothing."""

        def graph_label(self) -> str:
            if isinstance(self.shown, Exception):
                raise self.shown
            return str(self.shown)

    engine = Engine(Shown("two\nli\x07nes"), Shown(RuntimeError(), label="plain"), job())
    assert boxes(engine) == {"1": ["two", "lines"], "2": ["plain"], "3": ["NOLABEL"]}


@needs_dot
def test_requires_is_solid_and_after_is_dashed() -> None:
    a, b, c, d = job("a"), job("b"), job("c"), job("d")
    engine = Engine(a, b.requires(a), c.after(a), d.requires(b).after(b))
    assert edges(engine) == {
        ("1", "2", "", "", ""),
        ("1", "3", "dashed", "", ""),
        ("2", "4", "", "", ""),
    }


@needs_dot
def test_nested_engines_are_frames_and_edges_end_at_them() -> None:
    a, b, c, d = job("a"), job("b"), job("c"), job("d")
    deep = Engine(job("deep"), label="deepest")
    inner = Engine(c.requires(b), b, deep, label="inner", required=a)
    engine = Engine(a, inner, d.after(inner))
    assert boxes(engine) == {
        "1": ["a"],
        "cluster_2": ["inner"],
        "2.1": ["c"],
        "2.2": ["b"],
        "cluster_2.3": ["deepest"],
        "2.3.1": ["deep"],
        "3": ["d"],
    }
    assert edges(engine) == {
        ("1", "2.2", "", "", "cluster_2"),
        ("2.2", "2.1", "", "", ""),
        ("2.3.1", "3", "dashed", "cluster_2", ""),
    }


@needs_dot
def test_an_empty_engine_can_be_drawn_and_pointed_at() -> None:
    assert boxes(Engine()) == {}
    empty = Engine(label="empty")
    engine = Engine(empty, Engine(label="too", required=empty))
    assert edges(engine) == {("1.0", "2.0", "", "cluster_1", "cluster_2")}


@needs_dot
def test_what_cannot_run_can_be_drawn() -> None:
    """Looking at the graph is how one finds out why it cannot."""
    a, b, stray = job("a"), job("b"), job("stray")
    inner = Engine(a.requires(b), b.requires(a, stray))
    engine = Engine(inner, job("after", required=inner))
    assert edges(engine) == {
        ("1.1", "1.2", "", "", ""),
        ("1.2", "1.1", "", "", ""),
        ("?1", "1.2", "", "", ""),
        ("1.2", "2", "", "cluster_1", ""),
    }
    assert boxes(engine)["?1"] == ["stray ?"]


@needs_dot
def test_a_stray_engine_is_a_box_and_what_it_needs_itself_is_not_drawn() -> None:
    stray = Engine(job("a"), label="stray", required=job("far away"))
    engine = Engine(job("b", required=stray))
    assert edges(engine) == {("?1", "1", "", "", "")}


def test_forever_and_critical_show() -> None:
    engine = Engine(job(), job(forever=True), job(critical=False), Engine(forever=True))
    assert 'style="filled" ' in node_line(engine, "1")
    assert 'style="filled,dashed" ' in node_line(engine, "2")
    assert 'style="filled,rounded" ' in node_line(engine, "3")
    assert "penwidth=1.5" in node_line(engine, "1")
    assert "penwidth=0.75" in node_line(engine, "3")
    assert 'label="NOLABEL" style="filled,dashed"' in engine.dot_format()


def test_states_show_after_a_run() -> None:
    bad = Job(boom, critical=False)
    bus = Job(step, forever=True)
    engine = Engine(job(), bad, job(required=bad, critical=False), bus, Engine(job()))
    assert all(FILLINGS[State.IDLE] in node_line(engine, n) for n in ("1", "2", "3", "4", "5.1"))
    assert engine.orchestrate()
    assert FILLINGS[State.FINISHED] in node_line(engine, "1")
    assert FILLINGS[State.FAILED] in node_line(engine, "2")
    assert FILLINGS[State.SKIPPED] in node_line(engine, "3")
    assert FILLINGS[State.FINISHED] in node_line(engine, "5.1")
    assert set(FILLINGS) == set(State)
    assert len(set(FILLINGS.values())) == len(State)


def test_the_same_engine_gives_the_same_text() -> None:
    """Also in another process, where sets have another order."""
    code = (
        "from engine import Engine, Job\n"
        "async def step(): pass\n"
        "jobs = [Job(step, label=str(n)) for n in range(40)]\n"
        "for n, job in enumerate(jobs): job.requires(jobs[:n:3]).after(jobs[:n:5])\n"
        "print(Engine(*jobs, Engine(Job(step), required=jobs)).dot_format())\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


# --- files and objects


@needs_dot
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain.svg", "plain.svg"),
        ("plain", "plain.svg"),
        ("v1.2", "v1.2.svg"),
        ("UPPER.SVG", "UPPER.SVG"),
        ("a b;touch c$(touch d)'\".svg", "a b;touch c$(touch d)'\".svg"),
        ("-Tpng", "-Tpng.svg"),
    ],
)
def test_export_writes_one_file_in_svg(tmp_path: Path, name: str, written: str) -> None:
    Engine(job("the label")).export_as_svgfile(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [written]
    root = ET.parse(tmp_path / written).getroot()
    assert root.tag == f"{SVG}svg"
    assert "the label" in "".join(root.itertext())


@needs_dot
def test_export_to_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Engine(job()).export_as_svgfile(str(tmp_path / "missing" / "x.svg"))


def test_without_dot_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"`dot`.*not on PATH.*install graphviz"):
        Engine(job()).export_as_svgfile(tmp_path / "x.svg")
    assert not (tmp_path / "x.svg").exists()


def test_a_dot_that_fails_is_told_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dot"
    program.write_text(f"#!{shutil.which('sh')}\nprintf 'no\\033[31m way\\n' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"`dot` failed \(3\): no way"):
        Engine(job()).export_as_svgfile(tmp_path / "x.svg")
    assert not (tmp_path / "x.svg").exists()


@needs_dot
def test_graph_shows_itself_in_a_notebook() -> None:
    engine = Engine(job("a"))
    graph = engine.graph()
    assert isinstance(graph, graphviz.Source)
    assert graph.source.rstrip() == engine.dot_format()
    assert "image/svg+xml" in graph._repr_mimebundle_()


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match="pip install graphviz"):
        Engine(job()).graph()
    assert Engine(job("a")).dot_format()
