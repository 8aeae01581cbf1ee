"""Rows with weights: the target that carries them, and a loss as the mean of its rows by their weights.

A row of weight 2 counts like the row twice. The divisor is the sum of the weights that the loss uses: of the rows', of
the rows' times the classes', of labels that are not ignored; see `_divisor.py`.
"""

import copy
import functools
import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lumbre.base._divisor import counts_labels, divisor_of, reduction_of, seen_through
from lumbre.base._errors import RecipeError
from lumbre.base._nested import Nested, describe, leaves, map_leaves
from lumbre.base._target import Weighted, spread

_TOLERANCE = 1e-3


class Given(NamedTuple):
    """A loss in two forms.

    Attributes:
        whole: gives a number for a batch; None where the loss gives a value for each row by itself.
        each: gives the values of the rows.
        reduction: how `whole` brings rows together: "mean", "sum" or "batchmean".
    """

    whole: Any
    each: Any
    reduction: str


class RowLoss:
    """A loss that gives values for rows, as their mean by the weights of the rows (or their sum, where it adds up).

    A target without weights has the loss as it is.

    Args:
        loss: a loss of torch, a function or an object that takes `reduction="none"`, or a function that gives a value
            for each row.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self._given = _by_rows(loss)
        self._divisor = divisor_of(loss, weighted=True)
        self._counts_labels = counts_labels(loss)

    @property
    def plain(self) -> Any:
        """The loss itself, where it gives a number for a batch; else this object, which makes one."""
        return self if self._given.whole is None else self.loss

    def __call__(self, pred: Nested, target: Nested, /) -> Tensor:
        """The loss, a scalar."""
        if isinstance(target, Weighted):
            return self._joined(self._given.each(pred, target.target), target)
        if self._given.whole is not None:
            return self._given.whole(pred, target)
        values = self._given.each(pred, target)
        if not isinstance(values, Tensor) or not values.ndim:
            return values
        return self._joined(values, Weighted(target, torch.ones(len(values), device=values.device)))

    def _joined(self, values: Tensor, target: Weighted) -> Tensor:
        assert self._divisor is not None
        reduction = self._given.reduction
        if self._counts_labels:  # the mean is one over labels, of which a row may have several
            total = (values * spread(target.weights, values).to(values.dtype)).sum()
        else:
            if values.ndim > 1:
                values = values.flatten(1).mean(1) if reduction == "mean" else values.flatten(1).sum(1)
            total = (values * target.weights.to(values.dtype)).sum()
        if reduction == "sum":
            return total
        by = self._divisor(target).to(total.dtype)
        return total / torch.where(by > 0, by, torch.ones_like(by))

    def check(self, pred: Nested, target: Nested, rows: int) -> None:
        """See that the loss of a batch is the mean of what it gives for the rows, and for each row by itself.

        Args:
            pred: prediction for the batch.
            target: its target, without weights.
            rows: how many there are.

        Raises:
            RecipeError: it is not.
        """
        name = getattr(self.loss, "__name__", None) or type(self.loss).__name__
        values = self._given.each(pred, target)
        if not isinstance(values, Tensor) or not values.ndim or values.shape[0] != rows:
            raise _refused(f"weights of rows for the loss {name}, which gives a {describe(values)} for {rows} rows")
        if self._sees_other_rows(pred, target, values):
            raise _refused(f"weights of rows for the loss {name}, in which what a row adds depends on the other rows")
        if self._given.whole is None:
            return
        ones = Weighted(target, torch.ones(rows, device=values.device, dtype=torch.float32))
        found, expected = (float(one) for one in (self._joined(values, ones), self._given.whole(pred, target)))
        if abs(found - expected) > _TOLERANCE * max(1.0, abs(expected)):
            raise _refused(
                f"weights of rows for the loss {name}, which is {expected:.6g} for a batch whose rows have a mean loss "
                f"of {found:.6g}"
            )

    def _sees_other_rows(self, pred: Nested, target: Nested, values: Tensor) -> bool:
        """Whether the first half of the rows has other values by itself, as in a likelihood of ranks or pairs."""
        rows, half = len(values), len(values) // 2
        parts = [*leaves(pred), *leaves(target)]
        if not half or not all(isinstance(one, Tensor) and one.ndim and len(one) == rows for one in parts):
            return False
        try:
            alone = self._given.each(*(map_leaves(lambda one: one[:half], side) for side in (pred, target)))
        except Exception:  # it takes no other number of rows, and cannot be asked
            return False
        known = values[:half]
        if not isinstance(alone, Tensor) or alone.shape != known.shape:
            return True
        return not torch.allclose(alone.float(), known.float(), _TOLERANCE, _TOLERANCE, equal_nan=True)


def _refused(received: str) -> RecipeError:
    return RecipeError(
        received,
        'a loss of torch.nn, a loss that takes reduction="none", or a function that gives a value for each row',
        "def loss(pred, target): return (pred - target).square().mean(1), a tensor of shape (rows,), without the last "
        ".mean(); or no weights",
    )


def _by_rows(loss: Any) -> Given:
    """How to have the values of rows from a loss."""
    own, reduction = seen_through(loss), reduction_of(loss)
    if isinstance(getattr(own, "reduction", None), str):
        each = copy.copy(own)
        each.reduction = "none"
    else:
        try:
            takes = "reduction" in inspect.signature(own).parameters
        except (TypeError, ValueError):
            takes = False
        if not takes:
            return Given(None, loss, "mean")
        each = functools.partial(own, reduction="none")
    return Given(None, loss, "mean") if reduction == "none" else Given(loss, each, reduction)
