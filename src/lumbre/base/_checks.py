"""Checks that many options share, so that their errors read alike."""

from collections.abc import Collection, Iterable

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
    """See that options, by their names, are not below `least`; None stands for one that is not given.

    Raises:
        OptionError: one of them is.
    """
    for name, value in given.items():
        if value is not None and value < least:
            raise OptionError(f"{name}={value}", f"a whole number from {least}", f"{name}={least}, or more")


def has_column(name: str, columns: Collection[str], where: str) -> None:
    """See that a column is there; `where` says of what, such as "the frame".

    Raises:
        DataError: it is not.
    """
    if name not in columns:
        instead = f"{did_you_mean(name, columns)}Correct the name"
        raise DataError(f"the column {name!r}", f"a column of {where}: {', '.join(columns)}", instead)
