"""Tiny ImageNet: decoded once, and from then on read as it lies on disk."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lumbre.base import DataError, one_of
from lumbre.data import InMemoryDataset
from lumbre.datasets._download import check_rows, damaged, fetched, folder, made_once, verify
from lumbre.datasets._images import decoded, to_float
from lumbre.datasets._table import TABLE

_ARCHIVE = "tiny-imagenet-200.zip"
_TOP = "tiny-imagenet-200"


def tiny_imagenet(
    *,
    split: str = "train",
    root: str | Path | None = None,
    download: bool = True,
    transform: Callable[[Any], Any] | None = to_float,
) -> InMemoryDataset:
    """Tiny ImageNet: colour photographs, 64 x 64, in 200 classes.

    The first call decodes the images (about a minute) into a file of bytes (1.2 GB for training); it and later calls
    map that file into memory, so that only what is used is read. The archive is needed no longer then.

    Source: Y. Le and X. Yang, "Tiny ImageNet visual recognition challenge", CS 231N, Stanford, 2015; images of
    ImageNet, whose terms allow non-commercial research. The archive (237 MB) is verified by its MD5.

    Args:
        split: "train" (500 images a class) or "val" (50). The images for testing have no labels and are left out.
        root: the folder that holds (or will hold) the folder `tiny_imagenet`; where not given, $LUMBRE_DATA, else a
            cache of the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 3, 64, 64); `to_float` makes
            float32 in [0, 1] of them. None leaves bytes.

    Returns:
        Input (n, 3, 64, 64) through the transform, target (n,) int64 from 0 to 199, classes in the order of their
        WordNet numbers and named by their words.

    Raises:
        DataError: there is no such split.
        DownloadError: the archive is not there and cannot be fetched, or does not hold what it should.
    """
    one_of("split", split, ("train", "val"), error=DataError)
    target = folder("tiny_imagenet", root) / split
    if not target.is_dir():
        (archive,) = fetched("tiny_imagenet", [_ARCHIVE], root=root, download=download)
        file = TABLE["tiny_imagenet"].file(_ARCHIVE)
        made_once(target, lambda fresh: _decode(verify(archive, file), split, fresh))
    # Copy on write: a tensor wants memory that may be written, and the file stays as it is.
    images = np.load(target / "images.npy", mmap_mode="c")
    check_rows("tiny_imagenet", split, len(images), target)
    return InMemoryDataset(
        torch.from_numpy(images),
        torch.from_numpy(np.load(target / "labels.npy")),
        transform=transform,
        classes=(target / "classes.txt").read_text().splitlines(),
    )


def _decode(archive: Path, split: str, fresh: Path) -> None:
    fresh.mkdir()
    try:
        with zipfile.ZipFile(archive) as file:
            numbers = sorted(file.read(f"{_TOP}/wnids.txt").decode().split())
            check_rows("tiny_imagenet", "classes", len(numbers), archive)
            words = dict(line.split("\t", 1) for line in file.read(f"{_TOP}/words.txt").decode().splitlines() if line)
            rows = _rows(file, split)
            check_rows("tiny_imagenet", split, len(rows), archive)
            _write(fresh / "images.npy", file, [member for _, member in rows])
            labels = {number: label for label, number in enumerate(numbers)}
            np.save(fresh / "labels.npy", np.array([labels[number] for number, _ in rows], np.int64))
            (fresh / "classes.txt").write_text("\n".join(words.get(number, number) for number in numbers) + "\n")
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        raise damaged(archive, f"which cannot be read: {error}", "the archive of Tiny ImageNet") from error


def _rows(file: zipfile.ZipFile, split: str) -> list[tuple[str, str]]:
    """The WordNet number and the archive's member of each image."""
    if split == "val":
        lines = file.read(f"{_TOP}/val/val_annotations.txt").decode().splitlines()
        pairs = [line.split("\t")[:2] for line in lines if line]
        return [(number, f"{_TOP}/val/images/{name}") for name, number in pairs]
    members = [name for name in file.namelist() if name.startswith(f"{_TOP}/train/") and name.endswith(".JPEG")]
    # n01443537_12.JPEG
    rows = [(*Path(member).stem.split("_", 1), member) for member in members]
    return [(number, member) for number, _, member in sorted(rows, key=lambda row: (row[0], int(row[1])))]


def _write(path: Path, file: zipfile.ZipFile, members: list[str]) -> None:
    """Decode the images into an .npy file, one after the other: a full disk is an error then, not a dead process."""
    with path.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(members), 3, 64, 64)}
        np.lib.format.write_array_header_2_0(out, header)
        for member in members:
            image = decoded(file.read(member), "RGB", None)
            if image.shape != (64, 64, 3):
                raise ValueError(f"{member} is {image.shape}, not 64 x 64")
            out.write(image.transpose(2, 0, 1).tobytes())
