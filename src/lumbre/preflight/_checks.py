"""The checks. Each is one function that looks at a `Subject` and yields what it finds; none changes the model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import Batch, Loss, Nested, describe, leaves
from lumbre.preflight._finding import Finding, Findings


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at.

    Attributes:
        model: the module, on its device.
        call: the module, made ready for the form of its input.
        loss: the loss function; None for a module with a step of its own, of which nothing more can be asked.
        batch: the first training batch.
        columns: (input, target) of all training rows where they are in memory, else None.
        fewest_rows: rows of the smallest batch of an epoch, where that is known.
    """

    model: nn.Module
    call: Callable[[Nested], Nested]
    loss: Loss | None
    batch: Batch
    columns: tuple[Nested, Nested] | None
    fewest_rows: int | None


def run_checks(subject: Subject) -> Findings:
    """Everything the checks find in `subject`. Costs one forward pass and one look at the columns in memory."""
    findings = [*_no_parameters(subject), *_non_finite_input(subject)]
    if subject.loss is None:
        return Findings(findings)
    pred, failure = _forward(subject)
    if failure is not None:
        return Findings([*findings, failure])
    findings += [
        *_labels(subject, pred),
        *_broadcast(subject, pred),
        *_softmax(subject, pred),
        *_short_batch_norm(subject),
    ]
    if not any(finding.severity == "error" for finding in findings):
        findings += _loss(subject, pred)
    return Findings(findings)


def _no_parameters(subject: Subject) -> Iterator[Finding]:
    if not any(parameter.requires_grad for parameter in subject.model.parameters()):
        yield Finding(
            "LB001",
            "error",
            f"{type(subject.model).__name__} without a parameter that can be trained",
            "at least one parameter with requires_grad=True",
            "keep layers as attributes of the module (in an nn.ModuleList, not a list), or unfreeze some",
        )


def _non_finite_input(subject: Subject) -> Iterator[Finding]:
    parts = subject.columns or (subject.batch.input, subject.batch.target)
    for name, part in zip(("input", "target"), parts, strict=True):
        for leaf in leaves(part):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                continue
            # One pass without a mask as large as the data; only a sum that is not finite is worth a closer look.
            if torch.isfinite(leaf.sum(dtype=torch.float32 if leaf.dtype == torch.float16 else None)):
                continue
            bad = (~torch.isfinite(leaf)).reshape(leaf.shape[0], -1).any(1).nonzero()[:, 0].tolist()
            if bad:
                shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                yield Finding(
                    "LB002",
                    "error",
                    f"NaN or infinite values in the {name}, in {len(bad)} of {leaf.shape[0]} rows: {shown}",
                    "finite numbers",
                    "leave these rows out (x[torch.isfinite(x).all(1)]), or fill the missing values",
                )


def _forward(subject: Subject) -> tuple[Nested, Finding | None]:
    was_training = subject.model.training
    subject.model.eval()
    try:
        with torch.no_grad():
            return subject.call(subject.batch.input), None
    except Exception as error:  # whatever the user's module raises is the finding
        return None, Finding(
            "LB003",
            "error",
            f"{type(error).__name__} in forward() for an input that is a {describe(subject.batch.input)}: {error}",
            "a module that takes a batch of this data",
            _forward_advice(subject),
        )
    finally:
        subject.model.train(was_training)


def _forward_advice(subject: Subject) -> str:
    weights = next((p for p in subject.model.parameters() if p.is_floating_point()), None)
    for leaf in leaves(subject.batch.input):
        if isinstance(leaf, Tensor) and weights is not None and leaf.dtype != weights.dtype:
            wanted = str(weights.dtype).removeprefix("torch.")
            return f"bring the input to the module's {wanted}: x.to(torch.{wanted}); or mend the shapes in forward()"
    return "mend the shapes: the first dimension counts the rows of a batch"


