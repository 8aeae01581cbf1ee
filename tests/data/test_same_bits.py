"""However a table is held, cut and stored: the same tensor, bit for bit."""

import math
from fractions import Fraction
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

import lumbre as lb
from lumbre.data import from_frame, from_parquet
from lumbre.data._moments import Moments

LEVELS = {"c": ["u", "v", "w"]}


def table(rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "far": generator.normal(1e7, 1, rows),
            "wide": np.exp(generator.normal(0, 4, rows)),
            "short": generator.normal(size=rows).astype(np.float32),
            "count": generator.integers(-5, 5, rows),
            "yes": generator.random(rows) < 0.5,
            "c": generator.choice(["u", "v", "w"], rows),
            "same": 0.1,
            "y": generator.integers(0, 3, rows),
        }
    )


def cut(rows: int, pieces: int, seed: int) -> list[tuple[int, int]]:
    ends = sorted(np.random.default_rng(seed).integers(0, rows + 1, pieces - 1).tolist())
    return list(zip([0, *ends], [*ends, rows], strict=True))


def as_library(frame: pd.DataFrame, library: str, pieces: list[tuple[int, int]]) -> Any:
    if library == "pandas":
        return pd.concat([frame[begin:end] for begin, end in pieces])
    if library == "pandas of arrow":
        return frame.convert_dtypes(dtype_backend="pyarrow")
    if library == "pandas of objects":
        return frame.astype(object)
    arrow = pa.concat_tables([pa.Table.from_pandas(frame[begin:end]) for begin, end in pieces])
    arrow = arrow.select(list(frame.columns))
    return pl.from_arrow(arrow, rechunk=False) if library == "polars" else arrow


def tensors(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(data, lb.data.ParquetData):
        return data.fitted().fetch(torch.arange(len(data)), 1)
    made = data.encoding.fitted(data.frame).encode(data.frame, need_target=True)
    return made.input, made.target


COMMON = {
    "rows": st.integers(3, 200),
    "seed": st.integers(0, 2**20),
    "pieces": st.integers(1, 6),
    "order": st.permutations(range(8)),
}


@settings(max_examples=60, deadline=None)
@given(**COMMON, library=st.sampled_from(["pandas", "pandas of arrow", "pandas of objects", "polars", "pyarrow"]))
def test_any_library_chunks_and_order_of_columns(
    rows: int, seed: int, pieces: int, order: list[int], library: str
) -> None:
    frame = table(rows, seed)
    features = list(frame.columns[:-1])
    expected = tensors(from_frame(frame, target="y", features=features))
    held = as_library(frame.iloc[:, order], library, cut(rows, pieces, seed))
    found = tensors(from_frame(held, target="y", features=features))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**COMMON, group=st.integers(1, 60))
def test_any_files_and_row_groups(
    rows: int, seed: int, pieces: int, order: list[int], group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = table(rows, seed)
    features = list(frame.columns[:-1])
    expected = tensors(
        from_frame(frame.assign(c=pd.Categorical(frame["c"], LEVELS["c"])), target="y", features=features)
    )
    folder = tmp_path_factory.mktemp("files")
    for number, (begin, end) in enumerate(cut(rows, pieces, seed)):
        part = pa.Table.from_pandas(frame.iloc[begin:end, order], preserve_index=False)
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=group)
    found = tensors(from_parquet(folder, target="y", features=features, levels=LEVELS))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


NUMBERS = st.lists(st.floats(-1e30, 1e30, width=64), min_size=1, max_size=50)


@settings(max_examples=200, deadline=None)
@given(values=NUMBERS, seed=st.integers(0, 999), pieces=st.integers(1, 5))
def test_moments_are_those_of_exact_sums(values: list[float], seed: int, pieces: int) -> None:
    whole, parts = Moments(1), Moments(1)
    whole.add([np.array(values)])
    for begin, end in cut(len(values), pieces, seed):
        parts.add([np.array(values[begin:end])])
    assert (whole.center, whole.scale) == (parts.center, parts.scale)
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    spread = math.sqrt(float(sum((value - mean) ** 2 for value in exact) / len(exact)))
    size = max(map(abs, values))
    assert whole.center[0] == pytest.approx(float(mean), rel=1e-12, abs=1e-15 * size)
    if spread > 1e-9 * max(abs(float(mean)), 1e-300):
        assert whole.scale[0] == pytest.approx(spread, rel=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.7, 123456.789, -1e-9, 1e30, 0.0, 7])
@pytest.mark.parametrize("group", [37, 1000])
def test_a_constant_column_is_divided_by_nothing(value: float, group: int, tmp_path: Path) -> None:
    frame = pd.DataFrame({"k": [value] * 1000, "x": np.arange(1000.0)})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=group)
    files = from_parquet(tmp_path / "a.parquet").fitted().encoding
    held = from_frame(frame).encoding.fitted(frame)
    assert files == held
    assert held.scale[0] == 1.0
    assert held.center[0] == value
