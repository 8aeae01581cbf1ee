"""A look at a module that leaves no trace."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from lumbre.base._seeds import KeptChance
from lumbre.base._unchanged import kept_chance, unchanged


@contextmanager
def untouched(module: nn.Module, device: torch.device, *beside: Any, training: bool = False) -> Generator[None]:
    """Evaluation mode, or training mode; afterwards the module, what hangs on it, and the generators are as they were.

    Args:
        module: what is looked at.
        device: where it is.
        beside: the loss, and other objects that may change with it.
        training: the mode.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    chance = kept_chance(device) or KeptChance(device)
    try:
        with unchanged(module, *beside):
            module.train(training)
            torch.backends.mha.set_fastpath_enabled(False)  # fused kernels call no parts
            yield
    finally:
        chance.put_back()
        torch.backends.mha.set_fastpath_enabled(fast)


def tried(module: nn.Module, *beside: Any) -> AbstractContextManager[None]:
    """Training mode that leaves no trace, in what is `beside` the module neither."""
    device = next((value.device for value in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    return untouched(module, device, *beside, training=True)
