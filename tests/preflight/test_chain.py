"""What is not tried in chains of torch's own layers, and still is as soon as they may do something else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(96, 6, generator=G), torch.randint(0, 3, (96,), generator=G)
SEEN: list[int] = []  # global, since what a module holds is put back after each look


def codes(make: Callable[[], nn.Module], x: Tensor = X, y: Tensor = Y) -> set[str]:
    recipe = lb.setup(make, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return {one.code for one in recipe.check((x, y), batch_size=32)}


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def hooked() -> nn.Module:
    net = plain()
    net[0].register_forward_hook(lambda layer, given, output: output + output.mean(0))
    return net


def replaced() -> nn.Module:
    net = plain()
    net[1].forward = lambda x: x.relu() + x.mean(0)  # type: ignore[method-assign]
    return net


class Mean(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input.mean(0)


class Counts(nn.Linear):
    """Gives more at each call."""

    def forward(self, input: Tensor) -> Tensor:
        self.sum = getattr(self, "sum", 0.0) + 1.0
        return super().forward(input) * self.sum


class Like(nn.Linear):
    """Torch's own layer under another name, so that it is not known what it does."""


def test_a_chain_is_called_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.functional.linear

    def watched(*args: Any) -> Tensor:
        SEEN.append(len(args[0]))
        return linear(*args)

    monkeypatch.setattr(nn.functional, "linear", watched)
    times: list[int] = []
    for kind in (nn.Linear, Like):
        SEEN.clear()
        assert codes(lambda kind=kind: nn.Sequential(kind(6, 16), nn.ReLU(), kind(16, 3))) == set()
        times.append(len(SEEN))
    assert 0 < times[0] < 0.6 * times[1]


@pytest.mark.parametrize("make", [hooked, replaced, lambda: nn.Sequential(nn.Linear(6, 16), Mean(), nn.Linear(16, 3))])
def test_layers_that_do_something_else_are_tried(make: Callable[[], nn.Module]) -> None:
    assert "LB020" in codes(make)


def test_what_is_kept_from_call_to_call_is_found_in_a_chain() -> None:
    assert "LB078" in codes(lambda: nn.Sequential(Counts(6, 16), nn.ReLU(), nn.Linear(16, 3)))


def test_rows_that_a_convolution_takes_for_channels_are_found() -> None:
    x = torch.randn(32, 8, generator=G)
    net = lambda: nn.Sequential(nn.Conv1d(32, 32, 3, padding=1), nn.ReLU(), nn.Linear(8, 3))  # noqa: E731
    assert "LB020" in codes(net, x, Y[:32])


def test_a_softmax_over_the_rows_is_found_in_a_chain() -> None:
    net = lambda: nn.Sequential(nn.Linear(6, 16), nn.Softmax(dim=0), nn.Linear(16, 3))  # noqa: E731
    assert {"LB018", "LB020"} & codes(net)
