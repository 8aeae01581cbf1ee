"""Shared by the tests of this package: a context without a run, and values that are written by hand."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn, optim

import lumbre as lb
from lumbre.core import History


class Scripted(lb.Callback):
    """Writes chosen validation losses into the history, so that the next callbacks see them."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_valid_end(self, ctx: lb.Context) -> None:
        records = ctx.history.records
        records[:] = [record for record in records if record[:3] != ("valid", "loss", ctx.epoch)]
        ctx.log("loss", self.values[ctx.epoch - 1])


class NoRun:
    """What the callbacks of this package read from a `Context`, without the rest."""

    def __init__(self, monitored: tuple[str, ...], save: Callable[[Path], object]) -> None:
        self.model = nn.Linear(2, 1)
        self.optimizer = optim.SGD(self.model.parameters())
        self.device = torch.device("cpu")
        self.epochs = (0, 9)
        self.epoch = 0
        self.monitored = {name: False if name.endswith("loss") else None for name in monitored}
        self.save = save
        self.history = History()
        self.stop_reason: str | None = None

    def loss_module(self) -> None:
        """None stands beside the model."""

    def stop(self, reason: str) -> None:
        self.stop_reason = reason


def blank_context(monitored: tuple[str, ...], save: Callable[[Path], object] = lambda path: None) -> lb.Context:
    return NoRun(monitored, save)  # type: ignore[return-value]
