"""Which rows each fit of a cross-validation trains on, and which are held out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import OptionError
from lumbre.data import (
    Rows,
    check_order,
    countable,
    fold_numbers,
    group_numbers,
    held_out,
    in_one_order,
    is_given,
    of_seed,
    ordered_folds,
    rows_in_order,
    split,
    take_rows,
    weighted,
)

BY_ROW = ("sampler",)
"""Options of `fit` that may hold a value for each row; weights become a part of the data (`with_weights`)."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One fit of a cross-validation.

    Attributes:
        repeat: from 1.
        number: of the fold in its repeat, from 1.
        seed: of the fit.
        train: rows to train on, int64 tensor of shape (n,).
        held_out: rows to predict, int64 tensor of shape (m,).
    """

    repeat: int
    number: int
    seed: int
    train: Tensor
    held_out: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldParts:
    """Data and options of each fold's fit.

    Attributes:
        data: all rows.
        folds: which of them each fit takes.
        count: folds of a repeat.
        options: of all fits.
        group: the number of each row's group, or None.
        ordered: whether rows have an order, in which those of each fold stand.
        gap: rows left out between training and what follows it.
    """

    data: Rows
    folds: list[Fold]
    count: int
    options: Mapping[str, Any]
    group: "np.ndarray[Any, Any] | None"
    ordered: bool
    gap: int

    @property
    def names(self) -> list[str]:
        """Of folders, and in messages."""
        return [f"repeat-{one.repeat}-fold-{one.number}-of-{self.count}" for one in self.folds]

    def rows(self, fold: Fold, rows: Tensor) -> Any:
        """Some rows of the data, as the fit of a fold takes them."""
        return take_rows(of_seed(self.data, fold.seed), rows)

    def part(self, number: int) -> tuple[Any, dict[str, Any]]:
        """Training data and options of a fold's fit."""
        fold = self.folds[number]
        train, own = fold.train, {"seed": fold.seed, "preflight": self.options.get("preflight", True) and not number}
        own["weights"] = None  # they are with the data
        fraction = self.options.get("valid_data")
        if isinstance(fraction, (int, float)) and (self.ordered or self.group is not None):
            train, valid = self._inner(fold, fraction)
            own["valid_data"] = self.rows(fold, valid)
        for name in BY_ROW:
            values = self.options.get(name)
            if values is not None and not isinstance(values, str):
                own[name] = of_rows(name, values, train, len(self.data))
        return self.rows(fold, train), own

    def _inner(self, fold: Fold, fraction: float) -> tuple[Tensor, Tensor]:
        """Rows of a fold to train on and to validate on: whole groups, or the last after a gap."""
        count, rows = held_out(len(fold.train), fraction), fold.train
        if self.group is None:
            kept = len(rows) - count - self.gap
            if kept < 1:
                raise OptionError(
                    f"valid_data={fraction} and gap={self.gap} of {len(rows)} rows",
                    "rows to train on before the gap",
                    "a smaller fraction, a smaller gap, or fewer folds",
                )
            return rows[:kept], rows[-count:]
        places = torch.arange(len(rows))
        parts = split(places, 1 - fraction, fraction, seed=fold.seed, group=self.group[rows.numpy()])
        return rows[parts[0].rows], rows[parts[1].rows]


def with_weights(data: Any, options: Mapping[str, Any]) -> Any:
    """Data with the weights that are given to `fit` beside them, so that parts of the rows have theirs.

    Raises:
        DataError: there is not a weight for each row, or the rows cannot have weights.
    """
    weights = options.get("weights")
    return data if weights is None else weighted(data, weights)


def of_rows(name: str, values: Any, rows: Tensor, count: int) -> Any:
    """The values of some rows, of an option with one for each of `count` rows.

    Raises:
        OptionError: there are not so many.
    """
    if len(values) != count:
        raise OptionError(f"{name} of {len(values)} values for {count} rows", "a value for each row", f"{name}=values")
    if isinstance(values, Tensor):
        return values[rows.to(values.device)]
    return np.asarray(values)[rows.numpy()]


def fold_parts(
    data: Any,
    options: Mapping[str, Any],
    *,
    folds: int,
    repeats: int,
    stratify: Any,
    group: Any,
    ordered: Any,
    gap: int,
    seed: int,
) -> FoldParts:
    """All fits of a cross-validation.

    Raises:
        OptionError: options are impossible, or do not go together.
        DataError: the data has no rows that can be counted, or classes, groups or times do not fit them.
    """
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise OptionError(f"{name}={value!r}", f"a whole number from {least}", "folds=5, repeats=1")
    repeated = repeats if repeats > 1 else None
    check_order(ordered, gap, stratify=stratify, group=group, repeats=repeated, sampler=None)
    in_one_order(data, stratify, group, ordered)
    accepted = countable(with_weights(data, options), seed)
    if is_given(ordered):
        order = rows_in_order(accepted, ordered)
        windows = ordered_folds(len(accepted), folds, gap)
        plan = [
            Fold(1, number, seed, order[train.start : train.stop], order[valid.start : valid.stop])
            for number, (train, valid) in enumerate(windows, 1)
        ]
    else:
        plan = list[Fold]()
        for repeat in range(repeats):
            own = seed + repeat
            fold_of = torch.from_numpy(fold_numbers(accepted, folds, stratify=stratify, group=group, seed=own))
            for number in range(folds):
                train, valid = ((fold_of == number) == held for held in (False, True))
                plan.append(Fold(repeat + 1, number + 1, own, train.nonzero()[:, 0], valid.nonzero()[:, 0]))
    return FoldParts(
        data=accepted,
        folds=plan,
        count=folds,
        options=options,
        group=group_numbers(accepted, group),
        ordered=is_given(ordered),
        gap=gap,
    )
