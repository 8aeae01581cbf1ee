"""By what a mean loss divides: the number of rows, unless it ignores labels or weights classes.

The loss of a pass, the gradient of an accumulated group and the gradient that processes share are those of all their
rows in one batch. So a batch counts by what its own mean was divided by, not by its rows. Where rows have weights, each
of them, or each of its labels, counts by the weight of its row.
"""

import functools
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lumbre.base._nested import Nested, leaves, row_count
from lumbre.base._target import Weighted, spread

Divisor: TypeAlias = Callable[[Nested], Tensor]
"""Gives what the mean over a target is divided by: a float64 scalar on its device (float32 where it has no float64)."""


class LabelMean(NamedTuple):
    """What a loss of the user's own was seen to be: a mean over the labels of its target.

    Attributes:
        ignored: the label that it leaves out.
        weights: of the classes, by their number; None where all count alike.
        place: of the labels among the tensors of the target.
        start: the first column of them that counts: 1 where each step is to say the next one.
    """

    ignored: int
    weights: tuple[float, ...] | None = None
    place: int = 0
    start: int = 0

    def of(self, target: Nested) -> Any:
        """The labels of a target."""
        labels = list(leaves(target))[self.place]
        return labels[:, self.start :] if self.start else labels


_MODULES = (nn.CrossEntropyLoss.forward, nn.NLLLoss.forward)
_FUNCTIONS = (F.cross_entropy, F.nll_loss)
_MEANS = ("mean", "none")  # of values for rows the mean is taken here, where rows have weights


def ignored_label(loss: object) -> int | None:
    """The label that a loss of classes leaves out; None for any other loss."""
    facts = _facts(loss)
    return None if facts is None else facts[1]


def reduction_of(loss: object) -> str:
    """How a loss brings rows together: "mean", "sum", "batchmean" or "none"; "mean" where it does not say."""
    loss = seen_through(loss)
    said = getattr(loss, "reduction", None)
    if isinstance(said, str):
        return said
    if isinstance(loss, nn.Module) or not callable(loss):
        return "mean"
    try:
        option = inspect.signature(loss).parameters.get("reduction")
    except (TypeError, ValueError):
        return "mean"
    return option.default if option is not None and isinstance(option.default, str) else "mean"


def seen_through(loss: Any) -> Any:
    """The loss itself: not what torch.compile made of it, its bound `forward`, or a `partial` that fixes nothing."""
    while True:
        if isinstance(loss, functools.partial) and not loss.args and not loss.keywords:
            loss = loss.func
        elif isinstance(loss, MethodType) and loss.__name__ == "forward" and isinstance(loss.__self__, nn.Module):
            loss = loss.__self__
        elif isinstance(loss, nn.Module) and "_orig_mod" in dict(loss.named_children()):
            loss = loss._orig_mod
        else:
            return loss


def counts_labels(loss: object) -> bool:
    """Whether the mean of a loss is one over labels, weighted by their classes: of several a row, where there are."""
    return _facts(loss) is not None


def divisor_of(
    loss: object, *, may_ignore: bool = True, weighted: bool = False, seen: LabelMean | None = None
) -> Divisor | None:
    """What `loss` divides by, as a function of the target; None where that is the number of rows.

    Known are cross-entropy and negative log-likelihood of torch, as modules, functions, or functions with
    `functools.partial`. A loss of the user's own counts by rows, unless it was seen to be a mean over labels.

    Args:
        loss: the loss function.
        may_ignore: whether a target may hold the ignored label; where none can, rows are counted unless classes have
            weights.
        weighted: whether rows have weights, so that it takes `Weighted` targets.
        seen: what a loss of the user's own was seen to be. With weights of rows it is asked for a value of each row.
    """
    facts = _facts(loss)
    seen = seen if facts is None and not weighted else None
    if seen is not None:
        by_class = None if seen.weights is None else torch.tensor(seen.weights, dtype=torch.float64)
        facts = (lambda: by_class), seen.ignored
    if facts is None:
        return _sum_of_weights if weighted else None
    weight, ignored = facts
    if weight() is None and not may_ignore and not weighted:
        return None

    def divisor(target: Nested) -> Tensor:
        rows = None
        if seen is not None:
            target = seen.of(target)
        if isinstance(target, Weighted):
            target, rows = target
            if not isinstance(target, Tensor) or target.is_floating_point():
                return rows.sum()
        if not isinstance(target, Tensor) or target.is_floating_point():  # of class probabilities torch counts the rows
            return torch.tensor(float(len(target)) if isinstance(target, Tensor) else 1.0, dtype=torch.float64)
        dtype = torch.float32 if target.device.type == "mps" else torch.float64
        kept, weights = target != ignored, weight()
        if rows is not None:
            kept = kept * spread(rows.to(dtype), kept)
        if weights is None:
            return kept.sum().to(dtype)
        return (weights.to(target.device, dtype)[torch.where(target != ignored, target, 0)] * kept).sum()

    return divisor


def _sum_of_weights(target: Nested) -> Tensor:
    """The weights of the rows of a target; their number, where they have none."""
    if isinstance(target, Weighted):
        return target.weights.sum()
    return torch.tensor(float(row_count(target)), dtype=torch.float64)


def nothing_for_nothing(loss: Tensor, divided_by: Tensor) -> Tensor:
    """`loss`, or 0 where it is a mean of nothing: a batch whose labels are all ignored adds nothing."""
    return torch.where(divided_by > 0, loss, torch.zeros_like(loss))


def _facts(loss: object) -> tuple[Callable[[], Tensor | None], int] | None:
    """(class weights, ignored label) of a loss that is known to average over labels; None for any other."""
    loss = seen_through(loss)
    if isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)):
        # A class derived from it may compute something else.
        known = type(loss).forward in _MODULES and loss.reduction in _MEANS
        return (lambda: loss.weight, loss.ignore_index) if known else None
    options: dict[str, Any] = {}
    if isinstance(loss, functools.partial):  # Python joins a partial of a partial
        loss, options = loss.func, {} if loss.args else loss.keywords
    if loss not in _FUNCTIONS or options.get("reduction", "mean") not in _MEANS:
        return None
    return (lambda: options.get("weight")), options.get("ignore_index", -100)
