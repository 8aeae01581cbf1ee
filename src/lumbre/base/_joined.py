"""The predictions of many batches as those of all rows: every part of an output is joined along its own rows.

Where the rows of a part are is seen from its shape; where that leaves a doubt, the module is asked once more with
fewer rows: what changes its length holds rows, what stays the same belongs to all of them. What mixes rows, or differs
in its other dimensions from batch to batch, is refused at the batch where that is seen; but a "loss" beside predictions
is left out.
"""

import copy
import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from torch.nn.utils.rnn import PackedSequence

from lumbre.base._attributes import attributes_of
from lumbre.base._errors import DataError
from lumbre.base._nested import Nested, describe, detached, is_batch, leaves, map_leaves, row_count
from lumbre.base._protocols import Batch

Column: TypeAlias = Tensor | list[Any]
"""A part of an output with its rows in front: a tensor of shape (rows, ...), or a list with an entry a row."""

_UNKNOWN: Any = object()
_FIXED = (type(None), bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device, np.generic, type)
_OPAQUE = (FunctionType, BuiltinFunctionType, MethodType, functools.partial)
_ADVICE = "define predict(self, x) in the module, which returns what has a row for each row of x, such as `scores`"


@dataclass(frozen=True, slots=True)
class _Rows:
    """A tensor whose rows are in dimension `dim`; `shape` is that of the rest."""

    dim: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class _Each:
    """A list or tuple with an entry for each row."""

    kind: type


@dataclass(frozen=True, slots=True)
class _Count:
    """The number of rows itself."""


@dataclass(frozen=True, slots=True)
class _Same:
    """What all batches have in common."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Parts:
    """A structure or an object made of parts."""

    names: tuple[Any, ...]
    parts: tuple["_Form", ...]
    build: Callable[[list[Any]], Any]


_Form: TypeAlias = _Rows | _Each | _Count | _Same | _Parts


class Joiner:
    """Takes the output of each batch, and gives that of all rows.

    Args:
        again: the module, to be asked for a few rows where the output of the first batch leaves a doubt.
    """

    def __init__(self, again: Callable[[Nested], Nested]) -> None:
        self._again = again
        self._form: _Form | None = None
        self._columns: list[list[Column]] = []
        self.rows = 0

    def add(self, pred: Nested, batch: Batch) -> None:
        """Add the output for a batch.

        Raises:
            DataError: a part of it has not a row for each row of the batch, or does not fit those before.
        """
        rows, pred = _rows_of(batch), _numbers(pred)
        if self._form is None:
            self._form = self._first_form(pred, batch, rows)
        found = list(_collected(self._form, pred, "output", rows))
        counts = {len(column) for column in found}
        if len(counts) > 1:
            raise _refused(
                "parts with " + " and ".join(map(str, sorted(counts))) + " rows", "as many rows in each part"
            )
        if not batch.size and batch.rows is not None:
            found = [column[:0] for column in found]
        elif counts:
            self.rows += counts.pop()
        self._columns = self._columns or [[] for _ in found]
        for gathered, column in zip(self._columns, found, strict=True):
            gathered.append(column)

    def columns(self) -> list[Column]:
        """The parts that have rows, joined, on the CPU."""
        return [joined(parts) for parts in self._columns]

    def built(self, columns: Sequence[Column]) -> Nested:
        """The output of all rows: in the structure of the module's, with `columns` in their places."""
        if self._form is None:
            raise DataError("data that gives no batch", "at least one row", "pass some data")
        if not columns:
            raise _refused(
                "an output without rows: " + _in_words(_built(self._form, iter(()), 0)), "tensors (rows, ...)"
            )
        return _built(self._form, iter(columns), len(columns[0]))

    def _first_form(self, pred: Nested, batch: Batch, rows: int | None) -> _Form:
        if rows is None or not _of_rows(batch.input) or _is_plain(pred, rows):
            return _form(pred, _UNKNOWN, "output", rows, 0)
        fewer = 3 if rows == 2 else 2
        try:
            other = _numbers(self._again(map_leaves(lambda leaf: _some(leaf, fewer), batch.input)))
        except Exception:  # a module that takes batches of one size only, for example
            other = _UNKNOWN
        return _form(pred, other, "output", rows, fewer)


