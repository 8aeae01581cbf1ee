"""Columns written into one matrix of floats, block by block of rows, so that hardly anything is held twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError

CLIP = 3.0  # what robustly scaled numbers stay within
_Array: TypeAlias = np.ndarray[Any, Any]
_BLOCK_BYTES = 1 << 21  # of the matrix, and of the tile: what lies in a core's cache
_BLOCK_ROWS = 1024  # at least, for calls to be worth their cost
_FEW_LEVELS = 32  # compared with each code; for more it is faster to set ones among zeros
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

    @property
    def width(self) -> int:
        return 1 if self.levels is None else self.levels

    @property
    def scattered(self) -> bool:
        """Whether it is written into the matrix itself, and not by way of the tile."""
        return self.levels is not None and self.levels > _FEW_LEVELS

    def fill(self, tile: _Array, begin: int, spare: _Array) -> None:
        """Write its rows from `begin` on into `tile` of shape (width, rows); `spare`, float64 (rows,), is used up."""
        rows = tile.shape[1]
        values = self.values[begin : begin + rows]
        if self.levels is not None:
            np.equal(values, np.arange(self.levels, dtype=values.dtype)[:, None], out=tile)
        elif self.center == 0.0 and self.scale == 1.0 and not self.clip:
            if values.dtype.kind in "iu":  # as all others: by way of float64
                spare[:] = values
                values = spare
            tile[0] = values
        else:
            np.subtract(values, self.center, out=spare, dtype=np.float64)
            if self.clip:
                spare /= self.scale
                tile[0] = smooth_clip(spare)
            else:
                np.divide(spare, self.scale, out=tile[0], casting="same_kind")

    def scatter(self, block: _Array, begin: int) -> None:
        """Write its rows from `begin` on into all columns of the matrix, `block` of shape (rows, width)."""
        values = self.values[begin : begin + len(block)]
        known = np.arange(len(values)) if len(values) and values.min() >= 0 else np.flatnonzero(values >= 0)
        block[:, self.at : self.at + self.width] = 0
        flat = block.reshape(-1)  # one index is faster than two
        flat[known * block.shape[1] + self.at + values[known]] = 1


def smooth_clip(values: _Array) -> _Array:
    """x / sqrt(1 + (x / 3)^2): hardly changes numbers around 0, and keeps all within -3 and 3."""
    return values / np.hypot(1.0, values / CLIP)


class Matrix:
    """A matrix that is filled by columns, from left to right.

    Args:
        rows: of each column.
        width: columns in all; each has to be written.
    """

    def __init__(self, rows: int, width: int) -> None:
        # Torch's memory: NumPy asks for huge pages, which take several times as long where memory is in pieces.
        kind = torch.float64 if default_floats() is np.float64 else torch.float32
        self._values: _Array = torch.empty((rows, width), dtype=kind).numpy()
        self._waiting: list[_Part] = []
        self._held = 0  # bytes of what waits and is no view
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
        # Views of the frame cost nothing; the fewer passes over the matrix, the better.
        self._held += part.values.nbytes if part.values.base is None else 0
        if self._held > self._values.nbytes // _HELD_SHARE:
            self._write()

    def _write(self) -> None:
        rows, width = self._values.shape
        size = min(max(1, rows), max(_BLOCK_ROWS, _BLOCK_BYTES // max(1, width * self._values.itemsize)))
        deep = max(_FEW_LEVELS, _BLOCK_BYTES // max(1, size * self._values.itemsize))
        tile, spare = np.empty((min(width, deep), size), self._values.dtype), np.empty(size)
        runs = list(self._runs(len(tile)))
        with np.errstate(over="ignore"):  # what overflows is refused at the end
            for begin in range(0, rows, size):
                block = self._values[begin : begin + size]
                for run in runs:
                    if run[0].scattered:
                        run[0].scatter(block, begin)
                        continue
                    at, end = run[0].at, run[-1].at + run[-1].width
                    for part in run:
                        row = part.at - at
                        part.fill(tile[row : row + part.width, : len(block)], begin, spare[: len(block)])
                    # Columns lie as rows of the tile: written in one piece each, and turned all at once.
                    block[:, at:end] = tile[: end - at, : len(block)].T
        self._waiting.clear()
        self._held = 0

    def _runs(self, deep: int) -> Iterator[list[_Part]]:
        """What waits in pieces that are written together: at most `deep` columns, or one of many levels."""
        run: list[_Part] = []
        for part in self._waiting:
            if run and (part.scattered or run[0].scattered or part.at + part.width - run[0].at > deep):
                yield run
                run = []
            run.append(part)
        if run:
            yield run

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
