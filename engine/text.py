"""Foreign text made into one safe, printable line: the only place where that is done.

Labels, results, exceptions and the output of remote commands come from outside.  Before such text
enters a tick, a log, a repr or a screen it passes through :func:`safe_line`, after which it holds
no escape sequence, no control, bidirectional or zero-width character and no line break: it can
neither drive a terminal nor forge a second line.

The rule is one of *categories*, not a list of known bad characters: whatever Unicode says is a
control, a format character, a surrogate, a mark that takes no room or not assigned is dropped.
"""

from __future__ import annotations

import re
import unicodedata

# Whole sequences go first, so that a colour leaves no "[31m" behind.  7-bit and 8-bit (C1) forms of
# ECMA-48: CSI; the strings OSC, DCS, SOS, PM and APC up to their terminator; two-character escapes.
# No alternative can match at the same place for long in two ways: the scan is linear.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-Z\\-~]"
)
_BREAK = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me"})
_ELLIPSIS = "..."


def safe_line(value: object, limit: int | None = None) -> str:
    """Return `value` as one line that is safe to print on any terminal.

    Args:
        value: text, bytes (read as UTF-8, bad bytes become U+FFFD) or any object (its ``str()``;
            one that raises is told as such and breaks nothing).
        limit: at most so many characters; a longer text is cut and ends in ``...``.

    >>> safe_line("\\x1b[31mred\\x1b[0m\\n\\u202eevil\\u200b")
    'red evil'
    >>> safe_line(b"caf\\xc3\\xa9 \\xff")
    'café �'
    >>> safe_line("a long line", limit=8)
    'a lon...'
    """
    text = value if type(value) is str else _as_text(value)
    if limit is not None and len(text) > 16 * limit + 64:
        # Enough is left for the sequences that go; what is cut away is never even looked at.
        text = text[: 16 * limit + 64] + _ELLIPSIS
    if not (text.isascii() and text.isprintable()):
        text = _clean(text)
    if limit is not None and len(text) > limit:
        text = text[: max(limit - len(_ELLIPSIS), 0)] + _ELLIPSIS[:limit]
    return text


def safe_repr(value: object, limit: int | None = 200) -> str:
    """Return ``repr(value)`` as one safe line; a `__repr__` that raises breaks nothing.

    >>> safe_repr("two\\nlines")
    "'two\\\\nlines'"
    """
    if isinstance(value, str | bytes) and limit is not None and len(value) > limit:
        value = value[:limit]
        return safe_line(repr(value)[:-1], limit=limit - 3) + _ELLIPSIS
    try:
        return safe_line(repr(value), limit)
    except Exception as error:  # whatever a foreign __repr__ does must not hurt the run
        return _broken(value, "__repr__", error)


def safe_error(error: BaseException, limit: int | None = 200) -> str:
    """Return ``Type: message`` of an exception as one safe line, or ``Type`` if it says nothing.

    >>> safe_error(ValueError("boom"))
    'ValueError: boom'
    """
    message = safe_line(error, limit)
    name = safe_line(type(error).__name__, limit)
    return safe_line(f"{name}: {message}" if message else name, limit)


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    try:
        return str.__str__(value) if isinstance(value, str) else str(value)
    except Exception as error:
        return _broken(value, "__str__", error)


def _broken(value: object, method: str, error: Exception) -> str:
    kind, problem = type(value).__name__, type(error).__name__
    return safe_line(f"<{kind}: its {method} raised {problem}>")


def _clean(text: str) -> str:
    text = _SEQUENCE.sub("", text)
    text = _BREAK.sub(" ", text)
    # Normalised first: an accent that has a precomposed form stays, what then still combines goes.
    text = unicodedata.normalize("NFC", text)
    if not text.isascii():
        category = unicodedata.category
        return "".join(c for c in text if category(c) not in _DROPPED).strip()
    return "".join(c for c in text if c.isprintable()).strip()
