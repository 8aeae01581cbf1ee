"""Rows with weights in several processes: the loss, the update and the metrics are those of one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import start
from torch import nn, optim

import lumbre as lb

LOSSES = {"classes": nn.CrossEntropyLoss(weight=torch.tensor([0.2, 5.0, 1.0]).double()), "numbers": nn.MSELoss()}


def train(name: str, accumulate: int, strategy: str | None = None) -> tuple[lb.Fitted, Any]:
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(50, 5, generator=g).double(), torch.rand(50, generator=g) * 3
    w[::5] = 0
    y = torch.arange(50) % 3 if name == "classes" else torch.randn(50, 3, generator=g).double()
    metrics = [lb.metrics.Accuracy(), lb.metrics.AUROC()] if name == "classes" else [lb.metrics.R2()]
    callbacks: list[Any] = [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    recipe = lb.setup(lambda: nn.Linear(5, 3).double(), loss=LOSSES[name], optimizer=optim.SGD, metrics=metrics)
    options: dict[str, Any] = {"epochs": 3, "batch_size": 3, "device": "cpu", "seed": 1, "valid_data": 0.3}
    fitted = recipe.set_opt_hparams(lr=0.1).fit(
        (x, y), weights=w, callbacks=callbacks, strategy=strategy, verbose=False, **options
    )
    return fitted, fitted.evaluate((x, y), weights=w).metrics


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("name", "accumulate", "strategy"), [("classes", 1, None), ("numbers", 3, None), ("classes", 1, "fsdp")]
)
def test_they_are_those_of_one_process(name: str, accumulate: int, strategy: str | None, tmp_path: Path) -> None:
    alone, judged = train(name, accumulate)

    def work(rank: int) -> None:
        fitted, metrics = train(name, accumulate, strategy)
        torch.save([parameter.detach() for parameter in fitted.model.parameters()], tmp_path / f"{rank}.pt")
        (tmp_path / f"{rank}.json").write_text(json.dumps([metrics, fitted.history["value"].tolist()]))

    ranks = start(2, work, tmp_path / "logs")
    assert ranks.ended() == [0, 0], ranks.reported(0)
    for rank in range(2):
        for one, expected in zip(torch.load(tmp_path / f"{rank}.pt"), alone.model.parameters(), strict=True):
            torch.testing.assert_close(one, expected.detach(), rtol=1e-9, atol=1e-9)
        metrics, history = json.loads((tmp_path / f"{rank}.json").read_text())
        assert metrics == pytest.approx(judged, rel=1e-9)
        assert history == pytest.approx(alone.history["value"].tolist(), rel=1e-9)
