"""The metadata of the distribution; the settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ["engine", "monitor", "sshjobs"]

# What the optional abilities need.
RETRY = ["tenacity>=9"]
GRAPH = ["graphviz>=0.20"]
NODESETS = ["ClusterShell>=1.9"]

# What working on the project needs.
PYTEST = ["pytest>=9"]
TEST = [
    *PYTEST,
    *RETRY,
    *GRAPH,
    *NODESETS,
    "hypothesis>=6.100",
    "ipykernel>=6.29",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "pyte>=0.8.2",
    "setuptools>=77.0.3",  # one test builds the wheel, without the network
]
LINT = ["mypy>=1.15", "ruff>=0.11"]
# The other event loop that the tests know, see .ci/test-all.
UVLOOP = ["uvloop>=0.21"]
# The peers that the benchmarks compare with, where they are installed.
BENCH = ["asynciojobs==0.21.3", "trio>=0.27", *UVLOOP]
# The pages have the docstrings of the pytest plugins, which sphinx has to import.
DOCS = [*PYTEST, "furo>=2024.8", "sphinx>=8"]

setup(
    name="orchestrion",
    version="0.1.0",
    description="Orchestrate jobs, locally and over ssh, and watch them run in the terminal",
    long_description=Path(__file__).with_name("README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="the Orchestrion developers",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
    keywords="asyncio orchestration jobs dependencies ssh curses monitoring testbed",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Environment :: Console :: Curses",
        "Framework :: AsyncIO",
        "Framework :: Jupyter",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Clustering",
        "Topic :: System :: Distributed Computing",
        "Topic :: System :: Systems Administration",
        "Typing :: Typed",
    ],
    packages=find_packages(include=[*PACKAGES, *(f"{name}.*" for name in PACKAGES)]),
    package_data={name: ["py.typed"] for name in PACKAGES},
    entry_points={"console_scripts": ["orchestrion = monitor.cli:main"]},
    python_requires=">=3.11",
    # asyncssh before 2.24.1 lets a hostile server write outside the target of a recursive get.
    # urwid before 5 does not know all attributes of the screen, nor has it what tests it.
    install_requires=["asyncssh[bcrypt]>=2.24.1", "click>=8.1", "urwid>=5"],
    extras_require={
        "retry": RETRY,
        "graph": GRAPH,
        "nodesets": NODESETS,
        "test": TEST,
        "lint": LINT,
        "docs": DOCS,
        "bench": BENCH,
        "uvloop": UVLOOP,
    },
)
