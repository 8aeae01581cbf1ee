"""Several sets to validate on, where two and three processes share the run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import EarlyStopping, KeepBestModel

pytestmark = pytest.mark.slow
X, Y = blobs(80)
LOSS = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0, 0.2]))


def sets() -> dict[str, Any]:
    """Ragged ones, one of a single row, one with weights, one whose labels are mostly ignored."""
    ignored = Y[60:77].clone()
    ignored[:14] = -100
    return {
        "near": (X[40:51], Y[40:51]),
        "one": (X[51:52], Y[51:52]),
        "weighted": lb.data.weighted((X[52:60], Y[52:60]), torch.arange(8) / 2.0),
        "ignored": (X[60:77], ignored),
    }


def fitted(callbacks: Any = (), **options: Any) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=LOSS, optimizer=optim.SGD, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=4, out_features=3).set_opt_hparams(lr=0.1)
    given: dict[str, Any] = {"epochs": 3, "valid_data": sets(), "batch_size": 8, "device": "cpu", "verbose": False}
    return recipe.fit((X[:40], Y[:40]), callbacks=callbacks, **given | options)


def wide(one: lb.Fitted) -> dict[str, list[float]]:
    return {name: values for name, values in one.history_wide.to_dict("list").items() if name != "epoch"}


def several(folder: str) -> dict[str, Any]:
    stop = EarlyStopping("valid_weighted_loss", patience=1, min_delta=9.0)
    keep = KeepBestModel("valid_ignored_acc")
    first = wide(fitted(resume=folder, epochs=1))
    return {
        "plain": wide(fitted()),
        "stopped": wide(fitted(stop, epochs=9)),
        "kept": (wide(fitted(keep)), keep.best_epoch),
        "every": wide(fitted(valid_every=2)),
        "resumed": (first, wide(fitted(resume=folder))),
    }


def close(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values == pytest.approx(expected[name], rel=1e-5, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("processes", [2, 3])
def test_values_of_each_set_are_those_of_one_process(processes: int, tmp_path: Path) -> None:
    found = lb.launch(several, str(tmp_path / "many"), devices=processes)
    alone = several(str(tmp_path / "one"))
    for name in ("plain", "stopped", "every"):
        close(found[name], alone[name])
    for name in ("kept", "resumed"):
        close(found[name][0], alone[name][0])
    assert found["kept"][1] == alone["kept"][1]
    close(found["resumed"][1], found["plain"])
    assert {f"valid_{name}_loss" for name in sets()} <= found["plain"].keys()
    assert len(found["stopped"]["train_loss"]) == 2


def refused() -> list[str]:
    said: list[str] = []
    for name in ("near", "ignored"):
        try:
            fitted(valid_data=sets() | {name: (X[:9, :3], Y[:9])})
        except lb.PreflightError as error:
            said.append(str(error))
    return said


def test_each_set_is_looked_at_in_all_processes() -> None:
    assert [one.count("validation (") > 0 for one in lb.launch(refused, devices=2)] == [True, True]
