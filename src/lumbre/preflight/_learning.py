"""Which parameters learn: weights that nobody trains, gradients of exactly zero, layers that hold training back."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import is_users_own
from lumbre.preflight._recorder import NORMS, graph_leaves
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Pass, Subject, tensors

_TRIES, _DEPTH, _SHOWN = 2, 3, 3
_SMALL_MOMENTUM, _LARGE_MOMENTUM = 0.02, 0.9
_MUCH_DROPPED, _NEARLY_ALL_DROPPED = 0.8, 0.9
_ENOUGH_WEIGHTS = 24
_ROUNDED = 1e-7  # what is zero in exact numbers may be so much of the largest gradient


@check("LB070", "warning", "Weights outside the module", unless=("LB026",))
def outside(subject: Subject) -> Iterator[Found]:
    """Predictions have a gradient by numbers that neither the module nor an optimizer knows: layers that `forward()`
    makes, in a plain object or behind a global name, and tensors that are attributes but no `nn.Parameter`. They are
    not trained, not saved and not moved to the GPU."""
    found = subject.trained
    if found.failure is not None and not found.in_loss:
        return
    known = {id(one) for one in subject.model.parameters()}
    for optimizer in subject.optimizers.values():
        known |= {id(one) for group in optimizer.param_groups for one in group["params"]}
    given = [*tensors(subject.batch.input), *tensors(subject.batch.target)]
    known |= {id(one) for one in given} | set(graph_leaves(given))
    again = graph_leaves(tensors(subject.evaluated.pred))
    shapes = {one.shape for one in given}
    hidden: dict[str, int] = {}
    for name, leaf in graph_leaves(tensors(found.pred)).items():
        if name in known or leaf.shape in shapes:  # inputs by which forward() takes a gradient
            continue
        if name not in again and not isinstance(leaf, nn.Parameter):  # a point at which it takes one
            continue
        place = _place(subject.model, leaf) if name in again else "made in forward()"
        hidden[place] = hidden.get(place, 0) + leaf.numel()
    if hidden:
        where = "; ".join(f"{count:,} {place}" for place, count in list(hidden.items())[:_SHOWN])
        yield Found(
            f"weights that get a gradient, and that the module does not know of: {where}",
            "every weight registered, so that it is trained, saved and moved",
            "self.w = nn.Parameter(...) and self.layer = nn.Linear(...) in __init__(); requires_grad_(False) for what "
            "is to stay as it is",
        )


def _place(model: nn.Module, leaf: Tensor) -> str:
    """Where a tensor is kept, in words."""
    for name, part in model.named_modules():
        for attribute, value in vars(part).items():
            if not attribute.startswith("_") and _holds(value, leaf, _DEPTH):
                path = ".".join(filter(None, (name, attribute)))
                kind = "tensor" if value is leaf else type(value).__name__
                return f"in {path!r}, a plain {kind}"
    return "kept outside of it"


def _holds(value: Any, leaf: Tensor, depth: int) -> bool:
    if value is leaf:
        return True
    if isinstance(value, nn.Module):
        return any(one is leaf for one in value.parameters())
    if not depth:
        return False
    if isinstance(value, dict):
        return any(_holds(one, leaf, depth - 1) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds(one, leaf, depth - 1) for one in value)
    return is_users_own(type(value)) and any(
        _holds(one, leaf, depth - 1) for one in getattr(value, "__dict__", {}).values()
    )


@check(
    "LB071",
    "warning",
    "Weights whose gradient is exactly zero",
    unless=("LB024", "LB029", "LB057", "LB016", "LB019", "LB018"),
    costly=True,
)
def zero_gradients(subject: Subject) -> Iterator[Found]:
    """Some weights get a gradient of exactly zero, and go on to do so after a step and with other weights: a softmax or
    a norm over a single number, rounding, a sign or a saturated clamp stands between them and the loss. (Branches that
    begin at zero, experts that no row came to, terms with a factor of 0, and outputs of which the loss counts no row of
    this batch are not meant.)"""
    found, loss = subject.trained, subject.trained.loss
    if found.failure is not None or not isinstance(loss, Tensor) or loss.ndim or float(loss.detach()) == 0:
        return
    zero = _zeros(found, _ROUNDED)
    known = {name for name, gradient in found.gradients.items() if gradient is not None}
    if zero == known or not bool(loss.isfinite()):  # the loss counts no row, or more is amiss than these weights
        return
    if not any(found.gradients[name].ndim >= 2 for name in zero) or _one_position(found):  # pyright: ignore[reportOptionalMemberAccess]
        return
    asked = subject.evaluated.loss  # the graph of the other pass is spent
    live = set(graph_leaves([asked], without_zero_factors=True)) if isinstance(asked, Tensor) else set[int]()
    zero &= {name for name, one in subject.model.named_parameters() if id(one) in live}
    zero -= _unasked(subject.model, found) | _beside_others(subject.model, found, zero)
    zero -= _uncounted(subject, zero)
    for at in range(1 + _TRIES):
        if not zero:
            return
        again = subject.stepped if at == 0 else subject.moved(at)
        if again.failure is not None or not again.gradients:
            return
        # A norm of what is nearly the same makes more of rounding, which is another on another processor.
        zero = (zero & _zeros(again, 100 * _ROUNDED)) - _unasked(subject.model, again)
    weights = [name for name in found.gradients if name in zero]
    if any(found.gradients[name].ndim >= 2 for name in weights):  # pyright: ignore[reportOptionalMemberAccess]
        rest = f" and {len(weights) - _SHOWN} more" if len(weights) > _SHOWN else ""
        yield Found(
            f"a gradient of exactly zero for {', '.join(weights[:_SHOWN])}{rest}",
            "weights that change in the first step",
            "look at what stands behind these layers: softmax or LayerNorm over a dimension of size 1, round(), "
            "sign(), a clamp or an activation that is saturated",
        )


def _zeros(found: Pass, share: float) -> set[str]:
    """Parameters whose gradient is no more than this share of the largest."""
    known = {name: one for name, one in found.gradients.items() if one is not None and one.numel()}
    sizes = {name: float(one.detach().abs().max()) for name, one in known.items()}
    limit = share * max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if size <= limit}


def _uncounted(subject: Subject, names: set[str]) -> set[str]:
    """Parameters that outputs depend on, of which the loss counts none: the rows of a task that few rows have."""
    own = {name: one for name, one in subject.model.named_parameters() if name in names}
    preds = [one for one in tensors(subject.evaluated.pred) if one.requires_grad and one.is_floating_point()]
    loss = subject.evaluated.loss
    if not own or not preds:
        return set()
    try:
        asked: Any = torch.autograd.grad(loss, preds, retain_graph=True, allow_unused=True)
        unasked = [torch.ones_like(p) if g is None else (g == 0).to(p.dtype) for p, g in zip(preds, asked, strict=True)]
        found: Any = torch.autograd.grad(preds, list(own.values()), unasked, retain_graph=True, allow_unused=True)
    except RuntimeError:  # a graph that cannot be walked twice
        return set()
    return {name for name, one in zip(own, found, strict=True) if one is not None and bool((one != 0).any())}


def _beside_others(model: nn.Module, found: Pass, zero: set[str]) -> set[str]:
    """Parameters of a part in a list whose neighbours are trained: rows are sent to some of them, as to experts."""
    names: set[str] = set()
    for name, part in model.named_modules():
        if not isinstance(part, (nn.ModuleList, nn.ModuleDict)):
            continue
        start = f"{name}." if name else ""
        for one in zero:
            if one.startswith(start):
                end = one.removeprefix(start).partition(".")[2]
                others = (f"{start}{key}.{end}" for key, _ in part.named_children())
                if any(found.gradients.get(other) is not None and other not in zero for other in others):
                    names.add(one)
    return names


def _one_position(found: Pass) -> bool:
    """Whether torch's attention looks at a single position: there is nothing to choose from, and that may be meant."""
    keys = (call.argument(1, "key") for call in found.forward if call.name == "scaled_dot_product_attention")
    return any(isinstance(key, Tensor) and key.shape[-2] == 1 for key in keys)


