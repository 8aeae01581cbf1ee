"""Averages of weights, and statistics for them, where three processes share the batches: those of one process."""

from typing import Any

import torch
from torch import Tensor, distributed, nn, optim

import lumbre as lb
from lumbre.callbacks import EMA, SWA, Accumulate

DOUBLE = torch.float64
CALLBACKS: dict[str, Any] = {
    "EMA": lambda: [EMA(0.5, warm_up=False)],
    "EMA of groups": lambda: [EMA(0.9), Accumulate(2)],
    "SWA": lambda: [SWA(0.5, lr=0.05)],
}


def rows(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 4, generator=generator, dtype=DOUBLE), torch.arange(count) * 7 % 3


def fitted(net: nn.Module, callbacks: list[Any], lr: float) -> lb.Fitted:
    weights = torch.tensor([1.0, 5.0, 0.2], dtype=DOUBLE)
    recipe = lb.setup(net.double(), loss=nn.CrossEntropyLoss(weight=weights), optimizer=optim.SGD)
    options: dict[str, Any] = {"batch_size": 8, "seed": 1, "device": "cpu", "preflight": False, "verbose": False}
    return recipe.set_opt_hparams(lr=lr).fit(rows(23), epochs=4, valid_data=rows(7), callbacks=callbacks, **options)


def averaged() -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {}
    for name, made in CALLBACKS.items():
        torch.manual_seed(0)
        one = fitted(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), made(), lr=0.1)
        losses = torch.tensor(one.history_wide[["train_loss", "valid_loss"]].to_numpy())
        found[name] = [*(value.detach() for value in one.model.parameters()), losses]
    torch.manual_seed(0)
    normed = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    found["statistics"] = list(fitted(normed, [SWA(0.5)], lr=0.0).model.buffers())[:2]
    return found


def averaged_everywhere() -> list[dict[str, list[Tensor]]]:
    own = averaged()
    every: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, own)
    return every


def test_averages_of_three_processes_are_those_of_one() -> None:
    alone = averaged()
    for found in lb.launch(averaged_everywhere, devices=3):
        for name, values in found.items():
            for value, expected in zip(values, alone[name], strict=True):
                torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12, msg=lambda said, n=name: n + said)
