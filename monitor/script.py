"""A program in a file, run in this process and to its eyes as ``python FILE`` would run it.

It becomes the module ``__main__``, and stays that: what it leaves to ``atexit``, to its threads and
to its pickles finds it there.
"""

from __future__ import annotations

import builtins
import io
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


class Script:
    """A program in a file, which may be run once.

    Args:
        path: of the file.
        arguments: the rest of its ``sys.argv``.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: str, arguments: Iterable[str] = ()) -> None:
        self.path = path
        self.arguments = list(arguments)
        with io.open_code(path) as file:
            self._source = file.read()
        self.module = ModuleType("__main__")
        """Where its names are, once it has run."""

    def run(self) -> BaseException | None:
        """Run it; return what it raised, SystemExit too, with the script's own traceback."""
        file = Path.cwd() / self.path
        place = str(file)
        vars(self.module).update(
            __annotations__={},
            __builtins__=builtins,
            __cached__=None,
            __file__=place,
            __loader__=SourceFileLoader("__main__", place),
        )
        sys.modules["__main__"] = self.module
        sys.argv = [self.path, *self.arguments]
        if not sys.flags.safe_path:
            sys.path[0] = str(file.resolve().parent)
        try:
            exec(compile(self._source, place, "exec", dont_inherit=True), vars(self.module))
        except BaseException as error:
            return without_first_frame(error)
        return None

    def all_of(self, kind: type[T]) -> dict[str, T]:
        """Return, by name, what it has of a kind at its top level."""
        return {name: it for name, it in vars(self.module).items() if isinstance(it, kind)}


def without_first_frame(error: BaseException) -> BaseException:
    """Return a caught exception without the frame that has caught it."""
    frames = error.__traceback__
    return error.with_traceback(frames.tb_next if frames is not None else None)
