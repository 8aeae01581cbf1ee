"""The loss of the best prediction that looks at no input: class shares, a mean or a median, by the loss."""

import math

import torch
from torch import Tensor

from lumbre.base import as_scalar
from lumbre.preflight._recorder import BINARY, CLASSES, ELEMENTWISE, Call
from lumbre.preflight._subject import Subject

_MOST_ROWS = 2_048


def constant_losses(subject: Subject) -> dict[str, float]:
    """Of the sets "train" and "valid", the loss of the prediction that is the same for all rows, and best in training.

    Said only where the loss is one of torch's and gives a mean, so that it is known which prediction that is.
    """
    pred, value, loss = subject.evaluated.pred, subject.evaluated.loss, subject.loss
    target = None if subject.seen is None else subject.seen[1]
    if loss is None or not isinstance(pred, Tensor) or not isinstance(value, Tensor) or value.ndim:
        return {}
    calls = [one for one in subject.loss_calls if one.is_loss and one.result is not None]
    if len(calls) != 1 or not isinstance(target, Tensor) or not pred.ndim:
        return {}
    (call,) = calls
    own = call.target is subject.batch.target and isinstance(call.input, Tensor) and call.input.shape == pred.shape
    if call.name in (*BINARY, *ELEMENTWISE) and call.target.shape != pred.shape:
        return {}  # stretched against each other, which LB006 says
    same = isinstance(call.result, Tensor) and torch.equal(call.result.detach(), value.detach())
    if not own or not same or len(pred) != subject.batch.size:
        return {}
    found: dict[str, float] = {}
    held = {"train": target, "valid": None if subject.seen_valid is None else subject.seen_valid[1]}
    try:
        best = _best(call, _some(target).to(pred.device))
        for name, one in held.items():
            if isinstance(one, Tensor) and len(one) and one.shape[1:] == target.shape[1:] and best:
                rows = _some(one).to(pred.device)
                with torch.no_grad():
                    numbers = [float(as_scalar(loss(c.expand(len(rows), *pred.shape[1:]).clone(), rows))) for c in best]
                number = min(filter(math.isfinite, numbers), default=math.nan)
                if math.isfinite(number):
                    found[name] = number
    except Exception:  # a loss that takes the module's own predictions only
        return {}
    return found


def _some(rows: Tensor) -> Tensor:
    return rows.detach()[:: max(1, len(rows) // _MOST_ROWS)]


def _best(call: Call, target: Tensor) -> list[Tensor]:
    """What to predict for every row, as (1, ...)."""
    if call.name in CLASSES:
        classes = call.input.shape[1]
        if target.is_floating_point():
            shares = target.float().mean(0)
        else:
            counted = target[(target >= 0) & (target < classes) & (target != call.argument(4, "ignore_index", -100))]
            shares = torch.bincount(counted.flatten(), minlength=classes).float()
        weight = call.argument(2, "weight")
        shares = shares * weight if isinstance(weight, Tensor) else shares
        shares = shares / shares.sum()
        smooth = float(call.argument(7, "label_smoothing", 0.0)) if call.name == "cross_entropy" else 0.0
        shares = (1 - smooth) * shares + smooth / classes
        scores = (shares + 1e-9).log()
        if target.is_floating_point():
            return [scores[None]]
        return [scores.reshape(1, classes, *[1] * (call.input.ndim - 2))]
    mean = target.float().mean(0, keepdim=True)
    if call.name in BINARY:
        share = mean.clamp(1e-4, 1 - 1e-4)
        return [torch.logit(share) if call.name.endswith("logits") else share]
    if call.name in ELEMENTWISE:
        return [mean, target.float().median(0, keepdim=True).values]
    return []
