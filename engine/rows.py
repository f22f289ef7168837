"""The rows of a run: what readers are told of each job before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .listing import label_of
from .node import Node
from .plan import Plan
from .text import safe_line
from .ticks import JobRow, unfrozen

if TYPE_CHECKING:
    from .job import AbstractJob

_LONGEST = 80

_row_to_be = unfrozen(JobRow)


def rows_of(plan: Plan) -> list[JobRow]:
    """Return the rows of an outermost plan, at every depth, having given each node its id."""
    return list(rows(plan.nodes, None))


def rows(nodes: Iterable[Node], parent: str | None, first: int = 1) -> Iterator[JobRow]:
    """Give each of `nodes` its id and yield its row, those of a nested engine after its own.

    Args:
        nodes: nodes of one plan.
        parent: the id of the nested engine whose plan that is, None for the outermost.
        first: what is the number of the first job of that plan.
    """
    nodes = list(nodes)
    prefix = "" if parent is None else f"{parent}."
    for node in nodes:
        number = str(node.order + first)
        node.id = prefix + number if prefix else number
    for node in nodes:
        yield _row(node, parent)
        if node.inner is not None:
            yield from rows(node.inner.nodes, node.id)


def _row(node: Node, parent: str | None) -> JobRow:
    job = node.job
    required, awaited, pool = job._required, job._after, job.pool
    row: JobRow = _row_to_be(
        node.id,
        label_of(job),
        type(job).__name__,
        parent,
        bool(job.forever),
        bool(job.critical),
        _ids(required) if required else (),
        _ids(awaited) if awaited else (),
        None if node.inner is None else job.jobs_window,
        None if pool is None else safe_line(pool.label or "pool", _LONGEST),
        _host(job),
    )
    row.__class__ = JobRow
    return row


def _host(job: Any) -> str | None:
    try:
        host = getattr(job, "host", None)
    except Exception:  # a property of the user
        return None
    return None if host is None else safe_line(host, _LONGEST)


def _ids(jobs: Iterable[AbstractJob]) -> tuple[str, ...]:
    nodes = [job._place for job in jobs if job._place is not None]
    if len(nodes) > 1:
        nodes.sort(key=attrgetter("order"))
    return tuple([node.id for node in nodes])
