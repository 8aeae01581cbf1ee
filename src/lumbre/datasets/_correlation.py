"""Guess the correlation: scatterplots to be read by a network, downloaded or drawn here."""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lumbre.base import DataError, one_of, stream
from lumbre.data import InMemoryDataset
from lumbre.datasets._download import check_rows, damaged, unpacked
from lumbre.datasets._images import decoded, to_float

_ROWS = 150_000
_SIDE = 150
_LARGEST_IMAGE_BYTES = 1 << 20
# The plots' axes stand left of column 20 and below row 129; points keep clear of the edges by this much.
_LEFT, _BOTTOM, _MARGIN = 20, 130, 4
_PARTS = {"train": ("train.csv", "train_imgs.zip"), "submission": ("example_submition.csv", "test_imgs.zip")}

_Floats = np.ndarray[Any, np.dtype[np.float64]]


def guess_the_correlation(
    *,
    split: str = "train",
    indexes: Sequence[int] | None = None,
    synthetic: bool = False,
    root: str | Path | None = None,
    download: bool = True,
    transform: Callable[[Any], Any] | None = to_float,
) -> InMemoryDataset:
    """Scatterplots, 150 x 150 and grey, and the correlation of the points in each.

    The plot itself, without the axes, is `image[..., 0:130, 20:150]`.

    With `synthetic=True` nothing is downloaded: as many plots of the same kind are drawn here (ten thousand in a
    second or two), 50 to 150 points each, with correlations spread evenly from -1 to 1. The target is the
    correlation of the very points in the picture. Plot i is a function of i alone. They are no copy of the downloaded
    ones; `root` and `download` are not looked at.

    Source: the Kaggle competition "Guess the Correlation", https://www.kaggle.com/c/guess-the-correlation, whose
    rules say what the images may be used for. No checksum of the archive is published: the number of rows, their
    values and each image that is read are verified.

    Args:
        split: "train", or "submission": images without a target.
        indexes: the rows wanted, counted from 0, such as `range(10_000)`. None takes all 150,000, which need 3.4 GB
            of memory.
        synthetic: draw the plots instead of downloading them.
        root: the folder that holds (or will hold) the folder `guess_the_correlation`; where not given, $LUMBRE_DATA,
            else a cache of the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 1, 150, 150), ink 0 on paper 255;
            `to_float` makes float32 in [0, 1] of them. None leaves bytes.

    Returns:
        Input (n, 1, 150, 150) through the transform, target (n,) float32 (None for the submission).

    Raises:
        DataError: there is no such split or row.
        DownloadError: the archive is not there and cannot be fetched, or does not hold what it should.

    Example:
        >>> import lumbre as lb
        >>> data = lb.datasets.guess_the_correlation(indexes=range(3), synthetic=True)
        >>> image, correlation = data[0]
        >>> image.shape, round(float(correlation), 3)
        (torch.Size([1, 150, 150]), -0.625)
    """
    one_of("split", split, _PARTS, error=DataError)
    if synthetic:
        rows = _chosen(indexes, _ROWS)
        images = np.empty((len(rows), 1, _SIDE, _SIDE), np.uint8)
        targets = None if split == "submission" else np.empty(len(rows), np.float32)
        for at, index in enumerate(rows):
            # The submission's plots are others than those for training.
            x, y, correlation = points(index if split == "train" else index + _ROWS)
            images[at, 0] = drawn(x, y)
            if targets is not None:
                targets[at] = correlation
    else:
        where = unpacked("guess_the_correlation", "guess-the-correlation.zip", root=root, download=download)
        names, targets = _labels(where, split)
        rows = _chosen(indexes, len(names))
        targets = None if targets is None else targets[rows]
        images = _read_images(where / _PARTS[split][1], [names[index] for index in rows])
    return InMemoryDataset(
        torch.from_numpy(images), None if targets is None else torch.from_numpy(targets), transform=transform
    )


