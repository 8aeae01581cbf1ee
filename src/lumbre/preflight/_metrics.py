"""Metrics: whether they fit the predictions, and those of the user's own tell right predictions from wrong ones."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import is_users_own
from lumbre.preflight._recorder import RAW, made_by
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject

_FEWEST_ROWS = 8


@check("LB014", "warning", "A metric that wants something else than the loss", several=True)
def unfit_metric(subject: Subject) -> Iterator[Found]:
    """`BinaryAccuracy` counts probabilities above 0.5. Given raw scores it asks whether they are above 0.5, not above
    0, and so is too low; `BinaryAccuracyWithLogits` of probabilities takes each for a yes. Both of measurements ask
    how many are positive. A metric of your own is asked for predictions that are all right, and all wrong.
    (Metrics that cannot be computed at all say so in the first step.)"""
    pred, target = subject.evaluated.pred, subject.target
    if not isinstance(pred, Tensor) or subject.evaluated.failure is not None:
        return
    for said in _blind(subject):
        yield Found(
            f"a metric of your own that does not tell right predictions from wrong ones: {said}",
            "a better value for right predictions",
            "pred.argmax(1) == target: without a dimension, argmax() is the place of one number among all",
        )
    measured = isinstance(target, Tensor) and target.is_floating_point() and bool(((target < 0) | (target > 1)).any())
    for metric in subject.metrics:
        name, made = type(metric).__name__, made_by(pred)
        if measured and name in ("BinaryAccuracy", "BinaryAccuracyWithLogits"):
            yield Found(f"{name} of measurements", "targets of 0 and 1", "lumbre.metrics.RMSE(), MAE() or R2()")
            continue
        raw = made in RAW or bool(((pred < 0) | (pred > 1)).any())
        if name == "BinaryAccuracy" and raw and made not in ("Sigmoid", "Softmax"):
            yield Found(
                "BinaryAccuracy of raw scores",
                "probabilities from 0 to 1",
                "lumbre.metrics.BinaryAccuracyWithLogits()",
            )
        if name == "BinaryAccuracyWithLogits" and made in ("Sigmoid", "Softmax"):
            yield Found(
                "BinaryAccuracyWithLogits of probabilities", "raw scores (logits)", "lumbre.metrics.BinaryAccuracy()"
            )


def _blind(subject: Subject) -> Iterator[str]:
    """What metrics of the user's own say of right and of wrong predictions, where right ones are no better."""
    pred, target = subject.evaluated.pred, subject.batch.target
    if not isinstance(pred, Tensor) or not isinstance(target, Tensor) or len(target) < _FEWEST_ROWS:
        return
    pairs = _right_and_wrong(pred.detach(), target)
    for metric in subject.metrics:
        if pairs is None or not is_users_own(type(metric)) or metric.higher_is_better is None:
            continue
        try:
            right, wrong = (_value(metric, one, target) for one in pairs)
        except Exception:  # one that looks at other things than these predictions
            continue
        sign = 1 if metric.higher_is_better else -1
        if right is not None and wrong is not None and sign * right <= sign * wrong:
            yield f"{metric.name} is {right:.3g} for predictions that are all right, {wrong:.3g} for all wrong"


def _right_and_wrong(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    """Scores that name the class of each row, and scores that name the next one; or the targets, and others far away.

    None where it is not known what would be right.
    """
    generator = torch.Generator().manual_seed(0)
    if not target.is_floating_point():
        whole = target.ndim == 1 and pred.ndim == 2 and len(pred) == len(target) and pred.shape[1] > 1
        if not whole or bool(((target < 0) | (target >= pred.shape[1])).any()) or bool((target == target[0]).all()):
            return None
        surer = (1 + torch.rand(len(target), 1, generator=generator)).to(pred)

        def scores(classes: Tensor) -> Tensor:
            return 5 * surer * torch.zeros_like(pred).scatter_(1, classes[:, None], 1.0)

        return scores(target), scores((target + 1) % pred.shape[1])
    if target.shape != pred.shape or bool(((target == 0) | (target == 1)).all()):
        return None
    far = (3 * float(target.std()) + 1) * torch.randn(target.shape, generator=generator).to(target)
    return target, target + far


def _value(metric: Any, pred: Tensor, target: Tensor) -> float | None:
    with torch.no_grad():
        found = metric.compute(metric.update(metric.init(target.device), pred, target))
    return float(found) if isinstance(found, (int, float)) else None