def _unasked(model: nn.Module, found: Pass) -> set[str]:
    """Parameters of layers that were given nothing but zeros, or no rows; and tables whose padding has no gradient."""
    asked = {call.name for call in found.layers if call.input.numel() and bool((call.input.detach() != 0).any())}
    names: set[str] = set()
    for name, part in model.named_modules():
        recorded = any(call.name == name for call in found.layers)
        padded = isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.padding_idx is not None
        recurrent = isinstance(part, (nn.RNNBase, nn.RNNCellBase))
        for own, _ in part.named_parameters(recurse=False):
            if padded or (recorded and name not in asked) or (recurrent and "_hh" in own):
                names.add(".".join(filter(None, (name, own))))
    return names


@check("LB075", "warning", "BatchNorm whose statistics do not follow", several=True)
def norm_momentum(subject: Subject) -> Iterator[Found]:
    """`momentum` of torch's BatchNorm is the weight of the new batch, 0.1 by itself; other libraries mean the weight of
    the old ones, such as 0.99. Near 1 evaluation uses the last batch alone; so near 0 that the run is too short for it,
    evaluation uses the means of 0 and spreads of 1 that the layer began with."""
    norms = [
        (name, part, float(part.momentum))
        for name, part in subject.model.named_modules()
        if isinstance(part, NORMS) and part.momentum is not None and isinstance(part.running_mean, Tensor)
    ]
    used = {call.name for call in subject.trained.norms if call.training}
    norms = [one for one in norms if one[0] in used]
    high = [name for name, _, momentum in norms if momentum >= _LARGE_MOMENTUM]
    steps = subject.steps
    low = [
        name
        for name, part, momentum in norms
        if steps is not None
        and momentum <= _SMALL_MOMENTUM
        and (1 - momentum) ** steps > 0.5
        and isinstance(part.running_mean, Tensor)
        and not bool((part.running_mean != 0).any())
    ]
    for names in (high, low):
        if names:
            momentum = next(m for name, _, m in norms if name == names[0])
            if names is high:
                yield Found(
                    f"momentum={momentum:g} for {', '.join(names[:_SHOWN])}: statistics for evaluation are "
                    "those of the last batch alone",
                    "the weight of the new batch, 0.01 to 0.5",
                    f"momentum={max(1 - momentum, 0.01):.2g}: torch's momentum is 1 less that of other libraries",
                )
                continue
            done = 1 - (1 - momentum) ** (steps or 0)
            yield Found(
                f"momentum={momentum:g} for {', '.join(names[:_SHOWN])}, in a run of {steps} steps: statistics for "
                f"evaluation end {done:.0%} of the way from mean 0 and spread 1 to those of the batches",
                "a run that is long enough for them to arrive",
                "momentum=0.1, as torch has it by itself, or more epochs",
            )


