"""A copy of the weights of a run on the CPU, taken and given back."""

import copy
import warnings
from typing import Any

from torch import Tensor, nn

from lumbre.base import give_buffers, load_state, shared_like, whole
from lumbre.core import Context

OF_LOSS = "lumbre:loss/"
"""Begins the names of what belongs to the loss, and not to the module."""


def weights_of(ctx: Context) -> dict[str, Any]:
    """A copy of the whole state of the module, and of a loss beside it, on the CPU, so that it takes none of the
    device's memory."""
    found = _copied(ctx.model)
    if (loss := ctx.loss_module()) is not None:
        found |= {OF_LOSS + name: value for name, value in _copied(loss).items()}
    return found


def give_back(ctx: Context, weights: dict[str, Any], epoch: int | None) -> None:
    """Give module and loss what `weights_of` took in an epoch; a part that is not in it keeps what it has."""
    of_loss = {name[len(OF_LOSS) :]: value for name, value in weights.items() if name.startswith(OF_LOSS)}
    _give(ctx.model, {name: value for name, value in weights.items() if not name.startswith(OF_LOSS)})
    if (loss := ctx.loss_module()) is not None and of_loss:
        _give(loss, of_loss)
    ctx.history.kept = epoch if epoch != ctx.epoch else None


def _copied(module: nn.Module) -> dict[str, Any]:
    return {
        name: whole(value).to("cpu", copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in module.state_dict().items()
    }


def _give(module: nn.Module, weights: dict[str, Any]) -> None:
    """Write a copy back into the module's own tensors, wherever they are."""
    give_buffers(module, {name: value for name, value in weights.items() if isinstance(value, Tensor)})
    state = module.state_dict()  # its own mapping also carries the versions of the layers' formats
    for name, value in weights.items():
        state[name] = shared_like(value, state[name]) if isinstance(value, Tensor) else value
    load_state(module, state)


def say_of_lost(name: str, epoch: int) -> None:
    """Warn that a callback, judging anew what came before, finds its best epoch in one whose weights are gone."""
    warnings.warn(
        f"{name} watches something else than when the run was stopped: its best epoch is {epoch}, of which no weights "
        "are kept. The run ends with those of a later epoch that is better, else with its last ones.",
        UserWarning,
        stacklevel=3,
    )
