"""Everything a run needs, made ready: what `_build` composes and the loop executes."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lumbre.base import Batches, Engine, Meter
from lumbre.core._context import Context
from lumbre.core._events import Listeners


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that is ready to start.

    Attributes:
        model: the module, on its device.
        engine: executes a step.
        train: training batches.
        valid: validation batches, or None.
        train_meter: loss and metrics of the training pass.
        valid_meter: loss and metrics of the validation pass.
        epochs: (fewest, most) epochs.
        context: what callbacks see.
        listeners: who hears which event.
        seed_step: seeds the generators of the device for (stream name, epoch, batch).
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
