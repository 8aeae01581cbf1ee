"""A look at a module that leaves no trace."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from lumbre.base._seeds import preserved_randomness


@contextmanager
def untouched(module: nn.Module, device: torch.device, *, training: bool = False) -> Generator[None]:
    """Evaluation mode, or training mode; afterwards modes, buffers and random generators are what they were."""
    modes = [(part, part.training) for part in module.modules()]
    buffers = [
        (part, name, buffer, buffer.clone())
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        with preserved_randomness(device):
            module.train(training)
            torch.backends.mha.set_fastpath_enabled(False)  # fused kernels call no parts
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, was_training in modes:
            part.training = was_training
        with torch.no_grad():
            for part, name, buffer, value in buffers:
                if not torch.equal(buffer, value):  # one that is expanded could not be written to
                    buffer.copy_(value)
                part._buffers[name] = buffer  # pyright: ignore[reportPrivateUsage]


def tried(module: nn.Module) -> AbstractContextManager[None]:
    """Training mode that leaves no trace but gradients, which are the caller's to leave alone."""
    device = next((value.device for value in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    return untouched(module, device, training=True)
