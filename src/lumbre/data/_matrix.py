"""Columns written into one matrix of floats, block by block of rows, so that hardly anything is held twice."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError

_Array: TypeAlias = np.ndarray[Any, Any]
_BLOCK_BYTES = 1 << 20  # of the matrix: what lies in a core's own cache, where writing a column costs little
_HELD_SHARE = 4  # columns wait until they take a quarter of what the matrix does


def default_floats() -> "type[np.floating[Any]]":
    """NumPy's type of floats for torch's default dtype; float32 for those that NumPy lacks or that are shorter."""
    return np.float64 if torch.get_default_dtype() == torch.float64 else np.float32


@dataclass(frozen=True, slots=True)
class _Part:
    """Values of shape (rows,) for the columns from `at` on: numbers, or codes of so many levels."""

    at: int
    values: _Array
    center: float = 0.0
    scale: float = 1.0
    clip: bool = False
    levels: int | None = None

    def write(self, block: _Array, begin: int) -> None:
        values = self.values[begin : begin + len(block)]
        if self.levels is None:
            values = values.astype(np.float64, copy=False)
            plain = self.center == 0.0 and self.scale == 1.0
            values = values if plain else (values - self.center) / self.scale
            block[:, self.at] = smooth_clip(values) if self.clip else values
            return
        block[:, self.at : self.at + self.levels] = 0
        known = np.arange(len(values)) if len(values) and values.min() >= 0 else np.flatnonzero(values >= 0)
        block[known, self.at + values[known]] = 1


def smooth_clip(values: _Array) -> _Array:
    """x / sqrt(1 + (x / 3)^2): hardly changes numbers around 0, and keeps all within -3 and 3."""
    return values / np.hypot(1.0, values / 3)


class Matrix:
    """A matrix that is filled by columns, from left to right.

    Args:
        rows: of each column.
        width: columns in all; each has to be written.
    """

    def __init__(self, rows: int, width: int) -> None:
        self._values = np.empty((rows, width), default_floats())
        self._waiting: list[_Part] = []
        self._names: list[str] = []

    def add_numbers(
        self, name: str, values: _Array, center: float = 0.0, scale: float = 1.0, *, clip: bool = False
    ) -> None:
        """The next column: (values - center) / scale, computed in float64; `values` of shape (rows,).

        With `clip` they go through `smooth_clip`.
        """
        self._add(_Part(len(self._names), values, center, scale, clip), [name])

    def add_codes(self, name: str, codes: _Array, levels: int) -> None:
        """The next `levels` columns: 1 in that of the code, else 0; a code below 0 sets none."""
        self._add(_Part(len(self._names), codes, levels=levels), [name] * levels)

    def _add(self, part: _Part, names: list[str]) -> None:
        self._names += names
        self._waiting.append(part)
        if sum(one.values.nbytes for one in self._waiting) > self._values.nbytes // _HELD_SHARE:
            self._write()

    def _write(self) -> None:
        rows, width = self._values.shape
        size = max(1, _BLOCK_BYTES // max(1, width * self._values.itemsize))
        with np.errstate(over="ignore"):  # what overflows is refused at the end
            for begin in range(0, rows, size):
                block = self._values[begin : begin + size]
                for part in self._waiting:
                    part.write(block, begin)
        self._waiting.clear()

    def tensor(self) -> Tensor:
        """All of it, of shape (rows, width), in torch's default dtype.

        Raises:
            DataError: a number is larger than that can hold.
        """
        self._write()
        matrix = torch.from_numpy(self._values).to(torch.get_default_dtype())
        if matrix.numel() and not torch.isfinite(matrix.sum()):
            beyond = (~torch.isfinite(matrix)).any(0).nonzero()[:, 0].tolist()
            if beyond:
                raise too_large(self._names[beyond[0]])
        return matrix


def too_large(name: str) -> DataError:
    """The error for a column with numbers beyond the default dtype."""
    most = torch.finfo(torch.get_default_dtype()).max
    return DataError(
        f"column {name!r} with a number beyond {str(torch.get_default_dtype()).removeprefix('torch.')}",
        f"numbers up to {most:.2g}, also once they are centred and scaled",
        "look at that row: it may be a mark for a missing value; or take the logarithm of the column",
    )
