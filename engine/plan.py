"""The plan of a run: outcomes in, instructions out, no I/O, no clock, no task.

Theory of operation
===================

A plan decides, and does nothing else.  It is told what happened (`settle`: a job ended; `ready`;
`postpone` and `due`: a retry; `cancel`, `stop`: somebody wants an end; `add`, `link`: the graph
grew) and answers with a list of instructions for whoever performs it (:mod:`engine.conductor`):
start this job, stop that one, tell this change of state, the run is over.  Times come in as
numbers.  So each decision can be tested as a plain function call.

Each job has a :class:`engine.node.Node`, which counts in `unmet` the requirements that are not met
yet and lists those that wait for it.  When a job ends, only these are looked at: the cost of a
whole run is linear in jobs and requirements.  A node whose count falls to zero is *scheduled*: it
enters the queue of those ready to start, ordered by insertion.  `_dispatch` starts from that queue
as long as the window has room, passing over those whose pool is full.  A node that runs holds a
slot of the window, unless it is forever, and one of its pool, if it has one.

The states and their legal transitions are the table `TRANSITIONS`.  A node is *alive* from its
first start to its end, while it waits for its next attempt too: there is a task for it.

A run ends in one of two ways.  When no job that is not forever is left *open*, the plan asks the
performer for a moment (DRAIN), so that those who listen get the last message, and then stops for
the reason `done`.  Anything else that ends it - a critical failure, the timeout, a cancellation, a
signal - stops at once.  To stop is the same in all cases: what never started is skipped, what is
alive is told to stop; once nothing is alive any more the plan is over.  Only a plan whose performer
is gone in its middle does not end: it is told so (`forsake`), and is over.

A nested engine is one node here and a plan of its own (`Node.inner`).  The two meet only where the
nested engine never starts, and everything in it is skipped, or is forsaken.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import Any, TypeAlias

from .errors import name_of
from .node import Node, Stop
from .pool import Pool
from .ticks import State, StopReason

IDLE, SCHEDULED, RUNNING = State.IDLE, State.SCHEDULED, State.RUNNING
FINISHED, FAILED = State.FINISHED, State.FAILED
CANCELLED, SKIPPED = State.CANCELLED, State.SKIPPED

TRANSITIONS: dict[State, frozenset[State]] = {
    IDLE: frozenset({SCHEDULED, SKIPPED, CANCELLED}),
    SCHEDULED: frozenset({RUNNING, SKIPPED, CANCELLED}),
    RUNNING: frozenset({FINISHED, FAILED, CANCELLED, SCHEDULED}),
    FINISHED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
    SKIPPED: frozenset(),
}
"""From each state, the states that may follow.

