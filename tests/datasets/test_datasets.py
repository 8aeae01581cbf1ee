"""Data sets: what ships, what is read, what is refused."""

import gzip
import shutil
from pathlib import Path

import pytest
import torch

import lumbre as lb


def test_penguins() -> None:
    frame = lb.datasets.penguins()
    assert frame.shape == (344, 8)
    assert lb.datasets.penguins(drop_missing=True).shape == (333, 8)
    assert frame["species"].value_counts().to_dict() == {"Adelie": 152, "Gentoo": 124, "Chinstrap": 68}
    first = frame.iloc[0]
    assert [first["bill_length_mm"], first["bill_depth_mm"], first["flipper_length_mm"], first["body_mass_g"]] == [
        39.1,
        18.7,
        181,
        3750,
    ]


def test_mnist(mnist_root: Path) -> None:
    train, test = (lb.datasets.mnist(train=flag, root=mnist_root, download=False) for flag in (True, False))
    assert (len(train), len(test)) == (60_000, 10_000)
    image, label = train[0]
    assert image.shape == (1, 28, 28)
    assert image.dtype == torch.float32
    assert (image.min(), image.max(), int(label)) == (0, 1, 5)
    assert test.target[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train.classes == tuple("0123456789")
    assert lb.datasets.mnist(train=False, root=mnist_root, transform=None)[0][0].dtype == torch.uint8


def test_mnist_from_the_environment_and_plain_files(mnist_root: Path, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).write_bytes(gzip.decompress((mnist_root / "mnist" / f"{name}.gz").read_bytes()))
    monkeypatch.setenv("LUMBRE_DATA", str(tmp_path))
    assert len(lb.datasets.mnist(train=False, download=False)) == 10_000


def test_mnist_offline_names_folder_and_files(tmp_path: Path) -> None:
    with pytest.raises(lb.DownloadError) as caught:
        lb.datasets.mnist(root=tmp_path, download=False)
    assert f"no file train-images-idx3-ubyte.gz in {tmp_path / 'mnist'}" in caught.value.received
    assert "a connection to fetch it" in caught.value.expected
    assert "LUMBRE_DATA" in caught.value.fix


def test_mnist_with_other_content_is_refused(tmp_path: Path, mnist_root: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in (mnist_root / "mnist").iterdir():
        shutil.copy(file, folder / file.name)
    images = folder / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(images.read_bytes()))
    content[5000] ^= 1
    images.chmod(0o644)
    images.write_bytes(gzip.compress(bytes(content), 1))
    with pytest.raises(lb.DownloadError, match="whose content has the SHA-256"):
        lb.datasets.mnist(train=False, root=tmp_path, download=False)
    images.write_bytes(b"no gzip")
    with pytest.raises(lb.DownloadError, match="which is damaged"):
        lb.datasets.mnist(train=False, root=tmp_path, download=False)
