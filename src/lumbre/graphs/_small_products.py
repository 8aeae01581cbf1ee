"""Products of small float32 matrices in a compiled step on processors of AMD: half the time of torch's.

torch asks MKL, which uses half the width of an AMD processor with AVX-512, or oneDNN, at the price of some ten
microseconds a product. `products.cpp` calls the kernels of oneDNN at once, by a function that torch has for code of its
compiler (`at::native::cpublas::brgemm`). Without that function in torch's headers, or with a torch for which this was
not proved (`_versions.py`), it leaves all as it is.

Measured on a Zen 5 processor beside MKL, with factors transposed or not: on one core 1.3 to 4 times as fast from a
thousand to sixteen million multiplications, but for a single column, or a few rows and a transposed factor. On two
cores, of which this uses one, up to four million.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from lumbre.base import mkl_is_slow
from lumbre.steps import unproved

_MOST_MULTIPLICATIONS = 16_000_000  # on one core


def small_products() -> dict[str, Any]:
    """Settings of torch's compiler by which a step has these products; none where they would gain nothing."""
    if not mkl_is_slow() or unproved("our own products") is not None:
        return {}
    most = _MOST_MULTIPLICATIONS // torch.get_num_threads() ** 2
    # What stands here for an operation is written before the step, after the word "extern".
    text = f'"C++" {{\n#define LUMBRE_MOST_MULTIPLICATIONS {most}\n{_source()}\n}}'
    return {"aot_inductor.custom_ops_to_c_shims": {"lumbre": [text]}}


def products_left_out() -> str | None:
    """Why a step has none of these products on a processor where it would gain by them, or None."""
    return unproved("our own products") if mkl_is_slow() else None


@cache
def _source() -> str:
    return Path(__file__).with_name("products.cpp").read_text(encoding="utf-8")
