"""The checks look at rows however these are given, and say what they did not look at."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data import Subset as Part

import lumbre as lb


class Rows(Dataset[Any]):
    """Rows that are computed when they are asked for; with `noise` drawn anew each time."""

    def __init__(self, x: Tensor, y: Tensor, noise: float = 0.0) -> None:
        self.x, self.y, self.noise, self.reads = x, y, noise, 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        self.reads += 1
        return self.x[row] + self.noise * torch.randn(self.x.shape[1]), self.y[row]


class Stream(IterableDataset[Any]):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(self.x, self.y, strict=True))


class Simulated(Dataset[Any]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(6)
        return x, (x[0] > 0).long()


X = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
TRAIN, SHARED, NEW = range(200), range(150, 250), range(200, 300)


def recipe(columns: int = 6) -> lb.Recipe:
    return lb.setup(
        lambda: nn.Sequential(nn.Linear(columns, 16), nn.ReLU(), nn.Linear(16, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam,
    )


def codes(data: Any, valid_data: Any = None, **options: Any) -> list[str]:
    return [one.code for one in recipe().check(data, valid_data=valid_data, **options)]


def loader(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, batch_size=32, **options)


def together(items: list[Any]) -> Any:
    return default_collate(items)


FORMS = {
    "tensors": lambda rows: (X[rows], Y[rows]),
    "a loader of tensors": lambda rows: loader(TensorDataset(X[rows], Y[rows])),
    "a loader of a part": lambda rows: loader(Part(TensorDataset(X, Y), list(rows))),
    "a loader by numbers": lambda rows: loader(TensorDataset(X, Y), sampler=SubsetRandomSampler(list(rows))),
    "a loader by weights": lambda rows: loader(
        TensorDataset(X, Y),
        sampler=WeightedRandomSampler(torch.isin(torch.arange(300), torch.tensor(rows)).float().tolist(), 100),
    ),
    "a data set": lambda rows: Rows(X[rows], Y[rows]),
    "a loader of a data set": lambda rows: loader(Rows(X[rows], Y[rows])),
    "a loader with a function of its own": lambda rows: loader(Rows(X[rows], Y[rows]), collate_fn=together),
    "a stream": lambda rows: Stream(X[rows], Y[rows]),
    "a loader of a stream": lambda rows: loader(Stream(X[rows], Y[rows])),
}


@pytest.mark.parametrize("form", FORMS)
def test_shared_rows_are_found_in_every_form(form: str) -> None:
    make = FORMS[form]
    # Of a stream the first rows are read.
    shared = list(range(50, 120)) if "stream" in form or "own" in form else list(SHARED)
    assert codes(make(list(TRAIN)), make(shared)) == ["LB041"]
    assert codes(make(list(TRAIN)), make(list(NEW))) == []


def test_rows_of_one_data_set_are_compared_by_their_numbers() -> None:
    """Augmentation in the data set makes other numbers of the same row; that validation rows have it, too, is LB080."""
    rows = Rows(X, Y, noise=0.1)
    train = loader(Part(rows, TRAIN), shuffle=True)
    assert codes(train, loader(Part(rows, SHARED))) == ["LB041", "LB080"]
    assert codes(Part(rows, TRAIN), Part(rows, SHARED)) == ["LB041", "LB080"]
    assert codes(train, loader(Part(rows, NEW))) == ["LB080"]


def test_rows_that_are_simulated_are_not_shared() -> None:
    rows = Simulated()
    assert codes(rows, rows) == []
    assert codes(loader(Simulated()), loader(Simulated())) == []


def test_augmentation_does_not_hide_shared_rows() -> None:
    def noise(x: Tensor, seeds: Any) -> Tensor:
        return x + 0.1

    assert codes((X[TRAIN], Y[TRAIN]), (X[SHARED], Y[SHARED]), augment=noise) == ["LB041"]
    assert codes((X[TRAIN], Y[TRAIN]), (X[NEW], Y[NEW]), augment=noise) == []


def test_a_data_set_is_searched_beyond_its_first_batch() -> None:
    bad = torch.where(torch.arange(300)[:, None] == 250, float("nan"), X)
    assert codes(loader(Rows(bad, Y))) == ["LB002"]
    told = torch.cat([X, Y[:, None].float()], 1)
    assert [one.code for one in recipe(7).check(loader(Rows(told, Y), shuffle=True))] == ["LB043"]


def test_a_loader_in_a_fixed_order() -> None:
    order = Y.argsort()
    rows = TensorDataset(X[order], Y[order])
    assert codes(loader(rows)) == ["LB045"]
    assert codes(loader(rows, shuffle=True)) == []


def test_looking_changes_no_data_set() -> None:
    fits = [Rows(X, Y, noise=0.1), Rows(X, Y, noise=0.1)]
    weights = []
    for rows, looked in zip(fits, (True, False), strict=True):
        net = recipe().fit(loader(rows, shuffle=True), epochs=1, verbose=False, preflight=looked).model
        weights.append(net[0].weight)  # pyright: ignore[reportIndexIssue]
    assert torch.equal(*weights)
    assert fits[0].reads == fits[1].reads


def test_what_was_not_looked_at_is_said() -> None:
    def batches() -> Iterator[Any]:
        yield from [(X[:64], Y[:64]), (X[64:128], Y[64:128])]

    fitted = recipe().fit(batches(), epochs=1, verbose=False)
    assert [line.split()[0] for line in fitted.remarks] == ["LB109"]
    assert "training data" in fitted.remarks[0]
    assert "generator" in fitted.remarks[0]
    found = recipe().check(batches())
    assert not found
    assert "not looked at: training data: rows of a generator" in repr(found)
    assert recipe().fit(batches(), epochs=1, verbose=False, ignore=("LB109",)).remarks == []
    assert recipe().fit((X, Y), epochs=1, verbose=False).remarks == []


class Slow(nn.Module):
    """Takes all of the time that there is for warnings."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(6, out), out

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.01)
        return self.layer(x)


@pytest.mark.parametrize(
    ("loss", "out", "data", "code"),
    [
        (nn.MSELoss(), 1, (X, X[:, 0]), "LB006"),
        (nn.CrossEntropyLoss(), 2, (X, Y + 1), "LB005"),
        (nn.CrossEntropyLoss(), 2, (torch.where(torch.arange(300)[:, None] == 250, float("nan"), X), Y), "LB002"),
    ],
)
def test_errors_are_found_without_time(
    loss: nn.Module, out: int, data: tuple[Tensor, Tensor], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lumbre.run._checks._QUICK_SECONDS", -1.0)
    slow = lb.setup(lambda: Slow(out), loss=loss, optimizer=optim.Adam)
    with pytest.raises(lb.PreflightError, match=code):
        slow.fit(data, epochs=1, verbose=False)


def test_checks_left_out_for_time_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumbre.run._checks._QUICK_SECONDS", -1.0)
    remarks = recipe().fit((X, Y), epochs=1, verbose=False).remarks
    assert len(remarks) == 1
    assert remarks[0].startswith("LB109")
    assert "more, for which" in remarks[0]
