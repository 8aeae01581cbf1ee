"""The checks leave no trace in data sets, whatever these hold and however they are wrapped."""

import weakref
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

import lumbre as lb
from conftest import blobs

pytestmark = pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")


class Counting(Dataset):
    """Its rows depend on how many were read before, which it keeps in one of many ways."""

    def __init__(self, way: str = "list") -> None:
        self.way, (self.x, self.y) = way, blobs(24)
        self.list, self.dict, self.deque = [0], {"n": 0}, deque([0], maxlen=1)
        self.array, self.tensor, self.object = np.zeros(1), torch.zeros(1), SimpleNamespace(n=0)

    def __len__(self) -> int:
        return 24

    def reads(self) -> float:
        if self.way == "list":
            self.list.append(0)
            return len(self.list)
        if self.way in ("dict", "object"):
            held = self.dict if self.way == "dict" else vars(self.object)
            held["n"] += 1
            return held["n"]
        if self.way == "deque":
            self.deque.append(self.deque[-1] + 1)
            return self.deque[-1]
        held = self.array if self.way == "array" else self.tensor
        held += 1
        return float(held[0])

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.x[row] * (1 + 0.01 * self.reads()), self.y[row]

    def state(self) -> Any:
        return (
            len(self.list),
            self.dict["n"],
            self.deque[-1],
            float(self.array[0]),
            float(self.tensor[0]),
            self.object.n,
        )


class Streaming(IterableDataset):
    def __init__(self, way: str) -> None:
        self.rows = Counting(way)

    def __iter__(self) -> Any:
        return (self.rows[row] for row in range(24))


def columns(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])


WRAPPED: dict[str, Callable[[Counting], Any]] = {
    "plain": lambda rows: rows,
    "loader": lambda rows: DataLoader(rows, 8),
    "shuffled": lambda rows: DataLoader(rows, 8, shuffle=True, generator=torch.Generator().manual_seed(1)),
    "collated": lambda rows: DataLoader(rows, 8, collate_fn=columns),
    "some": lambda rows: Subset(rows, range(20)),
    "joined": lambda rows: ConcatDataset([rows, rows]),
    "streamed": lambda rows: DataLoader(Streaming(rows.way), 8),
}
WAYS = ["list", "dict", "deque", "array", "tensor", "object"]


def recipe_of() -> lb.Recipe:
    return lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)


def fit(data: Any, **options: Any) -> lb.Fitted:
    size = {} if isinstance(data, DataLoader) else {"batch_size": 8}
    return recipe_of().fit(data, epochs=1, verbose=False, **size, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_runs_have_the_same_bits_with_and_without_checks(way: str, wrapped: str) -> None:
    wrap = WRAPPED[wrapped]
    one, other = (
        fit(wrap(Counting(way)), valid_data=wrap(Counting(way)), preflight=preflight) for preflight in (True, False)
    )
    assert one._history.records == other._history.records
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("wrapped", [name for name in WRAPPED if name != "streamed"])
def test_looks_leave_data_sets_as_they_are(wrapped: str) -> None:
    for way in WAYS:
        rows, judged = Counting(way), Counting(way)
        data, valid = WRAPPED[wrapped](rows), WRAPPED[wrapped](judged)
        before = rows.state()
        recipe_of().check(data, valid_data=valid)
        recipe_of().check(data, valid_data={"a": valid, "b": blobs(8)})
        recipe_of().lr_finder(data, steps=2, preflight=False)
        assert (rows.state(), judged.state()) == (before, before)


def test_augmentation_that_counts_is_put_back() -> None:
    class Noise:
        def __init__(self) -> None:
            self.calls = [0]

        def __call__(self, x: Tensor, seeds: Tensor) -> Tensor:
            self.calls[0] += 1
            return x + 0.1

    noise = Noise()
    recipe_of().check(blobs(24), augment=noise)
    assert noise.calls == [0]


def test_weak_collections_are_put_back() -> None:
    class Weak(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.keys: Any = weakref.WeakKeyDictionary()
            self.values: Any = weakref.WeakValueDictionary()
            self.parts: Any = weakref.WeakSet()

        def forward(self, x: Tensor) -> Tensor:
            self.keys[self] = self.keys.get(self, 0) + 1
            self.values[len(x)] = self
            self.parts.add(self)
            return super().forward(x)

    module = Weak()
    lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).check(blobs(24))
    assert (len(module.keys), len(module.values), len(module.parts)) == (0, 0, 0)


def test_long_collections_are_not_looked_through_entry_by_entry() -> None:
    """A million small objects would be noted for seconds; which ones the list holds is kept."""

    class Row:
        def __init__(self, at: int) -> None:
            self.at = at

    class Rows(Dataset):
        def __init__(self) -> None:
            self.rows = [Row(at) for at in range(10_000)]

        def __len__(self) -> int:
            return 24

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            self.rows.pop()
            return torch.full((4,), float(row)), row % 3

    rows = Rows()
    recipe_of().check(rows)
    assert len(rows.rows) == 10_000
