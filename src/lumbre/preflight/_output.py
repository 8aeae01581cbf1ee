"""The last layer, the loss and the metrics: do they fit together?"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import brief, describe, loss_hint
from lumbre.preflight._domains import outside
from lumbre.preflight._recorder import BINARY, CLASSES, ELEMENTWISE, RAW, Call, loss_inputs, made_by
from lumbre.preflight._registry import Found, check
from lumbre.preflight._scores import keep_their_size
from lumbre.preflight._subject import Subject, tensors
from lumbre.steps import moderate

_RANGES = {"Relu": (0.0, math.inf), "Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softplus": (0.0, math.inf)}
_MOSTLY_CUT, _ADDED = 0.25, 0.3


def _ranked(call: Call) -> bool:
    return call.input.ndim >= 2


@check("LB003", "error", "A forward pass that fails")
def forward_fails(subject: Subject) -> Iterator[Found]:
    """The module cannot be called with a batch of this data: shapes or types do not fit. Or it takes batches of one
    size alone, and the last one of an epoch is smaller."""
    yield from _fails_at_the_end(subject, in_loss=False)
    found = subject.evaluated
    if found.failure is None or found.in_loss:
        return
    error, input = found.failure, subject.batch.input
    weights = next((p for p in subject.model.parameters() if p.is_floating_point()), None)
    inside = loss_hint(input, None, subject.batch.target)
    fix = inside or "mend the shapes: the first dimension counts the rows of a batch"
    for leaf in tensors(input):
        if weights is not None and leaf.dtype != weights.dtype and not leaf.is_complex() and "type" in str(error):
            wanted = str(weights.dtype).removeprefix("torch.")
            one = "x" if isinstance(input, Tensor) else "part"
            where = "the input" if one == "x" else "each part of the input that is measured"
            fix = f"bring {where} to the module's {wanted}: {one}.to(torch.{wanted}); or mend the shapes in forward()"
    yield Found(
        f"{type(error).__name__} in forward() for an input that is a {describe(input)}: {brief(error)}",
        "a module that takes a batch of this data",
        fix,
    )


def _fails_at_the_end(subject: Subject, *, in_loss: bool) -> Iterator[Found]:
    """What is said of module or loss where a whole batch passes, and one of fewer rows does not."""
    found = subject.shortest
    if found is None or found.failure is None or found.in_loss != in_loss:
        return
    leave_out = "drop_last=True" if subject.shuffled is not None else "DataLoader(..., drop_last=True)"
    yield Found(
        f"{type(found.failure).__name__} in {'the loss' if in_loss else 'forward()'} for a batch of "
        f"{subject.fewest_rows} rows, as the last one of an epoch is: {brief(found.failure)}",
        "batches of any size",
        f"len(x) in place of a batch size that is written down; or {leave_out}",
        None if subject.settled else "warning",
    )


@check("LB006", "error", "Shapes that are stretched against each other")
def stretched(subject: Subject) -> Iterator[Found]:
    """Prediction and target have different shapes, such as (64, 1) and (64). torch stretches them against each other,
    so that every prediction is compared with every target; the loss falls to that of the mean. In losses written by
    hand the same happens at the minus sign."""
    for call in subject.loss_calls:
        pair = (call.input, call.argument(1, "other" if "sub" in call.name else "target"))
        if not all(isinstance(one, Tensor) for one in pair):
            continue
        shapes = [tuple(one.shape) for one in pair]
        if call.name in ELEMENTWISE:
            wrong, name = shapes[0] != shapes[1], call.name
        else:
            wrong, name = "sub" in call.name and _both_stretched(*shapes), "the difference"
        if wrong:
            loss = type(subject.loss).__name__ if isinstance(subject.loss, torch.nn.Module) else name
            yield Found(
                f"{loss} of a prediction {shapes[0]} and a target {shapes[1]}",
                "the same shape for both: torch stretches them against each other and trains on every pair of rows",
                "self.layers(x).squeeze(1) in forward(), or y.unsqueeze(1) for the target",
            )
    if (found := _stretched_by_hand(subject)) is not None:
        yield Found(
            f"a loss in which a prediction {found[0]} and a target {found[1]} meet",
            "the same shape for both: torch stretches them against each other and trains on every pair of rows",
            "self.layers(x).squeeze(1) in forward(), or y.unsqueeze(1) for the target",
        )


def _stretched_by_hand(subject: Subject) -> tuple[Any, Any] | None:
    """Shapes of prediction and target that a loss of the user's own stretches.

    Where each prediction meets each target the order of the targets does not matter; it does once the shapes are alike.
    """
    pred, target, value = subject.evaluated.pred, subject.batch.target, subject.evaluated.loss
    if subject.loss is None or not all(isinstance(one, Tensor) for one in (pred, target, value)) or value.ndim:
        return None
    if pred.ndim == target.ndim or pred.numel() != target.numel() or not target.is_floating_point():
        return None
    if min(pred.ndim, target.ndim) != 1 or pred.shape[0] != target.shape[0] or len(pred) < 3:
        return None
    pred, other = pred.detach(), target.flip(0)
    try:
        alike = [float(subject.loss_of(pred.reshape(target.shape), one)) for one in (target, other)]
        turned = float(subject.loss_of(pred, other))
    except Exception:
        return None
    if not _near(turned, float(value.detach())) or not all(map(math.isfinite, alike)) or _near(*alike):
        return None
    return tuple(pred.shape), tuple(target.shape)


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-8)


def _both_stretched(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """(N, 1) and (N): the numbers of both are repeated. Where only one is, that may be meant."""
    if len(one) == len(other) or min(len(one), len(other)) != 1 or max(len(one), len(other)) != 2:
        return False
    column, row = (one, other) if len(one) == 2 else (other, one)
    return column[1] == 1 and column[0] == row[0] > 1


@check("LB007", "warning", "Softmax or sigmoid before CrossEntropyLoss")
def second_softmax(subject: Subject) -> Iterator[Found]:
    """`CrossEntropyLoss` applies the softmax itself. With one in the module too, the loss cannot fall below 0.55 for
    two classes, and higher for more; gradients are small, and training is slow or stops early."""
    for call in loss_inputs(subject.loss_calls, ("cross_entropy",)):
        if not _ranked(call) or call.input.shape[1] < 2:
            continue
        values, made = call.input.detach().float(), made_by(call.input)
        sums_to_one = bool((values >= 0).all()) and torch.allclose(values.sum(1), torch.ones(()).to(values), atol=1e-4)
        if made == "Softmax" or sums_to_one or made == "Sigmoid":
            one = "sigmoid" if made == "Sigmoid" else "softmax"
            seen = "between 0 and 1 already" if one == "sigmoid" else "already (each row adds up to 1)"
            yield Found(
                f"predictions that are probabilities {seen}, before CrossEntropyLoss",
                "raw scores (logits): CrossEntropyLoss applies the softmax itself, and two keep the loss from falling",
                f"leave the {one} out of forward(), and apply it to predictions when you need probabilities",
            )


@check("LB011", "warning", "Sigmoid before a loss that applies it")
def second_sigmoid(subject: Subject) -> Iterator[Found]:
    """`BCEWithLogitsLoss` applies the sigmoid itself. After one in the module it sees numbers between 0 and 1 only,
    that is probabilities from 0.5 to 0.73."""
    for call in loss_inputs(subject.loss_calls, ("binary_cross_entropy_with_logits",)):
        if made_by(call.input) in ("Sigmoid", "Softmax"):
            yield Found(
                "predictions that went through a sigmoid or softmax, before BCEWithLogitsLoss",
                "raw scores (logits): the loss applies the sigmoid itself",
                "leave the sigmoid out of forward(), or take nn.BCELoss()",
            )


@check("LB012", "warning", "NLLLoss without a log-softmax")
def no_log_softmax(subject: Subject) -> Iterator[Found]:
    """`NLLLoss` only picks the number of the true class: it wants logarithms of probabilities. Of raw scores or
    probabilities it becomes negative and falls without end, or with hardly any gradient."""
    for call in loss_inputs(subject.loss_calls, ("nll_loss",)):
        values = call.input.detach().float()
        if not _ranked(call) or torch.allclose(values.logsumexp(1), values.new_zeros(()), atol=1e-2):
            continue
        if torch.allclose(values.logsumexp(0), values.new_zeros(()), atol=1e-2):
            continue  # taken over the rows: that is another mistake
        if made_by(call.input) == "Log" and float(values.logsumexp(1).abs().median()) < _ADDED:
            continue  # of probabilities: a small number may have been added to them
        yield Found(
            "NLLLoss of predictions that are no logarithms of probabilities",
            "rows whose exponentials add up to 1",
            "look at what forward() does after its log-softmax: a view() or reshape() where permute() was meant brings "
            "numbers of several rows together"
            if any(one.name == "log_softmax" for one in subject.evaluated.forward)
            else "nn.CrossEntropyLoss(), which takes raw scores; or torch.log_softmax(..., 1) at the end of forward()",
        )


@check("LB013", "error", "BCELoss of what is no probability")
def no_probabilities(subject: Subject) -> Iterator[Found]:
    """`BCELoss` takes probabilities; of raw scores it fails, or gives NaN."""
    for call in loss_inputs(subject.loss_calls, ("binary_cross_entropy",)):
        low, high = (float(end) for end in call.input.detach().aminmax())
        raw = made_by(call.input) in RAW
        if low < 0 or high > 1 or raw:
            yield Found(
                f"BCELoss of {'raw scores' if raw else 'predictions'} from {low:.3g} to {high:.3g}",
                "probabilities from 0 to 1",
                "nn.BCEWithLogitsLoss(), which takes raw scores; or torch.sigmoid(...) at the end of forward()",
            )


@check("LB015", "warning", "An output that cannot reach the targets", several=True)
def out_of_reach(subject: Subject) -> Iterator[Found]:
    """The last layer ends in an activation whose range leaves targets out: ReLU gives nothing negative, sigmoid nothing
    above 1. Before a cross-entropy a ReLU takes away every score below 0, with its gradient, and clamp() what it
    cuts."""
    for call in loss_inputs(subject.loss_calls, (*ELEMENTWISE, "cross_entropy")):
        made = made_by(call.input)
        if call.name == "cross_entropy":
            if made == "Relu":
                yield Found(
                    "scores that went through a ReLU, before CrossEntropyLoss",
                    "scores that may be negative",
                    "leave the last ReLU out",
                )
            continue
        if made in ("Clamp", "ClampMin", "ClampMax") and (idle := _cut(call.input)) > _MOSTLY_CUT:
            yield Found(
                f"predictions that end in clamp(), which cuts off {idle:.0%} of the first batch: no gradient there",
                "an output whose gradient reaches every prediction",
                "sigmoid() for numbers from 0 to 1, softplus() for those above 0; clamp() in predict(), after training",
            )
            return
        if made not in _RANGES or not isinstance(subject.target, Tensor) or not subject.target.is_floating_point():
            continue
        low, high = _RANGES[made]
        target = call.target.detach()
        beyond = float(((target < low - 0.01) | (target > high + 0.01)).float().mean())
        if beyond > 0.05:
            yield Found(
                f"predictions that end in {made.lower()}, and {beyond:.0%} of the targets outside its range",
                f"an output that can reach targets from {float(target.min()):.3g} to {float(target.max()):.3g}",
                "leave the activation after the last layer out",
            )
            return


def _cut(pred: Tensor) -> float:
    """The share of predictions that lie at a bound that several of them share."""
    values = pred.detach().flatten()
    ends = [(values == end).float().mean() for end in (values.min(), values.max())]
    return float(sum(one for one in ends if one * values.numel() > 1))


@check("LB016", "error", "One score for CrossEntropyLoss")
def one_score(subject: Subject) -> Iterator[Found]:
    """The softmax of one score is 1, whatever the score: the loss is 0 and has no gradient."""
    for call in loss_inputs(subject.loss_calls, CLASSES):
        if _ranked(call) and call.input.shape[1] == 1:
            yield Found(
                f"predictions {tuple(call.input.shape)}: one score for each row, before {call.name}",
                "a score for each class",
                "two outputs for two classes; or nn.BCEWithLogitsLoss() with y.float().unsqueeze(1)",
            )


@check("LB018", "warning", "Softmax over the rows")
def softmax_over_rows(subject: Subject) -> Iterator[Found]:
    """A softmax over dimension 0 makes the probabilities of a class add up to 1 over the batch, not those of a row over
    its classes."""
    in_loss = [call for call in subject.evaluated.losses if isinstance(call.input, Tensor) and call.input.ndim == 2]
    in_loss = [call for call in in_loss if call.input.shape[0] != call.input.shape[1]]  # of rows beside one another
    for call in (*subject.evaluated.forward, *in_loss):
        dim = call.argument(1, "dim")
        if call.name not in ("softmax", "log_softmax") or not isinstance(call.input, Tensor) or call.input.ndim != 2:
            continue
        if dim in (0, -2) and call.input.shape[0] == subject.batch.size > 1:
            yield Found(
                f"{call.name} over dimension {dim} of {tuple(call.input.shape)}, that is over the rows of the batch",
                "a softmax over the classes of each row",
                f"{call.name}(..., dim=1)",
            )


@check("LB055", "error", "Whole numbers where the loss wants floats")
def whole_numbers(subject: Subject) -> Iterator[Found]:
    """Binary cross-entropy compares float predictions with float targets; int64 labels fail with a message about
    types."""
    for call in loss_inputs(subject.loss_calls, BINARY):
        if isinstance(call.target, Tensor) and not call.target.is_floating_point():
            shape = "" if call.target.shape == call.input.shape else ".unsqueeze(1)"
            yield Found(
                f"{call.name} with targets that are {describe(call.target)}",
                f"targets of 0. and 1. as {str(call.input.dtype).removeprefix('torch.')}, of the prediction's shape",
                f"y.float(){shape}",
            )


@check("LB009", "error", "A loss that fails", unexplained=True)
def loss_fails(subject: Subject) -> Iterator[Found]:
    """The loss cannot be computed for what the module gives and the target; or not for the last batch of an epoch,
    which is smaller than the others."""
    yield from _fails_at_the_end(subject, in_loss=True)
    found = subject.evaluated
    if found.failure is None or not found.in_loss:
        return
    batch = subject.batch
    given = f"a {describe(found.pred)} as prediction and a {describe(batch.target)} as target"
    yield Found(
        f"{type(found.failure).__name__} in the loss for {given}: {brief(found.failure)}",
        "a loss that takes the module's prediction and the target",
        loss_hint(batch.input, found.pred, batch.target)
        or "the loss for this task, or other shapes and dtypes (y.float() for a regression, y.long() for classes)",
    )


@check("LB096", "error", "A loss that is no number", unexplained=True)
def no_number(subject: Subject) -> Iterator[Found]:
    """Inputs and targets of the first batch are finite, and the loss of them is not: a logarithm or root of negative
    numbers, a quotient by 0, an exponential of hundreds, in the loss or in the module. (A cross-entropy of torch's
    whose rows are all left out is NaN.)"""
    found, batch = subject.trained, subject.batch
    if found.failure is not None or not isinstance(found.loss, Tensor) or found.loss.ndim:
        return
    value = float(found.loss.detach())
    if math.isfinite(value) or not moderate(batch.input, batch.target) or next(outside(subject), None) is not None:
        return  # LB065 says why
    if math.isnan(value) and any(call.name in CLASSES for call in found.losses) and moderate(found.pred):
        return
    of_module = not all(bool(one.isfinite().all()) for one in tensors(found.pred))
    yield Found(
        f"a loss of {value} for the first batch, whose inputs and targets are finite"
        + (", and predictions that are not" if of_module else ", as the predictions are"),
        "a finite loss",
        f"look at what {'forward()' if of_module else 'the loss'} takes: a log() or sqrt() of what may be negative or "
        "0, an exp() of what is large, a quotient by 0; F.softplus(x) + 1e-6 or clamp(min=1e-6) keep a number positive",
    )


@check("LB010", "error", "A loss that is no single number")
def no_scalar(subject: Subject) -> Iterator[Found]:
    """A backward pass begins at one number."""
    found = subject.evaluated
    if subject.loss is None or found.failure is not None:
        return
    if not isinstance(found.loss, Tensor) or found.loss.ndim or found.loss.is_complex():
        yield Found(
            f"a loss that gives a {describe(found.loss)}",
            "a scalar: one number for the batch",
            "their sum; metrics show each by itself"
            if isinstance(found.loss, (dict, tuple, list))
            else 'reduction="mean", or .mean() at the end of the loss',
        )


@check("LB025", "warning", "A loss at the start that is far from chance", unless=("LB038", "LB039", "LB019"))
def far_from_chance(subject: Subject) -> Iterator[Found]:
    """Before training a classifier knows nothing, so its cross-entropy should be near log(classes). Many times that
    means first weights that are far too wide, or inputs on a wild scale: the first epochs go into undoing it. (Cosines
    times a scale are meant to begin so.)"""
    for call in loss_inputs(subject.trained.losses, ("cross_entropy", *BINARY)):
        if not isinstance(call.result, Tensor) or call.result.ndim:
            continue
        classes = 2 if call.name in BINARY else call.input.shape[1] if _ranked(call) else 0
        weighted = call.name in BINARY and any(call.argument(at, name) is not None for at, name in _WEIGHTS)
        reduction = call.argument(*_REDUCTION[call.name], "mean")
        if not classes or weighted or reduction != "mean":
            continue
        value, chance = float(call.result.detach()), math.log(max(classes, 2))
        if math.isfinite(value) and value > 5 * chance + 1 and not keep_their_size(subject):
            yield Found(
                f"a cross-entropy of {value:.3g} before the first step",
                f"about {chance:.3g}, that of guessing among {classes} classes",
                "smaller first weights (torch's own, or nn.init.kaiming_normal_), and inputs of mean 0 and spread 1",
            )


_WEIGHTS = ((2, "weight"), (6, "pos_weight"))
_REDUCTION = {
    "cross_entropy": (6, "reduction"),
    "binary_cross_entropy": (5, "reduction"),
    "binary_cross_entropy_with_logits": (5, "reduction"),
}


@check("LB056", "warning", "A regression that starts far from its targets", unless=("LB038", "LB039", "LB050"))
def far_from_targets(subject: Subject) -> Iterator[Found]:
    """Who always says the mean of the targets has their variance as mean squared error. A net that begins a hundred
    times worse, with an error ten times their spread, spends the first epochs on finding the middle: targets are far
    from 0 for their spread, or first weights or inputs are far too wide."""
    for call in loss_inputs(subject.trained.losses, ELEMENTWISE):
        target = call.target
        if target is not subject.batch.target or not isinstance(subject.target, Tensor):
            continue
        if call.input.shape != target.shape or not target.is_floating_point():
            continue
        every = subject.target.detach().float()
        spread = float((every - every.mean(0)).square().mean())
        error = float((call.input.detach().float() - target.detach().float()).square().mean())
        if len(every) >= 20 and spread > 0 and math.isfinite(error) and error > 100 * spread:
            yield Found(
                f"a mean squared error of {error:.3g} before the first step",
                f"about {spread:.3g}, the variance of the targets (from {float(every.min()):.3g} to "
                f"{float(every.max()):.3g})",
                "train on (y - y.mean()) / y.std(), and turn predictions back; or torch's own first weights, and "
                "inputs of mean 0 and spread 1",
            )


@check(
    "LB057",
    "warning",
    "An output that does not depend on the input",
    unless=("LB019", "LB029", "LB038"),
    costly=True,
)
def constant_output(subject: Subject) -> Iterator[Found]:
    """The module gives the same for every row of the first batch, though these differ, and goes on to do so when its
    weights are moved a little (a last layer that begins at zero is meant, and depends on its input then)."""
    found = subject.evaluated
    if found.failure is not None or not found.layers or subject.batch.size < 2 or not _rows_differ(subject):
        return
    if not _same_rows(tensors(found.pred), subject.batch.size):
        return
    try:
        moved = subject.predict(subject.batch.input, moved=True)
    except Exception:  # a module that cannot take other weights has not been found to be constant
        return
    if _same_rows(tensors(moved), subject.batch.size):
        yield Found(
            f"the same prediction for all {subject.batch.size} rows of the first batch",
            "predictions that depend on the input",
            "look at what forward() does with x: what it multiplies by 0, cuts off, or never uses"
            + ("" if _begin_as_torch(subject) else "; first weights and biases are not those of torch"),
        )


def _begin_as_torch(subject: Subject) -> bool:
    """Whether the weights of layers are as wide as torch draws them."""
    for part in subject.model.modules():
        if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and part.weight.numel() > 16:
            usual = (3 * part.weight[0].numel()) ** -0.5
            if not 0.5 * usual < float(part.weight.detach().float().square().mean().sqrt()) < 2 * usual:
                return False
    return True


def _rows_differ(subject: Subject) -> bool:
    return any(
        leaf.ndim and len(leaf) == subject.batch.size and bool((leaf != leaf[:1]).any())
        for leaf in tensors(subject.batch.input)
    )


def _same_rows(parts: list[Tensor], rows: int) -> bool:
    """Whether each of them has numbers by the row, the same in all."""
    for part in parts:
        if not part.is_floating_point() or not part.ndim or len(part) != rows or not bool(part.isfinite().all()):
            return False
        if float((part - part[:1]).detach().abs().max()) > 1e-6 * float(part.detach().abs().max()):
            return False
    return bool(parts)


@check("LB060", "hint", "A log-softmax before CrossEntropyLoss")
def second_log_softmax(subject: Subject) -> Iterator[Found]:
    """`CrossEntropyLoss` applies the log-softmax itself. A second one changes nothing but costs its time; mostly
    `NLLLoss` was meant."""
    for call in loss_inputs(subject.loss_calls, ("cross_entropy",)):
        if made_by(call.input) == "LogSoftmax":
            yield Found(
                "predictions that went through a log-softmax, before CrossEntropyLoss",
                "raw scores (logits): the loss applies the log-softmax itself",
                "leave the log-softmax out of forward(), or take nn.NLLLoss()",
            )


@check("LB054", "warning", "A loss with its sign turned")
def turned_sign(subject: Subject) -> Iterator[Found]:
    """The loss is the negative of a distance, or an optimizer with `maximize=True` is given a distance: training makes
    it larger."""
    value = subject.evaluated.loss
    climbs = any(group.get("maximize") for one in subject.optimizers.values() for group in one.param_groups)
    if not isinstance(value, Tensor) or value.ndim:
        return
    for call in subject.loss_calls:
        if not call.is_loss or not isinstance(call.result, Tensor) or call.result.ndim:
            continue
        distance, given = float(call.result.detach()), float(value.detach())
        if climbs and not subject.own_step and distance > 1e-6 and math.isclose(given, distance, rel_tol=1e-5):
            yield Found(
                f"{call.name} as loss, and an optimizer with maximize=True",
                "an optimizer that makes distances smaller",
                "leave maximize=True out",
            )
            return
        if distance > 1e-6 and math.isclose(given, -distance, rel_tol=1e-5):
            yield Found(
                f"a loss of {given:.3g}: {call.name} with its sign turned",
                "a loss that is smaller where predictions are better",
                "leave the minus out",
            )
