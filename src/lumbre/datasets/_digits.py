"""MNIST and its kin: small grey images in idx files.

Every set has a folder of its own, for they name their files alike.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lumbre.base import DataError, one_of
from lumbre.data import InMemoryDataset
from lumbre.datasets._download import check_rows, content, damaged, fetched, folder, unpacked
from lumbre.datasets._images import to_float
from lumbre.datasets._table import TABLE, RemoteFile

_Array = np.ndarray[Any, np.dtype[Any]]
_Transform = Callable[[Any], Any] | None

_DIGITS = "0123456789"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_EMNIST = {
    "byclass": _DIGITS + _UPPER + _UPPER.lower(),
    # Lower-case letters that look like their capitals are counted with them.
    "bymerge": _DIGITS + _UPPER + "abdefghnqrt",
    "balanced": _DIGITS + _UPPER + "abdefghnqrt",
    "letters": _UPPER.lower(),
    "digits": _DIGITS,
    "mnist": _DIGITS,
}
_QMNIST = {
    "train": ("qmnist-train-images-idx3-ubyte.gz", "qmnist-train-labels-idx2-int.gz"),
    "test": ("qmnist-test-images-idx3-ubyte.gz", "qmnist-test-labels-idx2-int.gz"),
    "nist": ("xnist-images-idx3-ubyte.xz", "xnist-labels-idx2-int.xz"),
}
# The first 10,000 test images are MNIST's; the other 50,000 are those that were lost.
_QMNIST_TEST = {"test10k": slice(0, 10_000), "test50k": slice(10_000, None)}


def mnist(
    *,
    train: bool = True,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> InMemoryDataset:
    """MNIST: grey images of handwritten digits, 28 x 28, in 10 classes.

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998. The content is verified by its SHA-256.

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
    return _like_mnist("mnist", _DIGITS, train, root, download, transform)


