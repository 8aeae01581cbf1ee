"""What is learned of columns from the training rows: centre and scale, medians, first dates."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from lumbre.base import DataError
from lumbre.data._columns import Column
from lumbre.data._date_parts import days_since, years
from lumbre.data._matrix import too_large
from lumbre.data._moments import Moments, weighted_moments
from lumbre.data._quantiles import quantiles, weighted_quantiles

_Array: TypeAlias = np.ndarray[Any, Any]
Readings: TypeAlias = Callable[[Sequence[Column]], Iterator[list[_Array]]]
"""Reads all training rows once: blocks, each with the values of the columns that are there, of shape (n,)."""
Weigh: TypeAlias = Callable[[Column], _Array]
"""Gives the weights of the rows in which a column has values, of shape (n,), above 0."""
_FIVE = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is learned, as a `FrameEncoding` keeps it."""

    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    fill: tuple[float, ...] = ()
    origin: tuple[int, ...] = ()


def learned(
    features: Sequence[Column],
    standardize: bool | str,
    missing: str,
    readings: Readings,
    *,
    held: bool,
    weigh: Weigh | None = None,
) -> Learned:
    """Learn of the features what their encoding needs.

    Args:
        features: in order.
        standardize: False, True or "robust".
        missing: "error" or "indicate".
        readings: reads the rows.
        held: whether the rows are in memory. Then one column is looked at after the other, else all at once.
        weigh: gives the weights of rows, where they have any; they are in memory then.

    Raises:
        DataError: a column cannot be read, holds numbers too large, or no value at all.
    """
    needed = [column for column in features if _needed(column, standardize, missing)]
    groups = [[column] for column in needed] if held else [needed] if needed else []
    found = [_of(group, standardize, missing, readings, held=held, weigh=weigh) for group in groups]
    return Learned(
        center=tuple(value for one in found for value in one.center),
        scale=tuple(value for one in found for value in one.scale),
        fill=tuple(value for one in found for value in one.fill),
        origin=tuple(value for one in found for value in one.origin),
    )


def _needed(column: Column, standardize: bool | str, missing: str) -> bool:
    if column.is_date or (missing == "indicate" and column.measured):
        return True
    return bool(standardize) and column.kind == "number"


def _of(
    columns: Sequence[Column],
    standardize: bool | str,
    missing: str,
    readings: Readings,
    *,
    held: bool,
    weigh: Weigh | None,
) -> Learned:
    dates = [column for column in columns if column.is_date]
    firsts: list[int | None] = [None] * len(dates)
    for block in readings(dates) if dates else ():
        for place, values in enumerate(block):
            known = [firsts[place], int(values.min()) if len(values) else None]
            firsts[place] = min((one for one in known if one is not None), default=None)
    origin = tuple(map(_first, dates, firsts))
    fill: tuple[float, ...] = ()
    weights = None if weigh is None else weigh(columns[0])
    if missing == "indicate":
        medians = _quantiles(lambda: readings(columns), len(columns), (0.5,), held=held, weights=weights)
        fill = tuple(_known(column.name, one[0]) for column, one in zip(columns, medians, strict=True))
    parts = [part for column in columns for part in column.parts]
    if not standardize or not parts:
        return Learned(fill=fill, origin=origin)

    def series() -> Iterator[list[_Array]]:
        begin = dict(zip((column.name for column in dates), origin, strict=True))
        for block in readings(columns):
            found: list[_Array] = []
            for column, values in zip(columns, block, strict=True):
                if column.is_date:
                    found += [years(values), days_since(values, begin[column.name])]
                elif column.parts:
                    found.append(values)
            yield found

    if standardize == "robust":
        center, scale = _robust(parts, series, held=held, weights=weights)
    else:
        center, scale = _plain(parts, series, weights)
    return Learned(center, scale, fill, origin)


def _quantiles(
    series: Callable[[], Iterator[list[_Array]]],
    columns: int,
    shares: Sequence[float],
    *,
    held: bool,
    weights: _Array | None,
) -> list[tuple[float, ...]]:
    if weights is None:
        return quantiles(series, columns, shares, held=held)
    [block] = series()
    return [weighted_quantiles(values, weights, shares) for values in block]


def _plain(parts: Sequence[str], series: Callable[[], Iterator[list[_Array]]], weights: _Array | None) -> Any:
    """Means and standard deviations."""
    if weights is not None:
        [block] = series()
        pairs = [_weighted(name, values, weights) for name, values in zip(parts, block, strict=True)]
        return tuple(mean for mean, _ in pairs), tuple(spread for _, spread in pairs)
    moments = [Moments(1) for _ in parts]
    for block in series():
        for one, values in zip(moments, block, strict=True):
            one.add([values])
    for one, name in zip(moments, parts, strict=True):
        one.check([name])
        if not one.rows:
            raise _nothing(name)
    return tuple(one.center[0] for one in moments), tuple(one.scale[0] for one in moments)


def _weighted(name: str, values: _Array, weights: _Array) -> tuple[float, float]:
    if not len(values):
        raise _nothing(name)
    return weighted_moments(name, values, weights)


def _robust(
    parts: Sequence[str],
    series: Callable[[], Iterator[list[_Array]]],
    *,
    held: bool,
    weights: _Array | None,
) -> Any:
    """Medians, and ranges between the quartiles; half of the whole range where that is 0 (RealMLP, see docs)."""
    most = torch.finfo(torch.get_default_dtype()).max
    center: list[float] = []
    scale: list[float] = []
    for name, five in zip(parts, _quantiles(series, len(parts), _FIVE, held=held, weights=weights), strict=True):
        least, lower, median, upper, largest = five
        _known(name, median)
        if not max(abs(least), abs(largest)) <= most:
            raise too_large(name)
        center.append(median)
        scale.append(upper - lower or (largest - least) / 2 or 1.0)
    return tuple(center), tuple(scale)


def _first(column: Column, value: int | None) -> int:
    if value is None:
        raise _nothing(column.name)
    return value


def _known(name: str, value: float) -> float:
    if value != value:
        raise _nothing(name)
    return value


def _nothing(name: str) -> DataError:
    return DataError(
        f"column {name!r} without a value in the training rows",
        "a column with some values to learn from",
        "leave it out of features",
    )
