"""Data whose rows can be asked for by number: tensors in memory, map-style datasets, chosen rows of either."""

import mmap
import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lumbre.base import (
    HOST_CHANCE,
    DataError,
    Nested,
    Rows,
    Source,
    describe,
    is_batch,
    leaves,
    map_leaves,
    seed_host,
    stream,
)
from lumbre.data._numbers import as_tensor, refuse_masked
from lumbre.data._pairs import as_pair
from lumbre.data._shown import as_html, as_text, facts_of, first_pictures


class InMemoryDataset(Dataset[Any]):
    """Rows held in memory as tensors; a batch of them is one gather.

    It is also a map-style `torch.utils.data.Dataset`, so it works wherever one does.

    Args:
        input: a tensor of shape (rows, ...), or a tuple, list or dict of them.
        target: the same, or None.
        transform: applied to the input of each batch when it is fetched, a tensor of shape (batch, ...) or a
            structure of them. It must treat rows alike: what it gives for a row may not depend on the others.
        classes: names of the target's classes, by class number.

    Raises:
        DataError: there is nothing, or parts of different length.

    Example:
        >>> import torch, lumbre as lb
        >>> data = lb.data.InMemoryDataset(
        ...     torch.arange(6).reshape(3, 2), torch.tensor([0, 1, 0])
        ... )
        >>> len(data), data[1]
        (3, (tensor([2, 3]), tensor(1)))
    """

    def __init__(
        self,
        input: Nested,
        target: Nested = None,
        *,
        transform: Callable[[Nested], Nested] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.input = input
        self.target = target
        self.transform = transform
        self.classes = None if classes is None else tuple(str(name) for name in classes)
        self.columns: tuple[str, ...] | None = None  # names of the input's columns, where it was a frame
        self.names: Nested = None  # the same of all frames in (input, target), each in its place
        self.parts: Any = None  # names of input and target, where they were parts of a dict
        self._rows = _same_length(input, target)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: Any) -> Any:
        """A row, or those of a slice, a list or a mask, as (input, target); the input alone without a target."""
        rows = row_numbers(row, self._rows)
        if isinstance(rows, Tensor):
            input, target = self.fetch(rows, 0)
        else:
            input, target = (map_leaves(_only, part) for part in self.fetch(range(rows, rows + 1), 0))
        return input if self.target is None else (input, target)

    def __getitems__(self, rows: list[int]) -> list[Any]:
        """The items of several rows (asked for by torch's DataLoader), fetched by one gather."""
        input, target = self.fetch(torch.tensor(rows), 0)
        items = [map_leaves(lambda leaf: leaf[i], input) for i in range(len(rows))]  # noqa: B023
        if self.target is None:
            return items
        return [(item, map_leaves(lambda leaf: leaf[i], target)) for i, item in enumerate(items)]  # noqa: B023

    def fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        """Input and target of `rows`, tensors of shape (len(rows), ...)."""
        input = _take(self.input, rows)
        if self.transform is not None:
            input = self.transform(input)
        return input, _take(self.target, rows)

    def __repr__(self) -> str:
        return as_text(self._title, facts_of(self))

    def _repr_html_(self) -> str:
        return as_html(self._title, facts_of(self), first_pictures(self))

    @property
    def _title(self) -> str:
        return f"{type(self).__name__} of {self._rows:,} rows"


