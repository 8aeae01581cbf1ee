"""Data as batches: what a loader gives, what the order promises, what comes back from a row."""

import gc
import multiprocessing
import random
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lumbre as lb
from lumbre.base import leaves, seed_host
from lumbre.data import InMemoryDataset, LoaderFeed, Order, RowFeed, Taken, accept, split_rows

CPU = torch.device("cpu")


def feed(rows: int = 10, size: int = 4, workers: int = 0, **options: bool) -> RowFeed:
    source = accept((torch.arange(rows), torch.arange(rows) * 10), seed=0)
    order = Order(rows, size, options.get("shuffle", True), options.get("drop_last", False), seed=3)
    return RowFeed(source, order, CPU, workers)


class NumberedItems(Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> object:
        return self.items[row]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_holds_every_row_once_with_its_target_and_number(workers: int) -> None:
    batches = list(feed(workers=workers).epoch(2))
    assert [batch.size for batch in batches] == [4, 4, 2]
    seen = torch.cat([batch.input for batch in batches])
    assert sorted(seen.tolist()) == list(range(10))
    assert seen.tolist() != list(range(10))
    for batch in batches:
        assert torch.equal(batch.target, batch.input * 10)
        assert torch.equal(batch.rows, batch.input)


def test_workers_change_nothing() -> None:
    here, there = feed(workers=0), feed(workers=2)
    for epoch in (1, 2, 1):
        for a, b in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
            assert torch.equal(a.input, b.input)


def test_workers_end_at_once_when_a_run_is_over(recipe: lb.Recipe, data: tuple[torch.Tensor, torch.Tensor]) -> None:
    workers: list[Any] = []
    others = set(multiprocessing.active_children())
    watch = lb.callbacks.On(train_end=lambda ctx: workers.extend(set(multiprocessing.active_children()) - others))
    recipe.fit(data, epochs=1, num_workers=2, callbacks=watch, verbose=False)
    assert not workers, "tensors in memory are gathered here"
    recipe.fit(list(zip(*data, strict=True)), epochs=1, num_workers=2, callbacks=watch, verbose=False)
    began = time.perf_counter()
    gc.collect()
    assert (
        time.perf_counter() - began < 9
    )  # torch would wait five seconds for each; without waiting it takes half a one
    assert len(workers) == 2
    assert not any(worker.is_alive() for worker in workers)


def test_the_first_batch_is_the_first_batch() -> None:
    batches = feed()
    assert torch.equal(batches.first().input, next(iter(batches.epoch(1))).input)


def test_drop_last_leaves_the_short_batch_out() -> None:
    batches = feed(drop_last=True)
    assert batches.length == len(list(batches.epoch(1))) == 2
    assert (batches.order.fewest_rows, feed().order.fewest_rows) == (4, 2)


def test_loaders_keep_their_own_order_and_generators_are_not_cut_short() -> None:
    x = torch.arange(6.0)
    loader = LoaderFeed(DataLoader(TensorDataset(x, x), batch_size=2), CPU, seed=0)
    assert loader.length == 3
    assert [batch.input.tolist() for batch in loader.epoch(1)] == [[0, 1], [2, 3], [4, 5]]
    once = LoaderFeed(((x[i : i + 2], x[i : i + 2]) for i in range(0, 6, 2)), CPU, seed=0)
    assert once.length is None
    assert once.first().input.tolist() == [0, 1]
    assert [batch.input.tolist() for batch in once.epoch(1)] == [[0, 1], [2, 3], [4, 5]]


def test_in_memory_data_is_a_torch_dataset_too() -> None:
    data = lb.data.InMemoryDataset({"a": torch.arange(6)}, torch.arange(6), transform=lambda x: {"a": x["a"] + 1})
    assert data[2] == ({"a": torch.tensor(3)}, torch.tensor(2))
    assert data[-1] == ({"a": torch.tensor(6)}, torch.tensor(5))
    with pytest.raises(IndexError):
        data[6]
    batch = next(iter(DataLoader(data, batch_size=4)))
    assert batch[0]["a"].tolist() == [1, 2, 3, 4]


def test_items_of_several_inputs_need_no_target() -> None:
    item = tuple(torch.tensor([float(number)]) for number in range(3)), None
    source = accept(NumberedItems([item, item]), seed=0)
    inputs, target = source.fetch(range(2), 1)
    assert [part.tolist() for part in inputs] == [[[0.0], [0.0]], [[1.0], [1.0]], [[2.0], [2.0]]]
    assert target is None


def test_a_fraction_is_cut_by_the_seed_alone() -> None:
    train, valid = split_rows(100, 0.2, seed=1)
    assert sorted([*train.tolist(), *valid.tolist()]) == list(range(100))
    assert len(valid) == 20
    assert torch.equal(split_rows(100, 0.2, seed=1)[1], valid)
    assert not torch.equal(split_rows(100, 0.2, seed=2)[1], valid)


def test_columns_of_every_kind_come_in_the_types_that_torch_wants() -> None:
    import numpy as np

    found = accept(
        (
            {"f8": np.zeros(2), "i4": np.zeros(2, "int32"), "u1": np.zeros(2, "uint8"), "b": np.zeros(2, bool)},
            [0.5, 1.5],
        ),
        seed=0,
    )
    kinds = [leaf.dtype for leaf in leaves(found.input)]
    assert kinds == [torch.float32, torch.int64, torch.uint8, torch.bool]
    assert found.target.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(()).item(), lambda: 0.0])
