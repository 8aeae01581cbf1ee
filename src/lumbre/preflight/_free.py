"""Where a loss leads: predictions that follow it by themselves, without a net."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, optim

from lumbre.base import detached, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._domains import of_torch
from lumbre.preflight._endless import UNBOUNDED
from lumbre.preflight._recorder import graph_leaves, made_by
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_FEWEST_ROWS, _MOST_NUMBERS, _CALLS, _WAYS = 8, 200_000, 60, 16
_GAINED, _AS_GOOD = 0.05, 0.02


@check(
    "LB139",
    "warning",
    "A loss that a constant answers best",
    unless=("LB006", "LB012", "LB054", "LB065", "LB067", "LB123"),
    costly=True,
)
def asks_nothing(subject: Subject) -> Iterator[Found]:
    """Predictions follow the loss by themselves, without a net: once each row its own, once all rows together. One
    prediction for all comes as low as one for each, though the targets differ: nothing about the rows is to be learned.
    A hinge loss of labels 0 and 1 takes no notice of the zeros; a likelihood without the logarithm of its spread is
    lowest where the spread is endless; positive pairs alone are satisfied by a single point; and where means are
    compared, the place of each number is lost. (Losses of torch are not looked at.) Or the loss compares points that
    the module gives, without a target, and no points are better than any single one for all."""
    found, target = subject.evaluated, subject.batch.target
    pred, value = found.pred, found.loss
    yield from _single_point(subject)
    if subject.loss is None or found.failure is not None or of_torch(subject) or len(subject.optimizers) != 1:
        return
    if not isinstance(pred, Tensor) or not isinstance(target, Tensor) or not isinstance(value, Tensor) or value.ndim:
        return
    if not pred.is_floating_point() or not pred.requires_grad or made_by(pred) not in UNBOUNDED:
        return
    rows = len(pred) if pred.ndim else 0
    if rows < _FEWEST_ROWS or not target.ndim or len(target) != rows or pred.numel() > _MOST_NUMBERS:
        return
    start, begun = pred.detach(), float(value.detach())
    if bool((target == target[:1]).all()) or not math.isfinite(begun):
        return

    def of(one: Tensor) -> Any:
        assert subject.loss is not None
        same_chance(subject.device)
        return subject.loss(one, target)

    try:
        if all(math.isclose(begun, float(subject.loss_of(start, one)), rel_tol=1e-6) for one in _others(target)):
            return  # the targets are not used
        with untouched(subject.model, subject.device, subject.loss), torch.enable_grad():
            behind = graph_leaves([of(start.clone().requires_grad_())])
        if any(id(one) in behind for one in subject.model.parameters()):
            return  # the loss asks the net once more
        known = [float(subject.loss_of(one, target)) for one in _right(start, target)]
        with untouched(subject.model, subject.device, subject.loss), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together = _lowest(of, start.mean(0, keepdim=True), lambda one: one.expand_as(start))
            alone = min(_lowest(of, start, lambda one: one), *known, together)
        if not math.isfinite(together) or together < -10 * (1 + abs(begun)) or begun - together < _GAINED * abs(begun):
            return
    except Exception:  # a loss that takes the module's own predictions only
        return
    if math.isfinite(alone) and together - alone <= _AS_GOOD * (begun - alone):
        yield Found(
            f"a loss of {begun:.3g} that comes to {together:.3g} by one prediction for all rows, and to {alone:.3g} by "
            "the best one for each",
            "a loss that is lowest where the prediction of each row fits its own target",
            "look for rows that the loss takes no notice of (labels of -1 and 1 for a hinge loss), for a term that was "
            "left out (the logarithm of a spread), and for pairs of one kind alone",
        )


def _single_point(subject: Subject) -> Iterator[Found]:
    """What is said of a loss without a target that any point is best for, if it is the same in all rows."""
    found, target, loss = subject.evaluated, subject.batch.target, subject.loss
    if loss is None or found.failure is not None or subject.asks_the_net or len(subject.optimizers) != 1:
        return
    points = [one.detach() for one in tensors(found.pred) if one.requires_grad and one.is_floating_point()]
    places = [at for at, one in enumerate(tensors(found.pred)) if one.requires_grad and one.is_floating_point()]
    if not points or {tuple(one.shape) for one in points} != {tuple(points[0].shape)} or not _by_rows(points[0]):
        return
    if not isinstance(found.loss, Tensor) or found.loss.ndim or found.loss.grad_fn is None:
        return

    def of(flat: Tensor) -> Any:
        same_chance(subject.device)
        count, parts = iter(range(len(tensors(found.pred)))), dict(zip(places, flat.unbind(), strict=True))
        given = map_leaves(lambda leaf: parts.get(next(count), leaf) if isinstance(leaf, Tensor) else leaf, plain)
        return loss(given, target)

    plain = detached(found.pred)
    start, other = torch.stack(points), map_leaves(lambda leaf: _turned_round(leaf), target)
    drawn = torch.randn((2, points[0].shape[1]), generator=torch.Generator().manual_seed(0)).to(start)
    try:
        with untouched(subject.model, subject.device, loss), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begun = float(of(start).detach())
            one, two = (float(of(point.expand_as(start)).detach()) for point in drawn)
            same_chance(subject.device)
            used = not math.isclose(float(subject.loss_of(plain, other)), begun, rel_tol=1e-6)
            low = max(one, two)
            # A norm over the batch brings points to one spread first: only those that are the very same escape it.
            near = float(of(drawn[0] + 0.5 * (start - start.mean((0, 1)))).detach())
            shrinks = near <= begun - 0.3 * (begun - low)
            any_point = math.isfinite(low) and abs(one - two) <= 1e-4 * abs(begun)
            if used or not any_point or not shrinks or begun - low < _GAINED * abs(begun):
                return
            if graph_leaves([of(start.clone().requires_grad_())]).keys() & {id(p) for p in subject.model.parameters()}:
                return  # the loss asks the net once more
            if _stops_gradients(of, start):  # the other side is held still, and there is no way to it
                return
            alone = min(_lowest(of, start, lambda each: each), low)
    except Exception:  # a loss that takes the module's own predictions only
        return
    if low - alone <= _AS_GOOD * (begun - alone):
        yield Found(
            f"a loss of {begun:.3g} that is {low:.3g} wherever all points are the same, and comes no lower than "
            f"{alone:.3g}",
            "a loss that draws some points together and others apart",
            "a margin above 0 (nn.TripletMarginLoss), other rows as negatives, or a term that keeps points apart",
        )


def _by_rows(points: Tensor) -> bool:
    return points.ndim == 2 and len(points) >= _FEWEST_ROWS and points.shape[1] >= 2 and points.numel() <= _MOST_NUMBERS


def _turned_round(leaf: Any) -> Any:
    return leaf.roll(1, 0) if isinstance(leaf, Tensor) and leaf.ndim else leaf


def _stops_gradients(of: Callable[[Tensor], Any], start: Tensor) -> bool:
    """Whether the gradient of a loss is not how it changes, since a part is detached."""
    free = start.clone().requires_grad_()
    (way,) = torch.autograd.grad(of(free), free)
    generator = torch.Generator().manual_seed(1)
    pairs: list[tuple[float, float]] = []
    for _ in range(_WAYS):
        by = 1e-2 * float(start.std()) * torch.randn(start.shape, generator=generator).to(start)
        change = (float(of(start + by).detach()) - float(of(start - by).detach())) / 2
        pairs.append((change, float((way * by).sum())))
    sizes = [math.hypot(*those) for those in zip(*pairs, strict=True)]
    return sum(a * b for a, b in pairs) < 0.95 * math.prod(sizes)


def _others(target: Tensor) -> list[Tensor]:
    """The targets in another order, and other ones."""
    other = target + 0.1 * target.std() if target.is_floating_point() else target.max() - target
    return [target.roll(1, 0), other]


def _right(pred: Tensor, target: Tensor) -> list[Tensor]:
    """Predictions that fit the targets, where it is clear what these are: the targets, or scores of classes."""
    if target.shape == pred.shape and target.is_floating_point():
        return [target.to(pred.dtype), 10 * (2 * target - 1).to(pred.dtype)]
    classes = not target.is_floating_point() and pred.ndim == target.ndim + 1 and int(target.min()) >= 0
    if classes and int(target.max()) < pred.shape[1] and pred.shape[0] == target.shape[0]:
        return [torch.zeros_like(pred).scatter_(1, target.unsqueeze(1), by) for by in (1.0, 10.0)]
    return []


def _lowest(of: Callable[[Tensor], Any], start: Tensor, spread: Callable[[Tensor], Tensor]) -> float:
    """How low the loss comes from here; what is taken step by step is `start`, of which `spread` makes predictions."""
    free = start.clone().requires_grad_()
    steps = optim.LBFGS([free], max_iter=_CALLS, max_eval=_CALLS, line_search_fn="strong_wolfe")
    values: list[float] = []

    def closure() -> float:
        loss = of(spread(free))
        (free.grad,) = torch.autograd.grad(loss, free)  # parameters of the loss get none
        values.append(float(loss.detach()))
        return values[-1]

    with torch.enable_grad():
        steps.step(closure)
    return min(one for one in values if math.isfinite(one))
