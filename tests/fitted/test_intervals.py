"""Conformal intervals cover what they promise, and probabilities mean what they say after calibration."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


def fitted_line(x: Tensor, y: Tensor) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.LBFGS)
    recipe = recipe.set_hparams(in_features=x.shape[1], out_features=y.shape[1])
    return recipe.fit((x, y), epochs=3, batch_size=len(x), verbose=False, preflight=False)


def simulated() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(700, 2, generator=generator)
    # Neither linear nor of constant spread.
    return x, x[:, :1] ** 2 + x[:, 1:] * torch.randn(700, 1, generator=generator)


def real() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return torch.from_numpy(x).float() * 20, torch.from_numpy((y - y.mean()) / y.std()).float()[:, None]


def coverage(x: Tensor, y: Tensor, level: float) -> float:
    """The mean share of new rows that is covered, over 200 splits."""
    fitted = fitted_line(x[:100], y[:100])
    rest, generator, covered = torch.arange(100, len(x)), torch.Generator().manual_seed(1), []
    for _ in range(200):
        order = rest[torch.randperm(len(rest), generator=generator)]
        some, others = order[:150], order[150:]
        fitted.conformal((x[some], y[some]), level=level)
        frame = fitted.predict(x[others], interval=True)
        truth = y[others, 0].numpy()
        covered.append(((frame["lower"] <= truth) & (truth <= frame["upper"])).mean())
    return float(np.mean(covered))


@pytest.mark.parametrize("level", [0.9, 0.5])
@pytest.mark.parametrize("data", [simulated, real])
def test_intervals_cover_what_was_asked_for(data, level: float) -> None:
    assert abs(coverage(*data(), level) - level) < 0.02


def classes() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 4, (900,), generator=generator)
    return torch.eye(4)[y] + 0.7 * torch.randn(900, 4, generator=generator), y


@pytest.fixture(scope="module")
def classifier() -> lb.Fitted:
    x, y = classes()
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.LBFGS)
    recipe = recipe.set_hparams(in_features=4, out_features=4)
    return recipe.fit((x[:60], y[:60]), epochs=8, batch_size=60, verbose=False, preflight=False)


def test_sets_of_classes_cover_what_was_asked_for(classifier: lb.Fitted) -> None:
    x, y = classes()
    rest, generator, covered, sizes = torch.arange(60, 900), torch.Generator().manual_seed(1), [], []
    for _ in range(200):
        order = rest[torch.randperm(len(rest), generator=generator)]
        some, others = order[:300], order[300:]
        found = classifier.conformal((x[some], y[some]))
        frame = classifier.predict(x[others], interval=True)
        covered.append(np.mean([truth in few for truth, few in zip(y[others].tolist(), frame["set"], strict=True)]))
        sizes.append(frame["size"].mean())
    assert found.kind == "classes"
    assert abs(np.mean(covered) - 0.9) < 0.02
    assert 1 < np.mean(sizes) < 3
    assert list(frame.columns) == ["prediction", "set", "size"]
    assert all(one in few for one, few in zip(frame["prediction"], frame["set"], strict=True))


def test_the_quantile_is_that_of_a_finite_sample() -> None:
    x = torch.zeros(19, 1)
    fitted = fitted_line(torch.randn(10, 1), torch.zeros(10, 1))
    y = fitted.predict(x) + torch.arange(1.0, 20.0)[:, None]
    assert fitted.conformal((x, y), 0.9).margins[0] == pytest.approx(18, abs=1e-3)  # rank ceil(20 * 0.9)
    assert fitted.conformal((x, y), 0.95).margins[0] == pytest.approx(19, abs=1e-3)
    with pytest.raises(lb.OptionError, match="at least 24 rows"):
        fitted.conformal((x, y), 0.96)


def test_several_outputs() -> None:
    x = torch.randn(50, 2)
    fitted = fitted_line(x, torch.cat([x, 10 * torch.randn(50, 1)], 1))
    found = fitted.conformal((x, torch.cat([x, 10 * torch.randn(50, 1)], 1)))
    assert len(found.margins) == 3
    assert found.margins[2] > found.margins[0]
    frame = fitted.predict(x[:4], interval=True)
    assert list(frame.columns) == ["row", "output", "prediction", "lower", "upper"]
    assert len(frame) == 12


class Vector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def test_intervals_are_on_the_scale_of_the_target() -> None:
    x = torch.randn(200, 2)
    y = torch.poisson(torch.exp(1 + x[:, 0]))
    fitted = lb.setup(Vector, loss=nn.PoissonNLLLoss(), optimizer=optim.LBFGS)
    fitted = fitted.fit((x, y), epochs=2, batch_size=200, verbose=False, preflight=False)
    margin = fitted.conformal((x, y)).margins[0]
    frame = fitted.predict(x, interval=True)
    assert np.allclose(frame["prediction"], fitted.predict_response(x))
    assert np.allclose(frame["upper"] - frame["prediction"], margin, atol=1e-4)


def test_they_are_in_the_file_and_in_the_plot(in_tmp) -> None:
    x, y = simulated()
    fitted = fitted_line(x[:100], y[:100])
    assert "lower" not in fitted.compare((x, y))
    fitted.conformal((x[100:300], y[100:300]))
    frame = fitted.compare((x[300:], y[300:]))
    assert frame[["lower", "upper"]].equals(fitted.predict(x[300:], interval=True)[["lower", "upper"]])
    fitted.save("line.lumbre")
    again = lb.load("line.lumbre", nn.Linear)
    assert again.predict(x, interval=True).equals(fitted.predict(x, interval=True))
    chart = lb.plots.predicted_vs_true(fitted, (x[300:], y[300:]))
    assert "intervals cover 9" in chart.labels.subtitle or "intervals cover 8" in chart.labels.subtitle
    chart.save("intervals.png", verbose=False)


def test_without_calibration_there_are_none() -> None:
    x, y = simulated()
    fitted = fitted_line(x, y)
    with pytest.raises(lb.OptionError, match="conformal"):
        fitted.predict(x, interval=True)
    for level in (0, 1, 90):
        with pytest.raises(lb.OptionError, match="level"):
            fitted.conformal((x, y), level=level)
    with pytest.raises(lb.DataError, match="target"):
        fitted.conformal((x, None))


def too_sure() -> tuple[lb.Fitted, Tensor, Tensor]:
    """A model whose scores are three times as large as they should be."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 3, generator=generator)
    y = torch.multinomial(x.softmax(1), 1, generator=generator)[:, 0]
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    recipe = recipe.set_hparams(in_features=3, out_features=3)
    fitted = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        fitted.model.weight.copy_(3 * torch.eye(3))
        fitted.model.bias.zero_()
    return fitted, x, y


