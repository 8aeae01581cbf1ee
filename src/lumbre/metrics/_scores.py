"""What the metrics of classifiers ask of predictions: the class or the side they choose, and that shapes fit.

Nothing here reads a value back from the device, except `as_log_probabilities`, which `compute` calls.
"""

import torch
from torch import Tensor

from lumbre.base import DataError, describe
from lumbre.metrics._metric import Metric

CLASSES = "scores (rows, classes, ...) and classes (rows, ...)"


def misfit(metric: Metric, pred: Tensor, target: Tensor, expected: str, fix: str) -> DataError:
    """The error for shapes that do not belong together."""
    return DataError(
        f"{type(metric).__name__} of a {describe(pred)} as prediction and a {describe(target)} as target",
        expected,
        f"bring them to the same rows, for example by {fix}",
    )


def check_classes(metric: Metric, pred: Tensor, target: Tensor) -> None:
    """See that there are scores of shape (rows, classes, ...) for classes of shape (rows, ...)."""
    if pred.ndim < 2 or pred.shape[:1] + pred.shape[2:] != target.shape or target.is_floating_point():
        raise misfit(metric, pred, target, f"{CLASSES} as whole numbers", "target.squeeze(1) or target.long()")


def check_binary(metric: Metric, pred: Tensor, target: Tensor) -> None:
    """See that there is one number for each target."""
    if pred.shape != target.shape:
        raise misfit(metric, pred, target, "one number for each target", "pred.squeeze(1) or target.unsqueeze(1)")


def wide(pred: Tensor) -> Tensor:
    """Predictions of half precision as float32: a sigmoid, a threshold or a sum in bfloat16 has two digits."""
    return pred.float() if pred.is_floating_point() and pred.element_size() < 4 else pred


def places(target: Tensor, classes: int, ignored: int) -> tuple[Tensor, Tensor]:
    """Where to count each row, int64: at its class, or at `classes` where the target is none; and whether it counts."""
    target = target.long()
    return target.where((target >= 0) & (target < classes), classes), target != ignored


def counts(index: Tensor, length: int, weight: Tensor | None = None) -> Tensor:
    """How often each of 0 to `length` - 1 is in `index`, shape (length,). (`bincount` would wait for the GPU.)

    It is int64, or of the type of `weight` where that is no whole number.

    Args:
        index: whole numbers, any shape.
        length: how many to count.
        weight: count these instead of ones; the shape of `index`.
    """
    index = index.reshape(-1).long()
    if weight is not None and weight.is_floating_point():
        return weight.new_zeros(length).scatter_add_(0, index, weight.reshape(-1))
    ones = torch.ones_like(index) if weight is None else weight.reshape(-1).long()
    return torch.zeros(length, dtype=torch.int64, device=index.device).scatter_add_(0, index, ones)


def rows_of_scores(pred: Tensor) -> Tensor:
    """Scores of shape (rows, classes, ...) as (all rows, classes)."""
    return pred.movedim(1, -1).reshape(-1, pred.shape[1])


def as_log_probabilities(scores: Tensor) -> Tensor:
    """Scores (rows, classes) as log probabilities in float64.

    Rows that are nowhere negative and sum to 1 are probabilities, everything else is logits. All rows are looked at
    together: a choice for each batch, as torchmetrics makes it, would mix both scales in one ranking.
    """
    scores = scores.double() if scores.device.type != "mps" else scores.cpu().double()
    if bool((scores >= 0).all() and (scores.sum(1) - 1).abs().max() < 1e-2):
        return scores.log()
    return scores.log_softmax(1)
