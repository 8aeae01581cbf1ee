"""What a loss of the user's own does with predictions: which function of torch it gives them to, and in which form.

A function around `F.poisson_nll_loss`, or a module that holds a `PoissonNLLLoss`, takes logarithms of counts just as
these do. So a loss of which the table of `_response.py` knows nothing is watched once, while it computes. One that
calls none of torch's, such as `(pred.exp() - target * pred).mean()`, is asked where it is least.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lumbre.base._divisor import LabelMean, divisor_of
from lumbre.base._nested import Nested, leaves, map_leaves, row_count
from lumbre.base._response import Scale, scale_of_function
from lumbre.base._target import Weighted

# In which form a prediction may be given to a loss, and what it is then.
_FORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda pred: pred,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "softmax": lambda pred: pred.softmax(1) if pred.ndim > 1 else pred,
    "log_softmax": lambda pred: pred.log_softmax(1) if pred.ndim > 1 else pred,
    "log": torch.log,
}
_NEAR = 1e-3
_ENOUGH = 100_000  # numbers of a batch, that show where a loss is least
_OF_LABELS = (F.cross_entropy, F.nll_loss)
_FOUND: Mapping[tuple[str, str | None], Scale] = {
    ("sigmoid", None): Scale("logits", "sigmoid"),
    ("softmax", None): Scale("logits", "softmax"),
    ("exp", None): Scale("numbers", "exp"),
    ("log_softmax", "softmax"): Scale("logits", "softmax"),
    ("log_softmax", "exp"): Scale("logits", "softmax"),
    ("log", "softmax"): Scale("probabilities"),
    ("log", "exp"): Scale("probabilities"),
}


def watched_scale(loss: Callable[[Nested, Nested], object], pred: Nested, target: Nested) -> Scale:
    """The scale of the predictions that a loss takes, seen from what it calls for a batch.

    Losses of torch count that take the target as it is, and the prediction as it is or after a sigmoid, softmax,
    exponential or logarithm; and losses for numbers that take a logarithm of the target. Where they do not agree, or
    there are none, nothing is known. A label that all losses of classes leave out (`ignore_index`) is noted with it,
    and that the loss is a mean over the labels of the target.

    Args:
        loss: a function of prediction and target; its value is left aside.
        pred: a tensor, or a pair (mean, variance).
        target: of the batch.
    """
    if isinstance(target, Weighted):
        target = target.target
    loss = getattr(loss, "_torchdynamo_orig_callable", loss)
    watch = _Watch()
    with torch.no_grad(), watch:
        value = loss(pred, target)
        found = {one for call in watch.calls if (one := _scale(*call, pred, target)) is not None}
    if not watch.calls:
        found = _least_at_target(loss, pred, target)
    of_labels = [call for function, call in watch.calls if function in _OF_LABELS]
    ignored = {call.get("ignore_index", -100) for call in of_labels}
    single = len(ignored) == 1 and isinstance(value, Tensor) and value.numel() == 1
    labels = _label_mean(loss, of_labels, pred, target, value) if single else None
    scale = found.pop() if len(found) == 1 else Scale()
    return replace(scale, ignored=ignored.pop() if len(ignored) == 1 else None, labels=labels)


class _Watch(TorchFunctionMode):
    """Keeps the calls of losses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if scale_of_function(func) is not None:
            self.calls.append((func, dict(inspect.signature(func).bind(*args, **kwargs).arguments)))
        return func(*args, **kwargs)


def _scale(function: Any, given: dict[str, Any], pred: Nested, target: Nested) -> Scale | None:
    options = {name: given[name] for name in ("log_input", "log_target") if name in given}
    known = scale_of_function(function, options)
    if known is None or not isinstance(given["input"], Tensor):
        return None
    if known.kind == "numbers" and not _alike(given["target"], target):
        return _of_logarithms(given, pred, target)  # of another target the prediction has another scale
    if function is F.gaussian_nll_loss:
        mean = pred[0] if isinstance(pred, (tuple, list)) and pred else None
        return known if _alike(given["input"], mean) else None
    if not isinstance(pred, Tensor) or not pred.is_floating_point():
        return None
    form = next((name for name, made in _FORMS.items() if _alike(given["input"], made(pred))), None)
    return known if form == "as it is" else _FOUND.get((str(form), known.name))


def _of_logarithms(given: dict[str, Any], pred: Nested, target: Nested) -> Scale | None:
    """The scale of a prediction, as it is, that is compared with a logarithm of the target."""
    if not isinstance(target, Tensor) or not _alike(given["input"], pred):
        return None
    values = target.double()
    logarithms = {"exp": values.log(), "expm1": values.log1p()}
    return next((Scale("numbers", name) for name, one in logarithms.items() if _alike(given["target"], one)), None)


