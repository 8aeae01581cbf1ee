"""Quantiles of columns, exact, the same to the last bit however the rows come in pieces.

Rows in memory are ordered there. Of files only counts are kept: numbers become whole numbers of the same order, which
are counted by their leading 16 bits, then, among those that the searched one lies with, by the next 16; so four times.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

_Array: TypeAlias = np.ndarray[Any, Any]
Readings: TypeAlias = Callable[[], Iterator[list[_Array]]]
"""Reads all rows once: blocks, each with an array of numbers of shape (rows,) for each column, all finite."""
_BITS = 16


def quantiles(readings: Readings, columns: int, shares: Sequence[float], *, held: bool) -> list[tuple[float, ...]]:
    """The numbers of each column below which such shares of its rows lie; between two of them in proportion.

    Args:
        readings: reads all rows.
        columns: how many there are.
        shares: from 0 to 1.
        held: whether the rows are in memory.
    """
    if held:
        parts = zip(*readings(), strict=True)
        return [_of_held(np.concatenate([part.astype(np.float64) for part in column]), shares) for column in parts]
    counts = [0] * columns
    for block in readings():
        for column, values in enumerate(block):
            counts[column] += len(values)
    ranks = [sorted({rank for share in shares for rank in _ranks(count, share)}) if count else [] for count in counts]
    found = _searched(readings, ranks)
    return [
        tuple(_between(count, share, numbers.__getitem__) if count else math.nan for share in shares)
        for count, numbers in zip(counts, found, strict=True)
    ]


def weighted_quantiles(values: _Array, weights: _Array, shares: Sequence[float]) -> tuple[float, ...]:
    """Those of rows with weights: with whole numbers they are what `quantiles` gives for each row so many times.

    The rows lie end to end by their weights. Where rows weigh 1, a quantile between two of them is the mean over a
    stretch of length 1; so it is here, but that rows which weigh less than 1 on average have a stretch of that average.

    Args:
        values: numbers of shape (rows,).
        weights: of the rows, shape (rows,), above 0.
        shares: from 0 to 1.
    """
    if not len(values):
        return (math.nan,) * len(shares)
    order = np.argsort(values, kind="stable")
    values, weights = values[order].astype(np.float64), weights[order]
    upper = np.cumsum(weights)
    length = min(1.0, float(upper[-1]) / len(values))
    found: list[float] = []
    for share in shares:
        begin = (upper[-1] - length) * share
        inside = np.minimum(upper, begin + length) - np.maximum(upper - weights, begin)
        inside = inside.clip(0) * (inside > 1e-9 * length)  # less is what rounding leaves
        found.append(float(np.average(values - values[0], weights=inside) + values[0]) + 0.0)
    return tuple(found)


def _of_held(values: _Array, shares: Sequence[float]) -> tuple[float, ...]:
    count = len(values)
    if not count:
        return (math.nan,) * len(shares)
    values.partition(sorted({rank for share in shares for rank in _ranks(count, share)}))
    return tuple(_between(count, share, lambda rank: float(values[rank])) for share in shares)


def _ranks(count: int, share: float) -> tuple[int, int]:
    low = math.floor((count - 1) * share)
    return low, min(low + 1, count - 1)


def _between(count: int, share: float, value: Callable[[int], float]) -> float:
    low, high = _ranks(count, share)
    lower, upper = value(low), value(high)
    part = (count - 1) * share - low
    return lower + (upper - lower) * part + 0.0 if part else lower + 0.0  # adding 0.0 makes -0.0 a 0.0


def _searched(readings: Readings, ranks: list[list[int]]) -> list[dict[int, float]]:
    """The number of each rank, counted from the smallest, of each column."""
    # What is known of each searched number: its leading bits, and its rank among those with the same.
    known = [{rank: (0, rank) for rank in of_column} for of_column in ranks]
    for rest in range(64 - _BITS, -1, -_BITS):
        tallies = [{lead: np.zeros(1 << _BITS, np.int64) for lead, _ in one.values()} for one in known]
        for block in readings():
            for values, tally in zip(block, tallies, strict=True):
                keys = _keys(values) if tally else np.zeros(0, np.uint64)
                leads = keys >> np.uint64(rest + _BITS) if rest + _BITS < 64 else np.zeros_like(keys)
                for lead, counts in tally.items():
                    digits = keys[leads == np.uint64(lead)] >> np.uint64(rest) & np.uint64((1 << _BITS) - 1)
                    counts += np.bincount(digits.astype(np.int64), minlength=1 << _BITS)
        for one, tally in zip(known, tallies, strict=True):
            for rank, (lead, left) in one.items():
                ends = tally[lead].cumsum()
                digit = int(np.searchsorted(ends, left, side="right"))
                one[rank] = (lead << _BITS | digit, left - int(ends[digit - 1] if digit else 0))
    return [{rank: _number(key) for rank, (key, _) in one.items()} for one in known]


def _keys(values: _Array) -> _Array:
    """Whole numbers without a sign that are in the order of the numbers."""
    bits = values.astype(np.float64).view(np.uint64)
    return np.where(bits >> np.uint64(63) == 1, ~bits, bits | np.uint64(1 << 63))


def _number(key: int) -> float:
    bits = key & ~(1 << 63) if key >> 63 else ~key & ((1 << 64) - 1)
    return float(np.array([bits], dtype=np.uint64).view(np.float64)[0])
