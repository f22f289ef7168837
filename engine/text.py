"""Foreign text made into one safe, printable line: the only place where that is done.

Labels, results, exceptions and the output of remote commands come from outside.  Before such text
enters a tick, a log, a repr or a screen it passes through :func:`safe_line`, after which it holds
no escape sequence, no control, bidirectional or zero-width character and no line break: it can
neither drive a terminal nor forge a second line.

The rule is one of *categories*, not a list of known bad characters: whatever Unicode says is a
control, a format character, for private use, a mark that takes no room or not assigned is dropped.
What comes out satisfies ``str.isprintable()`` and is an exact ``str``, and passing it through once
more changes nothing.  The time is linear in the length of the text, whatever the text.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice

# Whole sequences go first, so that a colour leaves no "[31m" behind.  7-bit and 8-bit (C1) forms of
# ECMA-48: CSI; the strings OSC, DCS, SOS, PM and APC up to their terminator; two-character escapes.
# A string that is not terminated is no sequence.  The inside of one holds nothing that starts
# another: a search for the terminator never covers the same text twice, and the scan is linear.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-Z\\-~]"
)
_BREAKS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
_GAP = re.compile(rf"[\t{_BREAKS}]+")
_DROPPED = frozenset({"Cc", "Cf", "Co", "Cn"})
_MARKS = frozenset({"Mn", "Me"})
# Letters by category, yet of no width: the vowels and tails of Hangul outside of a syllable, and
# the fillers that stand for missing ones.
_JAMO = frozenset(map(chr, [*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)]))
_FILLERS = frozenset("\u115f\u3164\uffa0")
_SIZED = frozenset({str, bytes, list, tuple, dict, set, frozenset})
_ELLIPSIS = "..."


def safe_line(value: object, limit: int | None = None) -> str:
    r"""Return `value` as one line that is safe to print on any terminal.

    Line breaks at the ends go; breaks and tabs in between become a space; the spaces of an
    indentation stay.

    Args:
        value: text, bytes (read as UTF-8, bad bytes become U+FFFD) or any object (its ``str()``;
            one that raises is told as such and breaks nothing).
        limit: at most so many characters; a longer text is cut and ends in ``...``.

    >>> safe_line("\x1b[31mred\x1b[0m\n\u202eevil\u200b")
    'red evil'
    >>> safe_line(b"caf\xc3\xa9 \xff")
    'café �'
    >>> safe_line("a long line", limit=8)
    'a lon...'
    """
    plain = value if type(value) is str and (limit is None or len(value) <= limit) else None
    if plain is not None and plain.isascii() and plain.isprintable():  # as most of what passes
        return plain
    # Enough is left for the sequences that go; what is cut away is never even looked at.
    most = None if limit is None else 16 * limit + 64
    text = value if type(value) is str else _as_text(value, most)
    if most is not None and len(text) > most:
        text = text[:most] + _ELLIPSIS
    if not (text.isascii() and text.isprintable()):
        text = _clean(text)
    if limit is not None and len(text) > limit:
        text = text[: max(limit - len(_ELLIPSIS), 0)] + _ELLIPSIS[:limit]
    return text


def safe_repr(value: object, limit: int | None = 200) -> str:
    r"""Return ``repr(value)`` as one safe line; a `__repr__` that raises breaks nothing.

    Of a long text or collection only as much as will be shown is looked at.

    >>> safe_repr("two\nlines")
    "'two\\nlines'"
    >>> safe_repr(list(range(1_000_000)), limit=20)
    '[0, 1, 2, 3, 4, 5...'
    """
    beginning = value if limit is None else _beginning(value, limit)
    cut = "" if beginning is value else _ELLIPSIS
    return safe_line(_repr(beginning) + cut, limit)


def safe_error(error: BaseException, limit: int | None = 200) -> str:
    """Return ``Type: message`` of an exception as one safe line, or ``Type`` if it says nothing.

    >>> safe_error(ValueError("boom"))
    'ValueError: boom'
    """
    message = safe_line(error, limit)
    name = safe_line(type(error).__name__, limit)
    return safe_line(f"{name}: {message}" if message else name, limit)


def _as_text(value: object, most: int | None) -> str:
    try:
        if isinstance(value, bytes | bytearray | memoryview):
            # Four bytes make a character at most, so that these are enough for `most`.
            data = value if most is None else value[: 4 * most + 4]
            return bytes(data).decode("utf-8", "replace")
        # Not what a subclass of str says of itself, but the text that it holds.
        return str.__str__(value if isinstance(value, str) else str(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever foreign code does here must not hurt the run
        return _broken(value, "__str__", error)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the same
        return _broken(value, "__repr__", error)


def _broken(value: object, method: str, error: BaseException) -> str:
    return f"<{type(value).__name__}: its {method} raised {type(error).__name__}>"


def _beginning(value: object, size: int) -> object:
    """Return the first `size` items of a built-in text or collection that is longer."""
    kind = type(value)
    if kind not in _SIZED or len(value) <= size:  # type: ignore[arg-type]
        return value
    if kind in {str, bytes}:
        return value[:size]  # type: ignore[index]
    items = value.items() if isinstance(value, dict) else value
    return kind(islice(items, size))  # type: ignore[call-arg, call-overload]


def _clean(text: str) -> str:
    text = _SEQUENCE.sub("", text)
    text = _GAP.sub(" ", text.strip(_BREAKS))
    if text.isascii():
        return "".join(char for char in text if char.isprintable())
    kept: list[str] = []
    for char in text:
        category = unicodedata.category(char)
        if category in _MARKS or char in _JAMO:
            # It takes no room: it stays only in a character that has it built in, as é has.
            whole = unicodedata.normalize("NFC", kept[-1] + char) if kept else char
            if len(whole) == 1 and whole != char:
                kept[-1] = whole
        elif category == "Zs":
            kept.append(" ")
        elif category == "Cs":
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif category not in _DROPPED and char not in _FILLERS:
            kept.append(char)
    return "".join(kept)
