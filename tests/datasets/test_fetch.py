"""Data sets fetched ahead of use, from a local server, and read where there is no network."""

import shutil
from pathlib import Path

import loopback
import numpy as np
import pytest
from loopback import Serve, Site, idx

import lumbre as lb
from lumbre.cli import main

# Fixtures; a conftest.py here would hide the one above from the other tests.
serve, site = loopback.serve, loopback.site

SPAM = "".join(" ".join([*["0.5"] * 57, str(row % 2)]) + "\n" for row in range(6))


def gzipped(array: np.ndarray) -> bytes:
    import gzip

    return gzip.compress(idx(array))


@pytest.fixture
def served(serve: Serve) -> None:
    images, labels = np.arange(2 * 784, dtype=np.uint64).astype(np.uint8).reshape(2, 28, 28), np.array([3, 4], np.uint8)
    files = {
        f"{part}-{kind}-ubyte.gz": gzipped(array)
        for part in ("train", "t10k")
        for kind, array in (("images-idx3", images), ("labels-idx1", labels))
    }
    serve("mnist", files, {"train": 2, "t10k": 2})
    serve("spam", {"spam.data": SPAM.encode()}, {"all": 6})


@pytest.mark.usefixtures("served")
def test_fetched_once_and_read_from_a_copy_without_a_network(site: Site, tmp_path: Path) -> None:
    stick, laptop = tmp_path / "stick", tmp_path / "laptop"
    assert lb.datasets.fetch("mnist", "spam", root=stick) == stick
    site.files.clear()
    shutil.copytree(stick, laptop)
    assert lb.datasets.mnist(root=laptop, train=False)[1][1] == 4
    assert lb.datasets.spam(root=laptop, download=False).shape == (6, 58)
    states = lb.datasets.stored(laptop, check=True)
    assert states["mnist"].startswith("whole")
    assert states["spam"].startswith("whole")
    assert states["cifar10"] == "absent"


@pytest.mark.usefixtures("served")
def test_a_damaged_copy_is_known_by_its_hash(tmp_path: Path) -> None:
    lb.datasets.fetch("mnist", "spam", root=tmp_path)
    spam = tmp_path / "spam" / "spam.data"
    spam.write_text(SPAM.replace("0.5", "0.7", 1))  # of which no checksum is published
    images = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(gzipped(np.zeros((2, 28, 28), np.uint8)))
    states = lb.datasets.stored(tmp_path, check=True)
    assert "spam.data changed since it was fetched" in states["spam"]
    assert states["mnist"].startswith("damaged: ")
    assert "SHA-256" in states["mnist"]
    assert lb.datasets.stored(tmp_path)["spam"].startswith("there")


@pytest.mark.usefixtures("served")
def test_an_incomplete_set_is_completed(site: Site, tmp_path: Path) -> None:
    lb.datasets.fetch("mnist", root=tmp_path)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert lb.datasets.stored(tmp_path)["mnist"] == "incomplete: 3 of 4 files"
    asked = len(site.asked)
    lb.datasets.fetch("mnist", root=tmp_path)
    assert len(site.asked) == asked + 1
    assert lb.datasets.stored(tmp_path)["mnist"].startswith("there")


@pytest.mark.usefixtures("served")
def test_one_damaged_file_is_refused_when_fetched_again(tmp_path: Path) -> None:
    lb.datasets.fetch("mnist", root=tmp_path)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"cut off")
    with pytest.raises(lb.DownloadError, match="delete"):
        lb.datasets.fetch("mnist", root=tmp_path)


def test_unknown_names_are_refused_before_anything_is_fetched(site: Site) -> None:
    with pytest.raises(lb.OptionError, match="Did you mean 'mnist'"):
        lb.datasets.fetch("spam", "minst")
    with pytest.raises(lb.OptionError, match="no name"):
        lb.datasets.fetch()
    assert not site.asked


@pytest.mark.usefixtures("served")
def test_the_command(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "fetch", "mnist", "spam", "--root", str(tmp_path)]) == 0
    assert f"LUMBRE_DATA={tmp_path}" in capsys.readouterr().out
    assert main(["datasets", "list", "--root", str(tmp_path), "--check"]) == 0
    said = capsys.readouterr().out
    assert "mnist                  whole" in said
    assert "IMDb: reviews of films" in said
    (tmp_path / "spam" / "spam.data").write_text("")
    assert main(["datasets", "list", "--root", str(tmp_path), "--check"]) == 1
    assert main(["datasets", "fetch", "minst"]) == 2
    site.files.clear()
    shutil.rmtree(tmp_path / "spam")
    assert main(["datasets", "fetch", "spam", "mnist", "--root", str(tmp_path)]) == 1
    seen = capsys.readouterr()
    assert "mnist: verified" in seen.out
    assert "spam: " in seen.err
