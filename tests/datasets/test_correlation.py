"""Guess the correlation: the archive's real layout, and the plots that are drawn instead."""

from pathlib import Path

import loopback
import numpy as np
import pytest
import torch
from loopback import Serve, picture, zipped
from scipy.stats import kstest
from torch.utils.data import DataLoader

import lumbre as lb
from lumbre.datasets import _correlation
from lumbre.datasets._correlation import drawn, points

# Fixtures; a conftest.py here would hide the one above from the other tests.
serve, site = loopback.serve, loopback.site

synthetic = lb.datasets.guess_the_correlation


def _served(serve: Serve, **changes: bytes) -> None:
    images = {f"train_imgs/{name}.png": picture(shade, (150, 150), "PNG", "L") for name, shade in _IDS.items()}
    files = {
        "train_imgs.zip": zipped(images),
        "test_imgs.zip": zipped({"test_imgs/unknown.png": picture((9, 9, 9), (150, 150), "PNG")}),
        "train.csv": b"id,corr\narjskzyc,-0.45781\ntrueno,0.8\n0012,0.0\n",
        "example_submition.csv": b"id,corr\nunknown,0.5\n",
    }
    serve("guess_the_correlation", {"guess-the-correlation.zip": zipped(files | changes)}, {"train": 3})


_IDS = {"arjskzyc": 10, "trueno": 20, "0012": 30}


def test_the_archive(serve: Serve, tmp_path: Path) -> None:
    _served(serve)
    data = lb.datasets.guess_the_correlation(root=tmp_path, transform=None)
    assert data.input.shape == (3, 1, 150, 150)
    assert data.input.dtype == torch.uint8
    assert data.input[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert data.target.dtype == torch.float32
    assert data.target.tolist() == pytest.approx([-0.45781, 0.8, 0.0])
    some = lb.datasets.guess_the_correlation(root=tmp_path, indexes=[2, 0])
    assert some[0][0].unique().tolist() == pytest.approx([30 / 255])
    assert some.target.tolist() == pytest.approx([0.0, -0.45781])
    left = lb.datasets.guess_the_correlation(root=tmp_path, split="submission")
    assert left.target is None
    assert left[0].shape == (1, 150, 150)
    with pytest.raises(lb.DataError, match="row numbers from 0 to 2"):
        lb.datasets.guess_the_correlation(root=tmp_path, indexes=range(4))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train.csv": b"id,corr\narjskzyc,1\n"}, "gives 1 of guess_the_correlation's train"),
        ({"train.csv": b"id,corr\narjskzyc,1.5\ntrueno,0\n0012,0\n"}, "values beyond -1 and 1"),
        ({"train.csv": b"id,corr\narjskzyc,1\ntrueno,\n0012,0\n"}, "values beyond -1 and 1, or none"),
        ({"train.csv": b"id,corr\narjskzyc,1\ntrueno,x\n0012,0\n"}, "values beyond -1 and 1, or none"),
        ({"train.csv": b"name,corr\na,1\nb,1\nc,1\n"}, "has the columns name, corr"),
        ({"train.csv": b""}, "cannot be read"),
        ({"train.csv": b"id,corr\narjskzyc,1\nother,0\n0012,0\n"}, "without an image of 'other'"),
        ({"train_imgs.zip": b"no zip"}, "cannot be read"),
        (
            {"train_imgs.zip": zipped({f"train_imgs/{i}.png": picture(1, (20, 150), "PNG", "L") for i in _IDS})},
            "150 x 150 pixels",
        ),
    ],
)
def test_an_archive_with_something_else(changes: dict[str, bytes], said: str, serve: Serve, tmp_path: Path) -> None:
    _served(serve, **changes)
    with pytest.raises(lb.DownloadError, match=said):
        lb.datasets.guess_the_correlation(root=tmp_path)


