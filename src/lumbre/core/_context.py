"""What a callback sees of a run, and the two things it may ask for: log a value, stop."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Nested, RecipeError, one_of
from lumbre.core._history import History


class Context:
    """The state of a run as callbacks see it.

    Attributes:
        model: the module in training.
        optimizers: its optimizers by name; the only one is also `ctx.optimizer`.
        device: where it trains.
        epochs: (fewest, most) epochs of this run.
        batches_per_epoch: training batches in an epoch; None when only the end will tell.
        monitored: names under which `history.last()` will hold a number, such as "valid_loss", and whether more of it
            is better; None where that is not known.
        history: losses, metrics and seconds of the epochs so far.
        epoch: the epoch that runs, counted from 1; 0 before the first.
        step: optimizer steps taken so far, over all epochs; those that float16 skips do not count.
        phase: which pass runs: "train" or "valid".
        batch_index: batches finished in this pass over training or validation data.
        batch: the batch at work; None between batches.
        pred: the module's prediction for it, detached.
        loss: the loss of it, a detached scalar on the device: reading it waits for the device.
        stop_reason: why the run will end early; None while it goes on.
    """

    __slots__ = (
        "_logged",
        "_loss_module",
        "_loss_parameters",
        "_minimize",
        "_save",
        "_see_training_data",
        "_skipped",
        "batch",
        "batch_index",
        "batches_per_epoch",
        "device",
        "epoch",
        "epochs",
        "history",
        "loss",
        "model",
        "monitored",
        "optimizers",
        "phase",
        "pred",
        "step",
        "stop_reason",
    )

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizers: Mapping[str, optim.Optimizer],
        device: torch.device,
        epochs: tuple[int, int],
        batches_per_epoch: int | None,
        monitored: Mapping[str, bool | None],
        save: Callable[[Path], None],
        minimize: Callable[[Tensor, optim.Optimizer], None],
        see_training_data: Callable[[], None],
        loss_module: nn.Module | None = None,
        loss_parameters: Mapping[str, nn.Parameter] = MappingProxyType({}),
        skipped: Callable[[], int] = lambda: 0,
        logged: bool = False,
    ) -> None:
        self.model = model
        self.optimizers = optimizers
        self.device = device
        self.epochs = epochs
        self.batches_per_epoch = batches_per_epoch
        self.monitored = monitored
        self.history = History()
        self.epoch = 0
        self.step = 0
        self.phase = "train"
        self.batch_index = 0
        self.batch: Batch | None = None
        self.pred: Nested = None
        self.loss: Tensor | None = None
        self.stop_reason: str | None = None
        self._loss_module = loss_module
        self._loss_parameters = loss_parameters
        self._save = save
        self._minimize = minimize
        self._see_training_data = see_training_data
        self._skipped = skipped
        self._logged = logged

    @property
    def optimizer(self) -> optim.Optimizer:
        """The optimizer, where there is one.

        Raises:
            RecipeError: there are several.
        """
        if len(self.optimizers) != 1:
            raise RecipeError(
                f"ctx.optimizer of a run with {len(self.optimizers)} optimizers",
                f"one of them by its name: {', '.join(self.optimizers)}",
                f"ctx.optimizers[{next(iter(self.optimizers), '...')!r}]",
            )
        return next(iter(self.optimizers.values()))

    def chosen(self, name: str | None) -> dict[str, optim.Optimizer]:
        """The optimizer of that name, as a dict with its name; all of them for None.

        Raises:
            OptionError: there is none of that name.
        """
        if name is None:
            return dict(self.optimizers)
        one_of("optimizer", name, self.optimizers)
        return {name: self.optimizers[name]}

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of the run by name: the module's, and under "loss." those that the loss has beside it."""
        return {**dict(self.model.named_parameters()), **self._loss_parameters}

    def loss_module(self) -> nn.Module | None:
        """The loss, where it is a module beside the model; else None."""
        return self._loss_module

    def may_record(self, name: str) -> bool:
        """Whether the run records a value under `name`, or a callback or the module's own step may `log` it."""
        set_name, _, metric = name.partition("_")
        validated = any(known.startswith("valid_") for known in self.monitored)
        return name in self.monitored or (
            self._logged and bool(metric) and (set_name == "train" or (set_name == "valid" and validated))
        )

    def skipped_batches(self) -> int:
        """Batches so far whose update float16 has skipped, as their scaled gradients were too large; else 0."""
        return self._skipped()

    def minimize(self, loss: Tensor, optimizer: str | None = None) -> None:
        """One update inside a module's own `step(ctx)`: clear gradients, backward, clip, optimizer step.

        Gradients reach the parameters of this optimizer alone.

        Args:
            loss: a scalar with its graph.
            optimizer: which of several, by name.
        """
        self._minimize(loss, self.optimizer if optimizer is None else self.optimizers[optimizer])

    def see_training_data(self) -> None:
        """Call the module on every training batch once, without gradients: BatchNorm gathers its statistics anew."""
        self._see_training_data()

    def log(self, name: str, value: float) -> None:
        """Write `value` into the history of this epoch under `name`."""
        self.history.add(self.epoch, self.phase, {name: value})

    def stop(self, reason: str) -> None:
        """End the run after this epoch, but not before its fewest epochs are done. The first reason given is kept.

        The stop is that of this run: one that goes on from its checkpoints (`resume=`) is stopped by those who stop it.
        """
        if self.stop_reason is None:
            self.stop_reason = reason

    def save(self, path: str | Path) -> None:
        """Write the model as it is now, with its history so far, to an archive that `lumbre.load` reads."""
        self._save(Path(path))
