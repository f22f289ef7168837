"""A value that is used but never shown."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import NoReturn, Self

MASK = "***"


class Secret:
    """A password, a token or the like; shown as ``***`` wherever it might be printed.

    Usable where the docs say so: password, passphrase, `sudo=`, `input=`, values of `env=`, and
    words of an argument vector, though those a program shows to the users of its host (``ps``) as
    long as it runs.  Two secrets are equal if their values are.

    >>> password = Secret("correct horse")
    >>> password, f"{password}", password == Secret("correct horse")
    (Secret('***'), '***', True)
    >>> password.reveal()
    'correct horse'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            # Not even the type's repr of the value may be told.
            raise TypeError(f"a Secret is made of a str, not of {type(value).__name__}")
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (one.reveal().encode(errors="surrogatepass") for one in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: it would be written in clear")


def mask(text: str, secrets: Iterable[Secret]) -> str:
    """Return `text` with every secret in it, and every line of a secret, replaced by ``***``.

    Mask before cutting: of a secret that was cut, the rest would be seen.

    >>> mask("login with hunter2", [Secret("hunter2")])
    'login with ***'
    """
    lines: set[str] = set()
    for secret in secrets:
        value = secret.reveal()
        lines.update(value.splitlines())
        if not value.isascii():
            # As it looks in output that was decoded.
            lines.update(
                value.encode("utf-8", "surrogateescape").decode(errors="replace").splitlines()
            )
    # One may be the beginning of another.
    for line in sorted(lines - {""}, key=len, reverse=True):
        text = text.replace(line, MASK)
    return text
