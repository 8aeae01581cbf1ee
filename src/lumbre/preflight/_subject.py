"""What the checks look at: facts of a run that is about to begin, and two passes of its first batch, made once."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Loss, Nested, leaves, map_leaves, untouched
from lumbre.devices import seeder
from lumbre.preflight._recorder import Call, LayerCall, Recorder, recorded_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a scheduler of torch would move the learning rate over the run.

    Attributes:
        name: its class.
        length: steps it is made for; None where it has no end.
        rates: of each of its steps.
        failure: what it says when it is stepped too often; "" where it never does.
    """

    name: str
    length: int | None
    rates: tuple[float, ...]
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Pass:
    """The first batch, taken through module and loss.

    Attributes:
        pred: what the module gave, with its graph.
        forward: calls of torch's functions in the module.
        layers: calls of layers with weights, in their order.
        loss: what the loss gave; None where it failed.
        losses: calls of torch's functions in the loss.
        failure: what module or loss raised.
        in_loss: whether it was the loss.
        gradients: of the parameters by name, None for those that got none.
    """

    pred: Nested = None
    forward: Sequence[Call] = ()
    layers: Sequence[LayerCall] = ()
    loss: Any = None
    losses: Sequence[Call] = ()
    failure: Exception | None = None
    in_loss: bool = False
    gradients: dict[str, Tensor | None] = field(default_factory=dict[str, "Tensor | None"])


@dataclass(kw_only=True)
class Subject:
    """What is looked at.

    Attributes:
        model: the module, on its device.
        call: the module, made ready for the form of its input.
        loss: the loss function; None for a module with a step of its own, of which nothing more can be asked.
        batch: the first training batch.
        device: where it is.
        columns: (input, target) of all training rows where they are in memory, else None.
        valid: the same of the validation rows.
        test: the same of the rows to test on.
        fewest_rows: rows of the smallest batch of an epoch, where that is known.
        shuffled: whether an order is drawn for each epoch; None where a loader decides.
        batch_size: rows in a batch.
        optimizers: the optimizers by name.
        metrics: what is measured.
        accumulated: batches for an update.
        schedules: of torch's schedulers.
        most_numbers: checks that compare every row leave larger data alone.
    """

    model: nn.Module
    call: Callable[[Nested], Nested]
    loss: Loss | None
    batch: Batch
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    columns: tuple[Nested, Nested] | None = None
    valid: tuple[Nested, Nested] | None = None
    test: tuple[Nested, Nested] | None = None
    fewest_rows: int | None = None
    shuffled: bool | None = True
    batch_size: int | None = None
    optimizers: dict[str, optim.Optimizer] = field(default_factory=dict[str, optim.Optimizer])
    metrics: Sequence[Any] = ()
    accumulated: int = 1
    schedules: Sequence[Schedule] = ()
    most_numbers: int = 50_000_000

    @property
    def target(self) -> Nested:
        """The targets of all rows where they are in memory, else those of the first batch."""
        return self.batch.target if self.columns is None else self.columns[1]

    @cached_property
    def evaluated(self) -> Pass:
        """The first batch in evaluation mode, with graph."""
        return self._pass(training=False)

    @cached_property
    def trained(self) -> Pass:
        """The first batch in training mode, with gradients."""
        return self._pass(training=True)

    @property
    def loss_calls(self) -> Sequence[Call]:
        """Calls of torch's functions in the loss."""
        return () if self.evaluated.failure and not self.evaluated.in_loss else self.evaluated.losses

    def predict(self, input: Nested) -> Nested:
        """What the module gives in evaluation mode; the same chance at each call."""
        with untouched(self.model, self.device), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seeder(0, self.device)("predict", 0, 0)
            return self.call(input)

    def _pass(self, *, training: bool) -> Pass:
        forward, losses = Recorder(), Recorder()
        layers: list[LayerCall] = []
        batch = self.batch
        # A module may work in place on what it is given; the first batch is still to be trained on.
        input = map_leaves(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, batch.input)
        with (
            untouched(self.model, self.device, training=training),
            torch.enable_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            try:
                with recorded_layers(self.model, layers), forward:
                    pred = self.call(input)
            except Exception as error:  # whatever the user's module raises is the finding
                return Pass(forward=forward.calls, layers=layers, failure=error)
            if self.loss is None:
                return Pass(pred, forward.calls, layers)
            try:
                with losses:
                    value: Any = self.loss(pred, batch.target)
            except Exception as error:
                return Pass(pred, forward.calls, layers, losses=losses.calls, failure=error, in_loss=True)
            gradients = self._gradients(value) if training else {}
            return Pass(pred, forward.calls, layers, value, losses.calls, gradients=gradients)

    def _gradients(self, loss: Any) -> dict[str, Tensor | None]:
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad or not named:
            return {}
        try:
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        except RuntimeError:  # a graph that cannot be gone back through says so in the first step, with its place
            return {}
        return dict(zip(named, found, strict=True))


def tensors(value: Nested) -> list[Tensor]:
    """The tensors among the leaves."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
