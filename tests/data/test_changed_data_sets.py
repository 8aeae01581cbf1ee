"""A data set that is changed while a run goes on gives the same batches for any number of workers, or it is said."""

import os
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, Subset

import lumbre as lb
from lumbre.base import print_of
from lumbre.callbacks import On


class Helper:
    def __init__(self) -> None:
        self.level = 0


class Rows(Dataset):
    """Rows that depend on what the data set holds."""

    def __init__(self) -> None:
        self.epoch, self.hard, self.helper = 0, list(range(1000)), Helper()
        self.table, self.weights, self.scale = {"a": 0}, np.zeros(4), torch.zeros(4)

    def __len__(self) -> int:
        return 24

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        amount = self.epoch + self.helper.level + self.table["a"] + float(self.weights[1]) + float(self.scale[2])
        x = torch.full((2,), row + 100.0 * amount)
        return x, x.sum(0, keepdim=True) / 1000 + self.hard[500]


CHANGES: dict[str, Callable[[Rows, int], Any]] = {
    "number": lambda rows, epoch: setattr(rows, "epoch", epoch),
    "middle of a list": lambda rows, epoch: rows.hard.__setitem__(500, epoch),
    "another list": lambda rows, epoch: setattr(rows, "hard", [epoch] * 600),
    "object": lambda rows, epoch: setattr(rows.helper, "level", epoch),
    "dict": lambda rows, epoch: rows.table.update(a=epoch),
    "array": lambda rows, epoch: rows.weights.__setitem__(1, epoch),
    "tensor": lambda rows, epoch: rows.scale.__setitem__(2, epoch),
}


def fit(data: Any, callbacks: Any = (), **options: Any) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=1e-9)
    recipe = recipe.set_hparams(in_features=2, out_features=1)
    return recipe.fit(data, epochs=3, callbacks=callbacks, preflight=False, verbose=False, **options)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_epochs_is_seen_by_any_number_of_workers(change: str) -> None:
    found: list[Any] = []
    for workers in (0, 2):
        train, valid = Rows(), Rows()

        def alter(ctx: lb.Context, train: Rows = train, valid: Rows = valid) -> None:
            CHANGES[change](train, ctx.epoch)
            CHANGES[change](valid, 10 * ctx.epoch)

        data = Subset(train, range(20)) if change == "number" else train
        fitted = fit(data, On(epoch_begin=alter), valid_data=valid, batch_size=8, num_workers=workers)
        found.append(fitted._history.records)
    assert found[0] == found[1]
    assert len({value for name, _, _, value in found[0] if name == "train"}) == 3
    assert len({value for name, _, _, value in found[0] if name == "valid"}) == 3


def test_a_part_held_out_sees_it_too() -> None:
    found: list[Any] = []
    for workers in (0, 2):
        rows = Rows()
        alter = On(epoch_end=lambda ctx, rows=rows: setattr(rows, "epoch", ctx.epoch))
        found.append(fit(rows, alter, valid_data=0.5, batch_size=8, num_workers=workers)._history.records)
    assert found[0] == found[1]


def test_workers_of_a_data_set_that_stays_are_kept() -> None:
    class Started(Rows):
        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            return torch.full((2,), float(os.getpid())), torch.zeros(1)

    seen: list[set[float]] = []
    note = On(
        epoch_begin=lambda ctx: seen.append(set()),
        train_batch_begin=lambda ctx: seen[-1].update(ctx.batch.input[:, 0].tolist()),
    )
    fit(Started(), note, batch_size=4, num_workers=1)
    assert seen[0] == seen[1] == seen[2]


def test_a_change_within_an_epoch_is_said() -> None:
    rows = Rows()
    alter = On(train_batch_end=lambda ctx: setattr(rows, "epoch", ctx.step))
    with pytest.warns(UserWarning, match="2 processes fetch rows of Rows, and it was changed within epoch 1") as caught:
        fit(rows, alter, batch_size=8, num_workers=2)
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):
        fit(rows, alter, batch_size=8)


@pytest.mark.parametrize("way", ["number", "list", "deque", "numpy", "array"])
@pytest.mark.parametrize("valid", [False, True])
def test_rows_that_change_their_data_set_are_said(way: str, valid: bool) -> None:
    class Changing(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.recent, self.draws = [0], deque([0], maxlen=1), np.random.default_rng(0)

        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            if way == "number":
                self.epoch += 1
            elif way in ("list", "deque"):
                (self.seen if way == "list" else self.recent).append(row)
            elif way == "numpy":
                self.draws.random()
            else:
                self.weights += 1
            return super().__getitem__(row)

    name = {"number": "epoch", "list": "seen", "deque": "recent", "numpy": "draws", "array": "weights"}[way]
    data = (Rows(), Changing()) if valid else (Changing(), None)
    with pytest.warns(UserWarning, match=f"reading rows changes {name}, which each sees in its own copy") as caught:
        fit(data[0], valid_data=data[1], batch_size=8, num_workers=2)
    assert len(caught) == 1


def test_what_rows_keep_for_later_is_not_named() -> None:
    class Opens(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.file, self.cache = None, {}

        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            self.file = self.file or iter(())
            if row not in self.cache:
                self.cache[row] = super().__getitem__(row)
            return self.cache[row][0] + torch.randn(2) + np.random.rand(), self.cache[row][1]

    records = [fit(Opens(), valid_data=Opens(), batch_size=8, num_workers=n)._history.records for n in (0, 2)]
    assert records[0] == records[1]


def test_a_loader_that_keeps_its_workers_is_named() -> None:
    rows = Rows()
    alter = On(epoch_begin=lambda ctx: setattr(rows, "epoch", ctx.epoch))
    kept = DataLoader(rows, 8, num_workers=1, persistent_workers=True)
    with pytest.warns(UserWarning, match="persistent_workers=False") as caught:
        fit(kept, alter)
    assert len(caught) == 1
    fit(DataLoader(rows, 8, num_workers=1), alter)


def test_a_change_in_the_middle_of_a_long_list_shows() -> None:
    rows: list[Any] = [(f"picture {number}", number % 3) for number in range(10_000)]
    before = print_of(rows, whole=True)
    rows[5_001] = ("picture 5001", 2)
    assert print_of(rows, whole=True) != before
    ends = print_of(rows)
    rows[5_001] = ("picture 5001", 0)
    assert print_of(rows) == ends, "only the ends are looked at"
