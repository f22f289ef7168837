"""Pure graph work: order, cycles, what lies before and after, and the algebra of graphs of jobs.

A graph is given as `nodes`, in the order in which they were inserted, and `needs`, a callable that
says which nodes must be over before a node starts.  Nodes are anything hashable, so that all of
this works, and is tested, without a job.  Needs that are not among the nodes are looked over;
:func:`foreign_links` is how one finds them.

Every answer is in insertion order, or in topological order with insertion order among equals:
never in that of a set.  Nothing here recurses, so that a chain of a million jobs is a graph like
any other.

The algebra (:func:`keep_only`, :func:`bypass`, ...) changes nothing: it returns an :class:`Edit`,
the links to cut and to add, and leaves making it true to the owner of the jobs.

>>> needs = {"wash": [], "peel": ["wash"], "boil": ["fetch water", "peel"], "fetch water": []}
>>> topological_order(needs, needs.__getitem__)
['wash', 'peel', 'fetch water', 'boil']
>>> upstream(needs, needs.__getitem__, ["boil"])
['wash', 'peel', 'fetch water']
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar, cast

from .errors import CycleError, GraphError, name_of

if TYPE_CHECKING:
    from .job import AbstractJob

T = TypeVar("T", bound=Hashable)
Needs = Callable[[T], Iterable[T]]
"""What must be over (finished, or ready) before a node starts."""


def needs_of(job: AbstractJob) -> tuple[AbstractJob, ...]:
    """Return what `job` requires and what it comes after: the `needs` of a graph of jobs."""
    return job.required + job.awaited


# --- order


def topological_order(nodes: Collection[T], needs: Needs[T]) -> list[T]:
    """Return `nodes` so that each comes after its needs; the first inserted first, where free.

    At each point the next one is the first inserted of those whose needs are all listed: the order
    in which an engine that runs one job at a time starts them.  This is Kahn's algorithm (1962)
    with a heap, O((V + E) log V); a graph written down in the order of running costs O(V + E).

    Raises:
        CycleError: no such order exists; it names one cycle, in running order.
    """
    if _is_ordered(nodes, needs):
        return list(nodes)
    order, left = _sort(nodes, needs)
    if left:
        raise CycleError(cast("list[AbstractJob]", _cycle_among(left, needs)))
    return order


def find_cycle(nodes: Collection[T], needs: Needs[T]) -> list[T]:
    """Return the nodes of one cycle, each needing the one before it; ``[]`` if there is none.

    It starts with the first inserted node of the cycle.  The time is that of a sort: nothing is
    walked twice, however many cycles there are.

    >>> find_cycle("abcd", {"a": "c", "b": "a", "c": "b", "d": "a"}.__getitem__)
    ['a', 'b', 'c']
    """
    if _is_ordered(nodes, needs):
        return []
    _, left = _sort(nodes, needs)
    return _cycle_among(left, needs) if left else []


def _is_ordered(nodes: Iterable[T], needs: Needs[T]) -> bool:
    """Tell whether insertion order is a topological order, as it is in most programs."""
    listed: set[T] = set()
    ahead: set[T] = set()
    for node in nodes:
        ahead.update(need for need in needs(node) if need not in listed)
        listed.add(node)
    return ahead.isdisjoint(listed)


def _sort(nodes: Collection[T], needs: Needs[T]) -> tuple[list[T], list[T]]:
    """Return the nodes that can be ordered, ordered, and those on a cycle or behind one."""
    listing = list(nodes)
    rank = {node: number for number, node in enumerate(listing)}
    unmet = [0] * len(listing)
    released: list[list[int]] = [[] for _ in listing]
    for number, node in enumerate(listing):
        for need in needs(node):
            if need in rank:
                released[rank[need]].append(number)
                unmet[number] += 1
    ready = [number for number, count in enumerate(unmet) if not count]  # sorted, hence a heap
    order = []
    while ready:
        number = heappop(ready)
        order.append(listing[number])
        for follower in released[number]:
            unmet[follower] -= 1
            if not unmet[follower]:
                heappush(ready, follower)
    return order, [listing[number] for number, count in enumerate(unmet) if count]


def _cycle_among(left: Collection[T], needs: Needs[T]) -> list[T]:
    """Return a cycle, given nodes of which each needs another of them.

    Walking from need to need cannot end, so it comes back to a node where it was: that is a cycle.
    Every node is asked for its needs once.
    """
    rank = {node: number for number, node in enumerate(left)}
    place: dict[T, int] = {}
    node = next(iter(left))
    while node not in place:
        place[node] = len(place)
        node = next(need for need in needs(node) if need in rank)
    cycle = list(place)[place[node] :]
    cycle.reverse()
    first = min(range(len(cycle)), key=lambda index: rank[cycle[index]])
    return cycle[first:] + cycle[:first]


def cycle_through(node: T, needs: Needs[T], new: Iterable[T]) -> list[T]:
    """Return the cycle that would come about if `node` needed `new` too; ``[]`` if none would.

    As that of `find_cycle`, but it starts with `node`.

    >>> cycle_through("a", {"a": "", "b": "a", "c": "b"}.__getitem__, ["c"])
    ['a', 'b', 'c']
    """
    follower = dict.fromkeys(new, node)
    waiting = list(follower)
    while waiting:
        here = waiting.pop()
        if here == node:
            break
        for need in needs(here):
            if need not in follower:
                follower[need] = here
                waiting.append(need)
    else:
        return []
    cycle, here = [node], follower[node]
    while here != node:
        cycle.append(here)
        here = follower[here]
    return cycle


# --- neighbours


def dependents(nodes: Collection[T], needs: Needs[T]) -> dict[T, list[T]]:
    """Return for every node those that need it: `needs` the other way round, in one pass.

    >>> dependents("abc", {"a": "", "b": "a", "c": "ab"}.__getitem__)
    {'a': ['b', 'c'], 'b': ['c'], 'c': []}
    """
    followers: dict[T, list[T]] = {node: [] for node in nodes}
    for node in nodes:
        for need in dict.fromkeys(needs(node)):
            if need in followers:
                followers[need].append(node)
    return followers


def entries(nodes: Collection[T], needs: Needs[T]) -> list[T]:
    """Return the nodes that need none of the others: those that start first."""
    known = set(nodes)
    return [node for node in nodes if known.isdisjoint(needs(node))]


def exits(nodes: Collection[T], needs: Needs[T]) -> list[T]:
    """Return the nodes that none of the others needs: those that end last."""
    needed = {need for node in nodes for need in needs(node)}
    return [node for node in nodes if node not in needed]


def predecessors(nodes: Collection[T], needs: Needs[T], of: Iterable[T]) -> list[T]:
    """Return what any of `of` needs directly."""
    found = {need for node in _members(nodes, of) for need in needs(node)}
    return [node for node in nodes if node in found]


def successors(nodes: Collection[T], needs: Needs[T], of: Iterable[T]) -> list[T]:
    """Return what needs any of `of` directly."""
    wanted = _members(nodes, of)
    return [node for node in nodes if not wanted.isdisjoint(needs(node))]


def upstream(nodes: Collection[T], needs: Needs[T], of: Iterable[T]) -> list[T]:
    """Return all that must be over before any of `of` starts, however far away."""
    found = _reachable(_members(nodes, of), needs)
    return [node for node in nodes if node in found]


def downstream(nodes: Collection[T], needs: Needs[T], of: Iterable[T]) -> list[T]:
    """Return all that cannot start before any of `of` is over, however far away."""
    found = _reachable(_members(nodes, of), dependents(nodes, needs).__getitem__)
    return [node for node in nodes if node in found]


def between(
    nodes: Collection[T],
    needs: Needs[T],
    *,
    starts: Iterable[T] | None = None,
    ends: Iterable[T] | None = None,
    keep_starts: bool = True,
    keep_ends: bool = True,
) -> list[T]:
    """Return the nodes on a way from one of `starts` to one of `ends`.

    Args:
        nodes: all nodes, in insertion order.
        needs: what each of them needs.
        starts: only these and what comes after them; None sets no bound on this side.
        ends: only these and what comes before them; None sets no bound on that side.
        keep_starts: False leaves the starts themselves out.
        keep_ends: False leaves the ends themselves out.

    >>> chain = {"a": "", "b": "a", "c": "b", "d": "c", "lone": ""}
    >>> between(chain, chain.__getitem__, starts=["b"])
    ['b', 'c', 'd']
    >>> between(chain, chain.__getitem__, starts=["a"], ends=["d"], keep_ends=False)
    ['a', 'b', 'c']
    """
    kept = set(nodes)
    left_out: set[T] = set()
    if starts is not None:
        first = _members(nodes, starts)
        after = _reachable(first, dependents(nodes, needs).__getitem__)
        kept &= first | after
        if not keep_starts:
            left_out |= first
    if ends is not None:
        last = _members(nodes, ends)
        before = _reachable(last, needs)
        kept &= last | before
        if not keep_ends:
            left_out |= last
    return [node for node in nodes if node in kept and node not in left_out]


def _reachable(starts: Iterable[T], step: Needs[T]) -> set[T]:
    """Return what one or more steps from `starts` lead to (a start only if a step leads there)."""
    found: set[T] = set()
    waiting = list(starts)
    while waiting:
        for node in step(waiting.pop()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def _members(nodes: Collection[T], chosen: Iterable[T]) -> set[T]:
    """Return `chosen` as a set, having made sure that all of it is in the graph."""
    wanted = dict.fromkeys(chosen)
    known = set(nodes)
    strangers = [node for node in wanted if node not in known]
    if strangers:
        names = ", ".join(name_of(node) for node in strangers)
        jobs = cast("list[AbstractJob]", strangers)
        raise GraphError(f"not in this engine: {names}", jobs)
    return set(wanted)


# --- algebra


class Link(NamedTuple, Generic[T]):
    """`node` requires, or comes after, `need`."""

    node: T
    need: T
    kind: Literal["requires", "after"]


class Edit(NamedTuple, Generic[T]):
    """What to change in a graph; an operation of the algebra as data.

    Attributes:
        removed: nodes that go.
        cut: links that go (all of them belong to nodes that stay).
        added: links that come.
    """

    removed: tuple[T, ...] = ()
    cut: tuple[Link[T], ...] = ()
    added: tuple[Link[T], ...] = ()


def links(nodes: Iterable[T], required: Needs[T], awaited: Needs[T]) -> Iterator[Link[T]]:
    """Yield every link of `nodes`, node by node, what is required before what is awaited."""
    for node in nodes:
        for need in required(node):
            yield Link(node, need, "requires")
        for need in awaited(node):
            yield Link(node, need, "after")


def foreign_links(nodes: Collection[T], required: Needs[T], awaited: Needs[T]) -> Iterator[Link[T]]:
    """Yield the links to what is not among `nodes`: what a check refuses and `sanitize` drops."""
    known = set(nodes)
    return (link for link in links(nodes, required, awaited) if link.need not in known)


def sanitize(nodes: Collection[T], required: Needs[T], awaited: Needs[T]) -> Edit[T]:
    """Return the edit that cuts all links to what is not among `nodes`."""
    return Edit(cut=tuple(foreign_links(nodes, required, awaited)))


def keep_only(
    nodes: Collection[T], required: Needs[T], awaited: Needs[T], kept: Iterable[T]
) -> Edit[T]:
    """Return the edit that removes all but `kept`, with the links to what goes.

    An order that came about through a removed node is lost: of ``a -> b -> c`` without b, c no
    longer waits for a.  That is what one wants of a part that is run by itself; to take single
    nodes out of a way and keep its order there is :func:`bypass`.  Links to what was not in the
    graph before stay as they are.
    """
    wanted = _members(nodes, kept)
    staying = [node for node in nodes if node in wanted]
    removed = {node: None for node in nodes if node not in wanted}
    cut = (link for link in links(staying, required, awaited) if link.need in removed)
    return Edit(removed=tuple(removed), cut=tuple(cut))


def bypass(nodes: Collection[T], required: Needs[T], awaited: Needs[T], node: T) -> Edit[T]:
    """Return the edit that takes `node` out of the ways that lead through it.

    Those that waited for it now wait for what it waited for.  With `node` x, a follower f and a
    need n of x, the new link from f to n is the one under which f starts in the same cases as it
    did before:

    ============  ============  ========================================================  ==========
    f to x        x to n        before, if n failed                                       f to n
    ============  ============  ========================================================  ==========
    requires      requires      x was skipped, hence f too                                requires
    requires      after         x ran all the same, and f after it                        after
    after         requires      x was skipped, which is over: f ran                       after
    after         after         x ran, and f after it                                     after
    ============  ============  ========================================================  ==========

    So it is `requires` only if both were.  A link that is implied by one that f has already
    (requiring is more than coming after) is not added.

    Raises:
        CycleError: f and x wait for each other; without x, f would wait for itself.
    """
    _members(nodes, [node])
    others = [other for other in nodes if other != node]
    cut = tuple(link for link in links(others, required, awaited) if link.need == node)
    passed_on = list(links([node], required, awaited))
    added: dict[tuple[T, T], Link[T]] = {}
    for link in cut:
        has = {(link.node, need) for need in required(link.node)}
        weak = {(link.node, need) for need in awaited(link.node)}
        for onward in passed_on:
            if onward.need == link.node:
                raise CycleError(cast("list[AbstractJob]", [link.node, node]))
            strong = link.kind == onward.kind == "requires"
            way = (link.node, onward.need)
            if way in has or (not strong and (way in weak or way in added)):
                continue
            added[way] = Link(*way, "requires" if strong else "after")
    return Edit(removed=(node,), cut=cut, added=tuple(added.values()))
