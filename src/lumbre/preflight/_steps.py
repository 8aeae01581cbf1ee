"""The first steps, on copies of the parameters: how far each group moves, and what becomes of the loss."""

import copy
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from lumbre.base import is_adaptive, needs_closure, needs_graph, norm_of, rate_in, steps_twice
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject
from lumbre.steps import Clip

_MOST_NUMBERS = 20_000_000
_APART, _STEPS, _RISE, _FAR, _UP = 1e4, 4, 1.5, 10.0, 0.5
_STILL, _LITTLE, _ENOUGH_STEPS, _CUT = 1e-5, 1e-2, 10, 1e-3


@dataclass(slots=True)
class Trial:
    """Copies of an optimizer and of what it holds, which make steps in place of them.

    Attributes:
        optimizer: the copy.
        pairs: each parameter with a gradient, and its copy.
    """

    optimizer: optim.Optimizer
    pairs: list[tuple[Tensor, Tensor]]

    def step(self, gradients: dict[int, Tensor], clip: Clip) -> None:
        """Make a step by gradients of the parameters, by id."""
        for one, its_copy in self.pairs:
            its_copy.grad = gradients[id(one)].detach().clone() if id(one) in gradients else None
        clip([its_copy for _, its_copy in self.pairs])
        # A scheduler puts another function in place of this method, which would step the run's own optimizer.
        type(self.optimizer).step(self.optimizer)


def trial(subject: Subject) -> Trial | None:
    """An optimizer that makes steps without the run's; None where it cannot, or where there are several."""
    optimizers = list(subject.optimizers.values())
    if len(optimizers) != 1 or subject.own_step:
        return None
    (one,) = optimizers
    if needs_closure(one) or needs_graph(one) or steps_twice(one):
        return None
    held = [parameter for group in one.param_groups for parameter in group["params"]]
    if sum(parameter.numel() for parameter in held) > _MOST_NUMBERS or one.state:
        return None
    pairs = [(parameter, parameter.detach().clone().requires_grad_(parameter.requires_grad)) for parameter in held]
    copies: dict[Any, Tensor] = {id(parameter): its_copy for parameter, its_copy in pairs}
    try:
        if type(one).__module__.partition(".")[0] != "torch":  # one of somebody's own may hold more than its groups
            return Trial(copy.deepcopy(one, copies), pairs)
        made = copy.copy(one)
        # A copy of the whole would be made part by part, which takes longer than all that is done with it.
        made.state = defaultdict(dict)
        made.param_groups = [
            {
                name: [copies[id(parameter)] for parameter in value] if name == "params" else copy.deepcopy(value)
                for name, value in group.items()
            }
            for group in one.param_groups
        ]
        return Trial(made, pairs)
    except Exception:  # an optimizer that holds what cannot be copied
        return None


def _gradients(subject: Subject, named: dict[str, Tensor | None]) -> dict[int, Tensor]:
    own = dict(subject.model.named_parameters())
    return {id(own[name]): one for name, one in named.items() if one is not None and name in own}


def _first(subject: Subject) -> Trial | None:
    """The trial after a step; None where nothing can be said of it."""
    gradients = _gradients(subject, subject.trained.gradients)
    loss = subject.trained.loss
    if not gradients or not isinstance(loss, Tensor) or loss.ndim or not bool(loss.isfinite()):
        return None
    made = trial(subject)
    if made is None:
        return None
    try:
        made.step(gradients, subject.clip)
    except Exception:  # an optimizer of its own kind
        return None
    return made


def _moved(made: Trial) -> list[tuple[float, str, dict[str, Any]]]:
    """How far the groups of the copy moved, as a share of what they were; those that moved."""
    before = {id(its_copy): one for one, its_copy in made.pairs}
    shares: list[tuple[float, str, dict[str, Any]]] = []
    for at, group in enumerate(made.optimizer.param_groups):
        known = [one for one in group["params"] if one.grad is not None and before[id(one)].numel()]
        changes = [norm_of(one.detach() - before[id(one)].detach()) for one in known]
        norms = [norm_of(before[id(one)]) for one in known]
        if math.hypot(*changes) > 0 and math.hypot(*norms) > 0 and (rate_in(group) or 0) > 0:
            shares.append((math.hypot(*changes) / math.hypot(*norms), str(at), group))
    return shares


def _of_ones_own(subject: Subject) -> bool:
    return any(type(one).__module__.partition(".")[0] != "torch" for one in subject.optimizers.values())


def _upwards(made: Trial) -> float:
    """The cosine between the first step and the gradient."""
    along, steps, ways = 0.0, 0.0, 0.0
    for one, its_copy in made.pairs:
        if its_copy.grad is not None:
            step, way = (its_copy.detach() - one.detach()).double(), its_copy.grad.double()
            along += float((step * way).sum())
            steps, ways = steps + float(step.square().sum()), ways + float(way.square().sum())
    return along / math.sqrt(steps * ways) if steps * ways > 0 else 0.0


def _left_behind(subject: Subject, made: Trial) -> Iterator[Found]:
    """What is said of weights with a gradient that the first step does not move, where it moves others."""
    names = {id(one): name for name, one in subject.model.named_parameters()}
    pulled = [
        (one, its_copy) for one, its_copy in made.pairs if its_copy.grad is not None and bool(its_copy.grad.any())
    ]
    still = [names.get(id(one), "?") for one, its_copy in pulled if torch.equal(one.detach(), its_copy.detach())]
    rates = [rate_in(group) for group in made.optimizer.param_groups]
    if still and len(still) < len(pulled) and all(rate is None or rate > 0 for rate in rates):
        yield Found(
            f"a first step of {type(made.optimizer).__name__} that does not move {', '.join(still[:3])}"
            + (f" and {len(still) - 3} more" if len(still) > 3 else ""),
            "an optimizer that moves every weight that has a gradient",
            "look at the loop over group['params']: the update belongs into it",
        )


