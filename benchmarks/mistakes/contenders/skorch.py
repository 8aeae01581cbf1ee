"""`NeuralNetClassifier` before a cross-entropy, `NeuralNetRegressor` before losses of measurements, `NeuralNet` else,
with the input checks each has. Accumulation has no switch and is left out."""

from typing import Any

import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from skorch.helper import predefined_split
from torch import Tensor, nn

from benchmarks.mistakes.plain import Plain, Program, Rows, Unsupported, Wrapped, as_arrays, plain

_MEASURES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


class Criterion(nn.Module):
    def __init__(self, given: Plain) -> None:
        super().__init__()
        self.given = [given]

    def forward(self, pred: Any, target: Tensor) -> Tensor:
        return self.given[0].loss(pred, target)


def train(program: Program) -> None:
    given = plain(program)
    if given.accumulate > 1:
        raise Unsupported("accumulation")
    whole: Any = given.loss_module
    kind: Any = NeuralNet
    if isinstance(whole, nn.CrossEntropyLoss):
        kind = NeuralNetClassifier
    elif isinstance(whole, _MEASURES):
        kind = NeuralNetRegressor
    callbacks = []
    if given.scheduler is not None:
        made = given.scheduler
        policy = type("Policy", (), {"__new__": lambda cls, optimizer, **_: made(optimizer)})
        callbacks.append(("schedule", LRScheduler(policy=policy, step_every=given.step_on)))
    net = kind(
        Wrapped(given.model),
        criterion=whole if isinstance(whole, nn.Module) else Criterion(given),
        optimizer=lambda *_, **__: given.optimizer,
        max_epochs=given.epochs,
        batch_size=given.batch_size,
        iterator_train__shuffle=given.shuffle,
        iterator_train__drop_last=given.drop_last,
        train_split=None if given.valid is None else predefined_split(given.valid),
        callbacks=callbacks,
        verbose=0,
    )
    torch.manual_seed(0)
    if isinstance(given.train, Rows) and not isinstance(given.train.input, Tensor):
        net.fit(given.train, None)
    else:
        x, y = as_arrays(given.train)
        net.fit(x.numpy(), y.numpy())