def _chosen(indexes: Sequence[int] | None, count: int) -> list[int]:
    rows = list(range(count)) if indexes is None else [int(index) for index in indexes]
    strange = [index for index in rows if not 0 <= index < count]
    if strange:
        raise DataError(
            f"indexes with {strange[0]}",
            f"row numbers from 0 to {count - 1}",
            "indexes=range(0, 10_000), say; rows are counted from 0",
        )
    return rows


def points(index: int) -> tuple[_Floats, _Floats, float]:
    """The points of the synthetic plot `index`: x (n,), y (n,) and their sample correlation, which is exact.

    y is r x + sqrt(1 - r^2) e for a normal x and an e that has been made orthogonal to it, both of length 1.
    """
    generator = np.random.Generator(np.random.PCG64(stream(0, "guess the correlation", index)))
    count = int(generator.integers(50, 151))
    correlation = float(generator.uniform(-1, 1))
    x, e = generator.standard_normal((2, count))
    x -= x.mean()
    x /= np.sqrt(x @ x)
    e -= e.mean()
    e -= (e @ x) * x
    e /= np.sqrt(e @ e)
    return x, correlation * x + np.sqrt(1 - correlation**2) * e, correlation


def drawn(x: _Floats, y: _Floats) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """A plot of the points, (150, 150): each a cross of five pixels, axes fitted to their range."""
    image = np.full((_SIDE, _SIDE), 255, np.uint8)
    image[:_BOTTOM, _LEFT - 1] = 0
    image[_BOTTOM, _LEFT - 1 :] = 0
    column = _LEFT + _MARGIN + _scaled(x, _SIDE - _LEFT - 2 * _MARGIN - 1)
    row = _BOTTOM - 1 - _MARGIN - _scaled(y, _BOTTOM - 2 * _MARGIN - 1)
    for down, right in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        image[row + down, column + right] = 0
    return image


def _scaled(values: _Floats, span: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    low, high = values.min(), values.max()
    return np.rint((values - low) * (span / (high - low))).astype(np.int64)


def _labels(where: Path, split: str) -> tuple[list[str], "np.ndarray[Any, np.dtype[np.float32]] | None"]:
    """The images' names and, for training, their correlations, in the order of the file."""
    import pandas as pd

    path = where / _PARTS[split][0]
    wanted = ["id", "corr"] if split == "train" else ["id"]
    try:
        frame = pd.read_csv(path, dtype={"id": str})
    except (OSError, ValueError) as error:
        raise damaged(where, f"whose {path.name} cannot be read: {error}", "a table of images") from error
    if not set(wanted) <= set(frame.columns):
        raise damaged(where, f"whose {path.name} has the columns {', '.join(frame.columns)}", ", ".join(wanted))
    check_rows("guess_the_correlation", split, len(frame), where)
    names = [str(name) for name in frame["id"]]
    if split == "submission":
        return names, None
    numbers: Any = pd.to_numeric(frame["corr"], errors="coerce")
    correlations = np.asarray(numbers, dtype=np.float32)
    if not (np.abs(correlations) <= 1).all():
        raise damaged(where, f"whose {path.name} has values beyond -1 and 1, or none", "correlations")
    return names, correlations


def _read_images(archive: Path, names: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The named PNG files as bytes of shape (n, 1, 150, 150), read from the archive as it is."""
    images = np.empty((len(names), 1, _SIDE, _SIDE), np.uint8)
    try:
        with zipfile.ZipFile(archive) as file:
            members = {Path(member).stem: member for member in file.namelist() if member.endswith(".png")}
            absent = [name for name in names if name not in members]
            if absent:
                raise damaged(archive, f"without an image of {absent[0]!r}", "an image for each row of the table")
            for at, name in enumerate(names):
                if file.getinfo(members[name]).file_size > _LARGEST_IMAGE_BYTES:
                    raise damaged(archive, f"whose image {name!r} is too large", f"{_SIDE} x {_SIDE} pixels")
                image = decoded(file.read(members[name]), "L", None)
                if image.shape != (_SIDE, _SIDE):
                    raise damaged(archive, f"whose image {name!r} is {image.shape}", f"{_SIDE} x {_SIDE} pixels")
                images[at, 0] = image
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise damaged(archive, f"which cannot be read: {error}", "a whole zip archive") from error
    return images
