"""What a user holds, taken in: tensors, arrays, frames, datasets, loaders."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from lumbre.base import DataError, Nested, Source, describe, is_batch, leaves
from lumbre.data._aligned import in_one_order
from lumbre.data._columns import Column
from lumbre.data._encoding import FrameEncoding
from lumbre.data._frames import FrameData, numeric_matrix
from lumbre.data._numbers import as_tensor, refuse_masked
from lumbre.data._pairs import as_pair
from lumbre.data._parquet import ParquetData
from lumbre.data._sources import ArraySource, InMemoryDataset, MapSource, Taken
from lumbre.data._tables import Table, is_frame, is_series
from lumbre.data._weights import WeightedRows, as_weights
from lumbre.data._wrapped import unwrapped

__all__ = [
    "Accepted",
    "Loaded",
    "accept",
    "by_names",
    "by_places",
    "columns_encoding",
    "is_frame",
    "parted",
    "weighted",
    "whole_targets",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Data that comes as batches: a ready loader, or a stream.

    Attributes:
        loader: the DataLoader, or the IterableDataset that a DataLoader will batch.
        ready: whether the batches are made already, so that no batch_size can apply.
    """

    loader: Any
    ready: bool


_MOST_DENSE = 1 << 26  # numbers of a sparse matrix that is made dense at once

Accepted: TypeAlias = Source | FrameData | Loaded
"""Data without weights of rows; `accept` may give `WeightedRows` around it."""


def accept(data: Any, seed: int, *, empty: bool = False) -> Accepted | WeightedRows:
    """`data` as rows, as frame data still to be encoded, or as batches; rows with weights with these around them.

    Args:
        data: whatever a user holds.
        seed: of the run.
        empty: whether it may be without rows.

    Raises:
        DataError: it is nothing that lumbre can train on.
    """
    rows = _accepted(data, seed)
    if not empty:
        refuse_empty(rows)
    return rows


def refuse_empty(rows: Accepted | WeightedRows) -> None:
    """See that there are rows, where something is learned of them or they are judged.

    Raises:
        DataError: there are none.
    """
    if not isinstance(rows, Loaded) and not len(rows):
        parts = leaves((rows.input, rows.target)) if isinstance(rows, (InMemoryDataset, ArraySource)) else []
        found = ", ".join(describe(part) for part in parts if part is not None)
        raise DataError(f"data without rows: {found or type(rows).__name__}", "at least one row", "pass some data")


def _accepted(data: Any, seed: int) -> Accepted | WeightedRows:
    data = unwrapped(data)
    if isinstance(data, Mapping) and not isinstance(data, dict) and not is_batch(data):
        data = dict(data)
    if isinstance(data, (FrameData, InMemoryDataset, ArraySource, ParquetData, Taken)):
        return data
    if isinstance(data, WeightedRows):
        return WeightedRows(_accepted(data.source, seed), data.weights)
    if isinstance(data, DataLoader):
        return Loaded(data, ready=True)
    if isinstance(data, TensorDataset):
        return InMemoryDataset(*as_pair(tuple(map(as_tensor, data.tensors))))
    if isinstance(data, Subset):
        inner = _accepted(data.dataset, seed)
        if isinstance(inner, WeightedRows):
            rows = torch.as_tensor(list(data.indices), dtype=torch.int64)
            return WeightedRows(taken(inner.source, rows), inner.weights[rows])
        if isinstance(inner, (InMemoryDataset, Taken)):
            return Taken(inner, torch.as_tensor(list(data.indices), dtype=torch.int64))
        return MapSource(data, seed)
    if isinstance(data, IterableDataset):  # the loader of webdataset is one, too, though it gives batches
        return Loaded(data, ready=type(data).__name__ == "WebLoader")
    if data is None or isinstance(data, (str, Path, bytes, int, float)):
        raise _not_data(data)
    if isinstance(data, type):
        raise DataError(f"the class {data.__name__}", "an object with rows", f"{data.__name__}(...) with its arguments")
    if isinstance(data, zip):
        raise DataError("a zip of rows, one after the other", "columns: all inputs and all targets", "(x, y)")
    if type(data).__name__ == "Bunch" and {"data", "target"} <= set(data):  # of scikit-learn
        return _of_bunch(data)
    if _is_columns(data):
        in_one_order(data)
        input, target = as_pair(data)
        made = _tensors(input), _tensors(target)
        if any(isinstance(leaf, np.memmap) or _is_sparse(leaf) for leaf in leaves(made)):  # the large ones
            return ArraySource(*made)
        rows = InMemoryDataset(*made)
        rows.columns = Table(input).columns if _is_table(input) else None
        names = column_names((input, target))
        rows.names = names if any(leaf is not None for leaf in leaves(names)) else None
        return rows
    if not isinstance(data, (tuple, dict)) and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return MapSource(data, seed)
    if not isinstance(data, (tuple, dict)) and hasattr(data, "__iter__"):
        return Loaded(data, ready=True)
    raise _not_data(data)


