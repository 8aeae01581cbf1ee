"""Buffers that a module gives another shape while it trains: memories that grow, states that begin as None.

The layers of torch.nn keep the shapes of theirs, so that another shape there is a mistake.
"""

from collections.abc import Mapping

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
