"""Accuracies of classifiers, and the perplexity of language models."""

import torch
from torch import Tensor
from torch.nn import functional

from lumbre.base import DataError, at_least, only_numbers
from lumbre.metrics._ignored import BinaryMetric, ClassMetric, ShareOfRows, Tally
from lumbre.metrics._metric import Sums, no_sums
from lumbre.metrics._scores import CLASSES, check_binary, check_classes, misfit, wide
from lumbre.metrics._weights import row_weights, weighted_sum


class Accuracy(ShareOfRows):
    """Share of rows whose largest score is at the target's class; of equal scores the first counts as the largest.

    Takes scores of shape (rows, classes, ...) and classes of shape (rows, ...), counted from 0.

    Args:
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are no class and are not ignored.

    Example:
        >>> import lumbre as lb
        >>> lb.metrics.Accuracy().name
        'Acc'
    """

    name = "Acc"

    def update(self, state: Tally, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tally:
        """Count the rows that are right."""
        chosen = pred.argmax(dim=1)
        if chosen.shape != target.shape:
            raise misfit(
                self,
                pred,
                target,
                CLASSES,
                "target.squeeze(1) or argmax",
            )
        return self._counted(state, chosen == target, target, pred.shape[1] - 1, weights)


class BinaryAccuracy(BinaryMetric, ShareOfRows):
    """Share of rows on the right side of a threshold, for probabilities.

    Takes probabilities and targets of 0 and 1, both of the same shape.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are not from 0 to 1 and are not ignored.
    """

    name = "Acc"

    def __init__(self, *, threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None) -> None:
        super().__init__(ignore_index=ignore_index, name=name)
        only_numbers(threshold=threshold)
        self.threshold = threshold

    def update(self, state: Tally, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tally:
        """Count the rows that are right."""
        check_binary(self, pred, target)
        right = (wide(pred) > self.threshold) == (target > 0.5)
        return self._counted(state, right, target, 1, weights)


class BinaryAccuracyWithLogits(BinaryAccuracy):
    """Share of rows on the right side of a threshold, for logits: a sigmoid is applied first, in float32 at least.

    Takes logits and targets of 0 and 1, both of the same shape.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are not from 0 to 1 and are not ignored.
    """

    def update(self, state: Tally, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tally:
        """Count the rows that are right."""
        return super().update(state, wide(pred).sigmoid(), target, weights)


class TopKAccuracy(ShareOfRows):
    """Share of rows whose class is among the `k` largest scores; of equal scores the first count as the larger.

    Takes scores of shape (rows, classes, ...) and classes of shape (rows, ...), counted from 0.

    Args:
        k: how many scores count, at least 1.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it; "Top5Acc" for k=5 where not given.

    Raises:
        OptionError: `k` is not a whole number from 1.
        DataError: there are fewer classes than `k`; or, when it is computed, targets are no class and are not ignored.

    Example:
        >>> import lumbre as lb
        >>> lb.metrics.TopKAccuracy(3).name
        'Top3Acc'
    """

    def __init__(self, k: int = 5, *, ignore_index: int | None = None, name: str | None = None) -> None:
        at_least(1, k=k)
        super().__init__(ignore_index=ignore_index, name=name or f"Top{k}Acc")
        self.k = k

    def update(self, state: Tally, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tally:
        """Count the rows that are right."""
        check_classes(self, pred, target)
        if pred.shape[1] < self.k:
            raise DataError(
                f"the {self.k} largest of {pred.shape[1]} scores",
                "at least as many classes as k",
                f"TopKAccuracy(k={pred.shape[1] - 1 or 1})",
            )
        classes = pred.shape[1]
        place = target.long().clamp(0, classes - 1).unsqueeze(1)
        score = pred.gather(1, place)
        number = torch.arange(classes, device=pred.device).reshape(-1, *(1,) * (pred.ndim - 2))
        # By counting, not by `topk`, which breaks ties as the device likes. What cannot be compared (NaN) is larger.
        before = ~(pred <= score) | ((pred == score) & (number < place))
        return self._counted(state, before.sum(1) < self.k, target, classes - 1, weights)


class Perplexity(ClassMetric):
    """Exponential of the mean cross-entropy: among how many equally likely classes the model seems to choose.

    Takes logits (or log probabilities) of shape (rows, classes, ...) and classes of shape (rows, ...), as
    `nn.CrossEntropyLoss` does; for text (rows, words, length) and (rows, length).

    Args:
        ignore_index: targets that do not count, such as padding; where not given, those that the loss of the run
            ignores, else -100.
        name: how to show it.

    Example:
        >>> import torch, lumbre as lb
        >>> metric = lb.metrics.Perplexity()
        >>> state = metric.update(
        ...     metric.init(torch.device("cpu")), torch.zeros(2, 8), torch.tensor([3, 5])
        ... )
        >>> round(metric.compute(state), 6)
        8.0
    """

    name = "Perplexity"
    higher_is_better = False

    def init(self, device: torch.device) -> Sums:
        """Zero nats over zero rows."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Sums:
        """Add cross-entropies."""
        check_classes(self, pred, target)
        target = target.long()
        nats = functional.cross_entropy(wide(pred), target, reduction="none", ignore_index=self.ignored)
        counted = target != self.ignored
        if weights is not None:
            spread = row_weights(self, weights, target)
            return state[0] + weighted_sum(nats, spread), state[1] + weighted_sum(counted, spread)
        return state[0] + nats.sum(dtype=state[0].dtype), state[1] + counted.sum()

    def compute(self, state: Sums) -> float:
        """The exponential of their mean."""
        return (state[0] / state[1]).exp().item()
