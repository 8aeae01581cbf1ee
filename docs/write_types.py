"""Write docs/reference/types.md: what becomes of which type, seen by trying each.

    python docs/write_types.py

A test sees that the page is what this program writes.
"""

import datetime
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import lumbre as lb

PAGE = Path(__file__).parent / "reference" / "types.md"
REAL_R = Path(__file__).parent.parent / "tests" / "storage" / "real_r"

DAYS = [datetime.date(2024, 1, 1), datetime.date(2024, 2, 1)]
TIMES = [datetime.datetime(2024, 1, 1, 3), datetime.datetime(2024, 2, 1, 4)]
DECIMALS = [Decimal("1.25"), Decimal("2.50")]

PANDAS: dict[str, Any] = {
    "bool": np.array([True, False]),
    "int8 ... uint64": np.array([1, 2], dtype=np.int32),
    "float16, float32, float64": [1.5, 2.5],
    "longdouble": np.array([1.5, 2.5], dtype=np.longdouble),
    "complex128": np.array([1j, 2]),
    "boolean": pd.array([True, False], dtype="boolean"),
    "Int64, Float64": pd.array([1, 2], dtype="Int64"),
    "Sparse[float]": pd.arrays.SparseArray([1.5, 2.5]),
    "str, string": ["a", "b"],
    "str: numbers as people write them": ["1,234", "12 %"],
    "str: dates": ["31/12/2024", "2024-01-01"],
    "category": pd.Categorical(["a", "b"]),
    "object: text": pd.Series(["a", "b"], dtype=object),
    "object: numbers, Decimal": pd.Series(DECIMALS, dtype=object),
    "object: True, False": pd.Series([True, False], dtype=object),
    "object: numbers and text": pd.Series([1, "b"], dtype=object),
    "object: lists, bytes": pd.Series([[1], [2]], dtype=object),
    "object: dates": pd.Series(DAYS, dtype=object),
    "datetime64": pd.to_datetime(TIMES),
    "datetime64 with a zone": pd.to_datetime(TIMES).tz_localize("UTC"),
    "timedelta64": pd.to_timedelta([1, 2], unit="D"),
    "period": pd.period_range("2024-01", periods=2, freq="M"),
    "interval": pd.interval_range(0, 2),
}
POLARS: dict[str, Any] = {
    "Boolean": pl.Series([True, False]),
    "Int8 ... UInt64, Int128": pl.Series([1, 2], dtype=pl.Int128),
    "Float32, Float64": pl.Series([1.5, 2.5]),
    "Decimal": pl.Series(DECIMALS),
    "String": pl.Series(["a", "b"]),
    "Categorical": pl.Series(["a", "b"], dtype=pl.Categorical),
    "Enum": pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])),
    "Date": pl.Series(DAYS),
    "Datetime": pl.Series(TIMES),
    "Time": pl.Series([datetime.time(1), datetime.time(2)]),
    "Duration": pl.Series([datetime.timedelta(1), datetime.timedelta(2)]),
    "List, Array": pl.Series([[1], [2]]),
    "Struct": pl.Series([{"a": 1}, {"a": 2}]),
    "Binary": pl.Series([b"a", b"b"]),
    "Object of numbers": pl.Series(DECIMALS, dtype=pl.Object),
}
ARROW: dict[str, Any] = {
    "bool": pa.array([True, False]),
    "int8 ... uint64": pa.array([1, 2]),
    "halffloat, float, double": pa.array([1.5, 2.5]),
    "decimal32 ... decimal256": pa.array(DECIMALS),
    "string, large_string, string_view": pa.array(["a", "b"]),
    "dictionary": pa.array(["a", "b"]).dictionary_encode(),
    "date32, date64": pa.array(DAYS),
    "timestamp": pa.array(TIMES),
    "time32, time64": pa.array([datetime.time(1), datetime.time(2)]),
    "duration": pa.array([datetime.timedelta(1), datetime.timedelta(2)]),
    "binary": pa.array([b"a", b"b"]),
    "list": pa.array([[1], [2]]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
}
ARRAYS: dict[str, Any] = {
    "bool": np.array([True, False]),
    "uint8": np.array([1, 2], dtype=np.uint8),
    "int8 ... uint64": np.array([1, 2], dtype=np.int16),
    "float16": np.array([1, 2], dtype=np.float16),
    "float32": np.array([1, 2], dtype=np.float32),
    "float64, longdouble": np.array([1.0, 2.0]),
    "big-endian": np.array([1, 2], dtype=">f8"),
    "complex128": np.array([1j, 2]),
    "datetime64": np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"),
    "text, objects": np.array(["a", "b"]),
}
PICTURES = {
    "1": "1 bit",
    "L": "8-bit grey",
    "I;16": "16-bit grey",
    "F": "float grey",
    "P": "palette",
    "RGB": "RGB",
}
PICTURES |= {"RGBA": "RGBA", "CMYK": "CMYK"}
R_VALUES = {
    "character, deferred or not": ("chr_deferred_na.rds", "x"),
    "character in latin1": ("latin1.rds", "x"),
    "NA": ("na_real1.rds", "x"),
    "integer64": ("int64.rds", "x"),
    "matrix": ("matrix.rds", "x"),
    "named list, names partly given": ("names_partial.rds", "x"),
    "data frame": ("l_df.pt", "df"),
    "Date": ("l_df.pt", "d"),
    "closure, environment": ("l_df.pt", "fn"),
}
R_TENSORS = {
    "torch_float()": "t_f32.pt",
    "torch_double()": "t_f64.pt",
    "torch_half()": "t_f16.pt",
    "torch_bfloat16()": "t_bf16.pt",
    "torch_bool()": "t_bool.pt",
    "torch_uint8()": "t_u8.pt",
    "torch_int8(), torch_short()": "t_i16.pt",
    "torch_int()": "t_i32.pt",
    "torch_long()": "t_i64.pt",
    "torch_cfloat()": "t_cfloat.pt",
    "torch_cdouble()": "t_cdouble.pt",
    "torch_float8_e4m3fn()": "t_float8_e4m3fn.pt",
}


def said(function: Callable[[], str]) -> str:
    """What a try gives, or that it is refused."""
    try:
        return function()
    except lb.LumbreError:
        return "refused"


def feature(make: Callable[..., Any]) -> str:
    """What a column becomes as a feature."""
    for options, beside in (({}, ""), ({"dates": "parts"}, 'with `dates="parts"` ')):
        found = said(lambda: kind(make(**options)))
        if found != "refused":
            return beside + found
    return "refused"


def kind(data: Any) -> str:
    """What the first feature of some data is."""
    column = data.encoding.features[0]
    if column.is_date:
        return f"{len(column.encoded(one_hot=True))} numbers"
    if column.kind != "category":
        return {"number": "a number", "boolean": "0 and 1"}[column.kind]
    return f"a category, in {'declared' if column.levels == ('b', 'a') else 'sorted'} order"


def target(made: Any) -> str:
    """What a target is."""
    classes = f"classes {made.classes}" if made.classes else ""
    return classes or str(made.target.dtype).removeprefix("torch.")


def of_frames(
    columns: dict[str, Any], make: Callable[[dict[str, Any]], Any]
) -> Iterator[tuple[str, ...]]:
    """Type, what it is as a feature, as a target, and in a frame that is passed as it is."""
    for name, values in columns.items():
        frame = make({"x": values, "other": [1.0, 2.0]})

        def aimed() -> str:
            data = lb.data.from_frame(frame, target="x", features=["other"])
            return target(data.encoding.encode(data.frame, need_target=True))

        def raw() -> str:
            return str(lb.data._accept.numeric_matrix(frame).dtype).removeprefix(
                "torch."
            )

        yield (
            name,
            feature(
                lambda **options: lb.data.from_frame(frame, features=["x"], **options)
            ),
            said(aimed),
            said(raw),
        )


def of_parquet(folder: Path) -> Iterator[tuple[str, ...]]:
    """Type, what it is as a feature, with levels, and as a target."""
    for name, values in ARROW.items():
        if name == "duration":
            continue
        path = folder / "a.parquet"
        pq.write_table(pa.table({"x": values, "other": [1.0, 2.0]}), path)

        def aimed() -> str:
            data = lb.data.from_parquet(path, target="x", features=["other"])
            return (
                f"classes {data.classes}"
                if data.classes
                else str(data.fetch(range(2), 1)[1].dtype)[6:]
            )

        levels = {"x": [str(value) for value in values.to_pylist()]}
        yield (
            name,
            feature(
                lambda **options: lb.data.from_parquet(path, features=["x"], **options)
            ),
            said(
                lambda: kind(lb.data.from_parquet(path, features=["x"], levels=levels))
            ),
            said(aimed),
        )


def of_arrays(folder: Path) -> Iterator[tuple[str, ...]]:
    """Type, what it is in memory and in a memory map."""
    for name, values in ARRAYS.items():
        np.save(folder / "a.npy", values)

        def tensor(mode: Any) -> str:
            array = np.load(folder / "a.npy", mmap_mode=mode)
            return str(
                lb.data._accept.accept((array, None), 0).fetch(range(2), 1)[0].dtype
            ).removeprefix("torch.")

        yield name, said(lambda: tensor(None)), said(lambda: tensor("r"))


def of_pictures(folder: Path) -> Iterator[tuple[str, ...]]:
    """Kind, and what a picture of it becomes."""
    for mode, name in PICTURES.items():
        place = folder / mode.replace(";", "_") / "class"
        place.mkdir(parents=True)
        Image.new(mode, (4, 4)).save(
            place / ("a.tif" if mode in ("F", "CMYK") else "a.png")
        )
        picture = lb.datasets.image_folder(place.parent)[0][0]
        yield (
            name,
            f"{str(picture.dtype).removeprefix('torch.')} {tuple(picture.shape)}",
        )


def of_r() -> Iterator[tuple[str, ...]]:
    """Type in R, and what `lumbre.r.load` gives."""
    for name, file in R_TENSORS.items():
        yield name, str(lb.r.load(REAL_R / file).dtype).removeprefix("torch.")
    for name, (file, key) in R_VALUES.items():
        yield name, repr(lb.r.load(REAL_R / file)[key])


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    """A table of Markdown."""
    lines = [heads, ("---",) * len(heads), *((f"`{row[0]}`", *row[1:]) for row in rows)]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in lines
    ] + [""]


