"""Losses of counts are known by the scale of their predictions, so that means and simple models stand on it, too."""

import pytest
import torch
from scipy import stats
from torch import nn, optim

import lumbre as lb
from lumbre.base import scale_of


def counts(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=generator)
    return x, torch.poisson((0.7 * x[:, 0] + 0.5).exp(), generator=generator)[:, None]


def recipe(loss: nn.Module) -> lb.Recipe:
    made = lb.setup(nn.Linear, loss=loss, optimizer=optim.Adam, metrics=lb.metrics.MAE()).set_opt_hparams(lr=0.05)
    return made.set_hparams(in_features=2, out_features=1)


@pytest.mark.parametrize("loss", [lb.losses.Poisson(), lb.losses.NegativeBinomial()])
def test_an_ensemble_is_judged_by_the_mean_of_the_counts(loss: nn.Module) -> None:
    x, y = counts(150, 0)
    models = recipe(loss).ensemble((x, y), n=3, epochs=2, bootstrap=True, verbose=False)
    mean = torch.stack([one.predict(x).exp() for one in models.models]).mean(0)  # pyright: ignore
    assert torch.allclose(torch.as_tensor(models.predict(x)), mean)
    assert models.evaluate((x, y)).metrics["mae"] == pytest.approx(float((mean - y).abs().mean()), rel=1e-5)


def test_a_net_of_counts_is_set_beside_simple_models_in_its_own_loss() -> None:
    pytest.importorskip("sklearn")
    train, test = counts(150, 0), counts(80, 1)
    fitted = recipe(lb.losses.Poisson()).fit(train, epochs=3, verbose=False)
    values = {name: value for name, value, *_ in fitted.baselines(train, test, "loss").values}
    by_hand = -stats.poisson.logpmf(test[1].numpy(), float(train[1].mean())).mean()
    assert values["constant"] == pytest.approx(by_hand, rel=1e-5)
    assert set(values) == {"the net", "constant", "linear", "gradient boosting"}


def test_a_class_derived_from_a_loss_may_respond_in_its_own_way() -> None:
    class Doubled(lb.losses.Poisson):
        def response(self, pred: torch.Tensor) -> torch.Tensor:
            return 2 * pred.exp()

    assert scale_of(Doubled()).applied(torch.zeros(1)).tolist() == [2.0]  # pyright: ignore
    assert scale_of(lb.losses.Poisson()).applied(torch.zeros(1)).tolist() == [1.0]  # pyright: ignore
