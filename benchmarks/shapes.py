"""The graphs that are measured: for each job, the numbers of the jobs that it requires.

Requirements point to earlier jobs only, so a list in this order is a graph without cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

LAYER = 100
"""Jobs in each layer of `layers`."""

WINDOW = 100
"""Jobs at once in `windowed`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph: `requires[n]` are the numbers of the jobs that job `n` requires."""

    name: str
    requires: Sequence[Sequence[int]]
    window: int | None = None

    @property
    def edges(self) -> int:
        """How many requirements there are."""
        return sum(map(len, self.requires))


def wide(size: int) -> Shape:
    """Independent jobs."""
    return Shape("wide", [()] * size)


def chain(size: int) -> Shape:
    """Each job requires the one before."""
    return Shape("chain", [(number - 1,) if number else () for number in range(size)])


def layers(size: int) -> Shape:
    """Layers of 100 jobs, each of which requires three of the layer before."""

    def above(number: int) -> tuple[int, ...]:
        layer, place = divmod(number, LAYER)
        first = (layer - 1) * LAYER
        return tuple(first + (place + step) % LAYER for step in range(3)) if layer else ()

    return Shape("layers", [above(number) for number in range(size)])


def fan(size: int) -> Shape:
    """One job, all the others but one that require it, and one that requires all those."""
    middle = [(0,)] * (size - 2)
    return Shape("fan", [(), *middle, tuple(range(1, size - 1))])


def windowed(size: int) -> Shape:
    """Independent jobs, 100 at once."""
    return Shape("windowed", [()] * size, WINDOW)


SHAPES: dict[str, Callable[[int], Shape]] = {
    make.__name__: make for make in (wide, chain, layers, fan, windowed)
}
