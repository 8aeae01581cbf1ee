"""Where data sets live on disk, and how they get there: mirrors in turn, restart, verification, one process at a time.

What is inside a file is not looked at here, except to know that it is the right one.
"""

import errno
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lumbre.base import DownloadError, import_extra
from lumbre.datasets._archives import extract
from lumbre.datasets._table import TABLE, RemoteFile

# What is lost of a body that breaks off is less than one of these.
_CHUNK_BYTES = 1 << 18
# Images of digits shrink by five or so; what unfolds into far more is none.
_LARGEST_RATIO = 100
_ALWAYS_ALLOWED_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
# A body that breaks off is taken up again where it broke, as long as each try brings something.
_TRIES_PER_MIRROR = 5
# Trouble with the disk: no other mirror would help.
_LOCAL = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
}


def folder(name: str, root: str | Path | None) -> Path:
    """The folder of the data set `name`: under `root`, else under $LUMBRE_DATA, else in the user's cache.

    Every data set has a folder of its own, so that files of the same name cannot be taken for each other.
    """
    base = root or os.environ.get("LUMBRE_DATA") or _user_cache()
    return Path(base).expanduser() / name


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(home) / "lumbre"


def fetched(name: str, wanted: Sequence[str], *, root: str | Path | None, download: bool) -> list[Path]:
    """The paths of the files `wanted` of the data set `name`, after fetching those that are not there yet.

    A file that was there already is not verified here: `verify` and `content` do it when it is read.

    Raises:
        DownloadError: one is not there and must not, or cannot, be fetched.
    """
    where = folder(name, root)
    absent = [TABLE[name].file(each) for each in wanted if not (where / each).exists()]
    if absent and not download:
        raise _missing(where, absent, "download=False was asked for", wanted)
    for file in absent:
        with one_at_a_time(where):
            if not (where / file.name).exists():
                _fetch(where, file, wanted)
    return [where / each for each in wanted]


def unpacked(name: str, archive: str, *, beside: Sequence[str] = (), root: str | Path | None, download: bool) -> Path:
    """The folder with what the archive holds, fetched, verified and unpacked on the first call.

    The archive itself is needed no longer then, and may be deleted. The files `beside` it, which the set needs too,
    are fetched with it, so that one error names all that is not there.

    Raises:
        DownloadError: the archive cannot be had, is not the right one, or cannot be unpacked.
    """
    where = folder(name, root)
    target, *others = (where / each.partition(".")[0] for each in (archive, *beside))
    if target.is_dir():
        return target
    needed = [archive, *(each for each, other in zip(beside, others, strict=True) if not other.is_dir())]
    path = fetched(name, needed, root=root, download=download)[0]
    file = TABLE[name].file(archive)

    def make(fresh: Path) -> None:
        verify(path, file)
        extract(path, fresh)
        for inner in file.inner:
            extract(fresh / inner, (fresh / inner).parent)
            (fresh / inner).unlink()

    return made_once(target, make)


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, after calling `make` to write it, if it is not there yet.

    `make` gets another path and writes a file or a folder there; it is renamed when whole, so a killed process
    leaves no half of it under the right name.

    Raises:
        DownloadError: the folder cannot be written.
    """
    if target.exists():
        return target
    with one_at_a_time(target.parent):
        if not target.exists():
            fresh = target.with_name(f".{target.name}.unfinished{target.suffix}")
            _remove(fresh)
            try:
                make(fresh)
                fresh.rename(target)
            finally:
                _remove(fresh)
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(where: Path) -> Generator[None]:
    """Hold the folder `where` against other processes (those of a torchrun, say), which wait.

    Raises:
        DownloadError: it cannot be written, or its disk is full.
    """
    from filelock import FileLock

    try:
        where.mkdir(parents=True, exist_ok=True)
        with FileLock(where / ".lock"):
            yield
    except OSError as error:
        # The network's errors are OSErrors too, but have been caught before they come here.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DownloadError(
            f"{where}, {'whose disk is full' if full else 'which cannot be written'}: {error}",
            "a folder with room for the data" if full else "a folder for the data",
            f"{'free some space and call again; or pass ' if full else ''}root=..., or set LUMBRE_DATA",
        ) from error


def _fetch(where: Path, file: RemoteFile, wanted: Sequence[str]) -> None:
    import_extra("pooch", "data", "download data sets")
    problems: list[str] = []
    for url in file.urls:
        try:
            _fetch_from(url, where, file)
        except Exception as error:  # each kind of network trouble has a class of its own in requests and urllib3
            if _is_local(error):
                raise
            problems.append(f"{url}: {type(error).__name__}: {getattr(error, 'received', error)}"[:300])
        else:
            return
    raise _missing(where, [file], "; ".join(problems), wanted)


def _is_local(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _LOCAL


def _fetch_from(url: str, where: Path, file: RemoteFile) -> None:
    """Fetch `url` into a file of its own, verify it, and only then give it its name."""
    # One for each mirror, for what one serves may not go on where another's breaks off.
    part = where / f".part-{hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()[:8]}-{file.name}"
    leftover = part.exists()
    for left in reversed(range(_TRIES_PER_MIRROR)):
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, file.name)
            break
        except Exception as error:
            if _is_local(error):
                raise
            status = getattr(getattr(error, "response", None), "status_code", None)
            reached = part.stat().st_size if part.exists() else 0
            if not reached or status == 416:  # 416: what is there is no beginning of what is served
                part.unlink(missing_ok=True)
            if not left or (reached <= before and status != 416):
                raise
    try:
        (content if file.content_sha256 else verify)(part, file)
    except DownloadError:
        part.unlink()
        if not leftover:
            raise
        # The beginning, of an earlier call, may be of another file than the rest: once more, from the start.
        _fetch_from(url, where, file)
    else:
        part.replace(where / file.name)


def _continue(url: str, part: Path, name: str) -> None:
    """Append to `part` what it lacks of `url`, or start again where the server does not serve parts."""
    pooch: Any = import_extra("pooch", "data", "download data sets")
    with part.open("ab") as out:
        start = out.tell()

        answers: list[Any] = []

        def begin(response: Any, *_: Any, **__: Any) -> None:
            answers.append(response)
            if start and response.status_code == 200:
                out.truncate(0)

        # Compressed transfer would make lengths and ranges those of something else.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with _progress(name) as bar:
            fetch = pooch.HTTPDownloader(
                progressbar=bar, chunk_size=_CHUNK_BYTES, headers=headers, hooks={"response": begin}
            )
            try:
                fetch(url, out, None)
            finally:
                for answer in answers:  # pooch leaves the connection open when a body breaks off
                    answer.close()
        os.fsync(out.fileno())


class _Bar:
    """What pooch asks of a progress bar, drawn by rich."""

    def __init__(self, progress: Any, task: Any) -> None:
        self.total = 0
        self._progress = progress
        self._task = task

    def update(self, count: int) -> None:
        """`count` bytes more."""
        self._progress.update(self._task, total=self.total or None, advance=count)

    def reset(self) -> None:
        """Back to the start."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """Nothing more comes; rich is stopped by its context."""


@contextmanager
def _progress(name: str) -> Generator[Any]:
    """A progress bar on stderr, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield False
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, progress.add_task(name, total=None))