@check("LB072", "warning", "Groups that learn at very different rates", costly=True)
def apart(subject: Subject) -> Iterator[Found]:
    """A first step, made on copies, moves one group of parameters ten thousand times less than the next one, as a share
    of what they are. (Rates that fall from layer to layer have no such gap.)"""
    groups = [group for one in subject.optimizers.values() for group in one.param_groups]
    if len(groups) < 2:
        return
    made = _first(subject)
    if made is None:
        return
    shares = sorted(_moved(made), key=lambda one: one[0])
    for low, high in itertools.pairwise(shares):
        if low[0] * _APART < high[0]:
            yield Found(
                f"a first step that moves group {low[1]} (lr={rate_in(low[2]):g}) by {low[0]:.1g} of its size, and "
                f"group {high[1]} (lr={rate_in(high[2]):g}) by {high[0]:.1g}",
                "rates at which all groups learn",
                "lr of these groups within a factor of 100; requires_grad_(False) for what is to stay as it is",
            )
            return


@check(
    "LB073",
    "warning",
    "First steps that make the loss many times larger",
    unless=("LB025", "LB033", "LB038", "LB039", "LB050", "LB056", "LB058", "LB054", "LB067"),
    costly=True,
)
def thrown(subject: Subject) -> Iterator[Found]:
    """Four steps, made on copies and on the first batch alone, multiply its loss, each of them: the learning rate is
    far too high for this net, or the optimizer climbs. An optimizer of one's own whose first step goes up the gradient
    climbs at any rate."""
    made = None if subject.scheduled and not _of_ones_own(subject) else _first(subject)
    if made is None:
        return
    if (up := _upwards(made)) > _UP:
        yield Found(
            f"a first step of {type(made.optimizer).__name__} that goes up the gradient (cosine {up:.2g})",
            "steps against the gradient",
            "p.add_(p.grad, alpha=-lr)",
        )
        return
    if subject.scheduled:  # the first rates are not those that the optimizer was made with
        return
    losses = [abs(float(subject.trained.loss.detach()))]
    for at in range(_STEPS):
        loss = subject.loss_at(made.pairs)
        if not isinstance(loss, Tensor):
            return
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            break
        if losses[-1] < _RISE * losses[-2] + 1e-3:
            return
        if at < _STEPS - 1:
            made.step(_gradients(subject, subject.placed(made.pairs).gradients), subject.clip)
    if losses[-1] > _FAR * losses[0] or not math.isfinite(losses[-1]):
        rate = rate_in(made.optimizer.param_groups[0])
        yield Found(
            f"losses of {', '.join(f'{one:.3g}' for one in losses)} in the first steps on one batch"
            + ("" if rate is None else f", at lr={rate:g}"),
            "a loss that falls on the batch that is trained on",
            "a lower learning rate: recipe.lr_finder(data).plot(); a mean over the rows, not a sum",
        )


@check("LB074", "warning", "Steps that are too small to move anything", unless=("LB033", "LB071"), costly=True)
def still(subject: Subject) -> Iterator[Found]:
    """A first step, made on copies, is so small that all steps of the run together would move the weights by less than
    a hundred-thousandth: the learning rate is too low. Or gradients are clipped to next to nothing, so that all steps
    would move them by less than a hundredth. (Adam and its like divide the size of gradients away, so that clipping
    does not slow them.) Or an optimizer of one's own leaves some weights where they are."""
    if _of_ones_own(subject) and (own := _first(subject)) is not None:
        yield from _left_behind(subject, own)
        return
    if subject.scheduled or any(is_adaptive(one) for one in subject.optimizers.values()):
        return
    made = _first(subject)
    if made is None:
        return
    gradients = list(subject.trained.gradients.values())
    kind, limit, steps = subject.clip.norm_type, subject.clip.max_norm, subject.steps
    norm = 0.0
    if limit is not None:
        norm = float(nn.utils.get_total_norm([one.detach().float() for one in gradients if one is not None], kind))
    shares = _moved(made)
    momentum = max((float(group.get("momentum", 0) or 0) for _, _, group in shares), default=0.0)
    largest = max((share for share, _, _ in shares), default=1.0)
    run = (100 if steps is None else steps) / max(1 - momentum, 1e-3)
    if limit is not None and limit < _CUT * norm and largest * run < _LITTLE:
        yield Found(
            f"a first gradient of norm {norm:.3g}, cut to {limit:g}",
            "a bound that cuts the largest gradients only",
            f"lumbre.callbacks.GradientClip({norm:.1g}{'' if kind == 2 else f', norm_type={kind:g}'}); "
            "a lower bound with a higher learning rate is a lower rate",
        )
        return
    if steps is None or steps < _ENOUGH_STEPS:
        return
    if momentum < 1 and largest * steps / (1 - momentum) < _STILL:
        yield Found(
            f"a first step that moves the weights by {largest:.1g} of their size, in a run of {steps} steps",
            "steps that move weights by a ten-thousandth and more",
            "recipe.lr_finder(data).plot(), or another optimizer, such as torch.optim.Adam",
        )
