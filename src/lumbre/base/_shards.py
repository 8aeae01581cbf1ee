"""Tensors of which each process holds a part (torch's DTensor), beside those that are whole."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def _shared(tensor: Tensor) -> "DTensor | None":
    """`tensor`, where it is shared out. Without a group of processes there are none, and nothing is imported."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    from torch.distributed.tensor import DTensor

    return tensor if isinstance(tensor, DTensor) else None


def is_shared(tensor: Tensor) -> bool:
    """Whether each process holds but a part of `tensor`."""
    return _shared(tensor) is not None


def own_part(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process holds, in the same memory; all of it where it is whole."""
    shared = _shared(tensor)
    return tensor if shared is None else shared.to_local()


def whole(tensor: Tensor) -> Tensor:
    """All of `tensor`, detached. Where it is shared out, all processes must ask."""
    shared = _shared(tensor.detach())
    return tensor.detach() if shared is None else shared.full_tensor()


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole `tensor`, which every process has, shared out as `like` is: each keeps its part."""
    shared = _shared(like)
    if shared is None or is_shared(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    with torch.no_grad():
        return distribute_tensor(tensor.to(shared.device), shared.device_mesh, shared.placements, src_data_rank=None)
