"""The options of random transforms, checked when they are made: chances, and ranges to draw from."""

from collections.abc import Sequence
from numbers import Real
from typing import TypeAlias

from torch import Tensor

from lumbre.base import OptionError, only_numbers
from lumbre.vision._rows import uniform

Span: TypeAlias = float | tuple[float, float]
"""A range to draw from, or one number for a range around the neutral value."""


def check_chance(p: float) -> None:
    """Raise OptionError for what is no probability."""
    only_numbers("a probability between 0 and 1", 0.5, lambda value: 0 <= value <= 1, p=p)


def bounds(
    value: float | Sequence[float],
    name: str,
    around: float = 0.0,
    low: float = -float("inf"),
    high: float = float("inf"),
) -> tuple[float, float]:
    """The lower and the upper end of a range.

    Args:
        value: the two ends, or a distance to go either way from `around`.
        name: the option, for errors.
        around: the neutral value.
        low: no end may be below; a distance is cut there.
        high: no end may be above.

    Raises:
        OptionError: the ends are in the wrong order or out of bounds, or a distance is negative.
    """
    if isinstance(value, int | float):
        ends = (max(around - value, low), around + value)
        sound = value >= 0
    else:
        sound = isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, Real) for end in value)
        ends = (float(value[0]), float(value[-1])) if sound else (around, around)
    if not sound or not low <= ends[0] <= ends[1] <= high:
        within = f", within [{low:g}, {high:g}]" if low > -float("inf") else ""
        raise OptionError(
            f"{name}={value!r}",
            f"(lowest, highest){within}, or a distance from {around:g} that is not negative",
            f"{name}=({around - 0.1 if around - 0.1 >= low else low:g}, {around + 0.1:g})",
        )
    return ends


def drawn(seeds: Tensor, name: str, ends: tuple[float, float]) -> Tensor:
    """A number between the ends for each row: float64 of shape (batch,), on the host."""
    return ends[0] + (ends[1] - ends[0]) * uniform(seeds, name)[:, 0]


def happens(seeds: Tensor, p: float) -> Tensor:
    """For each row whether it is touched: bool of shape (batch,), on the host."""
    return uniform(seeds, "happens")[:, 0] < p
