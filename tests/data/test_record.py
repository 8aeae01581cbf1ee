"""The fingerprint: the same for the same data, another for any other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset

from lumbre.base import DataRecord
from lumbre.data import ArraySource, InMemoryDataset, LoaderFeed, Order, RowFeed, Taken, accept, data_record

CPU = torch.device("cpu")


def feed(source, batch_size: int = 4) -> RowFeed:
    return RowFeed(source, Order(len(source), batch_size, True, False, 0), CPU)


def record(input, target=None) -> DataRecord:
    return data_record(feed(InMemoryDataset(input, target)))


@given(st.lists(st.integers(0, 255), min_size=2, max_size=30), st.data())
def test_any_changed_byte_changes_it(values: list[int], draw) -> None:
    row = draw.draw(st.integers(0, len(values) - 1))
    other = list(values)
    other[row] = (values[row] + draw.draw(st.integers(1, 255))) % 256
    x, changed = (torch.tensor(numbers, dtype=torch.uint8) for numbers in (values, other))
    assert record(x) == record(x.clone())
    assert record(x).fingerprint != record(changed).fingerprint
    assert len(record(x).fingerprint) == 16


def test_types_shapes_and_the_place_of_values_count() -> None:
    x = torch.zeros(4, 2)
    different = [x, x.int(), x.double(), x.reshape(2, 4), x.reshape(4, 2, 1), torch.zeros(5, 2), {"x": x}, (x, x)]
    assert len({record(one).fingerprint for one in different} | {record(x, x).fingerprint}) == 9


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float16, torch.complex64, torch.int64])
def test_every_type_has_one(dtype: torch.dtype) -> None:
    found = record(torch.ones(3, 2).to(dtype), torch.arange(3))
    assert found.input == f"{str(dtype).removeprefix('torch.')} (rows, 2)"
    assert found.target == "int64 (rows)"
    assert found.covers == "all rows"


def test_large_data_are_sampled_evenly() -> None:
    x = torch.arange(40_000, dtype=torch.float32)[:, None].repeat(1, 200)  # 32 MB
    found = record(x)
    assert found.rows == 40_000
    assert found.covers == "20,971 rows, evenly spread"
    changed = x.clone()
    changed[0] += 1
    assert record(changed).fingerprint != found.fingerprint


def test_chosen_rows_have_their_own_and_arrays_the_same_as_tensors() -> None:
    x = torch.randn(10, 3)
    source = InMemoryDataset(x)
    taken = data_record(feed(Taken(source, torch.tensor([7, 2]))))
    assert taken.fingerprint == record(x[[7, 2]]).fingerprint
    assert data_record(feed(ArraySource(x.numpy()))).fingerprint == record(x).fingerprint


def test_it_is_taken_before_transforms_and_the_shape_after() -> None:
    x = torch.randint(0, 256, (6, 5), dtype=torch.uint8)
    found = data_record(feed(InMemoryDataset(x, transform=lambda values: values[:, :2].float())))
    assert found.input == "float32 (rows, 2)"
    assert found.fingerprint == record(x).fingerprint


def test_of_data_that_cost_work_only_the_first_batch_is_taken() -> None:
    class Slow(Dataset):
        fetched = 0

        def __len__(self) -> int:
            return 1_000

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            Slow.fetched += 1
            return torch.full((2,), float(row)), row % 3

    batches = feed(accept(Slow(), 0))
    assert data_record(batches) == DataRecord(rows=1_000)
    assert Slow.fetched == 0
    first = batches.first()
    found = data_record(batches, first)
    assert Slow.fetched == 4
    assert found.covers == "the first batch, of 4 rows"
    assert found.input == "float32 (rows, 2)"


def test_of_a_stream_rows_are_not_known_and_objects_have_no_fingerprint() -> None:
    batches = LoaderFeed([(torch.zeros(2, 3), torch.zeros(2))], CPU, 0)
    found = data_record(batches, batches.first())
    assert found.rows is None
    assert found.fingerprint
    words = LoaderFeed([(["a", "b"], torch.zeros(2))], CPU, 0)
    assert data_record(words, words.first()).fingerprint == ""
    sparse = LoaderFeed([(torch.eye(2).to_sparse(), torch.zeros(2))], CPU, 0)
    assert data_record(sparse, sparse.first()).fingerprint == ""


def test_memory_mapped_rows_are_read_as_they_are(tmp_path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert data_record(feed(ArraySource(mapped))).fingerprint == record(torch.from_numpy(values)).fingerprint
