"""The eager engine: one torch operation after the other."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, optim

from lumbre.base import Batch, Loss, Losses, Nested
from lumbre.steps._body import Body, clear, detached, parameters_of, restore_scaler, scaler_state
from lumbre.steps._guard import guard_for
from lumbre.steps._versions import unproved


class Eager:
    """Runs the training step as Python and torch run it.

    Args:
        body: the parts of the step.
        loss_function: gives a scalar for prediction and target.
        optimizers: by name; each takes a step of the same gradients.
        device: where the parameters are.
        accumulate: batches whose gradients make one update.
        batches: in an epoch, so that the last is known, where several processes share the run.
        summed: the loss adds rows up instead of averaging them.

    Attributes:
        updates: of the weights so far.
        held: batches whose gradients wait for their update.
        keep_gradients: clear gradients by zeros in place, for a graph that adds to them where they are.
    """

    name = "eager"
    measured = False

    def __init__(
        self,
        *,
        body: Body,
        loss_function: Loss,
        optimizers: Mapping[str, optim.Optimizer],
        device: torch.device,
        accumulate: int = 1,
        batches: int | None = None,
        summed: bool = False,
    ) -> None:
        self.updates = 0
        self._body = body
        self._loss_function = loss_function
        self._optimizers = tuple(optimizers.values())
        self.accumulate = accumulate
        self._batches = batches
        self.summed = summed
        self.held = 0
        self.keep_gradients = False
        self._held_rows = 0
        self._last: tuple[Nested, Tensor] | None = None
        self._guard = guard_for(self._optimizers, device, scaled=body.scaler is not None)
        self.reason = describe_engine(self._optimizers, device)
        if accumulate > 1:
            self.reason += f", an update every {accumulate} batches"

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Forward, loss, backward, update."""
        body = self._body
        self._guard.begin(batch, epoch, step)
        if self.accumulate > 1:
            pred, loss = self._accumulated(batch, last=step == self._batches)
        else:
            pred, loss = body.forward(batch, self._loss_function)
            self._guard.check(loss, pred)
            clear(self._optimizers)
            body.backward(pred, loss if body.processes == 1 else loss * self._share(batch))
            body.update(self._optimizers, pred, loss)
            body.end_step()
            self.updates += 1
        return detached(pred), loss.detach()

    def _share(self, batch: Batch) -> float:
        """What makes the mean of all processes' gradients that of the whole batch, however it was shared out."""
        rows = (batch.size > 0) if self.summed else batch.size / batch.whole
        return self._body.processes * rows

    def watch(self, batch: Batch, pred: Nested, loss: Tensor, epoch: int, step: int) -> None:
        """Take note of a step that another engine has done: look at its loss, and count it."""
        self._guard.begin(batch, epoch, step)
        self._guard.check(loss, pred)
        if self.accumulate > 1:
            self.count(batch, pred, loss)
        else:
            self.updates += 1

    def _accumulated(self, batch: Batch, *, last: bool) -> tuple[Nested, Tensor]:
        """Add a batch to the group that makes one update. Rows weigh alike, however they were cut into batches.

        Processes exchange their gradients with the last batch of a group, which may be the last of the epoch.
        """
        body = self._body
        if not self.held and not self.keep_gradients:
            clear(self._optimizers)
        with body.apart() if self.held + 1 < self.accumulate and not last else nullcontext():
            pred, loss = body.forward(batch, self._loss_function)
            self._guard.check(loss, pred)
            weight = float(batch.size > 0) if self.summed else float(batch.size)
            body.backward(pred, loss * (weight * body.processes))
        self.count(batch, pred, loss)
        return pred, loss

    def count(self, batch: Batch, pred: Nested, loss: Tensor) -> None:
        """Take in a batch whose gradients have been added to the group's, and update if it was the last of them."""
        self.held += 1
        self._held_rows += batch.whole or batch.size
        self._last = pred, loss
        if self.held == self.accumulate:
            self._release()

    def _release(self) -> None:
        assert self._last is not None
        self._body.update(self._optimizers, *self._last, divisor=1 if self.summed else self._held_rows)
        self._body.end_step()
        self.updates += 1
        self.held = self._held_rows = 0
        self._last = None
        if self.keep_gradients:
            for optimizer in self._optimizers:
                optimizer.zero_grad(set_to_none=False)

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """Forward and loss, without gradients."""
        with torch.no_grad(), self._body.autocast():
            pred = self._body.call(batch.input)
            return pred, self._loss_function(pred, batch.target)

    def end_epoch(self) -> None:
        """Update with a group that is not full, and raise for a loss that the device kept to itself until now."""
        if self.held:
            self._release()
        self._guard.poll()

    def state_dict(self) -> dict[str, Any]:
        """Updates so far, and the loss scale."""
        self._guard.poll()
        return {"updates": self.updates, "scaler": scaler_state(self._body)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.updates = state["updates"]
        restore_scaler(self._body, state["scaler"])


class EagerSeveral:
    """One forward, loss, backward and update for each optimizer in turn: adversaries, actor and critic.

    Each sees the weights as the one before has left them, and gradients reach its own parameters only.

    Args:
        body: the parts of the step.
        loss_functions: a loss for each optimizer, by the same names.
        optimizers: by name.
        device: where the parameters are.
    """

    name = "eager"
    measured = False

    def __init__(
        self,
        *,
        body: Body,
        loss_functions: Mapping[str, Loss],
        optimizers: Mapping[str, optim.Optimizer],
        device: torch.device,
    ) -> None:
        self.updates = 0
        self._body = body
        self._passes = [(name, loss_functions[name], optimizer) for name, optimizer in optimizers.items()]
        all_of_them = tuple(optimizers.values())
        self._guard = guard_for(all_of_them, device, scaled=True)
        self.reason = f"{describe_engine(all_of_them, device)}, one after the other"

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Forward, loss, backward and update, once for each optimizer."""
        body, losses = self._body, dict[str, Tensor]()
        self._guard.begin(batch, epoch, step)
        pred: Nested = None
        for name, loss_function, optimizer in self._passes:
            pred, loss = body.forward(batch, loss_function)
            self._guard.check(loss, pred)
            clear((optimizer,))
            body.backward(pred, loss, into=parameters_of(optimizer))
            body.update((optimizer,), pred, loss)
            losses[name] = loss.detach()
        body.end_step()
        self.updates += 1
        return detached(pred), losses

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """One forward pass, and each loss of it, without gradients."""
        with torch.no_grad(), self._body.autocast():
            pred = self._body.call(batch.input)
            return pred, {name: loss_function(pred, batch.target) for name, loss_function, _ in self._passes}

    def end_epoch(self) -> None:
        """Nothing is kept back."""
        self._guard.poll()

    def state_dict(self) -> dict[str, Any]:
        """Updates so far, and the loss scale."""
        self._guard.poll()
        return {"updates": self.updates, "scaler": scaler_state(self._body)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.updates = state["updates"]
        restore_scaler(self._body, state["scaler"])


def describe_engine(optimizers: tuple[optim.Optimizer, ...], device: torch.device) -> str:
    """What runs, in words."""
    names = " and ".join(
        ("fused " if all(group.get("fused") for group in optimizer.param_groups) else "") + type(optimizer).__name__
        for optimizer in optimizers
    )
    why = unproved("bare updates")
    how = "" if why is None else f"; {why}"
    return f"eager: one torch operation after the other on {device}, {names}{how}"
