"""How likely each row is drawn: the `sampler` option of `fit()` as weights."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, Source
from lumbre.data._frames import FrameData
from lumbre.data._order import balanced_weights
from lumbre.data._parquet import ParquetData
from lumbre.data._sources import ArraySource, InMemoryDataset, MapSource, Taken
from lumbre.data._weights import WeightedRows


def sampling_weights(sampler: Any, data: Source | FrameData, rows: Tensor | None = None) -> Tensor:
    """The weights that `sampler` stands for.

    Args:
        sampler: "balanced", or weights of shape (len(data),).
        data: the rows to draw from.
        rows: int64 tensor of shape (n,): the rows of `data` that are trained on; None takes all.

    Returns:
        A tensor of shape (n,).

    Raises:
        DataError: the target is not at hand as classes, or there is not one weight for each row.
        OptionError: rows of such data cannot be drawn one by one.
    """
    if isinstance(data, ParquetData):
        raise OptionError(
            "sampler=... beside Parquet data",
            "data whose rows can be read one by one",
            "the rows in memory, lumbre.data.from_frame(pandas.read_parquet(path), target=...); or a loss with weights",
        )
    if isinstance(sampler, str):
        labels = _class_labels(data)
        return balanced_weights(labels if rows is None else labels[rows.numpy()])
    weights = np.asarray(sampler)
    if weights.shape != (len(data),) or weights.dtype.kind not in "biuf":
        raise DataError(
            f"sampler of shape {weights.shape} and type {weights.dtype} for {len(data)} rows",
            "one weight for each row of the data",
            'an array of shape (rows,), or sampler="balanced"',
        )
    return torch.from_numpy(weights.astype(np.float64))[slice(None) if rows is None else rows]


def _class_labels(data: Source | FrameData) -> "np.ndarray[Any, Any]":
    target = target_column(data)
    labels = None if target is None else np.asarray(target)
    if labels is None or labels.shape != (len(data),) or labels.dtype.kind == "f":
        got = "not at hand" if labels is None else f"of shape {labels.shape} and type {labels.dtype}"
        raise DataError(
            f'sampler="balanced" for a {type(data).__name__} whose target is {got}',
            "a class for each row: integers, booleans or text of shape (rows,)",
            "sampler=lumbre.data.balanced_weights(labels), with the class of each row",
        )
    return labels


def target_column(data: Any) -> Any:
    """The target of every row where it is at hand as one column, else None."""
    if isinstance(data, WeightedRows):
        return target_column(data.source)
    if isinstance(data, Taken):
        target = target_column(data.source)
        return None if target is None else np.asarray(target)[data.rows.numpy()]
    if isinstance(data, FrameData):
        return None if data.encoding.target is None or data.encoding.matrix else data.column(data.encoding.target.name)
    if isinstance(data, (InMemoryDataset, ArraySource)):
        return data.target if isinstance(data.target, (Tensor, np.ndarray)) else None
    if isinstance(data, MapSource):  # torchvision's data sets and lumbre's images have their labels there
        labels = getattr(data.dataset, "targets", None)
        return np.asarray(labels) if isinstance(labels, (Tensor, np.ndarray, list)) else None
    return None
