"""For which releases of torch its insides were proved; with others, what leans on them is not used.

All that steps use beyond torch's documented interface is named in the table, and asks here before it is used. Tests of
these parts were run on each release named, and the whole suite on 2.13; `make test-torch TORCH=...` runs it on another.
"""

import torch

_ALL = ("2.11", "2.12", "2.13", "2.14")
_PROVED = {
    "graphs of steps": _ALL,  # _compile.py, _numbers.py, _capture.py
    "bare updates": _ALL,  # _bare.py
    "bounds at once": ("2.13",),  # Clip in _body.py
    "our own products": ("2.13",),  # _small_products.py, on processors with AVX-512 of AMD alone
}


def unproved(part: str) -> str | None:
    """Why a part is not used with this torch, in words; None where it was proved with it.

    Args:
        part: one of the table.
    """
    version = str(torch.__version__)
    proved = _PROVED[part]
    if ".".join(version.split(".")[:2]) in proved:
        return None
    return f"{part} were proved with torch {', '.join(proved)}, and this is {version}"
