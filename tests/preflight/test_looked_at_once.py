"""A recipe whose net was looked at and found sound is not looked at again; rows are, each time."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs

SEEN: list[None] = []
"""An entry for each call of a net. The checks put back whatever a net of a user's counts itself."""


class Small(nn.Module):
    def __init__(self, d_hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, d_hidden), nn.ReLU(), nn.Linear(d_hidden, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    def count(module: nn.Module, given: Any, pred: Any) -> None:
        if isinstance(module, Small):
            SEEN.append(None)

    handle = nn.modules.module.register_module_forward_hook(count)
    yield
    handle.remove()


def recipe() -> lb.Recipe:
    return lb.setup(Small, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.01)


def calls(recipe: lb.Recipe, data: Any = None, **options: Any) -> int:
    """Calls of the net by the checks: those of a run with checks, less those of one without."""
    options = {"epochs": 2, "batch_size": 20, "verbose": False, **options}
    found: list[int] = []
    for preflight in (True, False):
        SEEN.clear()
        recipe.fit(blobs() if data is None else data, **options, preflight=preflight)
        found.append(len(SEEN))
    return found[0] - found[1]


def test_a_net_is_looked_at_once() -> None:
    made = recipe()
    first = calls(made)
    assert first > 10
    for options in ({}, {"seed": 5}, {"valid_data": 0.25}):
        assert calls(made, **options) < first / 2
    stopping = {"callbacks": lb.callbacks.EarlyStopping("train_loss")}  # which notes what it sees
    calls(made, **stopping)
    assert calls(made, **stopping) < first / 2
    assert calls(made, blobs(80, seed=3)) < first / 2


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 40}, {"callbacks": [lb.callbacks.GradientClip(1.0)]}, {"epochs": 3}, {"precision": "bfloat16"}],
    ids=["batch", "callbacks", "epochs", "precision"],
)
def test_other_options_are_looked_at_anew(options: dict[str, Any]) -> None:
    made = recipe()
    calls(made)
    assert calls(made, **options) > 10


def test_functions_are_compared_by_what_they_are_not_by_their_address() -> None:
    made = recipe()

    def rising(by: float) -> lb.Callback:
        return lb.callbacks.LearningRate(lambda step, steps: by)

    calls(made, callbacks=rising(1.0))
    assert calls(made, callbacks=rising(1.0)) > 10  # whose function may lie where the first one lay
    assert calls(made, callbacks=lb.callbacks.On(epoch_end=lambda ctx: None)) > 10


class Unheard(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Small()

    def extra_repr(self) -> str:
        raise RuntimeError("no text")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_a_module_that_cannot_be_described_trains_and_is_looked_at_anew() -> None:
    made = lb.setup(Unheard, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.01)
    assert calls(made) == calls(made) > 10


def test_another_net_or_loss_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe()
    first = calls(made)
    assert calls(made.set_hparams(d_hidden=8)) >= first
    assert calls(made.set_opt_hparams(lr=0.02)) >= first
    assert calls(copy.deepcopy(made)) >= first

    def mixes(self: Small, x: Tensor) -> Tensor:
        return self.layers(x) - self.layers(x).mean(0)

    monkeypatch.setattr(Small, "forward", mixes)
    with pytest.warns(lb.PreflightWarning, match="LB020"):
        made.fit(blobs(), epochs=2, batch_size=20, verbose=False)


def test_rows_are_looked_at_each_time() -> None:
    made = recipe()
    calls(made)
    x, y = blobs()
    x[7, 2] = torch.nan
    with pytest.raises(lb.PreflightError, match="LB002"):
        made.fit((x, y), epochs=2, batch_size=20, verbose=False)
    with pytest.raises(lb.PreflightError, match="LB005"):
        made.fit((blobs()[0], y + 1), epochs=2, batch_size=20, verbose=False)
    with pytest.warns(lb.PreflightWarning, match="LB041"):
        made.fit(blobs(), epochs=2, batch_size=20, valid_data=blobs(), verbose=False)


def test_what_was_found_is_said_each_time() -> None:
    made = lb.setup(lambda: nn.Sequential(Small(), nn.Softmax(dim=1)), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    for _ in range(2):
        with pytest.warns(lb.PreflightWarning, match="LB007"):
            made.fit(blobs(), epochs=1, verbose=False)


def test_a_module_that_is_trained_on_is_looked_at_each_time() -> None:
    made = lb.setup(Small(), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.01)
    first = calls(made)
    assert calls(made) == first