@check("LB076", "warning", "Dropout of nearly everything")
def much_dropout(subject: Subject) -> Iterator[Found]:
    """`p` of torch's dropout is the share that is dropped; other libraries ask for the share that is kept."""
    calls = [call for call in subject.trained.forward if call.name.startswith("dropout")]
    shares = [float(call.argument(1, "p", 0.5)) for call in calls if call.argument(2, "training", True)]
    share = max((one for one in shares if isinstance(one, float)), default=0.0)
    if share >= _MUCH_DROPPED:
        yield Found(
            f"dropout of {share:.0%} of the numbers",
            "0.1 to 0.5",
            f"p={max(1 - share, 0.1):.2g}, if {share:.2g} was meant as the share that is kept",
            None if share >= _NEARLY_ALL_DROPPED else "hint",
        )


@check("LB120", "warning", "A last layer that is frozen before it has learned")
def frozen_head(subject: Subject) -> Iterator[Found]:
    """The last layer is not trained, its weights are as torch draws them, and layers before it are trained: predictions
    go through numbers that were drawn by chance. (Fixed layers before trained ones are a method of their own.)"""
    found = subject.trained
    calls = [call for call in found.layers if isinstance(call.layer, (nn.Linear, nn.modules.conv._ConvNd))]  # pyright: ignore[reportPrivateUsage]
    calls = [call for call in calls if isinstance(call.output, Tensor) and call.output.requires_grad]
    if found.failure is not None or subject.own_step or len(calls) < 2:  # a slow copy of the net is no part of the way
        return
    learning = any(one.requires_grad for call in calls[:-1] for one in call.layer.parameters())
    if learning and _as_drawn(calls[-1].layer):
        yield Found(
            f"{calls[-1].name!r}, the last layer, which is not trained, with first weights as torch draws them",
            "a last layer that learns the task",
            "requires_grad_(True) for the last layer, made anew for this task; what is to be frozen are the layers "
            "before it, once they have learned something",
        )


def _as_drawn(layer: nn.Module) -> bool:
    """Whether weights that are not trained are spread evenly to the bound that torch draws them with."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.requires_grad or weight.numel() < _ENOUGH_WEIGHTS:
        return False
    given = weight.detach().float() * weight[0].numel() ** 0.5
    mean_square = float(given.square().mean())
    return float(given.abs().max()) <= 1.0001 and 0.25 < mean_square < 0.42


@check("LB128", "warning", "Freezing that freezes nothing")
def not_frozen(subject: Subject) -> Iterator[Found]:
    """`module.requires_grad = False` makes an attribute of that name, which nobody reads: parameters have one, modules
    a method, `requires_grad_()`. So does a name that is written wrongly, such as `p.require_grad = False`."""
    for name, part in subject.model.named_modules():
        if vars(part).get("requires_grad") is False and any(one.requires_grad for one in part.parameters()):
            yield Found(
                f"{name or 'the module'}.requires_grad = False, of a module whose parameters are trained",
                "parameters that are frozen",
                f"{name or 'model'}.requires_grad_(False)",
            )
            return
    for name, one in subject.model.named_parameters():
        wrong = [word for word in vars(one) if word.startswith("require") and vars(one)[word] is False]
        if wrong and one.requires_grad:
            yield Found(
                f"{name}.{wrong[0]} = False, which nobody reads: it is trained",
                "requires_grad = False",
                "requires_grad_(False)",
            )
            return


@check("LB130", "warning", "Saved weights that were not loaded")
def not_loaded(subject: Subject) -> Iterator[Found]:
    """While the module was built, `load_state_dict(..., strict=False)` was given saved weights of which no name fits:
    nothing was loaded, and torch says nothing of it. Mostly all names have a word in front, such as "module." or
    "model.", or the weights are an entry of what was saved."""
    if subject.unloaded:
        yield Found(
            f"load_state_dict(..., strict=False) that loaded nothing: {subject.unloaded[0]}",
            "saved names that are those of the module",
            '{name.removeprefix("module."): value for name, value in saved.items()}; or strict=True, which says so',
        )
