"""What is noticed during a run, the ledger of its parameters, and learning rates before a run."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from conftest import Net, blobs
from lumbre.callbacks import Remarks


class Reported(lb.Callback):
    """A context of a run whose losses are given."""

    def __init__(self, train: list[float], valid: list[float] | None = None, seconds: float = 0.0) -> None:
        self.train, self.valid, self.seconds = train, valid or [], seconds
        self.remarks = Remarks()

    def on_epoch_end(self, ctx: lb.Context) -> None:
        at = ctx.epoch - 1
        ctx.history.records = [one for one in ctx.history.records if one[2] != ctx.epoch]
        ctx.history.add(ctx.epoch, "train", {"loss": self.train[at]})
        if self.valid:
            ctx.history.add(ctx.epoch, "valid", {"loss": self.valid[at]})
        ctx.history.phase_seconds["data"] += self.seconds
        self.remarks.on_epoch_end(ctx)


def codes(*losses: list[float], **reported: float) -> list[str]:
    watcher = Reported(*losses, **reported)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4)
    recipe.fit(blobs(12), epochs=len(losses[0]), callbacks=watcher, verbose=False, preflight=False)
    return [line[:5] for line in watcher.remarks.lines]


FALLING = [2.0, 1.5, 1.2, 1.0, 0.9, 0.82, 0.76, 0.72, 0.7, 0.68]


@pytest.mark.parametrize(
    ("code", "broken", "sound"),
    [
        ("LB101", [[1.1] * 6], [[1.1, 1.09, 1.07, 1.05, 1.0, 0.98]]),
        ("LB102", [[1.0, 0.5, 0.8, 1.2, 2.0]], [[1.0, 0.5, 0.55, 0.6, 0.52]]),
        ("LB103", [[1.0, 3.0] * 5], [[1.0, 1.05] * 5]),
        ("LB104", [FALLING, [0.2 * one for one in FALLING]], [FALLING, [0.9 * one for one in FALLING]]),
        ("LB105", [FALLING, [1.5, 1.2, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]], [FALLING, FALLING]),
    ],
)
def test_each_remark_and_its_twin(code: str, broken: list[list[float]], sound: list[list[float]]) -> None:
    assert codes(*broken) == [code]
    assert codes(*sound) == []


def test_waiting_for_data() -> None:
    assert codes(FALLING, seconds=4.0) == ["LB106"]


def test_a_remark_is_said_once_and_can_be_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4).set_opt_hparams(lr=1e-6)
    with pytest.warns(lb.PreflightWarning, match="LB074"):
        fitted = recipe.fit(blobs(), epochs=7)
    assert [line[:5] for line in fitted.remarks] == ["LB101"]
    assert capsys.readouterr().out.count("LB101") == 1
    assert not recipe.fit(blobs(), epochs=7, ignore=("LB074", "LB101")).remarks
    assert not recipe.fit(blobs(), epochs=7, preflight=False, verbose=False).remarks


def test_the_ledger_tells_what_moved() -> None:
    def net() -> nn.Module:
        made = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        made[0].bias.requires_grad_(False)
        return made

    fitted = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(blobs(), epochs=2, verbose=False)
    ledger = fitted.ledger.set_index("parameter")
    assert list(ledger["changed"]) == [True, False, True, True]
    assert list(ledger["trainable"]) == [True, False, True, True]
    assert ledger.loc["0.weight", "ratio"] == pytest.approx(
        ledger.loc["0.weight", "change"] / ledger.loc["0.weight", "start"]
    )
    assert ledger["numbers"].sum() == sum(one.numel() for one in fitted.model.parameters())
    assert ledger.loc["2.weight", "gradient"] > 0
    assert not fitted.remarks


def test_a_parameter_that_does_not_move_is_named() -> None:
    class Spare(Net):
        def __init__(self) -> None:
            super().__init__(4)
            self.spare = nn.Parameter(torch.ones(3))

    recipe = lb.setup(Spare, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    fitted = recipe.fit(blobs(), epochs=1, verbose=False, ignore="LB023")
    assert [line[:5] for line in fitted.remarks] == ["LB107"]
    assert "spare" in fitted.remarks[0]


class TwoRates(Net):
    """Its head has the rate of the optimizer, its body a share of it."""

    def __init__(self, share: float) -> None:
        super().__init__(4)
        self.share = share

    def configure_optimizers(self, lr: float = 0.1) -> optim.Optimizer:
        body, head = self.layers[0].parameters(), self.layers[-1].parameters()
        return optim.SGD([{"params": body, "lr": lr * self.share}, {"params": head}], lr=lr)


def test_a_group_that_hardly_moves_is_named() -> None:
    def remarks(share: float) -> list[str]:
        recipe = lb.setup(lambda: TwoRates(share), loss=nn.CrossEntropyLoss())
        return recipe.fit(blobs(), epochs=2, verbose=False, ignore=("LB072",)).remarks

    assert [line[:5] for line in remarks(1e-5)] == ["LB108"]
    assert "layers.0.weight" in remarks(1e-5)[0]
    assert remarks(0.1) == []


def test_no_ledger_of_a_model_that_was_loaded(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path) -> None:
    recipe.fit(data, epochs=1, verbose=False).save(tmp_path / "net.lumbre")
    loaded = lb.load(tmp_path / "net.lumbre", Net)
    assert loaded.remarks == []
    with pytest.raises(lb.DataError, match="loaded"):
        _ = loaded.ledger


@pytest.mark.parametrize(
    "make",
    [
        lambda: lb.callbacks.LearningRate(lb.schedules.cosine(warmup=3)),
        lambda: lb.callbacks.LearningRate(lb.schedules.linear(), step_on="epoch"),
        lambda: lb.callbacks.LRScheduler(lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1),
        lambda: lb.callbacks.LRScheduler(lr_scheduler.StepLR, step_size=2, gamma=0.5),
    ],
)
def test_rates_ahead_are_those_of_the_run(line: lb.Recipe, make: Callable[[], lb.Callback]) -> None:
    pytest.importorskip("plotnine")
    seen: list[float] = []

    class Rates(lb.Callback):
        def on_after_step(self, ctx: lb.Context) -> None:
            seen.append(float(ctx.optimizer.param_groups[0]["lr"]))

    x = torch.linspace(-1, 1, 20).reshape(20, 1)
    line.fit((x, x.exp()), epochs=4, batch_size=6, callbacks=[make(), Rates()], verbose=False)
    chart = line.plot_lr((x, x.exp()), 4, batch_size=6, callbacks=make())
    assert list(chart.data["lr"]) == pytest.approx(seen)


def test_a_schedule_that_ends_before_the_run_is_an_error(line: lb.Recipe) -> None:
    x = torch.linspace(-1, 1, 20).reshape(20, 1)
    cycle = lb.callbacks.LRScheduler(lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1, total_steps=5)
    with pytest.raises(lb.OptionError, match="fails at batch 6 of 16"):
        line.plot_lr((x, x.exp()), 4, batch_size=6, callbacks=cycle)
