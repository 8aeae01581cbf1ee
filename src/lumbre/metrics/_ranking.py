"""Metrics of how well scores put rows in order: the areas under the ROC and the precision-recall curve.

Both are exact: the scores of all rows are kept, on the device, until the pass ends, and equal scores count as equal.
That costs one number a row (a number for each row and class with several classes). Where only one class occurs
neither area is defined, and the value is NaN.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lumbre.base import one_of
from lumbre.metrics._ignored import BinaryMetric, ClassMetric, check_known, whole
from lumbre.metrics._metric import State
from lumbre.metrics._scores import as_log_probabilities, check_binary, check_classes, rows_of_scores
from lumbre.metrics._weights import row_weights

Kept: TypeAlias = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""Scores and targets of the batches so far, and weights, of which there are none where rows have none."""

_AVERAGES = ("macro", "micro", "weighted", "none")


def check_average(average: str | None) -> str:
    """`average` by name, None as "none".

    Raises:
        OptionError: there is no such average.
    """
    given = "none" if average is None else average
    one_of("average", given, _AVERAGES)
    return given


def joined_rows(parts: list[Tensor], rows: Tensor) -> list[Tensor]:
    """`parts` with a copy of `rows` at the end (an engine may reuse the memory of a prediction).

    Parts that are no longer than what follows them are joined with it. So there are never many, and no row is copied
    more often than the logarithm of the number of batches.
    """
    first, length = len(parts), len(rows)
    while first and len(parts[first - 1]) <= length:
        first -= 1
        length += len(parts[first])
    return [*parts[:first], torch.cat([*parts[first:], rows])]


