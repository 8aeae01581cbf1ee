"""Steps of another form: an optimizer that evaluates the loss itself, and a module that does its own step."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Loss, Losses, Nested, RecipeError, describe, detached, steps_twice, total_loss
from lumbre.steps._base import EagerEngine
from lumbre.steps._body import Body, clear, make_dense, parameters_of


class EagerClosure(EagerEngine):
    """Steps of an optimizer that asks for the loss as often as it likes, such as `torch.optim.LBFGS`, or SAM.

    The loss of a step is that of its first evaluation, before the update. Dropout is drawn alike in all evaluations of
    a step, so that a line search compares like with like.

    Args:
        body: the parts of the step.
        loss_function: gives a scalar for prediction and target.
        optimizer: the optimizer.
        device: where the parameters are.
        seed_step: seeds the generators for (stream name, epoch, batch).
    """

    def __init__(
        self,
        *,
        body: Body,
        loss_function: Loss,
        optimizer: optim.Optimizer,
        device: torch.device,
        seed_step: Callable[[str, int, int], None],
    ) -> None:
        super().__init__(body, loss_function, (optimizer,), device, scaled=False)
        self.reason += ", which evaluates the loss itself"
        self._loss = loss_function
        self._optimizer = optimizer
        self._seed_step = seed_step

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """One step of the optimizer, with as many evaluations as it asks for."""
        self._guard.begin(batch, epoch, step)
        first: list[tuple[Nested, Tensor]] = []

        @torch.enable_grad()  # some optimizers call it within their own no_grad()
        def closure() -> Tensor:
            self._seed_step("step", epoch, step - 1)
            clear((self._optimizer,))
            pred, loss = self._body.forward(batch, self._loss)
            if not first:
                # A line search may try a point where the loss is infinite, and turns back by itself.
                self._guard.check(loss, pred)
                first.append((detached(pred), loss.detach()))
            self._body.backward(pred, loss)
            if self._body.sparse:
                make_dense(self._optimizer)
            if self._body.clip is not None:
                self._body.clip(parameters_of(self._optimizer))
            return loss

        if steps_twice(self._optimizer):
            closure()
        self._optimizer.step(cast(Any, closure))  # torch annotates it to return a float
        self.updates += 1
        return first[0]


class EagerCustom(EagerEngine):
    """The module's own `step(ctx)`; what the module leaves out is as always.

    Args:
        model: the module.
        step: calls its step, and gives what that returns.
        body: the parts of the ordinary step.
        loss_function: for validation; None where there is none.
        optimizers: of the run.
        device: where the parameters are.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        step: Callable[[], Any],
        body: Body,
        loss_function: Loss | None,
        optimizers: tuple[optim.Optimizer, ...],
        device: torch.device,
    ) -> None:
        super().__init__(body, loss_function, optimizers, device, scaled=True)
        self._name = type(model).__name__
        self.reason += f", by {self._name}.step"
        self._step = step
        self._asked: list[bool] = []  # of each update of this step, whether it was made

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Call the module's step."""
        self._guard.begin(batch, epoch, step)
        self._asked.clear()
        with self._body.autocast():
            given = self._step()
        pred, losses = self._checked(given)
        self._guard.check(total_loss(losses), pred)
        self._count(any(self._asked) or not self._asked)  # it may have updated by itself
        return detached(pred), detached(losses)

    def minimize(self, loss: Tensor, optimizer: optim.Optimizer) -> None:
        """Clear the gradients of the optimizer's parameters, bring `loss` back to these alone, and update them."""
        clear((optimizer,))
        parameters = parameters_of(optimizer)
        if not parameters:  # all of them are held still
            self._asked.append(False)
            return
        with torch.autocast(loss.device.type, enabled=False):
            self._body.backward(None, loss, into=parameters)
            self._body.update((optimizer,), None, loss)
            self._asked.append(self._body.stepped((optimizer,)))
            self._body.end_step()

    def _checked(self, given: Any) -> tuple[Nested, Losses]:
        pair: Any = given if isinstance(given, tuple) and len(given) == 2 else (None, given)  # pyright: ignore[reportUnknownArgumentType]
        pred, losses = pair
        parts: list[Any] = list(losses.values()) if isinstance(losses, dict) else [losses]
        if not parts or not all(isinstance(part, Tensor) and part.ndim == 0 for part in parts):
            raise RecipeError(
                f"{self._name}.step(ctx), which returned {describe(losses)}",
                "the loss: a scalar tensor, or a dict of named ones; or a pair (prediction, loss) for metrics",
                "return loss.detach() at its end",
            )
        return pred, losses

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """Forward and loss, without gradients."""
        if self._loss_function is None:
            raise RecipeError(
                f"validation data for {self._name}, which has a step of its own and no loss",
                "a loss to validate with",
                "setup(..., loss=...), or a method loss(self, pred, target); or no valid_data",
            )
        return super().valid_step(batch)
