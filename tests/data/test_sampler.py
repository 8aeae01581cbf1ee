"""`fit(sampler=...)`: the shares of classes are those asked for, and the draws depend only on the seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import lumbre as lb
from conftest import blobs
from lumbre.base import DataError, OptionError

ROWS = 3000
SIGMAS = 5.0  # a normal number lies outside once in 1.7 million


def uneven() -> tuple[Tensor, Tensor]:
    """Of three classes the second has a tenth of the rows, the third a hundredth."""
    x, _ = blobs(ROWS)
    y = torch.zeros(ROWS, dtype=torch.int64)
    y[:300], y[300:330] = 1, 2
    return x, y


class Items(Dataset[Any]):
    def __init__(self) -> None:
        self.x, self.targets = uneven()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> Any:
        return self.x[row], self.targets[row]


def frame() -> lb.data.FrameData:
    x, y = uneven()
    table = pd.DataFrame(x.numpy(), columns=list("abcd")).assign(kind=np.array(["p", "q", "r"])[y.numpy()])
    return lb.data.from_frame(table, target="kind")


def seen(recipe: lb.Recipe, data: Any, **options: Any) -> Tensor:
    """The targets of all training batches, in order."""
    targets: list[Tensor] = []

    class Watch(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            targets.append(torch.as_tensor(ctx.batch.target).clone())

    recipe.fit(data, epochs=options.pop("epochs", 2), callbacks=Watch(), verbose=False, preflight=False, **options)
    return torch.cat(targets)


def near(share: float, expected: float, draws: int) -> bool:
    return abs(share - expected) < SIGMAS * (expected * (1 - expected) / draws) ** 0.5


@pytest.mark.parametrize("kind", ["tensors", "frame", "dataset", "part", "memory map", "valid_data"])
def test_balanced_gives_every_class_the_same_share(recipe: lb.Recipe, kind: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {}
    data: Any = uneven()
    if kind == "frame":
        data = frame()
    elif kind == "dataset":
        data = Items()
    elif kind == "part":
        data = lb.split(data, 0.7, 0.3, stratify=True)[0]
    elif kind == "memory map":
        np.save(tmp_path / "x.npy", data[0].numpy())
        data = (np.load(tmp_path / "x.npy", mmap_mode="r"), data[1])
    elif kind == "valid_data":
        options = {"valid_data": 0.3}
    targets = seen(recipe, data, sampler="balanced", batch_size=100, **options)
    assert len(targets) == 2 * (2100 if kind in ("part", "valid_data") else ROWS)
    for number in range(3):
        assert near((targets == number).float().mean().item(), 1 / 3, len(targets))


def test_weights_are_those_of_the_rows_that_are_trained_on(recipe: lb.Recipe) -> None:
    x, y = uneven()
    weights = torch.zeros(ROWS)
    weights[:330] = torch.where(y[:330] == 1, 1.0, 30.0)
    for given in (weights, weights.numpy(), weights.tolist()):
        targets = seen(recipe, (x, y), sampler=given)
        assert not (targets == 0).any()
        assert near((targets == 2).float().mean().item(), 900 / 1200, len(targets))
    odd = torch.arange(ROWS) % 2
    drawn = seen(recipe, (x, 1 - odd), sampler=odd, valid_data=0.5, epochs=1)
    assert len(drawn) == 1500
    assert not drawn.any()


def test_chance_is_the_seeds_and_workers_change_nothing(recipe: lb.Recipe) -> None:
    runs = [seen(recipe, uneven(), sampler="balanced", num_workers=workers) for workers in (0, 2)]
    assert torch.equal(*runs)
    assert torch.equal(runs[0], seen(recipe, uneven(), sampler="balanced"))
    assert not torch.equal(runs[0], seen(recipe, uneven(), sampler="balanced", seed=1))
    assert not torch.equal(*runs[0].chunk(2))


def test_validation_is_left_as_it_is(recipe: lb.Recipe) -> None:
    x, y = uneven()
    sizes: list[int] = []

    class Watch(lb.Callback):
        def on_valid_batch_begin(self, ctx: lb.Context) -> None:
            sizes.append(int((torch.as_tensor(ctx.batch.target) == 0).sum()))

    recipe.fit(
        (x, y), valid_data=(x, y), sampler="balanced", epochs=1, callbacks=Watch(), ignore="LB041", verbose=False
    )
    assert sum(sizes) == int((y == 0).sum())


def test_a_row_drawn_twice_is_augmented_twice(recipe: lb.Recipe) -> None:
    noise: list[Tensor] = []

    def augment(x: Tensor, seeds: Tensor) -> Tensor:
        noise.append(seeds)
        return x

    recipe.fit(uneven(), sampler="balanced", epochs=2, augment=augment, verbose=False)
    seeds = torch.cat(noise[1:])  # the first is that of the look before training
    assert len(seeds) == len(seeds.unique()) == 2 * ROWS


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (uneven, {"sampler": "balance"}, OptionError, "Did you mean 'balanced'"),
        (uneven, {"sampler": "balanced", "shuffle": False}, OptionError, "shuffle=False beside sampler"),
        (uneven, {"sampler": torch.ones(7)}, DataError, r"shape \(7,\).*3000 rows"),
        (uneven, {"sampler": torch.ones(ROWS, 2)}, DataError, "one weight for each row"),
        (uneven, {"sampler": ["a"] * ROWS}, DataError, "one weight for each row"),
        (uneven, {"sampler": torch.zeros(ROWS)}, DataError, "not all of them 0"),
        (uneven, {"sampler": torch.utils.data.RandomSampler(range(3))}, OptionError, "DataLoader of your own"),
        (lambda: (uneven()[0], uneven()[1].float()), {"sampler": "balanced"}, DataError, "float32"),
        (lambda: (uneven()[0], torch.eye(3)[uneven()[1]]), {"sampler": "balanced"}, DataError, r"\(3000, 3\)"),
        (lambda: Subset(Items(), [1, 2]), {"sampler": "balanced"}, DataError, "balanced_weights"),
        (lambda: DataLoader(TensorDataset(*uneven())), {"sampler": "balanced"}, OptionError, "beside a DataLoader"),
        (lambda: iter([uneven()]), {"sampler": torch.ones(ROWS)}, OptionError, "the Dataset behind it"),
    ],
)
def test_what_cannot_be_is_refused(recipe: lb.Recipe, make: Any, options: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=f"(?s){words}"):
        recipe.fit(make(), epochs=1, verbose=False, **options)


def test_parquet_is_refused(recipe: lb.Recipe, tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.0, 2], "b": [0, 1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(OptionError, match="read one by one"):
        recipe.fit(lb.data.from_parquet(tmp_path / "a.parquet", target="b"), sampler="balanced")