def _alike(one: Any, other: Any) -> bool:
    """Whether both hold the same numbers, in whatever shape or precision."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.numel() != other.numel():
        return False
    if one.data_ptr() == other.data_ptr():
        return True
    short = any(value.is_floating_point() and value.element_size() < 4 for value in (one, other))
    one, other = (value.detach().reshape(-1).double() for value in (one, other))
    return torch.allclose(one, other, rtol=1e-2 if short else 1e-4, atol=1e-3 if short else 1e-6)


def _label_mean(loss: Any, calls: list[dict[str, Any]], pred: Nested, target: Nested, value: Any) -> LabelMean | None:
    """What a loss averages over, where that is the labels of its target as torch's losses of classes have it.

    It is asked for two parts of the batch: by the sums of weights of their labels, they give the loss of the whole.
    """
    places = [_place(call["target"], target) for call in calls]
    weights = [None if (one := call.get("weight")) is None else tuple(one.tolist()) for call in calls]
    means = all(call.get("reduction", "mean") == "mean" for call in calls)
    if not means or len({*zip(places, weights, strict=True)}) > 1 or places[0] is None:
        return None
    found = LabelMean(calls[0].get("ignore_index", -100), weights[0], *places[0])
    divisor = divisor_of(loss, seen=found)
    assert divisor is not None
    rows, whole, total = row_count(target), float(divisor(target)), 0.0
    if rows < 2 or not whole:
        return found  # nothing to compare
    for part in (slice(None, rows // 2), slice(rows // 2, None)):
        try:
            of_pred, of_target = (map_leaves(lambda leaf, part=part: leaf[part], one) for one in (pred, target))
            divided_by = float(divisor(of_target))
            with torch.no_grad():
                total += divided_by * float(loss(of_pred, of_target)) if divided_by else 0.0
        except Exception:  # not everything has these rows, or the loss takes no other number of them
            return None
    return found if abs(total - whole * float(value)) <= _NEAR * abs(total) else None


def _place(labels: Any, target: Nested) -> tuple[int, int] | None:
    """Which tensor of the target holds the labels that a loss was given, and from which column on; None for others."""
    for place, leaf in enumerate(leaves(target)):
        if not isinstance(leaf, Tensor) or leaf.is_floating_point() or not leaf.numel():
            continue
        columns = leaf.shape[1] if leaf.ndim > 1 else 1
        start = columns - columns * labels.numel() // leaf.numel()
        if 0 <= start < columns and _alike(labels, leaf[:, start:] if start else leaf):
            return place, start
    return None


def _least_at_target(loss: Callable[[Nested, Nested], object], pred: Nested, target: Nested) -> set[Scale]:
    """The scales on which the prediction is the target where a loss of numbers has its minimum, such as of logarithms.

    Each prediction is put where its response is the target: the gradient is 0 there, and points back to it from either
    side. Targets at the end of a scale, such as a count of 0, are moved into it. None where the target itself is least.
    """
    if not isinstance(pred, Tensor) or not pred.is_floating_point() or not isinstance(target, Tensor):
        return set()
    if not pred.numel() or target.numel() != pred.numel() or row_count(pred) != row_count(target):
        return set()
    rows = max(1, _ENOUGH * len(pred) // pred.numel()) if pred.ndim else None
    pred, target = pred[:rows], target[:rows]
    dtype = torch.promote_types(pred.dtype, torch.float32)  # a gradient of 0 is seen in float32
    if target.is_complex() or bool((target < 0).any()):
        return set()

    def is_least(target: Tensor, start: Tensor) -> bool:
        slopes: list[Tensor] = []
        for by in (0.0, -0.5, 0.5):
            given = (start + by).to(dtype).reshape(pred.shape).requires_grad_()
            with torch.enable_grad():
                value: Any = loss(given, target)
                slopes.append(torch.autograd.grad(value.sum(), given)[0].double())
        there, below, above = slopes
        return bool(((below < 0) & (above > 0) & (there.abs() <= _NEAR * torch.minimum(-below, above))).all())

    above_0 = target.where(target > 0, 1)
    numbers = above_0.double()
    if is_least(above_0, numbers):
        return set()
    starts = {"exp": numbers.log(), "expm1": numbers.log1p(), "softplus": numbers + (-(-numbers).expm1()).log()}
    found = {Scale("numbers", name) for name, start in starts.items() if is_least(above_0, start)}
    if bool((target <= 1).all()):
        inside = target.to(dtype).clamp(0.25, 0.75)
        found |= {Scale("logits", "sigmoid")} if is_least(inside, inside.double().logit()) else set()
    return found
