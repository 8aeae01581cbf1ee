"""Validation and test data: do they ask the same question as the training data?"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lumbre.base import Batch, Nested, brief, describe, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import CLASSES, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch, taken through module and loss in evaluation mode.

    Attributes:
        pred: what the module gave.
        loss: what the loss gave; None where there is none.
        failure: what was raised.
        in_loss: whether it was the loss.
    """

    pred: Nested = None
    loss: Any = None
    failure: Exception | None = None
    in_loss: bool = False


def _asked(subject: Subject, batch: Batch) -> _Asked:
    with untouched(subject.model, subject.device, subject.loss), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_chance(subject.device)
        try:
            pred = subject.call(map_leaves(_copied, batch.input))
        except Exception as error:
            return _Asked(failure=error)
        if subject.loss is None:
            return _Asked(pred)
        try:
            return _Asked(pred, subject.loss(pred, batch.target))
        except Exception as error:
            return _Asked(pred, failure=error, in_loss=True)


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


@check("LB063", "error", "Validation data that do not fit", several=True)
def misfits(subject: Subject) -> Iterator[Found]:
    """A batch of the validation rows (and of the test rows) goes through module and loss before the first epoch, as
    the run would do after it: other shapes, types, numbers of inputs, labels, targets that are stretched against the
    predictions, such as (n, 1) against (n)."""
    if subject.evaluated.failure is not None:
        return  # training data do not fit either
    for name, batch in subject.held.items():
        found = next(_misfits(subject, name, batch), None)
        if found is not None:
            yield found


def _misfits(subject: Subject, name: str, batch: Batch | Exception) -> Iterator[Found]:
    if isinstance(batch, Exception):
        yield Found(
            f"{name} data that cannot be read: {_line(batch)}",
            f"{name} data that can be read before the first epoch is over",
            "look at the rows that are read first",
        )
        return
    own = subject.batch
    as_trained = f"{name} data as the training data are: {_forms(own)}"
    if batch.target is None and own.target is not None and subject.loss is not None:
        yield Found(f"{name} data without a target", as_trained, "a pair (input, target)")
        return
    asked = _asked(subject, batch)
    if asked.failure is not None:
        where = "the loss" if asked.in_loss else "forward()"
        fix = _fix(own.target, batch.target) if asked.in_loss else _fix(own.input, batch.input)
        received = f"{_line(asked.failure)} in {where} for {name} data: {_forms(batch)}"
        if asked.in_loss and (labels := _labels_out_of_range(subject, batch.target)):
            received, as_trained, fix = f"{name} data with {labels[0]}", labels[1], "the labels of the training data"
        yield Found(received, as_trained, fix)
    elif (shapes := _stretched(subject, batch, asked)) is not None:
        yield Found(
            f"{name} data whose target {shapes[1]} is stretched against the prediction {shapes[0]}, "
            f"where that of the training data {tuple(_shape(own.target))} is not",
            f"targets of the same shape in both: the {name} loss compares each row with all others",
            "y.unsqueeze(1), or y.squeeze(1), for these targets",
        )
    elif labels := _labels_out_of_range(subject, subject.judged.get(name)):
        yield Found(f"{name} data with {labels[0]}", labels[1], "the labels of the training data")


def _stretched(subject: Subject, batch: Batch, asked: _Asked) -> tuple[Any, Any] | None:
    """Shapes of prediction and target, where the loss is another once the target has the training targets' form."""
    target, own, loss = batch.target, subject.batch.target, subject.loss
    if loss is None or not all(isinstance(one, Tensor) for one in (target, own, asked.pred, asked.loss)):
        return None
    rows = len(target) if target.ndim else 0
    if rows < 2 or target.ndim == own.ndim or target.numel() != rows * own[:1].numel() or asked.loss.ndim:
        return None
    try:
        as_own = float(subject.loss_of(asked.pred, target.reshape(rows, *own.shape[1:])))
    except Exception:  # the loss wants them as they are
        return None
    now = float(asked.loss)
    if math.isclose(now, as_own, rel_tol=1e-4, abs_tol=1e-7) or not math.isfinite(as_own):
        return None
    return tuple(asked.pred.shape), tuple(target.shape)


