"""Checks that many options share, so that their errors read alike."""

import os
from collections.abc import Callable, Collection, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from lumbre.base._errors import DataError, LumbreError, OptionError, did_you_mean


def one_of(
    name: str, value: object, known: Iterable[str], *, fix: str = "", error: type[LumbreError] = OptionError
) -> None:
    """See that the option `name` is one of the `known` words.

    Raises:
        error: it is not.
    """
    known = list(known)
    if value not in known:
        instead = f"{did_you_mean(str(value), known)}{fix or f'{name}={known[0]!r}'}"
        raise error(f"{name}={value!r}", f"one of {', '.join(map(repr, known))}", instead)


def at_least(least: int, **given: int | None) -> None:
    """See that options, by their names, are whole numbers from `least`; None stands for one that is not given.

    Raises:
        OptionError: one of them is not.
    """
    for name, value in given.items():
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool) or value < least):
            raise OptionError(f"{name}={value!r}", f"a whole number from {least}", f"{name}={least}, or more")


def only_numbers(
    expected: str = "a number",
    instead: float = 0.5,
    holds: Callable[[Any], bool] = lambda value: value == value,
    **given: object,
) -> None:
    """See that options, by their names, are numbers of a range, of Python or NumPy; None is one that is not given.

    Args:
        expected: the range in words.
        instead: a number of it, for the error.
        holds: tells whether a number is in it; no comparison holds for NaN.
        **given: the options.

    Raises:
        OptionError: one of them is something else, NaN, or out of the range.
    """
    for name, value in given.items():
        if value is not None and not (isinstance(value, Real) and holds(value)):
            quoted = "" if isinstance(value, Real) else ", without quotes or brackets"
            raise OptionError(f"{name}={value!r}"[:200], expected, f"{name}={instead}{quoted}")


def within(least: int, most: int, fix: str, **given: int) -> None:
    """See that options, by their names, are whole numbers from `least` to `most`.

    Raises:
        OptionError: one of them is not.
    """
    for name, value in given.items():
        if not isinstance(value, Integral) or not least <= value <= most:
            raise OptionError(f"{name}={value!r}", f"a whole number from {least:,} to {most:,}", fix)


def as_path(path: object, fix: str) -> Path:
    """The path of a file.

    Raises:
        OptionError: it is neither text nor a path.
    """
    if isinstance(path, (str, os.PathLike)):
        return Path(path)
    raise OptionError(f"path={path!r}"[:200], "the path of a file, as text or pathlib.Path", fix)


def no_more(more: tuple[object, ...], call: str, expected: str, fix: str) -> None:
    """See that a call has no argument without a name beside those that it takes.

    Raises:
        OptionError: it has.
    """
    if more:
        raise OptionError(
            f"{call} with {len(more)} more without a name, such as a {type(more[0]).__name__}", expected, fix
        )


def has_column(name: str, columns: Collection[str], where: str) -> None:
    """See that a column is there; `where` says of what, such as "the frame".

    Raises:
        DataError: it is not.
    """
    if name not in columns:
        instead = f"{did_you_mean(name, columns)}Correct the name"
        raise DataError(f"the column {name!r}", f"a column of {where}: {', '.join(columns)}", instead)