def row_numbers(index: Any, rows: int) -> int | Tensor:
    """What an index means: the number of a row, or those of several, an int64 tensor of shape (n,), counted from 0.

    Args:
        index: a whole number; a slice; a list, array or tensor of whole numbers, or a mask of shape (rows,).
        rows: how many there are.

    Raises:
        IndexError: there is no such row.
        DataError: it is no index of rows.
    """
    if isinstance(index, slice):
        return torch.arange(rows)[index] if index.step is None or index.step > 0 else torch.tensor(range(rows)[index])
    several = isinstance(index, (list, tuple, range, np.ndarray, Tensor)) and np.ndim(index) > 0
    if not several:
        try:
            return range(rows)[operator.index(index)]  # pyright: ignore[reportArgumentType]
        except TypeError as error:
            raise _no_index(index) from error
    numbers = torch.as_tensor(np.asarray(index)) if len(index) else torch.zeros(0, dtype=torch.int64)
    if numbers.dtype == torch.bool and numbers.shape == (rows,):
        return numbers.nonzero()[:, 0]
    if numbers.ndim != 1 or numbers.dtype == torch.bool or numbers.is_floating_point() or numbers.is_complex():
        raise _no_index(index)
    numbers = numbers.to(torch.int64)
    if len(numbers) and not (-rows <= int(numbers.min()) and int(numbers.max()) < rows):
        raise IndexError(f"rows {int(numbers.min())} to {int(numbers.max())} of {rows}")
    return torch.where(numbers < 0, numbers + rows, numbers)


def _no_index(index: Any) -> DataError:
    return DataError(
        f"{describe(index)} as an index of rows",
        "the number of a row, a slice, or a list of numbers or a mask with an entry for each row",
        "data[3], data[10:20], data[[1, 4]]",
    )


def _same_length(input: Nested, target: Nested) -> int:
    lengths = [
        (
            describe(leaf) if isinstance(leaf, Tensor) or is_batch(leaf) else f"array of shape {leaf.shape}",
            leaf.shape[0] if leaf.shape else 0,
        )
        for leaf in leaves((input, target))
        if leaf is not None
    ]
    if len({length for _, length in lengths}) > 1:
        raise DataError(
            f"parts of different length: {', '.join(name for name, _ in lengths[:5])}"
            + (f" and {len(lengths) - 5} others" if len(lengths) > 5 else ""),
            "the same number of rows in every input and target",
            "torch.stack(rows), if a list holds the rows of one input"
            if len(lengths) > 5
            else "cut them to the rows they share, for example x[:n], y[:n]",
        )
    if not lengths:
        raise DataError("data without rows: nothing", "at least one row", "pass some data")
    return lengths[0][1]


def _take(value: Nested, rows: Rows) -> Nested:
    if isinstance(rows, range):  # a copy, as of chosen rows: a module may write to its input, a loss to its target
        return map_leaves(lambda leaf: None if leaf is None else leaf[rows.start : rows.stop].clone(), value)
    if isinstance(value, Tensor):
        return value.index_select(0, rows)
    return map_leaves(lambda leaf: leaf if leaf is None else _of_rows(leaf, rows), value)


def _of_rows(leaf: Any, rows: Tensor) -> Any:
    return leaf[rows] if is_batch(leaf) else leaf.index_select(0, rows)


def kept_on(source: Source, device: torch.device) -> InMemoryDataset | None:
    """The rows of `source` on `device`, so that no batch has to travel; None where they are not in memory or too many.

    Too many are those that take over half of the memory that is free there.
    """
    rows = None
    if isinstance(source, Taken):
        source, rows = source.source, source.rows
    if not isinstance(source, InMemoryDataset) or source.transform is not None:
        return None
    tensors = [leaf for leaf in leaves((source.input, source.target)) if isinstance(leaf, Tensor)]
    share = 1 if rows is None else len(rows) / len(source)
    others = any(is_batch(leaf) for leaf in leaves((source.input, source.target)))  # nobody says how large these are
    if others or share * sum(tensor.nbytes for tensor in tensors) > _free(device) / 2:
        return None

    def moved(leaf: Any) -> Any:
        return leaf if leaf is None else (leaf if rows is None else leaf.index_select(0, rows)).to(device)

    return InMemoryDataset(map_leaves(moved, source.input), map_leaves(moved, source.target), classes=source.classes)


