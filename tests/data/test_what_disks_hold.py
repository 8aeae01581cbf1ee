"""Dates without an end, categories of no text, files of old writers, and readers that name an index otherwise."""

import bz2
import datetime
import gzip
import io
import lzma
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch

import lumbre as lb
from lumbre.base import DataError, OptionError
from lumbre.data import accept, from_csv, from_frame, from_parquet


def measured(frame: Any, **options: Any) -> list[list[float]]:
    return from_frame(frame, standardize=False, **options)[:].tolist()


def arrow(values: Any, kind: Any = None) -> pa.Table:
    return pa.table({"x": pa.array(values, kind)})


def objects(*values: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


FAR = [datetime.datetime(2024, 1, 1), datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1)]
WITHOUT_END: dict[str, Any] = {
    "a date of 2**31 - 1 days": arrow(pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32())),
    "infinity of DuckDB": arrow(pa.array([0, 2**63 - 1]).cast(pa.timestamp("us"))),
    "its other infinity": arrow(pa.array([0, 1 - 2**63]).cast(pa.timestamp("us"))),
    "seconds": pd.DataFrame({"x": np.array(["2024-01-01", "300000-01-01"], dtype="datetime64[s]")}),
    "objects": objects(np.datetime64("300000-01-01", "s"), np.datetime64("2024-01-01", "s")),
    "polars": pl.DataFrame({"x": pl.Series([0, 2**63 - 1]).cast(pl.Datetime("ms"))}),
}


@pytest.mark.parametrize("kind", WITHOUT_END)
def test_dates_without_an_end_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="'x' with 1 dates that are infinite"):
        from_frame(WITHOUT_END[kind], dates="parts")


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("ms"), pa.timestamp("s"), pa.date32()])
def test_far_dates_are_those_that_stand_there(kind: Any) -> None:
    rows = from_frame(arrow(FAR, pa.timestamp("us")).cast(pa.schema({"x": kind})), dates="parts", standardize=False)
    encoded = rows.encoding.fitted(rows.table).encode(rows.table, need_target=False).input
    assert encoded[:, 0].tolist() == [2024, 9999, 1]


@pytest.mark.parametrize(
    ("values", "kind"), [([b"a", b"b"], "bytes"), ([[1, 2], [3]], "list"), ([{"k": 1}, {"k": 2}], "dict")]
)
def test_categories_of_no_text_are_refused(values: list[Any], kind: str) -> None:
    held = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(values))
    with pytest.raises(DataError, match=rf"'x' of type categories \({kind}\)"):
        from_frame(pa.table({"x": held}))
    if kind == "bytes":
        with pytest.raises(DataError, match="categories"):
            from_frame(pd.DataFrame({"x": pd.Categorical(values)}))


def test_booleans_of_a_byte_are_booleans(tmp_path: Path) -> None:
    stored = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 2, 2, None], pa.int8()))
    frame = pa.table({"x": stored, "y": [1.0, 2.0, 3.0, 4.0]})
    assert measured(frame, missing="indicate") == [[0, 0, 1], [1, 0, 2], [1, 0, 3], [1, 1, 4]]
    assert from_frame(frame.slice(0, 2), target="x").classes == ("False", "True")
    pq.write_table(frame.slice(0, 2), tmp_path / "x.parquet")
    assert from_parquet(tmp_path / "x.parquet", target="x").classes == ("False", "True")


