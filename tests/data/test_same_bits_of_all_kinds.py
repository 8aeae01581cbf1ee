"""Tables of every kind of column: any library, order of columns, chunks, files and row groups give the same bits."""

import datetime
import decimal
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

from lumbre.data import from_frame, from_parquet

LEVELS = {"text": ["", "u", "v", "weiß"], "level": ["lo", "mid", "hi"], "yesno": ["no", "yes"]}
DAY = datetime.date(2019, 12, 28)
TYPES: dict[str, pa.DataType] = {
    **{
        name: getattr(pa, name)() for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "price": pa.decimal128(12, 3),
    "flag": pa.bool_(),
    "text": pa.string(),
    "level": pa.string(),
    "yesno": pa.string(),
    "day": pa.date32(),
    "moment": pa.timestamp("us"),
    "full": pa.float64(),
    "one": pa.float32(),
    "two": pa.float64(),
    "w": pa.float64(),
}
FEATURES = [name for name in TYPES if name not in ("one", "two", "w")]


def values(name: str, kind: pa.DataType, rows: int, generator: np.random.Generator) -> list[Any]:
    """Values of a column, None among those of the features but of "full"; at least two are there."""
    if pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        found = generator.integers(limits.min // 2, limits.max // 2, rows, dtype=kind.to_pandas_dtype()).tolist()
    elif pa.types.is_boolean(kind):
        found = (generator.random(rows) < 0.5).tolist()
    elif name in LEVELS:
        found = generator.choice(LEVELS[name], rows).tolist()
    elif pa.types.is_decimal(kind):
        found = [decimal.Decimal(int(one)).scaleb(-3) for one in generator.integers(-(10**8), 10**8, rows)]
    elif pa.types.is_date(kind):
        found = [DAY + datetime.timedelta(days=int(one)) for one in generator.integers(0, 900, rows)]
    elif pa.types.is_timestamp(kind):
        first = datetime.datetime(2021, 5, 6, 7, 8, 9, 123456)
        found = [first + datetime.timedelta(seconds=int(one)) for one in generator.integers(0, 10**8, rows)]
    elif name == "w":
        found = generator.integers(0, 4, rows).astype(float).tolist()
        found[:2] = [1.0, 2.0]
    else:
        found = np.exp(generator.normal(0, 2, rows)).astype(kind.to_pandas_dtype()).tolist()
    if name in FEATURES and name != "full":
        for row in np.flatnonzero(generator.random(rows) < 0.25):
            if row > 1:
                found[row] = None
        found[-1] = None
    return found


def table(rows: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    made = {name: pa.array(values(name, kind, rows, generator), kind) for name, kind in TYPES.items()}
    return pa.table(made)


def cut(whole: pa.Table, pieces: int, seed: int) -> list[pa.Table]:
    rows = len(whole)
    ends = sorted(np.random.default_rng(seed).integers(0, rows + 1, pieces - 1).tolist())
    return [whole.slice(begin, end - begin) for begin, end in zip([0, *ends], [*ends, rows], strict=True)]


def declared(whole: pa.Table) -> pa.Table:
    """With the categories as dictionaries that are in order, as the levels of Parquet are."""
    for name, levels in LEVELS.items():
        known = pa.array(levels)
        codes = [None if one is None else levels.index(one) for one in whole[name].to_pylist()]
        held = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), known, ordered=True)
        whole = whole.set_column(whole.column_names.index(name), name, held)
    return whole


def plain_pandas(whole: pa.Table) -> pd.DataFrame:
    """As pandas itself would hold it: whole numbers with gaps as floats, which not all of 64 bits are, as Int64."""
    frame = whole.to_pandas(ignore_metadata=True)
    for name in TYPES:
        if name.startswith(("int", "uint")):
            frame[name] = pd.array(whole[name].to_pylist(), dtype=name.replace("i", "I", 1).replace("uI", "UI"))
    return frame


def as_library(whole: pa.Table, library: str, pieces: list[pa.Table]) -> Any:
    chunked = pa.concat_tables(pieces)
    if library == "pyarrow":
        return chunked
    if library == "short dictionaries":
        encoded = [
            pa.table({name: one[name].combine_chunks().dictionary_encode() if name in LEVELS else one[name]
                      for name in one.column_names})
            for one in pieces
        ]  # fmt: skip
        return pa.concat_tables(encoded)
    if library == "polars":
        return pl.from_arrow(chunked, rechunk=False)
    if library == "polars categories":
        return pl.from_arrow(chunked).with_columns(pl.col(list(LEVELS)).cast(pl.Categorical))
    if library == "pandas of arrow":
        return chunked.to_pandas(types_mapper=pd.ArrowDtype)
    if library == "pandas of objects":
        return pd.DataFrame({name: pd.Series(whole[name].to_pylist(), dtype=object) for name in whole.column_names})
    if library == "a stream":
        return chunked.to_reader()
    return plain_pandas(chunked)


LIBRARIES = [
    "pandas", "pandas of arrow", "pandas of objects", "polars", "polars categories", "pyarrow", "short dictionaries",
    "a stream",
]  # fmt: skip
COMMON = {
    "rows": st.integers(4, 60),
    "seed": st.integers(0, 2**20),
    "pieces": st.integers(1, 5),
    "order": st.permutations(list(TYPES)),
    "standardize": st.sampled_from([False, True, "robust"]),
}


def tensors(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if hasattr(data, "groups"):
        return data.fitted().fetch(torch.arange(len(data)), 1)
    weights = data.weights
    made = data.encoding.fitted(data.frame, weights=None if weights is None else weights + 1)
    made = made.encode(data.frame, need_target=True)
    return made.input, made.target


@settings(max_examples=25, deadline=None)
@given(**COMMON, library=st.sampled_from(LIBRARIES), weights=st.booleans())
def test_any_library_and_order(
    rows: int, seed: int, pieces: int, order: list[str], standardize: bool | str, library: str, weights: bool
) -> None:
    options: dict[str, Any] = {
        "target": ["one", "two"], "features": FEATURES, "missing": "indicate", "dates": "parts",
        "standardize": standardize, "scale_target": True, "weights": "w" if weights else None,
    }  # fmt: skip
    whole = table(rows, seed)
    first = from_frame(whole, **options)
    held = as_library(whole.select(order), library, cut(whole.select(order), pieces, seed))
    found = from_frame(held, **options)
    for mine, theirs in zip(tensors(found), tensors(first), strict=True):
        assert torch.equal(mine, theirs)
    if weights:
        assert torch.equal(found.weights, first.weights)  # pyright: ignore[reportArgumentType]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**COMMON, group=st.integers(1, 40), mixed=st.booleans())
def test_any_files(
    rows: int,
    seed: int,
    pieces: int,
    order: list[str],
    standardize: bool | str,
    group: int,
    mixed: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    options: dict[str, Any] = {
        "target": ["one", "two"], "features": FEATURES, "missing": "indicate", "dates": "parts",
        "standardize": standardize, "scale_target": True,
    }  # fmt: skip
    whole = table(rows, seed)
    folder = tmp_path_factory.mktemp("files")
    for number, part in enumerate(cut(whole.select(order), pieces, seed)):
        if mixed and number % 2:  # other columns in another order, and what has no value in this file is of no type
            empty = [name for name in order if len(part) and part[name].null_count == len(part)]
            for name in empty:
                part = part.set_column(part.column_names.index(name), name, pa.nulls(len(part)))
            part = part.select(order[::-1])
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=group)
    held = tensors(from_frame(declared(whole), **options))
    for mine, theirs in zip(tensors(from_parquet(folder, levels=LEVELS, **options)), held, strict=True):
        assert torch.equal(mine, theirs)
