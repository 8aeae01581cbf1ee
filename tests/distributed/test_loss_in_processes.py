"""A loss with parameters of its own, in several processes."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import start
from torch import Tensor, nn, optim

import lumbre as lb


class Proxies(nn.Module):
    """Weights drawn without a seed."""

    def __init__(self) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(3, 4))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred @ self.proxies.T, target)


def train(loss: nn.Module, accumulate: int) -> lb.Fitted:
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)).double()
    callbacks: list[Any] = [lb.callbacks.GradientClip(0.2)]
    callbacks += [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    recipe = lb.setup(lambda: nn.Linear(5, 4).double(), loss=loss.double(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    return recipe.fit(
        (x, torch.arange(50) % 3), epochs=3, batch_size=7, callbacks=callbacks, verbose=False, device="cpu", seed=1
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("accumulate", [1, 3])
def test_its_weights_are_those_of_one_process(accumulate: int, tmp_path: Path) -> None:
    torch.manual_seed(5)
    alone = train(Proxies(), accumulate)

    def work(rank: int) -> None:
        torch.manual_seed(5 + rank)  # the first process's weights count
        fitted = train(Proxies(), accumulate)
        torch.save([fitted.model.weight.detach(), fitted.loss.proxies.detach()], tmp_path / f"{rank}.pt")

    ranks = start(2, work, tmp_path / "logs")
    assert ranks.ended() == [0, 0], ranks.reported(0)
    for rank in range(2):
        weight, proxies = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(weight, alone.model.weight.detach(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(proxies, alone.loss.proxies.detach(), rtol=1e-9, atol=1e-9)
