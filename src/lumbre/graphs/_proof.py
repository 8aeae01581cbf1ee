"""How far a graph may lie from the eager step: by rounding, and by nothing else."""

from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-2}
UPDATE_TOLERANCE = 1e-2  # Adam divides small gradients by their own size, and rounding with them
ROUNDINGS = 4  # times as far as a nudge of the weights moves gradients: a graph rounds in every operation anew
MOST_ROUNDING = 0.1  # by which gradients may lie apart where rounding has tipped maxima and ReLUs


def distance(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> float:
    """How far two lists of tensors lie apart as vectors, relative to the size of the second."""
    pairs = [(f, e) for f, e in zip(found, expected, strict=True) if f is not None and e is not None]
    distance = sum((f.double() - e.double()).square().sum().item() for f, e in pairs) ** 0.5
    size = sum(e.double().square().sum().item() for _, e in pairs) ** 0.5
    return distance / max(size, 1e-12)


def nudge(values: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Move each number by its last digit at most, up or down, and always alike; torch's generators are left alone.

    Args:
        values: floating-point numbers, changed in place.
        dtype: to which a forward pass rounds them; float32 where it takes them as they are.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in values:
            digit = torch.finfo(value.dtype if dtype == torch.float32 else dtype).eps
            chance = torch.rand(value.shape, generator=generator).to(value)
            value.mul_(1 + digit * (2 * chance - 1))
