"""Frames of further libraries, and what looks like a frame and is none; the libraries are tried where they are."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn, optim

import lumbre as lb
from lumbre import DataError
from lumbre.data import from_frame


class OwnFrame(pd.DataFrame):
    """As geopandas and others have one."""

    @property
    def _constructor(self) -> Any:
        return OwnFrame


def test_a_frame_of_a_class_of_its_own_is_one_of_pandas() -> None:
    values = np.arange(12.0).reshape(4, 3)
    plain = from_frame(pd.DataFrame(values), target="2")
    own = from_frame(OwnFrame(values), target="2")
    assert own.encoding == plain.encoding
    assert torch.equal(own[:][0], plain[:][0])


class StreamingArray:
    """An array of several dimensions that also hands out Arrow's stream, one value a row, as xarray's do."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values
        self.ndim = values.ndim

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.values

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table({"value": self.values.reshape(-1)}).__arrow_c_stream__(requested_schema)


def test_an_array_that_streams_keeps_its_shape() -> None:
    values = np.arange(8.0).reshape(4, 2)
    recipe = lb.setup(nn.Linear(2, 2), loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit((StreamingArray(values), StreamingArray(values)), epochs=1, verbose=False, preflight=False)
    assert torch.equal(fitted.predict(StreamingArray(values)), fitted.predict(values))
    with pytest.raises(DataError, match="a StreamingArray"):
        from_frame(StreamingArray(values))


class Cursor:
    """A connection or cursor of a database, whose rows are fetched."""

    def fetchall(self) -> list[tuple[int]]:
        return [(1,)]


class DataSet:
    """A set of arrays that gives a frame when it is asked for one."""

    def to_dataframe(self) -> pd.DataFrame:
        return pd.DataFrame({"a": [1.0]})


@pytest.mark.parametrize(("value", "way"), [(Cursor(), "con.sql(query)"), (DataSet(), "value.to_dataframe()")])
def test_the_way_to_a_frame_is_said(value: Any, way: str) -> None:
    with pytest.raises(DataError) as caught:
        from_frame(value, target="y")
    assert way in str(caught.value)


def _frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [1.5, 2.5, np.nan, 4.5],
            "count": [3, 1, 2, 3],
            "flag": [True, False, True, True],
            "text": ["u", None, "v", "u"],
            "level": pd.Categorical(["lo", "hi", "lo", "mid"], ["lo", "mid", "hi"], ordered=True),
            "when": pd.to_datetime(["2024-01-02", "2024-03-04", "2024-05-06", "2024-07-08"]),
            "y": [0, 1, 0, 1],
        }
    )


def _as(library: str, frame: pd.DataFrame) -> Any:
    if library == "duckdb":
        connection = pytest.importorskip("duckdb").connect()
        connection.register("held", frame)
        return connection.sql("select * from held")
    if library == "dask":
        return pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=2)
    if library == "ibis":
        return pytest.importorskip("ibis").memtable(frame)
    return pytest.importorskip("modin.pandas", exc_type=ImportError).DataFrame(frame)


@pytest.mark.parametrize("library", ["duckdb", "dask", "ibis", "modin"])
def test_a_frame_is_the_same_from_everywhere(library: str) -> None:
    frame = _frame()
    if library in ("duckdb", "ibis"):  # which know no order of categories but an enum's
        frame = frame.drop(columns="level")
    options: dict[str, Any] = {"target": "y", "missing": "indicate", "dates": "parts"}
    first = from_frame(frame, **options)
    order = list(frame.columns[::-1])
    for held in (_as(library, frame), _as(library, frame[order])):
        found = from_frame(held, features=[one.name for one in first.encoding.features], **options)
        assert found.encoding == first.encoding
        for mine, theirs in zip(found[:], first[:], strict=True):
            assert torch.equal(mine, theirs)
