"""Labels that the loss ignores count nowhere after training, whichever number stands for them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb


class Around(nn.Module):
    """A loss of one's own around one of torch."""

    def __init__(self, ignored: int) -> None:
        super().__init__()
        self.entropy = nn.CrossEntropyLoss(ignore_index=ignored)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.entropy(pred, target)


def rows(ignored: int) -> tuple[Tensor, Tensor]:
    """Four classes, some of them wrong; of these 0 may be the one that is ignored."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(160, 5, generator=generator)
    y = x[:, :4].argmax(1)
    y = torch.where(torch.rand(160, generator=generator) < 0.2, (y + 1) % 4, y)
    if ignored != 0:
        y[::5] = ignored
    return x, y


def trained(loss: Any, data: tuple[Tensor, Tensor]) -> lb.Fitted:
    recipe = lb.setup(lambda: nn.Linear(5, 4), loss=loss, optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return recipe.set_opt_hparams(lr=0.1).fit(data, epochs=3, verbose=False, preflight=False)


@pytest.mark.parametrize("ignored", [0, 255, -100])
@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, Around])
def test_rows_whose_label_is_ignored_count_nowhere(kind: Any, ignored: int) -> None:
    x, y = rows(ignored)
    loss = kind(ignore_index=ignored) if kind is nn.CrossEntropyLoss else kind(ignored)
    fitted, kept = trained(loss, (x, y)), y != ignored
    scores, known = fitted.predict(x)[kept], y[kept]
    right = (scores.argmax(1) == known).float().mean().item()
    frame = fitted.compare((x, y))
    assert frame.correct.dropna().astype(float).mean() == pytest.approx(right)
    assert fitted.evaluate((x, y)).metrics["acc"] == pytest.approx(right)
    assert set(fitted.examples((x, y), 20, choose="worst").frame.row) <= set(np.flatnonzero(kept.numpy()))
    found = fitted.conformal((x, y), level=0.8)
    misses = (1 - scores.softmax(1).gather(1, known[:, None]))[:, 0].sort().values
    assert found.rows == len(known)
    assert found.margins[0] == pytest.approx(misses[int(np.ceil((len(known) + 1) * 0.8)) - 1].item(), abs=1e-6)
    assert fitted.calibrate((x, y)).rows == len(known)


@pytest.mark.parametrize("ignored", [0, -100])
def test_simple_models_are_fitted_and_judged_without_them(ignored: int) -> None:
    x, y = rows(ignored)
    fitted, known = trained(nn.CrossEntropyLoss(ignore_index=ignored), (x, y)), y[y != ignored]
    found = fitted.baselines((x, y), (x, y), metric="loss")
    shares = (torch.bincount(known, minlength=4) / len(known)).clamp(min=1e-7)
    assert found.rows == len(known)
    assert dict(line[:2] for line in found.values)["constant"] == pytest.approx(
        F.nll_loss(shares.log().expand(len(known), 4), known).item(), rel=1e-4
    )
    with pytest.raises(lb.DataError, match="without a class"):
        fitted.baselines((x, y), (x, torch.full_like(y, ignored)))
    with pytest.raises(lb.DataError):
        fitted.calibrate((x, torch.full_like(y, ignored)))


def test_a_label_beyond_the_classes_that_the_loss_ignores_is_no_mistake() -> None:
    recipe = lb.setup(lambda: nn.Linear(5, 4), loss=nn.CrossEntropyLoss(ignore_index=255), optimizer=optim.Adam)
    assert "LB005" not in [one.code for one in recipe.check(rows(255))]
    assert "LB005" in [one.code for one in recipe.check(rows(254))]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).transpose(1, 2)


def test_functions_of_all_rows_get_the_labels_of_texts_that_count() -> None:
    sk = pytest.importorskip("sklearn.metrics")
    x = torch.randn(20, 6, 5, generator=torch.Generator().manual_seed(1))
    y = x[..., :4].argmax(2)
    y[:, 4:] = -100
    own = lb.metrics.From(lambda pred, target: (pred == target).mean(), takes="classes", name="own")
    theirs = lb.metrics.From(sk.accuracy_score, takes="classes", name="theirs")
    least = lb.metrics.From(lambda pred, target: target.min(), takes="outputs", name="least")
    recipe = lb.setup(
        Tokens, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=[lb.metrics.Accuracy(), own, theirs, least]
    )
    fitted = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    found = fitted.evaluate((x, y)).metrics
    assert found["own"] == found["theirs"] == pytest.approx(found["acc"])
    assert found["least"] == 0
    whole = fitted.evaluate((x, y.clamp(min=0))).metrics
    assert whole["own"] == whole["theirs"] == pytest.approx(whole["acc"])


def test_the_temperature_of_probabilities_that_stand_by_themselves() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(400, 3, generator=generator)
    y = F.one_hot((x + torch.randn(400, 3, generator=generator)).argmax(1), 3).float()
    recipe = lb.setup(lambda: nn.Linear(3, 3), loss=nn.BCEWithLogitsLoss(), optimizer=optim.SGD)
    fitted = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        fitted.model.weight.copy_(6 * torch.eye(3))
        fitted.model.bias.fill_(-3.0)
    before = fitted.predict_probabilities(x)
    found = fitted.calibrate((x, y))
    after = fitted.predict_probabilities(x)
    assert F.binary_cross_entropy(after, y) < F.binary_cross_entropy(before, y)
    for stated, shares in ((found.before, before), (found.after, after)):
        top = shares.max(1)
        right = y.gather(1, top.indices[:, None])[:, 0]
        bins = (top.values * 15).long().clamp(max=14)
        gaps = torch.zeros(15).scatter_add_(0, bins, top.values - right)
        assert stated == pytest.approx(gaps.abs().sum().item() / 400, abs=1e-5)
