"""The rows of a run: what readers are told of each job before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .listing import label_of
from .plan import Node, Plan
from .text import safe_line
from .ticks import JobRow

if TYPE_CHECKING:
    from .job import AbstractJob

_LONGEST = 80


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
        node.id = f"{prefix}{node.order + first}"
    for node in nodes:
        yield _row(node, parent)
        if node.inner is not None:
            yield from rows(node.inner.nodes, node.id)


def _row(node: Node, parent: str | None) -> JobRow:
    job = node.job
    pool = job.pool
    return JobRow(
        id=node.id,
        label=label_of(job),
        kind=type(job).__name__,
        engine=parent,
        forever=bool(job.forever),
        critical=bool(job.critical),
        requires=_ids(job.required),
        after=_ids(job.awaited),
        window=getattr(job, "jobs_window", None),
        pool=None if pool is None else safe_line(pool.label or "pool", _LONGEST),
        host=_host(job),
    )


def _host(job: Any) -> str | None:
    try:
        host = getattr(job, "host", None)
    except Exception:  # a property of the user
        return None
    return None if host is None else safe_line(host, _LONGEST)


def _ids(jobs: Iterable[AbstractJob]) -> tuple[str, ...]:
    nodes = sorted((job._place for job in jobs if job._place), key=lambda node: node.order)
    return tuple(node.id for node in nodes)
