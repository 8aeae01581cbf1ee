"""Columns of numbers checked, and as tensors."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError
from lumbre.data._cells import Cells, Dates, Numbers, Texts
from lumbre.data._matrix import Matrix


def vector(name: str, numbers: Numbers) -> Tensor:
    """Whole numbers as int64, others in torch's default dtype."""
    if numbers.whole:
        return int64(name, numbers)
    return floats(name, numbers)


def int64(name: str, numbers: Numbers) -> Tensor:
    """Whole numbers, of shape (rows,).

    Raises:
        DataError: some have a fraction, or are too large.
    """
    values = numbers.values
    if values.dtype.kind == "f" or (values.dtype == np.uint64 and len(values) and values.max() >= 2**63):
        if numbers.long or values.dtype == np.uint64:
            raise DataError(
                f"whole numbers beyond 64 bits in the target {name!r}",
                "whole numbers that int64 holds, -2**63 to 2**63 - 1",
                f"df[{name!r}].astype(float) for measurements; .astype(str) for classes",
            )
        broken = values[values % 1 != 0]
        if len(broken) or (abs(values) >= 2.0**63).any():
            raise DataError(
                f"the target {name!r} with {float(broken[0]) if len(broken) else float(abs(values).max()):g}",
                "whole numbers, as in the training data",
                "the classes or counts that the model was trained on",
            )
    return torch.from_numpy(np.array(values, dtype=np.int64))


def floats(name: str, numbers: Numbers, center: float = 0.0, scale: float = 1.0) -> Tensor:
    """(values - center) / scale in torch's default dtype, of shape (rows,)."""
    matrix = Matrix(len(numbers.values), 1)
    matrix.add_numbers(name, numbers.values, center, scale)
    return matrix.tensor()[:, 0]


def as_numbers(name: str, cells: Cells, *, boolean: bool = False) -> Numbers:
    """Numbers, where numbers are expected; zeros and ones, where booleans are."""
    if isinstance(cells, Texts):
        raise DataError(
            f"column {name!r} of type text or categories",
            "numbers, as in the training data",
            "convert the column, or make it as it was made for training",
        )
    if boolean and cells.values.dtype.kind != "b":
        others = cells.values[(cells.values != 0) & (cells.values != 1)]
        if len(others):
            raise DataError(
                f"column {name!r} with {others[0].item():g}, which was True and False in training",
                "booleans, or 0 and 1",
                "make it as it was made for training",
            )
    return cells


def present(name: str, cells: Cells) -> Cells:
    """A column without missing values.

    Raises:
        DataError: it has some.
    """
    refuse_missing({name: cells.missing})
    return cells


def refuse_infinite(name: str, cells: Cells | Dates) -> None:
    """See that no number is infinite.

    Raises:
        DataError: one is.
    """
    if isinstance(cells, Numbers) and cells.values.dtype.kind == "f" and np.isinf(cells.values).any():
        raise DataError(
            f"infinite numbers in {name!r}, {int(np.isinf(cells.values).sum())} of them",
            "numbers, or missing values",
            f"df[{name!r}].replace([numpy.inf, -numpy.inf], numpy.nan), if they stand for missing values",
        )


def refuse_missing(counts: Mapping[str, int]) -> None:
    """See that nothing is missing.

    Args:
        counts: missing values by column.

    Raises:
        DataError: there are some; it names the columns and counts them.
    """
    missing = {name: count for name, count in counts.items() if count}
    if missing:
        counted = ", ".join(f"{count} in {name!r}" for name, count in missing.items())
        raise DataError(
            f"missing values (NaN, infinite or null): {counted}",
            "columns without missing values",
            "df.dropna(subset=[...]) leaves such rows out; of features,"
            ' from_frame(..., missing="indicate") learns a median and says where it stands',
        )
