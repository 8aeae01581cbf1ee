"""What a loss is that describes a distribution."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lumbre.base import DataError, OptionError, describe, one_of


class DistributionLoss(nn.Module, ABC):
    """A negative log-likelihood (or a score like one), averaged over rows.

    Attributes:
        reduction: "mean", "sum" or "none".
        scale_kind: what `response` gives: "numbers" like the targets, or "probabilities" of classes.
        least: the least value that targets have: 0 of counts. None where there is none.
        estimates: what `response` is of the target where it is a number: its "mean" or "median"; None where that alone
            does not show what the model knows.
        instead_of_comparing: what to do where a target of two columns cannot be set beside the prediction.
    """

    scale_kind = "numbers"
    least: float | None = None
    estimates: str | None = "mean"
    instead_of_comparing: str | None = None

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        one_of("reduction", reduction, ("mean", "sum", "none"))
        self.reduction = reduction

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch: a scalar, or of shape (rows,) where nothing is reduced."""
        values = self.of_rows(pred, target)
        return values if self.reduction == "none" else values.mean() if self.reduction == "mean" else values.sum()

    @abstractmethod
    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of each row, shape (rows,)."""

    @abstractmethod
    def response(self, pred: Tensor) -> Tensor:
        """Predictions on the scale of the target."""


def single(pred: Tensor, target: Tensor | None = None) -> Tensor:
    """Predictions of one number a row as (rows,).

    Raises:
        DataError: they have another shape, or the target has.
    """
    if pred.ndim == 2 and pred.shape[1] == 1:
        pred = pred[:, 0]
    if pred.ndim != 1 or (target is not None and target.numel() != len(pred)):
        raise DataError(
            f"predictions that are a {describe(pred)}"
            + ("" if target is None else f", targets that are a {describe(target)}"),
            "one number in a row of both: shape (rows,) or (rows, 1)",
            "a last layer with one output",
        )
    return pred


def as_column(target: Tensor, rows: int) -> Tensor:
    """A target of one number a row as (rows,).

    Raises:
        DataError: it has another shape.
    """
    if target.numel() != rows:
        raise DataError(
            f"targets that are a {describe(target)}, for {rows} rows of predictions",
            "one number in a row: shape (rows,) or (rows, 1)",
            "target[:, 0], or a model for each column",
        )
    return target.reshape(-1)


def two_columns(target: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """The two columns of a target.

    Raises:
        DataError: it has not two.
    """
    if target.ndim != 2 or target.shape[1] != 2:
        raise DataError(f"targets that are a {describe(target)}", f"{what}, shape (rows, 2)", "torch.stack([a, b], 1)")
    return target[:, 0], target[:, 1]


def seen_values(values: Tensor) -> bool:
    """Whether values may be looked at: others than those of a processor would have to be waited for."""
    return values.device.type == "cpu" and values.numel() > 0 and not torch.compiler.is_compiling()


def check_counts(count: Tensor) -> None:
    """See that counts are not negative.

    Raises:
        DataError: they are.
    """
    if seen_values(count) and bool((count < 0).any()):
        raise DataError(
            f"counts that are a {describe(count)}, down to {float(count.min()):.4g}",
            "counts from 0",
            "nn.MSELoss() or lumbre.losses.GaussianNLL() for numbers that can be negative",
        )


def is_share(value: object) -> bool:
    """Whether it is a number between 0 and 1."""
    return isinstance(value, (int, float)) and 0 < value < 1


def whole_from(least: int, name: str, value: object) -> None:
    """See that an option is a whole number from `least`.

    Raises:
        OptionError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name}={value!r}", f"a whole number from {least}", f"{name}=3")


def checked_level(level: float) -> float:
    """A share between 0 and 1.

    Raises:
        OptionError: it is none.
    """
    if not is_share(level):
        raise OptionError(f"level={level!r}", "a share between 0 and 1", "level=0.9")
    return level


def normal_quantile(level: float) -> float:
    """By how many standard deviations the middle `level` of a normal distribution reaches to each side."""
    return torch.special.ndtri(torch.tensor(0.5 + checked_level(level) / 2, dtype=torch.float64)).item()


def by_bisection(distribution: torch.distributions.Distribution, share: float, low: Tensor, high: Tensor) -> Tensor:
    """The quantile of a continuous distribution that has a `cdf`, between two bounds."""
    for _ in range(60):
        middle = (low + high) / 2
        below = distribution.cdf(middle) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def count_interval(
    below: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """The least counts with at least the shares (1 - level) / 2 and (1 + level) / 2 at or below them.

    Args:
        below: the share at or below a count.
        mean: of each row, float64.
        variance: of each row.
        level: the share that the interval is to hold.
    """
    outside = (1 - checked_level(level)) / 2
    lower, upper = (_count_quantile(below, mean, variance.sqrt(), share) for share in (outside, 1 - outside))
    return lower, upper


def _count_quantile(below: Callable[[Tensor], Tensor], mean: Tensor, deviation: Tensor, share: float) -> Tensor:
    # No quantile is further from the mean (Cantelli's inequality).
    low = (mean - deviation * math.sqrt((1 - share) / share)).floor().clamp(min=0) - 1
    high = (mean + deviation * math.sqrt(share / (1 - share))).ceil()
    for _ in range(64):
        if not bool((high - low > 1).any()):
            break
        middle = ((low + high) / 2).ceil()  # never -1, which is no count
        enough = below(middle) >= share
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high