def test_sets_hold_the_truth_as_often_after_a_later_calibration(in_tmp) -> None:
    fitted, x, y = too_sure()
    fitted.conformal((x[:2000], y[:2000]), level=0.9)
    before = fitted.predict(x[2000:], interval=True)
    fitted.calibrate((x[:2000], y[:2000]))
    assert fitted.predict(x[2000:], interval=True).equals(before)
    held = [int(truth) in classes for truth, classes in zip(y[2000:], before["set"], strict=True)]
    assert np.mean(held) > 0.87
    fitted.save("sets.lumbre")
    assert lb.load("sets.lumbre", nn.Linear).predict(x[2000:], interval=True).equals(before)


def test_the_temperature_is_found(in_tmp) -> None:
    fitted, x, y = too_sure()
    classes, before = fitted.predict_classes(x), fitted.predict_probabilities(x)
    found = fitted.calibrate((x[:2000], y[:2000]))
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.after < 0.03 < 0.1 < found.before
    assert np.array_equal(classes, fitted.predict_classes(x))
    after = fitted.predict_probabilities(x)
    assert torch.allclose(after, (before.log() / found.temperature).softmax(1), atol=1e-5)
    assert torch.allclose(fitted.predict_response(x), after)
    frame = fitted.compare((x, y))
    assert np.allclose(frame[["probability_0", "probability_1", "probability_2"]], after, atol=1e-6)
    # Calibrating twice is as good as once.
    assert fitted.calibrate((x[:2000], y[:2000])) == found
    fitted.save("sure.lumbre")
    assert torch.equal(lb.load("sure.lumbre", nn.Linear).predict_probabilities(x), after)
    assert "0." in repr(found)


