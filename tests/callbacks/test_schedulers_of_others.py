"""Schedulers in the forms of timm, which count what is done, of pytorch_optimizer, without a state, of transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

import lumbre as lb

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
DATA = (X, X.sum(1, keepdim=True))


class Halved:
    """As those of timm: called after an epoch, or an update, with the number of those done; knows no rates."""

    def __init__(self, optimizer: optim.Optimizer, t_in_epochs: bool = True) -> None:
        self.optimizer, self.t_in_epochs = optimizer, t_in_epochs
        self.base_values = [group["lr"] for group in optimizer.param_groups]

    def step(self, epoch: int, metric: float | None = None) -> None:
        self._set(epoch if self.t_in_epochs else None)

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        self._set(None if self.t_in_epochs else num_updates)

    def _set(self, done: int | None) -> None:
        for group, value in zip(self.optimizer.param_groups, self.base_values, strict=True):
            group["lr"] = group["lr"] if done is None else value / (1 + done)

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class PlateauLRScheduler(Halved):
    """As timm's, whose `mode` is "max" where nobody says."""

    def __init__(self, optimizer: optim.Optimizer, mode: str = "max") -> None:
        super().__init__(optimizer)
        self.inner = ReduceLROnPlateau(optimizer, mode, patience=0, factor=0.5)

    def step(self, epoch: int, metric: float | None = None) -> None:
        assert metric is not None
        self.inner.step(metric)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.inner.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.best = state["best"]


class Stateless:
    """As some of pytorch_optimizer: neither a state nor a base class."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer, self.step_t, self.rates = optimizer, 0, [0.1]

    def step(self) -> None:
        self.step_t += 1
        self.rates = [0.1 / self.step_t]
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[0]


def linear(optimizer: optim.Optimizer, num_training_steps: int) -> LambdaLR:
    """As transformers' schedules."""
    return LambdaLR(optimizer, lambda step: 1 - step / num_training_steps)


def recipe() -> lb.Recipe:
    return lb.setup(lambda: nn.Linear(6, 1), loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)


def fit(schedule: lb.Callback, rates: list[float] | None = None, **options: Any) -> lb.Fitted:
    note = lb.callbacks.On(
        train_batch_begin=lambda ctx: None if rates is None else rates.append(ctx.optimizer.param_groups[0]["lr"])
    )
    options = {"epochs": 3, "batch_size": 16, "verbose": False, "engine": "eager", **options}
    return recipe().fit(DATA, callbacks=[schedule, note], **options)


CASES: dict[str, Any] = {
    "by epoch": ((Halved,), {}, [0.1] * 4 + [0.05] * 4 + [0.1 / 3] * 4),
    "by batch": ((Halved,), {"step_on": "batch", "t_in_epochs": False}, [0.1 / (1 + done) for done in range(12)]),
    "stateless": ((Stateless,), {"step_on": "batch"}, [0.1] + [0.1 / done for done in range(1, 12)]),
    "all steps": ((linear,), {"step_on": "batch"}, [0.1 * (1 - done / 12) for done in range(12)]),
}


@pytest.mark.parametrize("case", CASES)
def test_schedulers_move_and_resume(case: str, tmp_path: Path) -> None:
    kinds, options, expected = CASES[case]
    rates: list[float] = []
    whole = fit(lb.callbacks.LRScheduler(*kinds, **options), rates)
    assert rates == pytest.approx(expected)
    fit(lb.callbacks.LRScheduler(*kinds, **options), max_steps=6, resume=tmp_path)
    resumed = fit(lb.callbacks.LRScheduler(*kinds, **options), resume=tmp_path)
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_a_plateau_of_timm_gets_the_metric_and_its_direction() -> None:
    rates: list[float] = []
    held_out = (X + 0.1, (X + 0.1).sum(1, keepdim=True))
    fit(lb.callbacks.LRScheduler(PlateauLRScheduler, monitor="valid_loss"), rates, valid_data=held_out)
    assert rates == [0.1] * 12, "the loss falls, which is better"


def test_a_schedule_over_all_steps_does_not_take_more_epochs_unasked(tmp_path: Path) -> None:
    fit(lb.callbacks.LRScheduler(linear, step_on="batch"), epochs=1, resume=tmp_path)
    with pytest.raises(lb.ResumeError, match="epochs"):
        fit(lb.callbacks.LRScheduler(linear, step_on="batch"), epochs=2, resume=tmp_path)


def test_check_says_of_a_scheduler_that_fails() -> None:
    class Failing(Halved):
        def step(self, epoch: int, metric: float | None = None) -> None:
            raise TypeError("no such rate")

    found = recipe().check(DATA, epochs=3, callbacks=lb.callbacks.LRScheduler(Failing))
    assert "LB035" in [one.code for one in found]