A job leaves ``running`` for ``scheduled`` when it is to be tried again; one that waits for its next
attempt may still be cancelled, and is never skipped, as it did start.
"""

BURST = 256
"""So many jobs are started before the loop gets a turn, so that a large graph blocks nothing."""


class Do(Enum):
    """What the performer is to do, but for starts; the rest of an instruction is in brackets."""

    STOP = auto()
    """(node, reason): ask it to stop; it is settled when it has ended."""
    TELL = auto()
    """(node, old, new, reason, attempt, retry_in): its state has changed."""
    READY = auto()
    """(node): it is ready."""
    STOPPING = auto()
    """(reason,): the run begins to stop."""
    DRAIN = auto()
    """(): only forever jobs are left; let the loop turn, then call `drained`."""
    MORE = auto()
    """(): more can start; let the loop turn, then call `dispatch`."""
    WAKE = auto()
    """(wake,): a slot of a pool is free, call `wake`."""
    OVER = auto()
    """(): nothing is alive any more and nothing will start."""
    ADDED = auto()
    """(rows,): tell of jobs that were added; from those who add them, as the plan knows no rows."""


TELL = Do.TELL  # looked up for every job


Instruction: TypeAlias = "Node | tuple[Any, ...]"
"""A node: start it, or its next attempt.  Anything else: a `Do` and what goes with it."""


class ReadyQueue:
    """Nodes that may start, given out in the order of insertion.

    Most come in that order already; these go through a deque at constant cost, only the others
    through a heap.
    """

    __slots__ = ("in_order", "out_of_order")

    def __init__(self) -> None:
        self.in_order: deque[Node] = deque()
        self.out_of_order: list[tuple[int, Node]] = []

    def push(self, node: Node) -> None:
        """Put `node` in."""
        line = self.in_order
        if not line or line[-1].order < node.order:
            line.append(node)
        else:
            heapq.heappush(self.out_of_order, (node.order, node))

    def first(self) -> Node | None:
        """Return the node that comes next, without taking it; None if there is none.

        Those that are no longer scheduled (cancelled, skipped meanwhile) are dropped on the way.
        """
        line, heap = self.in_order, self.out_of_order
        while line and line[0].state is not SCHEDULED:
            line.popleft()
        while heap and heap[0][1].state is not SCHEDULED:
            heapq.heappop(heap)
        if not heap:
            return line[0] if line else None
        return heap[0][1] if not line or heap[0][0] < line[0].order else line[0]

    def take(self) -> Node | None:
        """Take out the node that comes next and return it; None if there is none."""
        node, line = self.first(), self.in_order
        if line and line[0] is node:
            line.popleft()
        elif node is not None:
            heapq.heappop(self.out_of_order)
        return node

    def __iter__(self) -> Iterator[Node]:
        yield from (node for node in self.in_order if node.state is SCHEDULED)
        yield from (node for _, node in sorted(self.out_of_order) if node.state is SCHEDULED)


class Plan:
    """The state machine of one engine's run; see the theory at the top of the module.

    Args:
        window: how many jobs may run at once, forever ones not counted; None: no bound.
        keep_going: a critical failure skips what depends on it, and stops nothing.
        tells: give TELL instructions; without a reader they would be made for nothing.
        wake: what a pool is to call when one of its slots is free.
        is_endless: holding nothing but forever jobs is no reason to end.
    """

    def __init__(
        self,
        *,
        window: int | None = None,
        keep_going: bool = False,
        tells: bool = False,
        wake: Callable[[], None] = lambda: None,
        is_endless: bool = False,
    ) -> None:
        self.nodes: list[Node] = []
        self.window = window
        self.keep_going = keep_going
        self.tells = tells
        self.wake = wake
        self.is_endless = is_endless
        self.performer: Any = None
        """Who performs the instructions; unknown to the plan."""
        self.has_begun = False
        self.stopping: StopReason | None = None
        self.is_over = False
        self.open = 0
        """How many nodes that are not forever are not over."""
        self.alive = 0
        """How many nodes were started and are not over."""
        self.passive = 0
        """How many of those alive are forever jobs or nested engines."""
        self.used = 0
        """How many run that are not forever: so many slots of the window are taken."""
        self.spoilt = 0
        """How many nodes ended in a way that makes the verdict False."""
        self.stop_text = ""
        """Why it stops, in words."""
        self._drains = 0
        self._more = False
        self._newcomers: list[Node] = []
        # Those ready to start: the ordinary ones, and those that need a slot of a pool or, beside
        # others that do, none of the window: by pool, and whether they are counted in the window.
        self._line = ReadyQueue()
        self._others: dict[tuple[Pool | None, bool], ReadyQueue] = {}

    # -- the graph ---------------------------------------------------------------------------

    def enter(self, jobs: Iterable[Any]) -> list[Node]:
        """Make a node for each of `jobs`, the first of this plan, and return them."""
        self.nodes = [Node(job, self, order) for order, job in enumerate(jobs)]
        return self.nodes

    def node(self, job: Any) -> Node:
        """Return a new node for `job`; `add` it once it is linked if the run has begun."""
        node = Node(job, self, len(self.nodes))
        self.nodes.append(node)
        if self.has_begun and not job.forever:
            self.open += 1
        return node

    def link(self, node: Node, needs: Iterable[Node], requires: bool) -> None:
        """Make `node` wait for `needs` to be finished (`requires`) or over; none is over yet."""
        for need in needs:
            node.unmet += 1
            waiting = need.required_by if requires else need.followed_by
            if waiting is not None:
                waiting.append(node)
            elif requires:
                need.required_by = [node]
            else:
                need.followed_by = [node]

    def link_late(self, node: Node, need: Node, requires: bool, now: float) -> list[Instruction]:
        """As `link`, while the run goes on and `need` may be over already."""
        out: list[Instruction] = []
        if need.job.forever and need.is_ready:
            pass
        elif not need.state.is_over:
            self.link(node, [need], requires)
        elif requires and (need.state is not FINISHED or need.job.forever):
            self._skip([node], self._blame(need), now, out)
            self._dispatch(out)
            self._finish_up(out, now)
        return out

    def unlink(self, node: Node, need: Node, requires: bool, now: float) -> list[Instruction]:
        """Take back what `link` did, while the run goes on."""
        out: list[Instruction] = []
        waiting = need.required_by if requires else need.followed_by
        if waiting and node in waiting:
            waiting.remove(node)
            node.unmet -= 1
            if not node.unmet and node.state is IDLE and self.has_begun:
                self._schedule(node, out)
                self._dispatch(out)
        return out

    def add(self, node: Node, now: float) -> list[Instruction]:
        """Take in `node`, made and linked while the run goes on.

        It starts in the next turn of the loop at the earliest, so that what it waits for can still
        be said: ``engine.add(job).requires(other)``.
        """
        out: list[Instruction] = []
        if self.stopping is not None:
            if node.state is IDLE:
                self._end(node, SKIPPED, self.stop_text, now, out)
        elif self.has_begun:
            self._newcomers.append(node)
            self._call_again(out)
        return out

    # -- what happens ------------------------------------------------------------------------

    def begin(self, now: float) -> list[Instruction]:
        """The run begins."""
        self.has_begun = True
        out: list[Instruction] = []
        for node in self.nodes:
            if node.state is IDLE:  # one may have been cancelled, or skipped for it, before
                if not node.job.forever:
                    self.open += 1
                if not node.unmet:
                    self._schedule(node, out)
        self._dispatch(out)
        self._finish_up(out, now)
        return out

    def settle(self, node: Node, new: State, now: float, reason: str = "") -> list[Instruction]:
        """The task of `node` has ended in the state `new`."""
        out: list[Instruction] = []
        job = node.job
        if new is FINISHED and node.state is RUNNING and not job.forever and job.pool is None:
            # As nearly all; the same as `_leave` would do.
            node.state = FINISHED
            node.ended_at = now
            self.alive -= 1
            self.open -= 1
            self.used -= 1
            if node.inner is not None:
                self.passive -= 1
            if self.tells:
                out.append((TELL, node, RUNNING, FINISHED, reason, node.attempt, None))
            waiting = node.required_by
            if waiting is not None:
                node.required_by = None
                self._meet(waiting, out)
            if node.followed_by is not None:
                self._release(node, now, out)
        else:
            self._leave(node, new, reason, now, out)
            self._release(node, now, out)
            if new is FAILED and job.critical and not self.keep_going:
                text = f"{name_of(job)} failed"
                self._stop(StopReason.CRITICAL_FAILURE, text, now, out)
        if self._line.in_order or self._line.out_of_order or self._others:
            self._dispatch(out)
        if not self.open or self.stopping is not None:
            self._finish_up(out, now)
        return out

    def ready(self, node: Node, now: float) -> list[Instruction]:
        """`node` said that it is ready."""
        out: list[Instruction] = []
        if not node.is_ready and node.state is RUNNING:
            self._become_ready(node, out)
            self._dispatch(out)
        return out

    def postpone(self, node: Node, reason: str, retry_in: float) -> list[Instruction]:
        """An attempt of `node` failed and there will be another, due in `retry_in` seconds.

        With no time to wait it is due at this instant: no other job gets its slot in between.
        """
        out: list[Instruction] = []
        self._move(node, SCHEDULED, reason, out, retry_in)
        self._give_back(node, out)
        if not retry_in:
            self._queue(node)
        self._dispatch(out)
        return out

    def due(self, node: Node) -> list[Instruction]:
        """The next attempt of `node` is due."""
        out: list[Instruction] = []
        if node.state is SCHEDULED:
            self._queue(node)
            self._dispatch(out)
        return out

    def cancel(self, node: Node, reason: str, now: float) -> list[Instruction]:
        """Somebody cancels this one job."""
        out: list[Instruction] = []
        if node.is_alive:
            if node.stop is None:
                out.append((Do.STOP, node, reason))
            if node.stop is None or node.stop[0] is Stop.TIMEOUT:
                # Being stopped for its timeout already, it is not to be tried again.
                node.stop = (Stop.HAND, reason)
        elif not node.state.is_over:
            node.stop = (Stop.HAND, reason)
            self._end(node, CANCELLED, reason, now, out)
            self._release(node, now, out)
            self._dispatch(out)
            self._finish_up(out, now)
        return out

    def stop(self, reason: StopReason, text: str, now: float) -> list[Instruction]:
        """Somebody wants the whole run to end; `text` says why to those it concerns."""
        out: list[Instruction] = []
        self._stop(reason, text, now, out)
        self._finish_up(out, now)
        return out

    def drained(self, now: float) -> list[Instruction]:
        """The moment that DRAIN asked for has passed."""
        drains, self._drains = self._drains, 0
        if self.is_over or self.open:  # the forever jobs ended as well, or a job was added
            return []
        if drains > 1:
            self._drains = 1
            return [(Do.DRAIN,)]
        return self.stop(StopReason.DONE, "the run is over", now)

    def dispatch(self) -> list[Instruction]:
        """Start what can be started: after MORE, or when a pool has a free slot again."""
        out: list[Instruction] = []
        self._more = False
        newcomers, self._newcomers = self._newcomers, []
        for node in newcomers:
            if node.state is IDLE and not node.unmet:
                self._schedule(node, out)
        self._dispatch(out)
        return out

    def forgo(self, reason: str, now: float) -> list[Instruction]:
        """This nested engine will never begin."""
        out: list[Instruction] = []
        if not self.has_begun:
            self.has_begun = self.is_over = True
            self.stopping = StopReason.CANCELLED
            for node in self.nodes:
                if node.state is IDLE:
                    self._end(node, SKIPPED, reason, now, out)
        return out

    def forsake(self, reason: str, now: float) -> list[Instruction]:
        """The performer is gone in the middle of it: all that was going on is over, at every depth.

        Nobody is told to stop any more; what was started is cancelled, the rest skipped.
        """
        out: list[Instruction] = []
        self.has_begun = self._more = True  # there is nobody who could be asked for more
        self.stopping = StopReason.SIGNAL
        for node in reversed(self.nodes):
            if node.is_alive:
                if node.inner is not None:  # its jobs before itself
                    out += node.inner.forsake(reason, now)
                self._leave(node, CANCELLED, reason, now, out)
            elif not node.state.is_over:
                self._end(node, SKIPPED, reason, now, out)
            node.required_by = node.followed_by = None
        self._be_over()
        return out

    def let_go(self) -> None:
        """Cut what leads from its nodes, at every depth, to jobs and plans: no cycle is left."""
        plans = [self]
        for plan in plans:
            plan.performer = None
            for node in plan.nodes:
                if node.inner is not None:
                    plans.append(node.inner)
                    node.inner = None
                node.job = node.plan = None

    # -- looking at it -----------------------------------------------------------------------

    def nodes_at_every_depth(self) -> Iterator[Node]:
        """Give its nodes, those of a nested engine right after its own."""
        stack = [iter(self.nodes)]
        while stack:
            for node in stack[-1]:
                yield node
                if node.inner is not None:
                    stack.append(iter(node.inner.nodes))
                    break
            else:
                stack.pop()

    @property
    def is_ok(self) -> bool:
        """The verdict so far: no job ended in a way that spoils it, nor was the run cut short."""
        cut_short = {StopReason.TIMEOUT, StopReason.CANCELLED}
        return not self.spoilt and self.stopping not in cut_short

    @property
    def is_busy(self) -> bool:
        """True if progress is sure to come: something works, or an answer is on its way."""
        return (
            not self.has_begun
            or self.is_over
            or self.stopping is not None
            or self.alive > self.passive
            or self._drains > 0
            or self._more
        )

    def waiting_for_pool(self) -> list[Node]:
        """Return the nodes that could start if their pool had a free slot."""
        return [
            node
            for (pool, counted), queue in self._others.items()
            if pool is not None and not (counted and self.is_full)
            for node in queue
        ]

    def waiting_for_ready(self) -> list[Node]:
        """Return the forever jobs that others wait for and that are not ready yet."""
        return [
            node
            for node in self.nodes
            if node.state is RUNNING
            and node.job.forever
            and not node.is_ready
            and (node.required_by or node.followed_by)
        ]

    @property
    def is_full(self) -> bool:
        """True if the window has no free slot."""
        return self.window is not None and self.used >= self.window

    def check(self) -> None:
        """Raise AssertionError if one of the invariants does not hold; tests call it each step."""
        unmet = dict.fromkeys(self.nodes, 0)
        for node in self.nodes:
            for waiting in (node.required_by or ()), (node.followed_by or ()):
                for dependent in waiting:
                    unmet[dependent] += 1
        for node in self.nodes:
            state = node.state
            assert state is not IDLE or node.unmet == unmet[node], f"{node}: {node.unmet} unmet"
            assert state is not SCHEDULED or not node.unmet, f"{node} is scheduled too early"
            assert state is not FINISHED or node.attempt, f"{node} finished, never started"
            assert state is not SKIPPED or not node.attempt, f"{node} skipped, yet started"
            over = state.is_over
            assert not (over and node.required_by), f"{node} is over, others still wait for it"
        alive = [node for node in self.nodes if node.is_alive]
        assert self.alive == len(alive), f"{self.alive} alive, counted {len(alive)}"
        assert self.passive == sum(node.is_passive for node in alive)
        counted = [node for node in alive if node.state is RUNNING and not node.job.forever]
        assert self.used == len(counted)
        assert self.window is None or self.used <= self.window
        if self.has_begun and not self.is_over:
            still = [n for n in self.nodes if not n.job.forever and not n.state.is_over]
            assert self.open == len(still), f"{self.open} open, counted {len(still)}"
        if self.is_over:
            assert not alive, f"over, and {alive} alive"
            assert all(node.state.is_over for node in self.nodes), "over, and not all jobs are"

    # -- how it is done ----------------------------------------------------------------------

    def _move(
        self,
        node: Node,
        new: State,
        reason: str,
        out: list[Instruction],
        retry_in: float | None = None,
    ) -> None:
        old = node.state
        assert new in TRANSITIONS[old], f"{node} cannot become {new}"
        node.state = new
        node.reason = reason
        if self.tells:
            # In `scheduled` it is the attempt to come that counts.
            attempt = max(node.attempt + (new is SCHEDULED), 1)
            out.append((TELL, node, old, new, reason, attempt, retry_in))

    def _schedule(self, node: Node, out: list[Instruction]) -> None:
        """All that `node`, which is idle, waits for has come."""
        node.state = SCHEDULED
        if self.tells:
            out.append((TELL, node, IDLE, SCHEDULED, "", 1, None))
        job, line = node.job, self._line.in_order
        if job.pool is None and not job.forever and (not line or line[-1].order < node.order):
            line.append(node)  # as mostly; the same as `_queue` would do
        else:
            self._queue(node)

    def _queue(self, node: Node) -> None:
        job = node.job
        if job.pool is not None or (job.forever and self.window is not None):
            self._queue_for(job.pool, self.window is not None and not job.forever).push(node)
        else:
            self._line.push(node)

    def _queue_for(self, pool: Pool | None, counted: bool) -> ReadyQueue:
        queue = self._others.get((pool, counted))
        if queue is None:
            queue = self._others[pool, counted] = ReadyQueue()
        return queue

    def _dispatch(self, out: list[Instruction]) -> None:
        """Start those that come first as long as there are slots, a burst at most."""
        if self._more or self.stopping is not None:
            return
        room, window = BURST, self.window
        line, heap = self._line.in_order, self._line.out_of_order
        while line or heap or self._others:
            if not room:
                self._call_again(out)
                return
            node: Node | None
            if heap or self._others:
                node = self._take_next()
                if node is None:
                    return
            elif window is None or self.used < window:  # as mostly; the same as `_take_next` does
                node = line.popleft()
            else:
                return
            if node.state is SCHEDULED:  # else it was cancelled, or skipped, meanwhile
                self._start(node, out)
                room -= 1

    def _call_again(self, out: list[Instruction]) -> None:
        """Ask for a call of `dispatch` in the next turn of the loop; nothing starts before."""
        if not self._more:
            self._more = True
            out.append((Do.MORE,))

    def _take_next(self) -> Node | None:
        """Take the first node that has all the slots it needs out of its queue."""
        best: Node | None = None
        best_queue: ReadyQueue | None = None
        counted_line = (None, self.window is not None), self._line
        for (pool, counted), queue in counted_line, *self._others.items():
            node = queue.first()
            if node is None:
                continue
            if (counted and self.is_full) or (best is not None and best.order < node.order):
                continue
            if pool is not None and pool.is_full:
                pool.wait(self.wake)
                if pool.is_full:  # else a slot came back in another thread just now
                    continue
            best, best_queue = node, queue
        if best is None or best_queue is None:
            return None
        if best.job.pool is not None and not best.job.pool.take(best):
            return self._take_next()  # another thread was faster; it is full now
        return best_queue.take()

    def _start(self, node: Node, out: list[Instruction]) -> None:
        job, attempt = node.job, node.attempt + 1
        if attempt == 1:
            self.alive += 1
            if node.inner is not None or job.forever:
                self.passive += 1
        elif node.reason:  # why it was tried again
            node.reason = ""
        node.attempt = attempt
        node.state = RUNNING
        if self.tells:
            out.append((TELL, node, SCHEDULED, RUNNING, "", attempt, None))
        out.append(node)
        if not job.forever:
            self.used += 1
        elif not job.notify and not node.is_ready:
            self._become_ready(node, out)

    def _give_back(self, node: Node, out: list[Instruction]) -> None:
        """Give the slots of the window and of its pool back."""
        job = node.job
        if not job.forever:
            self.used -= 1
        if job.pool is not None:
            others = [wake for wake in job.pool.give_back(node) if wake != self.wake]
            if others:  # they come first, or who has many jobs would keep the slot to itself
                out.extend((Do.WAKE, wake) for wake in others)
                self._call_again(out)

    def _become_ready(self, node: Node, out: list[Instruction]) -> None:
        node.is_ready = True
        out.append((Do.READY, node))
        if node.job.forever:
            waiting = [*(node.required_by or ()), *(node.followed_by or ())]
            node.required_by = node.followed_by = None
            self._meet(waiting, out)

    def _meet(self, nodes: Iterable[Node], out: list[Instruction]) -> None:
        """One requirement of each of `nodes` is met."""
        for node in nodes:
            node.unmet -= 1
            if not node.unmet and node.state is IDLE and self.has_begun:
                self._schedule(node, out)

    def _release(self, node: Node, now: float, out: list[Instruction]) -> None:
        """Tell those that wait for `node` that it is over."""
        waiting, following = node.required_by, node.followed_by
        node.required_by = node.followed_by = None
        if waiting is not None:
            if node.state is FINISHED and not node.job.forever:
                self._meet(waiting, out)
            else:
                self._skip(waiting, self._blame(node), now, out)
        if following is not None:
            self._meet(following, out)

    def _blame(self, node: Node) -> str:
        if node.state is SKIPPED:
            return node.reason
        if node.state is FINISHED or (node.job.forever and node.state is CANCELLED):
            return f"{name_of(node.job)} ended before it was ready"
        return f"{name_of(node.job)} {node.state}"

    def _skip(self, nodes: Iterable[Node], reason: str, now: float, out: list[Instruction]) -> None:
        """Skip `nodes` and, in turn, all that require them."""
        todo = deque(nodes)
        while todo:
            node = todo.popleft()
            if node.state is not IDLE:
                continue
            node.is_blamed = True
            self._end(node, SKIPPED, reason, now, out)
            todo.extend(node.required_by or ())
            node.required_by = None
            following, node.followed_by = node.followed_by, None
            self._meet(following or (), out)

    def _end(self, node: Node, new: State, reason: str, now: float, out: list[Instruction]) -> None:
        """`node` is over; count it."""
        job = node.job
        node.ended_at = now
        self._move(node, new, reason, out)
        if not job.forever and self.has_begun:
            self.open -= 1
        if new is not FINISHED:
            if node.is_abandoned or (
                job.critical
                and (not job.forever or new is FAILED or (new is SKIPPED and node.is_blamed))
            ):
                self.spoilt += 1
            if node.inner is not None:
                out.extend(node.inner.forgo(reason, now))

    def _leave(
        self, node: Node, new: State, reason: str, now: float, out: list[Instruction]
    ) -> None:
        """The task of `node` has ended: count it, and give its slots back."""
        held_slots = node.state is RUNNING
        self.alive -= 1
        if node.is_passive:
            self.passive -= 1
        self._end(node, new, reason, now, out)
        if held_slots:
            self._give_back(node, out)

    def _stop(self, reason: StopReason, text: str, now: float, out: list[Instruction]) -> None:
        if self.stopping is not None:
            return
        self.stopping = reason
        self.stop_text = text
        out.append((Do.STOPPING, reason))
        for node in self.nodes:
            if node.state.is_over:
                continue
            if not node.is_alive:
                self._end(node, SKIPPED, text, now, out)
                node.required_by = node.followed_by = None
            elif node.stop is None:
                node.stop = (Stop.RUN, text)
                out.append((Do.STOP, node, text))

    def _finish_up(self, out: list[Instruction], now: float) -> None:
        """See whether the run is to end now, or has ended."""
        if self.is_over or not self.has_begun:
            return
        if not self.open and self.stopping is None:
            if not self.alive:
                self._stop(StopReason.DONE, "the run is over", now, out)
            elif not self.is_endless:
                # The moment counts from the end of the last job, also of one that came meanwhile.
                self._drains += 1
                if self._drains == 1:
                    out.append((Do.DRAIN,))
        if self.stopping is not None and not self.alive:
            self._be_over()
            out.append((Do.OVER,))

    def _be_over(self) -> None:
        self.is_over = True
        for pool, _ in self._others:
            if pool is not None:
                pool.leave(self.wake)
