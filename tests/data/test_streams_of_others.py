"""Streams, loaders and samplers of others: ordered by the epoch, reading on from a position, read once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler, TensorDataset

import lumbre as lb
from conftest import blobs

X, Y = blobs(48)
OPTIONS: dict[str, Any] = {"verbose": False, "engine": "eager"}


def order(epoch: int) -> list[int]:
    return torch.randperm(48, generator=torch.Generator().manual_seed(epoch)).tolist()


class Turned:
    """Orders its rows by the epoch that is set, as those of MosaicML, Hugging Face and DistributedSampler do."""

    epoch = 7

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class Stream(Turned, IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return ((X[row], Y[row]) for row in order(self.epoch))


class Chosen(Turned, Sampler[int]):
    def __len__(self) -> int:
        return 48

    def __iter__(self) -> Iterator[int]:
        return iter(order(self.epoch))


class Dicts(Turned, IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return ({"x": X[row], "labels": Y[row]} for row in order(self.epoch))


LOADERS = {
    "stream": lambda: DataLoader(Stream(), batch_size=16),
    "sampler": lambda: DataLoader(TensorDataset(X, Y), batch_size=16, sampler=Chosen()),
    "batch_sampler": lambda: DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(Chosen(), 16, False)),
    "dicts": lambda: lb.data.from_dicts(DataLoader(Dicts(), batch_size=16), target="labels", features="x"),
}


def trained(data: Any, seen: list[Tensor] | None = None, **options: Any) -> lb.Fitted:
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    note = lb.callbacks.On(train_batch_begin=lambda ctx: [] if seen is None else seen.append(ctx.batch.input))
    return recipe.fit(data, callbacks=note, **OPTIONS, **options)


@pytest.mark.parametrize("kind", LOADERS)
def test_each_epoch_has_its_own_order_and_a_resumed_run_too(kind: str, tmp_path: Path) -> None:
    seen: list[Tensor] = []
    whole = trained(LOADERS[kind](), seen, epochs=3)
    assert torch.equal(torch.cat(seen), torch.cat([X[order(epoch)] for epoch in range(3)]))
    trained(LOADERS[kind](), epochs=3, max_steps=4, resume=tmp_path)
    resumed = trained(LOADERS[kind](), epochs=3, resume=tmp_path)
    assert torch.equal(resumed.model.weight, whole.model.weight)


class ReadsOn(IterableDataset[Any]):
    """Keeps its position, so that torchdata's loader can go on from there."""

    def __init__(self) -> None:
        self.row = 0

    def __iter__(self) -> Iterator[Any]:
        while self.row < 48:
            self.row += 1
            yield X[self.row - 1], Y[self.row - 1]
        self.row = 0


class Once(IterableDataset[Any]):
    """Of a generator, which can be read a single time."""

    def __init__(self) -> None:
        self.source = ((x, y) for x, y in zip(X, Y, strict=True))

    def __iter__(self) -> Iterator[Any]:
        return self.source


@pytest.mark.parametrize("preflight", [True, False])
@pytest.mark.parametrize(("stream", "epochs"), [(ReadsOn, 2), (Once, 1)])
@pytest.mark.parametrize("loader", [True, False])
def test_looking_at_a_stream_takes_no_rows_from_it(stream: Any, epochs: int, loader: bool, preflight: bool) -> None:
    seen: list[Tensor] = []
    data, size = (DataLoader(stream(), batch_size=16), {}) if loader else (stream(), {"batch_size": 16})
    trained(data, seen, epochs=epochs, preflight=preflight, **size)
    assert torch.equal(torch.cat(seen), X.repeat(epochs, 1))


class Packed(Chosen):
    """Of batches whose number only their sizes tell, as torch_geometric's DynamicBatchSampler."""

    def __len__(self) -> int:
        raise ValueError("the number of batches is ambiguous")

    def __iter__(self) -> Iterator[Any]:
        yield from (list(range(30)), list(range(30, 48)))


def test_a_loader_that_does_not_know_its_length() -> None:
    seen: list[Tensor] = []
    trained(DataLoader(TensorDataset(X, Y), batch_sampler=Packed()), seen, epochs=2)
    assert [len(batch) for batch in seen] == [30, 18, 30, 18]
