"""Early stopping, checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lumbre as lb
from conftest import Net
from lumbre.callbacks import EarlyStopping, ModelCheckpoint


class Scripted(lb.Callback):
    """Writes chosen values into the history, so that the next callbacks see them."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_valid_end(self, ctx: lb.Context) -> None:
        records = ctx.history.records
        records[:] = [record for record in records if record[:3] != ("valid", "loss", ctx.epoch)]
        ctx.log("loss", self.values[ctx.epoch - 1])


def epochs_run(recipe: lb.Recipe, data: tuple[Tensor, Tensor], values: list[float], **options: object) -> int:
    callbacks = [Scripted(*values), EarlyStopping(**options)]
    # The script makes a loss of which more may be better.
    options = {"callbacks": callbacks, "ignore": ("LB089",), "verbose": False}
    fitted = recipe.fit(data, epochs=len(values), valid_data=0.2, **options)
    return int(fitted.history["epoch"].max())


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([5, 4, 3, 2, 1], {"patience": 1}, 5),
        ([5, 6, 6, 6, 6], {"patience": 1}, 2),
        ([5, 6, 6, 6, 6], {"patience": 2}, 3),
        ([5, 6, 4, 6, 6, 6], {"patience": 2}, 5),
        ([5, 4.9, 4.8, 4.7], {"patience": 2, "min_delta": 0.5}, 3),
        ([1, 2, 3, 2, 2, 2], {"patience": 2, "mode": "max"}, 5),
        ([5, 4, 3, 2], {"patience": 2, "baseline": 1.0}, 2),
        ([float("nan")] * 4, {"patience": 2}, 2),
        ([0.0, 5.0, 5.0], {"patience": 1}, 2),
    ],
)
def test_early_stopping(recipe, data, values, options, expected) -> None:
    assert epochs_run(recipe, data, values, **options) == expected


def test_early_stopping_restores_the_best_weights(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    kept: dict[int, Tensor] = {}

    class Keep(lb.Callback):
        def on_epoch_end(self, ctx: lb.Context) -> None:
            kept[ctx.epoch] = ctx.model.layers[0].weight.clone()

    callbacks = [Scripted(5, 3, 4, 4), Keep(), EarlyStopping(patience=2, restore_best=True)]
    fitted = recipe.fit(data, epochs=4, valid_data=0.2, callbacks=callbacks, verbose=False)
    assert torch.equal(fitted.model.layers[0].weight, kept[2])
    assert not torch.equal(kept[2], kept[4])


def test_a_callback_starts_afresh_in_the_next_fit(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    stop = EarlyStopping(patience=1)
    for values in ([1, 2, 2], [9, 8, 7]):
        fitted = recipe.fit(data, epochs=3, valid_data=0.2, callbacks=[Scripted(*values), stop], verbose=False)
    assert fitted.history["epoch"].max() == 3


def test_checkpoints_hold_the_best_model(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    best, each = tmp_path / "new" / "best.lumbre", tmp_path / "{epoch:02d}.lumbre"
    callbacks = [Scripted(5, 3, 4, 4), ModelCheckpoint(best), ModelCheckpoint(each, best_only=False)]
    recipe.fit(data, epochs=4, valid_data=0.2, callbacks=callbacks, verbose=False)
    assert sorted(path.name for path in tmp_path.glob("*.lumbre")) == [
        "01.lumbre",
        "02.lumbre",
        "03.lumbre",
        "04.lumbre",
    ]
    found, second = lb.load(best, Net), lb.load(tmp_path / "02.lumbre", Net)
    assert torch.equal(found.predict(data), second.predict(data))
    assert found.history["epoch"].max() == 2
    assert not torch.equal(found.predict(data), lb.load(tmp_path / "04.lumbre", Net).predict(data))


def test_why_a_run_ended_is_said(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.fit(data, epochs=4, valid_data=0.2, callbacks=[Scripted(1, 2, 2, 2), EarlyStopping(patience=1)])
    assert "Early stopping at epoch 2 of 4: valid_loss has not improved for 1 epoch." in capsys.readouterr().out


def test_silence(recipe: lb.Recipe, data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    recipe.fit(data, epochs=1, verbose=False)
    assert capsys.readouterr().out == ""


def test_ctrl_c_keeps_the_model(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    class CtrlC(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            if ctx.epoch == 3:
                raise KeyboardInterrupt

    fitted = recipe.fit(data, epochs=9, callbacks=CtrlC())
    assert fitted.history["epoch"].max() == 2
    assert fitted.predict(data).shape == (120, 3)
    assert "Interrupted in epoch 3 of 9" in capsys.readouterr().out


def test_a_metric_that_does_not_fit_is_named(data: tuple[Tensor, Tensor], recipe: lb.Recipe) -> None:
    class Bad(lb.metrics.Metric):
        def init(self, device):
            return None

        def update(self, state, pred, target):
            return pred @ target

        def compute(self, state):
            return 0.0

    with pytest.raises(lb.CallbackError, match="in the metric 'Bad', in update"):
        lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam, metrics=Bad()).set_hparams(d_in=4).fit(
            data, verbose=False
        )
