"""Two questions to a graph: can the loss fall without end, and was the input of a connection around layers changed?"""

import warnings
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import cloned, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import ELEMENTWISE, Call, made_by, nodes_of
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_UNBOUNDED = (
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
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad or not bool(loss.isfinite()):
        return
    if any(call.result is loss and _never_negative(call) for call in found.losses):
        return
    preds = [one for one in tensors(found.pred) if one.requires_grad and one.is_floating_point()]
    if not preds or any(made_by(one) not in _UNBOUNDED for one in preds):
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
    """A part of the module begins with an activation in place, such as `nn.ReLU(inplace=True)`: what is given to it is
    overwritten, and then used once more beside it, as in `x + self.body(x)`."""
    model = subject.model
    if subject.evaluated.failure is not None or not any(getattr(part, "inplace", False) for part in model.modules()):
        return
    begun: dict[int, tuple[Tensor, int]] = {}
    changed: list[tuple[str, Any, int]] = []

    def before(part: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor):
            begun[id(part)] = given[0], given[0]._version

    def after(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(part: nn.Module, given: Any, output: Any) -> None:
            one, version = begun.pop(id(part), (None, 0))
            if one is not None and one._version != version and one.grad_fn is not None and output is not one:
                mark: Any = (torch.ones((), requires_grad=True) * 1).grad_fn
                changed.append((name, one.grad_fn, mark._sequence_nr()))

        return look

    handles = [
        handle
        for name, part in model.named_modules()
        if name and next(part.children(), None) is not None
        for handle in (part.register_forward_pre_hook(before), part.register_forward_hook(after(name)))
    ]
    try:
        with untouched(model, subject.device), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same_chance(subject.device)
            pred = subject.call(cloned(subject.batch.input))
    except Exception:
        return
    finally:
        for handle in handles:
            handle.remove()
    for name, node, end in changed:
        if any(user._sequence_nr() > end for user in _users(tensors(pred), node)):
            yield Found(
                f"{name!r}, which overwrites what it is given, in place, and what it is given is used again after it",
                "an input that is the same before and after",
                "nn.ReLU(), without inplace=True, as the first layer of it",
            )
            return


def _users(preds: list[Tensor], node: Any) -> list[Any]:
    """The nodes of a graph that are given what `node` has computed."""
    return [one for one, given in nodes_of(preds) if any(before == node for before in given)]