def test_an_image_too_large_is_not_read(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _served(serve)
    monkeypatch.setattr(_correlation, "_LARGEST_IMAGE_BYTES", 20)
    with pytest.raises(lb.DownloadError, match="whose image 'arjskzyc' is too large"):
        lb.datasets.guess_the_correlation(root=tmp_path)


def test_the_tutorials_loaders() -> None:
    """Batches of 64 of 10,000, 5,000 and 5,000 rows, cut to the plot."""
    parts = [
        synthetic(indexes=rows, synthetic=True, transform=lambda x: lb.datasets.to_float(x)[..., 0:130, 20:150])
        for rows in (range(10_000), range(10_000, 15_000), range(15_000, 20_000))
    ]
    assert [len(part) for part in parts] == [10_000, 5_000, 5_000]
    loaders = [DataLoader(part, batch_size=64) for part in parts]
    assert [len(loader) for loader in loaders] == [157, 79, 79]
    image, target = next(iter(loaders[0]))
    assert image.shape == (64, 1, 130, 130)
    assert target.shape == (64,)
    assert target.dtype == torch.float32
    # Correlations are spread evenly: mean 0, variance 1/3, and as many in each tenth (chi squared, 9 degrees).
    all_targets = torch.cat([part.target for part in parts])
    assert all_targets.mean().abs() < 5 / np.sqrt(3 * 20_000)
    assert float(all_targets.var()) == pytest.approx(1 / 3, abs=0.01)
    counts = torch.histc(all_targets, 10, -1, 1)
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 33.7  # one in ten thousand exceeds it
    # Neighbours know nothing of each other: four standard deviations of the correlation of independent ones.
    assert abs(np.corrcoef(all_targets[:-1], all_targets[1:])[0, 1]) < 4 / np.sqrt(20_000)
    # The same image never comes twice.
    assert len({hash(image.tobytes()) for image in parts[0].input.numpy()}) == 10_000


def test_a_plot_depends_on_its_index_alone() -> None:
    one = synthetic(indexes=[5, 123_456], synthetic=True)
    other = synthetic(indexes=[7, 123_456, 5], synthetic=True)
    assert torch.equal(one.input[0], other.input[2])
    assert torch.equal(one.input[1], other.input[1])
    assert torch.equal(one.target, other.target[[2, 1]])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    synthetic(indexes=[1], synthetic=True)
    assert torch.equal(before, torch.get_rng_state())
    left = synthetic(indexes=[5], synthetic=True, split="submission")
    assert left.target is None
    assert not torch.equal(left.input[0], one.input[0])


def test_the_target_is_the_correlation_of_the_points() -> None:
    for index in range(300):
        x, y, correlation = points(index)
        assert 50 <= len(x) == len(y) <= 150
        assert np.corrcoef(x, y)[0, 1] == pytest.approx(correlation, abs=1e-12)


def test_the_points_are_normal_and_their_relation_a_line() -> None:
    """Kolmogorov-Smirnov at one in ten thousand; a curve would leave the residuals correlated with the squares of x."""
    x, residual, squares = [], [], []
    for index in range(300):
        across, up, correlation = points(index)
        scale = np.sqrt(len(across))
        x.append(across * scale)
        residual.append((up - correlation * across) / np.sqrt(1 - correlation**2) * scale)
        squares.append(x[-1] ** 2)
    for sample in (x, residual):
        assert kstest(np.concatenate(sample), "norm").pvalue > 1e-4
    count = sum(map(len, x))
    assert abs(np.corrcoef(np.concatenate(squares), np.concatenate(residual))[0, 1]) < 4 / np.sqrt(count)


def test_the_picture_shows_the_points() -> None:
    """The correlation of the ink's coordinates is that of the points, but for overlaps and whole pixels."""
    data = synthetic(indexes=range(500), synthetic=True, transform=None)
    ink = data.input[:, 0, 0:130, 20:150] == 0
    for plot, target in zip(ink, data.target, strict=True):
        rows, columns = plot.nonzero().to(torch.float64).unbind(1)
        seen = float(torch.corrcoef(torch.stack([columns, -rows]))[0, 1])
        assert seen == pytest.approx(float(target), abs=0.06)
    # Nothing but paper and ink; the axes stand outside the plot, the points inside.
    assert data.input.unique().tolist() == [0, 255]
    assert (data.input[:, 0, :130, 19] == 0).all()
    assert (data.input[:, 0, 130, 19:] == 0).all()
    assert (data.input[:, 0, 131:] == 255).all()
    assert (data.input[:, 0, :, :19] == 255).all()
    assert not ink[:, 0:3].any()
    assert not ink[:, :, -3:].any()


def test_ends_of_the_scale() -> None:
    x = np.linspace(-1, 1, 50)
    assert drawn(x, x)[125, 24] == 0
    assert drawn(x, x)[4, 145] == 0
    assert drawn(x, -x)[4, 24] == 0


def test_words_that_are_not_known() -> None:
    with pytest.raises(lb.DataError, match="Did you mean 'train'"):
        synthetic(split="trian", synthetic=True)
    with pytest.raises(lb.DataError, match="counted from 0"):
        synthetic(indexes=[-1], synthetic=True)