def _labels(subject: Subject, pred: Nested) -> Iterator[Finding]:
    if not isinstance(subject.loss, (nn.CrossEntropyLoss, nn.NLLLoss)) or not isinstance(pred, Tensor) or pred.ndim < 2:
        return
    target = subject.batch.target if subject.columns is None else subject.columns[1]
    if not isinstance(target, Tensor):
        return
    if target.is_floating_point():
        if target.ndim == subject.batch.target.ndim and subject.batch.target.shape == pred.shape:
            return  # class probabilities
        yield Finding(
            "LB004",
            "error",
            f"a target that is a {describe(target)} for {type(subject.loss).__name__}",
            f"class numbers from 0 to {pred.shape[1] - 1} as int64, or class probabilities of the prediction's shape",
            "y.long() if these are class numbers; an nn.MSELoss() if they are measurements",
        )
        return
    classes = pred.shape[1]
    low, high = (int(end) for end in target.aminmax())
    if low == subject.loss.ignore_index:  # a second look, without the rows that the loss leaves aside
        used = target[target != low]
        low, high = (int(end) for end in used.aminmax()) if used.numel() else (0, 0)
    if low < 0 or high >= classes:
        from_one = low == 1 and high == classes
        yield Finding(
            "LB005",
            "error",
            f"class labels from {low} to {high} for a module that gives {classes} scores",
            f"labels from 0 to {classes - 1}",
            "y - 1, since labels count from 0"
            if from_one
            else f"a last layer with {high + 1} outputs, or other labels",
        )


def _broadcast(subject: Subject, pred: Nested) -> Iterator[Finding]:
    target = subject.batch.target
    elementwise = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
    if not isinstance(subject.loss, elementwise) or not isinstance(pred, Tensor) or not isinstance(target, Tensor):
        return
    if pred.shape != target.shape:
        yield Finding(
            "LB006",
            "error",
            f"{type(subject.loss).__name__} of a prediction {tuple(pred.shape)} and a target {tuple(target.shape)}",
            "the same shape for both: torch stretches them against each other and trains on every pair of rows",
            "self.layers(x).squeeze(1) in forward(), or y.unsqueeze(1) for the target",
        )


def _softmax(subject: Subject, pred: Nested) -> Iterator[Finding]:
    if (
        not isinstance(subject.loss, nn.CrossEntropyLoss)
        or not isinstance(pred, Tensor)
        or pred.ndim < 2
        or pred.shape[1] < 2
    ):
        return
    values = pred.float()
    if bool((values >= 0).all()) and torch.allclose(values.sum(1), torch.ones(()).to(values), atol=1e-4):
        yield Finding(
            "LB007",
            "warning",
            "predictions that are probabilities already (each row adds up to 1), before CrossEntropyLoss",
            "raw scores (logits): CrossEntropyLoss applies the softmax itself, and two keep the loss from falling",
            "leave the softmax out of forward(), and apply it to predictions when you need probabilities",
        )


def _short_batch_norm(subject: Subject) -> Iterator[Finding]:
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if subject.fewest_rows == 1 and any(isinstance(part, norms) for part in subject.model.modules()):
        yield Finding(
            "LB008",
            "warning",
            "a batch of one row for a module with BatchNorm",
            "several rows in every batch, over which BatchNorm takes its mean and spread",
            "drop_last=True if only the last batch is that short, else a larger batch_size",
        )


def _loss(subject: Subject, pred: Nested) -> Iterator[Finding]:
    try:
        with torch.no_grad():
            assert subject.loss is not None
            value: Any = subject.loss(pred, subject.batch.target)
    except Exception as error:  # whatever the loss raises is the finding
        given = f"a {describe(pred)} as prediction and a {describe(subject.batch.target)} as target"
        yield Finding(
            "LB009",
            "error",
            f"{type(error).__name__} in the loss for {given}: {error}",
            "a loss that takes the module's prediction and the target",
            "the loss for this task, or other shapes and dtypes (y.float() for a regression, y.long() for classes)",
        )
        return
    if not isinstance(value, Tensor) or value.ndim:
        yield Finding(
            "LB010",
            "error",
            f"a loss that gives a {describe(value)}",
            "a scalar: one number for the batch",
            'reduction="mean", or .mean() at the end of the loss',
        )
