"""Labels and targets: do they say what the loss takes them for?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lumbre.base import describe
from lumbre.preflight._recorder import BINARY, CLASSES, ELEMENTWISE, Call, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject

_ENOUGH, _FEW_LEVELS = 20, 20


def _class_call(subject: Subject) -> tuple[Call, Tensor] | None:
    """The loss of classes that compares the module's prediction with the target itself, and all targets."""
    for call in loss_inputs(subject.loss_calls, CLASSES):
        same = call.target is subject.batch.target
        if call.input.ndim >= 2 and same and isinstance(subject.target, Tensor):
            return call, subject.target
    return None


def counted(call: Call, target: Tensor, *, whole: bool = True) -> Tensor:
    """The targets without those that the loss leaves aside.

    Args:
        call: of a loss.
        target: labels of rows.
        whole: whether the loss is given the targets as they are; else it chose among them, so that what is no class
            is left aside.
    """
    if call.name not in CLASSES:
        return target
    kept = target != call.argument(4, "ignore_index", -100)
    if not whole and call.input.ndim >= 2:
        kept &= (target >= 0) & (target < call.input.shape[1])
    return target if bool(kept.all()) else target[kept]


@check("LB004", "error", "Measurements where class numbers should be")
def measurements(subject: Subject) -> Iterator[Found]:
    """`CrossEntropyLoss` takes class numbers as int64, or a probability for each class."""
    for call in loss_inputs(subject.loss_calls, CLASSES):
        target = call.target
        if not isinstance(target, Tensor) or not target.is_floating_point() or call.input.ndim < 2:
            continue
        if target.shape == call.input.shape and call.name == "cross_entropy":
            continue  # class probabilities
        loss = type(subject.loss).__name__ if isinstance(subject.loss, torch.nn.Module) else call.name
        yield Found(
            f"a target that is a {describe(subject.target)} for {loss}",
            f"class numbers from 0 to {call.input.shape[1] - 1} as int64, or class probabilities of the prediction's "
            "shape",
            "y.long() if these are class numbers; an nn.MSELoss() if they are measurements",
        )


@check("LB005", "error", "Labels out of range")
def out_of_range(subject: Subject) -> Iterator[Found]:
    """Class numbers run from 0 to one less than the module has scores. Labels counted from 1 are the usual reason."""
    found = _class_call(subject)
    if found is None or found[1].is_floating_point():
        return
    call, target = found
    classes = call.input.shape[1]
    low, high = (int(end) for end in target.aminmax())
    if low < 0 or high >= classes:  # a second look, without the rows that the loss leaves aside
        used = counted(call, target)
        low, high = (int(end) for end in used.aminmax()) if used.numel() else (0, 0)
    if (low < 0 or high >= classes) and classes > 1:
        from_one = low == 1 and high == classes
        yield Found(
            f"class labels from {low} to {high} for a module that gives {classes} scores",
            f"labels from 0 to {classes - 1}",
            "y - 1, since labels count from 0"
            if from_one
            else f"a last layer with {high + 1} outputs, or other labels",
        )


@check("LB017", "error", "Binary targets that are not from 0 to 1")
def not_binary(subject: Subject) -> Iterator[Found]:
    """Binary cross-entropy takes 0 and 1, or probabilities. Of -1 and 1 it has no lowest value. Labels that were
    divided by 255, as pictures are, all say no; that is a warning."""
    for call in loss_inputs(subject.loss_calls, BINARY):
        if not isinstance(call.target, Tensor) or not call.target.numel():
            continue
        low, high = (float(end) for end in call.target.detach().aminmax())
        if low < 0 or high > 1:
            yield Found(
                f"{call.name} with targets from {low:.3g} to {high:.3g}",
                "targets from 0 to 1",
                "(y + 1) / 2 for labels of -1 and 1; y / 255 for pictures; (y > 0).float() for yes and no",
            )
        elif 0 < high <= 0.1 and _in_bytes(call.target):
            yield Found(
                f"{call.name} with targets from {low:.3g} to {high:.3g}, all of them a whole number by 255",
                "targets of 0 and 1",
                "labels and masks as they are: what scales pictures, such as ToTensor(), divides by 255",
                "warning",
            )


def _in_bytes(target: Tensor) -> bool:
    """Whether these are few whole numbers that were divided by 255."""
    levels = target.detach().float().unique() * 255
    return len(levels) <= _FEW_LEVELS and bool(((levels - levels.round()).abs() < 1e-3).all())


