"""Predictions are compared, drawn and measured on the scale of the target, which the loss says."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

METRICS = (lb.metrics.R2(), lb.metrics.MAE(), lb.metrics.MSE(), lb.metrics.RMSE())
Response = Callable[[Tensor], Tensor]


def trained(loss: Any, data: tuple[Tensor, Tensor], outputs: int = 1, **parts: Any) -> lb.Fitted:
    torch.manual_seed(0)
    module = parts.pop("module", None) or nn.Linear(data[0].shape[1], outputs)
    recipe = lb.setup(module, loss=loss, optimizer=optim.Adam, metrics=METRICS, **parts).set_opt_hparams(lr=0.05)
    return recipe.fit(data, epochs=20, preflight=False, verbose=False)


def counts() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(400, 2)
    return x, torch.poisson((x.sum(1, keepdim=True) / 2 + 1).exp())


def shares() -> tuple[Tensor, Tensor]:
    """Three shares a row, none of them 0 or 1."""
    x, _ = counts()
    return x, (x @ torch.tensor([[1.0, -1, 0], [0, 1, -1]])).softmax(1)


def same(scores: Tensor) -> Tensor:
    return scores


NUMBERS: dict[str, tuple[Any, Callable[[], tuple[Tensor, Tensor]], int, Response]] = {
    "poisson": (nn.PoissonNLLLoss(), counts, 1, torch.exp),
    "poisson by function": (F.poisson_nll_loss, counts, 1, torch.exp),
    "poisson by partial": (functools.partial(F.poisson_nll_loss, full=True), counts, 1, torch.exp),
    "poisson by two partials": (
        functools.partial(functools.partial(F.poisson_nll_loss), eps=1e-6),
        counts,
        1,
        torch.exp,
    ),
    "squares": (nn.MSELoss(), counts, 1, same),
    "huber": (F.huber_loss, counts, 1, same),
    "shares by logits": (nn.BCEWithLogitsLoss(), shares, 3, torch.sigmoid),
    "shares by a function of logits": (F.binary_cross_entropy_with_logits, shares, 3, torch.sigmoid),
    "shares by cross-entropy": (nn.CrossEntropyLoss(), shares, 3, lambda scores: scores.softmax(1)),
    "many labels": (nn.MultiLabelSoftMarginLoss(), lambda: (counts()[0], shares()[1].round()), 3, torch.sigmoid),
    "signs": (nn.SoftMarginLoss(), lambda: (counts()[0], counts()[0][:, :1].sign()), 1, lambda s: 2 * s.sigmoid() - 1),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_on_the_scale_of_the_target(name: str) -> None:
    loss, data, outputs, response = NUMBERS[name]
    x, y = data()
    fitted = trained(loss, (x, y), outputs)
    expected = response(fitted.predict(x)).double()
    torch.testing.assert_close(fitted.predict_response(x).double(), expected, rtol=1e-5, atol=1e-6)
    frame = fitted.compare((x, y))
    np.testing.assert_allclose(frame["predicted"], expected.reshape(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(frame["residual"], (y - expected).reshape(-1), rtol=1e-5, atol=1e-5)
    found, error = fitted.evaluate((x, y)).metrics, expected - y
    r2 = 1 - error.square().sum(0) / (y.double() - y.double().mean(0)).square().sum(0)
    for metric, value in (("mae", error.abs().mean()), ("mse", error.square().mean()), ("r2", r2.mean())):
        assert found[metric] == pytest.approx(value.item(), rel=1e-4), metric


def test_a_poisson_net_that_fits_is_shown_as_one(tmp_path: Path) -> None:
    x, y = counts()
    torch.manual_seed(0)
    recipe = lb.setup(nn.Linear(2, 1), loss=nn.PoissonNLLLoss(), optimizer=optim.Adam, metrics=METRICS)
    fitted = recipe.set_opt_hparams(lr=0.05).fit((x, y), epochs=20, valid_data=0.25, verbose=False)
    assert fitted.evaluate((x, y)).metrics["r2"] > 0.6
    history = fitted.history_wide
    assert history["valid_r2"].iloc[-1] > 0.6
    assert history["train_r2"].iloc[-1] > 0.6
    pytest.importorskip("plotnine")
    assert "R² 0.6" in lb.plots.predicted_vs_true(fitted, (x, y)).labels.subtitle
    assert lb.plots.decision_regions(fitted, (x, y), resolution=9).data["predicted"].min() > 0
    fitted.report(tmp_path / "report.html", (x, y))
    assert "R² 0.6" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_poisson_loss_of_counts_leaves_them() -> None:
    x, y = counts()
    net = nn.Sequential(nn.Linear(2, 1), nn.Softplus())
    for loss in (nn.PoissonNLLLoss(log_input=False), functools.partial(F.poisson_nll_loss, log_input=False)):
        fitted = trained(loss, (x, y), module=net)
        assert torch.equal(fitted.predict_response(x), fitted.predict(x))


def test_an_own_response_comes_first() -> None:
    x, y = counts()

    def log_squares(pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target.log1p()).square().mean()

    class Net(nn.Linear):
        def response(self, pred: Tensor) -> Tensor:
            return pred.expm1()

    class Loss(nn.Module):
        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return log_squares(pred, target)

        def response(self, pred: Tensor) -> Tensor:
            return pred.expm1()

    by = {
        "setup": trained(log_squares, (x, y), response=torch.expm1),
        "module": trained(log_squares, (x, y), module=Net(2, 1)),
        "loss": trained(Loss(), (x, y)),
        "nobody": trained(log_squares, (x, y)),
        "over the table": trained(nn.PoissonNLLLoss(), (x, y), response=lambda pred: 0 * pred + 3),
    }
    for name in ("setup", "module", "loss"):
        np.testing.assert_allclose(by[name].compare((x, y))["predicted"], by[name].predict(x).expm1()[:, 0], rtol=1e-5)
        assert by[name].evaluate((x, y)).metrics["r2"] > 0.6
    assert torch.equal(by["nobody"].predict_response(x), by["nobody"].predict(x).expm1())  # seen from the loss
    assert set(by["over the table"].compare((x, y))["predicted"]) == {3.0}
    with pytest.raises(lb.RecipeError, match="response"):
        lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD, response="exp")


def test_mean_and_variance_are_compared_by_the_mean() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.spread = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.mean(x), self.spread(x).exp()

    class Gaussian(nn.GaussianNLLLoss):
        def forward(self, pred: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
            return super().forward(pred[0], target, pred[1])

    x, _ = counts()
    y = x.sum(1, keepdim=True)
    fitted = trained(Gaussian(), (x, y), module=Both())
    np.testing.assert_allclose(fitted.compare((x, y))["predicted"], fitted.predict(x)[0][:, 0], rtol=1e-6)
    assert fitted.evaluate((x, y)).metrics["mae"] == pytest.approx((fitted.predict(x)[0] - y).abs().mean().item(), 1e-5)


def test_probabilities_of_many_labels_are_one_by_one() -> None:
    x, y = counts()[0], shares()[1].round()
    fitted = trained(nn.BCEWithLogitsLoss(), (x, y), 3)
    torch.testing.assert_close(fitted.predict_probabilities(x), fitted.predict(x).sigmoid())


def test_a_file_keeps_the_scale(tmp_path: Path) -> None:
    x, y = counts()

    class Net(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 1)

    fitted = trained(nn.PoissonNLLLoss(), (x, y), module=Net())
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Net)
    assert torch.equal(again.predict_response(x), fitted.predict_response(x))
    np.testing.assert_array_equal(again.compare((x, y))["predicted"], fitted.compare((x, y))["predicted"])
    own = trained(lambda pred, target: F.mse_loss(pred, target.log1p()), (x, y), module=Net(), response=torch.expm1)
    own.save(tmp_path / "own.lumbre")
    with pytest.raises(lb.DataError, match="without the function"):
        lb.load(tmp_path / "own.lumbre", Net).compare((x, y))
    recipe = lb.setup(Net, loss=nn.MSELoss(), optimizer=optim.SGD, response=torch.expm1)
    assert torch.equal(lb.load(tmp_path / "own.lumbre", recipe).predict_response(x), own.predict_response(x))


def test_a_compiled_step_measures_on_the_same_scale() -> None:
    torch.manual_seed(0)
    x, y = counts()
    seen = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        recipe = lb.setup(nn.Linear(2, 1), loss=nn.PoissonNLLLoss(), optimizer=optim.Adam, metrics=METRICS)
        fitted = recipe.fit((x, y), epochs=2, engine=engine, verbose=False)
        seen.append(fitted.history_wide[["train_r2", "train_mae"]].to_numpy())
    np.testing.assert_allclose(*seen, rtol=1e-4)


def log_of_shares(pred: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(pred.log(), target)


def focal(pred: Tensor, target: Tensor) -> Tensor:
    loss = F.cross_entropy(pred, target, reduction="none")
    return ((1 - (-loss).exp()).square() * loss).mean()


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loss = nn.PoissonNLLLoss()

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return 2 * self.loss(pred.squeeze(1), target.squeeze(1))


OWN_LOSSES: dict[str, tuple[Any, Callable[[], tuple[Tensor, Tensor]], int, Response]] = {
    "a function around poisson": (lambda p, t: F.poisson_nll_loss(p, t), counts, 1, torch.exp),
    "a module around poisson": (Around(), counts, 1, torch.exp),
    "poisson of an exponential": (lambda p, t: F.poisson_nll_loss(p.exp(), t, False), counts, 1, torch.exp),
    "squares of an exponential": (lambda p, t: F.mse_loss(p.exp(), t), counts, 1, torch.exp),
    "squares of a logarithm": (lambda p, t: F.mse_loss(p, (t + 2).log()), counts, 1, same),
    "squares of log1p": (lambda p, t: F.mse_loss(p, t.log1p()), counts, 1, torch.expm1),
    "errors of logarithms": (lambda p, t: F.l1_loss(p, t.log()), shares, 3, torch.exp),
    "two that agree": (lambda p, t: F.mse_loss(p, t) + F.l1_loss(p, t), counts, 1, same),
    "two that do not": (lambda p, t: F.mse_loss(p, t) + F.poisson_nll_loss(p, t), counts, 1, same),
    "poisson by hand": (lambda p, t: (p.exp() - t * p).mean(), counts, 1, torch.exp),
    "gamma by hand": (lambda p, t: (p + t * (-p).exp()).sum() / len(t), shares, 3, torch.exp),
    "a distribution": (lambda p, t: -torch.distributions.Poisson(p.exp()).log_prob(t).mean(), counts, 1, torch.exp),
    "squares of log1p by hand": (lambda p, t: (p - t.log1p()).square().mean(), counts, 1, torch.expm1),
    "poisson of a softplus": (lambda p, t: (F.softplus(p) - t * F.softplus(p).log()).mean(), counts, 1, F.softplus),
    "entropy by hand": (
        lambda p, t: -(t * F.logsigmoid(p) + (1 - t) * F.logsigmoid(-p)).mean(),
        shares,
        3,
        torch.sigmoid,
    ),
    "errors by hand": (lambda p, t: (p - t).abs().mean(), counts, 1, same),
    "by hand": (lambda p, t: (p - t).square().mean(), counts, 1, same),
    "shares of a sigmoid": (lambda p, t: F.binary_cross_entropy(p.sigmoid(), t), shares, 3, torch.sigmoid),
    "shares by divergence": (
        lambda p, t: F.kl_div(p.log_softmax(1), t, reduction="batchmean"),
        shares,
        3,
        lambda scores: scores.softmax(1),
    ),
}


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "float32") for name in OWN_LOSSES),
        *((name, "bfloat16") for name in [*list(OWN_LOSSES)[:3], "poisson by hand"]),
    ],
)
def test_a_loss_around_one_of_torch_says_what_that_says(name: str, precision: str, tmp_path: Path) -> None:
    loss, data, outputs, response = OWN_LOSSES[name]
    x, y = data()

    class Line(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, outputs)

    recipe = lb.setup(Line, loss=loss, optimizer=optim.Adam, metrics=METRICS)
    fitted = recipe.fit((x, y), epochs=1, preflight=False, verbose=False, precision=precision)
    expected = response(fitted.predict(x)).double()
    torch.testing.assert_close(fitted.predict_response(x).double(), expected, rtol=1e-5, atol=1e-6)
    error = expected - y
    assert fitted.evaluate((x, y)).metrics["mse"] == pytest.approx(error.square().mean().item(), rel=1e-4)
    np.testing.assert_allclose(fitted.compare((x, y))["residual"], -error.reshape(-1), rtol=1e-5, atol=1e-5)
    fitted.save(tmp_path / "line.lumbre")
    torch.testing.assert_close(lb.load(tmp_path / "line.lumbre", Line).predict_response(x).double(), expected)


def test_classes_of_a_loss_of_ones_own() -> None:
    x, y = counts()[0], torch.arange(400) % 3
    soft = nn.Sequential(nn.Linear(2, 3), nn.Softmax(1))
    options: Any = {"epochs": 1, "preflight": False, "verbose": False}
    of_scores = lb.setup(nn.Linear(2, 3), loss=focal, optimizer=optim.Adam).fit((x, y), **options)
    torch.testing.assert_close(of_scores.predict_response(x).sum(1), torch.ones(400))
    fitted = lb.setup(soft, loss=log_of_shares, optimizer=optim.Adam).fit((x, y), **options)
    torch.testing.assert_close(fitted.predict_probabilities(x), fitted.predict(x))


def test_a_loss_is_watched_without_a_trace() -> None:
    seen: list[float] = []

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        seen.append(1.0)
        return (pred - target).square().mean() * (1 + torch.rand(()))

    x, y = counts()
    fitted = trained(loss, (x, y), module=nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)))
    assert len(seen) == 20 * 13  # epochs and batches
    assert fitted.model[1].num_batches_tracked.item() == 20 * 13


def test_a_model_loaded_without_its_response_is_not_measured_by_the_wrong_scale(tmp_path: Path) -> None:
    x, y = counts()

    def log_squares(pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target.log1p()).square().mean()

    class Line(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 1)

    fitted = trained(log_squares, (x, y), module=Line(), response=torch.expm1)
    fitted.save(tmp_path / "line.lumbre")
    parts: Any = {"loss": log_squares, "optimizer": optim.Adam, "metrics": METRICS}
    without, beside = (
        lb.load(tmp_path / "line.lumbre", lb.setup(Line, **parts, **more)) for more in ({}, {"response": torch.expm1})
    )
    assert beside.evaluate((x, y)).metrics == fitted.evaluate((x, y)).metrics
    for verb in (without.evaluate, without.compare):
        with pytest.raises(lb.DataError, match="response="):
            verb((x, y))
