"""Data, and how a pair is added, for the pairs after questions of others.

They were written from issues and questions that a search brought up, before the checks or their tests were read.
A hash of the name drew the half: "develop" was looked at while checks were added, "frozen" was counted once, at the
end. Each makes the same rows whatever the seed.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, optim

import lumbre as lb
from corpus.program import CASES, GROWN, Case, Make
from corpus.reported import REPORTED

ASKED: list[Case] = []
_ROWS = {row["name"]: row for row in csv.DictReader(Path(__file__).with_name("asked.csv").read_text().splitlines())}


def asked(*codes: str) -> Callable[[Make], Make]:
    """Add a pair. `codes` are the findings that would name the right cause; none where no check could."""

    def add(make: Make) -> Make:
        name = make.__name__
        assert name not in {known.name for known in (*CASES, *GROWN, *REPORTED, *ASKED)}, name
        row = _ROWS[name]
        ASKED.append(Case(name, row["address"] or "asked in forums", row["half"], codes, make))
        return make

    return add


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(n: int = 256, d: int = 6, seed: int = 0) -> Tensor:
    """Standard normal numbers, (n, d)."""
    return torch.randn(n, d, generator=G(seed))


def labels_of(x: Tensor, k: int = 3, seed: int = 1, noise: float = 0.5) -> Tensor:
    """Class numbers by a noisy linear rule, (n,)."""
    weight = torch.randn(x.flatten(1).shape[1], k, generator=G(seed)) / math.sqrt(x.flatten(1).shape[1])
    return (x.flatten(1) @ weight * 2 + noise * torch.randn(len(x), k, generator=G(seed + 1))).argmax(1)


def tokens(n: int = 256, t: int = 12, v: int = 20, seed: int = 0) -> Tensor:
    """Chains in which a token says much of the next one, from 1 to v - 1, (n, t)."""
    g = G(seed)
    made = torch.empty(n, t, dtype=torch.long)
    made[:, 0] = torch.randint(0, v - 1, (n,), generator=g)
    for at in range(1, t):
        made[:, at] = (3 * made[:, at - 1] + 1 + torch.randint(0, 3, (n,), generator=g)) % (v - 1)
    return made + 1


def padded(n: int = 256, t: int = 12, v: int = 20, seed: int = 0, least: int = 3) -> tuple[Tensor, Tensor]:
    """Tokens that end in zeros, (n, t), and their lengths, (n,)."""
    x = tokens(n, t, v, seed)
    length = torch.randint(least, t + 1, (n,), generator=G(seed + 7))
    x[torch.arange(t)[None] >= length[:, None]] = 0
    return x, length


def setup(
    net: Any, loss: Any = None, optimizer: Any = optim.Adam, lr: float = 1e-3, metrics: Any = (), **options: Any
) -> lb.Recipe:
    """A recipe; `optimizer` is None for a module that configures its own."""
    return lb.setup(net, loss=loss, optimizer=optimizer, metrics=metrics).set_opt_hparams(lr=lr, **options)
