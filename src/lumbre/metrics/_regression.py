"""Metrics of regressions. Each takes predictions and targets of the same shape, and means over all their entries."""

import math

import torch
from torch import Tensor

from lumbre.base import DataError, describe
from lumbre.metrics._metric import Metric, Sums, mean, no_sums


class MAE(Metric):
    """Mean absolute error.

    Example:
        >>> import torch, lumbre as lb
        >>> mae = lb.metrics.MAE()
        >>> mae.compute(mae.update(mae.init(torch.device("cpu")), torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])))
        1.5
    """

    name = "MAE"
    higher_is_better = False

    def init(self, device: torch.device) -> Sums:
        """Zero error over zero entries."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Add absolute errors."""
        return _add(state, _errors(self, pred, target).abs())

    def compute(self, state: Sums) -> float:
        """Sum over count."""
        return mean(state)


class MSE(Metric):
    """Mean squared error."""

    name = "MSE"
    higher_is_better = False

    def init(self, device: torch.device) -> Sums:
        """Zero error over zero entries."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Add squared errors."""
        return _add(state, _errors(self, pred, target).square())

    def compute(self, state: Sums) -> float:
        """Sum over count."""
        return mean(state)


class RMSE(Metric):
    """Root of the mean squared error, over all rows of the pass at once."""

    name = "RMSE"
    higher_is_better = False

    def init(self, device: torch.device) -> Sums:
        """Zero error over zero entries."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Add squared errors."""
        return _add(state, _errors(self, pred, target).square())

    def compute(self, state: Sums) -> float:
        """Root of sum over count."""
        return math.sqrt(mean(state))


class R2(Metric):
    """Coefficient of determination: the share of the target's variance that the prediction explains.

    1 is perfect, 0 is no better than the target's mean, and it can be negative. With several outputs, shape
    (rows, outputs), it is the mean of their R2. NaN where a target does not vary.

    Args:
        name: how to show it.

    Example:
        >>> import torch, lumbre as lb
        >>> r2 = lb.metrics.R2()
        >>> target = torch.tensor([1.0, 2.0, 3.0])
        >>> r2.compute(r2.update(r2.init(torch.device("cpu")), torch.tensor([1.0, 2.0, 4.0]), target))
        0.5
    """

    name = "R2"
    higher_is_better = True

    def init(self, device: torch.device) -> Tensor:
        """Zero rows, sum of targets, of squared targets, of squared errors."""
        return no_sums(device)[0].repeat(4, 1)

    def update(self, state: Tensor, pred: Tensor, target: Tensor) -> Tensor:
        """Add to the four sums, of each output."""
        _check_shapes(self, pred, target)
        # In float64 before the difference: the variance is a small difference of large sums.
        columns = (target if target.ndim > 1 else target.unsqueeze(1)).flatten(1).to(state.dtype)
        errors = columns - pred.reshape(columns.shape).to(state.dtype)
        rows = torch.ones_like(columns)
        return state + torch.stack([rows, columns, columns.square(), errors.square()]).sum(1)

    def compute(self, state: Tensor) -> float:
        """One less the squared errors over the squared deviations from the mean."""
        rows, total, squares, errors = state
        deviations = squares - total.square() / rows
        # What rounding leaves of a target that does not vary is no variance.
        varies = deviations > 64 * torch.finfo(state.dtype).eps * squares
        return (1 - errors / deviations.where(varies, torch.nan)).mean().item()


def _errors(metric: Metric, pred: Tensor, target: Tensor) -> Tensor:
    _check_shapes(metric, pred, target)
    return pred - target


def _check_shapes(metric: Metric, pred: Tensor, target: Tensor) -> None:
    if pred.shape != target.shape:
        raise DataError(
            f"{type(metric).__name__} of a {describe(pred)} as prediction and a {describe(target)} as target",
            "the same shape for both: torch would stretch them against each other and average over every pair",
            "pred.squeeze(1) in the module, or target.unsqueeze(1) in the data",
        )


def _add(state: Sums, errors: Tensor) -> Sums:
    return state[0] + errors.sum(dtype=state[0].dtype), state[1] + errors.numel()