def _missing(where: Path, absent: Sequence[RemoteFile], why: str, wanted: Sequence[str]) -> DownloadError:
    return DownloadError(
        f"no file {absent[0].name} in {where} ({why})",
        f"{', '.join(wanted)} in that folder, or a connection to fetch it from {absent[0].urls[0]}",
        f"put the files there; or pass root=..., or set LUMBRE_DATA, to the folder that holds {where.name}/",
    )


def verify(path: Path, file: RemoteFile) -> Path:
    """`path`, if it has the MD5 of `file` (or there is none to compare with).

    Raises:
        DownloadError: it has not.
    """
    if file.md5 is not None:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != file.md5:
            raise damaged(path, f"whose MD5 is {found}", file.md5)
    return path


def content(path: Path, file: RemoteFile) -> bytes:
    """The content of a file, unwrapped from gzip or xz, after verification.

    Raises:
        DownloadError: it is damaged or not the right one.
    """
    import lzma

    verify(path, file)
    opened: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    allowed = _ALWAYS_ALLOWED_BYTES + _LARGEST_RATIO * path.stat().st_size
    held = bytearray()
    try:
        with opened(path, "rb") as stream:
            # Piece by piece, for a single read would set aside all that is allowed.
            while len(held) <= allowed and (piece := stream.read(_PIECE_BYTES)):
                held += piece
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged(path, f"which is damaged: {error}", "a whole file") from error
    if len(held) > allowed:
        raise damaged(path, "which unfolds without end", f"at most {allowed} bytes")
    found = bytes(held)
    if file.content_sha256 is not None:
        digest = hashlib.sha256(found).hexdigest()
        if digest != file.content_sha256:
            raise damaged(path, f"whose content has the SHA-256 {digest[:16]}...", f"{file.content_sha256[:16]}...")
    return found


def damaged(path: Path, what: str, expected: str) -> DownloadError:
    """The error for a file or folder that is there, but is not what it should be."""
    return DownloadError(f"{path}, {what}", expected, f"delete {path}, so that it is fetched again")


def check_rows(name: str, part: str, found: int, path: Path) -> None:
    """See that `part` of the data set `name` has as many rows (or classes) as it should.

    Raises:
        DownloadError: it has not.
    """
    expected = TABLE[name].rows.get(part)
    if found != expected and (expected is not None or not found):
        raise damaged(path, f"which gives {found} of {name}'s {part}", "some" if expected is None else str(expected))
