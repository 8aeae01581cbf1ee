"""Random generators that modules, losses and optimizers hold as attributes: a resumed run draws on where it stopped."""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from lumbre.base import GENERATORS, attributes_of_module


def states_of(parts: Mapping[str, nn.Module | optim.Optimizer | None]) -> dict[str, Any]:
    """The states of the generators within modules and optimizers, by the name of the part and of the attribute."""
    return {name: _state(one) for name, one in _generators(parts)}


def restore_generators(parts: Mapping[str, nn.Module | optim.Optimizer | None], states: Mapping[str, Any]) -> None:
    """Bring the generators to kept states; those that are not among these stay as they are."""
    for name, one in _generators(parts):
        if name in states:
            _set_state(one, states[name])


def _generators(parts: Mapping[str, nn.Module | optim.Optimizer | None]) -> Iterator[tuple[str, Any]]:
    for top, whole in parts.items():
        named = whole.named_modules() if isinstance(whole, nn.Module) else [("", whole)]
        for where, one in named:
            held = attributes_of_module(one) if isinstance(one, nn.Module) else getattr(one, "__dict__", {})
            for key, value in held.items():
                if isinstance(value, GENERATORS):
                    yield ".".join(filter(None, (top, where, key))), value


def _state(one: Any) -> Tensor | str:
    if isinstance(one, torch.Generator):
        return one.get_state()
    if isinstance(one, random.Random):
        return json.dumps(one.getstate())
    state = one.bit_generator.state if isinstance(one, np.random.Generator) else one.get_state(legacy=False)
    return json.dumps(state, default=np.ndarray.tolist)


def _set_state(one: Any, state: Any) -> None:
    if isinstance(one, torch.Generator):
        one.set_state(state.cpu())
        return
    read = json.loads(state)
    if isinstance(one, random.Random):
        version, numbers, gauss = read
        one.setstate((version, tuple(numbers), gauss))
    elif isinstance(one, np.random.Generator):
        one.bit_generator.state = read
    else:
        one.set_state(read)
