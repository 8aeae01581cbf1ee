"""What the processor is good at, and how it is set."""

import sys
from functools import cache
from typing import Any

import torch


@cache
def mkl_is_slow() -> bool:
    """Whether MKL uses half the width of this processor, and oneDNN all of it, in float32: AMD's with AVX-512."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)  # older torch does not tell
    has = capabilities()
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and str(has.get("cpu_name", "")).startswith("AMD")
        and bool(has.get("avx512_bf16"))  # without it torch does not ask oneDNN
        and not has.get("amx_tile", True)  # with it oneDNN would round to bfloat16
    )


def flushes_denormals() -> bool:
    """Whether this thread takes numbers that are denormal for 0 now."""
    return sys.float_info.min * 0.5 == 0.0
