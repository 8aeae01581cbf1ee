"""Metrics of regressions. Each takes predictions and targets of the same shape, and means over all their entries.

In a run they take predictions on the scale of the target: the loss says how scores become such.
"""

import functools
import math

import torch
from torch import Tensor

from lumbre.base import DataError, describe
from lumbre.metrics._metric import Mean, Metric, Sums, mean, widest
from lumbre.metrics._scores import wide
from lumbre.metrics._weights import row_weights, weighted_sum


class MAE(Mean):
    """Mean absolute error.

    Example:
        >>> import torch, lumbre as lb
        >>> mae = lb.metrics.MAE()
        >>> mae.compute(
        ...     mae.update(
        ...         mae.init(torch.device("cpu")),
        ...         torch.tensor([1.0, 2.0]),
        ...         torch.tensor([2.0, 4.0]),
        ...     )
        ... )
        1.5
    """

    name = "MAE"
    higher_is_better = False
    of_response = True

    def update(self, state: Sums, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Sums:
        """Add absolute errors."""
        return _add(self, state, _errors(self, pred, target).abs(), weights)


class MSE(Mean):
    """Mean squared error."""

    name = "MSE"
    higher_is_better = False
    of_response = True

    def update(self, state: Sums, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Sums:
        """Add squared errors."""
        return _add(self, state, _errors(self, pred, target).square(), weights)


class RMSE(Mean):
    """Root of the mean squared error, over all rows of the pass at once."""

    name = "RMSE"
    higher_is_better = False
    of_response = True

    def update(self, state: Sums, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Sums:
        """Add squared errors."""
        return _add(self, state, _errors(self, pred, target).square(), weights)

    def compute(self, state: Sums) -> float:
        """Root of sum over count."""
        return math.sqrt(mean(state))


class R2(Metric):
    """Coefficient of determination: the share of the target's variance that the prediction explains.

    1 is perfect, 0 is no better than the target's mean, and it can be negative. With several outputs, shape
    (rows, outputs), it is the mean of their R2. NaN where a target does not vary. Targets may lie far from zero.

    Args:
        name: how to show it.

    Example:
        >>> import torch, lumbre as lb
        >>> r2 = lb.metrics.R2()
        >>> target = torch.tensor([1.0, 2.0, 3.0])
        >>> r2.compute(
        ...     r2.update(r2.init(torch.device("cpu")), torch.tensor([1.0, 2.0, 4.0]), target)
        ... )
        0.5
    """

    name = "R2"
    higher_is_better = True
    of_response = True

    def init(self, device: torch.device) -> list[Tensor]:
        """No rows. A part has shape (7, outputs): what `_part` says."""
        return [torch.zeros(7, 1, dtype=widest(device), device=device)]

    def update(self, state: list[Tensor], pred: Tensor, target: Tensor, weights: Tensor | None = None) -> list[Tensor]:
        """Add the batch to the last part."""
        _check_shapes(self, pred, target)
        # In float64 before the difference: the variance is a small difference of large sums.
        columns = (target if target.ndim > 1 else target.unsqueeze(1)).flatten(1).to(state[-1].dtype)
        if not columns.numel():
            return state
        errors = columns - pred.reshape(columns.shape).to(columns.dtype)
        if weights is None:
            part = _part(columns, errors, state[-1][4].where(state[-1][0] > 0, columns[0]))
            return [*state[:-1], _joined(state[-1], part)]
        weights = row_weights(self, weights, columns[:, 0])
        counted = weights.unsqueeze(1) > 0
        origin = state[-1][4].where(state[-1][0] > 0, columns[(weights > 0).to(torch.uint8).argmax()])
        # What stands in a row of weight 0 is no matter, not even where it is no number.
        columns, errors = columns.where(counted, origin), errors.where(counted, 0.0)
        part = _part(columns, errors, origin, weights.unsqueeze(1))
        return [*state[:-1], _joined(state[-1], part)]

    def compute(self, state: list[Tensor]) -> float:
        """One less the squared errors over the squared deviations from the mean."""
        rows, total, squares, errors, _, _, deviations = functools.reduce(_joined, state)
        # Sums are the more exact where the mean is not far from zero, and lose all digits where it is.
        by_sums = squares - total.square() / rows
        deviations = by_sums.where(by_sums > squares / 1024, deviations)
        return (1 - errors / deviations.where(deviations > 0, torch.nan)).mean().item()


def _part(columns: Tensor, errors: Tensor, origin: Tensor, weights: Tensor | None = None) -> Tensor:
    """What is kept of some rows: shape (7, outputs).

    They are the number of rows, the sums of targets, of squared targets and of squared errors; then a number near the
    targets, their mean from there, and their squared deviations from the mean.

    Args:
        columns: targets of shape (rows, outputs).
        errors: of the prediction, the same shape.
        origin: the number near the targets, shape (outputs,).
        weights: of the rows, shape (rows, 1); None counts each as one.
    """
    each = torch.stack([torch.ones_like(columns), columns, columns.square(), errors.square()])
    moved = columns - origin
    if weights is not None:
        sums = (each * weights).sum(1)
        mean = (moved * weights).sum(0) / sums[0].where(sums[0] > 0, 1.0)
        return torch.cat([sums, torch.stack([origin, mean, ((moved - mean).square() * weights).sum(0)])])
    sums = each.sum(1)
    mean = moved.sum(0) / len(columns)
    return torch.cat([sums, torch.stack([origin, mean, (moved - mean).square().sum(0)])])


def _joined(left: Tensor, right: Tensor) -> Tensor:
    """Two parts as one (Chan, Golub and LeVeque 1979). A part without rows changes nothing."""
    sums = left[:4] + right[:4]
    origin, mean, deviations = left[4:].unbind()
    other, moved, further = right[4:].unbind()
    share = right[0] / sums[0].where(sums[0] > 0, 1.0)
    origin = origin.where(left[0] > 0, other)
    step = (other - origin) + moved - mean
    deviations = deviations + further + step.square() * left[0] * share
    return torch.cat([sums, torch.stack([origin, mean + step * share, deviations])])


def _errors(metric: Metric, pred: Tensor, target: Tensor) -> Tensor:
    _check_shapes(metric, pred, target)
    return _exact(pred) - _exact(target)


def _exact(values: Tensor) -> Tensor:
    """Half precision as float32; whole numbers as the widest there is, as they may have more digits than float32."""
    if values.is_floating_point() or values.is_complex():
        return wide(values)
    return values.to(widest(values.device))


def _check_shapes(metric: Metric, pred: Tensor, target: Tensor) -> None:
    if pred.shape != target.shape:
        raise DataError(
            f"{type(metric).__name__} of a {describe(pred)} as prediction and a {describe(target)} as target",
            "the same shape for both: torch would stretch them against each other and average over every pair",
            "pred.squeeze(1) in the module, or target.unsqueeze(1) in the data",
        )


def _add(metric: Metric, state: Sums, errors: Tensor, weights: Tensor | None) -> Sums:
    if weights is not None:
        spread = row_weights(metric, weights, errors)
        return state[0] + weighted_sum(errors, spread), state[1] + spread.sum()
    return state[0] + errors.sum(dtype=state[0].dtype), state[1] + errors.numel()