def _labels_out_of_range(subject: Subject, held: Any) -> tuple[str, str] | None:
    """What is wrong with class numbers, and what would be right, where the loss takes the target itself for them."""
    target = held[1] if isinstance(held, tuple) and len(held) == 2 else held  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if not isinstance(target, Tensor) or target.is_floating_point() or not target.numel() or target.is_complex():
        return None
    for call in loss_inputs(subject.loss_calls, CLASSES):
        if call.target is not subject.batch.target or call.input.ndim < 2 or call.input.shape[1] < 2:
            continue
        used = target[target != call.argument(4, "ignore_index", -100)]
        classes = int(call.input.shape[1])
        if used.numel() and (int(used.min()) < 0 or int(used.max()) >= classes):
            return (
                f"class labels from {int(used.min())} to {int(used.max())} for a module that gives {classes} scores",
                f"labels from 0 to {classes - 1}",
            )
    return None


@check("LB064", "warning", "Validation data of another type, or with gaps", several=True)
def other_type(subject: Subject) -> Iterator[Found]:
    """Validation rows with NaN give a validation loss of NaN, which no early stopping can follow. Rows of another type
    than the training rows, such as whole numbers from 0 to 255 beside floats from 0 to 1, are mostly scaled
    otherwise."""
    for name, batch in subject.held.items():
        if isinstance(batch, Exception):
            continue
        gaps = [
            part for part, bad in zip(("input", "target"), _gaps(subject.judged.get(name), batch), strict=True) if bad
        ]
        if gaps:
            yield Found(
                f"NaN or infinite values in the {' and the '.join(gaps)} of the {name} data",
                "finite numbers",
                "leave these rows out (x[torch.isfinite(x).all(1)]), or fill the missing values",
            )
            continue
        for own, other in zip(tensors(subject.batch.input), tensors(batch.input), strict=False):
            if own.is_floating_point() != other.is_floating_point():
                yield Found(
                    f"{name} data that are {describe(other)}, training data that are {describe(own)}",
                    "inputs of one type, scaled in one way",
                    "the same conversion for both sets",
                )
                break


@check("LB080", "warning", "Validation rows that are drawn by chance", several=True)
def drawn_again(subject: Subject) -> Iterator[Found]:
    """Validation rows are others when they are read again, while their targets are the same: an augmentation that is
    meant for training. Figures then differ from epoch to epoch for the same module."""
    for name in subject.drawn_anew:
        yield Found(
            f"{name} inputs that are others when the same rows are read again",
            "rows that stay as they are where they are judged",
            "a data set without random transforms for these rows; augment=... changes training rows only",
        )


def _gaps(seen: Any, batch: Batch) -> tuple[bool, bool]:
    """Whether input, and target, hold numbers that are not finite; as far as rows were seen."""
    pair = (batch.input, batch.target) if seen is None else seen
    bad = [any(one.is_floating_point() and not _sums(one) for one in tensors(part)) for part in pair]
    return bad[0], bad[1]


def _sums(one: Tensor) -> bool:
    total = one.sum(dtype=torch.float32 if one.dtype == torch.float16 else None)
    return bool(torch.isfinite(total)) or bool(torch.isfinite(one).all())


def _forms(batch: Batch) -> str:
    return f"input {_described(batch.input)}, target {_described(batch.target)}"


def _described(value: Nested) -> str:
    return "none" if value is None else describe(value)


def _shape(value: Any) -> Any:
    return getattr(value, "shape", ())


def _fix(own: Nested, other: Nested) -> str:
    ours, theirs = tensors(own), tensors(other)
    if len(ours) != len(theirs):
        return f"{len(ours)} of them in both sets, not {len(theirs)}"
    for a, b in zip(ours, theirs, strict=True):
        if a.dtype != b.dtype:
            return f"y.to({a.dtype}) for these rows, as in training"
        if a.shape[1:] != b.shape[1:]:
            return f"rows of shape {tuple(a.shape[1:])}, not {tuple(b.shape[1:])}"
    return "the same preparation for both sets"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {brief(error)}".partition("\n")[0]
