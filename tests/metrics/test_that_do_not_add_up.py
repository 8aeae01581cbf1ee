"""Metrics of the user's own whose states are no sums, as of a maximum: right in one process, refused in several."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.base import Batch
from lumbre.metrics import LossMeter


class Largest(lb.metrics.Metric):
    """The largest error, kept as a maximum."""

    name = "largest"
    higher_is_better = False

    def init(self, device: torch.device) -> Tensor:
        return torch.zeros((), device=device)

    def update(self, state: Tensor, pred: Any, target: Any) -> Tensor:
        return torch.maximum(state, (pred - target).abs().max())

    def compute(self, state: Tensor) -> float:
        return state.item()


class OfAll(Largest):
    """The same, from a list of all."""

    def init(self, device: torch.device) -> Any:
        return []

    def update(self, state: Any, pred: Any, target: Any) -> Any:
        return [*state, (pred - target).abs().max()]

    def compute(self, state: Any) -> float:
        return max(one.item() for one in state)


def test_importance_of_a_maximum_is_that_of_all_rows() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 3)
    y = (x @ torch.tensor([2.0, 0.5, 0.0]))[:, None]
    found: list[Any] = []
    for metric in (Largest(), OfAll()):
        recipe = lb.setup(nn.Linear(3, 1), loss=nn.MSELoss(), optimizer=optim.SGD, metrics=metric)
        fitted = recipe.set_opt_hparams(lr=0.0).fit((x, y), epochs=1, verbose=False, preflight=False)
        with torch.no_grad():
            for one, value in zip(fitted.model.parameters(), (torch.tensor([[2.0, 0.4, 0.1]]), 0.0), strict=True):
                one.copy_(torch.as_tensor(value))
        found.append(fitted.importance((x, y), metric="largest", repeats=3).frame().select_dtypes("number").to_numpy())
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize("metric", [Largest(), OfAll()])
def test_states_that_do_not_add_up_are_refused_in_several_processes(metric: lb.metrics.Metric) -> None:
    meter = LossMeter((metric,), torch.device("cpu"), gather=lambda own: [own, own])
    pred, target = torch.randn(8, 1), torch.randn(8, 1)
    batch, loss = Batch(None, target, 8), torch.tensor(1.0)
    if type(metric) is Largest:
        with pytest.raises(lb.RecipeError, match="largest in several processes, whose states do not add up"):
            meter.update(batch, pred, loss)
        return
    for _ in range(2):
        meter.update(batch, pred, loss)
    assert meter.compute()["largest"] == pytest.approx((pred - target).abs().max().item())