@check("LB047", "warning", "Labels that are all the same")
def constant_labels(subject: Subject) -> Iterator[Found]:
    """With one class there is nothing to learn: any data is classified without a mistake. Nor is there where one number
    is to be predicted for all rows. (An error that is to become 0 is no number to predict.)"""
    for call in loss_inputs(subject.loss_calls, (*CLASSES, *BINARY, *ELEMENTWISE)):
        if call.target is not subject.batch.target or not isinstance(subject.target, Tensor):
            continue
        used = counted(call, subject.target) if call.name in CLASSES else subject.target
        if call.name in ELEMENTWISE and not bool(used.any()):
            continue
        if subject.columns is not None and len(used) >= _ENOUGH and bool((used == used.flatten()[0]).all()):
            yield Found(
                f"{len(subject.target)} rows, all with the label {used.flatten()[0].item():g}",
                "at least two classes, or targets that differ",
                "look at how the labels are made, or at which rows were taken",
            )


@check("LB048", "warning", "Many more outputs than classes")
def many_outputs(subject: Subject) -> Iterator[Found]:
    """A head of a thousand outputs for a few classes is mostly one of another task that was left in place."""
    found = _class_call(subject)
    if found is None or subject.columns is None or found[1].is_floating_point() or found[0].input.ndim != 2:
        return
    outputs = found[0].input.shape[1]
    used = counted(*found) if outputs >= 20 else found[1][:0]
    if not used.numel():
        return
    classes = int(used.max()) + 1
    if classes * 4 <= outputs and used.unique().numel() == classes:
        yield Found(
            f"{outputs} outputs for {classes} classes",
            f"{classes} outputs",
            f"a last layer with {classes} outputs",
        )


@check("LB044", "warning", "Accuracy where nearly all rows are of one class")
def imbalance(subject: Subject) -> Iterator[Found]:
    """Where 95 % of the rows are of one class, always saying that class is 95 % accurate."""
    names = {type(metric).__name__ for metric in subject.metrics}
    target = subject.target
    if not names & {"Accuracy", "BinaryAccuracy", "BinaryAccuracyWithLogits"} or not isinstance(target, Tensor):
        return
    calls = loss_inputs(subject.loss_calls, (*CLASSES, *BINARY))
    if subject.columns is None or len(target) < 50 or not calls or target.numel() != len(target):
        return
    target = counted(calls[0], target, whole=calls[0].target is subject.batch.target).flatten()
    _, counts = target.unique(return_counts=True)
    share = float(counts.max()) / len(target) if len(target) else 0.0
    if counts.numel() > 1 and share > 0.9:
        yield Found(
            f"accuracy as a metric, and {share:.1%} of the rows in one class",
            "a metric that sees the rare classes",
            'lumbre.metrics.F1(), AUROC() or balanced accuracy; perhaps sampler="balanced"',
        )


@check("LB045", "warning", "Rows by class, in a fixed order")
def ordered(subject: Subject) -> Iterator[Found]:
    """Rows that lie class by class and are not shuffled give batches of a single class: each pulls the net to itself,
    and the last one wins."""
    target = subject.target
    in_order = subject.shuffled is False or subject.in_order
    if not in_order or subject.columns is None or not isinstance(target, Tensor):
        return
    calls = loss_inputs(subject.loss_calls, (*CLASSES, *BINARY))
    if not calls or target.numel() != len(target):
        return
    labels = counted(calls[0], target, whole=calls[0].target is subject.batch.target).flatten()
    classes = labels.unique().numel()
    changes = int((labels[1:] != labels[:-1]).sum())
    how = "a DataLoader that does not shuffle" if subject.in_order else "shuffle=False"
    if classes > 1 and changes == classes - 1 and len(labels) > (subject.batch_size or 1):
        yield Found(
            f"{how}, and rows that lie class by class ({classes} classes, {changes} changes)",
            "batches in which classes are mixed",
            "DataLoader(..., shuffle=True)" if subject.in_order else "leave shuffle=False out",
        )


@check("LB049", "hint", "A loss of measurements for class numbers")
def class_numbers_measured(subject: Subject) -> Iterator[Found]:
    """Targets are 0, 1, 2 and so on, and one number is fitted to them by its distance: that takes class 2 for twice
    class 1. For grades that is right, for kinds it is not."""
    for call in loss_inputs(subject.loss_calls, ELEMENTWISE):
        target = subject.target
        if call.target is not subject.batch.target or not isinstance(target, Tensor) or len(target) < _ENOUGH:
            continue
        if target.numel() != len(target):
            continue
        values = target.flatten().unique()
        count = values.numel()
        if 3 <= count <= _ENOUGH and bool((values == torch.arange(count).to(values)).all()):
            name = type(subject.loss).__name__ if isinstance(subject.loss, torch.nn.Module) else call.name
            yield Found(
                f"{name} of targets that are 0 to {count - 1}, without anything between",
                "measurements; or class numbers and a score for each class",
                f"a last layer with {count} outputs, y.long() and nn.CrossEntropyLoss(), if these are classes",
            )
