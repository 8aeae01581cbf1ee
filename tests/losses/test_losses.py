"""Losses that describe a distribution: a linear net with each gives the estimates of statsmodels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

ROWS = 600


def inputs(seed: int = 0) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, 2, generator=generator, dtype=torch.float64), generator


def estimated(loss: nn.Module, x: Tensor, y: Tensor, outputs: int = 1, *, bias: bool = True) -> nn.Linear:
    """A linear net trained to the end, with the loss's own parameters."""
    net, loss = nn.Linear(x.shape[1], outputs, bias=bias).double(), loss.double()
    nn.init.zeros_(net.weight)
    parameters = [*net.parameters(), *loss.parameters()]
    optimizer = optim.LBFGS(
        parameters, max_iter=2000, tolerance_grad=1e-9, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        return value

    optimizer.step(closure)
    return net


def weights(net: nn.Linear) -> np.ndarray:
    parts = [net.weight[0]] if net.bias is None else [net.bias, net.weight[0]]
    return torch.cat(parts).detach().numpy()


def design(x: Tensor) -> np.ndarray:
    return np.column_stack([np.ones(len(x)), x.numpy()])


def test_gaussian() -> None:
    import statsmodels.api as sm

    x, generator = inputs()
    y = 1 + x @ torch.tensor([0.5, -2.0]).double() + 0.7 * torch.randn(ROWS, generator=generator).double()
    loss = lb.losses.GaussianNLL()
    net = estimated(loss, x, y)
    theirs = sm.OLS(y.numpy(), design(x)).fit()
    assert np.allclose(weights(net), theirs.params, atol=1e-3)
    assert loss.log_sigma.exp().item() == pytest.approx(np.sqrt(np.mean(theirs.resid**2)), abs=1e-3)
    assert loss(net(x), y).item() * ROWS == pytest.approx(-theirs.llf, rel=1e-6)


def test_student() -> None:
    from statsmodels.miscmodels.tmodel import TLinearModel

    x, generator = inputs()
    noise = torch.randn(ROWS, generator=generator).double() / torch.rand(ROWS, generator=generator).double().sqrt()
    y = 1 + x @ torch.tensor([0.5, -2.0]).double() + 0.5 * noise
    loss = lb.losses.StudentNLL()
    net = estimated(loss, x, y)
    theirs = TLinearModel(y.numpy(), design(x)).fit(disp=False, method="bfgs", maxiter=1000, gtol=1e-8)
    assert np.allclose(weights(net), theirs.params[:3], atol=1e-3)
    assert loss(net(x), y).item() * ROWS <= -theirs.llf + 1e-3


def test_poisson_with_exposure() -> None:
    import statsmodels.api as sm

    x, generator = inputs()
    exposure = 0.5 + 3 * torch.rand(ROWS, generator=generator).double()
    y = torch.poisson(exposure * torch.exp(0.3 + x @ torch.tensor([0.5, -0.4]).double()), generator=generator)
    loss = lb.losses.Poisson()
    theirs = sm.GLM(y.numpy(), design(x), sm.families.Poisson(), exposure=exposure.numpy()).fit()
    net = estimated(loss, x, torch.stack([y, exposure], 1))
    assert np.allclose(weights(net), theirs.params, atol=1e-3)
    assert loss(net(x), torch.stack([y, exposure], 1)).item() * ROWS == pytest.approx(-theirs.llf, rel=1e-6)
    theirs = sm.GLM(y.numpy(), design(x), sm.families.Poisson()).fit()
    assert np.allclose(weights(estimated(loss, x, y)), theirs.params, atol=1e-3)


def test_negative_binomial() -> None:
    import statsmodels.api as sm

    x, generator = inputs()
    rates = torch.exp(1 + x @ torch.tensor([0.5, -0.4]).double())
    y = torch.poisson(rates * torch._standard_gamma(torch.full((ROWS,), 2.0).double(), generator=generator) / 2)
    loss = lb.losses.NegativeBinomial()
    net = estimated(loss, x, y)
    theirs = sm.NegativeBinomial(y.numpy(), design(x)).fit(disp=False, method="newton", maxiter=200)
    assert np.allclose(weights(net), theirs.params[:3], atol=1e-3)
    assert loss.log_alpha.exp().item() == pytest.approx(theirs.params[3], abs=1e-3)
    assert loss(net(x), y).item() * ROWS == pytest.approx(-theirs.llf, rel=1e-6)


@pytest.mark.parametrize("level", [*(pytest.param(level, marks=pytest.mark.slow) for level in (0.25, 0.5)), 0.9])
def test_quantile_regression(level: float) -> None:
    import statsmodels.api as sm

    x, generator = inputs()
    y = 1 + x @ torch.tensor([0.5, -2.0]).double() + torch.randn(ROWS, generator=generator).double()
    theirs = sm.QuantReg(y.numpy(), design(x)).fit(q=level, max_iter=5000, p_tol=1e-10)
    loss, net = lb.losses.Quantiles((level,)), nn.Linear(2, 1).double()
    # A loss with corners has no gradient to follow to the end: smaller and smaller steps, from any first weights.
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.998)
    for _ in range(4000):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
        schedule.step()
    assert np.allclose(weights(net), theirs.params, atol=1e-3)
    best = loss(torch.from_numpy(design(x) @ theirs.params)[:, None], y).item()
    assert loss(net(x), y).item() == pytest.approx(best, abs=1e-5)


