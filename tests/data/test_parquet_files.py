"""Parquet files that other programs write: folders that are columns, decimals, types that differ between files."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn, optim

import lumbre as lb
from lumbre.base import DataError
from lumbre.data import from_frame, from_parquet

ROWS = pd.DataFrame(
    {
        "x": np.arange(12.0),
        "month": ["01", "02", "11"] * 4,
        "town": ["a b", "ü/=", "c"] * 4,
        "y": np.arange(12) % 2,
    }
)


def hive(root: Path, *columns: str) -> Path:
    pq.write_to_dataset(pa.Table.from_pandas(ROWS, preserve_index=False), root, partition_cols=list(columns))
    return root


def whole(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    input, target = data.fetch(range(len(data)), 1)
    return input, target


def trained(data: Any, features: int, classes: int = 2) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return recipe.set_hparams(in_features=features, out_features=classes).fit(
        data, epochs=1, verbose=False, preflight=False
    )


@pytest.mark.parametrize("columns", [("month",), ("town",), ("month", "town")])
@pytest.mark.parametrize("writer", ["pyarrow", "polars"])
def test_folders_are_columns_of_texts(tmp_path: Path, columns: tuple[str, ...], writer: str) -> None:
    if writer == "pyarrow":
        hive(tmp_path / "t", *columns)
    else:
        pl.from_pandas(ROWS).write_parquet(tmp_path / "t", partition_by=list(columns))
    data = from_parquet(tmp_path / "t", target="y", features=["x", *columns], standardize=False)
    for column in data.encoding.features[1:]:
        assert column.levels == tuple(sorted(set(ROWS[column.name])))
    frame = from_frame(ROWS, target="y", features=["x", *columns], standardize=False)
    expected = frame.encoding.encode(ROWS, need_target=True)
    input, target = whole(data)
    places = input[:, 0].argsort()
    assert torch.equal(input[places], expected.input)
    assert torch.equal(target[places], expected.target)


def test_a_folder_is_a_feature_by_itself_and_a_target_and_is_known_at_predict(tmp_path: Path) -> None:
    hive(tmp_path / "t", "month")
    data = from_parquet(tmp_path / "t", target="y", levels={"town": sorted(set(ROWS["town"]))})
    assert [column.name for column in data.encoding.features] == ["x", "town", "month"]
    fitted = trained(data, data.width)
    by_frame = fitted.predict(ROWS)
    by_path = fitted.predict(tmp_path / "t")
    places = whole(from_parquet(tmp_path / "t", target="y", features=["x"], standardize=False))[0][:, 0].argsort()
    assert torch.equal(by_path[places], by_frame)
    assert fitted.evaluate(tmp_path / "t").metrics["loss"] == pytest.approx(fitted.evaluate(ROWS).metrics["loss"])
    with pytest.raises(DataError, match="'1'"):
        fitted.predict(ROWS.assign(month="1"))
    aimed = from_parquet(tmp_path / "t", target="month", features=["x"])
    assert aimed.classes == ("01", "02", "11")
    assert whole(aimed)[1].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert trained(aimed, 1, 3).predict(ROWS[["x"]].iloc[:2]).shape == (2, 3)


def test_folders_that_hold_numbers_where_the_model_knows_numbers(tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": np.arange(8.0), "year": [2020, 2021] * 4, "y": [0, 1] * 4})
    pq.write_to_dataset(pa.Table.from_pandas(rows), tmp_path / "t", partition_cols=["year"])
    fitted = trained(from_frame(rows, target="y"), 2)
    ordered = rows.sort_values("year", kind="stable")
    assert torch.equal(fitted.predict(tmp_path / "t"), fitted.predict(ordered))
    (tmp_path / "t" / "year=2021").rename(tmp_path / "t" / "year=none")
    with pytest.raises(DataError, match="year=none"):
        fitted.predict(tmp_path / "t")
    (tmp_path / "t" / "year=none").rename(tmp_path / "t" / "year=__HIVE_DEFAULT_PARTITION__")
    with pytest.raises(DataError, match="missing values"):
        fitted.predict(tmp_path / "t")
    (tmp_path / "t" / "year=__HIVE_DEFAULT_PARTITION__").rename(tmp_path / "t" / "rest")
    with pytest.raises(DataError, match="'year' as"):
        from_parquet(tmp_path / "t", target="y")


def test_decimals_are_numbers(tmp_path: Path) -> None:
    values = [Decimal("1.25"), Decimal("-2.50"), Decimal("0.10")]
    for kind in (pa.decimal32(9, 2), pa.decimal64(9, 2), pa.decimal128(9, 2), pa.decimal256(40, 2)):
        pq.write_table(pa.table({"d": pa.array(values, kind), "e": pa.array(values, kind)}), tmp_path / "d.parquet")
        input, target = whole(from_parquet(tmp_path / "d.parquet", target="e", standardize=False))
        assert input[:, 0].tolist() == target.tolist() == torch.tensor([1.25, -2.5, 0.1]).tolist()


KINDS: dict[str, list[pa.DataType]] = {
    "numbers": [
        pa.int8(),
        pa.uint16(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.decimal128(21, 2),
        pa.float16(),
    ],
    "texts": [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()],
    "flags": [pa.bool_(), pa.int8(), pa.float64()],
}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_of_several_types_are_those_of_one(tmp_path: Path, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(sorted(KINDS)))
    kinds = data.draw(st.lists(st.sampled_from(KINDS[family]), min_size=2, max_size=4, unique=True))
    values: list[Any] = {"numbers": [3, 1, 2], "texts": ["b", "a", "b"], "flags": [1, 0, 1]}[family]
    for file in tmp_path.glob("*.parquet"):
        file.unlink()
    for index, kind in enumerate(kinds):
        dictionary = pa.types.is_dictionary(kind)
        column = pa.array(values).dictionary_encode() if dictionary else pa.array(values).cast(kind, safe=False)
        pq.write_table(pa.table({"c": column, "x": [0.5, 1.5, 2.5]}), tmp_path / f"{index}.parquet")
    levels = {"c": ["a", "b"]} if family == "texts" else {}
    pd.DataFrame({"c": values * len(kinds), "x": [0.5, 1.5, 2.5] * len(kinds)}).to_parquet(
        tmp_path / "one.alone", index=False
    )
    places = tmp_path, tmp_path / "one.alone"
    many, one = (from_parquet(path, target="x", levels=levels).fitted() for path in places)
    assert many.encoding == one.encoding
    assert torch.equal(whole(many)[0], whole(one)[0])


def test_a_target_of_several_types(tmp_path: Path) -> None:
    for index, kind in enumerate((pa.int32(), pa.int64(), pa.bool_())):
        pq.write_table(pa.table({"x": [1.0, 2.0], "y": pa.array([0, 1]).cast(kind)}), tmp_path / f"{index}.parquet")
    target = whole(from_parquet(tmp_path, target="y"))[1]
    assert target.dtype == torch.int64
    assert target.tolist() == [0, 1] * 3
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [0.5, 1.0]}), tmp_path / "3.parquet")
    assert whole(from_parquet(tmp_path, target="y"))[1].tolist() == [0, 1, 0, 1, 0, 1, 0.5, 1]
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": ["0", "1"]}), tmp_path / "4.parquet")
    with pytest.raises(DataError, match="'y' as string"):
        from_parquet(tmp_path, target="y")
    assert len(from_parquet(tmp_path, target="x", features=["y"], levels={"y": ["0", "1", "0.5", "1.0"]})) == 10


def test_levels_are_offered_where_they_help(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1, 2], pa.timestamp("ms")),
            "list": [[1], [2]],
            "parts": [{"a": 1}, {"a": 2}],
            "bytes": [b"a", b"b"],
            "word": ["a", "b"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("when", "list", "parts", "bytes"):
        for levels in ({}, {name: ["a"]}):
            with pytest.raises(DataError, match=f"column '{name}' of type") as caught:
                from_parquet(tmp_path / "a.parquet", features=[name], levels=levels)
            assert "levels=" not in str(caught.value)
    with pytest.raises(DataError, match=r"levels=\{'word': \[\.\.\.\]\}"):
        from_parquet(tmp_path / "a.parquet", features=["word"])
    for wrong in ("ab", [], ["a", "b", "a"]):
        with pytest.raises(DataError, match="each once"):
            from_parquet(tmp_path / "a.parquet", features=["word"], levels={"word": wrong})


def test_classes_as_floats_or_booleans_at_evaluate(tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": np.arange(8.0), "y": [0, 1] * 4})
    for kind in ("int64", "float64", "float32", "bool", "Int64"):
        rows.astype({"y": kind}).to_parquet(tmp_path / f"{kind}.parquet")
    fitted = trained(from_parquet(tmp_path / "int64.parquet", target="y"), 1)
    raw = trained((rows[["x"]], rows["y"].to_numpy()), 1)
    array = trained((rows[["x"]].to_numpy(), rows["y"].to_numpy()), 1)
    expected = fitted.evaluate(rows).metrics
    for kind in ("float64", "float32", "bool", "Int64"):
        other = rows.astype({"y": kind})
        assert fitted.evaluate(tmp_path / f"{kind}.parquet").metrics == expected
        assert fitted.evaluate(other).metrics == expected
        assert fitted.evaluate((other[["x"]], other["y"])).metrics == expected
        assert fitted.evaluate((other[["x"]], other["y"].to_numpy(dtype=kind.lower()))).metrics == expected
        values = other["y"].to_numpy(dtype=kind.lower())
        assert raw.evaluate((rows[["x"]], values)).metrics == raw.evaluate((rows[["x"]], rows["y"])).metrics
        assert array.evaluate((rows[["x"]].to_numpy(), values)).metrics["loss"] > 0
        assert trained((rows[["x"]], rows["y"]), 1).predict(rows[["x"]]).shape == (8, 2)
    with pytest.raises(DataError, match=r"0\.5"):
        fitted.evaluate(rows.assign(y=0.5))
    with pytest.raises(DataError, match="float32"):
        raw.evaluate((rows[["x"]], rows["y"] + 0.5))
    words = trained(from_frame(rows.assign(y=rows["y"] > 0), target="y"), 1)
    for values in (
        np.array(["False", "True"] * 4),
        np.array([False, True] * 4),
        [False, True] * 4,
        rows["y"].to_numpy(),
    ):
        assert words.evaluate((rows[["x"]], values)).metrics == words.evaluate(rows).metrics


@pytest.mark.parametrize("library", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_no_rows_are_predicted_and_not_evaluated(library: Any, tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": np.arange(8.0), "c": list("abab") * 2, "d": [True, False] * 4, "y": [0, 1] * 4})
    fitted = trained(from_frame(rows, target="y"), 4)
    empty = library(rows.iloc[:0])
    rows.iloc[:0].to_parquet(tmp_path / "a.parquet")
    for data in (empty, (empty, np.zeros(0))):
        assert fitted.predict(data).shape == (0, *fitted.predict(rows).shape[1:])
        with pytest.raises(DataError, match="without rows"):
            fitted.evaluate(data)
    for call in (fitted.predict, fitted.evaluate):
        with pytest.raises(DataError, match="Parquet files without rows"):
            call(tmp_path / "a.parquet")


def test_files_of_every_name_that_parquet_has_are_read(tmp_path: Path) -> None:
    names = ["a.parquet", "b.pq", "c.parq", "d.PARQUET", "000000_0", "sub/e.snappy.parquet"]
    (tmp_path / "sub").mkdir()
    for place, name in enumerate(names):
        pq.write_table(pa.table({"x": [float(place)], "y": [0.5]}), tmp_path / name)
    for other in ("_SUCCESS", "README", "notes.txt", "f.parquet.crc", "g.parquet.tmp"):
        (tmp_path / other).write_text("no rows")
    found = whole(from_parquet(tmp_path, target="y", standardize=False))[0][:, 0]
    assert sorted(found.tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_type_that_pyarrow_has_not_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2], "y": [0.5, 1.5]}, schema={"x": pl.Int128, "y": pl.Float64})
    frame.write_parquet(tmp_path / "long.parquet")
    with pytest.raises(DataError, match=r"long\.parquet, of which pyarrow"):
        from_parquet(tmp_path / "long.parquet", target="y")
