"""The monitor: shows a run of :mod:`engine` while it runs, on a terminal or in plain lines.

>>> from engine import Job
>>> from monitor import EngineCurses
>>> async def load(): pass
>>> EngineCurses(Job(load, label="load"), ui="none").orchestrate()
True
"""

from __future__ import annotations

from .curses import EngineCurses, attach

__all__ = ["EngineCurses", "attach"]
