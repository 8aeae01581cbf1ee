"""Outputs that few rows have, and rates that a schedule or a bound of the gradients makes small."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb

G = torch.Generator().manual_seed(0)
X = torch.randn(192, 8, generator=G)
Y = (X @ torch.randn(8, 3, generator=G)).argmax(1)


def codes(
    net: Callable[[], nn.Module], data: Any = (X, Y), *, opt: Any = optim.Adam, lr: float = 1e-3, **more: Any
) -> list[str]:
    torch.manual_seed(0)
    recipe = lb.setup(net, loss=more.pop("loss", nn.CrossEntropyLoss()), optimizer=opt).set_opt_hparams(lr=lr)
    return [one.code for one in recipe.check(data, batch_size=32, **more) if one.severity != "hint"]


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


class Tasks(nn.Module):
    def __init__(self, rounded: bool) -> None:
        super().__init__()
        self.body, self.often, self.seldom = nn.Linear(8, 16), nn.Linear(16, 1), nn.Linear(16, 1)
        self.rounded = rounded

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.body(x).tanh()
        seldom = self.seldom(h)
        return {"often": self.often(h), "seldom": seldom.round() if self.rounded else seldom}


def of_tasks(pred: dict[str, Tensor], target: Tensor) -> Tensor:
    known = target[:, 1] != -100.0
    seldom = torch.where(known, pred["seldom"][:, 0] - target[:, 1], 0.0)
    return F.mse_loss(pred["often"][:, 0], target[:, 0]) + (seldom**2).sum() / known.sum().clamp(min=1)


def summed_tasks(pred: dict[str, Tensor], target: Tensor) -> Tensor:
    known = target[:, 1] != -100.0
    seldom = F.mse_loss(pred["seldom"][known, 0], target[known, 1], reduction="sum")
    return F.mse_loss(pred["often"][:, 0], target[:, 0]) + seldom / len(target)


@pytest.mark.parametrize("loss", [of_tasks, summed_tasks])
def test_a_task_that_no_row_of_the_first_batch_has(loss: Any) -> None:
    target = torch.stack([X[:, 0], torch.full((len(X),), -100.0)], 1)
    target[:2, 1] = X[:2, 1]
    options: dict[str, Any] = {"loss": loss, "shuffle": False, "ignore": ("LB043", "LB036")}
    assert codes(lambda: Tasks(False), (X, target.flip(0)), **options) == []
    target[:, 1] = X[:, 1]
    assert codes(lambda: Tasks(False), (X, target), **options) == []
    assert codes(lambda: Tasks(True), (X, target), **options) == ["LB071"]


def test_rates_that_a_schedule_or_a_bound_makes_small() -> None:
    def noam(warm: int) -> Any:
        def made(optimizer: optim.Optimizer) -> Any:
            return lr_scheduler.LambdaLR(optimizer, lambda at: 64**-0.5 * min((at + 1) ** -0.5, (at + 1) * warm**-1.5))

        return lb.callbacks.LRScheduler(made, step_on="batch")

    assert codes(small, opt=optim.AdamW, lr=1.0, callbacks=noam(40), epochs=20) == []
    assert codes(small, opt=optim.AdamW, lr=1.0, callbacks=noam(4000), epochs=20) == ["LB035"]  # it is never over
    assert codes(small, opt=optim.AdamW, lr=1.0) == ["LB033"]
    assert codes(small, opt=optim.SGD, lr=20.0, callbacks=lb.callbacks.GradientClip(0.25)) == []
    assert "LB033" in codes(small, opt=optim.SGD, lr=20.0, callbacks=lb.callbacks.GradientClip(5.0))
