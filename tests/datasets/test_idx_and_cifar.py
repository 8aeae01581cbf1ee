"""MNIST's kin and CIFAR, through small files in their real formats."""

import gzip
import lzma
from pathlib import Path

import loopback
import numpy as np
import pytest
import torch
from loopback import Serve, Site, idx, tarred, zipped

import lumbre as lb
from lumbre.datasets._digits import read_idx
from lumbre.datasets._table import TABLE, RemoteFile

# Fixtures; a conftest.py here would hide the one above from the other tests.
serve, site = loopback.serve, loopback.site


def _pixels(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("train", [True, False])
def test_mnist_and_its_kin(name: str, train: bool, serve: Serve, tmp_path: Path) -> None:
    pixels, labels = _pixels(7), np.array([9, 0, 3, 3, 1, 2, 5], np.uint8)
    stem = "train" if train else "t10k"
    files = {
        f"{stem}-images-idx3-ubyte.gz": gzip.compress(idx(pixels)),
        f"{stem}-labels-idx1-ubyte.gz": gzip.compress(idx(labels)),
    }
    serve(name, files, {stem: 7})
    data = getattr(lb.datasets, name)(train=train, root=tmp_path)
    assert (tmp_path / name).is_dir()
    assert len(data) == 7
    assert torch.equal(data.input, torch.from_numpy(pixels)[:, None])
    assert data.target.dtype == torch.int64
    assert data.target.tolist() == labels.tolist()
    assert len(data.classes) == 10
    image, label = data[0]
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(pixels[0])[None] / 255)
    assert label == 9
    raw = getattr(lb.datasets, name)(train=train, root=tmp_path, transform=None, download=False)
    assert raw[0][0].dtype == torch.uint8


def test_mnist_is_known_by_its_content_and_may_be_unzipped(serve: Serve, tmp_path: Path) -> None:
    pixels, labels = idx(_pixels(3)), idx(np.arange(3, dtype=np.uint8))
    files = {"t10k-images-idx3-ubyte.gz": gzip.compress(pixels), "t10k-labels-idx1-ubyte.gz": gzip.compress(labels)}
    serve("mnist", files, {"t10k": 3})
    where = tmp_path / "mnist"
    where.mkdir()
    (where / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels, 1, mtime=99))  # wrapped otherwise
    (where / "t10k-labels-idx1-ubyte").write_bytes(labels)
    assert len(lb.datasets.mnist(train=False, root=tmp_path, download=False)) == 3
    (where / "t10k-labels-idx1-ubyte").write_bytes(labels[:-1] + b"\7")
    with pytest.raises(lb.DownloadError, match="whose content has the SHA-256"):
        lb.datasets.mnist(train=False, root=tmp_path, download=False)


def test_rows_are_counted(serve: Serve, tmp_path: Path) -> None:
    files = {
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx(_pixels(3))),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(idx(np.zeros(3, np.uint8))),
    }
    serve("kmnist", files, {"t10k": 4})
    with pytest.raises(lb.DownloadError, match="gives 3 of kmnist's t10k"):
        lb.datasets.kmnist(train=False, root=tmp_path)


def test_the_real_tables_refuse_small_files(site: Site, tmp_path: Path) -> None:
    """What the tests put in its place is not what ships: the table's own sums are those of the whole files."""
    assert {name for name, entry in TABLE.items() if all(file.md5 or file.content_sha256 for file in entry.files)} == {
        *("mnist", "fashion_mnist", "kmnist", "qmnist", "emnist", "cifar10", "cifar100"),
        *("tiny_imagenet", "oxford_pets", "flowers102", "caltech101", "eurosat", "imdb"),
    }
    sums = [file.md5 for entry in TABLE.values() for file in entry.files if file.md5]
    assert len(set(sums)) == len(sums)
    assert all(len(each) == 32 for each in sums)