def joined(parts: Sequence[Column]) -> Column:
    """Columns of several batches as one, on the CPU."""
    if isinstance(parts[0], list):
        return [map_leaves(_on_host, one) for part in parts for one in part]
    return torch.cat([_on_host(part) for part in parts])


def _rows_of(batch: Batch) -> int | None:
    """How many rows went into the module; None where neither data nor input say."""
    for given in (batch.input, batch.target):
        if _of_rows(given):
            return row_count(given)
    return batch.size if batch.rows is not None else None


def _of_rows(value: Nested) -> bool:
    """Whether all tensors in it are as long, so that this is the number of rows."""
    lengths = {row_count(leaf) for leaf in leaves(value) if isinstance(leaf, Tensor) or is_batch(leaf)}
    return len(lengths) == 1 and not isinstance(value, PackedSequence)


def _numbers(value: Nested) -> Nested:
    """Arrays of numbers as tensors."""
    return map_leaves(
        lambda leaf: torch.as_tensor(leaf) if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc" else leaf,
        value,
    )


def _some(leaf: Any, count: int) -> Any:
    """`count` rows of a tensor: its first ones, or its first one several times."""
    if not (isinstance(leaf, Tensor) or is_batch(leaf)) or not leaf.shape:
        return leaf
    return leaf[:count] if len(leaf) >= count else leaf[:1].expand(count, *leaf.shape[1:])


def _is_plain(pred: Nested, rows: int) -> bool:
    """Whether it is a single tensor whose first dimension alone can be that of the rows."""
    return isinstance(pred, Tensor) and not pred.is_nested and pred.shape[:1] == (rows,) and rows not in pred.shape[1:]


def _form(value: Any, other: Any, where: str, rows: int | None, fewer: int, above: tuple[int, ...] = ()) -> _Form:
    """Where the rows of an output are.

    Args:
        value: the output, or a part of it.
        other: the same for `fewer` rows, where the module could be asked.
        where: its name, for errors.
        rows: those of `value`; None where they are not known.
        fewer: those of `other`.
        above: the objects that it is part of.
    """
    if isinstance(value, Tensor):
        return _tensor_form(value, other, where, rows, fewer)
    known = other is not _UNKNOWN
    differ = f"{where}: {_in_words(value)} for {rows} rows" + (f", {_in_words(other)} for {fewer}" if known else "")
    if known and type(other) is not type(value):
        raise _refused(differ, "the same kind of output")
    if known and _is_list(value) and (len(value), len(other)) == (rows, fewer):
        return _Each(type(value))
    if known and type(value) is int and (value, other) == (rows, fewer):
        return _Count()
    if _is_fixed(value):
        if known and not _equal(value, other):
            raise _refused(differ, _ROWS)
        return _Same(value)
    if id(value) in above:
        raise _refused(f"{where}: an object that holds itself", _ROWS)
    names, parts, build = _taken_apart(value, where)
    other_names, others, _ = _taken_apart(other, where) if known else (names, [_UNKNOWN] * len(parts), None)
    if list(other_names) != list(names):
        raise _refused(differ, "the same parts, or a list with an entry for each row")
    inner = [
        _form(part, one, f"{where}{_at(value, name)}", rows, fewer, (*above, id(value)))
        for name, part, one in zip(names, parts, others, strict=True)
    ]
    if isinstance(value, torch.Size) and not known and value[:1] == (rows,):
        inner[0] = _Count()  # of a distribution: rows come first
    return _Parts(tuple(names), tuple(inner), build)


_ROWS = "a row for each row of data in every part of the output"


