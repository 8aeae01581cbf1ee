"""Metrics of classifiers."""

import torch
from torch import Tensor

from lumbre.base import DataError, describe
from lumbre.metrics._metric import Metric, Sums, mean, no_sums


class Accuracy(Metric):
    """Share of rows whose largest score is at the target's class.

    Takes scores of shape (rows, classes, ...) and classes of shape (rows, ...), counted from 0.

    Example:
        >>> import lumbre as lb
        >>> lb.metrics.Accuracy().name
        'Acc'
    """

    name = "Acc"
    higher_is_better = True

    def init(self, device: torch.device) -> Sums:
        """Zero right of zero rows."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Count the rows that are right."""
        chosen = pred.argmax(dim=1)
        if chosen.shape != target.shape:
            raise _misfit(
                self,
                pred,
                target,
                "scores (rows, classes, ...) and classes (rows, ...)",
                "target.squeeze(1) or argmax",
            )
        return _count(state, chosen == target)

    def compute(self, state: Sums) -> float:
        """Right over all."""
        return mean(state)


class BinaryAccuracy(Metric):
    """Share of rows on the right side of a threshold, for probabilities.

    Takes probabilities and targets of 0 and 1, both of the same shape.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        name: how to show it.
    """

    name = "Acc"
    higher_is_better = True

    def __init__(self, *, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(name=name)
        self.threshold = threshold

    def init(self, device: torch.device) -> Sums:
        """Zero right of zero rows."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Count the rows that are right."""
        if pred.shape != target.shape:
            raise _misfit(
                self,
                pred,
                target,
                "one probability for each target",
                "pred.squeeze(1) or target.unsqueeze(1)",
            )
        return _count(state, (pred > self.threshold) == (target > 0.5))

    def compute(self, state: Sums) -> float:
        """Right over all."""
        return mean(state)


class BinaryAccuracyWithLogits(Metric):
    """Share of rows on the right side of a threshold, for logits: a sigmoid is applied first.

    Takes logits and targets of 0 and 1, both of the same shape.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        name: how to show it.
    """

    name = "Acc"
    higher_is_better = True

    def __init__(self, *, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(name=name)
        self._probabilities = BinaryAccuracy(threshold=threshold, name=self.name)

    def init(self, device: torch.device) -> Sums:
        """Zero right of zero rows."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Count the rows that are right."""
        return self._probabilities.update(state, pred.sigmoid(), target)

    def compute(self, state: Sums) -> float:
        """Right over all."""
        return mean(state)


def _count(state: Sums, right: Tensor) -> Sums:
    return state[0] + right.sum(), state[1] + right.numel()


def _misfit(metric: Metric, pred: Tensor, target: Tensor, expected: str, fix: str) -> DataError:
    return DataError(
        f"{type(metric).__name__} of a {describe(pred)} as prediction and a {describe(target)} as target",
        expected,
        f"bring them to the same rows, for example by {fix}",
    )