def page() -> str:
    """The whole page."""
    frames = ("type", "feature of `from_frame`", "target", "in a frame passed as it is")
    lines = [
        "# What becomes of which type",
        "",
        "Written by `docs/write_types.py`, which tries each. Numbers are float32 (torch's default type), categories"
        " columns of 0 and 1. What is refused is refused in words that say what to write instead. Missing values are"
        ' refused, or taken with `missing="indicate"`.',
        "",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, columns, make in (
            ("pandas", PANDAS, pd.DataFrame),
            ("polars", POLARS, pl.DataFrame),
            ("pyarrow, and what has Arrow's stream interface", ARROW, pa.table),
        ):
            lines += [f"## {title}", "", *table(frames, of_frames(columns, make))]
        heads = ("type", "feature of `from_parquet`", "with `levels=`", "target")
        lines += ["## Parquet", "", *table(heads, of_parquet(folder))]
        lines += [
            "Folders such as `year=2024` are a column of texts, a category whose values are known.",
            "",
        ]
        lines += [
            "## Arrays, `.npy`",
            "",
            *table(("type", "as it is", "memory map"), of_arrays(folder)),
        ]
        lines += [
            "## Pictures",
            "",
            *table(("kind", "of `image_folder`, 4 by 4"), of_pictures(folder)),
        ]
        lines += ["## R", "", *table(("type", "of `lumbre.r.load`"), of_r())]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    PAGE.write_text(page(), encoding="utf-8")
