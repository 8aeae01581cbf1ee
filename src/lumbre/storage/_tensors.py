"""Tensors between memory and a file of safetensors: each byte is moved once, and a digest sees it on its way.

What is read goes straight into the memory of its tensor, so that a model of 2 GB takes 2 GB to load. The library of
safetensors writes; it reads from a map of the file, which others may change later, or from a copy of all of it.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

_PIECE = 1 << 18  # bytes that are read at a time: still in the processor's cache when they are hashed
_TYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "C64": torch.complex64},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz},
    **{"F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header of a file says of a tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def head_of(file: BinaryIO) -> tuple[bytes, int]:
    """The header with the eight bytes before it, or what stands there in other files; and the size of the file."""
    begin = file.read(8)
    size = os.fstat(file.fileno()).st_size
    return begin + file.read(min(int.from_bytes(begin, "little"), size)), size


def entries_of(head: bytes, size: int) -> tuple[list[Entry], dict[str, str]]:
    """The tensors of a file in the order in which they lie there, and its metadata.

    Args:
        head: what `head_of` gave.
        size: bytes of the whole file, which the tensors must fill without a gap.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: it is no header of such a file.
    """
    header = json.loads(head[8:])
    metadata = header.pop("__metadata__", {})
    place = 0
    entries: list[Entry] = []
    for name, told in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        entry = Entry(name, _TYPES[told["dtype"]], tuple(told["shape"]))
        begin, end = told["data_offsets"]
        if not all(type(length) is int and length >= 0 for length in entry.shape):
            raise ValueError(f"{name} has the shape {told['shape']}")
        if begin != place or end - begin != math.prod(entry.shape) * entry.dtype.itemsize:
            raise ValueError(f"{name} of shape {told['shape']} lies at {told['data_offsets']}")
        place = end
        entries.append(entry)
    if len(head) + place != size:
        raise ValueError(f"it has {size} bytes, and tensors up to byte {len(head) + place}")
    return entries, metadata


def read_tensors(file: BinaryIO, entries: Sequence[Entry], see: Callable[[memoryview], object]) -> dict[str, Tensor]:
    """The tensors that lie from here to the end of a file; `see` gets every byte up to there, also without entries.

    Raises:
        ValueError: the file ends before.
    """
    found: dict[str, Tensor] = {}
    for entry in entries:
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        if tensor.numel():
            content = tensor.reshape(-1).view(torch.uint8).numpy()
            _read_into(file, content.data, see)
            if sys.byteorder == "big":  # files have the lowest byte first
                single = 4 if entry.dtype.is_complex else entry.dtype.itemsize
                content.view(f"u{single}").byteswap(inplace=True)
        found[entry.name] = tensor
    while rest := file.read(_PIECE):
        see(memoryview(rest))
    return found


def _read_into(file: BinaryIO, content: memoryview, see: Callable[[memoryview], object]) -> None:
    place = 0
    while place < len(content):
        count = file.readinto(content[place : place + _PIECE])  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            raise ValueError("it ends before its last tensor does")
        see(content[place : place + count])
        place += count


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file of safetensors, with the mode of any new file here; the library makes one that nobody else may read.

    Raises:
        OSError: it cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.torch.save_file(dict(tensors), path, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)
