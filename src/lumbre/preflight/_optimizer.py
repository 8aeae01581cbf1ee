"""Optimizers, learning rates, and how they move."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, optim

from lumbre.base import is_adaptive, map_leaves, norm_of, rate_in, untouched
from lumbre.preflight._recorder import CLASSES, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject

_MOST_SMOOTHED = 0.5
_MUCH_DECAY, _MUCH_PULL = 0.1, 2
_FACTOR = 0.1  # rates of optimizers above it are mostly factors of a schedule
_OWN_RATES = ("OneCycleLR", "CyclicLR")  # which take no notice of the optimizer's


def _groups(subject: Subject) -> Iterator[tuple[optim.Optimizer, dict[str, Any]]]:
    for optimizer in subject.optimizers.values():
        for group in optimizer.param_groups:
            yield optimizer, group


@check("LB033", "warning", "A learning rate that hardly can be meant")
def rate(subject: Subject) -> Iterator[Found]:
    """Adam and its like move each weight by about the learning rate in a step, whatever the gradient: above 0.1 nothing
    settles. Below 1e-7 nothing moves. (A schedule may take a rate of 1 as a factor, and a bound of the gradients' norm
    is a bound of the step that plain SGD makes.)"""
    schedules = [one.rates for one in subject.schedules if one.rates]
    for optimizer, group in _groups(subject):
        value, name = rate_in(group), type(optimizer).__name__
        if value is None:
            continue
        most = max(schedules[0]) if len(schedules) == 1 and len(subject.optimizers) == 1 else value
        adaptive = is_adaptive(optimizer)
        high = 0.1 if adaptive else 10.0
        if not adaptive and not isinstance(optimizer, optim.SGD):
            continue
        if not adaptive and subject.clip.max_norm is not None:
            most *= min(subject.clip.max_norm, 1.0)
        if min(value, most) > high * (1 + 1e-6) or 0 < value < 1e-7:
            usual = "1e-4 to 1e-2" if adaptive else "1e-3 to 1"
            yield Found(
                f"lr={value:g} for {name}", f"a rate that trains; usual are {usual}", "recipe.lr_finder(data).plot()"
            )


@check("LB127", "warning", "An option whose number was meant for something else", several=True)
def other_options(subject: Subject) -> Iterator[Found]:
    """`label_smoothing` is the share that the right class is to lose, not the one that it keeps; the first of Adam's
    `betas` follows the gradient and the second its size, which changes more slowly; a `momentum` of 1 and more never
    forgets."""
    for call in loss_inputs(subject.loss_calls, CLASSES[:1]):
        share = call.argument(7, "label_smoothing", 0.0)
        if isinstance(share, (int, float)) and share >= _MOST_SMOOTHED:
            yield Found(
                f"label_smoothing={share:g}: the right class is to have {1 - share:.0%}, and its part of the rest",
                "0 to 0.2",
                f"label_smoothing={max(1 - share, 0.0):.2g}, if {share:g} was meant as what the right class keeps",
            )
            break
    for optimizer, group in _groups(subject):
        betas = [float(one) for one in group.get("betas") or ()]
        momentum = group.get("momentum", 0.0)
        if is_adaptive(optimizer) and len(betas) == 2 and betas[0] > betas[1] + 0.02:
            yield Found(
                f"betas=({betas[0]:g}, {betas[1]:g}) for {type(optimizer).__name__}",
                "a second number that is larger than the first",
                f"betas=({betas[1]:g}, {betas[0]:g})",
            )
            return
        if isinstance(momentum, float) and momentum >= 1:
            yield Found(f"momentum={momentum:g}, which never forgets", "below 1", "momentum=0.9")
            return


@check("LB034", "warning", "A weight decay that hardly can be meant")
def decay(subject: Subject) -> Iterator[Found]:
    """`Adam` adds weight decay to the gradient and then divides it away with it: values that are usual for `AdamW` do
    something else there. A decay of 1 and more pulls every weight to zero. So does one of SGD that is ten times the
    first gradient; one of 0.1 and more, twice."""
    for optimizer, group in _groups(subject):
        value = float(group.get("weight_decay", 0.0) or 0.0)
        name = type(optimizer).__name__
        plain = type(optimizer) is optim.Adam and not group.get("decoupled_weight_decay", False)
        if value >= 1 or (plain and value >= 0.01):
            fix = "torch.optim.AdamW, which decays weights beside the gradient" if value < 1 else "weight_decay=0.01"
            yield Found(f"weight_decay={value:g} for {name}", "0.001 to 0.1 for AdamW, below 0.01 for Adam", fix)
            return
        most = _MUCH_PULL if value >= _MUCH_DECAY else 10
        if isinstance(optimizer, optim.SGD) and value >= 0.01 and (pull := _pull(subject, group, value)) > most:
            yield Found(
                f"weight_decay={value:g} for {name}, which pulls weights to zero {pull:.0f} times as much as the first "
                "gradient moves them",
                "a decay that is small beside the gradient",
                "weight_decay=1e-4",
            )
            return


def _pull(subject: Subject, group: dict[str, Any], value: float) -> float:
    """How many times the gradient a weight decay is, over a group; 0 where nothing is known."""
    gradients = {id(one): subject.trained.gradients.get(name) for name, one in subject.model.named_parameters()}
    known = [(one.detach(), gradient) for one in group["params"] if (gradient := gradients.get(id(one))) is not None]
    moved = math.hypot(*(norm_of(gradient) for _, gradient in known))
    decayed = value * math.hypot(*(norm_of(one) for one, _ in known))
    return decayed / moved if moved > 0 else 0.0


def _stays_low(rates: Sequence[float], base: float) -> bool:
    """Whether a warm-up is not over at the end, or a factor is taken for a rate.

    A peak may be far below the rate of an optimizer where that is a factor, such as 1.
    """
    if rates[0] < rates[-1] == max(rates):
        return len(rates) >= 10 and max(rates) < 0.1 * base
    return len(rates) >= 2 and max(rates) < 0.01 * base <= 0.01 * _FACTOR


@check("LB035", "warning", "A schedule that does not fit the run", several=True)
def schedule(subject: Subject) -> Iterator[Found]:
    """A scheduler that is made for more or fewer steps than the run has ends high, rises again, or stops the run; one
    that counts in epochs what was meant in batches hardly moves, or is at its end after a part of the run. A warm-up
    that is longer than the run never comes to the rate that the optimizer was given, nor does `LambdaLR` whose function
    gives a rate in place of a factor; a factor above 1 makes the rate grow without end, and a factor of 0, or a whole
    division, ends the training."""
    base = max((rate_in(group) or 0.0 for _, group in _groups(subject)), default=0.0)
    for one in subject.schedules:
        steps = len(one.rates)
        if one.failure:
            received = f"{one.name}, which fails at a step of this run: {one.failure}"
        elif one.length is not None and steps and not 0.7 <= one.length / steps <= 1.3:
            received = f"{one.name} made for {one.length} steps, in a run that steps it {steps} times"
        elif one.name and steps > 1 and len(set(one.rates)) == 1:
            received = f"{one.name}, whose learning rate never changes in the {steps} steps of this run"
        elif steps >= 4 and (still := sum(rate == 0 for rate in one.rates)) >= 0.5 * steps:
            received = f"{one.name or 'a schedule'}, whose rate is 0 in {still} of the {steps} steps of this run"
        elif steps >= 20 and (idle := sum(rate < 0.01 * max(one.rates) for rate in one.rates)) > 0.6 * steps:
            name, where = (
                (one.name, f"{idle} of the {steps} steps") if one.name else ("a schedule", f"{idle / steps:.0%}")
            )
            received = f"{name}, under 1 % of its highest rate in {where} of this run"
        elif steps and one.name not in _OWN_RATES and _stays_low(one.rates, base):
            received = (
                f"{one.name or 'a schedule'}, whose rate comes to {max(one.rates):.1g} at most in the {steps} steps of "
                f"this run, where the optimizer has {base:g}"
            )
        elif (
            steps > 2 and one.name not in _OWN_RATES and one.rates[-1] == max(one.rates) > 10 * max(base, one.rates[0])
        ):
            received = (
                f"{one.name or 'a schedule'}, whose rate rises to {one.rates[-1]:.2g} at the end of the run, from "
                f"{one.rates[0]:.2g}"
            )
        else:
            continue
        yield Found(
            received,
            "a schedule that is over when the run is over",
            'lumbre.callbacks.LearningRate(lumbre.schedules.cosine()), which counts by itself; or step_on="batch" and '
            "the run's own number of steps",
        )


@check("LB036", "warning", "Summed losses that are gathered over batches")
def summed(subject: Subject) -> Iterator[Found]:
    """Under accumulation a sum grows with the rows of the whole group, and the step with it: a learning rate that was
    right for one batch is several times too high."""
    if subject.accumulated < 2:
        return
    said = getattr(subject.loss, "reduction", "mean") == "sum"
    what = 'reduction="sum"' if said else "a loss that is a sum over the rows,"
    if said or _doubles(subject):
        yield Found(
            f"{what} with {subject.accumulated} batches for each update",
            "a mean over the rows, which does not depend on how they are cut into batches",
            'reduction="mean"',
        )


def _doubles(subject: Subject) -> bool:
    """Whether the loss of all rows taken twice is twice the loss."""
    found, target = subject.evaluated, subject.batch.target
    if subject.loss is None or not isinstance(found.loss, Tensor) or found.loss.ndim or found.pred is None:
        return False
    try:
        with untouched(subject.model, subject.device, subject.loss), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            twice = float(subject.loss(map_leaves(_twice, found.pred), map_leaves(_twice, target)))
    except Exception:  # a loss that cannot take other rows has not been found to add
        return False
    once = float(found.loss.detach())
    return once != 0 and math.isclose(twice, 2 * once, rel_tol=1e-3)


def _twice(leaf: Any) -> Any:
    return torch.cat([leaf, leaf]).detach() if isinstance(leaf, Tensor) and leaf.ndim else leaf
