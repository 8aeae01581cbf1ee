"""Distributions of ordered classes, and of times until an event."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lumbre.base import DataError, describe
from lumbre.losses._distribution import (
    DistributionLoss,
    checked_level,
    seen_values,
    single,
    two_columns,
    whole_from,
)


class Ordinal(DistributionLoss):
    """Ordered classes by cumulative logits: one score a row, and thresholds between the classes that are learned.

    P(class <= k) = sigmoid(threshold k - score). Predictions have the shape (rows,) or (rows, 1), targets are class
    numbers from 0, int64. The response are the probabilities of the classes, shape (rows, classes). The module's last
    layer needs no bias: the thresholds are one.

    Args:
        classes: how many.
        reduction: "mean", "sum" or "none".

    Attributes:
        first: the first threshold, a parameter.
        log_gaps: logarithms of the distances to the next ones, a parameter.

    Example:
        >>> import torch, lumbre as lb
        >>> lb.losses.Ordinal(3).response(torch.tensor([0.0, 9.0])).argmax(1)
        tensor([0, 2])
    """

    scale_kind = "probabilities"

    def __init__(self, classes: int, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        whole_from(2, "classes", classes)
        self.first = nn.Parameter(torch.tensor(0.0))
        self.log_gaps = nn.Parameter(torch.zeros(classes - 2))

    @property
    def thresholds(self) -> Tensor:
        """The thresholds in order, shape (classes - 1,)."""
        return torch.cat([self.first[None], self.first + self.log_gaps.exp().cumsum(0)])

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        score, number = single(pred, target), self._numbers(target)
        edges = self.thresholds.to(pred)[None] - score[:, None]
        # log(sigmoid(upper) - sigmoid(lower)) without a difference of numbers near 1
        upper = F.pad(edges, (0, 1), value=float("inf")).gather(1, number[:, None])[:, 0]
        lower = F.pad(edges, (1, 0), value=-float("inf")).gather(1, number[:, None])[:, 0]
        last, begin = upper.isinf(), lower.isinf()
        upper, lower = upper.masked_fill(last, 0), lower.masked_fill(begin, 0)
        gap = torch.where(last | begin, 1.0, upper - lower)
        between = F.logsigmoid(upper) + F.logsigmoid(-lower) + (-torch.expm1(-gap)).log()
        return -torch.where(begin, F.logsigmoid(upper), torch.where(last, F.logsigmoid(-lower), between))

    def _numbers(self, target: Tensor) -> Tensor:
        """Class numbers, int64 of shape (rows,)."""
        classes = len(self.log_gaps) + 2
        wrong = target.is_floating_point()
        if not wrong and seen_values(target):
            wrong = not 0 <= int(target.min()) <= int(target.max()) < classes
        if wrong:
            raise DataError(
                f"targets that are a {describe(target)}"
                + ("" if target.is_floating_point() else f", from {int(target.min())} to {int(target.max())}"),
                f"class numbers from 0 to {classes - 1}, int64",
                "target.long(), and one number for each class; or classes= as many as there are",
            )
        return target.reshape(-1).long()

    def _below(self, pred: Tensor) -> Tensor:
        """P(class <= k) of all classes but the last, shape (rows, classes - 1)."""
        return (self.thresholds.to(pred)[None] - single(pred)[:, None]).sigmoid()

    def response(self, pred: Tensor) -> Tensor:
        below = self._below(pred)
        return F.pad(below, (0, 1), value=1.0) - F.pad(below, (1, 0), value=0.0)

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """The first and the last class of the middle `level`, int64, each of shape (rows,).

        `fitted.conformal()` makes sets of classes instead, by their probabilities.
        """
        outside, below = (1 - checked_level(level)) / 2, self._below(pred)
        return (below < outside).sum(1), (below < 1 - outside).sum(1)

    def simulate(self, pred: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A class drawn for each row, int64 of shape (rows,)."""
        return torch.multinomial(self.response(pred), 1, generator=generator)[:, 0]


class Cox(DistributionLoss):
    """Cox's partial likelihood of times until an event, some of which were not seen to the end (Breslow's ties).

    The module predicts the logarithm of the hazard, shape (rows,) or (rows, 1), without a bias. Targets have the shape
    (rows, 2): time, and 1 where the event was seen, 0 where watching ended before. The response is the hazard beside
    that of a score of 0. Rows are compared with those of their batch that were still watched: take large batches.
    Rows cannot have weights.

    Example:
        >>> import torch, lumbre as lb
        >>> target = torch.tensor([[1.0, 1.0], [2.0, 1.0], [3.0, 0.0]])
        >>> loss = lb.losses.Cox()
        >>> bool(
        ...     loss(torch.tensor([2.0, 1.0, 0.0]), target)
        ...     < loss(torch.tensor([0.0, 1.0, 2.0]), target)
        ... )
        True
    """

    instead_of_comparing = (
        "fitted.predict_response(x), the hazards of rows beside that of a score of 0; they are no times"
    )

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        score = single(pred)
        time, event = two_columns(target, "times and events")
        if seen_values(event) and not bool(((event == 0) | (event == 1)).all()):
            raise DataError(
                f"events from {float(event.min()):.4g} to {float(event.max()):.4g}",
                "times in the first column, and 1 (seen) or 0 (not seen to the end) in the second",
                "torch.stack([time, event], 1)",
            )
        order = time.argsort(descending=True)
        watched = score[order].logcumsumexp(0)
        # Rows of the same time are all watched then: each takes the sum at the last of them.
        _, counts = torch.unique_consecutive(time[order], return_counts=True)
        last = (counts.cumsum(0) - 1).repeat_interleave(counts)
        at_risk = torch.empty_like(score).scatter(0, order, watched[last])
        return event.to(score) * (at_risk - score)

    def response(self, pred: Tensor) -> Tensor:
        return pred.exp()
