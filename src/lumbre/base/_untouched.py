"""A look at a module that leaves no trace."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

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
                if not _same(buffer, value):  # one that is expanded could not be written to
                    buffer.copy_(value)
                part._buffers[name] = buffer  # pyright: ignore[reportPrivateUsage]


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal; `torch.equal` knows neither sparse ones nor the newest types of numbers."""
    if one.layout != torch.strided:
        return one.shape == other.shape and all(map(_same, _parts(one), _parts(other)))
    try:
        return torch.equal(one, other)
    except (NotImplementedError, RuntimeError):
        return torch.equal(*(value.contiguous().reshape(-1).view(torch.uint8) for value in (one, other)))


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def tried(module: nn.Module) -> AbstractContextManager[None]:
    """Training mode that leaves no trace but gradients, which are the caller's to leave alone."""
    return untouched(module, next(module.parameters()).device, training=True)
