"""Rows that draw from generators which nobody seeds: their fingerprint tells nothing, and a run of them goes on."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, IterableDataset

import lumbre as lb
from conftest import blobs


class Flip:
    """A transform with a generator of its own, as those of MONAI."""

    def __init__(self, seed: int | None = None) -> None:
        self.chance = np.random.RandomState(seed)

    def __call__(self, x: Tensor) -> Tensor:
        return x + float(self.chance.uniform(0.1, 0.2))


class Rows(Dataset[Any]):
    def __init__(self, change: Callable[[Tensor], Tensor], scale: float = 1.0, count: int = 32) -> None:
        self.changes: list[Any] = [change]
        self.x, self.y = blobs(count)
        self.x = self.x * scale

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Any:
        return self.changes[0](self.x[row]), self.y[row]


class Own(Rows):
    """A data set with a generator of its own."""

    def __init__(self) -> None:
        super().__init__(lambda x: x)
        self.chance = random.Random()

    def __getitem__(self, row: int) -> Any:
        return self.x[row] * self.chance.uniform(0.9, 1.1), self.y[row]


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.rows = Rows(Flip())

    def __iter__(self) -> Iterator[Any]:
        return (self.rows[row] for row in range(32))


def run(data: Any, folder: Path, epochs: int) -> lb.Fitted:
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    return recipe.fit(data, epochs=epochs, seed=0, resume=folder, verbose=False, preflight=False)


def loader(data: Dataset[Any]) -> DataLoader[Any]:
    return DataLoader(data, batch_size=8)


@pytest.mark.filterwarnings("ignore:checkpoints do not keep")
@pytest.mark.parametrize(
    "made",
    [
        lambda: Rows(Flip()),
        Own,
        lambda: loader(Rows(Flip())),
        lambda: loader(Stream()),
        lambda: lb.split(Own(), 0.5, 0.5)[0],
    ],
    ids=["transform", "own", "loader", "stream", "part"],
)
def test_a_run_of_rows_drawn_anew_goes_on(made: Callable[[], Any], tmp_path: Path) -> None:
    run(made(), tmp_path, 1)  # `made` makes each one anew, as another process does
    assert run(made(), tmp_path, 3).history.epoch.max() == 3


@pytest.mark.filterwarnings("ignore:checkpoints do not keep")
@pytest.mark.parametrize("wrap", [lambda data: data, loader], ids=["rows", "loader"])
def test_other_data_are_refused_still(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    run(wrap(Rows(lambda x: x)), tmp_path / "same", 1)
    with pytest.raises(lb.ResumeError, match="train_data"):
        run(wrap(Rows(lambda x: x, scale=2.0)), tmp_path / "same", 2)
    run(wrap(Rows(torch.rand_like)), tmp_path / "seeded", 1)  # by the run: the same numbers for the same rows
    with pytest.raises(lb.ResumeError, match="train_data"):
        run(wrap(Rows(torch.randn_like)), tmp_path / "seeded", 2)
    run(Rows(Flip()), tmp_path / "fewer", 1)
    with pytest.raises(lb.ResumeError, match="train_data"):
        run(Rows(Flip(), count=24), tmp_path / "fewer", 2)


@pytest.mark.filterwarnings("ignore:checkpoints do not keep")
def test_the_second_reading_leaves_no_trace(tmp_path: Path) -> None:
    run(Rows(Flip(0)), tmp_path / "same", 1)
    run(Rows(Flip(1)), tmp_path / "other", 1)  # so that the second reading is needed
    drawn = Rows(Flip(0)), Rows(Flip(0))
    run(drawn[0], tmp_path / "same", 2)
    run(drawn[1], tmp_path / "other", 2)
    states = [one.changes[0].chance.get_state()[1:3] for one in drawn]
    assert (states[0][0] == states[1][0]).all()
    assert states[0][1] == states[1][1]
