"""Rows that are NaN are named where a figure over all rows would be NaN, or count them as the worst."""

import pytest
import torch
from torch import nn, optim

import lumbre as lb

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(200, 3, generator=GENERATOR)
GAPS = X.clone()
GAPS[7, 0] = torch.nan
Y = X[:, :1] + 0.5 * torch.randn(200, 1, generator=GENERATOR)
LABELS = (Y[:, 0] > 0).long()


def fitted(classes: bool) -> lb.Fitted:
    loss = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    recipe = lb.setup(lambda: nn.Linear(3, 1 + classes), loss=loss, optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    return recipe.fit((X, LABELS if classes else Y), epochs=10, verbose=False, preflight=False)


@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
def test_inputs_that_are_nan(classes: bool) -> None:
    model, y = fitted(classes), LABELS if classes else Y
    with pytest.raises(lb.DataError, match="loss is NaN"):
        model.importance((GAPS, y))
    for call in (model.effects, lambda x: model.effects(x, 1), lambda x: model.conformal((x, y))):
        with pytest.raises(lb.DataError, match="predictions of 1 of 200 rows that are NaN, the first of them row 7"):
            call(GAPS)
    with pytest.raises(lb.DataError, match="inputs of 1 of 200 rows"):
        model.baselines((GAPS, y), (X, y))
    found = model.review((GAPS, y))
    assert not found
    assert "1 of 200 rows that are NaN" in repr(found)
    if classes:
        with pytest.raises(lb.DataError, match="predictions of 1 of 200 rows"):
            model.calibrate((GAPS, y))


def test_targets_that_are_nan() -> None:
    y = Y.clone()
    y[3] = torch.nan
    with pytest.raises(lb.DataError, match="targets of 1 of 200 rows that are NaN, the first of them row 3"):
        fitted(False).conformal((X, y))


def test_scores_of_classes_that_cannot_be_are_not_nan() -> None:
    class Masked(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([super().forward(x), torch.full((len(x), 1), -torch.inf)], 1)

    recipe = lb.setup(lambda: Masked(3, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    model = recipe.fit((X, LABELS), epochs=10, verbose=False, preflight=False)
    assert model.conformal((X, LABELS)).rows == 200
    assert model.importance((X, LABELS)).baseline < 1