def test_qmnist_labels_are_32_bit_big_endian(serve: Serve, tmp_path: Path) -> None:
    rows = 10_002
    pixels = np.zeros((rows, 28, 28), np.uint8)
    pixels[:, 0, 0] = np.arange(rows) % 251
    labels = np.zeros((rows, 8), np.int32)
    labels[:, 0] = np.arange(rows) % 10
    labels[:, 5] = 70_000 + np.arange(rows)  # more than a byte holds
    labels[:3, 0] = [7, 3, 9]
    files = {
        "qmnist-test-images-idx3-ubyte.gz": gzip.compress(idx(pixels), 1),
        "qmnist-test-labels-idx2-int.gz": gzip.compress(idx(labels), 1),
        "xnist-images-idx3-ubyte.xz": lzma.compress(idx(_pixels(4))),
        "xnist-labels-idx2-int.xz": lzma.compress(idx(labels[:4])),
    }
    serve("qmnist", files, {"test": rows, "nist": 4})
    test = lb.datasets.qmnist(split="test", root=tmp_path)
    assert test.target[:3].tolist() == [7, 3, 9]
    assert test.target.dtype == torch.int64
    first = lb.datasets.qmnist(split="test10k", root=tmp_path)
    rest = lb.datasets.qmnist(split="test50k", root=tmp_path)
    assert (len(test), len(first), len(rest)) == (rows, 10_000, 2)
    assert torch.equal(rest.input, test.input[10_000:])
    nist = lb.datasets.qmnist(split="nist", root=tmp_path)
    assert nist.input.shape == (4, 1, 28, 28)
    assert nist.target.tolist() == [7, 3, 9, 3]
    with pytest.raises(lb.DataError, match="test10k"):
        lb.datasets.qmnist(split="test10")


@pytest.mark.parametrize(
    ("kind", "count"),
    [("byclass", 62), ("bymerge", 47), ("balanced", 47), ("letters", 26), ("digits", 10), ("mnist", 10)],
)
def test_emnist_reads_upright_and_counts_from_0(kind: str, count: int, serve: Serve, tmp_path: Path) -> None:
    upright = np.zeros((count, 28, 28), np.uint8)
    upright[:, 5, 3:25] = 255  # a T: a bar above ...
    upright[:, 5:25, 14] = 255  # ... and a stem below it
    labels = np.arange(count, dtype=np.uint8) + (kind == "letters")
    served = {
        f"gzip/emnist-{kind}-test-images-idx3-ubyte.gz": gzip.compress(idx(upright.transpose(0, 2, 1))),
        f"gzip/emnist-{kind}-test-labels-idx1-ubyte.gz": gzip.compress(idx(labels)),
    }
    serve("emnist", {"gzip.zip": zipped(served)}, {f"{kind}-test": count})
    data = lb.datasets.emnist(kind=kind, train=False, root=tmp_path)
    assert torch.equal(data.input, torch.from_numpy(upright)[:, None])
    assert data.target.tolist() == list(range(count))
    assert len(data.classes) == len(set(data.classes)) == count
    (tmp_path / "emnist" / "gzip.zip").unlink()
    assert len(lb.datasets.emnist(kind=kind, train=False, root=tmp_path, download=False)) == count


