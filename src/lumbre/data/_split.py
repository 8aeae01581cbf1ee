"""Rows parted by chance, and by nothing else than the seed; if asked, class by class, or group by group."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, Source, stream
from lumbre.data._accept import accept, parted, taken
from lumbre.data._frames import FrameData
from lumbre.data._parquet import ParquetData
from lumbre.data._sampling import target_column
from lumbre.data._weights import WeightedRows

_Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


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


def split(data: Any, *fractions: float, seed: int = 0, stratify: Any = None, group: Any = None) -> tuple[Any, ...]:
    """Part `data` by chance into sets that share no row.

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

    Returns:
        One part for each fraction, each of which `fit()`, `evaluate()` and `predict()` take.

    Raises:
        OptionError: the fractions are not positive, do not add up to 1, or leave a part without rows.
        DataError: the data has no rows that can be counted, or classes or groups do not fit them.

    Example:
        >>> import torch, lumbre as lb
        >>> train, valid, test = lb.split((torch.randn(10, 3), torch.randn(10)), 0.6, 0.2, 0.2)
        >>> len(train), len(valid), len(test)
        (6, 2, 2)
    """
    if len(fractions) < 2 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise OptionError(
            f"the fractions {', '.join(f'{fraction:g}' for fraction in fractions) or '(none)'}",
            "two or more positive fractions that add up to 1",
            "lumbre.split(data, 0.6, 0.2, 0.2)",
        )
    if isinstance(data, ParquetData) and stratify is None and group is None:
        return data.parts(fractions, seed)
    accepted = _countable(data, seed)
    classes, groups = _classes(accepted, stratify), _groups(accepted, group)
    permutation = _permutation(len(accepted), seed, "parts")
    weights = None if stratify is None or stratify is False else _weights(accepted)
    if groups is not None:
        part_of = _whole_groups(fractions, permutation, classes, groups, weights)
    elif weights is not None:
        part_of = _cut_by_weight(fractions, permutation, classes, weights)
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
    accepted = _countable(data, seed)
    classes, groups = _classes(accepted, stratify), _groups(accepted, group)
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
        fold_of = _cut_by_weight([1 / k] * k, permutation, classes, weights)
        if not np.bincount(fold_of, minlength=k).all():
            raise OptionError(
                f"k={k} folds of {units} rows, a few of which have most of the weight",
                "at least one row in each fold",
                "fewer folds, or stratify=None",
            )
    else:
        fold_of = np.empty_like(permutation)
        fold_of[_by_class(permutation, classes)] = np.arange(len(permutation)) % k  # dealt out like cards
    return ((_take(accepted, fold_of != fold), _take(accepted, fold_of == fold)) for fold in range(k))


def _countable(data: Any, seed: int) -> Source | FrameData | WeightedRows:
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


def _take(data: Source | FrameData | WeightedRows, chosen: "np.ndarray[Any, np.dtype[np.bool_]]") -> Any:
    return taken(data, torch.from_numpy(np.flatnonzero(chosen)))


def _weights(data: Source | FrameData | WeightedRows) -> _Floats | None:
    """The weights of the rows; None where all weigh the same."""
    weights = parted(data)[1]
    return None if weights is None or bool((weights == weights[0]).all()) else weights.numpy()


def _permutation(rows: int, seed: int, name: str) -> _Integers:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(stream(seed, name))).numpy()


def _by_class(permutation: _Integers, classes: _Integers) -> _Integers:
    """The rows class by class, by chance within each."""
    return permutation[np.argsort(classes[permutation], kind="stable")]


def _cut(fractions: Sequence[float], permutation: _Integers, classes: _Integers) -> _Integers:
    """The part of each row: every class is cut near the fractions, so that each piece is right within one row."""
    counts = _balanced(fractions, np.bincount(classes))
    part_of = np.empty_like(permutation)
    part_of[_by_class(permutation, classes)] = np.repeat(
        np.tile(np.arange(len(fractions)), len(counts)), counts.ravel()
    )
    return part_of


def _cut_by_weight(
    fractions: Sequence[float], permutation: _Integers, classes: _Integers, weights: _Floats
) -> _Integers:
    """The part of each row: the rows of a class lie end to end by their weights, and the middle of each decides.

    So what a part has of a class differs from its share by the weight of one row at most.
    """
    rows = _by_class(permutation, classes)
    part_of = np.empty_like(permutation)
    ends = np.cumsum(fractions)[:-1]
    for inside in np.split(rows, np.cumsum(np.bincount(classes))[:-1]):
        upper = np.cumsum(weights[inside])
        total = upper[-1] or 1.0
        part_of[inside] = np.searchsorted(ends, (upper - weights[inside] / 2) / total, side="right")
    return part_of


def _balanced(fractions: Sequence[float], sizes: _Integers) -> _Integers:
    """How many rows of each class each part gets: a controlled rounding of the shares.

    Each piece is within one row of its share, and so is each part. Such a rounding always exists (Bacharach 1966,
    "Matrix rounding problems"): as long as a part has too many rows, some class holds more than its share there and
    less elsewhere.

    Args:
        fractions: share of each part.
        sizes: rows of each class, of shape (classes,).

    Returns:
        Counts of shape (classes, parts), whose rows add up to `sizes`.
    """
    near = 1e-9  # 0.6 * 5 may be 2.9999999999999996
    ends = np.cumsum(fractions)
    ends[-1] = 1.0
    # Where the cuts of a class fall between rows is shifted by what the classes before left over: so the roundings of
    # many small classes hardly add up in the first part.
    shift = (ends[0] * (np.cumsum(sizes) - sizes) + 0.5) % 1
    cuts = np.minimum(np.floor(np.outer(sizes, ends) + shift[:, None] + near), sizes[:, None])
    counts = np.diff(cuts, axis=1, prepend=0).astype(np.int64)
    # In the others they may, so classes move rows along paths from a part that has too many to one that lacks some.
    exact, wanted = np.outer(sizes, fractions), sizes.sum() * np.array(fractions)
    least, most = np.floor(wanted + near), np.ceil(wanted - near)
    while True:
        total = counts.sum(axis=0)
        bound = most if (total > most).any() else least
        spare = total - bound
        if bound is least and not (spare < 0).any():
            return counts
        # A class gives where it holds more than its share, and takes where it holds less: so it stays within one row.
        gives, takes = counts > exact + near, counts < exact - near
        movable = gives.T.astype(np.int64) @ takes  # [p, q]: classes that may move a row from part p to q
        path = _path(movable > 0, np.flatnonzero(spare > 0), spare < 0)
        if path is None:  # only if the fractions add up to 1 too roughly
            return counts
        steps = list(itertools.pairwise(path))
        count = int(min(spare[path[0]], -spare[path[-1]], *(movable[step] for step in steps)))
        for p, q in steps:
            chosen = np.flatnonzero(gives[:, p] & takes[:, q])[:count]
            counts[chosen, p] -= 1
            counts[chosen, q] += 1


def _path(edges: "np.ndarray[Any, np.dtype[np.bool_]]", starts: _Integers, ends: Any) -> list[int] | None:
    """The shortest path from one of the starts to where `ends` holds; None if there is none."""
    paths = [[start] for start in starts.tolist()]
    seen = set(starts.tolist())
    for path in paths:  # which grows
        if ends[path[-1]]:
            return path
        reached = [part for part in np.flatnonzero(edges[path[-1]]).tolist() if part not in seen]
        seen.update(reached)
        paths += [[*path, part] for part in reached]
    return None


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


def _classes(data: Source | FrameData | WeightedRows, stratify: Any) -> _Integers:
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


def _groups(data: Source | FrameData | WeightedRows, group: Any) -> _Integers | None:
    return None if group is None else _codes(_by_name(data, group), len(data), "group", "group")


def _by_name(data: Source | FrameData | WeightedRows, labels: Any) -> Any:
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
