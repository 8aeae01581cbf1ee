"""A model that was given back the weights of an earlier epoch is described by that epoch's values."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn, optim

import lumbre as lb


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 2))


def noisy(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=generator)
    return x, (x[:, 0] + 0.8 * torch.randn(rows, generator=generator) > 0).long()


RECIPE = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy()).set_opt_hparams(
    lr=0.02
)


@pytest.mark.parametrize("keeper", [lb.callbacks.KeepBestModel(), lb.callbacks.EarlyStopping(restore_best=True)])
def test_report_and_print_tell_of_the_weights_that_the_model_has(keeper: lb.Callback, tmp_path: Path) -> None:
    valid = noisy(100, 1)
    fitted = RECIPE.fit(noisy(100, 0), epochs=15, valid_data=valid, callbacks=keeper, verbose=False)
    loss = fitted.history_wide["valid_loss"]
    best = 1 + loss.tolist().index(loss.min())
    assert best < len(loss)  # it over-fits
    truly = fitted.evaluate(valid).metrics["loss"]
    assert truly == pytest.approx(loss.min(), rel=1e-5)
    assert f"weights: those of epoch {best}" in repr(fitted)
    assert f"epoch {best} valid: loss {truly:.4f}".rstrip("0") in repr(fitted)
    fitted.save(tmp_path / "model.lumbre")
    again = lb.load(tmp_path / "model.lumbre", RECIPE)
    assert repr(again).split("engine")[0] == repr(fitted).split("engine")[0]
    again.report(tmp_path / "report.html")
    text = re.sub(r"<[^>]+>", " ", (tmp_path / "report.html").read_text())
    assert f"training and validation in epoch {best}, whose weights the model has" in text
    tile = re.search(r"validation loss\s+(\S+)", text)
    assert tile is not None
    assert float(tile[1]) == pytest.approx(truly, abs=5e-5)


def test_an_ensemble_tells_of_the_weights_that_its_models_have() -> None:
    keeper = lb.callbacks.KeepBestModel()
    models = RECIPE.ensemble(noisy(100, 0), n=2, epochs=15, valid_data=noisy(100, 1), callbacks=keeper, verbose=False)
    lowest = sorted(one.history_wide["valid_loss"].min() for one in models.models)
    found = re.search(r"valid_loss: (\S+) to (\S+)", repr(models))
    assert found is not None
    assert [float(one) for one in found.groups()] == pytest.approx(lowest, abs=5e-5)


def test_a_training_that_goes_on_counts_the_epochs_on() -> None:
    keeper = lb.callbacks.KeepBestModel()
    first = RECIPE.fit(noisy(100, 0), epochs=3, verbose=False)
    further = first.fit(noisy(100, 0), epochs=15, valid_data=noisy(100, 1), callbacks=keeper, verbose=False)
    losses = further.history_wide["valid_loss"].tolist()[3:]
    best = 4 + losses.index(min(losses))
    assert best < 18
    assert f"weights: those of epoch {best}" in repr(further)
