"""Dimensions, padding and order: what is mistaken is named, what looks like it is not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.preflight._views import scrambles

G = torch.Generator().manual_seed(0)
PICTURES = torch.rand(64, 16, 16, 3, generator=G)
STEPS = torch.randn(64, 10, 6, generator=G)
LABELS = torch.randint(0, 3, (64,), generator=G)
LENGTHS = 3 + torch.arange(64) % 8
TEXTS = torch.where(torch.arange(16) < LENGTHS[:, None], torch.randint(1, 20, (64, 16), generator=G), 0)


def codes(net: Any, data: Any, loss: Any = None, **options: Any) -> list[str]:
    torch.manual_seed(0)
    recipe = lb.setup(net, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return [one.code for one in recipe.check(data, **options) if one.severity != "hint"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((32, 16, 16, 3), (32, 3, 16, 16)),  # channels in the last place
        ((32, 3, 64, 64), (32, 64, 64, 3)),
        ((32, 6, 12, 12), (32, 12, 72)),  # columns of a picture as steps
        ((32, 128, 7, 7), (32, 49, 128)),  # places as tokens
        ((32, 16, 12), (32, 12, 16)),  # steps and classes
        ((32, 12, 16), (512, 12)),
        ((32, 14, 16), (32, 2, 14, 8)),  # heads
        ((32, 10, 8), (10, 32, 8)),  # rows and steps
    ],
)
def test_shapes_that_a_transpose_would_give(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert scrambles(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((32, 64, 8, 8), (32, 8, 8, 64)),  # groups of channels
        ((32, 64), (32, 4, 4, 4)),
        ((32, 14, 16), (32, 14, 2, 8)),  # heads
        ((32, 3, 16, 16), (32, 768)),
        ((32, 3, 16, 16), (32, 3, 4, 4, 4, 4)),  # patches
        ((32, 50, 40), (32, 25, 80)),  # two steps in one
        ((32, 64, 49), (32, 8, 392)),  # groups
        ((384, 16), (32, 12, 16)),
        ((14, 32, 16), (14, 64, 8)),  # heads beside rows
        ((32, 1, 28, 28), (32, 28, 28)),
        ((32, 30), (32, 30, 1)),
    ],
)
def test_shapes_that_are_split_and_joined_whole(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert not scrambles(before, after)


class Seen(nn.Module):
    """Pictures whose channels stand last."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))
        self.back, self.how = nn.Unflatten(1, (3, 16, 16)), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "view":
            return self.net(x.view(-1, 3, 16, 16))
        if self.how == "in two":
            return self.net(self.back(x.flatten(1)))
        return self.net(x.permute(0, 3, 1, 2))


def test_pictures_that_are_viewed_and_those_whose_axes_change_places() -> None:
    assert codes(lambda: Seen("view"), (PICTURES, LABELS)) == ["LB081"]
    assert codes(lambda: Seen("in two"), (PICTURES, LABELS)) == ["LB081"]
    assert codes(lambda: Seen("permute"), (PICTURES, LABELS)) == []


class Attending(nn.Module):
    """A single head by hand."""

    def __init__(self, dim: int, dropped: float = 0.0, wide: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 8) for _ in range(3))
        self.head, self.dim, self.drop, self.wide = nn.Linear(8, 3), dim, nn.Dropout(dropped), wide

    def forward(self, x: Tensor) -> Tensor:
        keys = torch.cat([x, x], 1) if self.wide else x
        weights = self.drop((self.q(x) @ self.k(keys).mT / 3).softmax(self.dim))
        return self.head((weights @ self.v(keys)).amax(1))


def test_attention_whose_weights_add_up_over_queries() -> None:
    assert codes(lambda: Attending(1), (STEPS, LABELS)) == ["LB082"]
    assert codes(lambda: Attending(-2, 0.1), (STEPS, LABELS)) == ["LB082"]
    assert codes(lambda: Attending(2), (STEPS, LABELS)) == []
    assert codes(lambda: Attending(-1, 0.1), (STEPS, LABELS)) == []
    assert codes(lambda: Attending(1, wide=True), (STEPS, LABELS)) == []  # as over slots


