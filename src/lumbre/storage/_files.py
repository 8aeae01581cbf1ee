"""Writing a file so that it is there whole or not at all, and unfolding a compressed one, but not without end."""

import bz2
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lumbre.base import ArchiveError, written_beside

# Weights hardly shrink, and what R keeps beside them does by ten or so.
LARGEST_RATIO = 100
ALWAYS_ALLOWED_BYTES = 256 << 20
_LARGEST_DICTIONARY_BYTES = 256 << 20


def write_whole(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """Write to a temporary name, sync, then rename, so that `path` is never half a file.

    Args:
        path: the file.
        data: what it is to hold, or what writes that to the temporary path.

    Raises:
        ArchiveError: nothing can be written there.
    """
    try:
        with written_beside(path) as temporary:
            if isinstance(data, bytes):
                temporary.write_bytes(data)
            else:
                data(temporary)
    except OSError as error:
        raise ArchiveError(
            f"{path}, which cannot be written: {error}",
            "a path in a folder that is there and writable",
            "another path",
        ) from error


@contextmanager
def readable(path: Path, expected: str) -> Generator[BinaryIO]:
    """A file that is open for reading.

    Raises:
        ArchiveError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _unreadable(path, error, expected) from error
    with file:
        try:
            yield file
        except OSError as error:
            raise _unreadable(path, error, expected) from error


def _unreadable(path: Path, error: Exception, expected: str) -> ArchiveError:
    return ArchiveError(f"{path}, which cannot be read: {error}", expected, "check the path")


@contextmanager
def open_regular(path: Path) -> Generator[BinaryIO]:
    """A file, open, in a folder that others may write to, where a pipe or a device would never come to an end.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no ordinary file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError(f"{path.name} is no ordinary file")
        yield file


def unfolded(data: bytes) -> bytes:
    """What was compressed with gzip, bzip2 or xz; other bytes as they are.

    Raises:
        ValueError: they are damaged, or unfold into far more than they are; in words that continue "a file, which".
    """
    allowed = ALWAYS_ALLOWED_BYTES + LARGEST_RATIO * len(data)
    reader: Any
    if data[:2] == b"\x1f\x8b":
        reader = zlib.decompressobj(31)
    elif data[:3] == b"BZh":
        reader = bz2.BZ2Decompressor()
    elif data[:6] == b"\xfd7zXZ\0":
        reader = lzma.LZMADecompressor(memlimit=_LARGEST_DICTIONARY_BYTES)
    else:
        return data
    try:
        found = reader.decompress(data, allowed + 1)
    except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"cannot be unfolded: {error}") from error
    if len(found) > allowed:
        raise ValueError(f"unfolds into more than {allowed} bytes")
    if not reader.eof:
        raise ValueError("is cut short")
    return found
