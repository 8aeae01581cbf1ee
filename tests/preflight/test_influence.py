"""Inputs on which no prediction depends are named; those that are read in another way are not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

G = torch.Generator().manual_seed(0)
X, OTHER = torch.randn(96, 6, generator=G), torch.randn(96, 6, generator=G)
PICTURES = torch.rand(96, 3, 8, 8, generator=G)
KINDS = torch.cat([torch.randint(0, 4, (96, 1), generator=G).float(), X], 1)
Y = torch.randint(0, 3, (96,), generator=G)


class Table(nn.Module):
    def __init__(self, used: int) -> None:
        super().__init__()
        self.layers, self.used = nn.Linear(used, 3), used

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[:, : self.used])


class Two(nn.Module):
    def __init__(self, both: bool) -> None:
        super().__init__()
        self.one, self.two, self.both = nn.Linear(6, 3), nn.Linear(6, 3), both

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one(a) + self.two(b if self.both else a)


class Grey(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers, self.channels = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(144, 3)), channels

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[:, : self.channels])


class Kinds(nn.Module):
    """Reads its first column as whole numbers: it has influence and no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(4, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x[:, 0].long()) + self.layer(x[:, 1:])


class Embedded(Kinds):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, 1:]) * (1 + self.table.weight.sum())


def codes(net: Any, data: Any) -> list[str]:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return [one.code for one in recipe.check((data, Y)) if one.severity != "hint"]


@pytest.mark.parametrize(
    ("broken", "sound", "data"),
    [
        (lambda: Table(5), lambda: Table(6), X),
        (lambda: Two(False), lambda: Two(True), (X, OTHER)),
        (lambda: Grey(1), lambda: Grey(3), PICTURES),
        (Embedded, Kinds, KINDS),
    ],
)
def test_an_input_without_influence(broken: Any, sound: Any, data: Any) -> None:
    assert codes(broken, data) == ["LB068"]
    assert codes(sound, data) == []


class Masked(nn.Module):
    """Row by row, or with the row before it in a pair: neither the first nor the last row of a batch tells."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        self.layer, self.pairs = nn.Linear(6, 3), pairs

    def forward(self, x: Tensor) -> Tensor:
        inner = x[1:-1]
        mixed = inner.flip(0) if self.pairs else inner
        return self.layer(torch.cat([x[:1], inner + 0.5 * mixed, x[-1:]]))


def test_rows_in_the_middle_that_see_one_another() -> None:
    assert codes(lambda: Masked(True), X) == ["LB020"]
    assert codes(lambda: Masked(False), X) == []


class Squeezed(nn.Module):
    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.layer, self.dim = nn.Linear(6, 1), dim

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).squeeze() if self.dim is None else self.layer(x).squeeze(self.dim)


def rows_alike(pred: Tensor, target: Tensor) -> Tensor:
    """Fails where prediction and target differ in shape."""
    return nn.functional.binary_cross_entropy_with_logits(pred, target)


def test_a_last_row_on_which_the_run_would_end_is_an_error() -> None:
    target = (X[:65, 0] + OTHER[:65, 0] > 0).float()

    def found(dim: int | None) -> list[tuple[str, str]]:
        recipe = lb.setup(lambda: Squeezed(dim), loss=rows_alike, optimizer=optim.Adam)
        return [(one.code, one.severity) for one in recipe.check((X[:65], target), batch_size=32)]

    assert found(None) == [("LB021", "error")]
    assert found(1) == []
