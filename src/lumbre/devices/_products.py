"""Products of float32 matrices by oneDNN instead of MKL on processors of AMD: up to 2.5 times as fast.

MKL, which torch asks, uses half the width of an AMD processor with AVX-512. torch asks oneDNN where it may round
factors to bfloat16, and oneDNN rounds them only on processors with an instruction set for matrices (AMX): on all others
it gives products in float32, over the full width. That they are so is tried before.

Measured on a Zen 5 processor, one and two cores, forward and backward: from 3 million multiplications a product on, 1.1
to 2.5 times as fast; under 2 million, slower.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lumbre.base import mkl_is_slow
from lumbre.devices._wanted import WhileWanted


def onednn_products(wanted: bool) -> AbstractContextManager[None]:
    """Have torch ask oneDNN, in the whole process, until the last of these contexts ends."""
    return _by_onednn() if wanted else nullcontext()


def onednn_gains(device: torch.device) -> bool:
    """Whether oneDNN is the faster one for large products here, and exact, and the user has said nothing else."""
    if device.type != "cpu" or torch.cuda.is_available():  # the permission would be CUDA's, too
        return False
    if not _by_onednn.on and _settings.fp32_precision != "none":
        return False
    return mkl_is_slow() and _is_exact()


def _ask_onednn() -> Callable[[], None]:
    # torch 2.13 refuses to compile where the newer setting alone is changed, backends.mkldnn.matmul.fp32_precision.
    torch.set_float32_matmul_precision("medium")

    def ask_mkl() -> None:
        torch.set_float32_matmul_precision("highest")
        _settings.fp32_precision = "none"
        torch.backends.cuda.matmul.fp32_precision = "none"

    return ask_mkl


_settings: Any = getattr(torch.backends.mkldnn, "matmul")  # noqa: B009  (not declared in torch's types)
_by_onednn = WhileWanted(_ask_onednn)


@cache
def _is_exact() -> bool:
    """Whether oneDNN's products are in float32: whole numbers come out whole that a narrower format would round."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape: int, most: int) -> Tensor:
        return torch.randint(-most, most + 1, shape, generator=generator).float()

    def exact(left: Tensor, right: Tensor) -> bool:
        return torch.equal(left @ right, (left.double() @ right.double()).float())

    with _by_onednn():
        wide, narrow = whole(64, 256, most=1 << 14), whole(256, 96, most=1)
        if not (exact(wide, narrow) and exact(narrow.t(), wide.t())):
            return False
        wide, narrow = whole(8, 64, 32, most=1 << 14), whole(8, 32, 64, most=1)
        return exact(wide, narrow) and exact(narrow, wide)
