"""Classes of a module with one score a row."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).float()


def line() -> nn.Module:
    return nn.Linear(3, 1)


def flat() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))


def share() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())


def own(pred: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(pred, target)


CASES: dict[str, tuple[Any, Any, Tensor, float]] = {
    "scores": (line, nn.BCEWithLogitsLoss(), Y[:, None], 0.0),
    "without a column": (flat, nn.BCEWithLogitsLoss(), Y, 0.0),
    "probabilities": (share, nn.BCELoss(), Y[:, None], 0.5),
    "a loss of one's own": (line, own, Y[:, None], 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_zero_and_one(name: str, tmp_path: Path) -> None:
    module, loss, target, between = CASES[name]
    recipe = lb.setup(module, loss=loss, optimizer=optim.Adam).set_opt_hparams(lr=0.1)
    fitted = recipe.fit((X, target), epochs=3, verbose=False)
    found = fitted.predict_classes(X)
    assert found.dtype == "int64"
    assert found.tolist() == (fitted.predict(X).reshape(-1) > between).long().tolist()
    assert found.tolist() == fitted.compare((X, target))["predicted"].astype(int).tolist()
    fitted.save(tmp_path / "model")
    assert lb.load(tmp_path / "model", module).predict_classes(X).tolist() == found.tolist()


def test_numbers_are_no_classes() -> None:
    fitted = lb.setup(line, loss=nn.MSELoss(), optimizer=optim.Adam).fit((X, Y[:, None]), epochs=1, verbose=False)
    with pytest.raises(lb.DataError, match="a score for each class"):
        fitted.predict_classes(X)