def _tensor_form(value: Tensor, other: Any, where: str, rows: int | None, fewer: int) -> _Form:
    if value.is_nested:
        raise _refused(f"{where}: a nested tensor, whose rows differ in length", "rows of one length")
    shape = tuple(value.shape)
    if rows is None:
        return _Rows(0, shape[1:])
    if isinstance(other, Tensor):
        at = _changed(shape, tuple(other.shape), rows, fewer)
        if at is not None:
            return _Rows(at, _without(shape if value.ndim == other.ndim else tuple(other.shape), at))
        if shape == tuple(other.shape) and _equal(value, other):
            return _Same(value.detach().cpu())
        raise _refused(
            f"{where}: a {describe(value)} for {rows} rows, a {describe(other)} for {fewer}",
            _ROWS if shape != tuple(other.shape) else f"{_ROWS}; this part mixes the rows of a batch",
        )
    places = [dim for dim, size in enumerate(shape) if size == rows]
    if places and (0 in places or len(places) == 1):
        at = 0 if 0 in places else places[0]
        return _Rows(at, _without(shape, at))
    if rows == 1 and not shape:
        return _Rows(0, ())
    raise _refused(f"{where}: a {describe(value)} for {rows} rows", _ROWS)


def _changed(shape: tuple[int, ...], other: tuple[int, ...], rows: int, fewer: int) -> int | None:
    """The dimension that has `rows` in `shape` and `fewer` in `other`, where all others agree.

    A module that squeezes leaves it out for one row; one that cuts rows to the longest of a batch changes others, too.
    """
    for dim, size in enumerate(other):
        if size == fewer and (_with(other, dim, rows) == shape or (rows == 1 and _without(other, dim) == shape)):
            return dim
    if len(shape) != len(other):
        return None
    places = [dim for dim, sizes in enumerate(zip(shape, other, strict=True)) if sizes == (rows, fewer)]
    return places[0] if len(places) == 1 else None


def _with(shape: tuple[int, ...], dim: int, size: int) -> tuple[int, ...]:
    return (*shape[:dim], size, *shape[dim + 1 :])


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], *shape[dim + 1 :])


def _collected(form: _Form, value: Any, where: str, rows: int | None) -> Iterator[Column]:
    """The columns of an output, in order; each is checked against the form of the first batch."""
    if isinstance(form, _Rows):
        yield _column(form, value, where, rows)
    elif isinstance(form, _Each):
        if not _is_list(value) or len(value) != rows:
            raise _refused(f"{where}: {_in_words(value)} for {rows} rows", "an entry for each row")
        yield [detached(one) for one in value]
    elif isinstance(form, _Count):
        if value != rows:
            raise _refused(f"{where}: {_in_words(value)} for {rows} rows", "the number of rows, as in the first batch")
    elif isinstance(form, _Same):
        if not _equal(form.value, value):
            raise _refused(f"{where}: {_in_words(form.value)} in one batch, {_in_words(value)} in another", _ROWS)
    else:
        names, parts, _ = (
            ((), [], None) if _is_fixed(value) or isinstance(value, Tensor) else _taken_apart(value, where)
        )
        if tuple(names) != form.names:
            raise _refused(
                f"{where}: {_in_words(value)}, after parts named {list(form.names)}", "the same parts in each batch"
            )
        for name, inner, part in zip(names, form.parts, parts, strict=True):
            yield from _collected(inner, part, f"{where}{_at(value, name)}", rows)


def _column(form: _Rows, value: Any, where: str, rows: int | None) -> Tensor:
    if not isinstance(value, Tensor):
        raise _refused(f"{where}: {_in_words(value)}, after a tensor in another batch", "the same kind of output")
    value = value.detach()
    shape = tuple(value.shape)
    if rows is None and not shape:
        value = value.reshape(1)
    elif rows == 1 and shape == form.shape:
        value = value.unsqueeze(form.dim)  # a module that squeezes its output
    elif len(shape) <= form.dim or (rows is not None and shape[form.dim] != rows):
        raise _refused(f"{where}: a {describe(value)} for {rows} rows", _ROWS)
    shape = tuple(value.shape)
    if _without(shape, form.dim) != form.shape and form.shape is not None:
        expected = ", ".join(map(str, (*form.shape[: form.dim], "rows", *form.shape[form.dim :])))
        raise _refused(
            f"{where}: a {describe(value)} in one batch, shape ({expected}) in another",
            "rows of one length in all batches",
            "pad the data to one length; or a predict(self, x) in the module that returns a list with an entry a row",
        )
    return value.movedim(form.dim, 0) if form.dim else value


