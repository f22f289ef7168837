"""What a job may say while it runs: `report`, `output` and `ready`.

They find the job by a context variable, so they work from any coroutine, task or thread that the
job has started; outside a job they do nothing.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .text import safe_line, safe_repr

if TYPE_CHECKING:
    from .conductor import Conductor
    from .node import Node

current: ContextVar[Node | None] = ContextVar("job", default=None)
"""The node of the job that runs in this context."""

_LINES = re.compile(r"\r\n|\n|\r")


def _performer() -> tuple[Node, Conductor] | tuple[None, None]:
    node = current.get()
    if node is None or node.plan is None:  # no job, or one whose run is over
        return None, None
    return node, node.plan.performer


def report(
    message: object = None,
    *,
    percent: float | None = None,
    done: float | None = None,
    total: float | None = None,
) -> None:
    """Tell how far the job is; each call is one `JobProgress` event.

    It knows the job that calls it, from a coroutine or a thread; outside of a job nothing happens.

    Args:
        message: what it is doing.
        percent: 0 to 100; what lies outside is brought inside.
        done: how much is done, out of `total`; the percentage follows from the two.
        total: how much there is to do.

    Raises:
        TypeError: one of the three is not a number.

    >>> from engine import Engine, Job, report
    >>> async def write(count):
    ...     for number in range(count):
    ...         report(f"writing block {number}", done=number, total=count)
    >>> Engine(Job(write, 3)).orchestrate()
    True
    """
    node, performer = _performer()
    if node is None or performer is None:
        return
    # Looked at whether anybody reads or not: who reads must not change what a job does.
    percent, done, total = (
        _number(name, value)
        for name, value in (("percent", percent), ("done", done), ("total", total))
    )
    if percent is None and done is not None and total:
        percent = 100.0 * done / total
    if percent is not None:
        percent = min(max(percent, 0.0), 100.0)
    if performer.run.tells:
        text = None if message is None else safe_line(message)
        performer.progress(node, percent, done, total, text)


def _number(name: str, value: Any) -> float | None:
    """Return a number as JSON knows it: what is infinite, too large or no number is left out."""
    if value is None:
        return None
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"report({name}=...) takes a number, not {safe_repr(value, 80)}")
    with suppress(OverflowError):  # of integers beyond all floats
        number = value if type(value) is int else float(value)
        return number if math.isfinite(number) else None
    return None


def output(text: str | bytes, stream: str = "stdout") -> None:
    """Tell what the job printed; each line of `text` is one `JobOutput` event.

    Like :func:`report`, from anywhere in a job; outside of one nothing happens.

    Args:
        text: one or several lines; what could drive a terminal is taken out.
        stream: ``"stdout"`` or ``"stderr"``.

    >>> from engine import Engine, Job, output
    >>> async def probe():
    ...     output("64 bytes from fit01")
    >>> Engine(Job(probe)).orchestrate()
    True
    """
    node, performer = _performer()
    if node is None or performer is None or not performer.run.tells:
        return
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    whole = _told(text)
    lines = _LINES.split(whole)
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    performer.output(node, safe_line(stream, 20), [safe_line(line) for line in lines])


def _told(text: object) -> str:
    """Return `text`; what is no text, though it should be, as one line that cannot fail."""
    return text if isinstance(text, str) else safe_line(text)


def ready() -> None:
    """Tell that the job is ready: those that wait for it, a forever job with `notify`, may start.

    A second call does nothing, nor does one outside of a job.

    >>> from engine import Engine, Job, ready
    >>> import asyncio
    >>> async def serve():
    ...     await asyncio.sleep(0)  # bind, listen...
    ...     ready()
    ...     await asyncio.Event().wait()
    >>> async def ask():
    ...     return "an answer"
    >>> server = Job(serve, forever=True, notify=True, label="server")
    >>> Engine(server, Job(ask, required=server)).orchestrate()
    True
    """
    node, performer = _performer()
    if node is not None and performer is not None:
        performer.ready(node)


def said_by(error: BaseException) -> str:
    """Return what a job said with the CancelledError it re-raised, if it said anything.

    A job that cannot undo what it began (a thread, a remote process) may tell so, by raising
    ``CancelledError("it may still run")`` when it is cancelled.
    """
    args: tuple[Any, ...] = error.args
    return safe_line(args[0], 200) if args and isinstance(args[0], str) else ""
