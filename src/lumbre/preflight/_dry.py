"""A module's own step, taken without its updates: which losses it computes, and how far their gradients reach.

It makes no step of an optimizer and writes nothing that is not put back. `Subject.taken` keeps what comes out.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, cloned, untouched
from lumbre.core import Context
from lumbre.devices import seeder
from lumbre.preflight._recorder import Call, Recorder


@dataclass(slots=True)
class Taken:
    """What a step did.

    Attributes:
        calls: of torch's functions, losses among them.
        asked: the parameters, by id, of the optimizers that were to make an update.
        reached: those of them that a loss gives a gradient.
        lost: the optimizers, by name, that were to make a loss smaller which has no gradient by anything they hold.
        failure: what was raised.
    """

    calls: list[Call] = field(default_factory=list[Call])
    asked: set[int] = field(default_factory=set[int])
    reached: set[int] = field(default_factory=set[int])
    lost: list[str] = field(default_factory=list[str])
    failure: Exception | None = None


class _Held:
    """Stands for an optimizer: notes that an update was asked for, and makes none."""

    def __init__(self, one: optim.Optimizer, note: Callable[["_Held"], None]) -> None:
        self.param_groups = [dict(group) for group in one.param_groups]
        self.defaults, self.state = dict(one.defaults), dict[Any, Any]()
        self._note = note

    @property
    def parameters(self) -> list[Tensor]:
        """All it holds that can be trained."""
        return [one for group in self.param_groups for one in group["params"] if one.requires_grad]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as an optimizer does."""
        for one in self.parameters:
            one.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the loss where it is asked for, and nothing more."""
        value = None if closure is None else closure()
        self._note(self)
        return value


def dry_step(model: nn.Module, optimizers: Mapping[str, optim.Optimizer], batch: Batch, device: torch.device) -> Taken:
    """Call `model.step(ctx)` for a batch, with optimizers that stay where they are.

    Args:
        model: a module with a step of its own.
        optimizers: of the run, by name.
        batch: of training rows.
        device: where they are.
    """
    taken = Taken()
    recorder = Recorder()

    def by_hand(held: _Held) -> None:
        taken.asked |= {id(one) for one in held.parameters}
        taken.reached |= {id(one) for one in held.parameters if one.grad is not None}

    def minimize(loss: Tensor, held: Any) -> None:
        wanted = held.parameters
        taken.asked |= {id(one) for one in wanted}
        if not loss.requires_grad or not wanted:
            return
        found = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
        reached = {id(one) for one, gradient in zip(wanted, found, strict=True) if gradient is not None}
        taken.reached |= reached
        if not reached:
            taken.lost += [name for name, one in stand_ins.items() if one is held]

    stand_ins = {name: _Held(one, by_hand) for name, one in optimizers.items()}
    ctx = Context(
        model=model,
        optimizers=cast("dict[str, optim.Optimizer]", stand_ins),
        device=device,
        epochs=(1, 1),
        batches_per_epoch=1,
        monitored={},
        save=lambda _: None,
        minimize=minimize,
        see_training_data=lambda: None,
        logged=True,
    )
    ctx.epoch = 1
    ctx.batch = Batch(cloned(batch.input), cloned(batch.target), batch.size)
    with untouched(model, device, training=True), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeder(0, device)("predict", 0, 0)
        try:
            with recorder:
                cast(Any, model).step(ctx)
        except Exception as error:  # a step that asks more of a run than can be shown here
            taken.failure = error
    taken.calls = recorder.calls
    return taken