def test_the_error_is_the_one_of_the_plot() -> None:
    fitted, x, y = too_sure()
    subtitle = lb.plots.calibration(fitted, (x, y), bins=15).labels.subtitle
    assert f"expected calibration error {fitted.calibrate((x, y)).before:.3f}" in subtitle


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_score_for_two_classes(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 2, generator=generator)
    y = (torch.rand(3000, generator=generator) < torch.sigmoid(x[:, 0])).float().reshape(shape)
    module = Vector if len(shape) == 1 else nn.Linear
    recipe = lb.setup(module, loss=nn.BCEWithLogitsLoss(), optimizer=optim.SGD)
    recipe = recipe if module is Vector else recipe.set_hparams(in_features=2, out_features=1)
    fitted = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    layer = fitted.model.layer if module is Vector else fitted.model
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0]]))
        layer.bias.zero_()
    assert fitted.calibrate((x, y)).temperature == pytest.approx(2, rel=0.15)
    shares = fitted.predict_probabilities(x)
    assert torch.allclose(shares[:, 1], torch.sigmoid(2 * x[:, 0] / fitted.calibrate((x, y)).temperature), atol=1e-5)
    assert torch.allclose(fitted.predict_response(x).reshape(-1), shares[:, 1], atol=1e-6)


def test_several_targets_of_yes_and_no_have_neither_intervals_nor_sets() -> None:
    """An interval around a probability, such as 0.65 to 1.28, would say nothing of a yes or no."""
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, :2] > 0).float()
    fitted = lb.setup(lambda: nn.Linear(3, 2), loss=nn.BCEWithLogitsLoss(), optimizer=optim.Adam).fit(
        (x, y), epochs=1, verbose=False, preflight=False
    )
    with pytest.raises(lb.DataError, match="several targets of yes and no"):
        fitted.conformal((x, y))


def test_rows_that_are_all_right_do_not_make_a_model_certain() -> None:
    fitted, x, _ = too_sure()
    before = fitted.predict_probabilities(x)
    found = fitted.calibrate((x, x.argmax(1)))
    assert found.temperature == 1
    assert found.before == found.after
    assert torch.equal(fitted.predict_probabilities(x), before)


def test_numbers_have_no_temperature() -> None:
    x, y = simulated()
    with pytest.raises(lb.DataError, match="scores of classes"):
        fitted_line(x, y).calibrate((x, y))


def test_frames_and_names_of_classes(in_tmp) -> None:
    frame = lb.datasets.penguins(drop_missing=True)
    data = lb.data.from_frame(frame, target="species", features=["bill_length_mm", "island"])
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    train, rest, test = lb.split(data, 0.5, 0.3, 0.2)
    fitted = recipe.set_hparams(in_features=data.width, out_features=3).fit(train, epochs=5, verbose=False)
    fitted.conformal(rest)
    found = fitted.predict(test, interval=True)
    assert isinstance(found, pd.DataFrame)
    assert set(found["prediction"]) <= {"Adelie", "Chinstrap", "Gentoo"}
    assert found["prediction"].tolist() == fitted.predict_classes(test).tolist()


def test_a_damaged_file_is_refused(in_tmp) -> None:
    from lumbre.fitted._intervals import checked_after

    for wrong in ({"temperature": 0.0}, {"temperature": "hot"}, {"intervals": {"kind": "none", "level": 0.9}}):
        with pytest.raises((ValueError, KeyError)):
            checked_after(wrong)


@pytest.mark.parametrize("loss", [lb.losses.GaussianNLL(), nn.MSELoss(), lb.losses.Quantiles((0.1, 0.5, 0.9))])
def test_a_column_and_a_vector_are_the_same_numbers(loss: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 2)
    y = x.sum(1) + torch.randn(100)
    net = nn.Linear(2, 3 if isinstance(loss, lb.losses.Quantiles) else 1)
    options: Any = {"epochs": 1, "verbose": False, "preflight": False}
    target = y if isinstance(loss, lb.losses.Quantiles) else y[:, None]
    fitted = lb.setup(net, loss=loss, optimizer=optim.SGD).fit((x, target), **options)
    expected = fitted.conformal((x, y[:, None]), 0.8)
    assert fitted.conformal((x, y), 0.8) == expected
    frame = fitted.predict(x, interval=True)
    inside = (frame["lower"].to_numpy() <= y.numpy() + 1e-6) & (y.numpy() <= frame["upper"].to_numpy() + 1e-6)
    assert inside.mean() >= 0.8