def fashion_mnist(
    *,
    train: bool = True,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> InMemoryDataset:
    """Fashion-MNIST: grey images of clothes from Zalando's shop, 28 x 28, in 10 classes.

    Source: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv:1708.07747, 2017. Licence MIT. The files are verified by their MD5.

    Args:
        train: the 60,000 images for training, or the 10,000 for testing.
        root: the folder that holds (or will hold) the folder `fashion_mnist`; see `mnist`.
        download: fetch what is not there.
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 1, 28, 28).

    Returns:
        Input (n, 1, 28, 28) through the transform, target (n,) int64 from 0 to 9.

    Raises:
        DownloadError: a file is not there and cannot be fetched, or is not the right one.
    """
    return _like_mnist("fashion_mnist", _FASHION, train, root, download, transform)


def kmnist(
    *,
    train: bool = True,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> InMemoryDataset:
    """Kuzushiji-MNIST: grey images of ten cursive Japanese characters (hiragana), 28 x 28.

    Source: T. Clanuwat et al., "Deep learning for classical Japanese literature", arXiv:1812.01718, 2018; created by
    CODH from NIJL and others. Licence CC BY-SA 4.0. The files are verified by their MD5.

    Args:
        train: the 60,000 images for training, or the 10,000 for testing.
        root: the folder that holds (or will hold) the folder `kmnist`; see `mnist`.
        download: fetch what is not there.
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 1, 28, 28).

    Returns:
        Input (n, 1, 28, 28) through the transform, target (n,) int64 from 0 to 9; `classes` are the characters in
        Latin letters.

    Raises:
        DownloadError: a file is not there and cannot be fetched, or is not the right one.
    """
    return _like_mnist("kmnist", _KUZUSHIJI, train, root, download, transform)


def qmnist(
    *,
    split: str = "train",
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> InMemoryDataset:
    """QMNIST: MNIST rebuilt from NIST's originals, with the 50,000 test images that MNIST left out.

    Source: C. Yadav and L. Bottou, "Cold case: the lost MNIST digits", NeurIPS 2019. Licence BSD-style (of its
    repository). The files are verified by their MD5.

    Args:
        split: "train" (60,000), "test" (60,000), "test10k" (the first 10,000 of test, which are MNIST's), "test50k"
            (the others), or "nist" (all 402,953 digits of NIST's collection).
        root: the folder that holds (or will hold) the folder `qmnist`; see `mnist`.
        download: fetch what is not there.
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 1, 28, 28).

    Returns:
        Input (n, 1, 28, 28) through the transform, target (n,) int64 from 0 to 9. Of the eight numbers that QMNIST
        tells of each image only the class is kept.

    Raises:
        DataError: there is no such split.
        DownloadError: a file is not there and cannot be fetched, or is not the right one.
    """
    one_of("split", split, (*_QMNIST, *_QMNIST_TEST), error=DataError)
    files = "test" if split in _QMNIST_TEST else split
    images, labels = _pair("qmnist", _QMNIST[files], root, download)
    check_rows("qmnist", files, len(images), folder("qmnist", root))
    rows = _QMNIST_TEST.get(split, slice(None))
    return _dataset(images[rows], labels[rows, 0], transform, _DIGITS)


def emnist(
    *,
    kind: str = "balanced",
    train: bool = True,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> InMemoryDataset:
    """EMNIST: grey images of handwritten letters and digits, 28 x 28.

    The files hold the images mirrored along their diagonal; here they read upright, like MNIST's. The files number
    the letters of `kind="letters"` from 1; here classes start at 0.

    Source: G. Cohen, S. Afshar, J. Tapson and A. van Schaik, "EMNIST: an extension of MNIST to handwritten letters",
    arXiv:1702.05373, 2017; from NIST Special Database 19. The archive (560 MB) is verified by its MD5.

    Args:
        kind: "byclass" (62 classes), "bymerge" (47), "balanced" (47, all of one size), "letters" (26, capital or not),
            "digits" (10) or "mnist" (10).
        train: the images for training, or those for testing.
        root: the folder that holds (or will hold) the folder `emnist`; see `mnist`.
        download: fetch what is not there.
        transform: applied to each batch of images, a uint8 tensor of shape (batch, 1, 28, 28).

    Returns:
        Input (n, 1, 28, 28) through the transform, target (n,) int64 from 0; `classes` are the characters.

    Raises:
        DataError: there is no such kind.
        DownloadError: the archive is not there and cannot be fetched, or is not the right one.
    """
    one_of("kind", kind, _EMNIST, error=DataError)
    part = "train" if train else "test"
    where = unpacked("emnist", "gzip.zip", root=root, download=download) / "gzip"
    stem = f"emnist-{kind}-{part}"
    images, labels = (
        read_idx(where / name, RemoteFile(name, ()))
        for name in (f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz")
    )
    check_rows("emnist", f"{kind}-{part}", len(images), where)
    upright = np.ascontiguousarray(images.transpose(0, 2, 1))
    return _dataset(upright, labels.astype(np.int64) - (kind == "letters"), transform, _EMNIST[kind])


def _like_mnist(
    name: str, classes: Sequence[str], train: bool, root: str | Path | None, download: bool, transform: _Transform
) -> InMemoryDataset:
    stem = "train" if train else "t10k"
    files = (f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz")
    images, labels = _pair(name, files, root, download)
    check_rows(name, stem, len(images), folder(name, root))
    return _dataset(images, labels, transform, classes)


def _pair(name: str, files: Sequence[str], root: str | Path | None, download: bool) -> tuple[_Array, _Array]:
    """Images and labels of a set, from its files or from those that a user has unzipped."""
    where = folder(name, root)
    # A verified content is proof enough without the gzip file around it.
    plain = [
        where / file.removesuffix(".gz") if TABLE[name].file(file).content_sha256 else where / file for file in files
    ]
    missing = [file for file, path in zip(files, plain, strict=True) if not path.exists()]
    fetched(name, missing, root=root, download=download)
    paths = [where / file if file in missing else path for file, path in zip(files, plain, strict=True)]
    images, labels = (read_idx(path, TABLE[name].file(file)) for path, file in zip(paths, files, strict=True))
    if len(images) != len(labels):
        raise damaged(where, f"with {len(images)} images and {len(labels)} labels", "a label for each image")
    return images, labels


def _dataset(images: _Array, labels: _Array, transform: _Transform, classes: Sequence[str]) -> InMemoryDataset:
    return InMemoryDataset(
        torch.from_numpy(images).unsqueeze(1),
        torch.from_numpy(labels.astype(np.int64)),
        transform=transform,
        classes=tuple(classes),
    )


def read_idx(path: Path, file: RemoteFile) -> _Array:
    """The array in an idx file, plain or compressed, of bytes or of 32-bit integers, after verification.

    Raises:
        DownloadError: it is damaged or not the right one.
    """
    found = content(path, file)
    kind = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}.get(found[2]) if len(found) >= 4 else None
    if kind is None or found[:2] != b"\0\0" or len(found) < 4 + 4 * found[3]:
        raise damaged(path, f"which begins with {found[:4]!r}", "an idx file of bytes or 32-bit integers")
    shape = np.frombuffer(found, ">u4", found[3], 4)
    start = 4 + 4 * found[3]
    if len(found) != start + int(np.prod(shape, dtype=np.int64)) * kind.itemsize:
        raise damaged(path, f"of {len(found)} bytes", f"those of an array of shape {tuple(shape.tolist())}")
    # A copy, for a tensor wants memory that may be written.
    return np.frombuffer(bytearray(memoryview(found)[start:]), kind).reshape(shape)
