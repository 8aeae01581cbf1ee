"""Updates that the loss scaler of float16 skips count for nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import EMA, Accumulate, LearningRate, LRScheduler


class Watch(lb.Callback):
    """For each batch: steps counted, whether the weights changed, the rate."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.changed: list[bool] = []
        self.rates: list[float] = []

    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        self._before = nn.utils.parameters_to_vector(ctx.model.parameters()).clone()

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        self.steps.append(ctx.step)
        self.changed.append(bool((nn.utils.parameters_to_vector(ctx.model.parameters()) != self._before).any()))
        self.last = ctx.step
        self.rates.append(ctx.optimizers[next(iter(ctx.optimizers))].param_groups[0]["lr"])

    def on_epoch_end(self, ctx: lb.Context) -> None:
        self.last = ctx.step


def steep(pred: Tensor, target: Tensor) -> Tensor:
    """Its gradients overflow until the scale has fallen."""
    return nn.functional.cross_entropy(pred.float() * 3000, target)


class Plain(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


class Own(Plain):
    def step(self, ctx: lb.Context) -> Tensor:
        loss = steep(self(ctx.batch.input), ctx.batch.target)
        ctx.minimize(loss)
        return loss.detach()


class Two(Plain):
    loss_weight = loss_bias = staticmethod(steep)

    def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer]:
        return {"weight": optim.SGD([self.weight], lr=lr), "bias": optim.SGD([self.bias], lr=lr)}


def fit(callbacks: Any, module: Any = Plain, **options: Any) -> lb.Fitted:
    own = module is Two
    recipe = lb.setup(module, loss=None if own else steep, optimizer=None if own else optim.SGD)
    recipe = recipe.set_opt_hparams(lr=1e-6)
    given = {"epochs": 4, "batch_size": 16, "precision": "float16", "device": "cpu", "preflight": False} | options
    return recipe.fit(blobs(64), callbacks=callbacks, verbose=False, **given)


@pytest.mark.parametrize("module", [Plain, Own, Two])
def test_a_step_is_an_update_of_the_weights(module: Any) -> None:
    watch, average = Watch(), EMA(0.9)
    fit([watch, average], module)
    assert False in watch.changed
    assert True in watch.changed
    assert watch.steps == [sum(watch.changed[: at + 1]) for at in range(len(watch.changed))]
    assert average.state_dict()["count"] == watch.steps[-1]


def test_groups_of_batches_count_by_their_update() -> None:
    watch, average = Watch(), EMA(0.9)
    fit([watch, average, Accumulate(3)], epochs=16)
    assert 0 < sum(watch.changed) < watch.last < 32, "some come at the end of an epoch, and some are skipped"
    assert average.state_dict()["count"] == watch.last


@pytest.mark.parametrize("torchs", [False, True])
def test_schedules_wait_for_the_first_update(torchs: bool) -> None:
    watch = Watch()
    schedule = (
        LRScheduler(lr_scheduler.ExponentialLR, gamma=0.9, step_on="batch")
        if torchs
        else LearningRate(lambda step, steps: 0.9**step)
    )
    order = [watch, schedule] if torchs else [schedule, watch]
    fit(order)
    skipped = watch.changed.index(True)
    assert skipped > 0
    assert all(watch.changed[skipped:])
    assert watch.rates == pytest.approx([1e-6] * skipped + [1e-6 * 0.9**n for n in range(16 - skipped)])


@pytest.mark.filterwarnings("ignore:no update was made")  # in the few batches of the part that goes on
@pytest.mark.parametrize("torchs", [False, True])
def test_what_was_skipped_is_part_of_the_state(torchs: bool, tmp_path: Path) -> None:
    class Stop(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            if ctx.epoch == 3 and ctx.batch_index == 3:
                raise KeyboardInterrupt

    def schedule() -> lb.Callback:
        if torchs:
            return LRScheduler(lr_scheduler.ExponentialLR, gamma=0.9, step_on="batch")
        return LearningRate(lambda step, steps: 0.9**step)

    keep = lb.Checkpoints(tmp_path, steps=1, wait=True, allow_changes="callbacks")
    fit([schedule(), Stop()], resume=keep)
    resumed, stretch = fit([schedule()], resume=keep), fit([schedule()])
    assert torch.equal(resumed.model.weight, stretch.model.weight)
    assert resumed._history.records == stretch._history.records
