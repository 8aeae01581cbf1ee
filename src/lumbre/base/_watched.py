"""What a loss of the user's own does with predictions: which function of torch it gives them to, and in which form.

A function around `F.poisson_nll_loss`, or a module that holds a `PoissonNLLLoss`, takes logarithms of counts just as
these do. So a loss of which the table of `_response.py` knows nothing is watched once, while it computes.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lumbre.base._nested import Nested
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
    there are none, nothing is known. A label that all losses of classes leave out (`ignore_index`) is noted with it.

    Args:
        loss: a function of prediction and target; its value is left aside.
        pred: a tensor, or a pair (mean, variance).
        target: of the batch.
    """
    if isinstance(target, Weighted):
        target = target.target
    watch = _Watch()
    with torch.no_grad(), watch:
        getattr(loss, "_torchdynamo_orig_callable", loss)(pred, target)
    found = {one for call in watch.calls if (one := _scale(*call, pred, target)) is not None}
    ignored = {call.get("ignore_index", -100) for function, call in watch.calls if function in _OF_LABELS}
    scale = found.pop() if len(found) == 1 else Scale()
    return replace(scale, ignored=ignored.pop() if len(ignored) == 1 else None)


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
