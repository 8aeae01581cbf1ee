"""Where data sets live on disk, and how they get there."""

import hashlib
import os
from pathlib import Path
from typing import Any

from lumbre.base import DownloadError, import_extra


def folder(name: str, root: str | Path | None) -> Path:
    """The folder of the data set `name`: under `root`, else under $LUMBRE_DATA, else in the user's cache.

    Every data set has a folder of its own, so that files of the same name cannot be taken for each other.
    """
    base = root or os.environ.get("LUMBRE_DATA") or _user_cache()
    return Path(base).expanduser() / name


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(home) / "lumbre"


def fetched(path: Path, urls: tuple[str, ...], *, download: bool) -> Path:
    """`path`, after fetching it from the first of `urls` that answers, if it is not there yet.

    Two processes that want the same file wait for each other. The content is for the caller to verify.

    Raises:
        DownloadError: it is not there and must not, or cannot, be fetched.
    """
    if path.exists():
        return path
    if not download:
        raise missing(path, "download=False was asked for", urls)
    from filelock import FileLock

    pooch: Any = import_extra("pooch", "data", "download data sets")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            problems: list[str] = []
            for url in urls:
                if path.exists():
                    break
                try:
                    pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, progressbar=False)
                except (
                    Exception
                ) as error:  # each kind of network trouble has a class of its own in requests and urllib3
                    problems.append(f"{url}: {type(error).__name__}: {error}"[:200])
    except OSError as error:
        raise DownloadError(
            f"{path.parent}, which cannot be written: {error}",
            "a folder for the data",
            "root=..., or set LUMBRE_DATA",
        ) from error
    if not path.exists():
        raise missing(path, "; ".join(problems), urls)
    return path


def missing(path: Path, why: str, urls: tuple[str, ...]) -> DownloadError:
    """The error for a file that is not there and cannot be had."""
    return DownloadError(
        f"no file {path.name} in {path.parent} ({why})",
        f"the file there, or a connection to fetch it from {urls[0]}",
        f"put the file there; or pass root=..., or set LUMBRE_DATA, to the folder that holds {path.parent.name}/",
    )


def verified(content: bytes, sha256: str, path: Path) -> bytes:
    """`content`, if it has the SHA-256 it should have.

    Raises:
        DownloadError: it has not.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DownloadError(
            f"{path}, whose content has the SHA-256 {found[:16]}...",
            f"{sha256[:16]}...",
            f"delete {path}, so that it is fetched again",
        )
    return content
