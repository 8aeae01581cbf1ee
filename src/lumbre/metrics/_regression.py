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


def _errors(metric: Metric, pred: Tensor, target: Tensor) -> Tensor:
    if pred.shape != target.shape:
        raise DataError(
            f"{type(metric).__name__} of a {describe(pred)} as prediction and a {describe(target)} as target",
            "the same shape for both: torch would stretch them against each other and average over every pair",
            "pred.squeeze(1) in the module, or target.unsqueeze(1) in the data",
        )
    return pred - target


def _add(state: Sums, errors: Tensor) -> Sums:
    return state[0] + errors.sum(dtype=state[0].dtype), state[1] + errors.numel()
