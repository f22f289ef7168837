"""What the tools share that run a graph again and again."""

from __future__ import annotations

from collections.abc import Callable

from engine import Engine
from engine.text import safe_repr


def new_engine(make_engine: Callable[[], Engine], before: Engine | None, user: str) -> Engine:
    """Return an engine that is not the one made before; a TypeError says what `user` takes."""
    takes = f"{user}() takes a function that makes an engine anew each time, as lambda: Engine(...)"
    if not callable(make_engine):
        raise TypeError(f"{takes}, not {safe_repr(make_engine, 80)}")
    engine: object = make_engine()
    if not isinstance(engine, Engine):
        raise TypeError(f"{takes}; this one returned {safe_repr(engine, 80)}")
    if engine is before:
        raise TypeError(f"{takes}; this one returned the same engine twice")
    return engine


def faults_found(engine: Engine, check: Callable[[Engine], object] | None, when: str) -> list[str]:
    """Return what `check` finds wrong; what else it raises gets a note that says `when`."""
    if check is None:
        return []
    try:
        check(engine)
    except AssertionError as error:
        return [str(error) or f"an assert of {safe_repr(check, 80)} failed"]
    except Exception as error:
        error.add_note(when)
        raise
    return []
