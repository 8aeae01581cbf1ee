"""The eager engine: one torch operation after the other."""

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, optim

from lumbre.base import Batch, Loss, Losses, NamedLosses, Nested, detached
from lumbre.steps._base import EagerEngine
from lumbre.steps._body import Body, clear, parameters_of


class Eager(EagerEngine):
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
        held: batches whose gradients wait for their update.
        keep_gradients: clear gradients by zeros in place, for a graph that adds to them where they are.
    """

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
        self._optimizers = tuple(optimizers.values())
        super().__init__(body, loss_function, self._optimizers, device, scaled=body.scaler is not None)
        self._loss = loss_function
        self.accumulate = accumulate
        self._batches = batches
        self.summed = summed
        self.held = 0
        self.keep_gradients = False
        self._held_weight: float | Tensor = 0.0
        self._last: tuple[Nested, Tensor] | None = None
        if accumulate > 1:
            self.reason += f", an update every {accumulate} batches"

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Forward, loss, backward, update."""
        body = self._body
        self._guard.begin(batch, epoch, step)
        if self.accumulate > 1:
            pred, loss = self._accumulated(batch, last=step == self._batches)
        else:
            clear(self._optimizers)  # before the forward pass, which may add gradients of its own
            pred, loss = body.forward(batch, self._loss)
            self._guard.check(loss, pred)
            body.backward(pred, loss if body.processes == 1 else loss * self._share(batch))
            body.update(self._optimizers, pred, loss)
            self._count(body.stepped(self._optimizers))
            body.end_step()
        return detached(pred), loss.detach()

    def _share(self, batch: Batch) -> float | Tensor:
        """What makes the mean of all processes' gradients that of the whole batch, however it was shared out."""
        weight = self._weight(batch)
        if isinstance(weight, Tensor):
            return weight * self._body.processes / _at_least_one(self._body.total(weight))
        return self._body.processes * (weight if self.summed else weight / batch.whole)

    def _weight(self, batch: Batch) -> float | Tensor:
        """What makes the loss of a batch, a mean, the sum over its rows again."""
        if self.summed:
            return float(batch.size > 0)
        divisor = self._body.divisor
        return float(batch.size) if divisor is None else divisor(batch.weighted_target) * (batch.size > 0)

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
        with body.unsynced() if self.held + 1 < self.accumulate and not last else nullcontext():
            pred, loss = body.forward(batch, self._loss)
            self._guard.check(loss, pred)
            body.backward(pred, loss * (self._weight(batch) * body.processes))
        self.count(batch, pred, loss)
        return pred, loss

    def count(self, batch: Batch, pred: Nested, loss: Tensor) -> None:
        """Take in a batch whose gradients have been added to the group's, and update if it was the last of them."""
        self.held += 1
        weight = self._weight(batch)
        self._held_weight = self._held_weight + (
            weight if isinstance(weight, Tensor) else float(batch.whole or batch.size)
        )
        self._last = pred, loss
        if self.held == self.accumulate:
            self._release()

    def _release(self) -> None:
        assert self._last is not None
        weight = self._held_weight
        if isinstance(weight, Tensor):
            weight = _at_least_one(self._body.total(weight))
        self._body.update(self._optimizers, *self._last, divisor=1 if self.summed else weight)
        self._count(self._body.stepped(self._optimizers), self.held)
        self._body.end_step()
        self.held, self._held_weight = 0, 0.0
        self._last = None
        if self.keep_gradients:
            for optimizer in self._optimizers:
                optimizer.zero_grad(set_to_none=False)

    def end_epoch(self) -> None:
        """Update with a group that is not full, and raise for a loss that the device kept to itself until now."""
        if self.held:
            self._release()
        super().end_epoch()


class EagerSeveral(EagerEngine):
    """One forward, loss, backward and update for each optimizer in turn: adversaries, actor and critic.

    Each sees the weights as the one before has left them, and gradients reach its own parameters only.

    Args:
        body: the parts of the step.
        loss_functions: a loss for each optimizer, by the same names.
        optimizers: by name.
        device: where the parameters are.
    """

    def __init__(
        self,
        *,
        body: Body,
        loss_functions: NamedLosses,
        optimizers: Mapping[str, optim.Optimizer],
        device: torch.device,
    ) -> None:
        super().__init__(body, loss_functions, tuple(optimizers.values()), device, scaled=True)
        self.reason += ", one after the other"
        self._passes = [(name, loss_functions.parts[name], optimizer) for name, optimizer in optimizers.items()]

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Forward, loss, backward and update, once for each optimizer."""
        body, losses, stepped = self._body, dict[str, Tensor](), False
        self._guard.begin(batch, epoch, step)
        pred: Nested = None
        for name, loss_function, optimizer in self._passes:
            clear((optimizer,))
            pred, loss = body.forward(batch, loss_function)
            self._guard.check(loss, pred)
            losses[name] = loss.detach()
            parameters = parameters_of(optimizer)
            if not parameters:  # all of them are held still
                continue
            body.backward(pred, loss, into=parameters)
            body.update((optimizer,), pred, loss)
            stepped |= body.stepped((optimizer,))
        self._count(stepped)
        body.end_step()
        return detached(pred), losses


def _at_least_one(weight: Tensor) -> Tensor:
    """A divisor that is not 0 where all labels were ignored: the gradients are 0 then."""
    return torch.where(weight > 0, weight, 1)
