"""The tests of this folder are in its pages; the programs beside them are run by name."""

from __future__ import annotations

collect_ignore_glob = ["*.py"]
