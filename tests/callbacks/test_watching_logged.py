"""Values that a callback logs, and the learning rate, can be watched as those of metrics are."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import EarlyStopping, KeepBestModel, LearningRate, ModelCheckpoint, On

VALUES = [3.0, 1.0, 2.0, 5.0]


class Logs(lb.Callback):
    def on_train_end(self, ctx: lb.Context) -> None:
        ctx.log("mine", VALUES[ctx.epoch - 1])

    def on_valid_end(self, ctx: lb.Context) -> None:
        ctx.log("mine", -VALUES[ctx.epoch - 1])


def fit(*callbacks: lb.Callback, module: Any = None, **options: Any) -> lb.Fitted:
    recipe = lb.setup(module or (lambda: nn.Linear(4, 3)), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    return recipe.fit(blobs(), epochs=4, callbacks=callbacks, verbose=False, **options)


@pytest.mark.parametrize("logger", [Logs(), On(train_end=Logs().on_train_end, valid_end=Logs().on_valid_end)])
@pytest.mark.parametrize("name", ["train_mine", "valid_mine"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_logged_value_is_watched(logger: lb.Callback, name: str, mode: str, tmp_path: Path) -> None:
    keep = KeepBestModel(name, mode=mode)
    file = ModelCheckpoint(tmp_path / "{epoch}-{train_mine:.0f}.lumbre", monitor=name, mode=mode, keep=1)
    stop = EarlyStopping(name, mode=mode, patience=9)
    rate = lb.schedules.plateau(name, mode=mode, patience=9)
    fit(keep, file, stop, rate, logger, valid_data=0.2)
    best = 2 if (mode == "min") == (name == "train_mine") else 4
    assert keep.best_epoch == best
    assert [one.name for one in tmp_path.iterdir()] == [f"{best}-{VALUES[best - 1]:.0f}.lumbre"]


def test_the_learning_rate_is_watched() -> None:
    keep = KeepBestModel("train_lr", mode="min")
    fit(LearningRate(lb.schedules.cosine()), keep)
    assert keep.best_epoch == 4
    fit(lb.schedules.plateau("train_loss"), keep)
    assert keep.best_epoch == 1
    with pytest.raises(lb.OptionError, match="does not say whether more or less of it is better"):
        fit(LearningRate(lb.schedules.cosine()), KeepBestModel("train_lr"))
    with pytest.raises(lb.OptionError, match="monitor='train_lr'"):
        fit(KeepBestModel("train_lr", mode="min"))


def test_a_module_with_a_step_of_its_own_may_log() -> None:
    class Own(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)

        def step(self, ctx: lb.Context) -> Tensor:
            loss = nn.functional.cross_entropy(self(ctx.batch.input), ctx.batch.target)
            ctx.minimize(loss)
            ctx.log("size", float(self.weight.detach().norm()))
            return loss.detach()

    keep = KeepBestModel("train_size", mode="max")
    fit(keep, module=Own)
    assert keep.best_epoch is not None


def test_without_a_mode_or_a_value_it_is_refused() -> None:
    with pytest.raises(lb.OptionError, match='mode="min" or "max" for a value that a callback logs'):
        fit(Logs(), KeepBestModel("train_mine"))
    with pytest.raises(lb.OptionError, match=r"nothing has logged in epoch 1[\s\S]*Did you mean 'train_mine'"):
        fit(Logs(), KeepBestModel("train_mines", mode="min"))
    with pytest.raises(lb.OptionError, match=r"valid_data=0\.2"):
        fit(Logs(), KeepBestModel("valid_mine", mode="min"))
    late = On(epoch_end=lambda ctx: ctx.log("late", 1.0))
    with pytest.raises(lb.OptionError, match="a callback that stands before this one"):
        fit(KeepBestModel("train_late", mode="min"), late)
    fit(late, KeepBestModel("train_late", mode="min"))
    with pytest.raises(lb.OptionError, match="a value that this run records"):
        fit(KeepBestModel("train_mine", mode="min"))


def test_tune_watches_it() -> None:
    pytest.importorskip("optuna")
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    space = {"opt_hparams": {"lr": lb.LogRange(1e-4, 0.5)}}
    options: dict[str, Any] = {"trials": 2, "epochs": 2, "callbacks": Logs(), "verbose": False}
    found = lb.tune(recipe, space, blobs(), monitor="train_mine", mode="min", **options)
    assert found.best_value == 1.0
    with pytest.raises(lb.OptionError, match="for a value that a callback logs"):
        lb.tune(recipe, space, blobs(), monitor="train_mine", **options)