@pytest.mark.parametrize("picky", [False, True])
def test_chance_belongs_to_the_row_whatever_it_is_drawn_from(draw, picky: bool) -> None:
    class Rows:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, row: int) -> tuple[float, int]:
            return (0.0 if picky and row % 7 else draw()), row

    def drawn(batch_size: int, shuffle: bool) -> dict[int, float]:
        feed = RowFeed(accept(Rows(), 3), Order(40, batch_size, shuffle, False, 3), torch.device("cpu"))
        return {int(row): float(x) for batch in feed.epoch(1) for x, row in zip(batch.input, batch.target, strict=True)}

    assert drawn(40, False) == drawn(7, True) == drawn(1, False)


def test_rows_that_draw_nothing_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr("lumbre.data._sources.seed_host", lambda value: (seeded.append(value), seed_host(value)))
    source = accept([(float(row), row) for row in range(50)], 0)
    feed = RowFeed(source, Order(50, 10, True, False, 0), torch.device("cpu"))
    assert sum(batch.size for batch in feed.epoch(1)) == 50
    assert len(seeded) == 1


def test_a_stream_is_read_by_one_process(recipe: lb.Recipe) -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(4), 1)] * 10)

    with pytest.raises(lb.OptionError, match="each of them would give every row"):
        recipe.fit(Stream(), num_workers=2, verbose=False)
    recipe.fit(Stream(), epochs=1, num_workers=1, verbose=False)


@pytest.mark.parametrize("part", ["whole", "taken"])
def test_rows_in_memory_are_kept_on_a_device_that_has_room(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device "meta" stands for one with memory of its own: it knows shapes and places, and no values."""
    meta = torch.device("meta")
    source = accept((torch.zeros(10, 3), torch.zeros(10)), seed=0)
    if part == "taken":
        source = Taken(source, torch.tensor([1, 2, 3, 5, 7, 9]))
    for free, kept in ((10 * 4 * 4 * 2, True), (0, False)):
        monkeypatch.setattr("lumbre.data._sources._free", lambda device, free=free: free)
        made = RowFeed(source, Order(len(source), 4, True, False, seed=3), meta)
        assert isinstance(made.source, InMemoryDataset) == (kept or part == "whole")
        assert {leaf.device for leaf in leaves(made.source.fetch(range(2), 1))} == {meta if kept else CPU}
        batches = list(made.epoch(1))
        assert [batch.size for batch in batches] == ([4, 4, 2] if part == "whole" else [4, 2])
        for batch in (made.first(), *batches):
            assert batch.input.device == batch.target.device == meta
            assert batch.input.shape == (batch.size, 3)
            assert batch.rows.device == CPU


@pytest.mark.parametrize("size", [1, 3, 16, 32, 100])
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8, torch.int64])
def test_batches_gathered_together_are_those_gathered_one_by_one(size: int, kind: torch.dtype) -> None:
    x = torch.arange(1000 * 7).reshape(1000, 7).to(kind)
    y = torch.arange(1000)
    for source in (accept((x, y), 0), accept(x, 0), Taken(accept((x, y), 0), torch.randperm(1000)[:900])):
        made = RowFeed(source, Order(len(source), size, True, False, seed=1), CPU)
        batches = list(made.epoch(3))
        assert [batch.size for batch in batches] == [len(rows) for rows in made.order.batches(3)]
        for batch, rows in zip(batches, made.order.batches(3), strict=True):
            input, target = source.fetch(rows, 3)
            assert torch.equal(batch.input, input)
            assert batch.target is None if target is None else torch.equal(batch.target, target)
            assert torch.equal(batch.rows, rows)
            assert batch.input.data_ptr() % 64 == 0, "the bits of a product may depend on where its factors begin"
