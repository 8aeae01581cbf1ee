"""The seams between rooms: what the loop asks of data, engines and metrics.

Each is a small protocol with a real implementation in its room and a fake in the tests.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from lumbre.base._errors import RecipeError
from lumbre.base._nested import Nested, describe
from lumbre.base._target import Weighted

Rows: TypeAlias = Tensor | range
"""Row numbers of a batch: an int64 tensor of shape (size,), or a range where they are consecutive."""


@dataclass(slots=True)
class Batch:
    """Some rows of the data, on the device of the run.

    Attributes:
        input: what the module is called with; tensors of shape (size, ...).
        target: what the loss compares with, or None.
        size: number of rows.
        rows: which rows of the data these are; None for loaders and streams, which do not say.
        mixed: where rows were mixed with others (mixup, cutmix): the target of those others, and the share of
            `target` itself, from 0.5 to 1. The loss counts both targets by their shares.
        whole: rows of the batch in all the processes that share it; 0 stands for `size`, where there is but one. A
            process that has no rows of a batch computes on one that does not count: `size` is 0 then.
        weights: of the rows, shape (size,), where they have any.
    """

    input: Nested
    target: Nested
    size: int
    rows: Rows | None = None
    mixed: tuple[Nested, Tensor | float] | None = None
    whole: int = 0
    weights: Tensor | None = None

    @property
    def weighted_target(self) -> Nested:
        """The target, with the weights of its rows where they have any: what losses and divisors take."""
        return self.target if self.weights is None else Weighted(self.target, self.weights)


Losses: TypeAlias = Tensor | dict[str, Tensor]
"""The loss of a batch, a scalar; or several by name, whose sum is the loss."""


def as_scalar(loss: Any) -> Any:
    """A loss of one number without dimensions: `(1,)` and `(1, 1)` are as good for a backward pass."""
    return loss.reshape(()) if isinstance(loss, Tensor) and loss.ndim and loss.numel() == 1 else loss


def one_number(loss: Any) -> Tensor:
    """The loss of a batch as a scalar.

    Raises:
        RecipeError: it is something else, such as a value for each row, which no backward pass begins at.
    """
    loss = as_scalar(loss)
    if isinstance(loss, Tensor) and not loss.ndim and not loss.is_complex():
        return loss
    raise RecipeError(
        f"a loss that gives a {describe(loss)}",
        "a scalar: one number for the batch",
        "their sum; metrics show each by itself"
        if isinstance(loss, (dict, tuple, list))
        else 'reduction="mean", or .mean() at the end of the loss; values of rows go with fit(..., weights=w)',
    )


def total_loss(losses: Losses) -> Tensor:
    """The loss: itself, or the sum of the named ones."""
    return losses if isinstance(losses, Tensor) else torch.stack([loss.float() for loss in losses.values()]).sum()


class Source(Protocol):
    """Data whose rows can be asked for by number."""

    def __len__(self) -> int: ...

    def fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        """Input and target of `rows`; what is random in it is a function of (row, epoch)."""
        ...


class Batches(Protocol):
    """Data as batches, epoch by epoch."""

    @property
    def length(self) -> int | None:
        """Batches in an epoch, or None when only the end will tell."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (1-based) from batch `start` on, always the same ones for the same epoch."""
        ...


class Engine(Protocol):
    """How one training step is executed."""

    @property
    def name(self) -> str:
        """`"eager"`, ..."""
        ...

    @property
    def reason(self) -> str:
        """A sentence: what runs, and why."""
        ...

    @property
    def updates(self) -> int:
        """Updates of the weights so far: fewer than batches where gradients are accumulated, or float16 skips some."""
        ...

    @property
    def skipped(self) -> int:
        """Batches so far whose update the loss scaler of float16 has skipped."""
        ...

    @property
    def measured(self) -> bool:
        """Whether the last training step has added its batch to the run's meter."""
        ...

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Forward, loss, backward and update; gives the detached prediction and loss, still on the device."""
        ...

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """Forward and loss, without gradients."""
        ...

    def end_epoch(self) -> None:
        """Finish an update that waits for more batches, and read what the device has reported since."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the engine must remember to go on after a stop, asked for when no update is under way.

        Waits for the device, and raises for a loss that was not finite.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        ...


class Keeper(Protocol):
    """Keeps the state of a run between steps, so that the run can go on from there in another process."""

    @property
    def start(self) -> tuple[int, int]:
        """The epoch to begin with, and how many of its batches are done: (1, 0) for a run that starts afresh."""
        ...

    def restore(self) -> None:
        """Bring the kept state back, if there is one."""
        ...

    def batch_done(self, now: float) -> float:
        """A batch and its events were over `now`; gives the time when the loop may go on."""
        ...

    def epoch_done(self, now: float) -> None:
        """An epoch and its events were over `now`."""
        ...


class Meter(Protocol):
    """The running loss and metrics of one pass over the data, kept on the device."""

    def reset(self) -> None: ...

    def update(self, batch: Batch, pred: Nested, losses: Losses, *, added: bool = False) -> None:
        """Add a batch, if the step has not added it already by what `adder` gave."""
        ...

    def adder(self, rows: int) -> Callable[[Nested, Nested, Tensor], None] | None:
        """For a graph: adds prediction, target and loss of a batch of `rows` to `tensors`, which stay where they are.

        None where that cannot be.
        """
        ...

    def tensors(self) -> list[Tensor]:
        """What is gathered in sums."""
        ...

    def release(self) -> None:
        """No graph adds to `tensors` any more: they need not stay where they are."""
        ...

    def compute(self) -> dict[str, object]:
        """Values by name, the loss first. Waits for the device."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What was gathered since `reset`."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        ...

    def merged(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """What `state_dict` gave in several processes, as one state."""
        ...


class Loss(Protocol):
    """A function of prediction and target that gives a scalar: an `nn` loss, or any callable."""

    def __call__(self, pred: Nested, target: Nested, /) -> Tensor: ...


class NamedLosses:
    """The methods `loss_<name>` of a module, one for each of its optimizers.

    Attributes:
        parts: the methods by the optimizer's name.
    """

    def __init__(self, parts: Mapping[str, Loss]) -> None:
        self.parts = dict(parts)

    def __call__(self, pred: Nested, target: Nested, /) -> dict[str, Tensor]:
        """Each loss by its name."""
        return {name: one_number(loss(pred, target)) for name, loss in self.parts.items()}
