"""Simple models beside a net: on the same rows and columns, with intervals, and said where the net loses."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


class Line(nn.Module):
    def __init__(self, d_in: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(d_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def numbers(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    return x, x @ torch.tensor([1.0, 2.0, 0.0]) + torch.randn(rows, generator=generator)


def fitted_line(loss: nn.Module | None = None, metrics=(), **options) -> lb.Fitted:
    recipe = lb.setup(Line, loss=loss or nn.MSELoss(), optimizer=optim.LBFGS, metrics=list(metrics))
    return recipe.fit(numbers(300, 0), epochs=3, batch_size=300, verbose=False, preflight=False)


def test_a_linear_net_is_the_linear_model() -> None:
    fitted = fitted_line()
    found = fitted.baselines(numbers(300, 0), numbers(400, 1))
    frame = found.frame().set_index("model")
    assert list(frame.index) == ["the net", "constant", "linear", "gradient boosting"]
    assert list(frame.columns) == ["value", "difference", "low", "high"]
    assert frame.loc["linear", "value"] == pytest.approx(frame.loc["the net", "value"], rel=1e-4)
    assert frame.loc["the net", "value"] == pytest.approx(fitted.evaluate(numbers(400, 1)).metrics["loss"], rel=1e-5)
    assert frame.loc["constant", "low"] > 0
    assert "is better than constant" in found.verdict


def test_a_net_that_loses_is_said_to_in_the_first_line_of_the_report(in_tmp) -> None:
    fitted = fitted_line(metrics=[lb.metrics.R2()])
    with torch.no_grad():
        fitted.model.layer.weight.zero_()
    found = fitted.baselines(numbers(300, 0), numbers(200, 1))
    assert found.metric == "r2"
    assert found.verdict.startswith("On 200 rows the net (r2 ")
    assert "is worse than" in found.verdict.split(";")[0]
    assert "linear" in found.verdict.split(";")[0]
    fitted.report("report.html")
    page = (in_tmp / "report.html").read_text()
    assert page.index("is worse than") < page.index('class="tiles"')
    fitted.save("line.lumbre")
    lb.load("line.lumbre", Line).report("again.html")
    assert "is worse than" in (in_tmp / "again.html").read_text()


def test_a_report_computes_nothing_unasked(in_tmp) -> None:
    fitted = fitted_line()
    fitted.report("report.html")
    page = (in_tmp / "report.html").read_text()
    assert "is better than" not in page
    assert "Computed after training" not in page


def test_the_interval_of_a_difference_is_that_of_rows() -> None:
    fitted = fitted_line()
    x, y = numbers(400, 1)
    frame = fitted.baselines(numbers(300, 0), (x, y)).frame().set_index("model")
    from sklearn.ensemble import HistGradientBoostingRegressor

    train = numbers(300, 0)
    boosted = HistGradientBoostingRegressor(random_state=0).fit(train[0].double(), train[1].double())
    errors = (torch.from_numpy(boosted.predict(x.double())) - y) ** 2 - (fitted.predict(x) - y) ** 2
    half = 1.96 * errors.std().item() / 20
    assert frame.loc["gradient boosting", "difference"] == pytest.approx(errors.mean().item(), rel=1e-3)
    width = frame.loc["gradient boosting", "high"] - frame.loc["gradient boosting", "low"]
    assert width == pytest.approx(2 * half, rel=0.15)


@pytest.mark.parametrize("one_hot", ["one-hot", "codes"])
def test_classes_of_a_frame(one_hot: str, tmp_path) -> None:
    class Coded(nn.Module):
        def __init__(self, d_in: int) -> None:
            super().__init__()
            self.table, self.layer = nn.Embedding(3, 2), nn.Linear(d_in, 3)

        def forward(self, numbers: Tensor, codes: Tensor | None = None) -> Tensor:
            parts = [numbers] if codes is None else [numbers, self.table(codes[:, 0])]
            return self.layer(torch.cat(parts, 1))

    frame = lb.datasets.penguins(drop_missing=True)
    features = ["island", "bill_length_mm", "bill_depth_mm"]
    train, test = lb.split(lb.data.from_frame(frame, target="species", features=features, categories=one_hot), 0.7, 0.3)
    metrics = [lb.metrics.ConfusionMatrix(), lb.metrics.Accuracy()]
    recipe = lb.setup(Coded, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=metrics)
    recipe = recipe.set_opt_hparams(lr=0.05).set_hparams(d_in=5 if one_hot == "one-hot" else 4)
    fitted = recipe.fit(train, epochs=10, verbose=False, preflight=False)
    found = fitted.baselines(train, test)
    assert found.metric == "acc"
    table = found.frame().set_index("model")
    assert table.loc["linear", "value"] > 0.9 > table.loc["constant", "value"]
    loss = fitted.baselines(train, test, "loss").frame().set_index("model")
    assert loss.loc["the net", "value"] == pytest.approx(fitted.evaluate(test).metrics["loss"], rel=1e-4)
    assert loss.loc["constant", "low"] > 0
    found.plot().save(tmp_path / "baselines.png", verbose=False)
    assert "constant" in repr(found)
    assert repr(found) == repr(fitted.baselines(train, test))


@pytest.mark.parametrize(
    ("loss", "metric"),
    [(nn.BCEWithLogitsLoss(), lb.metrics.BinaryAccuracyWithLogits()), (nn.L1Loss(), lb.metrics.MAE())],
)
def test_other_scales(loss: nn.Module, metric: lb.metrics.Metric) -> None:
    x, y = numbers(300, 0)
    y = (y > 0).float() if isinstance(loss, nn.BCEWithLogitsLoss) else y
    recipe = lb.setup(Line, loss=loss, optimizer=optim.Adam, metrics=metric).set_opt_hparams(lr=0.05)
    fitted = recipe.fit((x, y), epochs=20, verbose=False, preflight=False)
    for wanted in (None, "loss"):
        frame = fitted.baselines((x, y), (x, y), wanted).frame().set_index("model")
        assert frame.loc["constant", "low"] > 0
        assert np.isfinite(frame["value"]).all()


def test_counts_are_compared_as_counts() -> None:
    x, _ = numbers(500, 0)
    y = torch.poisson(torch.exp(0.5 + 0.7 * x[:, 0]), generator=torch.Generator().manual_seed(0))
    recipe = lb.setup(Line, loss=nn.PoissonNLLLoss(), optimizer=optim.LBFGS, metrics=lb.metrics.MAE())
    fitted = recipe.fit((x, y), epochs=4, batch_size=500, verbose=False, preflight=False)
    frame = fitted.baselines((x, y), (x, y), "loss").frame().set_index("model")
    assert frame.loc["linear", "value"] == pytest.approx(frame.loc["the net", "value"], abs=1e-4)
    frame = fitted.baselines((x, y), (x, y)).frame().set_index("model")
    assert frame.loc["linear", "value"] == pytest.approx(frame.loc["the net", "value"], abs=1e-3)
    assert frame.loc["the net", "value"] == pytest.approx(fitted.evaluate((x, y)).metrics["mae"], abs=1e-5)


def test_without_scikit_learn_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    fitted = fitted_line()
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(lb.MissingExtraError, match=r"lumbre\[sklearn\]"):
        fitted.baselines(numbers(300, 0), numbers(50, 1))


def test_what_cannot_be_compared_is_said() -> None:
    fitted = fitted_line()
    x, y = numbers(50, 1)
    with pytest.raises(lb.DataError, match="target"):
        fitted.baselines((x, y), (x, None))
    with pytest.raises(lb.OptionError, match="accuracy"):
        fitted.baselines((x, y), (x, y), "accuracy")


def test_several_targets_of_yes_and_no_have_a_simple_model_each() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, generator=generator)
    y = (x @ torch.tensor([[1.0, -1.0], [0.5, 1.0]]) + torch.randn(300, 2, generator=generator) > 0.3).float()
    recipe = lb.setup(nn.Linear, loss=nn.BCEWithLogitsLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.set_hparams(in_features=2, out_features=2).fit((x[:200], y[:200]), epochs=15, verbose=False)
    found = fitted.baselines((x[:200], y[:200]), (x[200:], y[200:]))
    values = {name: value for name, value, *_ in found.values}
    share = y[:200].mean(0).expand(100, 2)
    assert values["constant"] == pytest.approx(float(nn.functional.binary_cross_entropy(share, y[200:])), rel=1e-5)
    linear = pytest.importorskip("sklearn.linear_model")
    losses = pytest.importorskip("sklearn.metrics").log_loss
    scaled = (x - x[:200].mean(0)) / x[:200].std(0, correction=0)
    by_hand = [
        losses(y[200:, at], linear.LogisticRegression().fit(scaled[:200], y[:200, at]).predict_proba(scaled[200:]))
        for at in (0, 1)
    ]
    assert values["linear"] == pytest.approx(sum(by_hand) / 2, rel=1e-3)


def test_a_response_of_the_users_own_is_measured_by_metrics_of_it() -> None:
    x = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, 0].exp()
    recipe = lb.setup(
        lambda: nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)),
        loss=lambda pred, target: ((pred - target.log()) ** 2).mean(),
        optimizer=optim.Adam,
        response=lambda pred: pred.exp(),
    )
    fitted = recipe.fit((x[:80], y[:80]), epochs=2, verbose=False, preflight=False)
    found = fitted.baselines((x[:80], y[:80]), (x[80:], y[80:]), lb.metrics.MAE())
    values = {name: value for name, value, *_ in found.values}
    assert values["the net"] == pytest.approx(float((fitted.predict(x[80:]).exp() - y[80:]).abs().mean()), rel=1e-5)
    assert values["constant"] == pytest.approx(float((y[:80].mean() - y[80:]).abs().mean()), rel=1e-5)


def test_simple_models_see_a_category_that_was_not_there_as_none_of_those_that_were() -> None:
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    frame = pandas.DataFrame({"size": random.normal(size=120), "town": random.choice(["a", "b", "c"], 120)})
    frame["price"] = frame["size"] + frame["town"].map({"a": 9.0, "b": 0.0, "c": 1.0})
    new = frame.assign(town="elsewhere", price=frame["size"])

    class ByCode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
            return self.layer(numbers)[:, 0] + 0 * codes[:, 0]

    class ByColumn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[:, 0]

    values = []
    for net, how in ((ByCode, "codes"), (ByColumn, "one-hot")):
        data = lb.data.from_frame(frame, target="price", categories=how, unknown="ignore")
        fitted = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.Adam).fit(
            data, epochs=1, verbose=False, preflight=False
        )
        values.append({name: value for name, value, *_ in fitted.baselines(data, new).values})
    assert values[0]["linear"] == pytest.approx(values[1]["linear"], rel=1e-3)
    assert values[0]["gradient boosting"] == pytest.approx(values[1]["gradient boosting"], rel=1e-3)