def test_emnist_classes() -> None:
    from lumbre.datasets._digits import _EMNIST

    assert _EMNIST["byclass"][10] == "A"
    assert _EMNIST["byclass"][36] == "a"
    assert _EMNIST["balanced"][36:] == "abdefghnqrt"
    assert _EMNIST["letters"][0] == "a"
    with pytest.raises(lb.DataError, match="Did you mean 'letters'"):
        lb.datasets.emnist(kind="letter")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with b''"),
        (b"\0\0\x0d\1\0\0\0\0", "an idx file of bytes or 32-bit integers"),
        (b"\1\0\x08\1\0\0\0\1x", "an idx file"),
        (b"\0\0\x08\3\0\0", "an idx file"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"those of an array of shape \(2, 3\)"),
        (idx(np.zeros((2, 3), np.int32)) + b"x", r"those of an array of shape \(2, 3\)"),
    ],
)
def test_damaged_idx_files(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x-idx"
    path.write_bytes(content)
    with pytest.raises(lb.DownloadError, match=said):
        read_idx(path, RemoteFile("x-idx", ()))


def _cifar10(rows: int) -> tuple[np.ndarray, np.ndarray, dict[str, bytes]]:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (6 * rows, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, 10, 6 * rows).astype(np.uint8)
    records = np.concatenate([labels[:, None], pixels.reshape(6 * rows, -1)], axis=1)
    batches = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    classes = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
    files = {f"cifar-10-batches-bin/{b}": records[i * rows : (i + 1) * rows].tobytes() for i, b in enumerate(batches)}
    return pixels, labels, files | {"cifar-10-batches-bin/batches.meta.txt": classes.encode()}


def test_cifar10(serve: Serve, site: Site, tmp_path: Path) -> None:
    pixels, labels, files = _cifar10(3)
    serve("cifar10", {"cifar-10-binary.tar.gz": tarred(files)}, {"train": 15, "test": 3})
    train, test = (lb.datasets.cifar10(train=train, root=tmp_path) for train in (True, False))
    assert torch.equal(train.input, torch.from_numpy(pixels[:15]))
    assert train.target.tolist() == labels[:15].tolist()
    assert torch.equal(test.input, torch.from_numpy(pixels[15:]))
    assert test.target.dtype == torch.int64
    assert train.classes is not None
    assert train.classes[0] == "airplane"
    assert train.classes[9] == "truck"
    assert test[0][0].shape == (3, 32, 32)
    assert float(test[0][0].max()) <= 1
    assert len(site.asked) == 1


def test_cifar100_fine_and_coarse(serve: Serve, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    coarse, fine = np.array([19, 0, 3, 4], np.uint8), np.array([99, 0, 55, 17], np.uint8)
    records = np.concatenate([coarse[:, None], fine[:, None], pixels.reshape(4, -1)], axis=1)
    files = {
        "cifar-100-binary/train.bin": records.tobytes(),
        "cifar-100-binary/test.bin": records[:2].tobytes(),
        "cifar-100-binary/fine_label_names.txt": "\n".join(f"fine{i}" for i in range(100)).encode(),
        "cifar-100-binary/coarse_label_names.txt": "\n".join(f"coarse{i}" for i in range(20)).encode(),
    }
    serve("cifar100", {"cifar-100-binary.tar.gz": tarred(files)}, {"train": 4, "test": 2})
    data = lb.datasets.cifar100(root=tmp_path)
    assert data.target.tolist() == fine.tolist()
    assert torch.equal(data.input, torch.from_numpy(pixels))
    assert data.classes is not None
    assert data.classes[99] == "fine99"
    groups = lb.datasets.cifar100(train=False, coarse=True, root=tmp_path)
    assert groups.target.tolist() == [19, 0]
    assert groups.classes is not None
    assert len(groups.classes) == 20


def test_cifar_that_lacks_a_file_or_a_byte(serve: Serve, tmp_path: Path) -> None:
    _, _, files = _cifar10(1)
    serve("cifar10", {"cifar-10-binary.tar.gz": tarred(files)}, {"train": 5, "test": 1})
    lb.datasets.cifar10(root=tmp_path)
    where = tmp_path / "cifar10" / "cifar-10-binary" / "cifar-10-batches-bin"
    (where / "test_batch.bin").write_bytes(b"x" * 3072)
    with pytest.raises(lb.DownloadError, match="records of 3073 bytes"):
        lb.datasets.cifar10(train=False, root=tmp_path)
    (where / "test_batch.bin").unlink()
    with pytest.raises(lb.DownloadError, match=f"delete {where.parent}") as caught:
        lb.datasets.cifar10(train=False, root=tmp_path)
    assert "without cifar-10-batches-bin/test_batch.bin" in caught.value.received
