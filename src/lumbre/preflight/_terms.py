"""What a loss is made of: how it grows with the rows, terms without a gradient, terms beside which others vanish."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from lumbre.base import as_scalar, detached, map_leaves, norm_of, untouched
from lumbre.devices import seeder
from lumbre.preflight._recorder import BINARY, CLASSES, Call, Recorder, kind_of, loss_inputs, nodes_of
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_MOST_NUMBERS, _MOST_TERMS = 2_000_000, 8
_SHARE, _NEAR = 0.02, 1e-3
_LARGE, _TIMES = 100.0, 1e3


@dataclass(frozen=True, slots=True)
class _Grown:
    """The loss of the rows of a batch, each of them taken several times.

    Attributes:
        value: of it.
        slopes: by the predictions of the rows, as they stand first; None where it does not depend on them.
    """

    value: float
    slopes: list[Tensor | None]


def _grown(subject: Subject, times: int, pred: Any = None) -> _Grown | None:
    """None for a loss that does not take them, or does not give one finite number."""
    size, loss = subject.batch.size, subject.loss
    if loss is None:
        return None
    given: list[Tensor] = []

    def repeated(leaf: Any) -> Any:
        by_rows = isinstance(leaf, Tensor) and leaf.ndim and len(leaf) % size == 0
        return torch.cat([leaf.detach()] * times) if by_rows else leaf

    def predicted(leaf: Any) -> Any:
        leaf = repeated(leaf)
        if isinstance(leaf, Tensor) and leaf.ndim and leaf.is_floating_point():
            given.append(leaf.detach().requires_grad_())
            return given[-1]
        return leaf

    with untouched(subject.model, subject.device, loss), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeder(0, subject.device)("predict", 0, 0)
        try:
            pred = map_leaves(predicted, subject.evaluated.pred if pred is None else pred)
            value: Any = as_scalar(loss(pred, map_leaves(repeated, subject.batch.target)))
            found: Any = torch.autograd.grad(value, given, allow_unused=True)
        except Exception:  # a loss that takes the module's own predictions only, or compares rows with one another
            return None
    if not math.isfinite(float(value.detach())):
        return None
    return _Grown(
        float(value.detach()), [None if one is None or not one.ndim else one[: len(one) // times] for one in found]
    )


@check("LB114", "warning", "A loss that depends on the number of rows", unless=("LB006",), costly=True)
def grows(subject: Subject) -> Iterator[Found]:
    """The loss is asked for the same rows once, twice and three times. A mean stays what it is, a sum grows with them.
    One that becomes smaller is a mean that was divided by the batch size again: the rate is that many times lower. One
    of which a part stays and a part grows weighs its terms by the batch size. (Of a sum alone nothing is said.)"""
    found = subject.evaluated
    preds = tensors(found.pred)
    if subject.loss is None or found.failure is not None or subject.batch.size < 2 or not preds:
        return
    if subject.loss_of_torch or subject.asks_the_net or sum(one.numel() for one in preds) > _MOST_NUMBERS:
        return
    once = _grown(subject, 1)
    twice = None if once is None else _grown(subject, 2)
    if once is None or twice is None:
        return
    size = abs(once.value)
    falls = size > 0 and _close(twice.value, once.value / 2, size)
    parts = list(zip(once.slopes, twice.slopes, strict=True))
    sums = any(_weighs(one, None if one is None or two is None else 2 * two - one) for one, two in parts)
    means = any(_weighs(one, None if one is None or two is None else 2 * (one - two)) for one, two in parts)
    thrice = _grown(subject, 3) if falls or (sums and means) else None
    if thrice is None:
        return
    if falls and _close(thrice.value, once.value / 3, size):
        yield Found(
            f"a loss of {once.value:.3g}, and of {twice.value:.3g} for the same rows taken twice",
            "a mean over the rows, which does not depend on how many they are",
            "leave out the division by the batch size: the loss is a mean already",
        )
        return
    added, kept = twice.value - once.value, 2 * once.value - twice.value
    if not _close(thrice.value, kept + 3 * added, size + abs(thrice.value)):
        return  # rows are compared with one another
    # A farthest or nearest one of the batch has a slope in one copy alone, and the loss does not grow.
    if not (sums and means and abs(added) > _NEAR * size):
        return
    if all(map(_of_sums_and_means, once.slopes, twice.slopes, thrice.slopes)) and _each_alone(subject, once):
        yield Found(
            "a loss of which one part is a sum over the rows of the batch, and another a mean",
            "terms that are all means over the rows, or all sums: their weights else depend on the batch size",
            '.sum(1).mean() in place of .sum(); reduction="sum" divided by len(x)',
        )


def _each_alone(subject: Subject, once: _Grown) -> bool:
    """Whether the slopes of the first row stay where the others are others: rows are not compared with one another."""

    def turned(leaf: Any) -> Any:
        by_rows = isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == subject.batch.size
        return torch.cat([leaf[:1], leaf[1:].roll(1, 0) * 0.5 + leaf[1:] * 0.5]).to(leaf) if by_rows else leaf

    other = _grown(subject, 1, map_leaves(turned, subject.evaluated.pred))
    if other is None:
        return False
    pairs = [(a[0], b[0]) for a, b in zip(once.slopes, other.slopes, strict=True) if a is not None and b is not None]
    return all(float((a - b).norm()) <= _SHARE * float(a.norm()) for a, b in pairs)


def _close(one: float, other: float, size: float) -> bool:
    return abs(one - other) <= _NEAR * size


def _weighs(whole: Tensor | None, part: Tensor | None) -> bool:
    if whole is None or part is None:
        return False
    size = float(whole.norm())
    return math.isfinite(size) and size > 0 and float(part.norm()) > _SHARE * size


def _of_sums_and_means(one: Tensor | None, two: Tensor | None, three: Tensor | None) -> bool:
    """Whether a slope is that of a sum, which stays, and of a mean, of which a third is left for three times the rows.

    What compares rows with one another, as miners of triplets do, comes near to it alone.
    """
    if one is None or two is None or three is None:
        return True
    of_sum, of_mean = 2 * two - one, 2 * (one - two)
    return float((three - of_sum - of_mean / 3).norm()) <= 0.05 * float(of_sum.norm()) + 1e-4 * float(one.norm())


@check("LB115", "warning", "A term of the loss that has no gradient", unless=("LB023",), costly=True)
def term_without_gradient(subject: Subject) -> Iterator[Found]:
    """A number is added to the loss that changes with the predictions and has no gradient: it was counted
    (`argmax()`, a comparison), rounded, detached, or went over `.item()` or NumPy. The loss shows it, and nothing is
    learned by it. (What does not change is a constant.)"""
    found = subject.evaluated
    dead = _dead(found.sums)
    if subject.loss is None or found.failure is not None or not dead or not tensors(found.pred):
        return
    rolled = map_leaves(lambda leaf: leaf.detach().roll(1, 0) if _rows(leaf) else leaf, found.pred)
    value = _changed(subject, dead, rolled)
    if value is None:  # a mean over the rows is the same for rows in another order
        moved = subject.moved(1)
        alike = moved.failure is None or moved.in_loss
        value = _changed(subject, dead, detached(moved.pred)) if alike else None
    if value is not None:
        yield Found(
            f"a term of {value:.3g} in the loss that changes with the predictions and has no gradient",
            "terms that the weights can learn from",
            "scores in place of argmax(), a comparison or round(); leave out detach(), .data, .item() and "
            "torch.tensor(...) on the way to this term",
        )


def _changed(subject: Subject, dead: list[tuple[int, int, float]], pred: Any) -> float | None:
    """The first of these numbers that is another for other predictions; None where all stay, or it cannot be asked."""
    other = Recorder()
    try:
        with other:
            subject.loss_of(pred, subject.batch.target)
    except Exception:  # a loss that takes the module's own predictions only
        return None
    if len(other.sums) != len(subject.evaluated.sums):
        return None
    for at, position, value in dead:
        again = _value(other.sums[at].argument(position, ("input", "other")[position]))
        if again is not None and not math.isclose(again, value, rel_tol=1e-6, abs_tol=1e-12):
            return value
    return None


def _rows(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and leaf.is_floating_point()


def _dead(sums: Any) -> list[tuple[int, int, float]]:
    """(which sum, which of its numbers, its value) of numbers without a graph that are added to one with a graph."""
    dead: list[tuple[int, int, float]] = []
    for at, call in enumerate(sums):
        both = [call.argument(0, "input"), call.argument(1, "other")]
        alive = [isinstance(one, Tensor) and one.requires_grad for one in both]
        if sum(alive) == 1:
            position = alive.index(False)
            value = _value(both[position])
            if value is not None and value != 0:
                dead.append((at, position, value))
    return dead


def _value(one: Any) -> float | None:
    if isinstance(one, Tensor):
        one = one.detach() if one.numel() == 1 else None
    if one is None or isinstance(one, bool) or not isinstance(one, (Tensor, int, float)):
        return None
    value = float(one)
    return value if math.isfinite(value) else None


@check("LB116", "hint", "A term beside which the others vanish", unless=("LB050", "LB114", "LB056"), costly=True)
def dominated(subject: Subject) -> Iterator[Found]:
    """Of the terms of the loss, one is a thousand times as large as each of the others, and so is its gradient by the
    predictions: these are hardly learned before the large one is."""
    found, loss = subject.evaluated, subject.evaluated.loss
    preds = [one for one in tensors(found.pred) if one.requires_grad and one.is_floating_point()]
    if found.failure is not None or not isinstance(loss, Tensor) or loss.ndim or loss.grad_fn is None or not preds:
        return
    values = _addends(found.sums)
    edges = _terms(loss.grad_fn)
    if not 2 <= len(edges) <= _MOST_TERMS or len(values) < 2:
        return
    sizes: list[float] = []
    for edge in edges:
        try:
            slopes: Any = torch.autograd.grad(edge, preds, retain_graph=True, allow_unused=True)  # pyright: ignore[reportArgumentType, reportCallIssue]
        except (RuntimeError, TypeError):  # a graph that cannot be walked twice
            return
        sizes.append(math.hypot(*(norm_of(one) for one in slopes if one is not None)))
    largest, next_one = sorted(sizes, reverse=True)[:2]
    big, small = sorted((abs(one) for one in values), reverse=True)[:2]
    if largest > _TIMES * next_one > 0 and big > max(_LARGE, _TIMES * small) and small > 0:
        yield Found(
            f"a term of {big:.3g} in the loss beside one of {small:.3g}, with a gradient {largest / next_one:.0f} "
            "times as large",
            "terms of about the same size",
            "targets of mean 0 and spread 1 for every term, or weights for the terms",
        )


def _terms(root: Any) -> list[GradientEdge]:
    """The ends of the sums that a loss is made of."""
    waiting, ends = [(root, 0)], list[GradientEdge]()
    while waiting and len(ends) <= _MOST_TERMS:
        node, place = waiting.pop()
        if kind_of(node) == "Add":
            waiting += [(one, at) for one, at in node.next_functions if one is not None]
        else:
            ends.append(GradientEdge(node, place))
    return ends


def _addends(sums: Any) -> list[float]:
    """The numbers that are added to one another, without those that are sums of others."""
    made = {id(call.result) for call in sums}
    both = [one for call in sums for one in (call.argument(0, "input"), call.argument(1, "other"))]
    values = [_value(one) for one in both if isinstance(one, Tensor) and one.requires_grad and id(one) not in made]
    return [one for one in values if one is not None]


@check("LB117", "warning", "A mean that is taken too early")
def mean_too_early(subject: Subject) -> Iterator[Found]:
    """`torch.exp(-loss)` is the probability of the right class for one row. Of a mean over the batch it is none: a
    focal loss then weights all rows alike."""
    loss = subject.evaluated.loss
    calls = [call for call in loss_inputs(subject.loss_calls, (*CLASSES, *BINARY)) if _is_mean(call)]
    if not calls or not isinstance(loss, Tensor) or loss.grad_fn is None:
        return
    means = {call.result.grad_fn for call in calls}
    given = dict(nodes_of([loss]))
    for node, before in given.items():
        if kind_of(node) != "Exp":
            continue
        for one in before:
            if kind_of(one) in ("Neg", "Mul") and any(mean in means for mean in given.get(one, ())):
                yield Found(
                    f"exp(-loss) of a {calls[0].name} that is a mean over the batch already",
                    "a probability for each row, and the mean at the end",
                    f'F.{calls[0].name}(..., reduction="none"), and .mean() after the weights',
                )
                return


def _is_mean(call: Call) -> bool:
    several = isinstance(call.target, Tensor) and call.target.numel() > 1
    return several and isinstance(call.result, Tensor) and call.result.ndim == 0 and call.result.grad_fn is not None