def test_ordinal() -> None:
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    x, generator = inputs()
    noise = torch.rand(ROWS, generator=generator).double().logit()
    y = torch.bucketize(x @ torch.tensor([1.0, -0.5]).double() + noise, torch.tensor([-1.0, 0.3, 1.5]).double())
    loss = lb.losses.Ordinal(4)
    net = estimated(loss, x, y, bias=False)
    theirs = OrderedModel(y.numpy(), x.numpy(), distr="logit").fit(disp=False, method="bfgs", maxiter=500)
    assert np.allclose(weights(net), theirs.params[:2], atol=1e-3)
    edges = theirs.model.transform_threshold_params(theirs.params[2:])[1:-1]
    assert np.allclose(loss.thresholds.detach().numpy(), edges, atol=1e-3)
    assert np.allclose(loss.response(net(x)).detach().numpy(), theirs.predict(), atol=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_cox(ties: bool) -> None:
    import statsmodels.api as sm

    x, generator = inputs()
    time = -torch.rand(ROWS, generator=generator).double().log() / torch.exp(x @ torch.tensor([0.7, -0.3]).double())
    time = (time * 5).ceil() if ties else time
    event = (torch.rand(ROWS, generator=generator) < 0.7).double()
    net = estimated(lb.losses.Cox(), x, torch.stack([time, event], 1), bias=False)
    theirs = sm.PHReg(time.numpy(), x.numpy(), status=event.numpy(), ties="breslow").fit()
    assert np.allclose(weights(net), theirs.params, atol=1e-3)


def test_a_mixture_finds_both_values() -> None:
    _, generator = inputs()
    x = torch.zeros(2000, 1)
    side = torch.randint(0, 2, (2000,), generator=generator)
    y = 4.0 * side - 2 + 0.3 * torch.randn(2000, generator=generator)
    loss = lb.losses.MixtureDensity(2)
    pred = torch.tensor([[0.0, 0.0, -2.0, 2.0, np.log(0.3), np.log(0.3)]]).float().repeat(2000, 1)
    normal = torch.distributions.Normal(0, 0.3)
    mixed = (0.5 * normal.log_prob(y + 2).exp() + 0.5 * normal.log_prob(y - 2).exp()).log()
    assert torch.allclose(loss(pred, y), -mixed.mean(), atol=1e-4)
    low, high = loss.interval(pred[:1], 0.9)
    assert high.item() == pytest.approx(2 + 0.3 * 1.2816, abs=1e-3)
    assert low.item() == pytest.approx(-high.item(), abs=1e-3)
    recipe = lb.setup(nn.Linear, loss=loss, optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    recipe = recipe.set_hparams(in_features=1, out_features=6)
    fitted = recipe.fit((x, y), epochs=40, verbose=False, preflight=False)
    drawn = loss.simulate(fitted.predict(x), generator)
    assert drawn.std().item() == pytest.approx(y.std().item(), rel=0.1)


@pytest.mark.parametrize(
    ("loss", "mean", "variance"),
    [
        (lb.losses.GaussianNLL(), 1.5, 1.0),
        (lb.losses.StudentNLL(), 1.5, 5 / 3),
        (lb.losses.Poisson(), np.exp(1.5), np.exp(1.5)),
        (lb.losses.NegativeBinomial(), np.exp(1.5), np.exp(1.5) + np.exp(3.0)),
    ],
)
def test_what_is_simulated_has_mean_and_variance(loss, mean: float, variance: float) -> None:
    pred, generator = torch.full((40_000,), 1.5), torch.Generator().manual_seed(0)
    drawn = loss.simulate(pred, generator)
    assert drawn.mean().item() == pytest.approx(mean, rel=0.03)
    assert drawn.var().item() == pytest.approx(variance, rel=0.1)
    assert loss.response(pred)[0].item() == pytest.approx(mean)
    again = loss.simulate(pred, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


class Line(nn.Module):
    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def test_the_spread_is_trained_and_kept(in_tmp) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 2, generator=generator)
    y = x[:, 0] + 0.3 * torch.randn(1000, generator=generator)
    recipe = lb.setup(Line, loss=lb.losses.GaussianNLL(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.fit((x, y), epochs=30, verbose=False)
    assert fitted.loss.log_sigma.exp().item() == pytest.approx(0.3, rel=0.1)
    assert list(fitted.compare((x, y)).columns) == ["row", "truth", "predicted", "residual", "loss"]
    found = fitted.conformal((x, y), 0.9)
    assert found.kind == "quantiles"
    assert abs(found.margins[0]) < 0.05  # the model was right about its spread
    fitted.save("line.lumbre")
    again = lb.load("line.lumbre", lb.setup(Line, loss=lb.losses.GaussianNLL(), optimizer=optim.Adam))
    assert again.predict(x, interval=True).equals(fitted.predict(x, interval=True))


def test_quantiles_are_moved_to_cover() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3000, 2, generator=generator)
    y = x[:, 0] * (1 + torch.randn(3000, generator=generator))
    recipe = lb.setup(nn.Linear, loss=lb.losses.Quantiles((0.2, 0.5, 0.8)), optimizer=optim.Adam)
    recipe = recipe.set_hparams(in_features=2, out_features=3).set_opt_hparams(lr=0.02)
    fitted = recipe.fit((x[:1000], y[:1000]), epochs=15, verbose=False)
    fitted.conformal((x[1000:2000], y[1000:2000]), 0.9)
    frame = fitted.predict(x[2000:], interval=True)
    truth = y[2000:].numpy()
    assert ((frame["lower"] <= truth) & (truth <= frame["upper"])).mean() == pytest.approx(0.9, abs=0.03)
    width = (frame["upper"] - frame["lower"]).to_numpy()
    assert np.corrcoef(width, x[2000:, 0])[0, 1] > 0.8  # wide where the targets spread


def test_ordered_classes_have_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(900, 2, generator=generator)
    y = torch.bucketize(3 * x[:, 0] + torch.rand(900, generator=generator).logit(), torch.tensor([-1.0, 1.0]))
    recipe = lb.setup(Line, loss=lb.losses.Ordinal(3), optimizer=optim.Adam).set_opt_hparams(lr=0.1)
    fitted = recipe.set_hparams(bias=False).fit((x, y), epochs=15, verbose=False, preflight=False)
    shares = fitted.predict_probabilities(x)
    assert shares.shape == (900, 3)
    assert torch.allclose(shares.sum(1), torch.ones(900))
    assert np.array_equal(fitted.predict_classes(x), shares.argmax(1).numpy())
    frame = fitted.compare((x, y))
    assert frame["correct"].mean() > 0.7
    assert fitted.conformal((x, y)).kind == "classes"


def test_far_scores_stay_finite() -> None:
    loss, target = lb.losses.Ordinal(3, reduction="none"), torch.tensor([0, 1, 2])
    for score in (-200.0, 0.0, 200.0):
        pred = torch.full((3,), score, requires_grad=True)
        loss(pred, target).sum().backward()
        assert bool(pred.grad.isfinite().all())


@pytest.mark.parametrize(
    ("loss", "pred", "target"),
    [
        (lb.losses.GaussianNLL(), torch.zeros(4, 1), torch.zeros(4)),
        (lb.losses.Poisson(), torch.zeros(4), torch.ones(4, 1)),
        (lb.losses.Quantiles(), torch.zeros(4, 3), torch.zeros(4)),
        (lb.losses.Cox(), torch.zeros(4), torch.ones(4, 2)),
    ],
)
def test_reductions_agree(loss, pred: Tensor, target: Tensor) -> None:
    import copy

    rows, total = copy.deepcopy(loss), copy.deepcopy(loss)
    rows.reduction, total.reduction = "none", "sum"
    assert rows(pred, target).shape == (4,)
    assert torch.isclose(rows(pred, target).mean(), loss(pred, target))
    assert torch.isclose(rows(pred, target).sum(), total(pred, target))


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(lb.DataError, match="one number in a row"):
        lb.losses.GaussianNLL()(torch.zeros(4, 1), torch.zeros(4, 4))
    with pytest.raises(lb.DataError, match="times and events"):
        lb.losses.Cox()(torch.zeros(4), torch.zeros(4))
    with pytest.raises(lb.DataError, match="a column for each of 3 quantiles"):
        lb.losses.Quantiles()(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(lb.DataError, match="shape \\(rows, 9\\)"):
        lb.losses.MixtureDensity()(torch.zeros(4, 2), torch.zeros(4))
    for levels in ((0.5, 0.1), (0.0,), (), (0.5, 0.5)):
        with pytest.raises(lb.OptionError, match="levels"):
            lb.losses.Quantiles(levels)
    with pytest.raises(lb.OptionError, match="reduction"):
        lb.losses.Cox(reduction="max")
    with pytest.raises(lb.OptionError, match="classes=1"):
        lb.losses.Ordinal(1)


def test_targets_that_do_not_fit_are_said() -> None:
    for loss, outputs in ((lb.losses.Quantiles(), 3), (lb.losses.MixtureDensity(1), 3)):
        for rows in (1, 4):
            with pytest.raises(lb.DataError, match="one number in a row"):
                loss(torch.zeros(rows, outputs), torch.zeros(rows, 2))
    ordinal = lb.losses.Ordinal(3)
    for target in ([0.0, 1.6], [0, 3], [-1, 0]):
        with pytest.raises(lb.DataError, match="class numbers from 0 to 2"):
            ordinal(torch.zeros(2), torch.tensor(target))
    assert ordinal(torch.zeros(2), torch.tensor([True, False])).isfinite()
    assert ordinal(torch.zeros(2), torch.tensor([0, 2], dtype=torch.int32)).isfinite()


@pytest.mark.parametrize("wrong", ["3", 2.5, True, None, 0])
def test_options_that_are_no_whole_numbers_are_said(wrong: object) -> None:
    with pytest.raises(lb.OptionError, match="classes="):
        lb.losses.Ordinal(wrong)  # type: ignore[arg-type]
    with pytest.raises(lb.OptionError, match="parts="):
        lb.losses.MixtureDensity(wrong)  # type: ignore[arg-type]
    with pytest.raises(lb.OptionError, match="levels="):
        lb.losses.Quantiles(wrong)  # type: ignore[arg-type]


def test_levels_of_any_sequence_of_shares() -> None:
    for levels in ([0.1, 0.9], np.array([0.1, 0.9]), torch.tensor([0.1, 0.9], dtype=torch.float64)):
        assert lb.losses.Quantiles(levels).levels == (0.1, 0.9)
    for levels in (("0.1",), "0.1", (float("nan"),), ((0.1, 0.2),)):
        with pytest.raises(lb.OptionError, match="levels="):
            lb.losses.Quantiles(levels)
    with pytest.raises(lb.OptionError, match="level='a'"):
        lb.losses.GaussianNLL().interval(torch.zeros(2), level="a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "target", "said"),
    [
        (lb.losses.Poisson(), torch.tensor([2.0, -1.0]), "counts from 0"),
        (lb.losses.Poisson(), torch.tensor([[2], [-1]]), "counts from 0"),
        (lb.losses.NegativeBinomial(), torch.tensor([2.0, -1.0]), "counts from 0"),
        (lb.losses.Poisson(), torch.tensor([[2.0, 1.0], [1.0, 0.0]]), "positive exposures"),
        (lb.losses.Cox(), torch.tensor([[1.0, 2.5], [0.0, 3.0]]), "times in the first column"),
    ],
)
def test_values_that_no_distribution_has_are_said(loss: Any, target: Tensor, said: str) -> None:
    with pytest.raises(lb.DataError, match=said):
        loss(torch.zeros(2), target)


@pytest.mark.parametrize(
    ("loss", "target", "said"),
    [
        (lb.losses.Poisson(), torch.tensor([[1.0, 2.0]] * 20), "times the exposure"),
        (lb.losses.Cox(), torch.tensor([[1.0, 1.0]] * 20), "hazards"),
    ],
)
def test_what_cannot_be_compared_is_told_what_helps(loss: Any, target: Tensor, said: str) -> None:
    x = torch.randn(20, 2)
    fitted = lb.setup(nn.Linear(2, 1), loss=loss, optimizer=optim.SGD).fit((x, target), epochs=1, verbose=False)
    assert fitted.predict_response(x).shape == (20, 1)
    for verb in (fitted.compare, fitted.conformal):
        with pytest.raises(lb.DataError, match=said):
            verb((x, target))
