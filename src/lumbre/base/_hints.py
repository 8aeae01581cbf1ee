"""What to write where the target is inside the input, or the loss or the scores inside the output."""

from typing import Any

from lumbre.base._nested import Nested

_NAMES = ("labels", "label", "targets", "target", "y")
_SCORES = ("logits", "scores", "out", "pred", "prediction")


def loss_hint(input: Nested, pred: Any, target: Nested) -> str:
    """Lines that bring input and target, or output and loss, into the form that a loss takes; "" where none is known.

    Args:
        input: of a batch.
        pred: what the module gives for it; None where it was not asked.
        target: of the batch.
    """
    part = next((name for name in _SCORES if isinstance(pred, dict) and name in pred), "")
    held = isinstance(pred, dict) and pred.get("loss") is not None
    name = next((name for name in _NAMES if isinstance(input, dict) and name in input), "") if target is None else ""
    if not part and not held and not name:
        return ""
    found: list[str] = []
    if name:
        found.append(f"lumbre.data.from_dicts(data, target={name!r}), so that loss and metrics see the target")
    if held:
        found.append('loss=lambda pred, target: pred["loss"], which the module has computed')
    elif name and pred is None:
        found.append('loss=lambda pred, target: pred["loss"] for a module that takes labels and computes its loss')
    if part and not held:
        found.append(f"a module around it that returns its scores: forward(...): return self.net(...)[{part!r}]")
    return "; or ".join(found)
