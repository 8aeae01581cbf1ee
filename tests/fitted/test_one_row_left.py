"""Rows are judged alike however they are cut, also where `squeeze()` takes the dimension of a single row away."""

from typing import Any

import pytest
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs

pytestmark = pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).squeeze()


class Number(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).squeeze()


class Picture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x[:, None]).squeeze()


X, Y = blobs(33)
PICTURES = X[:, :, None].expand(33, 4, 5)
BINARY = [lb.metrics.BinaryAccuracyWithLogits(), lb.metrics.BinaryAUROC()]
CASES: dict[str, tuple[Any, Any, list[Any], Tensor, Tensor]] = {
    "classes": (Scores, nn.CrossEntropyLoss(), [lb.metrics.Accuracy(), lb.metrics.F1(), lb.metrics.AUROC()], X, Y),
    "numbers": (Number, nn.MSELoss(), [lb.metrics.MAE(), lb.metrics.R2()], X, X.sum(1)),
    "two classes": (Number, nn.BCEWithLogitsLoss(), BINARY, X, (Y > 0).float()),
    "pictures": (Picture, nn.L1Loss(), [lb.metrics.MAE()], PICTURES, PICTURES * 2),
}


@pytest.mark.filterwarnings("error:Using a target size")
@pytest.mark.parametrize("name", CASES)
def test_one_row_left_over_is_judged_like_the_others(name: str) -> None:
    module, loss, metrics, x, y = CASES[name]
    recipe = lb.setup(module, loss=loss, optimizer=optim.SGD, metrics=metrics)
    judged = {"all": (x, y)}
    fitted = recipe.fit((x[:32], y[:32]), epochs=1, batch_size=32, valid_data=judged, verbose=False)
    valid = {metric: value for name, metric, _, value in fitted._history.records if name == "valid_all"}
    whole = fitted.evaluate((x, y), batch_size=33).metrics
    for other in (fitted.evaluate((x, y), batch_size=32).metrics, fitted.evaluate((x, y), batch_size=1).metrics, valid):
        assert other == pytest.approx(whole)
    if name == "pictures":  # of which compare() has no rows
        return
    whole = fitted.compare((x, y), batch_size=33)
    cut = fitted.compare((x, y), batch_size=32)
    assert cut["row"].tolist() == whole["row"].tolist()
    assert cut["loss"].tolist() == pytest.approx(whole["loss"].tolist())


def test_a_row_whose_gradient_fails_is_found_before_the_run() -> None:
    """Of scores without rows torch gives a loss, and fails only on the way back."""
    recipe = lb.setup(Scores, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    with pytest.raises(lb.PreflightError, match="LB021"):
        recipe.fit((X, Y), epochs=1, batch_size=32, verbose=False)
