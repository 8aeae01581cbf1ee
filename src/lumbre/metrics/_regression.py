"""Metrics of regressions. Each takes predictions and targets of the same shape, and means over all their entries."""

import functools
import math

import torch
from torch import Tensor

from lumbre.base import DataError, describe
from lumbre.metrics._metric import Metric, State, Sums, mean, no_sums, widest
from lumbre.metrics._scores import wide


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
    (rows, outputs), it is the mean of their R2. NaN where a target does not vary. Targets may lie far from zero: what
    is kept are squares about their mean.

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

    def init(self, device: torch.device) -> list[Tensor]:
        """No rows. A part has shape (5, outputs): what `_part` says."""
        return [torch.zeros(5, 1, dtype=widest(device), device=device)]

    def update(self, state: list[Tensor], pred: Tensor, target: Tensor) -> list[Tensor]:
        """Add the batch to the last part."""
        _check_shapes(self, pred, target)
        # In float64 before the difference, and about a number near the mean: squares of large numbers have no digits
        # left for a small variance.
        columns = (target if target.ndim > 1 else target.unsqueeze(1)).flatten(1).to(state[-1].dtype)
        if not columns.numel():
            return state
        errors = columns - pred.reshape(columns.shape).to(columns.dtype)
        rows, origin = state[-1][:2]
        return [*state[:-1], _joined(state[-1], _part(columns, errors, origin.where(rows > 0, columns[0])))]

    def compute(self, state: list[Tensor]) -> float:
        """One less the squared errors over the squared deviations from the mean."""
        rows, _, _, deviations, errors = functools.reduce(_joined, state)
        return (1 - errors / deviations.where((deviations > 0) & (rows > 1), torch.nan)).mean().item()

    def unpacked(self, packed: State, device: torch.device) -> list[Tensor]:
        """The state; checkpoints of version 0.1 have rows, sum, sum of squares and of squared errors."""
        if not isinstance(packed, Tensor):
            return packed
        rows, total, squares, errors = packed
        mean = total / rows.clamp(min=1)
        return [torch.stack([rows, mean, torch.zeros_like(mean), squares - total * mean, errors])]


def _part(columns: Tensor, errors: Tensor, origin: Tensor) -> Tensor:
    """Rows, origin, mean from there, squared deviations from the mean, squared errors; each of shape (outputs,).

    Args:
        columns: targets of shape (rows, outputs).
        errors: of the prediction, the same shape.
        origin: a number near the targets, from which nothing depends but the rounding.
    """
    moved = columns - origin
    rows = len(columns)
    mean = moved.sum(0) / rows
    return torch.stack(
        [torch.full_like(mean, rows), origin, mean, (moved - mean).square().sum(0), errors.square().sum(0)]
    )


def _joined(left: Tensor, right: Tensor) -> Tensor:
    """Two parts as one, shape (5, outputs): Chan, Golub and LeVeque 1979. A part without rows changes nothing."""
    rows, origin, mean, deviations, errors = left.unbind()
    more, other, moved, further, missed = right.unbind()
    total = rows + more
    share = more / total.clamp(min=1)
    origin = origin.where(rows > 0, other)
    step = (other - origin) + moved - mean
    deviations = deviations + further + step.square() * rows * share
    return torch.stack([total, origin, mean + step * share, deviations, errors + missed])


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


def _add(state: Sums, errors: Tensor) -> Sums:
    return state[0] + errors.sum(dtype=state[0].dtype), state[1] + errors.numel()