class Averaged(ClassMetric):
    """A value for each class, which `average` makes one number of.

    Args:
        average: how the values of the classes become one number; one of `_AVERAGES`.
        ignore_index: targets that do not count.
        name: how to show it.
    """

    higher_is_better = True

    def __init__(
        self, *, average: str | None = "macro", ignore_index: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(ignore_index=ignore_index, name=name)
        self.average = check_average(average)
        self.by_class = self.average == "none"


_NO_ROW, _NO_CLASS = -1, 2


class _BinaryCurve(BinaryMetric):
    """Keeps a score for each target, and of the target 0 or 1, `_NO_ROW` where it is ignored, `_NO_CLASS` for others.

    Args:
        ignore_index: targets that do not count.
        name: how to show it.
    """

    higher_is_better = True

    def init(self, device: torch.device) -> Kept:
        """No rows."""
        return [], [], []

    def update(self, state: Kept, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Kept:
        """Keep the rows."""
        check_binary(self, pred, target)
        target = whole(target).reshape(-1)
        classes = (target > 0.5).to(torch.int8).masked_fill(target.clamp(0, 1) != target, _NO_CLASS)
        classes = classes.masked_fill(target == self.ignored, _NO_ROW)
        kept = state[2] if weights is None else joined_rows(state[2], row_weights(self, weights, pred).reshape(-1))
        return joined_rows(state[0], pred.detach().reshape(-1)), joined_rows(state[1], classes), kept

    def unpacked(self, packed: State, device: torch.device) -> Kept:
        """The state; checkpoints of version 0.1 have no weights."""
        return packed if len(packed) == 3 else (*packed, [])

    def compute(self, state: Kept) -> float:
        """The area."""
        if not state[0]:
            return float("nan")
        scores, classes = torch.cat(state[0]), torch.cat(state[1])
        rows, weights = classes != _NO_ROW, None
        if state[2]:
            weights = torch.cat(state[2])
            rows = rows & (weights > 0)
            weights = weights[rows]
        check_known(self, int((classes[rows] == _NO_CLASS).sum()))
        return self._area(scores[rows], classes[rows] == 1, weights) if rows.any() else float("nan")

    @abstractmethod
    def _area(self, scores: Tensor, target: Tensor, weights: Tensor | None) -> float: ...


class BinaryAUROC(_BinaryCurve):
    """Area under the ROC curve: how likely a row of class 1 has a greater score than a row of class 0.

    Takes probabilities, logits or any other scores, since only their order counts, and targets of 0 and 1, both of
    the same shape. Equal scores count one half (Mann and Whitney 1947).

    Args:
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are not from 0 to 1 and are not ignored.

    Example:
        >>> import torch, lumbre as lb
        >>> auroc = lb.metrics.BinaryAUROC()
        >>> scores, target = (
        ...     torch.tensor([0.9, 0.8, 0.4, 0.5, 0.3, 0.2]),
        ...     torch.tensor([1, 1, 1, 0, 0, 0]),
        ... )
        >>> round(
        ...     auroc.compute(auroc.update(auroc.init(torch.device("cpu")), scores, target)), 4
        ... )
        0.8889
    """

    name = "AUROC"

    def _area(self, scores: Tensor, target: Tensor, weights: Tensor | None) -> float:
        return area_under_roc(scores, target, weights)


class BinaryAveragePrecision(_BinaryCurve):
    """Mean of the precisions at each score, weighted by the recall gained there (scikit-learn's definition).

    Takes probabilities, logits or any other scores, since only their order counts, and targets of 0 and 1, both of
    the same shape.

    Args:
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: as for `BinaryAUROC`.
    """

    name = "AP"

    def _area(self, scores: Tensor, target: Tensor, weights: Tensor | None) -> float:
        return average_precision(scores, target, weights)


class _ClassCurves(Averaged):
    """Keeps the scores of each class for each target; averaged are the areas of the classes against the rest."""

    def init(self, device: torch.device) -> Kept:
        """No rows."""
        return [], [], []

    def update(self, state: Kept, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Kept:
        """Keep the rows."""
        check_classes(self, pred, target)
        kept = state[2] if weights is None else joined_rows(state[2], row_weights(self, weights, target).reshape(-1))
        return joined_rows(state[0], rows_of_scores(pred.detach())), joined_rows(state[1], target.reshape(-1)), kept

    def unpacked(self, packed: State, device: torch.device) -> Kept:
        """The state; checkpoints of version 0.1 have no weights."""
        return packed if len(packed) == 3 else (*packed, [])

    def compute(self, state: Kept) -> float | list[float]:
        """The areas, averaged."""
        if not state[0]:
            return float("nan")
        scores, target = torch.cat(state[0]), torch.cat(state[1]).long()
        rows, classes, weights = target != self.ignored, scores.shape[1], None
        if state[2]:
            weights = torch.cat(state[2])
            rows = rows & (weights > 0)
            weights = weights[rows]
        scores, target = scores[rows], target[rows]
        check_known(self, int((target.clamp(0, classes - 1) != target).sum()))
        if not len(target):
            return [float("nan")] * classes if self.by_class else float("nan")
        scores = as_log_probabilities(scores)
        hits = target.to(scores.device).unsqueeze(1) == torch.arange(classes, device=scores.device)
        weights = None if weights is None else weights.to(scores.device)
        if self.average == "micro":
            each = None if weights is None else weights.repeat_interleave(classes)
            return self._area(scores.reshape(-1), hits.reshape(-1), each)
        areas = [self._area(scores[:, number], hits[:, number], weights) for number in range(scores.shape[1])]
        counted = hits if weights is None else hits * weights.unsqueeze(1)
        return averaged(areas, counted.sum(0).tolist(), self.average)

    @abstractmethod
    def _area(self, scores: Tensor, target: Tensor, weights: Tensor | None) -> float: ...


class AUROC(_ClassCurves):
    """Area under the ROC curve of each class against the rest.

    Takes logits or probabilities of shape (rows, classes, ...) and classes of shape (rows, ...), counted from 0.
    Logits are brought to probabilities, as the ranking across rows depends on it; which of the two came is seen
    from all rows of the pass together.

    Args:
        average: "macro" means over the classes, "weighted" by their numbers of rows, "micro" takes every score as a
            row of one binary problem, "none" gives each class.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        OptionError: there is no such average.
        DataError: shapes do not fit; or, when it is computed, targets are no class and are not ignored.

    Example:
        >>> import torch, lumbre as lb
        >>> auroc = lb.metrics.AUROC(average="none")
        >>> logits, target = (
        ...     torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]]),
        ...     torch.tensor([0, 1, 0]),
        ... )
        >>> auroc.compute(auroc.update(auroc.init(torch.device("cpu")), logits, target))
        [1.0, 1.0]
    """

    name = "AUROC"

    def _area(self, scores: Tensor, target: Tensor, weights: Tensor | None) -> float:
        return area_under_roc(scores, target, weights)


class AveragePrecision(_ClassCurves):
    """Average precision of each class against the rest.

    Takes logits or probabilities of shape (rows, classes, ...) and classes of shape (rows, ...), as `AUROC` does.

    Args:
        average: as for `AUROC`.
        ignore_index: as for `AUROC`.
        name: how to show it.

    Raises:
        OptionError: there is no such average.
    """

    name = "AP"

    def _area(self, scores: Tensor, target: Tensor, weights: Tensor | None) -> float:
        return average_precision(scores, target, weights)


def averaged(values: list[float], rows: Sequence[float], average: str) -> float | list[float]:
    """One number for the values of the classes, or the values themselves.

    Args:
        values: a value for each class.
        rows: how many rows each class has, or their weights together.
        average: "macro", "weighted" or "none".
    """
    if average == "none":
        return values
    if average == "macro":
        return sum(values) / len(values)
    weighted = [value * count for value, count in zip(values, rows, strict=True) if count]
    return sum(weighted) / sum(rows) if weighted else float("nan")


def area_under_roc(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """The area under the curve of true over false positives, by trapezoids between distinct scores.

    Args:
        scores: shape (rows,).
        target: shape (rows,), bool.
        weights: shape (rows,), above 0; None counts rows.
    """
    hits, misses = _curve(scores, target, weights)
    positives, negatives = hits[-1].item(), misses[-1].item()
    if positives == 0 or negatives == 0 or bool(scores.isnan().any()):
        return float("nan")
    before = torch.cat([hits.new_zeros(1), hits[:-1]])
    # Whole numbers until the last division, where rows are counted, so that the order of summation leaves no trace.
    doubled = (torch.diff(misses, prepend=misses.new_zeros(1)) * (hits + before)).sum()
    return doubled.item() / (2 * positives * negatives)


def average_precision(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """The sum of precision times gain in recall, over distinct scores from the greatest down.

    Args:
        scores: shape (rows,).
        target: shape (rows,), bool.
        weights: shape (rows,), above 0; None counts rows.
    """
    hits, misses = _curve(scores, target, weights)
    positives = hits[-1].item()
    if positives == 0 or bool(scores.isnan().any()):
        return float("nan")
    gained = torch.diff(hits, prepend=hits.new_zeros(1)).cpu().double()
    precision = hits.cpu().double() / (hits + misses).cpu().double()
    return float((gained * precision).sum()) / positives


def _curve(scores: Tensor, target: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """True and false positives at or above each distinct score, from the greatest down; int64, or sums of weights."""
    scores, order = scores.sort(descending=True)
    last = torch.ones_like(target)  # the last of a run of equal scores
    last[:-1] = scores[1:] != scores[:-1]
    if weights is not None:
        # Each sum for itself: of rows of one class alone the other's is 0 to the last bit.
        hits, misses = ((weights * part)[order].cumsum(0) for part in (target, ~target))
        return hits[last], misses[last]
    hits = target[order].cumsum(0)
    rows = torch.arange(1, len(scores) + 1, device=scores.device)
    return hits[last], (rows - hits)[last]
