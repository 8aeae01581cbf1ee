"""Buffers that do not simply take the numbers of a stored state.

A module may give a buffer another shape while it trains (memories that grow, states that begin as None); the layers of
torch.nn keep the shapes of theirs, so that another shape there is a mistake. And expanded or sparse buffers cannot be
written to.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def may_change(module: nn.Module, name: str) -> bool:
    """Whether `name` is a buffer that may have another shape or dtype than when the module was built, or be None."""
    place, _, leaf = name.rpartition(".")
    try:
        part = module.get_submodule(place)
    except (AttributeError, RuntimeError):  # scripted modules give no parts
        return False
    own = not type(part).__module__.startswith("torch.nn.") and not isinstance(part, torch.jit.ScriptModule)
    return own and leaf in part._buffers  # pyright: ignore[reportPrivateUsage]


def put_buffer(module: nn.Module, name: str, value: Tensor) -> None:
    """Make `value` the buffer of that name."""
    place, _, leaf = name.rpartition(".")
    module.get_submodule(place)._buffers[leaf] = value  # pyright: ignore[reportPrivateUsage]


def give_buffers(module: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Give buffers the shapes that stored ones have, so that these can be loaded."""
    known = dict(module.named_buffers())
    for name, value in stored.items():
        before = known.get(name)
        other = before is None or (not is_lazy(before) and before.shape != value.shape)
        if other and may_change(module, name):
            place = next((one.device for one in (*module.parameters(), *module.buffers())), value.device)
            put_buffer(module, name, torch.empty_like(value, device=place if before is None else before.device))


def load_state(module: nn.Module, state: Mapping[str, Any]) -> None:
    """`module.load_state_dict(state)`, for modules with buffers that cannot be written to as well."""
    put_buffers(module, state)
    module.load_state_dict(state)


def put_buffers(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Put new buffers in the place of those that cannot be written to: expanded ones, and sparse ones.

    A sparse tensor takes no more numbers than it has.
    """
    made: dict[int, Tensor] = {}
    held: list[Tensor] = []  # a number of an object is its own while it lives
    for prefix, part in module.named_modules():
        buffers = part._buffers  # pyright: ignore[reportPrivateUsage]
        for own, buffer in buffers.items():
            if buffer is None or is_lazy(buffer):
                continue
            value = state.get(f"{prefix}.{own}" if prefix else own)
            if isinstance(value, Tensor) and value.shape == buffer.shape and not _takes_numbers(buffer):
                held.append(buffer)
                made.setdefault(id(buffer), value.detach().to(buffer.device, buffer.dtype, copy=True))
            if id(buffer) in made:  # one that stands at two places stays one
                buffers[own] = made[id(buffer)]


def _takes_numbers(buffer: Tensor) -> bool:
    if buffer.layout != torch.strided:
        return False
    return not any(step == 0 and size > 1 for step, size in zip(buffer.stride(), buffer.shape, strict=True))
