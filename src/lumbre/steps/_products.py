"""How large the products of matrices in a forward pass are."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lumbre.base import tried


def mean_product(model: nn.Module, forward: Callable[[], object]) -> float:
    """Multiplications in a product of float32 matrices, on average over those of a forward pass; 0 without any.

    A pass that fails has none here: the first step will say why.

    Args:
        model: the module.
        forward: runs it on a batch.
    """
    with warnings.catch_warnings(action="ignore"), _Products() as products, torch.no_grad(), tried(model, forward):
        try:
            forward()
        except Exception:  # whatever a module raises
            return 0.0
    return sum(products.sizes) / max(len(products.sizes), 1)


class _Products(TorchDispatchMode):
    """Notes the multiplications of each product of float32 matrices."""

    _OPERATIONS = (
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.baddbmm.default,
    )

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in self._OPERATIONS and result.dtype == torch.float32:
            self.sizes.append(result.numel() * args[-1].shape[-2])
        return result
