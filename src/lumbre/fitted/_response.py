"""Predictions on the scale of the target, and the interval around each, where `conformal()` has made one."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lumbre.base import OWN, DataError, Nested, Scale, leaves, own_method
from lumbre.data import weighted_quantiles
from lumbre.run import Session

_MEDIAN = (nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


def response_scale(session: Session) -> Scale:
    """What the predictions are. A module's own predict() turns the scores that its loss takes into something else.

    Raises:
        DataError: the scale was said by a function that the file could not hold.
    """
    scale = session.scale
    if scale.name == OWN and scale.own is None:
        raise DataError(
            "a model that was loaded without the function that brings its predictions to the scale of the target",
            "a recipe with response=, as it was trained with",
            "lumbre.load(path, lumbre.setup(Net, ..., response=...))",
        )
    if own_method(session.model, "predict"):
        return Scale(scale.kind if scale.kind == "numbers" else None)
    return scale


def output_names(session: Session, count: int) -> list[Any]:
    """Names of so many outputs: those of the classes, or of a frame's target columns; else their numbers."""
    names = session.classes or _targets(session)
    return list(names) if len(names) == count else list(range(count))


def target_words(session: Session) -> str:
    """What is predicted, where it is a number."""
    targets = _targets(session)
    return f"predicted {targets[0]}" if len(targets) == 1 else "prediction"


def _targets(session: Session) -> list[str]:
    return [] if session.encoding is None else [one.name for one in session.encoding.targets]


def bounds(session: Session, output: Nested) -> tuple[Tensor, Tensor] | None:
    """The lower and the upper bound around the number predicted for each row, as the model was calibrated for.

    Args:
        session: the model.
        output: of a batch, as `predict()` gives it.

    Returns:
        Two tensors of the shape of the prediction; None where there are no intervals, or sets of classes.
    """
    found: Any = session.after.get("intervals")
    if found is None or found["kind"] == "classes":
        return None
    with torch.no_grad():
        pred = response_scale(session).applied(output)
    margin = torch.tensor(found["margins"], dtype=pred.dtype, device=pred.device)
    margin = margin.reshape(pred.shape[1:]) if pred.ndim > 1 else margin.reshape(())
    if found["kind"] == "absolute":
        low, high = pred - margin, pred + margin
    else:
        low, high = loss_interval(session, output, found["level"])
        low, high = low - margin, torch.maximum(high + margin, low - margin)
    least = found.get("least")  # no target lies below it
    return (low, high) if least is None else (low.clamp(min=least), high.clamp(min=least))


def loss_interval(session: Session, output: Nested, level: float) -> tuple[Tensor, Tensor]:
    """The interval that the distribution of a loss gives: tensors of the shape of the target."""
    loss: Any = session.loss
    if loss is None:
        raise DataError(
            "intervals that the loss makes, of a model that was loaded with its class alone",
            "a model with its recipe",
            "lumbre.load(path, lumbre.setup(Net, loss=..., optimizer=...))",
        )
    with torch.no_grad():
        return loss.interval(output, level)


def estimated(loss: Any) -> str | None:
    """What predicted numbers are of the target: its "mean" or "median"; None where they alone do not show what a model
    knows.
    """
    return "median" if isinstance(loss, _MEDIAN) else getattr(loss, "estimates", "mean")


def least_target(loss: Any) -> float | None:
    """The least value that targets of a loss have: 0 of counts. None where there is none, or it is not known."""
    return 0.0 if isinstance(loss, nn.PoissonNLLLoss) else getattr(loss, "least", None)


def best_constant(
    truth: "np.ndarray[Any, Any]", weights: "np.ndarray[Any, Any] | None", loss: Any
) -> "np.ndarray[Any, Any]":
    """The best constant prediction of each target in the eyes of the loss, median or mean; shape (targets,)."""
    if estimated(loss) != "median":
        return np.average(truth, axis=0, weights=weights)
    if weights is None:
        return np.median(truth, axis=0)
    return np.array([weighted_quantiles(column, weights, (0.5,))[0] for column in truth.T])


def refuse_gaps(**parts: Nested) -> None:
    """Refuse rows with NaN: figures over all rows would be NaN, or count these rows as the worst.

    Args:
        parts: what is looked at, by what it is called.

    Raises:
        DataError: there are some.
    """
    for name, part in parts.items():
        for leaf in leaves(part):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or leaf.ndim == 0:
                continue
            missing = leaf.isnan().flatten(1).any(1) if leaf.ndim > 1 else leaf.isnan()
            if bool(missing.any()):
                rows = missing.nonzero()[:, 0]
                raise DataError(
                    f"{name} of {len(rows):,} of {len(leaf):,} rows that are NaN, the first of them row {int(rows[0])}",
                    f"{name} that are numbers",
                    'the rows without gaps; of frames from_frame(..., missing="indicate") fills those of the features',
                )