def _free(device: torch.device) -> int:
    """Bytes that are free on a device of its own; 0 where that is not known."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


class ArraySource:
    """Rows of arrays that stay where they are, such as `numpy.load(path, mmap_mode="r")`, read when asked for.

    Args:
        input: an array or tensor of shape (rows, ...), or a tuple, list or dict of them.
        target: the same, or None.

    Raises:
        DataError: there is nothing, or parts of different length.
    """

    def __init__(self, input: Nested, target: Nested = None) -> None:
        self.input = input
        self.target = target
        self.parts: Any = None  # as of rows in memory
        self._rows = _same_length(input, target)

    def __len__(self) -> int:
        return self._rows

    def fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        """Input and target of `rows`, tensors of shape (len(rows), ...)."""
        return tuple(map_leaves(lambda leaf: _read(leaf, rows), part) for part in (self.input, self.target))

    def __repr__(self) -> str:
        return as_text(f"ArraySource of {self._rows:,} rows", facts_of(self))

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: they open the files themselves; a map would be sent to them with all its bytes."""
        return {name: map_leaves(_as_file, part) for name, part in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: map_leaves(_opened, part) for name, part in state.items()})


@dataclass(frozen=True, slots=True)
class _File:
    """A memory-mapped array told by its file."""

    path: Path
    dtype: "np.dtype[Any]"
    offset: int
    shape: tuple[int, ...]
    order: Literal["C", "F"]


def _as_file(leaf: Any) -> Any:
    # A view of a map keeps the offset of the whole, so only whole maps can be opened again.
    if not isinstance(leaf, np.memmap) or not isinstance(leaf.base, mmap.mmap) or leaf.filename is None:
        return leaf
    order = "C" if leaf.flags.c_contiguous else "F"
    return _File(Path(leaf.filename), leaf.dtype, leaf.offset, leaf.shape, order)


def _opened(leaf: Any) -> Any:
    if not isinstance(leaf, _File):
        return leaf
    return np.memmap(leaf.path, leaf.dtype, "r", leaf.offset, leaf.shape, leaf.order)


def _read(leaf: Any, rows: Rows) -> Tensor | None:
    if leaf is None or isinstance(leaf, Tensor):
        return _take(leaf, rows)
    if hasattr(leaf, "toarray"):  # of SciPy, sparse by its rows
        return as_tensor(leaf[slice(rows.start, rows.stop) if isinstance(rows, range) else rows.numpy()].toarray())
    if isinstance(rows, range):
        return as_tensor(np.array(leaf[rows.start : rows.stop]))
    ascending = np.argsort(rows.numpy())  # the file is read in one direction
    values = np.empty((len(rows), *leaf.shape[1:]), leaf.dtype)
    values[ascending] = leaf[rows.numpy()[ascending]]
    return as_tensor(values)


class MapSource:
    """Any map-style dataset. Whatever chance its `__getitem__` uses depends on (seed, epoch, row) alone.

    What its `__getitems__` uses, where it has one, depends on the rows of the batch as well.

    Args:
        dataset: has `__len__` and `__getitem__`, and perhaps `__getitems__`.
        seed: the run's seed.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self._chance = _ChanceWatch()
        if not len(dataset):
            raise DataError(f"a {type(dataset).__name__} without rows", "at least one row", "pass some data")

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        """Input and target of `rows`, each collated by torch's `default_collate`, which knows no None."""
        numbers: list[int] = list(rows) if isinstance(rows, range) else rows.tolist()
        if hasattr(self.dataset, "__getitems__"):
            seed_host(stream(self.seed, "rows", epoch, *numbers))
            return _collated(self.dataset.__getitems__(numbers))
        if not self._chance.seen:
            self._chance.begin()
            items = [self.dataset[row] for row in numbers]
            if self._chance.untouched():
                return _collated(items)
        items: list[Any] = []
        for row in numbers:
            seed_host(stream(self.seed, "row", epoch, row))
            items.append(self.dataset[row])
        return _collated(items)


def _collated(items: list[Any]) -> tuple[Nested, Nested]:
    inputs, targets = zip(*map(as_pair, items), strict=True)
    if any(isinstance(leaf, np.ma.MaskedArray) for leaf in leaves((inputs[0], targets[0]))):
        for leaf in leaves(items):  # default_collate would take what lies under a mask for values
            refuse_masked(leaf)
    try:
        return default_collate(list(inputs)), None if targets[0] is None else default_collate(list(targets))
    except ValueError as error:
        raise DataError(
            f"rows of which torch makes no tensors: {error}",
            "arrays that lie in memory from front to back, in the machine's own byte order",
            'numpy.array(row, dtype=row.dtype.newbyteorder("="), order="C")',
        ) from error
    except (TypeError, RuntimeError) as error:
        raise _not_joined(inputs[0], error) from error