def _built(form: _Form, columns: Iterator[Column], rows: int) -> Any:
    if isinstance(form, _Rows):
        column = next(columns)
        assert isinstance(column, Tensor)
        return column.movedim(0, form.dim).contiguous() if form.dim else column
    if isinstance(form, _Each):
        return form.kind(next(columns))
    if isinstance(form, _Count):
        return rows
    if isinstance(form, _Same):
        return form.value
    return form.build([_built(part, columns, rows) for part in form.parts])


def _is_list(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and not hasattr(value, "_fields") and not isinstance(value, torch.Size)


def _is_fixed(value: Any) -> bool:
    """Whether it is what cannot hold rows: a number, a text, a function without variables, a part of the model."""
    if isinstance(value, FunctionType):
        return not value.__closure__ and not value.__defaults__ and not value.__kwdefaults__
    if isinstance(value, BuiltinFunctionType):
        return isinstance(value.__self__, (ModuleType, type, type(None)))
    return isinstance(value, (*_FIXED, nn.Module))


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) or isinstance(other, Tensor):
        if not isinstance(value, Tensor) or not isinstance(other, Tensor) or value.shape != other.shape:
            return False
        pair = value.detach().cpu(), other.detach().cpu()
        return torch.equal(*pair) or bool(((pair[0] == pair[1]) | ((pair[0] != pair[0]) & (pair[1] != pair[1]))).all())
    return value is other or value == other or (value != value and other != other)


def _taken_apart(value: Any, where: str) -> tuple[Sequence[Any], list[Any], Callable[[list[Any]], Any]]:
    """The parts of a structure or an object, by name, and how it is built of new ones."""
    if isinstance(value, PackedSequence):
        raise _refused(f"{where}: a PackedSequence, whose rows differ in length", "rows of one length", _PADDED)
    if isinstance(value, dict):
        names = [name for name in value if not _is_its_loss(value, name)]
        return names, [value[name] for name in names], lambda parts: dict(zip(names, parts, strict=True))
    if isinstance(value, (tuple, list)):
        kind: Any = type(value)
        build = (lambda parts: kind(*parts)) if hasattr(value, "_fields") else kind
        return range(len(value)), list(value), build
    names = list(attributes_of(value))
    if (callable(value) and not names) or isinstance(value, _OPAQUE) or not (names or _is_stateless(value)):
        raise _refused(f"{where}: a {type(value).__name__}, of which lumbre cannot join the rows", _ROWS)

    def build_object(parts: list[Any]) -> Any:
        made = copy.copy(value)
        for name, part in zip(names, parts, strict=True):
            object.__setattr__(made, name, part)
        return made

    return names, [getattr(value, name) for name in names], build_object


def _is_its_loss(parts: dict[Any, Any], name: Any) -> bool:
    """Whether a part is the loss that a module computes where it gets the labels, too: a mean, and no prediction."""
    loss = parts[name]
    return name == "loss" and len(parts) > 1 and isinstance(loss, Tensor) and not loss.ndim


_PADDED = "torch.nn.utils.rnn.pad_packed_sequence(..., batch_first=True, total_length=...) in the module"


def _is_stateless(value: Any) -> bool:
    return isinstance(value, Constraint) or type(value).__module__.startswith("torch.distributions")


def _at(value: Any, name: Any) -> str:
    return f"[{name!r}]" if isinstance(value, (dict, tuple, list)) else f".{name}"


def _in_words(value: Any) -> str:
    return (
        describe(value) if isinstance(value, (Tensor, tuple, list, dict)) else f"{type(value).__name__} {value!r}"[:100]
    )


def _on_host(leaf: Any) -> Any:
    return leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf


def _refused(received: str, expected: str, fix: str = _ADVICE) -> DataError:
    return DataError(received, expected, fix)
