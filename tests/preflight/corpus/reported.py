"""Data, and how a pair is added, for the pairs after reports of others.

They were written before anybody looked at what the checks said of them; a seed drew the half before that. "develop"
was then looked at, "frozen" only counted.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from corpus.program import CASES, GROWN, Case, Make, Program

G = torch.Generator
CE = nn.CrossEntropyLoss
REPORTED: list[Case] = []
_ROWS = {row["name"]: row for row in csv.DictReader(Path(__file__).with_name("reported.csv").read_text().splitlines())}


def reported(*codes: str) -> Callable[[Make], Make]:
    """Add a pair. `codes` are the findings that would name the right cause; none where no check could."""

    def add(make: Make) -> Make:
        name = make.__name__
        assert name not in {known.name for known in (*CASES, *GROWN, *REPORTED)}, name
        REPORTED.append(Case(name, _ROWS[name]["address"] or "asked in forums", _ROWS[name]["half"], codes, make))
        return make

    return add


def go(
    net: Any, data: Any, loss: Any = None, lr: float = 3e-3, opt: Any = optim.Adam, *, opts: Any = None, **options: Any
) -> Program:
    """`loss` is None for a module with one of its own, `opt` for one with optimizers of its own."""
    parts = {"loss": loss, "optimizer": opt, "metrics": options.pop("metrics", ())}
    recipe = lb.setup(net, **{name: one for name, one in parts.items() if one is not None and one != ()})
    return Program(recipe.set_opt_hparams(**({"lr": lr} | (opts or {}))), data, options)


def rnd(g: G, *size: int) -> Tensor:
    return torch.randn(*size, generator=g)


def uni(g: G, *size: int) -> Tensor:
    return torch.rand(*size, generator=g)


def ints(g: G, high: int, *size: int) -> Tensor:
    return torch.randint(0, high, size, generator=g)


def mlp(i: int, h: int, o: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(i, h), act(), nn.Linear(h, o))


def table(g: G, n: int = 400, d: int = 6, k: int = 3) -> tuple[Tensor, Tensor]:
    """Clouds of points, standardised: (n, d), class numbers (n,)."""
    y = ints(g, k, n)
    x = 1.2 * rnd(g, k, d)[y] + rnd(g, n, d)
    return (x - x.mean(0)) / x.std(0), y


def reg(g: G, n: int = 400, d: int = 6) -> tuple[Tensor, Tensor]:
    """A line and a product, with noise: (n, d), target (n, 1) of mean 0 and spread 1."""
    x = rnd(g, n, d)
    y = x[:, :1] - 0.7 * x[:, 1:2] * x[:, 2:3] + 0.1 * rnd(g, n, 1)
    return x, (y - y.mean()) / y.std()


def pics(g: G, n: int = 160, c: int = 3, s: int = 16, k: int = 3) -> tuple[Tensor, Tensor]:
    """A coarse pattern for each class, under noise: (n, c, s, s) in [0, 1]."""
    y = ints(g, k, n)
    x = F.interpolate(rnd(g, k, c, 4, 4), s)[y] * 0.5 + 0.3 * rnd(g, n, c, s, s)
    return (x - x.min()) / (x.max() - x.min()), y


def words(g: G, n: int = 240, t: int = 14, v: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Texts of words 1 to v - 1, padded at the end by 0, classes by their words, and the lengths."""
    y, x = ints(g, 2, n), 1 + ints(g, (v - 1) // 2, n, t)
    x = torch.where((uni(g, n, t) < 0.7) & (y == 1)[:, None], x + (v - 1) // 2, x)
    length = ints(g, t - 4, n) + 5
    return torch.where(torch.arange(t) < length[:, None], x, 0), y, length


def waves(g: G, n: int = 200, t: int = 20, d: int = 3, k: int = 2) -> tuple[Tensor, Tensor]:
    """Noisy waves whose pace is the class: (n, t, d)."""
    y = ints(g, k, n)
    time = torch.arange(t)[None, :, None] * (0.3 + 0.5 * y[:, None, None])
    return torch.sin(time + 6 * uni(g, n, 1, d)) + 0.1 * rnd(g, n, t, d), y


def chars(g: G, n: int = 200, t: int = 16, v: int = 12) -> Tensor:
    """Letters that go on by 1, 2 or 3, with some errors: (n, t + 2)."""
    step = 1 + ints(g, 3, n, 1)
    x = (ints(g, v, n, 1) + step * torch.arange(t + 2)) % v
    return torch.where(uni(g, n, t + 2) < 0.1, ints(g, v, n, t + 2), x)