class Text(nn.Module):
    """Classes of padded texts, in several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.words, self.head, self.how = nn.Embedding(20, 12, padding_idx=0), nn.Linear(12, 3), how
        self.rnn = nn.GRU(12, 12, batch_first=True) if how in ("last", "state") else nn.Identity()
        self.conv = nn.Conv1d(12, 12, 3, padding=1) if how == "conv" else nn.Identity()
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True) if "attention" in how else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        e, there = self.words(x), (x != 0).float()[..., None]
        if self.how == "mean":
            return self.head(e.mean(1))
        if self.how == "masked":
            return self.head((e * there).sum(1) / there.sum(1))
        if self.how == "conv":
            return self.head(torch.relu(self.conv(e.mT)).amax(2))
        if self.how == "last":
            return self.head(self.rnn(e)[0][:, -1])
        if self.how == "state":
            steps = self.rnn(e)[0]
            return self.head(steps[torch.arange(len(x)), (x != 0).sum(1) - 1])
        mask = None if self.how == "attention" else x == 0
        e = self.attention(e, e, e, key_padding_mask=mask, need_weights=False)[0]
        return self.head((e * there).sum(1) / there.sum(1))


@pytest.mark.parametrize(
    ("how", "named"),
    [("mean", True), ("last", True), ("attention", True)]
    + [(one, False) for one in ("masked", "conv", "state", "masked attention")],
)
def test_padding_that_counts(how: str, named: bool) -> None:
    assert codes(lambda: Text(how), (TEXTS, LABELS)) == (["LB083"] if named else [])


def test_texts_without_padding_are_not_asked_about_it() -> None:
    whole = torch.randint(1, 20, (64, 16), generator=torch.Generator().manual_seed(1))
    assert codes(lambda: Text("mean"), (whole, LABELS)) == []


class Placed(nn.Module):
    """Attention with positions that reach the steps, or do not."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.words, self.head, self.how = nn.Embedding(20, 12), nn.Linear(12, 3), how
        if how != "none":
            self.places = nn.Embedding(16, 12)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        e = self.words(x)
        if self.how == "one":
            e = e + self.places(torch.tensor(x.shape[1] - 1))
        if self.how == "each":
            e = e + self.places(torch.arange(x.shape[1]))
        return self.head(self.attention(e, e, e, need_weights=False)[0].mean(1))


def test_attention_that_does_not_see_the_order() -> None:
    whole = torch.randint(1, 20, (64, 16), generator=torch.Generator().manual_seed(1))
    assert codes(lambda: Placed("one"), (whole, LABELS)) == ["LB084"]
    assert codes(lambda: Placed("each"), (whole, LABELS)) == []
    assert codes(lambda: Placed("none"), (whole, LABELS)) == []  # as of a set


class Trained(nn.Module):
    """Does something else in training."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.head, self.how = nn.Linear(16, 3), how
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        z = self.body(x)
        if self.training and self.how == "mean":
            z = z - z.mean(0)
        if self.training and self.how == "neighbour":
            z = 0.7 * z + 0.3 * z.roll(1, 0)
        if self.training and self.how == "followed":
            z = z - z.mean(0)
            self.mean = 0.9 * self.mean + 0.1 * z.detach().mean(0)
        if self.training and self.how == "mixup":
            z = 0.7 * z + 0.3 * z[torch.randperm(len(z))]
        if self.training and self.how == "noise":
            z = z + 0.1 * torch.randn_like(z)
        return self.head(z)


@pytest.mark.parametrize("how", ["mean", "neighbour", "followed", "mixup", "noise", "nothing"])
def test_rows_that_see_one_another_in_training_alone(how: str) -> None:
    rows = STEPS[:, 0]
    assert codes(lambda: Trained(how), (rows, LABELS)) == (["LB085"] if how in ("mean", "neighbour") else [])


class Kind(nn.Module):
    """A table and a category; the category is used, or not, or in training alone."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.table, self.head, self.how = nn.Embedding(4, 3), nn.Linear(9, 3), how
        self.gate = nn.Parameter(torch.zeros(())) if how == "gated" else 1.0

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        if self.how == "lost" or (self.how == "forced" and not self.training):
            kind = kind * 0
        told = self.table(kind) * self.gate if self.how == "gated" else self.table(kind)
        return self.head(torch.cat([x, told], 1))


@pytest.mark.parametrize("how", ["lost", "used", "forced", "gated"])
def test_whole_numbers_without_influence(how: str) -> None:
    kinds = torch.randint(0, 4, (64,), generator=torch.Generator().manual_seed(2))
    assert codes(lambda: Kind(how), ((STEPS[:, 0], kinds), LABELS)) == (["LB068"] if how == "lost" else [])


class Skipped(nn.Module):
    """A connection around a part whose first layer works in place, or not."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how = nn.Linear(6, 8), nn.Linear(8, 3), how
        start = nn.Tanh() if how == "layer" else nn.ReLU(inplace=how != "apart")
        self.body = nn.Sequential(start, nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(torch.tanh(self.body(x) if self.how == "alone" else self.body(x) + x))


@pytest.mark.parametrize("how", ["changed", "apart", "alone", "layer"])
def test_a_connection_whose_input_is_overwritten(how: str) -> None:
    assert codes(lambda: Skipped(how), (STEPS[:, 0], LABELS)) == (["LB095"] if how == "changed" else [])