def weighted(data: Any, weights: Any) -> WeightedRows:
    """Data whose rows have weights: a row of weight 2 counts like the row twice, one of weight 0 not at all.

    Loss, metrics and reports count rows by them, and `split()` and `folds()` carry them along. `fit(data, weights=w)`
    does the same for the training data; validation and test data can be given theirs by this.

    Args:
        data: tensors, arrays, frame data or a map-style Dataset: what `fit()` takes, but for Parquet, loaders and
            streams. Frame data may have a column of them instead, `from_frame(..., weights="column")`.
        weights: of shape (rows,), numbers of 0 or more in the order of the rows, in a tensor, an array, a series or a
            list.

    Returns:
        Data for `fit()`, `valid_data`, `evaluate()`, `compare()`, `report()`, `lumbre.split()` and `folds()`.

    Raises:
        DataError: there is not one number of 0 or more for each row, or the rows cannot have weights.

    Example:
        >>> import torch, lumbre as lb
        >>> data = lb.data.weighted((torch.randn(4, 3), torch.randn(4)), [1, 2, 0.5, 0])
        >>> len(data), data.weights.tolist()
        (4, [1.0, 2.0, 0.5, 0.0])
    """
    in_one_order(data, weights)
    rows = accept(data, 0)
    found = parted(rows, weights)[1]
    source = rows if isinstance(rows, FrameData) else data
    return WeightedRows(source, torch.ones(len(rows), dtype=torch.float64) if found is None else found)  # pyright: ignore[reportArgumentType]


def parted(data: Accepted | WeightedRows, given: Any = None) -> tuple[Accepted, Tensor | None]:
    """Rows, and their weights: float64 of shape (rows,); None where they have none, or all of them weigh 1.

    Args:
        data: as `accept` gives it.
        given: weights that were given beside the data, or None.

    Raises:
        DataError: they are no weights, rows have them twice, or the rows cannot have any.
    """
    own, source = (data.weights, data.source) if isinstance(data, WeightedRows) else (None, data)
    return _parted(source, own, given)


def _parted(data: Any, own: Tensor | None, given: Any) -> tuple[Accepted, Tensor | None]:
    column = data.weights if isinstance(data, FrameData) else None
    if sum(one is not None for one in (own, column, given)) > 1:
        raise DataError(
            "weights twice: beside the data, and in them",
            "one weight for each row",
            'weights=..., or lumbre.data.weighted(data, weights), or from_frame(..., weights="column")',
        )
    if own is None and given is None and column is None:
        return data, None
    if isinstance(data, (Loaded, ParquetData)):
        kind = "Parquet data" if isinstance(data, ParquetData) else f"a {type(data.loader).__name__}"
        raise DataError(
            f"weights of rows beside {kind}, whose rows have no numbers",
            "rows that lumbre draws by their numbers",
            'lumbre.data.from_frame(pandas.read_parquet(path), target=..., weights="column")'
            if isinstance(data, ParquetData)
            else "the Dataset behind it, or tensors: fit(data, weights=w, batch_size=..., num_workers=...)",
        )
    weights = column if column is not None else own if own is not None else as_weights(given, len(data))
    if len(weights) != len(data):
        raise DataError(
            f"{len(weights)} weights for {len(data)} rows", "one weight for each row", "weights of these rows"
        )
    return data, None if bool((weights == 1).all()) else weights


def taken(data: Any, rows: Tensor) -> Any:
    """Some rows of data that `accept` gives: int64 tensor of shape (n,), row numbers."""
    if isinstance(data, WeightedRows):
        return WeightedRows(taken(data.source, rows), data.weights[rows])
    return data.take(rows) if isinstance(data, FrameData) else Taken(data, rows)


def columns_encoding(data: Any) -> FrameEncoding | None:
    """An encoding that takes the columns of a frame by their names and leaves the numbers as they are.

    It is for rows whose input was such a frame; None for others.
    """
    rows = data.source if isinstance(data, Taken) else data
    names = rows.columns if isinstance(rows, InMemoryDataset) else None
    if names is None:
        return None
    return FrameEncoding(tuple(Column(name, "number") for name in names), None, True, False, "error")


