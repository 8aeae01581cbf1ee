"""The guard over weights and statistics."""

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import NaNGuard, On


class Root(nn.Module):
    """A finite loss whose gradient is not: the slope of the root at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 3)
        self.register_buffer("mask", torch.full((3,), -torch.inf))

    def forward(self, x: Tensor) -> Tensor:
        return self.second((0 * self.first(x)).sqrt())


def recipe(module: object) -> lb.Recipe:
    return lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)


def test_the_first_parameter_is_named_in_the_step_of_the_fault() -> None:
    with pytest.raises(lb.NonFiniteLossError) as found:
        recipe(Root).fit(blobs(), epochs=1, callbacks=NaNGuard(), preflight=False, verbose=False)
    assert "first.weight, in which 12 of 12 values are not finite, and 1 more, after step 1 of epoch 1" in str(
        found.value
    )
    assert "gradient of first.weight, first.bias" in str(found.value)


def test_without_it_the_loss_of_the_next_step_stops_the_run_and_names_no_parameter() -> None:
    with pytest.raises(lb.NonFiniteLossError) as found:
        recipe(Root).fit(blobs(), epochs=1, preflight=False, verbose=False)
    assert "step 2" in str(found.value)
    assert "first.weight" not in str(found.value)


def test_statistics_are_watched_though_the_loss_stays_finite() -> None:
    class Normed(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.BatchNorm1d(4), nn.Linear(4, 3))

    def spoil(ctx: lb.Context) -> None:
        ctx.model[0].running_var.fill_(torch.inf)

    with pytest.raises(lb.NonFiniteLossError, match=r"0\.running_var, in which 4 of 4"):
        recipe(Normed).fit(blobs(), epochs=1, callbacks=[On(train_batch_end=spoil), NaNGuard()], verbose=False)


def test_masks_and_large_values_are_no_fault() -> None:
    class Large(Root):
        def __init__(self) -> None:
            super().__init__()
            self.huge = nn.Parameter(torch.full((3,), 3e38))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) + 0 * self.huge

    recipe(Large).fit(blobs(), epochs=1, callbacks=NaNGuard(), preflight=False, verbose=False)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(lb.OptionError):
        NaNGuard(every=0)
