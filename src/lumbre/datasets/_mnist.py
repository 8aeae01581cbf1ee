"""MNIST: handwritten digits.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998.
"""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DownloadError
from lumbre.data import InMemoryDataset
from lumbre.datasets._download import fetched, folder, verified

_MIRRORS = (
    "https://torch-cdn.mlverse.org/datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# Of the content, not of the .gz around it, which differs from mirror to mirror.
_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def to_float(images: Tensor) -> Tensor:
    """Images of bytes as float32 in [0, 1], same shape."""
    return images.to(torch.float32).div_(255)


def mnist(
    *,
    train: bool = True,
    root: str | Path | None = None,
    download: bool = True,
    transform: Callable[[Any], Any] | None = to_float,
) -> InMemoryDataset:
    """MNIST: grey images of handwritten digits, 28 x 28, in 10 classes.

    Args:
        train: the 60,000 images for training, or the 10,000 for testing.
        root: the folder that holds (or will hold) the folder `mnist`; where not given, $LUMBRE_DATA, else a cache
            of the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 1, 28, 28); `to_float` makes
            float32 in [0, 1] of them. None leaves bytes.

    Returns:
        Input (n, 1, 28, 28) through the transform, target (n,) int64 from 0 to 9.

    Raises:
        DownloadError: a file is not there and cannot be fetched, or its content is not MNIST's.
    """
    stem = "train" if train else "t10k"
    where = folder("mnist", root)
    images = _read(where, f"{stem}-images-idx3-ubyte", download)
    labels = _read(where, f"{stem}-labels-idx1-ubyte", download)
    return InMemoryDataset(
        torch.from_numpy(images).unsqueeze(1),
        torch.from_numpy(labels.astype(np.int64)),
        transform=transform,
        classes=[str(i) for i in range(10)],
    )


def _read(where: Path, name: str, download: bool) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The array in an idx file, plain or gzipped, whose content has been verified."""
    plain = where / name
    if plain.exists():
        path, content = plain, plain.read_bytes()
    else:
        file = f"{name}.gz"
        path = fetched(where / file, tuple(mirror + file for mirror in _MIRRORS), download=download)
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise DownloadError(
                f"{path}, which is damaged: {error}",
                "a whole gzip file",
                f"delete {path}, so that it is fetched again",
            ) from error
    verified(content, _SHA256[name], path)
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, 4)
    return np.frombuffer(bytearray(content), np.uint8, offset=4 + 4 * dimensions).reshape(shape)
