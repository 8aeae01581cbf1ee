"""Counts of rows for each class and part: a controlled rounding of the shares."""

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

_Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def balanced(fractions: Sequence[float], sizes: _Integers) -> _Integers:
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


def cut_by_weight(fractions: Sequence[float], rows: _Integers, classes: _Integers, weights: _Floats) -> _Integers:
    """The part of each row: the rows of a class lie end to end by their weights, and the middle of each decides.

    So what a part has of a class differs from its share by the weight of one row at most, in whatever order the parts
    come. Of their orders each class takes the one that leaves the parts nearest to their shares of all classes so far:
    the roundings of many classes would add up otherwise.

    Args:
        fractions: share of each part.
        rows: row numbers, class by class, by chance within each.
        classes: class of each row.
        weights: of each row.
    """
    parts = len(fractions)
    shares = np.array(fractions)
    orders = [np.roll(np.arange(parts)[::step], turn) for step in (1, -1) for turn in range(parts)]
    part_of = np.empty_like(rows)
    over = np.zeros(parts)  # what each part has beyond its share
    for inside in np.split(rows, np.cumsum(np.bincount(classes))[:-1]):
        own = weights[inside]
        upper = np.cumsum(own)
        total = upper[-1] or 1.0
        middles = (upper - own / 2) / total
        best, after = np.inf, over
        for order in orders:
            chosen = order[np.searchsorted(np.cumsum(shares[order])[:-1], middles, side="right")]
            left = over + np.bincount(chosen, own, minlength=parts) - shares * upper[-1]
            if (off := float(np.square(left).sum())) < best * (1 - 1e-9):
                best, part_of[inside], after = off, chosen, left
        over = after
    return part_of


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
