"""What a resumed run needs none of: attributes set before they are read, choices by the first batch; and generators."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, IterableDataset

import lumbre as lb
from conftest import blobs
from lumbre.resume._set_anew import set_anew


class Stream(IterableDataset[Any]):
    """Counts where it is, from the start of each pass."""

    def __init__(self) -> None:
        self.i = 3
        self.x, self.y = blobs(48)

    def __iter__(self) -> Iterator[Any]:
        self.i = 0
        while self.i < len(self.x):
            yield self.x[self.i], self.y[self.i]
            self.i += 1


class GoesOn(Stream):
    def __iter__(self) -> Iterator[Any]:
        for _ in range(48):
            self.i = (self.i + 1) % 48
            yield self.x[self.i], self.y[self.i]


class OwnPasses(DataLoader[Any]):
    """A loader of others: keeps the iterator of each pass."""

    _iterator: Any

    def __iter__(self) -> Any:
        self._iterator = self._iterator if self._iterator is not None and self._iterator.left else Pass(self)
        yield from self._iterator


class Pass:
    def __init__(self, loader: OwnPasses) -> None:
        self.left, self.batches = 4, super(OwnPasses, loader).__iter__()

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.left -= 1
            yield batch


class Marks(nn.Module):
    """A loss that keeps what it made of the last targets, and fills a queue through a method."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: Any = []
        self.places = torch.zeros(0)
        self.queue: Tensor
        self.register_buffer("queue", torch.zeros(64))

    def _add(self, values: Tensor) -> None:
        self.places = torch.arange(len(values)) % 64
        self.queue[self.places] = values

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if len(pred) > 64:
            raise ValueError("too many")
        self.marks = torch.zeros_like(pred).scatter_(1, target[:, None], 1)
        self._add(pred.detach()[:, 0])
        return -(self.marks * pred.log_softmax(1)).sum(1).mean()


class Config:
    def __init__(self) -> None:
        self.kind: str | None = None


class Chooses(nn.Linear):
    """Chooses by the first batch what it is for."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.config = Config()

    def forward(self, input: Tensor) -> Tensor:
        if self.config.kind is None:
            self.config.kind = "one label"
        return super().forward(input)


class Remembers(nn.Linear):
    """Reads, through its base, what it set in the call before."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.last: Any = (torch.zeros(()),)

    def scaled(self, x: Tensor) -> Tensor:
        return x * (1 + self.last[0])

    def forward(self, input: Tensor) -> Tensor:
        scores = super().forward(self.scaled(input))
        self.last = (scores.detach().mean(),)
        return scores


class Draws(nn.Module):
    """Draws by a generator of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.draws: Any = GENERATORS[kind]()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (1 + drawn(self.draws) if self.training else 1)


GENERATORS: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.Generator().manual_seed(1),
    "numpy": lambda: np.random.default_rng(1),
    "mt19937": lambda: np.random.Generator(np.random.MT19937(1)),
    "old numpy": lambda: np.random.RandomState(1),
    "python": lambda: random.Random(1),
}


def drawn(generator: Any) -> float:
    if isinstance(generator, torch.Generator):
        return float(torch.rand((), generator=generator))
    return float(generator.random() if hasattr(generator, "random") else generator.rand())


class DrawsLoss(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.draws = GENERATORS[kind]()

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred, target) * (1 + drawn(self.draws))


class Noisy(optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1, kind: str = "torch") -> None:
        super().__init__(params, lr=lr)
        self.draws = GENERATORS[kind]()

    def step(self, closure: Any = None) -> Any:
        self.param_groups[0]["lr"] = 0.1 * (1 + drawn(self.draws))
        return super().step(closure)


def recipe(net: Any = None, loss: Any = None, optimizer: Any = optim.SGD, **options: Any) -> lb.Recipe:
    made = lb.setup(net or (lambda: nn.Linear(4, 3)), loss=loss or nn.CrossEntropyLoss(), optimizer=optimizer)
    return made.set_opt_hparams(lr=0.1, **options)


def fit(made: lb.Recipe, folder: Path | None = None, data: Any = None, epochs: int = 2) -> lb.Fitted:
    sizes: dict[str, Any] = {"batch_size": 12} if data is None else {}
    data = blobs(48) if data is None else data
    keep = None if folder is None else lb.Checkpoints(folder, steps=1, wait=True)
    return made.fit(data, epochs=epochs, verbose=False, preflight=False, resume=keep, **sizes)


def same(one: lb.Fitted, other: lb.Fitted) -> bool:
    return all(map(torch.equal, one.model.parameters(), other.model.parameters()))


def test_what_is_set_anew_is_not_named(tmp_path: Path) -> None:
    fit(recipe(), tmp_path / "stream", DataLoader(Stream(), 12))
    rows: Any = list(zip(*blobs(48), strict=True))
    fit(recipe(), tmp_path / "loader", OwnPasses(rows, 12))
    fit(recipe(loss=Marks()), tmp_path / "loss")
    fit(recipe(Chooses), tmp_path / "choice")
    with pytest.warns(lb.CheckpointWarning, match=r"do not keep GoesOn\.i"):
        fit(recipe(), tmp_path / "goes on", DataLoader(GoesOn(), 12))
    with pytest.warns(lb.CheckpointWarning, match=r"do not keep Remembers\.last"):
        fit(recipe(Remembers), tmp_path / "remembers")


def test_only_what_each_call_sets_first_counts() -> None:
    class Ways:
        def __init__(self) -> None:
            self.a = self.b = self.c = self.d = self.e = self.f = self.g = 0

        def fill(self) -> None:
            self.e = 1

        @property
        def read(self) -> int:
            return self.f

        def __iter__(self) -> Iterator[int]:
            self.a = 0  # every time
            if self.a > 1:
                self.b = 1  # in some calls
            for _ in range(2):
                self.c = 2  # perhaps never
            self.d += 1  # reads itself
            self.fill()
            self.f = self.read
            self.g, self.a = 4, 5
            yield 1

    assert set_anew(Ways, "__iter__") == {"a", "e", "g"}
    assert set_anew(Ways, "nothing") == set()


@pytest.mark.parametrize("kind", list(GENERATORS))
@pytest.mark.parametrize("place", ["module", "loss", "optimizer"])
def test_generators_go_on_where_they_stopped(place: str, kind: str, tmp_path: Path) -> None:
    def made() -> lb.Recipe:
        if place == "module":
            return recipe(lambda: Draws(kind))
        if place == "loss":
            return recipe(loss=DrawsLoss(kind))
        return recipe(optimizer=Noisy, kind=kind)

    fit(made(), tmp_path, epochs=1)
    assert same(fit(made(), tmp_path), fit(made()))
