"""The eager engine: calls the body, one torch operation after the other."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, optim

from lumbre.base import Batch, Loss, Nested, map_leaves
from lumbre.steps._body import Inside, train_step
from lumbre.steps._guard import guard_for


class Eager:
    """Runs the training step as Python and torch run it.

    Args:
        call: the module, made ready for the form of its input.
        loss_function: gives a scalar for prediction and target.
        optimizer: over the module's parameters.
        device: where they are.
        autocast: makes the context of a forward pass.
        scaler: scales the loss under float16, else None.
        inside: told of inside events, or None.
    """

    name = "eager"

    def __init__(
        self,
        *,
        call: Callable[[Nested], Nested],
        loss_function: Loss,
        optimizer: optim.Optimizer,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
        scaler: torch.amp.GradScaler | None,
        inside: Inside | None,
    ) -> None:
        self._call = call
        self._loss_function = loss_function
        self._optimizer = optimizer
        self._autocast = autocast
        self._scaler = scaler
        self._inside = inside
        self._guard = guard_for(optimizer, device, scaled=scaler is not None)
        fused = "fused " if all(group.get("fused") for group in optimizer.param_groups) else ""
        self.reason = f"eager: one torch operation after the other on {device}, {fused}{type(optimizer).__name__}"

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Tensor]:
        """Forward, loss, backward, update."""
        self._guard.begin(batch, epoch, step)
        pred, loss = train_step(
            batch,
            call=self._call,
            loss_function=self._loss_function,
            optimizer=self._optimizer,
            autocast=self._autocast,
            scaler=self._scaler,
            check_loss=self._guard.check,
            inside=self._inside,
        )
        return detached(pred), loss.detach()

    def valid_step(self, batch: Batch) -> tuple[Nested, Tensor]:
        """Forward and loss, without gradients."""
        with torch.no_grad(), self._autocast():
            pred = self._call(batch.input)
            return pred, self._loss_function(pred, batch.target)

    def end_epoch(self) -> None:
        """Raise for a loss that was not finite, where the device kept it to itself until now."""
        self._guard.poll()


def detached(pred: Nested) -> Nested:
    """`pred` cut from its graph."""
    if isinstance(pred, Tensor):
        return pred.detach()
    return map_leaves(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, pred)
