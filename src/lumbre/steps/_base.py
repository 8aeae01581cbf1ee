"""What all eager engines have in common: the watched loss, the validation step, the count of updates."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, optim

from lumbre.base import Batch, Losses, Nested, nothing_for_nothing, one_number, with_row
from lumbre.steps._body import Body
from lumbre.steps._guard import guard_for
from lumbre.steps._versions import unproved


class EagerEngine:
    """The base of the eager engines; each adds a `train_step` of its own.

    Args:
        body: the parts of the step.
        loss_function: gives the loss, or several by name, for prediction and target.
        optimizers: of the run.
        device: where the parameters are.
        scaled: a loss that is not finite may be followed by further updates before it is looked at.

    Attributes:
        updates: of the weights so far.
        skipped: batches so far whose update the loss scaler of float16 has skipped.
        reason: what runs, in words.
    """

    name = "eager"
    measured = False

    def __init__(
        self,
        body: Body,
        loss_function: Callable[[Nested, Nested], Losses] | None,
        optimizers: tuple[optim.Optimizer, ...],
        device: torch.device,
        *,
        scaled: bool,
    ) -> None:
        self.updates = self.skipped = 0
        self.reason = describe_engine(optimizers, device)
        self._body = body
        self._loss_function = loss_function
        self._guard = guard_for(optimizers, device, scaled=scaled)

    def _count(self, stepped: bool, batches: int = 1) -> None:
        """Count an update for so many batches, or that it was skipped."""
        self.updates += stepped
        self.skipped += 0 if stepped else batches

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """Forward and loss, without gradients."""
        assert self._loss_function is not None
        with torch.no_grad(), self._body.autocast():
            pred = with_row(self._body.call(batch.input), batch.target, batch.size)
            losses = self._loss_function(pred, batch.weighted_target)
            losses = losses if isinstance(losses, dict) else one_number(losses)
        if self._body.divisor is not None and isinstance(losses, Tensor):
            losses = nothing_for_nothing(losses, self._body.divisor(batch.weighted_target))
        return pred, losses

    def end_epoch(self) -> None:
        """Raise for a loss that the device kept to itself until now."""
        self._guard.poll()

    def state_dict(self) -> dict[str, Any]:
        """Updates so far, and the loss scale."""
        self._guard.poll()
        scaler = self._body.scaler
        if scaler is None:
            return {"updates": self.updates, "scaler": None}
        return {"updates": self.updates, "skipped": self.skipped, "scaler": scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.updates, self.skipped = state["updates"], state.get("skipped", 0)
        if self._body.scaler is not None and state["scaler"] is not None:
            self._body.scaler.load_state_dict(state["scaler"])


def describe_engine(optimizers: tuple[optim.Optimizer, ...], device: torch.device) -> str:
    """What runs, in words."""
    names = " and ".join(
        ("fused " if all(group.get("fused") for group in optimizer.param_groups) else "") + type(optimizer).__name__
        for optimizer in optimizers
    )
    why = unproved("bare updates")
    how = "" if why is None else f"; {why}"
    return f"eager: one torch operation after the other on {device}, {names}{how}"
