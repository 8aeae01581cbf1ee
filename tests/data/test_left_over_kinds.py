"""Kinds of columns, files and arrays that ended in another library's error, or in an infinite number without a word."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn, optim
from torch.utils.data import Dataset, TensorDataset

import lumbre as lb
from lumbre.base import DataError
from lumbre.data import accept


class Net(nn.Module):
    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.layer = nn.Linear(d_in, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[:, 0]


def fitted(data: Any, width: int) -> lb.Fitted:
    recipe = lb.setup(Net, loss=nn.MSELoss(), optimizer=optim.Adam).set_hparams(d_in=width)
    return recipe.fit(data, epochs=1, verbose=False, preflight=False)


def read(path: Path, **options: Any) -> Any:
    data = lb.data.from_parquet(path, standardize=False, **options).fitted()
    return data.fetch(torch.arange(len(data)), 1)[0].tolist()


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint16", "uint32", "uint64"])
def test_indices_of_dictionaries_of_any_type(kind: str) -> None:
    held = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], kind), pa.array(["b", "a"]))
    rows = lb.data.from_frame(pa.table({"c": held}), missing="indicate")
    assert rows[:].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("column", "options", "width"),
    [([2.5], {}, 2), (["u"], {"levels": {"c": ["u", "v"]}}, 3), ([True], {}, 2)],
)
def test_a_column_without_a_value_in_one_file(
    tmp_path: Path, place: int, column: list[Any], options: dict[str, Any], width: int
) -> None:
    pq.write_table(pa.table({"c": pa.nulls(1)}), tmp_path / f"{place}.parquet")
    pq.write_table(pa.table({"c": column}), tmp_path / f"{1 - place}.parquet")
    rows = read(tmp_path, missing="indicate", **options)
    assert len(rows[0]) == width
    assert [row[-1] for row in rows] == ([1, 0] if place == 0 else [0, 1])
    with pytest.raises(lb.DataError, match="missing values"):
        read(tmp_path, **options)


def test_a_column_without_a_value_in_any_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": pa.nulls(1), "x": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(lb.DataError, match="'c' of type null"):
        read(tmp_path, missing="indicate")


def test_a_damaged_page(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0]}), file)
    bytes_ = bytearray(file.read_bytes())
    bytes_[20:60] = bytes(40)
    file.write_bytes(bytes_)
    with pytest.raises(lb.DataError, match=r"a\.parquet, which cannot be read"):
        read(file)


def test_dates_that_are_all_missing_at_predict() -> None:
    days = pd.Series(pd.date_range("2020-01-01", periods=20))
    frame = pd.DataFrame({"t": days.where(days.index % 4 > 0), "y": np.arange(20.0)})
    data = lb.data.from_frame(frame, target="y", dates="parts", missing="indicate")
    model = fitted(data, data.width)
    expected = model.predict(frame.head(3).assign(t=pd.NaT))
    for empty in (
        frame.head(3).assign(t=None),
        pl.DataFrame({"t": [None] * 3}),
        pa.table({"t": pa.nulls(3)}),
    ):
        assert torch.equal(model.predict(empty), expected)


def test_numbers_beyond_float32_in_arrays() -> None:
    x = np.ones((8, 2))
    model = fitted((x, np.arange(8.0)), 2)
    for large in (x * 1e300, x * -1e39):
        with pytest.raises(lb.DataError, match="beyond float32"):
            model.predict(large)
        with pytest.raises(lb.DataError, match="beyond float32"):
            fitted((large, np.arange(8.0)), 2)
    assert not model.predict(x * np.inf).isfinite().any()


def test_rows_of_several_lengths() -> None:
    with pytest.raises(lb.DataError, match="parts differ in shape"):
        fitted(([[1.0], [1.0, 2.0]] * 4, torch.arange(8.0)), 2)


def test_texts_are_read_again_where_a_frame_was_changed() -> None:
    frame = pd.DataFrame({"c": ["u", "v", "u"], "y": [1.0, 2.0, 3.0]})
    data = lb.data.from_frame(frame, target="y", standardize=False)
    frame.loc[0, "c"] = "v"
    expected = [[0, 1], [0, 1], [1, 0]]
    assert data.encoding.encode(data.table, need_target=True).input.tolist() == expected
    frame["c"] = ["u", "u", "v"]
    assert data.encoding.encode(data.table, need_target=True).input.tolist() == [[1, 0], [1, 0], [0, 1]]


DENSE = torch.tensor([[0.0, 1.5], [2.0, 0.0], [0.0, -3.0]])


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta:UserWarning")
@pytest.mark.parametrize("form", ["coo", "csr", "csc", "bsr", "mkldnn", "trained"])
@pytest.mark.parametrize("place", ["pair", "dict", "TensorDataset"])
def test_tensors_that_do_not_lie_in_rows_are_dense(form: str, place: str) -> None:
    made: dict[str, Any] = {
        "coo": lambda: DENSE.to_sparse(),
        "csr": lambda: DENSE.to_sparse_csr(),
        "csc": lambda: DENSE.to_sparse_csc(),
        "bsr": lambda: DENSE[:2].repeat(2, 1).to_sparse_bsr((2, 1)),
        "mkldnn": lambda: DENSE.to_mkldnn(),
        "trained": lambda: DENSE.clone().requires_grad_(),
    }
    x, expected = made[form](), DENSE if form != "bsr" else DENSE[:2].repeat(2, 1)
    y = torch.arange(len(expected))
    forms: dict[str, Any] = {"pair": (x, y), "dict": {"x": x, "y": y}}
    data = TensorDataset(x, y) if place == "TensorDataset" else forms[place]
    input, target = accept(data, 0).fetch(range(1, 3), 0)  # type: ignore[union-attr]
    assert torch.equal(input, expected[1:3])
    assert not input.requires_grad
    assert target.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), "nested tensor"),
        (lambda: torch.ones(2, 3, device="meta"), "device meta"),
        (lambda: torch.masked.masked_tensor(torch.ones(2, 3), torch.ones(2, 3) > 2), "MaskedTensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*prototype.*:UserWarning")
def test_tensors_without_rows_of_numbers_are_refused(make: Any, word: str) -> None:
    with pytest.raises(DataError, match=word):
        accept((make(), torch.tensor([0, 1])), 0)


class Variable:
    """As one of netCDF4, which gives a masked array where values are missing in the file."""

    def __init__(self, values: Any, *, mask: Any) -> None:
        self.values = np.ma.array(values, mask=mask)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values


def test_what_lies_under_a_mask_is_no_value() -> None:
    whole, broken = (Variable([[1.0], [-9999.0], [3.0]], mask=[[0], [gap], [0]]) for gap in (0, 1))
    assert accept((whole, torch.arange(3)), 0).input.tolist() == [[1.0], [-9999.0], [3.0]]  # type: ignore[union-attr]
    for data in ((broken, torch.arange(3)), (torch.ones(3, 2), broken), (broken.values, None)):
        with pytest.raises(DataError, match="1 masked values"):
            accept(data, 0)
    with pytest.raises(DataError, match="negative, NaN or infinite, the first in row 1"):
        lb.data.weighted((torch.ones(3, 2), torch.ones(3)), Variable([1.0, 2.0, 3.0], mask=[0, 1, 0]))


class Rows(Dataset[Any]):
    def __init__(self, row: Any) -> None:
        self.row = row

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> Any:
        return self.row(np.full((2, 3), row, dtype=np.float32), row), row


def test_rows_of_a_data_set_are_their_numbers_or_refused() -> None:
    def masked(values: Any, row: int) -> Any:
        return np.ma.array(values, mask=values == 3 if row else False)

    source = accept(Rows(masked), 0)
    assert source.fetch(range(3), 1)[0].tolist() == [[[row] * 3] * 2 for row in range(3)]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="6 masked values"):
        source.fetch(range(4), 1)  # type: ignore[union-attr]
    forms: list[Any] = [lambda values, _: values[:, ::-1], lambda values, _: values.astype(">f4")]
    for form in forms:
        with pytest.raises(DataError, match="of which torch makes no tensors") as caught:
            accept(Rows(form), 0).fetch(range(4), 1)  # type: ignore[union-attr]
        row = form(np.arange(6.0, dtype=np.float32).reshape(2, 3), 0)
        mended = eval(caught.value.fix, {"numpy": np, "row": row})  # noqa: S307
        assert torch.as_tensor(mended).tolist() == row.tolist()


def test_a_view_of_memory_is_its_numbers() -> None:
    values = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    assert accept((memoryview(values), torch.arange(3)), 0).input.tolist() == values.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "labels",
    [
        [np.int64(3), np.int64(1), np.int64(2)],
        [torch.tensor(3), torch.tensor(1), torch.tensor(2)],
        (np.int8(3), 1, torch.tensor(2)),
        deque([3, 1, 2]),
    ],
    ids=["numpy", "torch", "mixed", "deque"],
)
def test_a_list_of_numbers_is_a_column_whoever_made_them(labels: Any) -> None:
    _, target = accept((DENSE, labels), 0).fetch(range(3), 0)  # type: ignore[union-attr]
    assert target.tolist() == [3, 1, 2]
    assert target.dtype == torch.int64


def test_a_list_of_rows_is_told_how_to_become_one_input() -> None:
    with pytest.raises(DataError, match=r"and \d+ others") as caught:
        accept(([torch.ones(2) for _ in range(50)], list(range(50))), 0)
    assert "torch.stack" in caught.value.fix
