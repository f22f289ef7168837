"""The place of one job in one run: what it waits for, how far it got, what became of it."""

from __future__ import annotations

from enum import Enum, auto
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import name_of
from .ticks import State

if TYPE_CHECKING:
    from .plan import Plan

T = TypeVar("T")

IDLE, SCHEDULED, RUNNING = State.IDLE, State.SCHEDULED, State.RUNNING


class Stop(Enum):
    """Who asked a job to stop."""

    HAND = auto()
    RUN = auto()
    TIMEOUT = auto()


class Rare(Generic[T]):
    """An attribute that most nodes never set: it takes room in those only that do.

    Each that a node has takes time to set, and the garbage collector looks at it again and again.
    """

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type[Node], name: str) -> None:
        self.name = name

    def __get__(self, node: Node, owner: type[Node]) -> T:
        if node.rare is None:
            return self.default
        value: T = node.rare.get(self.name, self.default)
        return value

    def __set__(self, node: Node, value: T) -> None:
        if node.rare is None:
            if value is self.default:
                return
            node.rare = {}
        node.rare[self.name] = value


class Node:
    """The place of one job in one run: what it waits for, how far it got, what became of it.

    Attributes:
        job: the job, of which the plan reads `forever`, `critical`, `notify` and `pool`.
        plan: the plan it is part of.
        order: its place in the order of insertion, from 0.
        id: how ticks call it; empty as long as nobody reads them.
        inner: the plan of a nested engine, else None.
        state: see :data:`engine.plan.TRANSITIONS`.
        reason: why it is in that state, where that needs saying.
        unmet: how many of its requirements are not met.
        required_by: nodes that start once it is finished (None: there is none).
        followed_by: nodes that start once it is over.
        is_ready: for those that wait for a forever job.
        attempt: how many times it was started.
        stop: who asked it to stop, and why; None if nobody did.
        is_blamed: it was skipped because of another job, not because the run ended.
        is_abandoned: it was told to stop, and did not in time.
        is_shut: its coshutdown has been called.
        result, exception: what it returned, what it raised.
        traceback: that of the exception, as it was raised.
        began_before: it was started in an earlier attempt of its engine, by another node.
        started_at, ended_at: when, on the performer's clock.
        handle: for the performer; unknown to the plan.
        rare: those of all these that are `Rare`, as far as they were set.
    """

    __slots__ = (
        "attempt",
        "ended_at",
        "followed_by",
        "handle",
        "id",
        "inner",
        "job",
        "order",
        "plan",
        "rare",
        "required_by",
        "result",
        "started_at",
        "state",
        "unmet",
    )

    reason = Rare("")
    stop: Rare[tuple[Stop, str] | None] = Rare(None)
    is_ready = Rare(False)
    is_blamed = Rare(False)
    is_abandoned = Rare(False)
    is_shut = Rare(False)
    began_before = Rare(False)
    exception: Rare[BaseException | None] = Rare(None)
    traceback: Rare[TracebackType | None] = Rare(None)

    def __init__(self, job: Any, plan: Plan, order: int) -> None:
        self.job = job
        self.plan: Plan | None = plan
        self.order = order
        self.id = ""
        self.inner: Plan | None = None
        self.state = IDLE
        self.unmet = 0
        self.required_by: list[Node] | None = None
        self.followed_by: list[Node] | None = None
        self.attempt = 0
        self.result: Any = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.handle: Any = None
        self.rare: dict[str, Any] | None = None

    @property
    def is_alive(self) -> bool:
        """True from its first start to its end."""
        return self.state is RUNNING or (self.state is SCHEDULED and self.attempt > 0)

    @property
    def is_passive(self) -> bool:
        """True for what makes no progress by itself: forever jobs and nested engines."""
        return self.inner is not None or bool(self.job.forever)

    def __repr__(self) -> str:
        return f"<Node {self.order} {name_of(self.job)} {self.state}>"
