"""Two questions to a graph: can the loss fall without end, and was the input of a connection around layers changed?"""

import warnings
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lumbre.base import cloned, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import ELEMENTWISE, RELUS, Call, made_by
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

UNBOUNDED = (
    "Addmm",
    "Mm",
    "Bmm",
    "Convolution",
    "Add",
    "Split",
    "SplitWithSizes",
    "Select",
    "Slice",
    "Unbind",
    "Stack",
)
_ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "mish"),
    *("hardtanh", "hardswish", "hardsigmoid", "threshold"),
)
_LOOKS = ("__get__", "detach")
_WAY, _LINEAR = (1e2, 1e4, 1e6), 50.0


@check("LB094", "hint", "A loss that can fall without end", unless=("LB012", "LB054", "LB065", "LB067", "LB013"))
def endless(subject: Subject) -> Iterator[Found]:
    """Along its own gradient the loss falls in proportion to how far raw outputs go, below every number: nothing is
    ever good enough. A distance between classes without a margin and a term whose sign is turned do that; critics and
    policy gradients are meant to. (`fit()` says so at the end, LB112, where the training loss has become negative and
    falls on.)"""
    found, loss = subject.evaluated, subject.evaluated.loss
    if subject.loss is None or found.failure is not None or len(subject.optimizers) != 1 or subject.own_step:
        return
    if subject.asks_the_net:
        return
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad or not bool(loss.isfinite()):
        return
    if any(call.result is loss and _never_negative(call) for call in found.losses):
        return
    preds = [one for one in tensors(found.pred) if one.requires_grad and one.is_floating_point()]
    if not preds or any(made_by(one) not in UNBOUNDED for one in preds):
        return
    try:
        slopes: Any = torch.autograd.grad(loss, preds, retain_graph=True, allow_unused=True)
    except RuntimeError:  # a graph that cannot be walked twice
        return
    ways = {id(one): way for one, way in zip(preds, slopes, strict=True) if way is not None}
    size = sum(float(way.square().sum()) for way in ways.values()) ** 0.5
    if not ways or not isfinite(size) or size == 0:
        return
    begin, values = float(loss.detach()), []
    for far in _WAY:

        def moved(leaf: Any, far: float = far) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return leaf.detach() - far / size * ways[id(leaf)] if id(leaf) in ways else leaf.detach()

        try:
            values.append(float(subject.loss_of(map_leaves(moved, found.pred), subject.batch.target)))
        except Exception:  # a loss that takes the module's own predictions only
            return
    near, middle, end = values
    falls = middle < near < begin and (end - middle) < _LINEAR * (middle - near)
    if falls and end < -10 * (1 + abs(begin)):
        yield Found(
            f"a loss of {begin:.3g} that falls to {middle:.3g} and {end:.3g} the further raw outputs go",
            "a loss that ends: at 0, or at the entropy of the targets",
            "a margin (nn.TripletMarginLoss), a bound or a penalty; the other sign for what is to become smaller",
        )


def _never_negative(call: Call) -> bool:
    """Whether it is a loss of torch's that ends at 0, whatever is predicted."""
    if call.name == "cross_entropy":
        whole = isinstance(call.target, Tensor) and not call.target.is_floating_point()
        return whole and call.argument(2, "weight") is None
    return call.name in ELEMENTWISE and len(call.args) <= 3 and call.kwargs.get("weight") is None


@check("LB095", "warning", "A connection around layers whose input was changed", unless=("LB059",), costly=True)
def changed_in_place(subject: Subject) -> Iterator[Found]:
    """An activation in place, such as `nn.ReLU(inplace=True)` or `F.relu(x, inplace=True)`, overwrites what is given to
    it, which is then used once more beside it, as in `x + self.body(x)`. The module is called once with activations
    that overwrite nothing: where both what they were given and what they gave is used, it is another net."""
    found = subject.evaluated
    flagged = any(getattr(part, "inplace", False) for part in subject.model.modules())
    called = any(call.name in RELUS and call.argument(1, "inplace", False) for call in found.forward)
    if found.failure is not None or not (flagged or called):
        return
    kept = _NothingInPlace()
    try:
        with untouched(subject.model, subject.device), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same_chance(subject.device)
            with kept:
                pred = subject.call(cloned(subject.batch.input))
    except Exception:
        return
    for name in kept.twice(tensors(pred))[:1]:
        yield Found(
            f"{name}(inplace=True), which overwrites what it is given, and what it is given is used again after it",
            "an input that is the same before and after",
            f"{name} without inplace=True",
        )


class _NothingInPlace(TorchFunctionMode):
    """Activations give new tensors, also where they were to overwrite; notes what is used afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self._changed: list[tuple[str, Tensor, Tensor]] = []
        self._used: set[int] = set()

    def __torch_function__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        overwrites = name in _ACTIVATIONS and args and isinstance(args[0], Tensor) and _in_place(name, args, kwargs)
        given = args[0] if overwrites else None
        result = func(*(args if given is None else (given.clone(), *args[1:])), **kwargs)
        if isinstance(result, Tensor) and result.is_floating_point() and name not in _LOOKS:
            self._used |= {id(one) for one in tensors([args, list(kwargs.values())])}
        if given is not None and not torch.equal(given, result):
            self._used.discard(id(given))  # what came before it does not matter
            self._changed.append((name, given, result))
        return result

    def twice(self, ends: list[Tensor]) -> list[str]:
        """The activations of which both what was given and what came out is used after them."""
        used = self._used | {id(one) for one in ends}
        return [name for name, given, result in self._changed if id(given) in used and id(result) in used]


def _in_place(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("inplace", False)) or (name in ("relu", "silu") and len(args) > 1 and args[1] is True)
