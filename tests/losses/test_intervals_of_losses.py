"""Intervals that losses of counts, of heavy tails and of ordered classes give: the quantiles of scipy, cut at 0."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn, optim

import lumbre as lb

LEVELS = [0.01, 0.5, 0.9, 0.999]
OPTIONS: Any = {"verbose": False, "preflight": False}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("log_df", [-1.0, 0.0, 1.6, 6.0])
def test_students_interval_is_that_of_scipy(level: float, log_df: float) -> None:
    loss = lb.losses.StudentNLL().double()
    loss.log_df.data.fill_(log_df)
    loss.log_scale.data.fill_(0.4)
    pred = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None]
    low, high = loss.interval(pred, level)
    expected = stats.t.interval(level, np.exp(log_df), pred.numpy(), np.exp(0.4))
    assert low.shape == high.shape == pred.shape
    assert np.allclose(low.detach(), expected[0], rtol=1e-6)
    assert np.allclose(high.detach(), expected[1], rtol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_poissons_interval_is_that_of_scipy(level: float) -> None:
    pred = torch.linspace(-8, 12, 401, dtype=torch.float64)
    low, high = lb.losses.Poisson().interval(pred, level)
    expected = stats.poisson.interval(level, pred.exp().numpy())
    assert np.array_equal(low, expected[0])
    assert np.array_equal(high, expected[1])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("log_alpha", [-20.0, -3.0, 0.0, 3.0])
def test_the_negative_binomial_interval_is_that_of_scipy(level: float, log_alpha: float) -> None:
    loss = lb.losses.NegativeBinomial().double()
    loss.log_alpha.data.fill_(log_alpha)
    pred = torch.linspace(-8, 12, 101, dtype=torch.float64)[:, None]
    low, high = loss.interval(pred, level)
    mean, size = pred.exp().numpy(), np.exp(-log_alpha)
    expected = stats.nbinom.interval(level, size, size / (size + mean))
    assert low.shape == high.shape == pred.shape
    assert np.array_equal(low, expected[0])
    assert np.array_equal(high, expected[1])


@pytest.mark.parametrize("level", LEVELS)
def test_the_ordinal_interval_is_that_of_scipy(level: float) -> None:
    loss, pred = lb.losses.Ordinal(5), torch.linspace(-6, 9, 41)[:, None]
    low, high = loss.interval(pred, level)
    shares = loss.response(pred).detach().double()
    shares = (shares / shares.sum(1, keepdim=True)).numpy()
    expected = np.array([stats.rv_discrete(values=(np.arange(5), one)).interval(level) for one in shares])
    assert np.array_equal(np.stack([low, high], 1), expected)


def test_a_rate_of_nothing_and_one_that_is_huge() -> None:
    for loss in (lb.losses.Poisson(), lb.losses.NegativeBinomial()):
        low, high = loss.interval(torch.tensor([-800.0, 30.0]))
        assert low[0].item() == high[0].item() == 0
        assert low[1] < high[1]
        with pytest.raises(lb.OptionError, match="level=2"):
            loss.interval(torch.zeros(2), 2)
    with pytest.raises(lb.OptionError, match="level=2"):
        lb.losses.StudentNLL().interval(torch.zeros(2), 2)
    with pytest.raises(lb.OptionError, match="level=2"):
        lb.losses.Ordinal(3).interval(torch.zeros(2), 2)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def counts(rows: int, *, alpha: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 2, generator=generator)
    rates = torch.exp(0.3 + 0.6 * x[:, 0])
    if alpha:
        rates = rates * torch._standard_gamma(torch.full((rows,), 1 / alpha), generator=generator) * alpha
    return x, torch.poisson(rates, generator=generator)


@pytest.mark.parametrize(
    ("loss", "kind", "alpha"),
    [
        (lb.losses.Poisson(), "quantiles", 0.0),
        (lb.losses.NegativeBinomial(), "quantiles", 0.5),
        (nn.PoissonNLLLoss(), "absolute", 0.0),
        (nn.PoissonNLLLoss(), "absolute", 0.5),
    ],
    ids=["Poisson", "NegativeBinomial", "of torch", "of torch, wide"],
)
def test_intervals_of_counts_cover_and_begin_at_0(loss: Any, kind: str, alpha: float, in_tmp) -> None:
    x, y = counts(3000, alpha=alpha)
    recipe = lb.setup(Line, loss=loss, optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.fit((x[:1000], y[:1000]), epochs=15, **OPTIONS)
    assert fitted.conformal((x[1000:2000], y[1000:2000]), 0.9).kind == kind
    frame = fitted.predict(x[2000:], interval=True)
    truth = y[2000:].numpy()
    assert frame["lower"].min() == 0
    assert ((frame["lower"] <= truth) & (truth <= frame["upper"])).mean() >= 0.87
    fitted.save("counts.lumbre")
    again = lb.load("counts.lumbre", lb.setup(Line, loss=loss, optimizer=optim.Adam))
    assert again.predict(x[2000:], interval=True).equals(frame)


def test_intervals_of_heavy_tails_cover() -> None:
    x, _ = counts(3000)
    y = x[:, 0] + 0.3 * torch.from_numpy(np.random.default_rng(0).standard_t(3, 3000)).float()
    recipe = lb.setup(Line, loss=lb.losses.StudentNLL(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.fit((x[:1000], y[:1000]), epochs=30, **OPTIONS)
    found = fitted.conformal((x[1000:2000], y[1000:2000]), 0.9)
    assert found.kind == "quantiles"
    frame, truth = fitted.predict(x[2000:], interval=True), y[2000:].numpy()
    assert ((frame["lower"] <= truth) & (truth <= frame["upper"])).mean() == pytest.approx(0.9, abs=0.03)
    assert frame["lower"].min() < 0
