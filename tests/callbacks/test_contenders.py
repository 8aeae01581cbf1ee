"""Callbacks that contend for the weights at the end, or for the learning rate: they agree, or one is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import EMA, SWA, EarlyStopping, GradualUnfreezing, KeepBestModel, LearningRate, LRScheduler, On


class Tied(nn.Module):
    """Weights under two names, a buffer that shows a part of a parameter, and one that shows all of another."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embedding, self.middle = nn.Embedding(20, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
            self.register_buffer("part", self.middle.weight.data[:3])
            self.register_buffer("whole", self.middle.bias.data)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.embedding(x)))


def words() -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 20, (96,), generator=torch.Generator().manual_seed(0))
    return x, (x + 1) % 20


def fit(module: Any, data: Any, callbacks: list[lb.Callback], lr: float = 0.5, **options: Any) -> lb.Fitted:
    recipe = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=lr)
    return recipe.fit(data, callbacks=callbacks, verbose=False, **{"epochs": 4, **options})


def train_losses(fitted: lb.Fitted) -> list[float]:
    return fitted.history.query("set == 'train' and metric == 'loss'")["value"].tolist()


@settings(max_examples=10)
@given(st.booleans(), st.floats(0.5, 0.99))
def test_an_average_does_not_change_the_training(tied: bool, decay: float) -> None:
    """The law: training goes on with the plain weights, however weights are tied."""
    plain = fit(lambda: Tied(tied), words(), [], preflight=False)
    for average in (EMA(decay), SWA(0.25)):
        averaged = fit(lambda: Tied(tied), words(), [average], preflight=False)
        assert train_losses(averaged) == train_losses(plain)
        assert not torch.equal(averaged.model.middle.weight, plain.model.middle.weight)


def test_tied_weights_end_with_their_average() -> None:
    kept: list[Tensor] = []
    note = On(epoch_end=lambda ctx: kept.append(ctx.model.head.weight.detach().clone()))
    fitted = fit(lambda: Tied(True), words(), [note, SWA(0.5)], preflight=False)
    torch.testing.assert_close(fitted.model.head.weight.detach(), torch.stack(kept[2:]).mean(0))
    assert fitted.model.part.data_ptr() == fitted.model.middle.weight.data_ptr()
    assert torch.equal(fitted.model.part, fitted.model.middle.weight[:3])


