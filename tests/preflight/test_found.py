"""Pairs after threads: causes that the newest checks name, and sound programs that they leave alone.

The quick tests take the pairs of the newest checks alone; no test runs those of the other half.
"""

from collections.abc import Callable

import pytest
import torch
from corpus.found import FOUND
from corpus.found_sound import SOUND
from corpus.harness import checked, made
from corpus.program import Case
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

# What no look before a run tells.
_HARDLY = (
    "cell_is_the_hidden_state",
    "focal_of_log_probabilities",
    "mean_beside_sum",
    "overlap_of_centres",
    "pictures_normalised_twice",
    "pinball_swapped",
    "rolling_mean_of_today",
    "spread_from_variance",
)
_NEWEST = {f"LB{number}" for number in range(123, 131)}
DEVELOPED = [case for case in FOUND if case.half == "develop" and case.name not in _HARDLY]
QUICK = [case for case in DEVELOPED if _NEWEST & set(case.codes)]
# Which older checks had warned of.
_MENDED = ("faces_with_a_margin", "slow_copy_of_the_net")


def assert_named_and_left_alone(case: Case) -> None:
    assert any(code in case.codes and kind != "hint" for code, kind in checked(made(case, True, 1)))
    assert [one for one in checked(made(case, False, 1)) if one != ("LB031", "hint")] == []


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_a_pair_of_the_newest_checks(case: Case) -> None:
    assert_named_and_left_alone(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", DEVELOPED, ids=[case.name for case in DEVELOPED])
def test_a_pair(case: Case) -> None:
    assert_named_and_left_alone(case)


@pytest.mark.parametrize(
    "name", [name if name in _MENDED else pytest.param(name, marks=pytest.mark.slow) for name in SOUND]
)
def test_a_sound_program_is_left_alone(name: str) -> None:
    torch.manual_seed(1)
    assert [one for one in checked(SOUND[name]()) if one[1] != "hint"] == []


X = torch.randn(128, 5, generator=torch.Generator().manual_seed(0))


def codes(loss: Callable[[Tensor, Tensor], Tensor], **options: bool) -> list[str]:
    torch.manual_seed(0)
    found = lb.setup(lambda: nn.Linear(5, 1, bias=False), loss=loss, optimizer=optim.Adam).check(
        (X, X[:, :1] - X[:, 1:2]), **options
    )
    return [one.code for one in found if one.severity != "hint"]


def by_neighbours(pred: Tensor, y: Tensor) -> Tensor:
    return F.softplus(-(pred - pred.roll(1, 0)) * (y - y.roll(1, 0)).sign()).mean()


def by_drawn_partners(pred: Tensor, y: Tensor) -> Tensor:
    other = torch.randperm(len(y))
    return F.softplus(-(pred - pred[other]) * (y - y[other]).sign()).mean()


def summed_up(pred: Tensor, y: Tensor) -> Tensor:
    return (pred.cumsum(0) - y.cumsum(0)).abs().mean()


def farthest(pred: Tensor, y: Tensor) -> Tensor:
    return F.l1_loss(pred, y) + 0.1 * (pred - pred.T).abs().amax(1).mean()


def test_the_order_of_rows() -> None:
    assert "LB123" in codes(summed_up)
    assert "LB123" not in codes(summed_up, shuffle=False)  # rows that follow one another
    assert "LB123" not in codes(by_neighbours)
    assert "LB123" not in codes(by_drawn_partners)


def test_the_farthest_row_of_a_batch_is_no_sum_of_rows() -> None:
    assert "LB114" not in codes(farthest)
