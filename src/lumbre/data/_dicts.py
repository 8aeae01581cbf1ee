"""Rows and batches that are dicts, as Hugging Face's datasets give them: which part is the target.

Rows stay where they are and are parted when they are read. The names go into the record of the data, so that a model
takes the same dicts to evaluate and predict on.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from lumbre.base import DataError
from lumbre.data._accept import accept
from lumbre.data._parts import Names, Parts, holds_numbers, with_tensors
from lumbre.data._sources import ArraySource, InMemoryDataset, Taken, users_object
from lumbre.data._tables import is_frame
from lumbre.data._weights import WeightedRows


class DictRows(Dataset[Any]):
    """Rows that are dicts as pairs (input, target).

    Args:
        rows: has `__len__` and `__getitem__`.
        parts: which are input and target.
    """

    def __init__(self, rows: Any, parts: Parts) -> None:
        self.dataset = rows
        self.parts = parts

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        return self.parts.pair(self.dataset[row])

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the target's classes, where the rows know them."""
        known: Any = getattr(self.dataset, "features", None)
        target = self.parts.target
        kind = known.get(target) if isinstance(known, Mapping) and isinstance(target, str) else None
        names = getattr(kind, "names", None)
        return tuple(map(str, names)) if isinstance(names, (list, tuple)) else None


class _ManyDictRows(DictRows):
    """The same of rows that come several at a time."""

    def __getitems__(self, rows: list[int]) -> list[Any]:
        return [self.parts.pair(one) for one in self.dataset.__getitems__(rows)]


class _DictStream(IterableDataset[Any]):
    def __init__(self, rows: Iterable[Any], parts: Parts) -> None:
        self.dataset = rows
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:
        return map(self.parts.pair, self.dataset)


class _DictBatches:
    """Ready batches; their number is known where the loader knows it."""

    def __init__(self, loader: Iterable[Any], parts: Parts) -> None:
        self.loader = loader
        self.parts = parts

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return map(self.parts.pair, self.loader)


class _Collate:
    """What a DataLoader makes of rows, parted; in worker processes, too."""

    def __init__(self, collate: Callable[[list[Any]], Any], parts: Parts) -> None:
        self.collate = collate
        self.parts = parts

    def __call__(self, items: list[Any]) -> Any:
        if self.collate is default_collate:  # which turns lists of numbers by their side
            items = [with_tensors(one) for one in items]
        return self.parts.pair(self.collate(items))


def from_dicts(data: Any, *, target: str | Sequence[str] | None, features: str | Sequence[str] | None = None) -> Any:
    """Rows or batches that are dicts, of which one part is the target: those of Hugging Face's datasets, for example.

    A model that was trained on them takes dicts with the same names in `valid_data`, `evaluate()` and `predict()`.

    Args:
        data: a data set or a list whose rows are dicts, a stream of them, a DataLoader or another iterable whose
            batches are dicts, or a dict of columns. Parts are tensors, arrays, numbers, or lists of numbers.
        target: the name of the target; several for a dict of targets; None where there is none.
        features: the names of the parts that are the input. A module gets a dict of them, by name where `forward`
            takes these names; of a single name the part alone. All but the target, if not given.

    Returns:
        Data for `fit()`, `evaluate()`, `predict()`; rows that can be counted also for `lumbre.split()` and others.

    Raises:
        DataError: a name is not there, or a part is no number.

    Example:
        >>> import torch, lumbre as lb
        >>> rows = [
        ...     {"size": [1.0, 2.0], "label": 0, "name": "a"},
        ...     {"size": [3.0, 4.0], "label": 1, "name": "b"},
        ... ]
        >>> data = lb.data.from_dicts(rows, target="label", features="size")
        >>> len(data), data[1]
        (2, (tensor([3., 4.]), 1))
    """
    parts = Parts(_names(target), _names(features))
    if isinstance(data, Mapping):
        return _columns(data, parts)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, DataLoader) and len(data):
        first = data if is_frame(data) else data[0]
        if not isinstance(first, Mapping):
            instead = "fit(data), where rows are pairs (input, target)"
            if is_frame(first):
                instead = f"lumbre.data.from_frame(frame, target={target!r})"
                instead = 'data.with_format("torch")' if hasattr(data, "with_format") else instead
            raise DataError(f"rows of the class {type(first).__name__}", "rows that are dicts", instead)
        parts = _checked(first, parts)
    return _parted(data, parts)


