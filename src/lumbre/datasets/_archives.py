"""Unpacking archives that come from elsewhere: nothing is written outside the folder, and not without end."""

import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from lumbre.base import DownloadError

# Photographs do not shrink and text does by four or so; what unfolds into far more is no data set.
_LARGEST_RATIO = 20
_ALWAYS_ALLOWED_BYTES = 64 << 20
_MOST_FILES = 2_000_000
# A name that is too long or cannot be, a place in the file that cannot be, and bzip2's word for damage.
_OF_THE_ARCHIVE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, None}


def extract(archive: Path, into: Path) -> None:
    """Unpack a zip or tar archive into the folder `into`, which is made.

    Raises:
        DownloadError: it is no whole archive, holds a link or a path that leads out of the folder, or unfolds into
            far more than its own size.
    """
    into.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open("rb") as file:
            magic = file.read(2)
        if magic == b"PK":
            _extract_zip(archive, into)
        else:
            with cast("IO[bytes]", gzip.open(archive)) if magic == b"\x1f\x8b" else archive.open("rb") as stream:
                _extract_tar(archive, stream, into)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        gzip.BadGzipFile,
        lzma.LZMAError,
        EOFError,
        FileNotFoundError,  # an inner archive that should be there
        FileExistsError,  # a file and a folder of one name: this and the next two
        NotADirectoryError,
        IsADirectoryError,
        NotImplementedError,
        RuntimeError,  # zipfile's for an encrypted member; lumbre's own are these too, and pass
        ValueError,  # names that are no text, or that no file can have; places before the beginning
        struct.error,
        IndexError,
        OverflowError,
        OSError,
    ) as error:
        if isinstance(error, DownloadError):
            raise
        if type(error) is OSError and error.errno not in _OF_THE_ARCHIVE:
            raise  # trouble with the disk, of which the caller knows more
        raise _refused(archive, f"which cannot be unpacked: {error}") from error


def _extract_zip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check_size(archive, len(members), sum(member.file_size for member in members))
        for member in members:
            if member.filename.startswith("__MACOSX/"):
                continue
            target = into / _inside(archive, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _refused(archive, f"with the link {member.filename!r}")
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                # zipfile gives no more bytes than the size it states, which was counted above.
                with file.open(member) as source:
                    _write(source, target)


def _extract_tar(archive: Path, stream: IO[bytes], into: Path) -> None:
    # Written here rather than by tarfile, which would also set owners, modes and times.
    total = 0
    counted: Any = _Counted(archive, stream)
    with tarfile.open(fileobj=counted, mode="r|", bufsize=1 << 20) as file:
        for count, member in enumerate(file, 1):
            total += member.size
            _check_size(archive, count, total)
            target = into / _inside(archive, member.name)
            source = file.extractfile(member) if member.isreg() and not member.issparse() else None
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif source is None:
                raise _refused(archive, f"with {member.name!r}, which is neither a file nor a folder")
            else:
                _write(source, target)


class _Counted:
    """What a compressed file unfolds into, up to what is allowed: tarfile reads a header of any length into memory."""

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self._archive = archive
        self._stream = stream
        self._bytes = 0

    def read(self, count: int) -> bytes:
        """At most `count` bytes more."""
        found = self._stream.read(count)
        self._bytes += len(found)
        _check_size(self._archive, 0, self._bytes)
        return found


def _write(source: IO[bytes], target: Path) -> None:
    import shutil

    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


def _inside(archive: Path, name: str) -> PurePosixPath:
    """The name of a member, if it stays in the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise _refused(archive, f"with the path {name!r}")
    return path


def _check_size(archive: Path, count: int, total_bytes: int) -> None:
    allowed = _ALWAYS_ALLOWED_BYTES + _LARGEST_RATIO * archive.stat().st_size
    if total_bytes > allowed or count > _MOST_FILES:
        raise _refused(archive, f"which unfolds into {total_bytes} bytes or more in {count} files (allowed: {allowed})")


def _refused(archive: Path, what: str) -> DownloadError:
    return DownloadError(
        f"{archive}, {what}",
        "a whole archive of plain files, all inside its own folder",
        f"delete {archive}, so that it is fetched again",
    )