def _not_joined(input: Nested, error: Exception) -> DataError:
    kind = next((type(leaf) for leaf in leaves(input) if not isinstance(leaf, _COLLATED)), None)
    if kind is None:
        return DataError(
            f"rows that do not fit together: {error}",
            "rows whose parts have the same shapes",
            "pad or cut them in the data set; or DataLoader(dataset, batch_size=..., collate_fn=...) with a function"
            " that makes a batch of a list of rows",
        )
    return DataError(
        f"rows of the class {kind.__name__}, of which torch's default_collate makes no batch",
        "rows of tensors, arrays and numbers, or ready batches",
        "the loader that comes with such rows (torch_geometric.loader.DataLoader(dataset, batch_size=...) for graphs);"
        " or DataLoader(dataset, batch_size=..., collate_fn=...)",
    )


_COLLATED = (Tensor, np.ndarray, np.generic, int, float, str, bytes)


class _ChanceWatch:
    """Finds out whether rows draw random numbers. Seeding for each row costs more than many a row.

    Attributes:
        seen: whether chance was used, so that rows must be seeded.
    """

    def __init__(self) -> None:
        self.seen = False
        self._process = 0
        self._before = False
        self._torch = torch.Generator()

    def begin(self) -> None:
        """Bring the generators and their twins together."""
        HOST_CHANCE.look()
        if self._process != os.getpid():
            self._process = os.getpid()
            seed_host(0)
            HOST_CHANCE.seed(0)
        self._before, HOST_CHANCE.drawn = HOST_CHANCE.drawn, False
        torch.default_generator.manual_seed(0)
        self._torch.manual_seed(0)

    def untouched(self) -> bool:
        """Whether nothing was drawn since `begin`."""
        HOST_CHANCE.look()
        by_torch = torch.rand(()).item() != torch.rand((), generator=self._torch).item()
        self.seen, HOST_CHANCE.drawn = HOST_CHANCE.drawn or by_torch, self._before
        return not self.seen


class Taken(Dataset[Any]):
    """Some rows of a source, without copying them.

    It is also a map-style `torch.utils.data.Dataset`, so that it can be indexed, joined, and read by a DataLoader.

    Args:
        source: the data.
        rows: int64 tensor of shape (n,), row numbers in `source`.
    """

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source = source
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: Any) -> Any:
        """A row as the data set gives it; those of a slice, a list or a mask as (input, target), or an input alone."""
        rows = row_numbers(row, len(self))
        if isinstance(rows, Tensor):
            input, target = self.fetch(rows, 0)
        elif hasattr(self._of, "__getitem__"):
            return self._of[int(self.rows[rows])]
        else:
            input, target = (map_leaves(_only, part) for part in self.fetch(torch.tensor([rows]), 0))
        return input if target is None else (input, target)

    def __repr__(self) -> str:
        return as_text(self._title, facts_of(self._of, self.rows))

    def _repr_html_(self) -> str:
        return as_html(self._title, facts_of(self._of, self.rows), first_pictures(self._of, self.rows))

    @property
    def _of(self) -> Any:
        return self.source.dataset if isinstance(self.source, MapSource) else self.source

    @property
    def _title(self) -> str:
        return f"{len(self):,} of {len(self.source):,} rows of {type(self._of).__name__}"

    def fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        """Input and target of the chosen rows at positions `rows`."""
        chosen = self.rows[rows.start : rows.stop] if isinstance(rows, range) else self.rows[rows]
        return self.source.fetch(chosen, epoch)


def _only(leaf: Any) -> Any:
    return None if leaf is None else leaf[0]


def users_object(source: Source) -> Any:
    """What of the user's makes the rows of a source: a data set or a function; None for rows in memory alone."""
    inner = source.source if isinstance(source, Taken) else source
    return inner.dataset if isinstance(inner, MapSource) else getattr(inner, "transform", None)
