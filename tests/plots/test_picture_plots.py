"""The plane, grids of images, and the rows that are most wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre import plots

plotnine = pytest.importorskip("plotnine")


def plane(rows: int = 200) -> tuple[Tensor, Tensor]:
    """Points of the plane, of class 1 right of x = 0."""
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def images(rows: int = 40, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures that are bright above, class 0, or below, class 1."""
    target = torch.arange(rows) % 2
    pictures = 0.2 * torch.rand(rows, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    pictures[target == 0, :, :3] += 0.7
    pictures[target == 1, :, 3:] += 0.7
    return pictures, target


def trained(module, loss, data, epochs: int = 20, **hparams) -> lb.Fitted:
    recipe = lb.setup(module, loss=loss, optimizer=optim.Adam).set_hparams(**hparams).set_opt_hparams(lr=0.02)
    return recipe.fit(data, epochs=epochs, verbose=False)


@pytest.fixture(scope="module")
def classifier() -> lb.Fitted:
    return trained(Net, nn.CrossEntropyLoss(), plane(), d_in=2, n_class=2)


@pytest.fixture(scope="module")
def seer() -> lb.Fitted:
    return trained(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), nn.CrossEntropyLoss(), images(), epochs=5)


def draw(chart, folder: Path) -> None:
    (chart + plotnine.theme_bw()).save(folder / "chart.png", dpi=40, verbose=False)
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_regions_are_what_the_model_predicts_there(classifier: lb.Fitted, tmp_path: Path) -> None:
    chart = plots.decision_regions(classifier, plane(), resolution=20, rows=50)
    grid = chart.data
    assert len(grid) == 400
    points = torch.tensor(grid[["x", "y"]].to_numpy(), dtype=torch.float32)
    assert grid["predicted"].astype(int).tolist() == classifier.predict_classes(points).tolist()
    np.testing.assert_allclose(grid["probability"], classifier.predict(points).softmax(1).max(1).values, rtol=1e-5)
    assert ((grid["x"] > 0) == (grid["predicted"] == "1")).mean() > 0.9, "the border lies near x = 0"
    drawn = chart.layers[1]._data
    x, y = plane()
    rows = [int((x - torch.tensor([px, py])).abs().sum(1).argmin()) for px, py in zip(drawn.x, drawn.y, strict=True)]
    assert drawn["truth"].astype(int).tolist() == y[rows].tolist()
    assert len(set(rows)) == 50
    draw(chart, tmp_path)


def test_regions_of_one_output_and_the_surface_of_a_regression(tmp_path: Path) -> None:
    x, y = plane()
    single = trained(nn.Linear, nn.BCEWithLogitsLoss(), (x, y.float()[:, None]), in_features=2, out_features=1)
    grid = plots.decision_regions(single, (x, y.float()[:, None]), resolution=15).data
    points = torch.tensor(grid[["x", "y"]].to_numpy(), dtype=torch.float32)
    assert grid["predicted"].astype(int).tolist() == (single.predict(points)[:, 0] > 0).int().tolist()
    data = (x, 2 * x[:, :1] + 0.01 * x[:, 1:])
    chart = plots.decision_regions(trained(nn.Linear, nn.MSELoss(), data, in_features=2, out_features=1), data)
    assert chart.data["predicted"].corr(chart.data["x"]) > 0.9
    draw(chart, tmp_path)


def test_axes_have_the_columns_of_a_frame_in_their_units(tmp_path: Path) -> None:
    penguins = lb.datasets.penguins(drop_missing=True)
    features = ["bill_length_mm", "bill_depth_mm"]
    data = lb.data.from_frame(penguins, target="species", features=features)
    fitted = trained(Net, nn.CrossEntropyLoss(), data, epochs=5, d_in=2)
    for given in (data, penguins[[*features, "species"]]):
        chart = plots.decision_regions(fitted, given, resolution=20)
        assert list(chart.data.columns) == [*features, "predicted", "probability"]
        assert chart.data["bill_length_mm"].between(28, 64).all()
        assert chart.data["predicted"].tolist() == fitted.predict_classes(chart.data[features]).tolist()
        assert set(chart.layers[1]._data["bill_length_mm"]) <= set(penguins["bill_length_mm"])
    draw(chart, tmp_path)


def test_more_than_a_plane_is_refused(classifier: lb.Fitted) -> None:
    space = trained(Net, nn.CrossEntropyLoss(), blobs(), epochs=1, d_in=4)
    with pytest.raises(lb.DataError, match=r"two numbers a row: shape \(rows, 2\)"):
        plots.decision_regions(space, blobs())
    with pytest.raises(lb.OptionError, match="resolution=1"):
        plots.decision_regions(classifier, plane(), resolution=1)
    penguins = lb.data.from_frame(lb.datasets.penguins(drop_missing=True), target="species")
    with pytest.raises(lb.DataError, match="two features, both of them numbers"):
        plots.decision_regions(trained(Net, nn.CrossEntropyLoss(), penguins, epochs=1, d_in=penguins.width), penguins)


