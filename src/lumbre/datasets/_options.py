"""Checks of what callers choose."""

from collections.abc import Iterable

from lumbre.base import DataError, did_you_mean


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """See that the argument `name` is one of the `known` words.

    Raises:
        DataError: it is not.
    """
    known = list(known)
    if value not in known:
        raise DataError(
            f"{name}={value!r}",
            f"one of {', '.join(map(repr, known))}",
            f"{did_you_mean(value, known) if isinstance(value, str) else ''}{name}={known[0]!r}",
        )
