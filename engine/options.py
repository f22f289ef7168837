"""Options are checked where they are given: each function refuses what makes no sense."""

from __future__ import annotations

import inspect
import math

from .errors import BadOption, name_of
from .text import safe_repr


def check_timeout(job: object, option: str, value: object) -> None:
    """Refuse what is not a number of seconds, zero or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_option(job, option, value, "a number of seconds, or None")
    if not _is_time(value):
        raise bad_option(job, option, value, "zero or more seconds, or None")


def _is_time(value: float) -> bool:
    try:
        return not math.isnan(value) and value >= 0
    except OverflowError:  # an int that no float can hold
        return False


def check_count(job: object, option: str, value: object, least: int) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad_option(job, option, value, f"a whole number of at least {least}, or None")


def check_retry(job: object, value: object) -> None:
    """Refuse what is neither a number of attempts nor a `tenacity.AsyncRetrying`."""
    if isinstance(value, int) and not isinstance(value, bool):
        check_count(job, "retry", value, 0)
    elif not (
        hasattr(value, "copy")
        and not inspect.isclass(value)
        and inspect.iscoroutinefunction(getattr(type(value), "__call__", None))
    ):
        raise bad_option(
            job, "retry", value, "how many more attempts to make, or a tenacity.AsyncRetrying"
        )


def bad_option(job: object, option: str, value: object, wanted: str) -> BadOption:
    """Return the error that says what `option` of `job` must be."""
    return BadOption(
        f"{option} of {name_of(job)} must be {wanted}, not {safe_repr(value, 80)}", option, value
    )
