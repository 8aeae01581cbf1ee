"""Pairs after questions of others: of the half that was looked at, causes are named and sound twins left alone.

The quick test takes the pairs of the newest checks alone; no test runs those of the other half.
"""

from collections.abc import Callable

import pytest
import torch
from corpus.asked import ASKED, rows
from corpus.harness import checked, made
from corpus.program import Case
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

# What no look before a run tells.
_HARDLY = ("inplace_input", "masked_mean_all", "node_mask_forgotten", "sum_loss", "wrong_padding_idx")
_HINTS = ("bn_no_track",)  # what may be meant
_NEWEST = {"LB019", *(f"LB{number}" for number in range(114, 123))}
DEVELOPED = [case for case in ASKED if case.half == "develop" and case.name not in _HARDLY]
QUICK = [case for case in DEVELOPED if _NEWEST & set(case.codes)]


def named(case: Case) -> bool:
    hints = case.name in _HINTS
    return any(code in case.codes and (hints or kind != "hint") for code, kind in checked(made(case, True, 1)))


def false_alarms(case: Case) -> list[tuple[str, str]]:
    return [one for one in checked(made(case, False, 1)) if one != ("LB031", "hint")]


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_a_pair_of_the_newest_checks(case: Case) -> None:
    assert named(case)
    assert false_alarms(case) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", DEVELOPED, ids=[case.name for case in DEVELOPED])
def test_a_pair(case: Case) -> None:
    assert named(case)
    assert false_alarms(case) == []


def codes(loss: Callable[[Tensor, Tensor], Tensor]) -> list[str]:
    torch.manual_seed(0)
    x = rows()
    found = lb.setup(lambda: nn.Linear(6, 1), loss=loss, optimizer=optim.Adam).check((x, x[:, :1] + x[:, 1:2]))
    return [one.code for one in found]


def test_terms_of_a_loss() -> None:
    def counted(pred: Tensor, y: Tensor, *, dead: bool) -> Tensor:
        off = (pred - y).abs().mean()
        return F.mse_loss(pred, y) + (off.detach() if dead else off)

    assert "LB115" in codes(lambda pred, y: counted(pred, y, dead=True))
    assert codes(lambda pred, y: counted(pred, y, dead=False)) == []
    assert "LB116" in codes(lambda pred, y: F.l1_loss(pred, y) + (1e4 * (pred - y)).square().mean())
    assert "LB116" not in codes(lambda pred, y: F.l1_loss(pred, y) + (3 * (pred - y)).square().mean())
