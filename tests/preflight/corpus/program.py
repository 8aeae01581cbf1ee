"""What a program of the corpus is, and the small data that several share."""

import csv
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

import lumbre as lb


@dataclass
class Program:
    """A recipe, what it is fitted on, and the options of `fit`."""

    recipe: lb.Recipe
    data: Any
    options: dict[str, Any] = field(default_factory=dict)
    test: Any = None


Make = Callable[[bool, torch.Generator], Program]


@dataclass(frozen=True)
class Case:
    """A program that is made broken or mended: `make(broken, generator)`."""

    name: str
    source: str
    half: str
    codes: tuple[str, ...]
    make: Make


SOURCES = list(csv.DictReader(Path(__file__).with_name("sources.csv").read_text().splitlines()))
HALVES = {row["source"]: row["half"] for row in SOURCES}
CASES: list[Case] = []
HEALTHY: dict[str, Callable[[torch.Generator], Program]] = {}


def case(source: str, *codes: str) -> Callable[[Make], Make]:
    """Add a pair of programs. `codes` are the findings that name the right cause."""

    def add(make: Make) -> Make:
        name = make.__name__
        assert name not in {known.name for known in CASES}, name
        CASES.append(Case(name, source, HALVES[source], codes, make))
        return make

    return add


def healthy(make: Callable[[torch.Generator], Program]) -> Callable[[torch.Generator], Program]:
    """Add a program without a mistake."""
    assert make.__name__ not in HEALTHY
    HEALTHY[make.__name__] = make
    return make


def program(net: Any, loss: Any, data: Any, lr: float = 1e-3, optimizer: Any = optim.Adam, **options: Any) -> Program:
    """`net` is a module class or a function without arguments, made anew at each fit."""
    metrics, opt, test = options.pop("metrics", ()), options.pop("opt", {}), options.pop("test", None)
    recipe = lb.setup(net, loss=loss, optimizer=optimizer, metrics=metrics).set_opt_hparams(lr=lr, **opt)
    return Program(recipe, data, options, test)


def classify(net: Any, data: Any, **options: Any) -> Program:
    return program(net, nn.CrossEntropyLoss(), data, **options)


def regress(net: Any, data: Any, **options: Any) -> Program:
    return program(net, nn.MSELoss(), data, **options)


def mlp(*sizes: int, last: nn.Module | None = None, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between, and `last` at the end."""
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(sizes):
        layers += [nn.Linear(d_in, d_out), act()]
    layers[-1:] = [last] if last is not None else []
    return nn.Sequential(*layers)


def blobs(g: torch.Generator, rows: int = 240, d: int = 4, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Clouds of points: input (rows, d), class numbers (rows,) in no order."""
    y = torch.arange(rows)[torch.randperm(rows, generator=g)] % classes
    centers = 1.5 * torch.randn(classes, d, generator=g)
    x = centers[y] + torch.randn(rows, d, generator=g)
    return (x - x.mean(0)) / x.std(0), y


def binary(g: torch.Generator, rows: int = 240, d: int = 4) -> tuple[Tensor, Tensor]:
    """Two clouds: input (rows, d), target (rows, 1) of 0. and 1."""
    x, y = blobs(g, rows, d, 2)
    return x, y[:, None].float()


def plane(g: torch.Generator, rows: int = 240, d: int = 5, outputs: int = 1) -> tuple[Tensor, Tensor]:
    """A regression: input (rows, d), target (rows, outputs), both of mean 0 and spread about 1."""
    x = torch.randn(rows, d, generator=g)
    y = torch.tanh(x @ torch.randn(d, outputs, generator=g)) + 0.1 * torch.randn(rows, outputs, generator=g)
    return x, (y - y.mean(0)) / y.std(0)


def pictures(
    g: torch.Generator, rows: int = 120, classes: int = 4, channels: int = 1, size: int = 16
) -> tuple[Tensor, Tensor]:
    """Bright squares, at a place for each class, in noise: float32 (rows, channels, size, size) in [0, 1]."""
    y = torch.arange(rows)[torch.randperm(rows, generator=g)] % classes
    x = 0.3 * torch.rand(rows, channels, size, size, generator=g)
    half = size // 2
    for row, label in enumerate(y.tolist()):
        top, left = (label // 2 % 2) * half, (label % 2) * half
        x[row, :, top : top + half, left : left + half] += 0.5 + 0.1 * torch.rand((), generator=g)
    return x.clamp(0, 1), y


def sequences(
    g: torch.Generator, rows: int = 120, steps: int = 12, d: int = 3, classes: int = 2
) -> tuple[Tensor, Tensor]:
    """Noisy waves whose pace is the class: float32 (rows, steps, d)."""
    y = torch.arange(rows)[torch.randperm(rows, generator=g)] % classes
    time = torch.arange(steps)[None, :, None] * (0.4 + 0.5 * y[:, None, None])
    return torch.sin(time + 6 * torch.rand(rows, 1, d, generator=g)) + 0.1 * torch.randn(rows, steps, d, generator=g), y


def texts(g: torch.Generator, rows: int = 120, steps: int = 10, words: int = 20) -> tuple[Tensor, Tensor]:
    """Word numbers (rows, steps); the class says from which half of the words most come."""
    y = torch.arange(rows)[torch.randperm(rows, generator=g)] % 2
    x = torch.randint(0, words // 2, (rows, steps), generator=g)
    flipped = torch.rand(rows, steps, generator=g) < 0.8
    return torch.where(flipped & (y == 1)[:, None], x + words // 2, x), y


def cnn(channels: int, classes: int, *, last: nn.Module | None = None, size: int = 16) -> nn.Sequential:
    """Two convolutions and a head, for pictures of size x size."""
    layers = [
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (size // 4) ** 2, classes),
    ]
    return nn.Sequential(*layers, *([] if last is None else [last]))


GROWN: list[Case] = []
"""Later pairs, of causes that people ask about again and again; a hash of the name decides the half."""


def grown(*codes: str) -> Callable[[Make], Make]:
    """Add a later pair. `codes` are the findings that would name the right cause; none where no check could."""

    def add(make: Make) -> Make:
        name = make.__name__
        assert name not in {known.name for known in (*CASES, *GROWN)}, name
        half = ("develop", "frozen")[hashlib.sha256(name.encode()).digest()[0] % 2]
        GROWN.append(Case(name, "grown", half, codes, make))
        return make

    return add
