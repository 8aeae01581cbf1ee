"""Mean and standard deviation of columns: what frames and Parquet files are standardised with.

They are the same to the last bit however the rows come in pieces: into chunks, row groups or files. For that, sums are
exact, and only the result is rounded.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from lumbre.data._matrix import too_large

_CONSTANT = 1e-10  # a spread of so much of the mean is what rounding leaves of a constant
_BLOCK = 1 << 14
_BITS = 48  # of each number summed at a time: sums of a block of such pieces fit into the 63 bits of an int64
_ONE_BITS = 1200  # below which no float64 has a bit
_ONE = 1 << _ONE_BITS
_LEAST_BIT = -1074  # of float64
_LARGEST = 2.0**500  # whose square float64 still holds


class Moments:
    """Mean and variance of columns, taken in block by block.

    Attributes:
        rows: taken in so far.
    """

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self._columns = [_Column() for _ in range(columns)]

    def add(self, columns: "Sequence[np.ndarray[Any, Any]]") -> None:
        """Take in more rows: one array of shape (rows,) for each column, of any type of numbers, all finite."""
        self.rows += len(columns[0])
        for column, values in zip(self._columns, columns, strict=True):
            column.add(values)

    def check(self, names: Sequence[str]) -> None:
        """See that torch's default dtype can hold every number.

        Args:
            names: of the columns.

        Raises:
            DataError: it cannot.
        """
        most = min(_LARGEST, torch.finfo(torch.get_default_dtype()).max)
        for name, column in zip(names, self._columns, strict=True):
            if not column.largest <= most:
                raise too_large(name)

    @property
    def center(self) -> tuple[float, ...]:
        """The means."""
        return tuple(column.mean(self.rows) for column in self._columns)

    @property
    def scale(self) -> tuple[float, ...]:
        """The standard deviations over all rows; 1 for a constant column, which leaves nothing to divide by."""
        spreads = [column.spread(self.rows) for column in self._columns]
        return tuple(
            spread if spread > _CONSTANT * abs(mean) else 1.0 for spread, mean in zip(spreads, self.center, strict=True)
        )


def weighted_moments(
    name: str, values: "np.ndarray[Any, Any]", weights: "np.ndarray[Any, np.dtype[np.float64]]"
) -> tuple[float, float]:
    """Mean and standard deviation of a column whose rows have weights; the latter is 1 for a constant column.

    Args:
        name: of the column.
        values: finite numbers, shape (rows,).
        weights: of the rows, shape (rows,), whose sum is above 0.

    Raises:
        DataError: torch's default dtype cannot hold every number.
    """
    column = values.astype(np.float64)
    if not np.abs(column).max() <= min(_LARGEST, torch.finfo(torch.get_default_dtype()).max):
        raise too_large(name)
    column -= values[0]
    moved = float(np.average(column, weights=weights))
    mean = float(values[0]) + moved
    spread = math.sqrt(float(np.average((column - moved) ** 2, weights=weights)))
    return mean, spread if spread > _CONSTANT * abs(mean) else 1.0


class _Column:
    """Exact sums of what numbers differ by from the first of them, and of the squares of that.

    The first number takes away what they have in common, so that nothing cancels in the end: if it lies far from all
    others, the spread is as large.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self._first: float | None = None
        self._sum = 0
        self._squares = 0

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        if not len(values):
            return
        if self._first is None:
            self._first = float(values[0])
        moved, squares, spare = np.empty((3, min(_BLOCK, len(values))))
        for begin in range(0, len(values), _BLOCK):
            block = values[begin : begin + _BLOCK]
            size = len(block)
            top, bottom = float(block.max()), float(block.min())
            self.largest = max(self.largest, abs(top), abs(bottom))
            if not self.largest <= _LARGEST:
                return  # it is refused
            np.subtract(block, self._first, out=moved[:size], dtype=np.float64)
            np.multiply(moved[:size], moved[:size], out=squares[:size])
            most = max(top - self._first, self._first - bottom)
            self._squares += _exact_sum(squares[:size], most * most, spare[:size])
            self._sum += _exact_sum(moved[:size], most, spare[:size])

    def mean(self, rows: int) -> float:
        return float(Fraction(self._first or 0.0) + Fraction(self._sum, rows * _ONE))

    def spread(self, rows: int) -> float:
        squares, mean = Fraction(self._squares, rows * _ONE), Fraction(self._sum, rows * _ONE)
        return math.sqrt(max(0.0, float(squares - mean**2)))


def _exact_sum(values: "np.ndarray[Any, Any]", most: float, spare: "np.ndarray[Any, Any]") -> int:
    """The exact sum, times `_ONE`, of at most `_BLOCK` finite numbers of a size of at most `most`.

    Pieces of `_BITS` leading bits are cut off all of them at once, by adding and taking away a number of the right
    size (Ogita, Rump and Oishi, "Accurate Sum and Dot Product", 2005). With that number added, the last bits of a
    float64 are the piece as a whole number. `values` and `spare`, of the same shape, are used up.
    """
    total = 0
    bits = math.frexp(most)[1]
    while most:
        # What is left of each number is at most half the last bit of its piece.
        bits = max(bits - _BITS, _LEAST_BIT)
        cut = math.ldexp(1.5, bits + 52)
        np.add(values, cut, out=spare)
        # Sums of int64 are right but for multiples of 2^64, and the sum of the pieces is smaller than half that.
        pieces = int(spare.view(np.int64).sum()) - len(values) * int(np.float64(cut).view(np.int64))
        total += ((pieces + 2**63) % 2**64 - 2**63) << bits + _ONE_BITS
        spare -= cut
        values -= spare
        if not values.any():
            break
    return total
