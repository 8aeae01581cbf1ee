"""Columns of numbers as tensors, as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError
from lumbre.data._cells import Cells, Numbers, Texts, read
from lumbre.data._matrix import Matrix
from lumbre.data._tables import Table, column_name, is_series


def numeric_matrix(frame: Any) -> Tensor:
    """A frame of numbers as a tensor of shape (rows, columns), a series as one of shape (rows,).

    Floats come in torch's default dtype, a series of integers as int64.

    Raises:
        DataError: a column is no number, or has missing values.
    """
    import narwhals.stable.v2 as nw

    if is_series(frame):
        series = nw.from_native(frame, series_only=True)
        name, kind = column_name(series.name), str(series.dtype)
        return vector(name, _numbers_alone({name: read(name, frame)}, lambda _: kind)[0])
    table = Table(frame)
    columns = _numbers_alone({name: table.cells(name) for name in table.columns}, table.dtype)
    matrix = Matrix(len(table), len(columns))
    for name, numbers in zip(table.columns, columns, strict=True):
        matrix.add_numbers(name, numbers.values)
    return matrix.tensor()


def _numbers_alone(cells: dict[str, Cells], kind: Callable[[str], str]) -> list[Numbers]:
    strange = [f"{name!r} ({kind(name)})" for name, one in cells.items() if isinstance(one, Texts)]
    if strange:
        raise DataError(
            f"columns that are no numbers: {', '.join(strange)}",
            "columns of numbers or booleans in a frame that is passed as it is",
            "lumbre.data.from_frame(df, target=...), which encodes text and categories, or drop these columns",
        )
    refuse_missing({name: one.missing for name, one in cells.items()})
    return [one for one in cells.values() if isinstance(one, Numbers)]


def vector(name: str, numbers: Numbers) -> Tensor:
    """Whole numbers as int64, others in torch's default dtype."""
    if numbers.whole:
        return int64(name, numbers)
    return floats(name, numbers)


def int64(name: str, numbers: Numbers) -> Tensor:
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


def floats(name: str, numbers: Numbers) -> Tensor:
    matrix = Matrix(len(numbers.values), 1)
    matrix.add_numbers(name, numbers.values)
    return matrix.tensor()[:, 0]


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
            "df.dropna(subset=[...]) leaves such rows out, df.fillna({...}) fills them",
        )
