"""Weights of rows: read, checked, and carried beside the rows that they belong to."""

from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lumbre.base import DataError
from lumbre.data._shown import form_of


class WeightedRows:
    """Data whose rows have weights; `lumbre.data.weighted` makes it.

    Attributes:
        source: the data.
        weights: float64 tensor of shape (rows,), 0 or more.
    """

    def __init__(self, source: Any, weights: Tensor) -> None:
        self.source = source
        self.weights = weights

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, row: Any) -> NoReturn:
        raise DataError(
            "rows with weights, asked for one by one, as a DataLoader asks for them",
            "these data themselves, of which lumbre makes batches",
            "fit(data, batch_size=..., num_workers=...) in the place of a DataLoader",
        )

    def __repr__(self) -> str:
        # What prints in lines of its own; tensors would print their numbers.
        title, *facts = repr(self.source).split("\n") if isinstance(self.source, Dataset) else [self._form()]
        return "\n".join([f"{title} with weights", *facts])

    def _repr_html_(self) -> str:
        low, high = float(self.weights.min()), float(self.weights.max())
        shown = getattr(self.source, "_repr_html_", self._form)()
        return f"<p>with weights from {low:.4g} to {high:.4g}</p>{shown}"

    def _form(self) -> str:
        return f"{len(self):,} rows of {form_of(self.source)}"


def as_weights(values: Any, rows: int, name: str = "weights") -> Tensor:
    """Weights of rows as a float64 tensor of shape (rows,) on the CPU.

    Args:
        values: numbers of 0 or more, or truth values.
        rows: how many there must be.
        name: what they are called in errors.

    Raises:
        DataError: they are none.
    """
    found = _numbers(values)
    if found is None or found.shape != (rows,):
        got = type(values).__name__ if found is None else f"shape {tuple(found.shape)}"
        raise DataError(
            f"{name} of {got} for {rows} rows",
            "one number for each row, in their order, shape (rows,)",
            f"an array of {rows} numbers",
        )
    good = torch.isfinite(found) & (found >= 0)
    if not bool(good.all()):
        row = int((~good).to(torch.uint8).argmax())
        raise DataError(
            f"{name} of which {int((~good).sum())} are negative, NaN or infinite, the first in row {row}: "
            f"{float(found[row]):g}",
            "finite numbers of 0 or more: a row of weight 2 counts twice, one of weight 0 not at all",
            "0 for rows that are not to count",
        )
    if not bool(torch.isfinite(found.sum())):
        raise DataError(f"{name} whose sum is infinite", "weights whose sum is a number", "weights / weights.max()")
    return found


def _numbers(values: Any) -> Tensor | None:
    """Numbers as float64, what is masked as NaN; None for other things."""
    if isinstance(values, Tensor):
        return None if values.is_complex() or values.layout != torch.strided else values.detach().cpu().double()
    try:
        array = np.asanyarray(values)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "biuf":
        return None
    return torch.from_numpy(np.ma.filled(array.astype(np.float64), np.nan))


def that_count(weights: Tensor) -> Tensor | None:
    """The rows of weights above 0, an int64 tensor of row numbers; None where all are.

    Raises:
        DataError: there is none.
    """
    if bool((weights > 0).all()):
        return None
    rows = weights.nonzero()[:, 0]
    if not len(rows):
        raise DataError(
            f"weights of {len(weights)} rows that are all zero",
            "at least one row that counts",
            "weights above 0 for the rows that are to count",
        )
    return rows
