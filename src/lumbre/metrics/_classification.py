"""Accuracies of classifiers, and the perplexity of language models."""

import torch
from torch import Tensor
from torch.nn import functional

from lumbre.base import DataError, OptionError
from lumbre.metrics._metric import Metric, Sums, mean, no_sums
from lumbre.metrics._scores import check_classes, misfit


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
            raise misfit(
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
            raise misfit(
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


class TopKAccuracy(Metric):
    """Share of rows whose class is among the `k` largest scores.

    Takes scores of shape (rows, classes, ...) and classes of shape (rows, ...), counted from 0.

    Args:
        k: how many scores count, at least 1.
        name: how to show it; "Top5Acc" for k=5 where not given.

    Raises:
        OptionError: `k` is not a whole number from 1.
        DataError: there are fewer classes than `k`.

    Example:
        >>> import lumbre as lb
        >>> lb.metrics.TopKAccuracy(3).name
        'Top3Acc'
    """

    higher_is_better = True

    def __init__(self, k: int = 5, *, name: str | None = None) -> None:
        if not isinstance(k, int) or k < 1:
            raise OptionError(f"k={k!r}", "a whole number from 1", "k=5")
        super().__init__(name=name or f"Top{k}Acc")
        self.k = k

    def init(self, device: torch.device) -> Sums:
        """Zero right of zero rows."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Count the rows that are right."""
        check_classes(self, pred, target)
        if pred.shape[1] < self.k:
            raise DataError(
                f"the {self.k} largest of {pred.shape[1]} scores",
                "at least as many classes as k",
                f"TopKAccuracy(k={pred.shape[1] - 1 or 1})",
            )
        return _count(state, (pred.topk(self.k, dim=1).indices == target.unsqueeze(1)).any(1))

    def compute(self, state: Sums) -> float:
        """Right over all."""
        return mean(state)


class Perplexity(Metric):
    """Exponential of the mean cross-entropy: among how many equally likely classes the model seems to choose.

    Takes logits (or log probabilities) of shape (rows, classes, ...) and classes of shape (rows, ...), as
    `nn.CrossEntropyLoss` does; for text (rows, words, length) and (rows, length).

    Args:
        ignore_index: targets that do not count, such as padding.
        name: how to show it.

    Example:
        >>> import torch, lumbre as lb
        >>> metric = lb.metrics.Perplexity()
        >>> state = metric.update(metric.init(torch.device("cpu")), torch.zeros(2, 8), torch.tensor([3, 5]))
        >>> round(metric.compute(state), 6)
        8.0
    """

    name = "Perplexity"
    higher_is_better = False

    def __init__(self, *, ignore_index: int = -100, name: str | None = None) -> None:
        super().__init__(name=name)
        self.ignore_index = ignore_index

    def init(self, device: torch.device) -> Sums:
        """Zero nats over zero rows."""
        return no_sums(device)

    def update(self, state: Sums, pred: Tensor, target: Tensor) -> Sums:
        """Add cross-entropies."""
        check_classes(self, pred, target)
        nats = functional.cross_entropy(pred.float(), target, reduction="none", ignore_index=self.ignore_index)
        return state[0] + nats.sum(dtype=state[0].dtype), state[1] + (target != self.ignore_index).sum()

    def compute(self, state: Sums) -> float:
        """The exponential of their mean."""
        return (state[0] / state[1]).exp().item()


def _count(state: Sums, right: Tensor) -> Sums:
    return state[0] + torch.count_nonzero(right), state[1] + right.numel()
