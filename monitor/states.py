"""What a state looks like everywhere: the one table of glyphs, ASCII letters and words.

The screen, its ASCII form, plain lines, JSON and the filter all read it here, so that a state
never has two faces.  A colour only repeats what glyph and word say already.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine import State


@dataclass(frozen=True, slots=True)
class Look:
    """How the lines of one kind look.

    Attributes:
        glyph: one character, one cell wide.
        ascii: the same where only ASCII can be shown.
        word: how it is told on the screen; what follows it depends on the job.
        plain: how it is told in plain lines and JSON, and asked for in a filter.
        attribute: name of its colour, see :data:`monitor.layout.ATTRIBUTES`.
        rank: its place on the screen; 0 comes first and is the worst.
    """

    glyph: str
    ascii: str
    word: str
    plain: State
    attribute: str
    rank: int


FAILED = Look("✗", "X", "FAILED", State.FAILED, "fail", 0)
STOPPING = Look("!", "!", "stopping", State.RUNNING, "stop", 1)
RUNNING = Look("▶", ">", "running", State.RUNNING, "run", 1)
FOREVER = Look("∞", "~", "forever", State.RUNNING, "forever", 2)
RETRY = Look("↻", "r", "retry", State.SCHEDULED, "retry", 3)
SCHEDULED = Look("=", "=", "queued", State.SCHEDULED, "queue", 3)
IDLE = Look("·", ".", "waits", State.IDLE, "wait", 4)
CANCELLED = Look("⊘", "c", "cancelled", State.CANCELLED, "cancel", 5)
SKIPPED = Look("-", "-", "skipped", State.SKIPPED, "skip", 5)
FINISHED = Look("✓", "v", "done", State.FINISHED, "ok", 6)

LOOKS = (
    IDLE,
    SCHEDULED,
    RUNNING,
    FOREVER,
    RETRY,
    STOPPING,
    FINISHED,
    FAILED,
    CANCELLED,
    SKIPPED,
)
"""All of them, in the order in which a job lives through them."""

RANKS = 1 + max(look.rank for look in LOOKS)
"""How many places there are on the screen."""

_OF_STATE = {
    State.IDLE: IDLE,
    State.SCHEDULED: SCHEDULED,
    State.RUNNING: RUNNING,
    State.FINISHED: FINISHED,
    State.FAILED: FAILED,
    State.CANCELLED: CANCELLED,
    State.SKIPPED: SKIPPED,
}


def look_of(
    state: State, *, forever: bool = False, retried: bool = False, stopping: bool = False
) -> Look:
    """Return the look of a job that is in `state`.

    Args:
        state: the state that the engine told last.
        forever: the job never ends by itself.
        retried: it waits for its next attempt.
        stopping: it was cancelled and has not ended yet.

    >>> look_of(State.RUNNING, forever=True).glyph, look_of(State.SCHEDULED, retried=True).ascii
    ('∞', 'r')
    """
    if state is State.RUNNING:
        if stopping:
            return STOPPING
        return FOREVER if forever else RUNNING
    if state is State.SCHEDULED and retried:
        return RETRY
    return _OF_STATE[state]
