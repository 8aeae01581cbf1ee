"""Gradients of the first batch: which parameters get any, and how large they are."""

from collections.abc import Iterator
from functools import partial
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import is_adaptive, norm_of
from lumbre.preflight._recorder import graph_leaves, recomputed
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Pass, Subject

_SHOWN = 4
_OTHER_BATCHES = 3


@check("LB022", "warning", "Parameters that no optimizer holds")
def not_held(subject: Subject) -> Iterator[Found]:
    """A parameter that no optimizer was given stays as it began. To keep it so is better said by
    `requires_grad_(False)`."""
    if not subject.optimizers:
        return
    groups = [group for optimizer in subject.optimizers.values() for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    named = list(subject.model.named_parameters())
    missed = [name for name, one in named if one.requires_grad and id(one) not in held]
    if subject.own_step:  # a teacher, or a net of another kind, may be moved in another way
        partly = {name.partition(".")[0] for name, one in named if id(one) in held}
        missed = [name for name in missed if not partly or name.partition(".")[0] in partly]
    if missed:
        foreign = len(held - {id(one) for _, one in named})
        beside = f"; and {foreign} in the optimizer that the module does not have" if foreign else ""
        yield Found(
            f"{_listed(missed)} not in the optimizer{beside}",
            "every parameter that can be trained in an optimizer",
            "self.parameters() in configure_optimizers(), after the last layer is made; or freeze it with "
            "requires_grad_(False)",
        )


def _missed_elsewhere(subject: Subject) -> set[str]:
    """The parameters without a gradient in other rows, too: experts and branches are taken by some rows alone."""
    every = {name for name, one in subject.model.named_parameters() if one.requires_grad}
    for other in subject.elsewhere(_OTHER_BATCHES):
        if other.failure is None and other.gradients:
            every &= {name for name, gradient in other.gradients.items() if gradient is None}
    return every


@check("LB023", "warning", "Parameters that get no gradient")
def no_gradient(subject: Subject) -> Iterator[Found]:
    """The loss does not depend on these parameters: the graph is cut (`detach()`, `.data`, `no_grad()`, a way over
    NumPy), or a layer is never called."""
    found = subject.trained
    if found.failure is not None or not isinstance(found.loss, Tensor) or found.loss.ndim:
        return
    trainable = [name for name, one in subject.model.named_parameters() if one.requires_grad]
    if not trainable:
        return
    if not found.loss.requires_grad:
        missed = trainable
    else:
        missed = [name for name, gradient in found.gradients.items() if gradient is None]
        if len(missed) < len(trainable) and missed:
            missed = [] if recomputed(found.loss) else [name for name in missed if name in _missed_elsewhere(subject)]
    if missed:
        every = " - all there are" if len(missed) == len(trainable) else ""
        yield Found(
            f"no gradient for {_listed(missed)}{every}",
            "a way from the loss back to every parameter that can be trained",
            "leave out detach(), .data, torch.no_grad() and torch.tensor(...) between these layers and the loss; or "
            "take layers away that are not used, or freeze them",
        )


@check("LB121", "warning", "Parameters that a step of one's own does not reach", unless=("LB022",), costly=True)
def not_reached(subject: Subject) -> Iterator[Found]:
    """A module's own `step()` is taken for the first batch, without its updates. It asks for an update of these
    parameters, and none of its losses has a gradient by them: a generator's loss of a detached picture, an encoder
    under `no_grad()`. Or it gives a loss to an optimizer that holds other parameters."""
    taken = subject.taken
    if taken is None:
        return
    for name in taken.lost[:1]:
        yield Found(
            f"a step in which optimizer {name!r} is given a loss that has no gradient by anything it holds",
            "each loss for the optimizer of the parameters that it depends on",
            f"look at the names in ctx.minimize(loss, {name!r}), and at what is detached on the way to this loss",
        )
    asked = [name for name, one in subject.model.named_parameters() if id(one) in taken.asked]
    missed = [name for name, one in subject.model.named_parameters() if id(one) in taken.asked - taken.reached]
    if missed:
        every = " - all there are" if len(missed) == len(asked) else ""
        yield Found(
            f"a step that updates {_listed(missed)}{every}, by losses that have no gradient by them",
            "a way from a loss of the step back to every parameter that it updates",
            "leave out detach(), .data and torch.no_grad() between these layers and their loss; detach what the other "
            "optimizer's loss is given, not this one's",
        )


@check("LB069", "warning", "A loss whose own parameters are not trained")
def loss_not_held(subject: Subject) -> Iterator[Found]:
    """A loss that is a plain function calls a module with parameters. They get gradients, and no optimizer holds them;
    of a loss that is a module they are trained."""
    value = subject.evaluated.loss
    if not subject.optimizers or not isinstance(value, Tensor) or not value.requires_grad:
        return
    groups = [group for optimizer in subject.optimizers.values() for group in optimizer.param_groups]
    known = {id(one) for group in groups for one in group["params"]} | {id(one) for one in subject.model.parameters()}
    reached: set[int] | None = None
    for name, part in _modules_behind(subject.loss):
        own = [one for one in part.parameters() if one.requires_grad and id(one) not in known]
        if not own:
            continue
        reached = set(graph_leaves([value])) if reached is None else reached
        count = sum(one.numel() for one in own if id(one) in reached)
        if count:
            yield Found(
                f"a loss function that calls {name!r}, a {type(part).__name__} with {count:,} weights that get "
                "gradients and that no optimizer holds",
                "parameters of the loss that are trained, or frozen",
                f"setup(..., loss={name}), or a module that holds it as loss=; or {name}.requires_grad_(False)",
            )


def _modules_behind(function: Any) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a plain function closes over, or finds among its globals, with their names."""
    if isinstance(function, partial):
        yield from _modules_behind(function.func)
    if not isinstance(function, FunctionType):
        return
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {name: cell.cell_contents for name, cell in closed if cell != CellType()}
    found |= {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    for name, value in found.items():
        if isinstance(value, nn.Module):
            yield name, value


@check("LB024", "warning", "Gradients that are zero or vanish", several=True, unless=("LB019",))
def vanishing(subject: Subject) -> Iterator[Found]:
    """No weight gets a gradient, only biases (all weights begin at zero, or nothing passes a layer); or the first
    layers get a ten-millionth of what the last ones get; or the loss is exactly 0, whatever the weights."""
    weights = {
        name: gradient
        for name, gradient in subject.trained.gradients.items()
        if gradient is not None and gradient.ndim >= 2 and gradient.numel() > 1
    }
    if len(weights) < 2:
        return
    sizes = {name: float(gradient.detach().abs().max()) for name, gradient in weights.items()}
    loss = subject.trained.loss
    if max(sizes.values()) == 0 and float(loss.detach()) != 0 and not loss.isnan():
        yield Found(
            "gradients of zero for every weight",
            "weights that change in the first step",
            "torch's own first weights: at most the last layer may begin at zero",
        )
        return
    if max(sizes.values()) == 0 and all(_is_zero(subject.moved(seed)) for seed in (1, 2)):
        yield Found(
            "a loss of exactly 0, without a gradient for any weight, and with other weights of the net, too",
            "a loss that is above 0 until something is learned",
            "look at what the margin is compared with: the farthest or nearest row must not be the row itself, and a "
            "place that is filled with an infinite number must be one that is never taken",
        )
        return
    first, last = next(iter(sizes)), list(sizes)[-1]
    if 0 < sizes[first] < 1e-8 * sizes[last]:
        yield Found(
            f"a gradient for {first} that is {sizes[first] / sizes[last]:.1g} of that for {last}",
            "gradients of about the same size in all layers",
            "ReLU or GELU instead of sigmoid or tanh in deep nets; normalization layers; connections around layers",
        )


def _is_zero(found: Pass) -> bool:
    return isinstance(found.loss, Tensor) and found.loss.ndim == 0 and float(found.loss.detach()) == 0


@check("LB058", "warning", "Gradients that explode", unless=("LB038", "LB039", "LB050"))
def exploding(subject: Subject) -> Iterator[Found]:
    """The gradient of a layer is a thousand times its weights (a million times for Adam and its like, which divide its
    size away), or no number at all: the first steps throw them far away. First weights that are too wide, very deep or
    long recurrent nets, and sums over many rows do that."""
    loss = subject.trained.loss
    if not isinstance(loss, Tensor) or loss.ndim or not bool(loss.isfinite()):
        return
    weights = dict(subject.model.named_parameters())
    limit = 1e6 if all(is_adaptive(one) for one in subject.optimizers.values()) else 1e3
    found = {name: one for name, one in subject.trained.gradients.items() if _is_huge(one, weights[name], limit)}
    empty = {name: weights[name] for name in found if not bool(weights[name].any())}
    if empty:  # a normalisation divides by the spread of its input, which zeros alone do not have
        chance = torch.Generator().manual_seed(0)
        some = [(one, 0.02 * torch.randn(one.shape, generator=chance).to(one)) for one in empty.values()]
        again = subject.placed(some).gradients
        found = {name: one for name, one in found.items() if _is_huge(again.get(name), weights[name], limit)}
    for name, gradient in found.items():
        assert gradient is not None
        yield Found(
            f"a gradient for {name} of a size of {norm_of(gradient):.3g}, for weights of {norm_of(weights[name]):.3g}",
            "gradients that are smaller than the weights",
            "torch's own first weights; normalization layers; lumbre.callbacks.GradientClip(1.0); inputs and "
            "targets of spread 1",
        )


def _is_huge(gradient: Tensor | None, weight: Tensor, limit: float) -> bool:
    if gradient is None or gradient.ndim < 2:
        return False
    return not norm_of(gradient) <= limit * max(norm_of(weight), 0.01 * weight.numel() ** 0.5)


@check("LB059", "error", "A graph that an in-place operation broke")
def in_place(subject: Subject) -> Iterator[Found]:
    """A number that the way back needs was overwritten: `x += 1`, `x[:, 0] = 0`, `relu_()` after a function that keeps
    its result."""
    failure = subject.trained.backward
    if failure is not None and "inplace operation" in str(failure):
        what = str(failure).split("; expected")[0].split(": [")[-1].rstrip("].")
        yield Found(
            f"a backward pass that fails: an in-place operation changed what it needs ({what})",
            "operations that give new tensors",
            "x = x + y instead of x += y; torch.relu(x) instead of x.relu_(); x.clone() before x[...] = ...",
        )


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
