"""A copy of a module's weights on the CPU, taken and given back."""

import copy
from typing import Any

from torch import Tensor, nn

from lumbre.base import load_state, shared_like, whole


def weights_of(model: nn.Module) -> dict[str, Any]:
    """A copy of the module's whole state, on the CPU, so that it takes none of the device's memory."""
    return {
        name: whole(value).to("cpu", copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in model.state_dict().items()
    }


def give_back(model: nn.Module, weights: dict[str, Any]) -> None:
    """Write a copy back into the module's own tensors, wherever they are."""
    state = model.state_dict()  # its own mapping also carries the versions of the layers' formats
    for name, value in weights.items():
        state[name] = shared_like(value, state[name]) if isinstance(value, Tensor) else value
    load_state(model, state)
