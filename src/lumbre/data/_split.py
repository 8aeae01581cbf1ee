"""Rows parted by chance, and by nothing else than the seed; if asked, class by class, or group by group."""

from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, TypeAlias, TypedDict, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, Source, stream
from lumbre.data._accept import accept, parted, taken
from lumbre.data._aligned import in_one_order
from lumbre.data._frames import FrameData
from lumbre.data._parquet import ParquetData
from lumbre.data._rounding import balanced, cut_by_weight
from lumbre.data._sampling import target_column
from lumbre.data._sources import InMemoryDataset, MapSource, Taken
from lumbre.data._weights import WeightedRows


class SplitOptions(TypedDict, total=False):
    """The options of `split`, for type checkers."""

    seed: int
    stratify: Any
    group: Any
    ordered: Any
    gap: int


_Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Rows: TypeAlias = Source | FrameData | WeightedRows
"""Data whose rows can be asked for by their numbers."""


def split_rows(rows: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers for training and for validation, each in the order of the data.

    Args:
        rows: how many there are.
        fraction: share of them held out for validation, rounded to whole rows.
        seed: the run's seed.

    Raises:
        OptionError: the fraction is not in (0, 1), or leaves one side without rows.
    """
    count = held_out(rows, fraction)
    generator = torch.Generator().manual_seed(stream(seed, "split"))
    permutation = torch.randperm(rows, generator=generator)
    return permutation[count:].sort().values, permutation[:count].sort().values


def held_out(rows: int, fraction: float) -> int:
    """How many rows a fraction of them is.

    Raises:
        OptionError: the fraction is not in (0, 1), or leaves one side without rows.
    """
    if not 0 < fraction < 1:
        raise OptionError(
            f"valid_data={fraction!r}",
            "data, or a fraction between 0 and 1",
            "valid_data=0.2 holds out a fifth; leave it away to train without validation",
        )
    count = round(rows * fraction)
    if not 0 < count < rows:
        raise OptionError(
            f"valid_data={fraction} of {rows} rows, which is {count} rows",
            "at least one row on each side",
            f"a fraction between {1 / rows:.2g} and {1 - 1 / rows:.2g}, or data of its own",
        )
    return count


@overload
def split(data: FrameData, *fractions: float, **options: Unpack[SplitOptions]) -> tuple[FrameData, ...]: ...
@overload
def split(data: ParquetData, *fractions: float, **options: Unpack[SplitOptions]) -> tuple[ParquetData, ...]: ...
@overload
def split(data: WeightedRows, *fractions: float, **options: Unpack[SplitOptions]) -> tuple[WeightedRows, ...]: ...
@overload
def split(
    data: "Tensor | np.ndarray[Any, Any] | tuple[Any, ...] | InMemoryDataset | Taken",
    *fractions: float,
    **options: Unpack[SplitOptions],
) -> tuple[Taken, ...]: ...
@overload
def split(data: object, *fractions: float, **options: Unpack[SplitOptions]) -> tuple[Any, ...]: ...


def split(
    data: Any,
    *fractions: float,
    seed: int = 0,
    stratify: Any = None,
    group: Any = None,
    ordered: Any = None,
    gap: int = 0,
) -> tuple[Any, ...]:
    """Part `data` at random, or in its order, into sets that share no row.

    Args:
        data: tensors, arrays, frame data or a map-style Dataset: what `fit()` takes, but for loaders and streams.
            Parquet data is parted by whole row groups.
        *fractions: share of each part, adding up to 1.
        seed: another seed gives other parts; the same seed the same ones.
        stratify: a class for each row, of shape (rows,), numbers or text: each part holds its share of every class,
            within one row. True takes the target of the data, a text the column of that name of frame data. Where rows
            have weights, it is its share of these, within the heaviest row of the class.
        group: a group for each row, of shape (rows,), numbers or text, such as the patient it comes from, or the name
            of a column of frame data: rows of one group stay together. Parts then have the sizes that whole groups
            allow. With `stratify`, the classes too are shared out as evenly as whole groups allow.
        ordered: part the rows in their order and not at random, so that what comes last is held out: True for rows that
            are in order, a time for each row, of shape (rows,), or the name of a column of frame data.
        gap: with `ordered`, how many rows to leave out between two parts, such as those whose target would reach into
            the next.

    Returns:
        One part for each fraction, each of which `fit()`, `evaluate()` and `predict()` take.

    Raises:
        OptionError: the fractions are not positive, do not add up to 1, or leave a part without rows; or options do not
            go together.
        DataError: the data has no rows that can be counted, or classes or groups do not fit them.

    Example:
        >>> import torch, lumbre as lb
        >>> train, valid, test = lb.split((torch.randn(10, 3), torch.randn(10)), 0.6, 0.2, 0.2)
        >>> len(train), len(valid), len(test)
        (6, 2, 2)
    """
    if not all(isinstance(fraction, Real) for fraction in fractions):
        raise OptionError(
            f"the fractions {', '.join(map(repr, fractions))}"[:200],
            "numbers, one after the other",
            "lumbre.split(data, 0.6, 0.2, 0.2); lumbre.split(data, *fractions) for a list of them",
        )
    if len(fractions) < 2 or not (min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-9):
        raise OptionError(
            f"the fractions {', '.join(f'{fraction:g}' for fraction in fractions) or '(none)'}",
            "two or more positive fractions that add up to 1",
            "lumbre.split(data, 0.6, 0.2, 0.2)",
        )
    check_order(ordered, gap, stratify=stratify, group=group)
    in_one_order(data, stratify, group, ordered)
    if isinstance(data, ParquetData) and stratify is None and group is None and not is_given(ordered):
        return data.parts(fractions, seed)
    accepted = countable(data, seed)
    if is_given(ordered):
        return tuple(take_rows(accepted, rows) for rows in _in_order(fractions, rows_in_order(accepted, ordered), gap))
    classes, groups = _classes(accepted, stratify), group_numbers(accepted, group)
    permutation = _permutation(len(accepted), seed, "parts")
    weights = None if stratify is None or stratify is False else _weights(accepted)
    if groups is not None:
        part_of = _whole_groups(fractions, permutation, classes, groups, weights)
    elif weights is not None:
        part_of = cut_by_weight(fractions, _by_class(permutation, classes), classes, weights)
    else:
        part_of = _cut(fractions, permutation, classes)
    sizes = np.bincount(part_of, minlength=len(fractions))
    if not sizes.all():
        whole = "" if groups is None else f" in {groups.max() + 1} whole groups"
        raise OptionError(
            f"{len(accepted)} rows{whole} to part into {sizes.tolist()}",
            "at least one row in each part",
            "fewer parts, or larger fractions for the small ones",
        )
    return tuple(_take(accepted, part_of == part) for part in range(len(fractions)))


def is_given(option: Any) -> bool:
    """Whether an option that may be an array was given."""
    return option is not None and option is not False


def check_order(ordered: Any, gap: int, **beside: Any) -> None:
    """See that options go with `ordered`, and `gap` with it.

    Raises:
        OptionError: they do not.
    """
    if not isinstance(gap, int) or isinstance(gap, bool) or gap < 0:
        raise OptionError(f"gap={gap!r}", "a whole number of rows from 0", "gap=0")
    if not is_given(ordered):
        if gap:
            raise OptionError(f"gap={gap} of rows that have no order", "ordered=True, or times", "ordered=True")
        return
    for name, value in beside.items():
        if is_given(value):
            raise OptionError(
                f"{name}=... beside ordered=...", "one of them: rows in their order stay where they are", "one alone"
            )


def _in_order(fractions: Sequence[float], order: Tensor, gap: int) -> list[Tensor]:
    """The rows of each part, from the earliest to the latest; `gap` rows before each but the first are left out."""
    ends = [round(float(end) * len(order)) for end in np.cumsum(fractions)]
    parts = [order[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    parts = [part[: len(part) - gap] if gap and at < len(parts) - 1 else part for at, part in enumerate(parts)]
    sizes = [len(part) for part in parts]
    if not all(sizes):
        raise OptionError(
            f"{len(order)} ordered rows to part into {sizes} with a gap of {gap}",
            "at least one row in each part",
            "fewer parts, larger fractions for the small ones, or a smaller gap",
        )
    return parts


def folds(data: Any, k: int, *, stratify: Any = None, group: Any = None, seed: int = 0) -> Iterator[tuple[Any, Any]]:
    """Part `data` by chance into `k` folds for cross-validation: each is held out once.

    Args:
        data: tensors, arrays, frame data or a map-style Dataset.
        k: number of folds, 2 or more.
        stratify: a class for each row, as for `split()`: each fold holds its share of every class, within one row.
        group: a group for each row, as for `split()`: rows of one group stay together.
        seed: another seed gives other folds; the same seed the same ones.

    Returns:
        An iterator over `k` pairs (train, valid). The valid parts share no row and together are the data.

    Raises:
        OptionError: there cannot be so many folds.
        DataError: the data has no rows that can be counted, or classes or groups do not fit them.

    Example:
        >>> import torch, lumbre as lb
        >>> data = torch.randn(10, 3), torch.randn(10)
        >>> [(len(train), len(valid)) for train, valid in lb.data.folds(data, 4)]
        [(7, 3), (7, 3), (8, 2), (8, 2)]
    """
    in_one_order(data, stratify, group)
    accepted = countable(data, seed)
    fold_of = fold_numbers(accepted, k, stratify=stratify, group=group, seed=seed)
    return ((_take(accepted, fold_of != fold), _take(accepted, fold_of == fold)) for fold in range(k))


def fold_numbers(accepted: Rows, k: int, *, stratify: Any, group: Any, seed: int) -> _Integers:
    """The fold of each row, of shape (rows,): the folds of `folds()`.

    Raises:
        OptionError, DataError: as `folds()` does.
    """
    classes, groups = _classes(accepted, stratify), group_numbers(accepted, group)
    units, what = (len(accepted), "rows") if groups is None else (int(groups.max()) + 1, "groups")
    if not 2 <= k <= units:
        raise OptionError(
            f"k={k} folds of {units} {what}",
            f"from 2 to {units} folds",
            "k=5 is usual",
        )
    permutation = _permutation(len(accepted), seed, "folds")
    weights = None if stratify is None or stratify is False else _weights(accepted)
    if groups is not None:
        fold_of = _whole_groups([1 / k] * k, permutation, classes, groups, weights)
    elif weights is not None:
        fold_of = cut_by_weight([1 / k] * k, _by_class(permutation, classes), classes, weights)
        if not np.bincount(fold_of, minlength=k).all():
            raise OptionError(
                f"k={k} folds of {units} rows, a few of which have most of the weight",
                "at least one row in each fold",
                "fewer folds, or stratify=None",
            )
    else:
        fold_of = np.empty_like(permutation)
        fold_of[_by_class(permutation, classes)] = np.arange(len(permutation)) % k
    return fold_of


def rows_in_order(accepted: Rows, ordered: Any) -> Tensor:
    """Row numbers from the earliest to the latest, int64 of shape (rows,).

    Args:
        accepted: the data.
        ordered: True for rows that are in order, a time for each row, or the name of a column of times of frame data.

    Raises:
        DataError: there is not a time for each row, or one is missing.
    """
    rows = len(accepted)
    if ordered is True:
        return torch.arange(rows)
    times = np.asarray(_by_name(accepted, ordered))
    if times.shape != (rows,):
        raise DataError(
            f"ordered of shape {times.shape} for {rows} rows",
            "True for rows that are in order, or a time for each row",
            f"an array or a column of {rows} times",
        )
    import pandas as pd

    series = pd.Series(times)
    missing = int(series.isna().sum())
    if missing:
        raise DataError(f"ordered with {missing} missing values", "a time for each row", "leave these rows out")
    return torch.from_numpy(series.argsort(kind="stable").to_numpy().astype(np.int64))


def ordered_folds(rows: int, k: int, gap: int) -> list[tuple[range, range]]:
    """Places in order to train on and to hold out: `k` windows of equal size at the end, each with all before it.

    Args:
        rows: how many there are.
        k: number of windows.
        gap: rows left out between what is trained on and what is held out.

    Raises:
        OptionError: a window, or what comes before the first, would have no rows.
    """
    size = rows // (k + 1) if k >= 1 else 0
    first = rows - k * size
    if k < 2 or size < 1 or first - gap < 1:
        raise OptionError(
            f"folds={k}, gap={gap} of {rows} ordered rows",
            "2 or more windows of at least one row, and rows to train on before the first and its gap",
            "fewer folds, or a smaller gap",
        )
    begins = range(first, rows, size)
    return [(range(begin - gap), range(begin, begin + size)) for begin in begins]


def take_rows(accepted: Rows, rows: Tensor) -> Rows:
    """Some rows of data, with their weights: int64 tensor of shape (n,), in which one may stand several times."""
    return taken(accepted, rows)


def of_seed(accepted: Rows, seed: int) -> Rows:
    """The same data, whose own randomness is that of another seed."""
    if isinstance(accepted, WeightedRows):
        return WeightedRows(of_seed(accepted.source, seed), accepted.weights)
    return MapSource(accepted.dataset, seed) if isinstance(accepted, MapSource) else accepted


def countable(data: Any, seed: int) -> Rows:
    """Data whose rows can be asked for by their numbers.

    Raises:
        DataError: it has none.
    """
    accepted = accept(data, seed)
    if isinstance(accepted, ParquetData):
        raise DataError(
            "Parquet files to part by their rows",
            "parts of whole row groups; single rows from all over the files could not be read fast",
            "lumbre.split(data, 0.8, 0.2) without stratify and group, or files of their own for each part",
        )
    if isinstance(accepted, (FrameData, WeightedRows)) or hasattr(accepted, "fetch"):
        return accepted  # type: ignore[return-value]
    raise DataError(
        f"a {type(data).__name__}, whose rows cannot be counted",
        "tensors, frame data or a map-style Dataset",
        "make two loaders, one of each part of the data behind it",
    )


def _weights(data: Rows) -> _Floats | None:
    """The weights of the rows; None where all weigh the same."""
    weights = parted(data)[1]
    return None if weights is None or bool((weights == weights[0]).all()) else weights.numpy()


def _take(data: Rows, chosen: "np.ndarray[Any, np.dtype[np.bool_]]") -> Rows:
    return take_rows(data, torch.from_numpy(np.flatnonzero(chosen)))


def _permutation(rows: int, seed: int, name: str) -> _Integers:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(stream(seed, name))).numpy()


def _by_class(permutation: _Integers, classes: _Integers) -> _Integers:
    """The rows class by class, by chance within each."""
    return permutation[np.argsort(classes[permutation], kind="stable")]


def _cut(fractions: Sequence[float], permutation: _Integers, classes: _Integers) -> _Integers:
    """The part of each row: every class is cut near the fractions, so that each piece is right within one row."""
    counts = balanced(fractions, np.bincount(classes))
    part_of = np.empty_like(permutation)
    part_of[_by_class(permutation, classes)] = np.repeat(
        np.tile(np.arange(len(fractions)), len(counts)), counts.ravel()
    )
    return part_of


def _whole_groups(
    fractions: Sequence[float],
    permutation: _Integers,
    classes: _Integers,
    groups: _Integers,
    weights: _Floats | None = None,
) -> _Integers:
    """The part of each row: groups in an order of chance, each to the part that lacks most of what it holds."""
    shares = np.array(fractions)[:, None]
    counts = np.bincount(classes) if weights is None else np.maximum(np.bincount(classes, weights), 1e-300)
    lacking = shares * counts  # of shape (parts, classes)
    rows = _by_class(permutation, groups)
    pieces = np.split(rows, np.cumsum(np.bincount(groups))[:-1])
    # Groups in the order in which chance first names them.
    _, named = np.unique(groups[permutation], return_index=True)
    part_of = np.empty_like(permutation)
    empty = set(range(len(fractions)))
    for left, index in zip(range(len(pieces), 0, -1), np.argsort(named), strict=True):
        inside = classes[pieces[index]]
        held = np.ones(len(inside)) if weights is None else weights[pieces[index]]
        need = (lacking[:, inside] / counts[inside] * held).sum(axis=1)
        if left <= len(empty):
            need[[part for part in range(len(need)) if part not in empty]] = -np.inf
        part = int(need.argmax())
        empty.discard(part)
        part_of[pieces[index]] = part
        np.subtract.at(lacking[part], inside, held)
    return part_of


def _classes(data: Rows, stratify: Any) -> _Integers:
    """The class number of each row; all 0 without `stratify`."""
    if stratify is None or stratify is False:
        return np.zeros(len(data), dtype=np.int64)
    labels = _target(data) if stratify is True else _by_name(data, stratify)
    codes = _codes(labels, len(data), "stratify", "class")
    kind = np.asarray(labels).dtype.kind
    if kind == "f" and (np.asarray(labels) % 1 != 0).any():
        raise DataError(
            f"stratify with {codes.max() + 1} different fractional numbers",
            "classes",
            "torch.bucketize(y, torch.quantile(y, torch.tensor([0.25, 0.5, 0.75]))) makes four classes of measurements",
        )
    return codes


def group_numbers(data: Rows, group: Any) -> _Integers | None:
    """The number of each row's group, of shape (rows,); None without groups.

    Raises:
        DataError: there is not a group for each row.
    """
    return None if group is None else _codes(_by_name(data, group), len(data), "group", "group")


def _by_name(data: Rows, labels: Any) -> Any:
    """A column of frame data, where it is named; else what was given."""
    data = data.source if isinstance(data, WeightedRows) else data
    return data.column(labels) if isinstance(labels, str) and isinstance(data, FrameData) else labels


def _codes(labels: Any, rows: int, option: str, what: str) -> _Integers:
    import pandas as pd

    values = np.asarray(labels)
    if values.shape != (rows,):
        raise DataError(
            f"{option} of shape {values.shape} for {rows} rows",
            f"one {what} for each row",
            f"an array or a column of {rows} numbers or texts",
        )
    codes = pd.factorize(values, sort=False)[0].astype(np.int64)
    if (codes < 0).any():
        raise DataError(
            f"{option} with {(codes < 0).sum()} missing values",
            f"one {what} for each row",
            "leave these rows out, or give them a name of their own",
        )
    return codes


def _target(data: Any) -> Any:
    target = target_column(data)
    if target is None:
        raise DataError(
            f"stratify=True for a {type(data).__name__} whose target is not at hand as one tensor",
            "a class for each row",
            "stratify=labels, an array of shape (rows,)",
        )
    return target
