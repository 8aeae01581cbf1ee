"""Tensors in safetensors files, beside what the library of safetensors reads and writes."""

import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from lumbre.storage._tensors import entries_of, head_of, read_tensors, write_tensors

TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.bool),
    *(torch.int64, torch.int16, torch.uint64, torch.uint16, torch.uint8),
]


def read(path: Path) -> tuple[dict[str, torch.Tensor], bytes]:
    seen = bytearray()
    with path.open("rb") as file:
        head, size = head_of(file)
        tensors = read_tensors(file, entries_of(head, size)[0], seen.extend)
    return tensors, head + bytes(seen)


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=6),
    types=st.lists(st.sampled_from(TYPES), min_size=6, max_size=6),
)
def test_as_the_library_reads_and_each_byte_is_seen(shapes: list[list[int]], types: list[torch.dtype]) -> None:
    given = {
        f"t{number}": torch.arange(math.prod(shape)).reshape(shape).to(dtype)
        for number, (shape, dtype) in enumerate(zip(shapes, types, strict=False))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write_tensors(path, given, {"more": "words"})
        found, seen = read(path)
        expected = safetensors.torch.load(path.read_bytes())
        assert seen == path.read_bytes()
    assert found.keys() == expected.keys() == given.keys()
    for name, one in expected.items():
        assert found[name].dtype == one.dtype
        assert found[name].shape == one.shape
        assert found[name].reshape(-1).view(torch.uint8).equal(one.reshape(-1).view(torch.uint8))


def test_tensors_larger_than_a_piece_each_have_memory_of_their_own(tmp_path: Path) -> None:
    given = {"a": torch.randn(300, 1001), "b": torch.randn(7), "c": torch.randn(500, 1000)}
    write_tensors(tmp_path / "file", given)
    found, _ = read(tmp_path / "file")
    assert all(torch.equal(found[name], one) for name, one in given.items())
    assert all(one.untyped_storage().nbytes() == one.nbytes for one in found.values())


def test_numbers_are_turned_round_where_the_highest_byte_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"a": torch.tensor([1, 258]), "b": torch.tensor([1 + 2j]), "c": torch.tensor([True])}
    write_tensors(tmp_path / "file", given)
    monkeypatch.setattr("sys.byteorder", "big")
    found, _ = read(tmp_path / "file")
    assert found["a"].numpy().view(">i8").tolist() == [1, 258]
    assert found["b"].numpy().view(np.dtype(">c8")).tolist() == [1 + 2j]
    assert found["c"].tolist() == [True]


@pytest.mark.parametrize(
    "told",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1 << 62], "data_offsets": [0, 1 << 64]},
        {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "data_offsets": [0, 8]},
        {"shape": [2]},
        [],
        None,
    ],
)
def test_a_header_that_does_not_fit_the_file_is_refused(told: Any) -> None:
    text = json.dumps({"a": told}).encode()
    with pytest.raises((ValueError, KeyError, TypeError)):
        entries_of(len(text).to_bytes(8, "little") + text, 8 + len(text) + 8)


def test_a_file_that_ends_while_it_is_read_is_refused() -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    head = len(text).to_bytes(8, "little") + text
    with pytest.raises(ValueError, match="ends before"):
        read_tensors(io.BytesIO(bytes(7)), entries_of(head, len(head) + 8)[0], len)
