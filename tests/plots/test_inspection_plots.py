"""Pictures of the inside of a model: the right numbers in the right panels, and files that can be opened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.base import DataError, OptionError

pytest.importorskip("plotnine")


def looked(net: nn.Module, data: Any, **options: Any) -> lb.inspect.Inspection:
    return lb.inspect.activations(net, data, keep=True, **options)


def saved(chart: Any, folder: Path) -> None:
    chart.save(folder / "chart.png", dpi=40, verbose=False)
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_histograms_leave_out_the_zeros_of_relu(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Tanh())
    found = looked(net, blobs()[0])
    chart = found.plot()
    assert [title.split("\n")[0] for title in chart.data["layer"].cat.categories] == ["0", "1", "2", "3"]
    assert f"{found.layers['1'].zeros:.0%} zeros" in chart.data["layer"].cat.categories[1]
    shares = chart.data.groupby("layer", observed=True)["share"].sum()
    assert shares.iloc[0] >= 0.99
    assert shares.iloc[1] == pytest.approx(1 - found.layers["1"].zeros, abs=0.011)
    saved(chart, tmp_path)


def test_planes_have_a_panel_for_each_layer_of_two_units(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 5), nn.Linear(5, 2))
    x, y = torch.randn(30, 2), torch.arange(30) % 2
    found = looked(net, (x, y), layers=["input", "*"])
    chart = found.plot_planes()
    assert list(chart.data["layer"].cat.categories) == ["input", "0", "1", "3"]
    of_input = chart.data[chart.data["layer"] == "input"]
    np.testing.assert_allclose(of_input[["x", "y"]], x.numpy(), rtol=1e-6)
    assert of_input["target"].tolist() == [str(int(label)) for label in y]
    saved(chart, tmp_path)
    assert set(found.plot_planes("1").data["layer"]) == {"1"}
    assert "target" in looked(net, (x, torch.rand(30))).plot_planes().data
    assert "target" not in looked(net, x).plot_planes().data


def test_names_of_classes_and_many_rows() -> None:
    x, y = torch.randn(5_000, 2), torch.arange(5_000) % 2
    data = lb.data.InMemoryDataset(x, y, classes=["left", "right"])
    chart = looked(nn.Linear(2, 2), data, batch_size=1000).plot_planes()
    assert set(chart.data["target"]) == {"left", "right"}
    assert len(chart.data) <= 2_000


def test_feature_maps_hold_the_values_of_a_row(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 7))
    found = looked(net, torch.randn(3, 1, 8, 8), layers=["input", "0", "3"])
    chart = found.plot_maps(1, maps=4)
    titles = [title.split("\n") for title in chart.data["layer"].cat.categories]
    assert titles == [["input", "8 x 8"], ["0", "4 of 5 maps, 6 x 6"], ["3", "7 units"]]
    counts = chart.data.groupby("layer", observed=True).size()
    assert counts.tolist() == [64, 4 * 36, 7]
    values = chart.data[chart.data["layer"] == chart.data["layer"].cat.categories[0]]
    expected = (found["input"][1] / found["input"][1].abs().max()).flatten().numpy()
    np.testing.assert_allclose(values.sort_values(["y", "x"])["value"], expected, rtol=1e-5)
    saved(chart, tmp_path)


def watched(**options: Any) -> lb.inspect.Inspect:
    look = lb.inspect.Inspect(every=2, **options)
    recipe = lb.setup(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam
    )
    recipe.fit(blobs(), epochs=8, callbacks=look, verbose=False)
    return look


def test_ridges_stand_one_behind_the_other(tmp_path: Path) -> None:
    look = watched()
    for what in ("activations", "gradients", "weights", "weight_gradients"):
        chart = look.plot(what)
        assert chart.data["step"].nunique() == 12 < len({record.step for record in look.records})
        assert chart.data["height"].max() == pytest.approx(1.6)
        assert set(chart.data["layer"]) == {r.statistics.layer for r in look.records if r.what == what}
    saved(look.plot(), tmp_path)


def test_update_ratios_are_lines(tmp_path: Path) -> None:
    chart = watched().plot("updates")
    assert list(chart.data["parameter"].cat.categories) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert (chart.data["ratio"] > 0).all()
    saved(chart, tmp_path)


@pytest.mark.filterwarnings("error")
def test_update_ratios_of_a_single_sample_are_points(tmp_path: Path) -> None:
    plotnine = pytest.importorskip("plotnine")
    look = lb.inspect.Inspect(every=1_000, what="updates")
    lb.setup(nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(
        blobs(), epochs=1, callbacks=look, verbose=False
    )
    chart = look.plot("updates")
    kinds = {type(layer.geom) for layer in chart.layers}
    assert plotnine.geom_point in kinds
    assert plotnine.geom_line not in kinds
    saved(chart, tmp_path)


def test_of_many_parameters_those_with_two_dimensions_are_drawn() -> None:
    look = lb.inspect.Inspect(every=2, what="updates")
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(
        blobs(), epochs=1, callbacks=look, ignore="LB027", verbose=False
    )
    chart = look.plot("updates")
    assert set(chart.data["parameter"]) == {f"{place}.weight" for place in range(12)}
    assert "12 of 24" in chart.labels.subtitle


def test_what_cannot_be_drawn_says_why() -> None:
    net, x = nn.Linear(4, 3), blobs()[0]
    with pytest.raises(DataError, match="not kept"):
        lb.inspect.activations(net, x).plot_planes()
    with pytest.raises(DataError, match=r"kept layers: output \(120, 3\)"):
        looked(net, x).plot_planes()
    with pytest.raises(OptionError, match="row=120 of 120 rows"):
        looked(net, x).plot_maps(120)
    with pytest.raises(OptionError, match="Did you mean 'output'"):
        looked(net, x).plot_maps(layers="outptu")
    with pytest.raises(OptionError, match="maps=0"):
        looked(net, x).plot_maps(maps=0)
    with pytest.raises(DataError, match="records of weights"):
        watched(what="weights").plot("activations")
    broken = nn.Linear(4, 3)
    nn.init.constant_(broken.weight, float("nan"))
    with pytest.raises(DataError, match="without finite values"):
        lb.inspect.activations(broken, x).plot()