def by_names(data: Any, encoding: FrameEncoding, *, need_target: bool) -> InMemoryDataset | None:
    """A pair (frame, target) whose columns are taken by their names; None for data of another kind.

    Raises:
        DataError: a column is missing, or cannot be used.
    """
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    if not pair and not (isinstance(data, dict) and len(data) == 2):
        return None
    input, target = as_pair(data)
    if target is None or not _is_table(input):
        return None
    if need_target:
        in_one_order(input, target)
    values: Nested = None
    if is_frame(target) and encoding.target is not None:
        values = encoding.target_of(target)
    elif need_target or not is_frame(target):
        try:
            columns = None if encoding.target is None else _as_columns(target, encoding)
            values = _tensors(target) if columns is None else encoding.target_of(columns)
        except DataError:  # to predict, it may be of classes that were not seen
            if need_target:
                raise
    rows = encoding.encode(input, need_target=False)
    return InMemoryDataset(rows.input, values, classes=encoding.classes)


def _as_columns(target: Any, encoding: FrameEncoding) -> Any:
    """A target that comes beside a frame, of shape (rows,) or (rows, targets), as a frame of the target's columns.

    So it is read, and scaled, as the column of a frame is. None for class numbers: numbers beside classes whose labels
    are none.
    """
    if not isinstance(target, (np.ndarray, list, tuple, Tensor)) and not hasattr(target, "__array__"):
        return None
    import pandas as pd

    if isinstance(target, Tensor):  # NumPy has not all of torch's types
        target = target.detach().cpu()
        target = target.double() if target.is_floating_point() else target
    values, names = np.asanyarray(target), [column.name for column in encoding.targets]
    refuse_masked(values)
    values = np.asarray(values)
    values = values[:, None] if values.ndim == 1 and len(names) == 1 else values
    if values.ndim != 2 or values.shape[1] != len(names) or values.dtype.kind not in "bOUiuf":
        return None
    named = encoding.classes is None or encoding.labelled_by_numbers
    return pd.DataFrame(values, columns=pd.Index(names)) if named or values.dtype.kind in "bOU" else None


def column_names(part: Any) -> Nested:
    """The names of the columns of each frame in a structure, in its place; None in place of what is no frame."""
    if _is_table(part):
        return list(Table(part).columns)
    if isinstance(part, dict):
        return {str(key): column_names(value) for key, value in part.items()}
    if isinstance(part, (tuple, list)) and not all(isinstance(one, (int, float, str)) for one in part):
        return [column_names(value) for value in part]
    return None


def by_places(data: Any, names: Nested, *, need_target: bool, as_frames: bool = False) -> Any:
    """Data whose frames, wherever they are in it, have the columns of those in training, in their order.

    Args:
        data: what a user gives to validate, evaluate or predict on.
        names: `column_names` of (input, target) in training; None where there were no frames.
        need_target: whether the target is used.
        as_frames: whether frames stay frames, with these columns; else they become tensors.

    Raises:
        DataError: a frame lacks a column.
    """
    if isinstance(data, WeightedRows):
        inner = by_places(data.source, names, need_target=need_target, as_frames=as_frames)
        return WeightedRows(inner, data.weights)
    if not isinstance(names, (list, tuple)) or not isinstance(data, (tuple, list, dict)):
        return data
    input, target = as_pair(data)
    if not need_target and is_frame(target):
        target = None
    in_one_order(input, target)
    return _in_place(input, names[0], as_frames), _in_place(target, names[1], as_frames)


def _in_place(part: Any, names: Any, as_frames: bool) -> Any:
    if names is None:
        return part
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        chosen = Table(part).selected(names) if _is_table(part) else part
        return chosen if as_frames or chosen is part else numeric_matrix(chosen)
    if isinstance(part, dict) and isinstance(names, dict):
        return {key: _in_place(value, names.get(str(key)), as_frames) for key, value in part.items()}
    if isinstance(part, (tuple, list)) and isinstance(names, (list, tuple)) and len(part) == len(names):
        return type(part)(_in_place(one, its, as_frames) for one, its in zip(part, names, strict=True))
    return part


