"""However a CSV was written, it gives the bits of its frame; what was learned of one library's frame reads others."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumbre.data import FrameData, from_csv, from_frame, from_parquet

TEXTS = ["u", "v, w", 'said "so"', "two\nlines", "weiß", " led by a blank", "x;y"]
NAMES = ["wide", "far", "count", "flag", "text", "y"]


def table(rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "wide": generator.normal(size=rows) * 10.0 ** generator.integers(-30, 30, rows),
            "far": generator.normal(1e7, 1, rows),
            "count": generator.integers(-(10**15), 10**15, rows),
            "flag": generator.random(rows) < 0.5,
            "text": generator.choice(TEXTS, rows),
            "y": generator.integers(0, 3, rows),
        }
    )


def written(frame: pd.DataFrame, writer: str, separator: str) -> bytes:
    held = io.BytesIO()
    if writer == "pandas":
        frame.to_csv(held, index=False, sep=separator)
    elif writer == "polars":
        pl.from_pandas(frame).write_csv(held, separator=separator)
    else:
        options = pc.WriteOptions(delimiter=separator)
        pc.write_csv(pa.Table.from_pandas(frame, preserve_index=False), held, options)
    return held.getvalue()


def tensors(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if hasattr(data, "groups"):
        return data.fitted().fetch(torch.arange(len(data)), 1)
    made = data.encoding.fitted(data.frame).encode(data.frame, need_target=True)
    return made.input, made.target


COMMON = {"rows": st.integers(3, 80), "seed": st.integers(0, 2**20), "order": st.permutations(NAMES)}
FILES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FILES
@given(
    **COMMON,
    writer=st.sampled_from(["pandas", "polars", "pyarrow"]),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    mark=st.booleans(),
    packed=st.booleans(),
    double=st.booleans(),
)
def test_any_writer_separator_and_order(
    rows: int,
    seed: int,
    order: list[str],
    writer: str,
    separator: str,
    mark: bool,
    packed: bool,
    double: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    frame = table(rows, seed)
    content = (b"\xef\xbb\xbf" if mark else b"") + written(frame[order], writer, separator)
    path = tmp_path_factory.mktemp("csv") / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        found = tensors(from_csv(path, target="y", features=NAMES[:-1], separator=separator))
        held = tensors(from_frame(frame, target="y", features=NAMES[:-1]))
    finally:
        torch.set_default_dtype(kept)
    for mine, theirs in zip(found, held, strict=True):
        assert torch.equal(mine, theirs)


def encoded(data: FrameData, frame: Any) -> torch.Tensor:
    return data.encoding.fitted(data.frame).encode(frame, need_target=False).input  # pyright: ignore[reportReturnType]


@settings(max_examples=30, deadline=None)
@given(**COMMON, first=st.sampled_from(["pandas", "polars", "pyarrow"]), pieces=st.integers(1, 4))
def test_what_was_learned_from_one_library_reads_the_others(
    rows: int, seed: int, order: list[str], first: str, pieces: int
) -> None:
    frame = table(rows, seed)
    cut = [part for part in np.array_split(np.arange(rows), pieces) if len(part)]
    arrow = pa.concat_tables([pa.Table.from_pandas(frame[order].iloc[part], preserve_index=False) for part in cut])
    held: dict[str, Any] = {
        "pandas": frame[order],
        "polars": pl.from_arrow(arrow, rechunk=False),
        "pyarrow": arrow,
        "objects": frame[order].astype(object),
        "categories": frame[order].astype({"text": "category"}),
        "reversed categories": frame[order].assign(text=pd.Categorical(frame["text"], sorted(TEXTS)[::-1])),
        "a stream": arrow.to_reader(),
        "batches": arrow.to_batches()[0] if len(cut) == 1 else arrow,
    }
    data = from_frame(held[first], target="y", features=NAMES[:-1])
    right = encoded(data, frame)
    for other in held.values():
        assert torch.equal(encoded(data, other), right)


@FILES
@given(rows=st.integers(3, 60), seed=st.integers(0, 2**20), depth=st.integers(1, 2), group=st.integers(1, 30))
def test_any_split_into_folders(
    rows: int, seed: int, depth: int, group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = table(rows, seed).assign(part=np.random.default_rng(seed).choice(["01", "1", "a b"], rows))
    frame["text"] = np.random.default_rng(seed + 1).choice(["u", "v"], rows)
    folders = ["part", "text"][:depth]
    frame = frame.sort_values(folders, kind="stable", ignore_index=True)
    root: Path = tmp_path_factory.mktemp("folders")
    for values, rest in frame.groupby(folders):
        place = root.joinpath(*(f"{name}={value}" for name, value in zip(folders, values, strict=True)))
        place.mkdir(parents=True)
        rest = pa.Table.from_pandas(rest.drop(columns=folders), preserve_index=False)
        pq.write_table(rest, place / "0.parquet", row_group_size=group)
    features = ["far", "wide", "part", "text"]
    levels = {"text": ["u", "v"]}
    known = frame.assign(text=pd.Categorical(frame["text"], levels["text"]))
    found = tensors(from_parquet(root, target="y", features=features, levels=levels))
    for mine, theirs in zip(found, tensors(from_frame(known, target="y", features=features)), strict=True):
        assert torch.equal(mine, theirs)
