"""Each code has a page, and its example is what it says: the first side is found, the second is not."""

import re
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import lumbre as lb
from conftest import ROOT
from lumbre.preflight import AFTER, CHECKS, codes, explained

FIT = ("valid_data", "test_data", "callbacks", "epochs", "batch_size", "shuffle", "sampler", "augment")
QUICK = ("LB005", "LB007", "LB023", "LB041", "LB063", "LB096")


def sides(code: str) -> tuple[str, str]:
    """The program with the mistake, and the one to write instead."""
    (diff,) = re.findall(r"^```diff\n(.*?)^```", explained(code), re.MULTILINE | re.DOTALL)
    lines = [(line[:1] or " ", line[1:]) for line in diff.splitlines()]
    return tuple("\n".join(text for sign, text in lines if sign in (" ", side)) + "\n" for side in "-+")


def found(program: str) -> set[str]:
    """The codes that `check` reports for a program, which is completed by the usual."""
    torch.manual_seed(0)
    y = torch.arange(240)[torch.randperm(240)] % 3
    x = torch.randn(240, 4) + 1.5 * torch.randn(3, 4)[y]
    names: dict[str, Any] = {"lb": lb, "torch": torch, "nn": nn, "F": F, "optim": optim, "__name__": "example"}
    names |= {"x": (x - x.mean(0)) / x.std(0), "y": y}
    exec(program, names)
    net = names.get("net", names.get("Net")) or nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    loss = None if hasattr(net, "loss") else names.get("loss", nn.CrossEntropyLoss())
    optimizer = None if hasattr(net, "configure_optimizers") else names.get("optimizer", optim.Adam)
    opt = {name: names[name] for name in ("lr", "weight_decay") if name in names}
    recipe = lb.setup(net, loss=loss, optimizer=optimizer, metrics=names.get("metrics", ()))
    options = {name: names[name] for name in FIT if name in names}
    recipe = recipe.set_opt_hparams(**{"lr": 1e-3, **opt})
    return {one.code for one in recipe.check(names.get("data", (names["x"], names["y"])), **options)}


def test_every_code_has_a_page() -> None:
    remarks = set(re.findall(r'"(LB\d{3})"', (ROOT / "src/lumbre/callbacks/_remarks.py").read_text()))
    assert len(remarks) > 10
    assert set(codes()) == set(CHECKS) | remarks | set(AFTER)


@pytest.mark.parametrize("code", codes())
def test_both_sides_of_an_example_are_programs(code: str) -> None:
    wrong, right = sides(code)
    assert wrong != right
    for program in (wrong, right):
        compile(program, code, "exec")
        assert max(map(len, program.splitlines())) <= 87  # a sign stands before each line


@pytest.mark.parametrize(
    "code", [code if code in QUICK else pytest.param(code, marks=pytest.mark.slow) for code in CHECKS]
)
def test_the_mistake_is_found_and_what_to_write_instead_is_not(code: str) -> None:
    wrong, right = sides(code)
    assert code in found(wrong)
    assert code not in found(right)


def test_an_unknown_code_names_those_there_are() -> None:
    with pytest.raises(lb.OptionError, match="LB001, LB002"):
        explained("LB999")
    assert explained("lb007") == explained("LB007")
