"""A module's state brought back, whatever its buffers are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


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