SCHEDULES: dict[str, Callable[[], lb.Callback]] = {
    "cosine": lambda: LearningRate(lb.schedules.cosine()),
    "by epoch": lambda: LearningRate(lb.schedules.linear(), step_on="epoch"),
    "exponential": lambda: LRScheduler(lr_scheduler.ExponentialLR, gamma=0.5),
    "one cycle": lambda: LRScheduler(lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.2),
    "plateau": lambda: lb.schedules.plateau("train_loss", patience=1, min_delta=9.0),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("swa_first", [False, True])
def test_the_rate_of_swa_holds_whatever_a_schedule_says(schedule: str, swa_first: bool) -> None:
    rates: list[float] = []
    note = On(after_loss=lambda ctx: rates.append(ctx.optimizer.param_groups[0]["lr"]))
    alone: list[float] = []
    both = [SCHEDULES[schedule](), SWA(0.5, lr=0.05)]
    fitted = fit(lambda: nn.Linear(4, 3), blobs(64), [*(both[::-1] if swa_first else both), note], lr=0.1)
    other = On(after_loss=lambda ctx: alone.append(ctx.optimizer.param_groups[0]["lr"]))
    fit(lambda: nn.Linear(4, 3), blobs(64), [SCHEDULES[schedule](), other], lr=0.1)
    assert rates == [*alone[:4], *[0.05] * 4]
    assert fitted.history.query("metric == 'lr' and epoch > 2")["value"].tolist() == [0.05, 0.05]


def test_the_rate_of_swa_is_in_the_plot_and_ends_with_the_run() -> None:
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    both = [LearningRate(lb.schedules.cosine()), SWA(0.5, lr=0.05)]
    assert recipe.plot_lr(blobs(64), 4, callbacks=both).data["lr"].tolist()[4:] == [0.05] * 4
    groups: list[dict[str, Any]] = []
    fit(
        lambda: nn.Linear(4, 3), blobs(64), [*both, On(fit_begin=lambda ctx: groups.extend(ctx.optimizer.param_groups))]
    )
    assert "held_lr" not in groups[0]


class Normed(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body, self.head = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.Linear(8, 3)
        self.free = nn.BatchNorm1d(3)
        self.body[1].running_mean.fill_(0.7)

    def train(self, mode: bool = True) -> "Normed":
        super().train(mode)
        if self.how == "train()":
            self.body.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.free(self.head(torch.relu(self.body(x))))


@pytest.mark.parametrize("how", ["unfreezing", "train()", "a callback"])
def test_statistics_of_a_frozen_batch_norm_stay(how: str) -> None:
    callbacks: dict[str, list[lb.Callback]] = {
        "unfreezing": [GradualUnfreezing({"head": 0, "free": 0})],
        "train()": [],
        "a callback": [On(train_begin=lambda ctx: ctx.model.body.eval())],
    }
    options: dict[str, Any] = {"ignore": ("LB053",)}
    for given_first in (True, False):
        order = [*callbacks[how], SWA(0.5)] if given_first else [SWA(0.5), *callbacks[how]]
        fitted = fit(lambda: Normed(how), blobs(96), order, **options)
        assert torch.equal(fitted.model.body[1].running_mean, torch.full((8,), 0.7))
        assert fitted.model.free.num_batches_tracked == 3, "the other one gathered its statistics anew"


REFUSED: dict[str, list[Callable[[], lb.Callback]]] = {
    "swa and keep best": [lambda: SWA(0.5), lambda: KeepBestModel("train_loss")],
    "swa and early stopping": [lambda: SWA(0.5), lambda: EarlyStopping("train_loss", restore_best=True)],
    "swa and ema": [lambda: SWA(0.5), lambda: EMA(0.9)],
    "two emas": [lambda: EMA(0.9), lambda: EMA(0.5)],
    "two best epochs": [lambda: KeepBestModel("train_loss"), lambda: KeepBestModel("valid_loss")],
    "two ways to the best": [lambda: KeepBestModel(min_delta=0.1), lambda: EarlyStopping(restore_best=True)],
    "two schedules": [lambda: LearningRate(lb.schedules.cosine()), lambda: LearningRate(lb.schedules.linear())],
    "a schedule and torch's": [SCHEDULES["cosine"], SCHEDULES["exponential"]],
    "a schedule and a plateau": [SCHEDULES["cosine"], SCHEDULES["plateau"]],
    "two plans": [lambda: GradualUnfreezing({"*": 0}), lambda: GradualUnfreezing({"weight": 0})],
}


@pytest.mark.parametrize("pair", REFUSED)
@pytest.mark.parametrize("turned", [False, True])
def test_the_second_of_two_that_contend_is_refused(pair: str, turned: bool) -> None:
    callbacks = [make() for make in REFUSED[pair]]
    with pytest.raises(lb.OptionError, match=r"leave .* out"):
        fit(lambda: nn.Linear(4, 3), blobs(), callbacks[::-1] if turned else callbacks, valid_data=0.2)


def test_what_ends_alike_may_stand_together() -> None:
    seen: dict[int, Tensor] = {}
    note = On(epoch_end=lambda ctx: seen.update({ctx.epoch: ctx.model.weight.detach().clone()}))
    keep = KeepBestModel("train_loss")
    for order in ([EMA(0.9), keep, EarlyStopping("train_loss", restore_best=True)], [keep, EMA(0.9)]):
        fitted = fit(lambda: nn.Linear(4, 3), blobs(), [*order, note])
        assert torch.equal(fitted.model.weight, seen[keep.best_epoch])
