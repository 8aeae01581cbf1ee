"""Charts of numbers and of weights: right values, cells where rows are many, panels where outputs are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import lumbre as lb
from lumbre import plots

plotnine = pytest.importorskip("plotnine")


def numbers(rows: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=rows)
    return pd.DataFrame({"truth": truth, "predicted": 0.9 * truth + 0.2 * generator.normal(size=rows)})


def draw(chart, folder: Path) -> None:
    (chart + plotnine.theme_bw()).save(folder / "chart.png", dpi=40, verbose=False)
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_regression_beside_its_truth(line: lb.Recipe, tmp_path: Path) -> None:
    x = torch.linspace(0, 1, 50)[:, None]
    fitted = line.fit((x, 2 * x), epochs=5, verbose=False)
    chart = plots.predicted_vs_true(fitted, (x, 2 * x))
    np.testing.assert_allclose(chart.data["predicted"], fitted.predict(x)[:, 0], rtol=1e-6)
    error = nn.functional.mse_loss(fitted.predict(x), 2 * x).sqrt()
    assert f"RMSE {error:.3g}, 50 rows" in chart.labels.subtitle
    draw(chart, tmp_path)
    residual = plots.residuals(fitted, (x, 2 * x))
    np.testing.assert_allclose(residual.data["residual"], (2 * x - fitted.predict(x))[:, 0], atol=1e-6)
    draw(residual, tmp_path)


def test_axes_and_panels_bear_the_names_of_the_targets() -> None:
    frame = numbers(60).rename(columns={"truth": "size", "predicted": "price in $"}).assign(rooms=range(60))
    for target in (["price in $"], ["price in $", "rooms"]):
        data = lb.data.from_frame(frame, target=target, features=["size"])
        net = nn.Linear(1, len(target))
        fitted = lb.setup(net, loss=nn.MSELoss(), optimizer=torch.optim.SGD).fit(data, epochs=1, verbose=False)
        chart = plots.predicted_vs_true(fitted, data)
        residual = plots.residuals(fitted, data)
        if len(target) == 1:
            assert (chart.labels.x, chart.labels.y) == (r"price in \$: true", r"price in \$: predicted")
            assert residual.labels.x == r"price in \$: predicted"
        else:
            written = {text.get_text() for text in chart.draw().findobj(lambda part: hasattr(part, "get_text"))}
            assert {r"price in \$", "rooms"} <= written


def test_r2_is_that_of_scikit_learn() -> None:
    measures = pytest.importorskip("sklearn.metrics")
    frame = numbers(200)
    expected = measures.r2_score(frame["truth"], frame["predicted"])
    assert f"R² {expected:.3f}" in plots.predicted_vs_true(frame).labels.subtitle


@pytest.mark.parametrize(("chart", "x", "y"), [(plots.predicted_vs_true, 0, 1), (plots.residuals, 1, 2)])
def test_many_rows_are_counted_in_cells(chart, x: int, y: int, tmp_path: Path) -> None:
    frame = numbers(1_000_000)
    plot = chart(frame)
    cells = plot.data
    assert len(cells) <= 3_600
    assert cells["rows"].sum() == 1_000_000
    names = ["truth", "predicted", "residual"]
    frame["residual"] = frame["truth"] - frame["predicted"]
    for name in (names[x], names[y]):
        mean = np.average(cells[name], weights=cells["rows"])
        assert mean == pytest.approx(frame[name].mean(), abs=0.01)
    draw(plot, tmp_path)


def test_the_trend_of_residuals_shows_what_the_model_missed() -> None:
    x = np.linspace(-1, 1, 2_000)
    chart = plots.residuals(pd.DataFrame({"truth": x**2 + x, "predicted": x}))
    trend = chart.layers[-1]._data
    assert len(trend) == 20
    np.testing.assert_allclose(trend["residual"], trend["predicted"] ** 2, atol=0.01)


@pytest.mark.parametrize("rows", [1, 20, 3_000])
@pytest.mark.parametrize("chart", [plots.predicted_vs_true, plots.residuals])
def test_several_outputs_have_a_panel_each(chart, rows: int, tmp_path: Path) -> None:
    frame = pd.concat([numbers(rows).assign(output=number) for number in range(2)])
    plot = chart(frame)
    assert plot.facet.vars == ["output"]
    assert f"2 outputs, {rows:,} rows" in plot.labels.subtitle
    draw(plot, tmp_path)


@pytest.mark.parametrize("chart", [plots.predicted_vs_true, plots.residuals])
def test_numbers_that_are_not_finite_are_refused(chart) -> None:
    frame = numbers(5)
    frame.loc[2, "predicted"] = np.inf
    with pytest.raises(lb.DataError, match="not finite"):
        chart(frame)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.norm = nn.BatchNorm1d(5)
        self.last = nn.Linear(5, 40)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)))


def test_weights_are_all_counted_once_in_the_order_of_the_layers(tmp_path: Path) -> None:
    net = Small()
    chart = plots.weight_distributions(net, "*")
    counted = chart.data.groupby("parameter", observed=True)["count"].sum()
    assert [title.split("\n")[0] for title in counted.index] == [name for name, _ in net.named_parameters()]
    assert counted.tolist() == [values.numel() for values in net.parameters()]
    last = chart.data[chart.data["parameter"].str.startswith("last.weight")]
    mean = np.average(last["value"], weights=last["count"])
    assert mean == pytest.approx(net.last.weight.mean().item(), abs=0.02)
    draw(chart, tmp_path)


def test_weights_of_a_part_and_of_a_large_net(line: lb.Recipe, tmp_path: Path) -> None:
    x = torch.ones(4, 1)
    assert plots.weight_distributions(line.fit((x, x), epochs=1, verbose=False)).data["count"].sum() == 1
    assert plots.weight_distributions(Small(), "last.*").data["parameter"].nunique() == 2
    deep = nn.Sequential(*(nn.Linear(width, 2) for width in range(2, 32)))
    chart = plots.weight_distributions(deep)
    assert chart.labels.subtitle == "the 24 largest of 30 tensors"
    titles = [title.split("\n")[0] for title in chart.data["parameter"].cat.categories]
    assert titles == [f"{number}.weight" for number in range(6, 30)]


def test_bad_weights_are_refused() -> None:
    with pytest.raises(lb.OptionError, match=r"first\.weight, first\.bias"):
        plots.weight_distributions(Small(), "encoder.*")
    with pytest.raises(lb.OptionError, match="a str"):
        plots.weight_distributions("net")
    diverged = Small()
    with torch.no_grad():
        diverged.first.weight[0, 0] = float("nan")
    with pytest.raises(lb.DataError, match=r"first\.weight with values that are not finite"):
        plots.weight_distributions(diverged)
