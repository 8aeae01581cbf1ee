"""Conformal intervals are those of MAPIE for the same model and the same rows.

The numbers are what MAPIE 1.6.0 (scikit-learn 1.9.1) gave for models that are known, so that neither library trains
anything: SplitConformalRegressor, ConformalizedQuantileRegressor (symmetric_correction=True) and
SplitConformalClassifier (conformity_score="lac"), each with prefit=True.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

J, K = torch.arange(60).double(), torch.arange(90).double()
X = torch.sin(1.7 * J)[:, None]
Y = 2 * X + 1 + (torch.sin(37 * J) * (1 + torch.cos(5 * J)))[:, None]
SCORES = 1.5 * torch.stack([torch.sin(1.3 * K), torch.sin(2.1 * K + 1), torch.sin(0.7 * K + 2)], 1)
CLASSES = (SCORES + 1.2 * torch.stack([torch.sin(11 * K), torch.sin(17 * K), torch.sin(29 * K)], 1)).argmax(1)


def known(loss: nn.Module, weight: Tensor, bias: Tensor, data: tuple[Tensor, Tensor]) -> lb.Fitted:
    """A linear model with these weights."""
    recipe = lb.setup(nn.Linear, loss=loss, optimizer=optim.SGD)
    recipe = recipe.set_hparams(in_features=weight.shape[1], out_features=weight.shape[0])
    fitted = recipe.fit(data, epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        fitted.model.weight.copy_(weight)
        fitted.model.bias.copy_(bias)
    return fitted


# Bounds are compared to 1e-5: lumbre predicts in float32, MAPIE was given float64.
@pytest.mark.parametrize(
    ("level", "margin", "first"),
    [
        (0.5, 0.4764011834604507, [0.52359882, 1.47640118, 2.50692844, 3.4597308, 0.01251661, 0.96531898]),
        (0.8, 1.136622201476741, [-0.1366222, 2.1366222, 1.84670742, 4.11995182, -0.64770441, 1.62554]),
        (0.9, 1.6719391548485305, [-0.67193915, 2.67193915, 1.31139047, 4.65526878, -1.18302136, 2.16085695]),
        (0.95, 1.8400126177625715, [-0.84001262, 2.84001262, 1.143317, 4.82334224, -1.35109482, 2.32893041]),
    ],
)
def test_intervals_are_those_of_mapie(level: float, margin: float, first: list[float]) -> None:
    data = X.float(), Y.float()
    fitted = known(nn.MSELoss(), torch.tensor([[2.0]]), torch.tensor([1.0]), data)
    assert fitted.conformal(data, level).margins == pytest.approx([margin], abs=1e-5)
    found = fitted.predict(X[:3].float(), interval=True)[["lower", "upper"]].to_numpy().ravel()
    np.testing.assert_allclose(found, first, atol=1e-5)


@pytest.mark.parametrize(
    ("level", "margin", "first"),
    [
        (0.8, 0.43662220147674113, [-0.1366222, 2.1366222, 1.84670742, 4.11995182, -0.64770441, 1.62554]),
        (0.9, 0.9719391548485306, [-0.67193915, 2.67193915, 1.31139047, 4.65526878, -1.18302136, 2.16085695]),
    ],
)
def test_moved_quantiles_are_those_of_mapie(level: float, margin: float, first: list[float]) -> None:
    data = X.float(), Y[:, 0].float()
    loss = lb.losses.Quantiles((0.05, 0.5, 0.95))
    fitted = known(loss, torch.full((3, 1), 2.0), torch.tensor([0.3, 1.0, 1.7]), data)
    assert fitted.conformal(data, level).margins == pytest.approx([margin], abs=1e-5)
    found = fitted.predict(X[:3].float(), interval=True)[["lower", "upper"]].to_numpy().ravel()
    np.testing.assert_allclose(found, first, atol=1e-5)


@pytest.mark.parametrize(
    ("level", "margin", "first", "sizes"),
    [
        (0.8, 0.65144285, "12 0 0 1 1 0 01 2 2 12 02 0", [0, 66, 24, 0]),
        (0.9, 0.71950193, "12 0 0 1 1 0 01 02 2 12 02 0", [0, 44, 42, 4]),
    ],
)
def test_sets_of_classes_are_those_of_mapie(level: float, margin: float, first: str, sizes: list[int]) -> None:
    data = SCORES.float(), CLASSES
    fitted = known(nn.CrossEntropyLoss(), torch.eye(3), torch.zeros(3), data)
    assert fitted.conformal(data, level).margins == pytest.approx([margin], abs=1e-5)
    frame = fitted.predict(SCORES.float(), interval=True)
    assert ["".join(map(str, one)) for one in frame["set"][:12]] == first.split()
    assert np.bincount(frame["size"], minlength=4).tolist() == sizes
