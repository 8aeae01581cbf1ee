"""The best constant prediction: its loss, and what is said of a run that is no better."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

G = torch.Generator().manual_seed(0)
X = torch.randn(400, 5, generator=G)
CLASS = (X[:, 0] + X[:, 1] > 1).long() + (X[:, 2] > 0).long()
SHARES = torch.bincount(CLASS) / len(CLASS)
NUMBER = torch.exp(X[:, :1])
CHANCE = torch.randint(0, 3, (400,), generator=G)


def constant(loss: Any, target: Tensor, outputs: int, last: nn.Module | None = None) -> dict[str, float]:
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, outputs), *([] if last is None else [last]))

    return dict(
        lb.setup(net, loss=loss, optimizer=optim.Adam).check((X, target), valid_data=(X[:80], target[:80])).constant
    )


def test_it_is_the_shares_the_mean_or_the_median() -> None:
    entropy = float(-(SHARES * SHARES.log()).sum())
    found = constant(nn.CrossEntropyLoss(), CLASS, 3)
    assert found["train"] == pytest.approx(entropy, rel=1e-4)
    assert set(found) == {"train", "valid"}
    assert constant(nn.NLLLoss(), CLASS, 3, nn.LogSoftmax(1))["train"] == pytest.approx(entropy, rel=1e-4)
    assert constant(nn.MSELoss(), NUMBER, 1)["train"] == pytest.approx(float(NUMBER.var(correction=0)), rel=1e-4)
    median = float((NUMBER - NUMBER.median()).abs().mean())
    assert constant(nn.L1Loss(), NUMBER, 1)["train"] == pytest.approx(median, rel=1e-4)
    yes = (CLASS == 1).float()[:, None]
    p = float(yes.mean())
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert constant(nn.BCEWithLogitsLoss(), yes, 1)["train"] == pytest.approx(entropy, rel=1e-4)
    assert constant(nn.BCELoss(), yes, 1, nn.Sigmoid())["train"] == pytest.approx(entropy, rel=1e-4)
    soft = nn.functional.one_hot(CLASS, 3).float()
    assert constant(nn.CrossEntropyLoss(), soft, 3)["train"] == pytest.approx(
        float(-(SHARES * SHARES.log()).sum()), rel=1e-3
    )


def test_it_is_left_out_where_nobody_knows_it() -> None:
    assert constant(lambda pred, y: (pred - y).pow(4).mean(), NUMBER, 1) == {}
    assert constant(lambda pred, y: nn.functional.mse_loss(pred, y) + pred.pow(2).mean(), NUMBER, 1) == {}


def remarks(
    x: Tensor, y: Tensor, valid: tuple[Tensor, Tensor] | float, *, epochs: int = 10, width: int = 16
) -> list[str]:
    torch.manual_seed(0)

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3))

    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=1e-2)
    fitted = recipe.fit(
        (x, y), valid_data=valid, epochs=epochs, batch_size=16, verbose=False, ignore=("LB041", "LB042", "LB088")
    )
    return [line[:5] for line in fitted.remarks if line[:5] in ("LB110", "LB111")]


def test_a_run_that_is_no_better() -> None:
    assert remarks(X, CHANCE, 0.3) == ["LB110"]
    assert remarks(X, CLASS, 0.3) == []
    assert remarks(X, CHANCE, 0.3, epochs=2) == []  # too short to say


def test_validation_far_worse_than_guessing_beside_good_training() -> None:
    others = (CLASS[:80] + 1) % 3
    assert remarks(X[80:], CLASS[80:], (X[:80], others), epochs=20) == ["LB111"]
    assert remarks(X[80:], CLASS[80:], (X[:80], CLASS[:80]), epochs=20) == []


def test_it_stands_in_the_plot_and_is_kept() -> None:
    recipe = lb.setup(lambda: nn.Linear(5, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    fitted = recipe.fit((X, CLASS), valid_data=0.2, epochs=2, verbose=False)
    drawn = fitted.plot()
    assert "dashed" in drawn.labels.caption
    drawn.draw()