def test_a_grid_shows_the_images_and_marks_the_wrong_ones(seer: lb.Fitted, tmp_path: Path) -> None:
    pictures, target = images()
    target[3] = 1 - target[3]
    grid = plots.predictions_grid(seer, (pictures, target), 4, choose="first")
    assert grid.frame["correct"].tolist() == [True, True, True, False]
    shown = [axes.images[0].get_array() for axes in grid.figure.axes]
    np.testing.assert_allclose(np.stack(shown), pictures[:4, 0], rtol=1e-6)
    texts = [axes.texts[0].get_text() for axes in grid.figure.axes]
    assert texts[0].startswith("true 0\n✓ 0 (")
    assert texts[3].startswith("true 0\n✗ 1 (")
    framed = [axes.spines["left"].get_visible() for axes in grid.figure.axes]
    assert framed == [False, False, False, True]
    grid.save(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as saved:
        assert grid.tensor.shape == (3, saved.height, saved.width)
    assert grid.tensor.dtype == torch.uint8
    assert grid._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("n", [1, 2, 5, 13, 40])
def test_texts_stay_inside_the_picture_and_off_each_other(seer: lb.Fitted, n: int) -> None:
    pictures, target = images()
    names = ("a class with a name far too long for the picture", "b")
    named = trained(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2)),
        nn.CrossEntropyLoss(),
        lb.data.InMemoryDataset(pictures, target, classes=names),
        epochs=1,
    )
    grid = plots.predictions_grid(named, (pictures, target), n)
    assert grid.tensor.shape[0] == 3
    renderer = grid.figure.canvas.get_renderer()
    boxes = [part.get_window_extent(renderer) for axes in grid.figure.axes for part in (axes.texts[0], axes.images[0])]
    whole = grid.figure.bbox
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1 for box in boxes)
    overlaps = [
        (one, other) for i, one in enumerate(boxes) for other in boxes[i + 1 :] if one.shrunk(0.98, 0.9).overlaps(other)
    ]
    assert not overlaps


def test_standardised_colour_images_of_a_regression_are_shown() -> None:
    pictures, target = images(channels=3)
    standard = (pictures - 0.5) * 4
    data = (standard, target.float()[:, None] * 2)
    fitted = trained(lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 1)), nn.MSELoss(), data, epochs=1)
    grid = plots.predictions_grid(fitted, data, 4)
    shown = np.stack([axes.images[0].get_array() for axes in grid.figure.axes])
    assert shown.shape == (4, 6, 6, 3)
    assert (float(shown.min()), float(shown.max())) == pytest.approx((0, 1))
    assert grid.figure.axes[0].texts[0].get_text().startswith(f"true {grid.frame['truth'][0]:.3g}\npredicted")


def test_the_most_wrong_images_come_as_a_grid_worst_first(seer: lb.Fitted) -> None:
    pictures, target = images()
    target[[5, 11]] = 1 - target[[5, 11]]
    grid = plots.most_wrong(seer, (pictures, target), 6)
    assert isinstance(grid, plots.PictureGrid)
    assert set(grid.frame["row"][:2]) == {5, 11}
    assert grid.frame["loss"].is_monotonic_decreasing


def test_the_most_wrong_rows_of_a_table_come_with_their_columns(classifier: lb.Fitted) -> None:
    x, y = plane()
    table = plots.most_wrong(classifier, (x, y), 3)
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_allclose(table[["x0", "x1"]], x[table["row"].tolist()])
    assert table["loss"].is_monotonic_decreasing
    penguins = lb.datasets.penguins(drop_missing=True)
    data = lb.data.from_frame(penguins, target="species", features=["bill_length_mm", "sex"])
    fitted = trained(Net, nn.CrossEntropyLoss(), data, epochs=1, d_in=3)
    table = plots.most_wrong(fitted, penguins, 4)
    assert isinstance(table, pd.DataFrame)
    raw = penguins.loc[table["row"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(table[list(penguins.columns)], raw)
    assert table["truth"].astype(str).tolist() == raw["species"].tolist()


def test_what_is_no_image_has_no_grid(classifier: lb.Fitted, seer: lb.Fitted) -> None:
    with pytest.raises(lb.DataError, match="most_wrong"):
        plots.predictions_grid(classifier, plane())
    with pytest.raises(lb.OptionError, match="at most 400 images"):
        plots.predictions_grid(seer, images(), 500)
