"""Checks are quick and small beside data sets that hold records in many collections; shallow state is put back."""

import tracemalloc
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.utils.data import Dataset

import lumbre as lb

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


class Annotated(Dataset[Any]):
    """A dozen lists of records, as of annotations; and a list that reading appends to."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.records: dict[str, list[dict[str, Any]]] = {
            name: [{"id": at, "box": [at, 0]} for at in range(8_000)] for name in "abcdefghijkl"
        }
        self.nested: dict[str, Any] = {"counts": {"read": 0}}

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        self.read.append(self.records["a"][row]["id"])
        self.nested["counts"]["read"] += 1
        return X[row], X[row, :1] * 2 + X[row, 1:2]


def test_records_in_many_lists_are_not_copied_one_by_one() -> None:
    data = Annotated()
    recipe = lb.setup(lambda: nn.Linear(4, 1), loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    recipe.check(data, batch_size=16)  # what torch loads on its first use counts for nothing
    tracemalloc.start()
    try:
        recipe.check(data, batch_size=16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15_000_000  # one by one they took 160 MB, and seconds
    assert data.read == []
    assert data.nested == {"counts": {"read": 0}}
