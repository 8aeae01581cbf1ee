"""A file that is there whole or not at all."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_beside(path: Path) -> Generator[Path]:
    """A temporary path in the same folder to write to; then it is synced to the disk and takes the name of `path`.

    A reader never sees half a file, and a write that fails leaves what was there.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    if not path.name:  # such as Path(".")
        raise IsADirectoryError(f"{path} is a folder")
    # Of the same ending, since some writers choose the format by it; hidden, since others list the folder.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # on a disk that has become read-only nothing is removed either
            temporary.unlink(missing_ok=True)
        raise
