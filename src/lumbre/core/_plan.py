"""Everything a run needs, made ready: what `run/_plan.py` puts together and the loop executes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from torch import nn

from lumbre.base import Batches, Engine, Keeper, Meter
from lumbre.core._context import Context
from lumbre.core._events import Listeners


class NothingKept:
    """The keeper of a run of which nothing is kept."""

    start = (1, 0)

    def restore(self) -> None:
        """There is nothing to bring back."""

    def batch_done(self, now: float) -> float:
        """Nothing is kept."""
        return now

    def epoch_done(self, now: float) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that is ready to start.

    Attributes:
        model: the module, on its device.
        engine: executes a step.
        train: training batches.
        valid: validation batches, or None.
        valid_name: the name of these batches, where there are several sets to validate on; else None.
        also: the other sets by name, each with its meter.
        train_meter: loss and metrics of the training pass.
        valid_meter: loss and metrics of the validation pass.
        epochs: (fewest, most) epochs.
        context: what callbacks see.
        listeners: who hears which event.
        seed_step: seeds the generators of the device for (stream name, epoch, batch).
        switch: brings module, loss and optimizers to training mode, or to evaluation mode.
        max_steps: the updates after which the run ends, within an epoch where need be.
        valid_every: how many epochs there are from one validation to the next.
        keeper: keeps the run's state between steps, and says where to begin.
    """

    model: nn.Module
    engine: Engine
    train: Batches
    valid: Batches | None
    train_meter: Meter
    valid_meter: Meter
    epochs: tuple[int, int]
    context: Context
    listeners: Listeners
    seed_step: Callable[[str, int, int], None]
    switch: Callable[[bool], None]
    valid_name: str | None = None
    also: Mapping[str, tuple[Batches, Meter]] = field(default_factory=dict[str, tuple[Batches, Meter]])
    max_steps: float = inf
    valid_every: int = 1
    keeper: Keeper = field(default_factory=NothingKept)
