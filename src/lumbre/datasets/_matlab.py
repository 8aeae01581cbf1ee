"""The numeric matrices of a MATLAB 5 file, as far as a table of labels needs them: real, little-endian, no objects.

The format: MathWorks, "MAT-File Format", level 5. Elements are (type, size, data), padded to 8 bytes, small ones
packed into 8; a matrix is an element that holds four: flags, dimensions, name and numbers; any may be deflated.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_MATRIX, _DEFLATED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_LARGEST_BYTES = 64 << 20


def matrices(content: bytes) -> dict[str, "np.ndarray[Any, Any]"]:
    """Name -> values of each matrix, flattened column by column.

    Raises:
        ValueError: it is no such file, or is cut short.
    """
    if len(content) < 128 or content[126:128] != b"IM":
        raise ValueError("no little-endian MATLAB 5 file")
    found: dict[str, np.ndarray[Any, Any]] = {}
    try:
        for kind, data in _elements(content[128:]):
            if kind == _DEFLATED:
                data = zlib.decompressobj().decompress(data, _LARGEST_BYTES)
                ((kind, data), *_) = _elements(data)
            if kind == _MATRIX:
                _flags, _dimensions, (_, name), (numbers, values), *_ = _elements(data)
                found[name.decode("ascii")] = np.frombuffer(values, _NUMBERS[numbers])
    except (struct.error, zlib.error, KeyError) as error:
        raise ValueError(f"a MATLAB file that cannot be read: {error!r}") from error
    return found


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind >> 16:  # a small element: size and type share four bytes, the data has the other four
            yield kind & 0xFFFF, data[at + 4 : at + 4 + (kind >> 16)]
            at += 8
            continue
        value = data[at + 8 : at + 8 + size]
        if len(value) < size:
            raise ValueError("a MATLAB file that is cut short")
        yield kind, value
        at += 8 + size + (0 if kind == _DEFLATED else -size % 8)
