"""On which scale predictions are: one table that says of each loss how scores become numbers like the targets.

A Poisson loss takes logarithms of counts, a cross-entropy scores of classes: what is compared with targets, drawn or
measured is not the score but its response. `setup(..., response=)`, a module's method `response(self, pred)` or a
loss's own one says it where the table does not.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lumbre.base._call import own_method
from lumbre.base._divisor import LabelMean
from lumbre.base._nested import Nested, map_leaves

Response: TypeAlias = Callable[[Nested], Nested]
"""A function of a prediction that gives it on the scale of the target."""


def _wide(leaf: Any) -> Any:
    """At least float32: an exponential in bfloat16 has two digits."""
    return leaf.float() if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.element_size() < 4 else leaf


def _each(function: Callable[[Tensor], Tensor]) -> Response:
    return lambda pred: map_leaves(lambda leaf: function(_wide(leaf)) if isinstance(leaf, Tensor) else leaf, pred)


def _classes(scores: Tensor) -> Tensor:
    return scores.softmax(1 if scores.ndim > 1 else 0)


_RESPONSES: Mapping[str, Response] = {
    "softmax": _each(_classes),
    "sigmoid": _each(torch.sigmoid),
    "exp": _each(torch.exp),
    "expm1": _each(torch.expm1),  # of a prediction of log(1 + target)
    "softplus": _each(F.softplus),
    "signs": _each(lambda scores: (scores / 2).tanh()),
    "first": lambda pred: pred[0] if isinstance(pred, (tuple, list)) else pred,
}
OWN = "own"


@dataclass(frozen=True, slots=True)
class Scale:
    """What predictions are.

    Attributes:
        kind: "logits", "probabilities" or "numbers"; None where that is not known.
        name: the response in the table; `OWN` for one of the user's; None where predictions are on the target's scale.
        own: the user's.
        temperature: scores of classes are divided by it, so that probabilities mean what they say.
        ignored: the label that a loss of the user's own was seen to leave out; None where it names none.
        labels: what a loss of the user's own was seen to average over, where that is the labels of its target.
    """

    kind: str | None = None
    name: str | None = None
    own: Response | None = None
    temperature: float = 1.0
    ignored: int | None = None
    labels: LabelMean | None = None

    @property
    def response(self) -> Response | None:
        """Brings predictions to the scale of the target; None where they are there, or nothing is known of them."""
        if self.name == OWN or self.name is None:
            return self.own if self.name == OWN else None
        response, temperature = _RESPONSES[self.name], self.temperature
        if temperature == 1.0:
            return response
        return lambda pred: response(map_leaves(lambda leaf: leaf / temperature, pred))

    def applied(self, pred: Nested) -> Nested:
        """`pred` on the scale of the target."""
        response = self.response
        return pred if response is None else response(pred)


def scale_of(loss: Any, module: Any = None, response: Response | None = None) -> Scale:
    """The scale of the predictions that a loss takes.

    Args:
        loss: the loss function, or None.
        module: may define a method `response`.
        response: comes before all others.
    """
    if response is not None:
        return Scale(name=OWN, own=response)
    declared = _declared(loss)
    for part in (module, None if declared else loss):
        if part is not None and own_method(part, "response"):
            return Scale(getattr(type(part), "scale_kind", None), OWN, part.response)
    if declared is not None:
        return declared
    return (_of_module(loss) if isinstance(loss, nn.Module) else scale_of_function(loss)) or Scale()


def _declared(loss: Any) -> Scale | None:
    """The scale that the class of a loss declares, one of the table; unless a class derived from it responds anew."""
    for kind in type(loss).__mro__:
        if isinstance(found := vars(kind).get("scale"), Scale):
            return found
        if "response" in vars(kind):
            return None
    return None


def stored_scale(parts: Any) -> Scale:
    """The scale of which a file has kind and name, and perhaps the label that is left out, and labels that count.

    Raises:
        ValueError: there is none like that.
    """
    kind, name, *more = parts
    if kind not in (None, "logits", "probabilities", "numbers") or name not in (None, OWN, *_RESPONSES):
        raise ValueError(f"no scale of predictions: {parts!r}"[:200])
    ignored, labels = [*more, None, None][:2]
    if len(more) > 2 or not (ignored is None or type(ignored) is int):
        raise ValueError(f"no scale of predictions: {parts!r}"[:200])
    return Scale(kind, name, ignored=ignored, labels=None if labels is None else _stored_labels(*labels))


def _stored_labels(ignored: Any, weights: Any, place: Any, start: Any) -> LabelMean:
    whole = all(type(one) is int for one in (ignored, place, start))
    if not whole or not (weights is None or all(type(one) is float for one in weights)):
        raise ValueError(f"no labels that a loss counts: {(ignored, weights, place, start)!r}"[:200])
    return LabelMean(ignored, None if weights is None else tuple(weights), place, start)


_MODULES: Mapping[type, Scale] = {
    nn.CrossEntropyLoss: Scale("logits", "softmax"),
    nn.NLLLoss: Scale("logits", "softmax"),  # of log-probabilities it gives the probabilities
    nn.BCEWithLogitsLoss: Scale("logits", "sigmoid"),
    nn.MultiLabelSoftMarginLoss: Scale("logits", "sigmoid"),
    nn.BCELoss: Scale("probabilities"),
    nn.MSELoss: Scale("numbers"),
    nn.L1Loss: Scale("numbers"),
    nn.SmoothL1Loss: Scale("numbers"),
    nn.HuberLoss: Scale("numbers"),
    nn.SoftMarginLoss: Scale("numbers", "signs"),
    nn.PoissonNLLLoss: Scale("numbers", "exp"),
    nn.KLDivLoss: Scale("numbers", "exp"),
    nn.GaussianNLLLoss: Scale("numbers", "first"),  # (mean, variance)
}
_FUNCTIONS: Mapping[Any, type] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.multilabel_soft_margin_loss: nn.MultiLabelSoftMarginLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.soft_margin_loss: nn.SoftMarginLoss,
    F.poisson_nll_loss: nn.PoissonNLLLoss,
    F.kl_div: nn.KLDivLoss,
    F.gaussian_nll_loss: nn.GaussianNLLLoss,
}


# Losses whose targets say something else than a number to predict: which distances to shorten, which labels come first.
UNLIKE_TARGETS = (nn.MultiLabelMarginLoss, nn.HingeEmbeddingLoss)


def _of_module(loss: nn.Module) -> Scale | None:
    if isinstance(loss, nn.GaussianNLLLoss):
        return _MODULES[nn.GaussianNLLLoss]  # its own forward takes no pair
    for kind, found in _MODULES.items():
        # A class derived from it may compute something else.
        if isinstance(loss, kind) and type(loss).forward is kind.forward:  # pyright: ignore[reportFunctionMemberAccess]
            return _with_options(found, vars(loss))
    return None


def scale_of_function(loss: Any, options: Mapping[str, Any] | None = None) -> Scale | None:
    """The scale of what a loss function of torch takes; None for any other function.

    Args:
        loss: the function, or `functools.partial` of it.
        options: those it is called with.
    """
    options = options or {}
    while isinstance(loss, functools.partial):
        options = {**loss.keywords, **options}
        loss = loss.func
    kind = _FUNCTIONS.get(loss) if callable(loss) and _hashable(loss) else None
    return None if kind is None else _with_options(_MODULES[kind], options)


def _with_options(found: Scale, options: Mapping[str, Any]) -> Scale:
    """Options of a loss may say that it takes numbers on the scale of the target."""
    plain = not options.get("log_input", True) or options.get("log_target", False)
    return Scale(found.kind) if plain else found


def _hashable(loss: Any) -> bool:
    return type(loss).__hash__ is not None
