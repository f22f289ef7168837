"""What is shipped: the three packages, their metadata, and an engine that needs nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ["engine", "monitor", "sshjobs"]
SHIPPED_WITH = ["LICENSE", "README.rst", "pyproject.toml", "setup.py"]
IGNORED = shutil.ignore_patterns("__pycache__")

# What a user without asyncssh and urwid sees: no site-packages (-S), no environment (-I).
BARE = """
import sys
sys.path.insert(0, sys.argv[1])
from engine import Engine, Job

async def double(x):
    return 2 * x

first = Job(double, 21, label="first")
second = Job(double, first, label="second")
assert Engine(first, second).orchestrate()
print(second.result(), *sorted({"asyncssh", "urwid", "click"} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is written into the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SHIPPED_WITH:
        shutil.copy(ROOT / name, source)
    for name in [*PACKAGES, "tests"]:
        shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(target), str(source)], check=True)
    (built,) = target.iterdir()
    return built


def test_the_command_is_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        text = archive.read(name).decode()
    assert text.split("\n")[:2] == ["[console_scripts]", "orchestrion = monitor.cli:main"]


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
    }
    assert shipped == sources | {f"{name}/py.typed" for name in PACKAGES}


def test_the_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "orchestrion"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["License-File"] == "LICENSE"
    required = metadata.get_all("Requires-Dist", [])
    always = {line for line in required if "extra ==" not in line}
    assert always == {"asyncssh[bcrypt]>=2.24.1", "click>=8.1", "urwid>=5"}


def test_engine_works_where_nothing_is_installed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "engine", tmp_path / "engine", ignore=IGNORED)
    said = subprocess.check_output(
        [sys.executable, "-I", "-S", "-c", BARE, str(tmp_path)], text=True, stderr=subprocess.STDOUT
    )
    assert said == "84\n"