def in_parts(data: Any, parts: Mapping[str, Any] | None) -> Any:
    """Data of a model that was trained on dicts: dicts with the same names as pairs, a target where there is one.

    Args:
        data: what a user gives to validate, evaluate or predict on.
        parts: `parts_of` the training data; None where it was no dicts.
    """
    if parts is None or data is None or isinstance(data, (tuple, Tensor, str, int, float, InMemoryDataset)):
        return data
    known = Parts(parts["target"], parts["features"], strict=False)
    if isinstance(data, Mapping):
        whole = any(name in data for name in known.targets[:1]) or isinstance(known.features, str)
        return _columns(data, known) if whole and len(data) else data
    if isinstance(data, WeightedRows):
        return WeightedRows(in_parts(data.source, parts), data.weights)
    if isinstance(data, DictRows) or isinstance(users_object(data), DictRows):
        return data
    return _parted(data, known)


def parts_of(data: Any) -> dict[str, Names] | None:
    """The names of input and target of rows or a loader that `from_dicts` has made, for a record; None for others."""
    inner = data.source if isinstance(data, Taken) else data
    user = users_object(data) if hasattr(data, "fetch") else data
    for one in (inner, user, getattr(user, "collate_fn", None), getattr(user, "dataset", None)):
        found = getattr(one, "parts", None)
        if isinstance(found, Parts):
            return {"target": found.target, "features": found.features}
    return None


def class_names(source: Any) -> tuple[str, ...] | None:
    """The names of the target's classes, where the data knows them."""
    inner = source.source if isinstance(source, Taken) else source
    rows = users_object(source) if hasattr(source, "fetch") else None
    return rows.classes if isinstance(rows, DictRows) else getattr(inner, "classes", None)


def _names(given: Any) -> Names:
    return given if given is None or isinstance(given, str) else [str(one) for one in given]


def _checked(first: Mapping[str, Any], parts: Parts) -> Parts:
    """The parts with the names of all features, which a first row tells.

    Raises:
        DataError: a name is missing there, or a part holds no numbers.
    """
    parts.pair(first)
    held = parts.targets
    features = [str(key) for key in first if key not in held] if parts.features is None else parts.features
    names = [features] if isinstance(features, str) else features
    strange = [name for name in [*names, *held] if not holds_numbers(first[name])]
    if strange:
        name, rest = strange[0], [one for one in names if one not in strange]
        raise DataError(
            f"{name!r} of the class {type(first[name]).__name__} in a row"
            + (f", and {', '.join(map(repr, strange[1:]))} likewise" if strange[1:] else ""),
            "numbers, arrays, tensors, or lists of numbers",
            (f"features={rest}, which leaves it out; or " if name in names and rest else "")
            + "numbers in its place, by a function that the data set applies (set_transform, map or __getitem__)",
        )
    return Parts(parts.target, names[0] if len(names) == 1 and parts.features is None else features, parts.strict)


def _columns(columns: Mapping[str, Any], parts: Parts) -> Any:
    rows = accept(parts.pair({str(key): value for key, value in columns.items()}), 0, empty=True)
    if isinstance(rows, (InMemoryDataset, ArraySource)):
        rows.parts = parts
    return rows


def _parted(data: Any, parts: Parts) -> Any:
    if isinstance(data, DataLoader):
        loader = copy.copy(data)
        collate: Any = data.collate_fn
        loader.collate_fn = _Collate(collate, parts)
        return loader
    if isinstance(data, IterableDataset):
        return _DictStream(data, parts)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (_ManyDictRows if hasattr(data, "__getitems__") else DictRows)(data, parts)
    return _DictBatches(data, parts)
