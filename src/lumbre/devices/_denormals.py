"""Denormal numbers as 0: those under 1.2e-38 in float32, 2.2e-308 in float64.

The momentum of a unit that is no longer used shrinks by a tenth in each step, and is denormal after some 800 of them;
logits that are far apart have such gradients. Processors of Intel and AMD compute with denormal numbers many times
slower than with others, or with 0.

A processor has the switch for each thread, so one that trains says nothing to the others of the process.
"""

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from lumbre.base import flushes_denormals

_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def can_flush() -> bool:
    """Whether this processor can take denormal numbers for 0."""
    return torch.set_flush_denormal(flushes_denormals())


@contextmanager
def flushed_denormals(wanted: bool) -> Generator[None]:
    """Denormal numbers are 0, or not, in this thread and those that compute for it; in the end as before.

    Threads that are made in the meantime begin like the one that makes them.
    """
    before = flushes_denormals()
    if wanted != before:
        _set_in_each(wanted)
    try:
        yield
    finally:
        if flushes_denormals() != before:
            _set_in_each(before)


def _set_in_each(wanted: bool) -> None:
    """Set this thread, and those that torch, MKL and oneDNN share for its operations: they belong to OpenMP.

    The OpenMP libraries of GCC and LLVM have the entry by which compiled code runs a function in each of them.
    """
    threads = torch.get_num_threads()
    library: Any = ctypes.CDLL(None) if sys.platform != "win32" else None
    if threads > 1 and hasattr(library, "GOMP_parallel"):
        task = _Task(lambda _: torch.set_flush_denormal(wanted) and None)
        library.GOMP_parallel(task, None, ctypes.c_uint(threads), ctypes.c_uint(0))
    torch.set_flush_denormal(wanted)
