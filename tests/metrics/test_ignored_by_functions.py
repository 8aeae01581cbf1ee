"""Metrics leave out the labels that a loss of the user's own leaves out, wherever it says so."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

pytestmark = pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.linear = nn.Embedding(9, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.words(x)).transpose(1, 2)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pad = 0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        flat = pred.transpose(1, 2).reshape(-1, 5)
        return F.cross_entropy(flat, target.reshape(-1), ignore_index=self.pad)


def padded(pred: Tensor, target: Tensor, pad: int) -> Tensor:
    return F.cross_entropy(pred, target, ignore_index=pad)


LOSSES: dict[str, Any] = {
    "named": lambda pred, target: F.cross_entropy(pred, target, ignore_index=0),
    "by place": lambda pred, target: F.cross_entropy(pred, target, None, None, 0),
    "by another name": functools.partial(padded, pad=0),
    "logarithms": lambda pred, target: F.nll_loss(pred.log_softmax(1), target, ignore_index=0),
    "with more": lambda pred, target: padded(pred, target, 0) + 1e-3 * pred.square().mean(),
    "two": lambda pred, target: (
        padded(pred, target, 0) + 1e-3 * F.nll_loss(pred.log_softmax(1), target, ignore_index=0)
    ),
    "module": Own(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_label_is_seen(name: str, tmp_path: Path) -> None:
    x = torch.randint(0, 9, (40, 6), generator=torch.Generator().manual_seed(0))
    y = torch.where(torch.arange(6) < 1 + torch.arange(40)[:, None] % 6, 1 + x % 4, 0)
    recipe = lb.setup(Words, loss=LOSSES[name], optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.set_opt_hparams(lr=0.01).fit((x, y), epochs=2, valid_data={"all": (x, y)}, verbose=False)
    counts = y != 0
    expected = (fitted.predict(x).argmax(1) == y)[counts].double().mean().item()
    valid = [value for _, metric, epoch, value in fitted._history.records if (metric, epoch) == ("acc", 2)][-1]
    assert valid == pytest.approx(expected)
    assert fitted.evaluate((x, y), batch_size=7).metrics["acc"] == pytest.approx(expected)
    fitted.save(tmp_path / "model")
    assert lb.load(tmp_path / "model", recipe).evaluate((x, y)).metrics["acc"] == pytest.approx(expected)


def test_a_label_that_one_term_counts_is_counted() -> None:
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    loss = lambda pred, target: F.cross_entropy(pred, target) + 0.5 * padded(pred, target, 0)  # noqa: E731
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=loss, optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.fit((x, y), epochs=1, verbose=False)
    expected = (fitted.predict(x).argmax(1) == y).double().mean().item()
    assert fitted.evaluate((x, y)).metrics["acc"] == pytest.approx(expected)


def test_a_scale_of_the_users_own_does_not_hide_it() -> None:
    x = torch.randn(40, 4)
    y = torch.arange(40) % 3
    recipe = lb.setup(
        lambda: nn.Linear(4, 3), loss=LOSSES["named"], optimizer=optim.Adam, metrics=lb.metrics.Accuracy(), response=abs
    )
    fitted = recipe.fit((x, y), epochs=1, verbose=False)
    expected = (fitted.predict(x).argmax(1) == y)[y != 0].double().mean().item()
    assert fitted.evaluate((x, y)).metrics["acc"] == pytest.approx(expected)
