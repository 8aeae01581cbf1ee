"""Data sets fetched ahead of use, for machines without a network: a folder or a USB stick that many machines read."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lumbre.base import DownloadError, OptionError, one_of
from lumbre.datasets._cifar import cifar10, cifar100
from lumbre.datasets._correlation import guess_the_correlation
from lumbre.datasets._digits import emnist, fashion_mnist, kmnist, mnist, qmnist
from lumbre.datasets._download import content, fetched, folder, verify
from lumbre.datasets._imdb import imdb
from lumbre.datasets._table import TABLE, RemoteFile
from lumbre.datasets._tables import bank_marketing, spam
from lumbre.datasets._tiny_imagenet import tiny_imagenet
from lumbre.datasets._trees import bird_species, caltech101, dogs_vs_cats, eurosat, flowers102, oxford_pets

_SUMS = "SHA256SUMS"
_READERS: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (
        bank_marketing,
        bird_species,
        caltech101,
        cifar10,
        cifar100,
        dogs_vs_cats,
        emnist,
        eurosat,
        fashion_mnist,
        flowers102,
        guess_the_correlation,
        imdb,
        kmnist,
        mnist,
        oxford_pets,
        qmnist,
        spam,
        tiny_imagenet,
    )
}
# Calls that read all of a set, where one with its defaults leaves something packed; or less, where that is much.
_CALLS: dict[str, tuple[dict[str, Any], ...]] = {
    "tiny_imagenet": ({}, {"split": "val"}),
    "guess_the_correlation": ({"indexes": range(100)},),
}


def fetchable() -> dict[str, str]:
    """The data sets that `fetch` knows, with the first sentence of what each is."""
    return {name: (reader.__doc__ or "").partition("\n")[0] for name, reader in _READERS.items()}


def fetch(*names: str, root: str | Path | None = None) -> Path:
    """Fetch data sets ahead of use, verify them and unpack them, so that later reading needs no network.

    The folder can be copied, or be a USB stick or a network drive that is only read: `root=` or the variable
    LUMBRE_DATA says where it is. Each data set is read once, as its function reads it. The SHA-256 of its files is
    noted in a file SHA256SUMS beside them, by which `stored` (and the program `sha256sum -c`) knows that a copy is
    whole.

    Args:
        *names: of the data sets, such as "mnist".
        root: the folder for them; where not given, $LUMBRE_DATA, else a cache of the user's.

    Returns:
        The folder that holds them.

    Raises:
        OptionError: there is no data set of that name, or no name was given.
        DownloadError: one cannot be fetched, or is not what it should be.
    """
    if not names:
        raise OptionError("no name of a data set", f"one or more of {', '.join(_READERS)}", 'fetch("mnist")')
    for name in names:
        one_of("name", name, _READERS, fix=f"fetch({next(iter(_READERS))!r})")
    for name in names:
        files = TABLE[name].files
        paths = fetched(name, [file.name for file in files], root=root, download=True)
        for path, file in zip(paths, files, strict=True):
            _verified(path, file)
        for options in _CALLS.get(name, ({},)):
            _READERS[name](root=root, download=False, **options)
        lines = [f"{_sha256(path)}  {path.name}\n" for path in paths]
        (folder(name, root) / _SUMS).write_text("".join(lines), encoding="utf-8")
    return folder(names[0], root).parent


def stored(root: str | Path | None = None, *, check: bool = False) -> dict[str, str]:
    """The data sets that `fetch` knows, and how each stands in the folder: "absent", "incomplete", "there".

    Args:
        root: the folder; where not given, $LUMBRE_DATA, else a cache of the user's.
        check: read all files, and compare them with the published checksums and those that `fetch` noted: "whole", or
            what is wrong.
    """
    return {name: _state(name, root, check) for name in _READERS}


def _state(name: str, root: str | Path | None, check: bool) -> str:
    where = folder(name, root)
    files = TABLE[name].files
    there = [file for file in files if (where / file.name).is_file()]
    if not there:
        # Archives may be deleted once they were unpacked.
        unpacked = any(one.is_dir() and not one.name.startswith(".") for one in where.glob("*"))
        return "unpacked, without its archives" if unpacked else "absent"
    if len(there) < len(files):
        return f"incomplete: {len(there)} of {len(files)} files"
    size = sum((where / file.name).stat().st_size for file in files)
    if not check:
        return f"there, {size / 1e6:,.1f} MB"
    noted = _noted(where / _SUMS)
    try:
        for file in files:
            _verified(where / file.name, file)
    except DownloadError as error:
        return f"damaged: {error.received}"
    kept = {file.name for file in files}
    changed = [one for one, digest in noted.items() if one in kept and _sha256(where / one) != digest]
    if changed:
        return f"damaged: {', '.join(changed)} changed since it was fetched"
    proved = noted or all(file.md5 or file.content_sha256 for file in files)
    return f"whole, {size / 1e6:,.1f} MB" if proved else f"there, {size / 1e6:,.1f} MB, without a checksum"


def _noted(sums: Path) -> dict[str, str]:
    if not sums.is_file():
        return {}
    pairs: Iterable[list[str]] = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines())
    # A line that leads to another folder is none of ours.
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2 and Path(pair[1]).name == pair[1]}


def _verified(path: Path, file: RemoteFile) -> None:
    if file.content_sha256:
        content(path, file)
    else:
        verify(path, file)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
