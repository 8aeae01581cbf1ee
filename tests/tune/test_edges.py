"""The best of a search at an edge of its space (LB136): `make judge` measures how often the check is wrong."""

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


class Distance(nn.Module):
    """Its loss is how far `place` is from 3, or from what `mode` makes of it."""

    def __init__(self, place: float = 3.0, other: float = 0.0) -> None:
        super().__init__()
        self.weight, self.place, self.other = nn.Parameter(torch.zeros(())), place, other

    def forward(self, x: Tensor) -> Tensor:
        return x * 0 + self.weight * 0 + abs(self.place - 3.0) + 0.3 * abs(self.other - 0.5)


def search(space: dict, trials: int = 12, sign: int = 1, **options) -> lb.Tuned:
    recipe = lb.setup(Distance, loss=lambda pred, y: sign * (pred - y).mean(), optimizer=optim.SGD)
    data = torch.zeros(4, 1), torch.zeros(4, 1)
    fit = {"epochs": 1, "valid_data": data, "verbose": False, "preflight": False}
    return lb.tune(recipe, {"hparams": space}, data, trials=trials, **fit, **options)


@pytest.mark.parametrize(
    ("space", "trials", "edge"),
    [
        ({"place": (0.5, 2.0)}, 12, "upper end of 0.5 to 2"),
        ({"place": lb.LogRange(4.0, 40.0), "other": (0.0, 1.0)}, 20, "lower end of 4 to 40"),
        ({"place": [4, 5, 6, 7, 8, 9, 10, 11]}, 8, "lower end of 4 to 11"),
        ({"place": (4, 30)}, 14, "lower end of 4 to 30"),
    ],
    ids=["range", "logarithm", "choices", "whole"],
)
def test_the_best_lies_at_an_edge(space: dict, trials: int, edge: str) -> None:
    tuned = search(space, trials)
    (finding,) = tuned.review()
    assert (finding.code, finding.severity) == ("LB136", "hint")
    assert edge in finding.received
    assert "LB136" in repr(tuned)


@pytest.mark.parametrize(
    ("space", "trials"),
    [
        ({"place": (0.5, 6.0)}, 12),
        ({"place": [4, 5]}, 2),
        ({"place": [4, True, False]}, 3),
        ({"other": (0.0, 1.0)}, 12),
        ({"place": (0.5, 2.0)}, 4),
    ],
    ids=["inside", "two choices", "no numbers", "inside, a share", "too few trials"],
)
def test_no_edge_or_nothing_to_say(space: dict, trials: int) -> None:
    assert not search(space, trials).review()


def test_more_is_better() -> None:
    tuned = search({"place": (0.5, 2.0)}, sign=-1, mode="max")
    (finding,) = tuned.review()
    assert "upper end" in finding.received


def test_nothing_lies_beyond_a_share_or_none() -> None:
    assert not search({"place": (0.0, 1.0)}).review(), "shares end at 1"
    assert search({"place": (0.0, 2.0)}).review()
