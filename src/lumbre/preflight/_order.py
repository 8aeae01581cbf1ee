"""What a loss takes notice of: the places of the rows in the batch, and each part of the target."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import Nested, detached, leaves, map_leaves, untouched
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_FEWEST_ROWS, _NEAR, _ROUNDING = 8, 1e-3, 2e-6
_MOST_NUMBERS = 2_000_000


def _asked(subject: Subject) -> bool:
    """Whether the loss can be asked for other orders: everything that it is given has a row for each of the batch."""
    found, size = subject.evaluated, subject.batch.size
    if subject.loss is None or found.failure is not None or size < _FEWEST_ROWS or found.drew or subject.asks_the_net:
        return False
    if subject.loss_of_torch and any(call.target is subject.batch.target for call in subject.loss_calls):
        return False  # as nearly always: a mean or a sum over the rows
    given = [*leaves(found.pred), *leaves(subject.batch.target)]
    by_rows = all(isinstance(one, Tensor) and one.ndim and len(one) == size for one in given)
    if any(one.shape[:2] == (size, size) for one in tensors(found.pred)):  # of rows beside one another, or of classes
        return False
    return by_rows and bool(given) and sum(one.numel() for one in tensors(found.pred)) <= _MOST_NUMBERS


def _value(subject: Subject, pred: Any, target: Any) -> float:
    """The loss; NaN where it cannot be computed."""
    try:
        return float(subject.loss_of(pred, target))
    except Exception:  # a loss that takes the module's own predictions only
        return math.nan


def _draws(subject: Subject, pred: Any, target: Any) -> bool:
    """Whether the loss is another when it is asked again: it draws by chance, or keeps something."""
    assert subject.loss is not None
    with untouched(subject.model, subject.device, subject.loss), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            once, again = (float(subject.loss(pred, target)) for _ in range(2))
        except Exception:  # a loss that takes the module's own predictions only
            return True
    return once != again


def _turned(by: int) -> Callable[[Any], Any]:
    return lambda leaf: leaf.detach().roll(by, 0)


@check("LB123", "warning", "A loss that depends on the order of the rows", unless=("LB020", "LB006", "LB018"))
def ordered(subject: Subject) -> Iterator[Found]:
    """The order of a batch is drawn anew in each epoch, so it can mean nothing. The loss is asked for the same
    predictions and targets in other orders: it changes where 0 and 1 stand as an index in place of a mask, where a
    cumulative sum is taken over rows that were not sorted, or where one place of the batch is taken for the right one.
    (All rows are moved on together, so that rows which are compared with their neighbours stay beside them.)"""
    if not subject.shuffled or not _asked(subject):  # a loader may have an order in which rows belong together
        return
    found, target = subject.evaluated, subject.batch.target
    as_is = map_leaves(_turned(0), found.pred), target
    if _draws(subject, *as_is):
        return
    once = _value(subject, *as_is)
    size = subject.batch.size
    others = [
        _value(subject, map_leaves(_turned(by), found.pred), map_leaves(_turned(by), target))
        for by in (2, 4, size // 2)
    ]
    if not all(math.isfinite(one) for one in (once, *others)):
        return
    if all(abs(one - once) > _NEAR * max(abs(once), abs(one)) for one in others) and not _picks(subject, once):
        yield Found(
            f"a loss of {once:.4g}, and of {others[0]:.4g} for the same rows in another order",
            "a loss in which the place of a row in the batch means nothing",
            "mask.bool() where 0 and 1 are to pick rows; a sort by time before a cumulative sum; torch.arange(len(x)) "
            "for pairs that stand in the same row. Where rows follow one another in time: shuffle=False",
        )


def _picks(subject: Subject, once: float) -> bool:
    """Whether labels say to the loss which rows belong together, and nothing more: it may then pick some pairs."""
    pred, target = detached(subject.evaluated.pred), subject.batch.target
    if not isinstance(target, Tensor) or target.is_floating_point() or target.ndim != 1 or target.dtype == torch.bool:
        return False
    kinds, at = target.unique(return_inverse=True)
    renamed, others = _value(subject, pred, kinds.flip(0)[at]), _value(subject, pred, target.roll(1))
    return math.isclose(renamed, once, rel_tol=_NEAR) and not math.isclose(others, once, rel_tol=_NEAR)


@check("LB124", "warning", "A part of the target that the loss does not use", unless=("LB006",))
def unused_target(subject: Subject) -> Iterator[Found]:
    """Of a target of several parts (a dict or a tuple), one could be anything: the loss is the same where its values
    change places between rows, for other predictions, too. A weight or a mask that was forgotten, the teacher compared
    with itself, the best action in place of the one that was taken. Of a single target, so may be columns or steps,
    whose predictions have no gradient either: the first half of a box that is judged twice, `loss = ...` in a loop in
    place of `loss += ...`. (Row numbers and names are not looked at, nor first steps that warm a net up, nor anything
    where metrics may use it.)"""
    target, found = subject.batch.target, subject.evaluated
    yield from _unused_places(subject)
    parts, size, names = tensors(target), subject.batch.size, _names(target)
    if subject.loss is None or found.failure is not None or len(parts) < 2 or subject.metrics:
        return
    if found.drew or _draws(subject, detached(found.pred), target):
        return
    moved = map_leaves(_shifted, found.pred)
    once = [_value(subject, one, target) for one in (detached(found.pred), moved)]
    if size < _FEWEST_ROWS or not all(math.isfinite(one) for one in once):
        return
    for at, part in enumerate(parts):
        if not part.ndim or len(part) != size or _names_rows(part) or bool((part == part[:1]).all()):
            continue
        other = _with_turned(target, at)
        again = [_value(subject, one, other) for one in (detached(found.pred), moved)]
        if all(math.isclose(a, b, rel_tol=_ROUNDING) for a, b in zip(once, again, strict=True)):
            yield Found(
                f"a part of the target that the loss takes no notice of: {names[at]}",
                "a loss that uses every part of the target",
                "look for a name that is written twice, or a weight or mask that is not used; leave the part out of "
                "the data where nothing needs it",
            )
            return


def _unused_places(subject: Subject) -> Iterator[Found]:
    """What is said of columns or steps of a target that the loss takes no notice of, nor of their predictions."""
    target, found = subject.batch.target, subject.evaluated
    pred, value = found.pred, found.loss
    if subject.loss is None or subject.metrics or found.drew or subject.loss_of_torch or found.failure is not None:
        return
    if not (isinstance(target, Tensor) and isinstance(pred, Tensor) and isinstance(value, Tensor)):
        return
    if not 2 <= target.ndim <= pred.ndim or value.ndim or not (value.requires_grad and pred.requires_grad):
        return
    try:
        slope: Any = torch.autograd.grad(value, pred, retain_graph=True, allow_unused=True)[0]
    except RuntimeError:  # a graph that cannot be walked twice
        return
    if slope is None or len(target) < _FEWEST_ROWS or not bool(slope.isfinite().all()):
        return
    for dim in range(1, target.ndim):
        places = [at for at in (dim, dim + pred.ndim - target.ndim) if pred.shape[at] == target.shape[dim]]
        if not places:
            continue
        idle = (slope == 0).transpose(0, places[0]).flatten(1).all(1)
        idle &= (target != target[:1]).transpose(0, dim).flatten(1).any(1)
        which = [int(at) for at in idle.nonzero()[:, 0]]
        warm_up = which == list(range(len(which))) and 2 * len(which) <= len(idle)
        if not which or len(which) == len(idle) or warm_up:
            continue
        other = target.transpose(0, dim).clone()
        other[which] = other[which].roll(1, 1)
        other = other.transpose(0, dim)
        preds = (pred.detach(), _shifted(pred), torch.linspace(-2, 2, pred.numel()).to(pred).reshape(pred.shape))
        asked = [(_value(subject, one, target), _value(subject, one, other)) for one in preds]
        if all(math.isclose(a, b, rel_tol=_ROUNDING) for a, b in asked) and not _draws(subject, preds[0], target):
            yield Found(
                f"a loss that takes no notice of positions {', '.join(map(str, which[:6]))} of dimension {dim} of the "
                f"target, {tuple(target.shape)}, nor of their predictions",
                "a loss that uses every part of the target",
                "look for an index that is written twice, a slice that is too short, and `loss = ...` in a loop in "
                "place of `loss = loss + ...`; leave out of the data what nothing needs",
            )
            return


def _shifted(leaf: Any) -> Any:
    """Other predictions: each row with those of its neighbour."""
    by_rows = isinstance(leaf, Tensor) and leaf.ndim and leaf.is_floating_point()
    return leaf.detach().roll(1, 0) if by_rows else detached(leaf)


def _names_rows(part: Tensor) -> bool:
    """Whether whole numbers are others in every row, as row numbers are."""
    return not part.is_floating_point() and part.ndim == 1 and len(part.unique()) == len(part)


def _with_turned(target: Any, at: int) -> Any:
    count = iter(range(len(tensors(target))))

    def turned(leaf: Any) -> Any:
        return leaf.roll(1, 0) if isinstance(leaf, Tensor) and next(count) == at else leaf

    return map_leaves(turned, target)


def _names(target: Nested) -> list[str]:
    """What the tensors of a target are called."""
    if isinstance(target, dict):
        found: list[str] = []
        for name, value in target.items():
            count = len(tensors(value))
            found += [repr(name)] if count == 1 else [f"{name!r}, tensor {at}" for at in range(count)]
        return found
    return [f"number {at}" for at in range(len(tensors(target)))]
