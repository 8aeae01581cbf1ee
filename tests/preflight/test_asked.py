"""Pairs after questions of others: of the half that was looked at, causes are named and sound twins left alone.

The quick test takes the pairs of the newest checks alone; the other half is only counted, in `make_docs.py`.
"""

import pytest
from corpus.asked import ASKED
from corpus.harness import checked, made
from corpus.program import Case

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