def whole_targets(rows: Any, *, wanted: bool) -> Any:
    """Rows in memory whose target, where it is one of whole numbers in floats or of booleans, is int64 if `wanted`."""
    target = rows.target if isinstance(rows, InMemoryDataset) else None
    if not wanted or not isinstance(target, Tensor) or target.is_complex():
        return rows
    if target.is_floating_point() and not (target % 1 == 0).all():
        return rows
    changed = InMemoryDataset(rows.input, target.long(), transform=rows.transform, classes=rows.classes)
    changed.columns, changed.names = rows.columns, rows.names
    return changed


def _is_table(part: Any) -> bool:
    return is_frame(part) and not is_series(part)


def _is_columns(data: Any) -> bool:
    """Whether every part is a tensor, an array, a frame, a series, or a plain list of numbers."""
    if isinstance(data, (tuple, list)) and data and all(isinstance(part, (int, float, bool)) for part in data):
        return True
    if isinstance(data, list) and all(isinstance(row, tuple) for row in data):
        return False
    if isinstance(data, list) and len(data) > 2 and all(isinstance(row, dict) for row in data):
        return False
    parts = list(leaves(data)) if isinstance(data, (tuple, list, dict)) else [data]
    return bool(parts) and all(
        part is None
        or isinstance(part, (Tensor, int, float, bool))
        or hasattr(part, "__array__")
        or is_frame(part)
        or _is_sparse(part)
        or is_batch(part)
        or (_is_column(part) and (part is not data or type(part).__module__.startswith("datasets.")))
        for part in parts
    )


def _is_column(part: Any) -> bool:
    """Whether it is a column of a data set, a sequence of a class of its own: `Dataset["column"]` of Hugging Face."""
    return isinstance(part, Sequence) and not isinstance(part, (str, bytes, list, tuple))


def _is_scalars(part: Any) -> bool:
    """Whether it is a list of numbers, each in a tensor or a scalar of NumPy: `list(array)`, or labels of rows."""
    return (
        isinstance(part, (list, tuple))
        and not hasattr(part, "_fields")
        and all(
            isinstance(value, (int, float, np.generic)) or (isinstance(value, Tensor) and not value.ndim)
            for value in part
        )
    )


def _is_sparse(part: Any) -> bool:
    """Whether it is a sparse matrix or array of SciPy."""
    return type(part).__module__.startswith("scipy.sparse") and hasattr(part, "tocsr")


def _is_large(part: Any) -> bool:
    """Whether it is sparse, and its rows are better made dense when they are asked for."""
    return _is_sparse(part) and part.shape[0] * part.shape[-1] > _MOST_DENSE


def _of_bunch(bunch: Any) -> InMemoryDataset:
    names = bunch.get("target_names")
    target = as_tensor(bunch["target"])
    classes = names if names is not None and not target.is_floating_point() and target.ndim == 1 else None
    return InMemoryDataset(_tensors(bunch["data"]), target, classes=classes)


def _tensors(part: Any) -> Nested:
    if part is None or isinstance(part, np.memmap) or is_batch(part):
        return part
    if is_frame(part):
        return numeric_matrix(part)
    if _is_sparse(part):
        return part.tocsr() if _is_large(part) else as_tensor(part.toarray())
    if _is_column(part) and not hasattr(part, "__array__") and not isinstance(part, memoryview):
        values: Any = list(part) if isinstance(part, deque) or not len(part) else part[:]
        part = values if isinstance(values, (list, Tensor, np.ndarray)) else list(values)
        if isinstance(part, list) and part and all(isinstance(value, Tensor) for value in part):
            part = torch.stack(part)
        elif isinstance(part, list):
            part = np.asarray(part)
    if isinstance(part, dict):
        return {key: _tensors(value) for key, value in part.items()}
    if _is_scalars(part):
        part = [value.item() if isinstance(value, Tensor) else value for value in part]
        return as_tensor(np.asarray(part))
    if isinstance(part, (tuple, list)) and any(not isinstance(leaf, (int, float, bool)) for leaf in leaves(part)):
        made = [_tensors(value) for value in part]
        return tuple.__new__(type(part), made) if isinstance(part, tuple) else type(part)(made)
    return as_tensor(part)


def _not_data(data: Any) -> DataError:
    return DataError(
        f"{type(data).__name__} {data!r} as data"[:200],
        "tensors, arrays or frames as (input, target), a torch Dataset, or a DataLoader",
        "lumbre.data.from_parquet(path, target=...) for Parquet; lumbre.data.from_csv(path, target=...) for CSV;"
        " numpy.load(path, mmap_mode='r') for .npy; lumbre.datasets.penguins() to try things out",
    )