def test_runs_of_any_type() -> None:
    ends = pa.array([1, 3, 4], pa.int32())
    texts = pa.array(["b", "a", None]).dictionary_encode()
    runs = pa.RunEndEncodedArray.from_arrays(ends, texts)
    rows = [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert measured(pa.table({"x": runs}), missing="indicate") == rows
    assert measured(pa.table({"x": runs.slice(2)}), missing="indicate") == [[1, 0], [0, 1]]


def test_columns_that_ended_in_errors_of_others() -> None:
    with pytest.raises(DataError, match="Nowhere/City"):
        from_frame(arrow([0], pa.timestamp("us", "Nowhere/City")), dates="parts")
    assert measured(objects(Decimal(1), Decimal("sNaN")), missing="indicate") == [[1, 0], [1, 1]]
    assert sum(measured(objects("a\udce9", "b", "c"), hash=2)[0]) == 1
    named = pl.Series(["b", "a"], dtype=pl.Categorical(pl.Categories("colours")))
    assert measured(pl.DataFrame({"x": named})) == [[0, 1], [1, 0]]


def test_times_in_the_old_form_of_parquet(tmp_path: Path) -> None:
    pq.write_table(arrow(FAR, pa.timestamp("us")), tmp_path / "old.parquet", use_deprecated_int96_timestamps=True)
    rows = from_parquet(tmp_path / "old.parquet", dates="parts", standardize=False).fitted()
    assert rows.fetch(range(3), 0)[0][:, 0].tolist() == [2024, 9999, 1]


def test_json_is_text_in_parquet_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array(["1", "2"], pa.json_())}), tmp_path / "x.parquet")
    rows = from_parquet(tmp_path / "x.parquet", levels={"x": ["2", "1"]}).fitted()
    assert rows.fetch(range(2), 0)[0].tolist() == [[0, 1], [1, 0]]


def test_an_index_without_a_name_is_no_feature_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"a": [5.0, 6.0], "y": [1, 2]}).to_csv(path)
    frames = [pd.read_csv(path), pl.read_csv(path), arrow_csv.read_csv(path)]
    for frame in frames:
        assert [one.name for one in from_frame(frame, target="y").encoding.features] == ["a"]
    frames[1].write_parquet(tmp_path / "a.parquet")
    assert [one.name for one in from_parquet(tmp_path / "a.parquet", target="y").encoding.features] == ["a"]
    assert measured(frames[1], features=[""]) == [[0], [1]]
    assert measured(frames[1].select("a", "")) == [[5, 0], [6, 1]]  # it stands elsewhere


PLAIN = b"a,b\n1,2\n3,4\n" * 50


def zipped(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for name in names:
            file.writestr(name, "a\n1\n")
    return held.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(PLAIN)[:-12]),
        ("a.csv.gz", gzip.compress(PLAIN)[:12] + b"\xff" * 9),
        ("a.csv.bz2", bz2.compress(PLAIN)[:-10]),
        ("a.csv.xz", lzma.compress(PLAIN)[:-10]),
        ("a.csv.xz", PLAIN),
        ("a.csv.zip", PLAIN),
        ("a.zip", zipped()),
        ("a.zip", zipped("a.csv", "b.csv")),
        ("a.tar", PLAIN),
    ],
    ids=["short gz", "spoiled gz", "short bz2", "short xz", "no xz", "no zip", "empty zip", "two in a zip", "no tar"],
)  # gzip and zip write the time into their bytes, of which pytest would make names that differ between processes
def test_compressed_files_that_are_damaged(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}, which cannot be read"):
        from_csv(tmp_path / name)


def test_a_field_more_than_names_moves_no_value(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,5,7\n2,6,8\n")  # pandas takes 1, 2 for an index, and 5, 6 for a
    with pytest.raises(DataError, match="more fields than there are names"):
        from_csv(path, features=["a"])
    path.write_text("a,b\n1,5,\n2,6,\n")
    assert from_csv(path, standardize=False)[:].tolist() == [[1, 5], [2, 6]]
    for wrong in ("||", "", None):
        with pytest.raises(OptionError, match="one character"):
            from_csv(path, separator=wrong)  # pyright: ignore[reportArgumentType]


class OnADevice:
    """Like an array of CuPy, which does not become one of NumPy by itself."""

    shape = (2, 1)

    def __len__(self) -> int:
        return 2

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")


def test_arrays_that_torch_cannot_take() -> None:
    with pytest.raises(DataError, match="OnADevice that gives no NumPy array"):
        accept((OnADevice(), None), 0)
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
        with pytest.raises(DataError, match="beyond float64"):
            accept((np.array([[np.longdouble("1e4000")], [1]]), None), 0)


def test_a_large_sparse_matrix_of_any_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumbre.data._accept._MOST_DENSE", 4)
    matrix = scipy.sparse.coo_array(([7.0], ([1], [2])), shape=(3, 4))
    for form in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        rows = accept((matrix.asformat(form), torch.zeros(3)), 0)
        assert isinstance(rows, lb.data.ArraySource)
        assert rows.fetch(torch.tensor([1]), 0)[0].tolist() == [[0, 0, 7, 0]]
