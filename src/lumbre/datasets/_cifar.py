"""CIFAR-10 and CIFAR-100, in their binary form: fixed records of label bytes and 3 x 32 x 32 colour bytes.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, University of
Toronto, 2009. The archives are verified by their MD5 before they are unpacked.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lumbre.data import InMemoryDataset
from lumbre.datasets._download import check_rows, damaged, unpacked
from lumbre.datasets._images import to_float

_PIXELS = 3 * 32 * 32


def cifar10(
    *,
    train: bool = True,
    root: str | Path | None = None,
    download: bool = True,
    transform: Callable[[Any], Any] | None = to_float,
) -> InMemoryDataset:
    """CIFAR-10: colour photographs, 32 x 32, in 10 classes.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, 2009. The
    archive (170 MB) is verified by its MD5.

    Args:
        train: the 50,000 images for training, or the 10,000 for testing.
        root: the folder that holds (or will hold) the folder `cifar10`; where not given, $LUMBRE_DATA, else a cache
            of the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 3, 32, 32); `to_float` makes
            float32 in [0, 1] of them. None leaves bytes.

    Returns:
        Input (n, 3, 32, 32) through the transform, target (n,) int64 from 0 to 9.

    Raises:
        DownloadError: the archive is not there and cannot be fetched, or is not the right one.
    """
    where = unpacked("cifar10", "cifar-10-binary.tar.gz", root=root, download=download) / "cifar-10-batches-bin"
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
    return _cifar("cifar10", where, files, "train" if train else "test", (1, 0), "batches.meta.txt", transform)


def cifar100(
    *,
    train: bool = True,
    coarse: bool = False,
    root: str | Path | None = None,
    download: bool = True,
    transform: Callable[[Any], Any] | None = to_float,
) -> InMemoryDataset:
    """CIFAR-100: colour photographs, 32 x 32, in 100 classes, or in the 20 groups these form.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, 2009. The
    archive (170 MB) is verified by its MD5.

    Args:
        train: the 50,000 images for training, or the 10,000 for testing.
        coarse: the 20 groups instead of the 100 classes.
        root: the folder that holds (or will hold) the folder `cifar100`; see `cifar10`.
        download: fetch what is not there.
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 3, 32, 32).

    Returns:
        Input (n, 3, 32, 32) through the transform, target (n,) int64 from 0.

    Raises:
        DownloadError: the archive is not there and cannot be fetched, or is not the right one.
    """
    where = unpacked("cifar100", "cifar-100-binary.tar.gz", root=root, download=download) / "cifar-100-binary"
    part = "train" if train else "test"
    names = "coarse_label_names.txt" if coarse else "fine_label_names.txt"
    return _cifar("cifar100", where, [f"{part}.bin"], part, (2, 0 if coarse else 1), names, transform)


def _cifar(
    name: str,
    where: Path,
    files: list[str],
    part: str,
    label: tuple[int, int],
    names: str,
    transform: Callable[[Any], Any] | None,
) -> InMemoryDataset:
    """The records of `files`; `label` is how many label bytes they begin with, and which of them counts."""
    count, wanted = label
    for file in (*files, names):
        if not (where / file).is_file():
            raise damaged(where.parent, f"without {where.name}/{file}", "all the files of the archive")
    records = np.concatenate([np.fromfile(where / file, np.uint8) for file in files])
    if records.size % (count + _PIXELS):
        raise damaged(where.parent, f"with {records.size} bytes of images", f"records of {count + _PIXELS} bytes")
    records = records.reshape(-1, count + _PIXELS)
    check_rows(name, part, len(records), where.parent)
    return InMemoryDataset(
        torch.from_numpy(np.ascontiguousarray(records[:, count:]).reshape(-1, 3, 32, 32)),
        torch.from_numpy(records[:, wanted].astype(np.int64)),
        transform=transform,
        classes=(where / names).read_text().split(),
    )
