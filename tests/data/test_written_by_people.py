"""Files as people and their programs write them: numbers and dates in other forms are refused, not made categories."""

import gzip
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

import lumbre as lb
from lumbre import DataError, OptionError
from lumbre.data import FrameData, from_csv, from_frame, from_parquet

NUMBERS = {
    "thousands": ["1,234", "2,500", "12"],
    "thousands and cents": ["1,234.50", "999.00"],
    "decimal commas": ["1,5", "2,5"],
    "thousands as in German": ["1.234,56", "2.345,60"],
    "thousands as in India": ["1,00,000", "12,50,000.50", "900"],
    "powers of Fortran": ["1.0D+03", "-2.5D-01"],
    "thousands by spaces": ["1 000", "2\u00a0000"],
    "percent": ["10%", "20 %", "5%"],
    "money": ["$10", "$20.50", "€5"],
    "money behind": ["10 €", "12 €"],
    "accounts": ["(100)", "200"],
    "a minus of typographers": ["\u2212100", "200"],
    "a dash for a gap": ["1.5", "-", "2.5"],
    "a question mark for a gap": ["1", "?", "3"],
    "a dot for a gap": ["1.5", ".", "2.5"],
    "a blank for a gap": ["29.85", " ", "1889.5"],
    "n.a. for a gap": ["1", "n.a.", "3"],
    "errors of a spreadsheet": ["1", "2", "#DIV/0!"],
    "the header once more": ["1", "2", "c", "3"],
}
DATES = {
    "days first": ["13/01/2024", "02/03/2024"],
    "months first": ["1/13/2024", "2/3/2024"],
    "short years": ["13/01/24", "02/03/24"],
    "dots": ["13.01.2024", "02.03.2024"],
    "names": ["13-Jan-2024", "02-Mar-2024"],
    "names first": ["Jan 13, 2024", "March 2, 2024"],
    "ISO": ["2024-01-13", "2024-03-02"],
    "offsets that change": ["2024-01-13T00:00:00+01:00", "2024-07-02T00:00:00+02:00"],
    "two orders": ["2024-01-13", "02/03/2024"],
}
TEXTS = {
    "plain numbers, as astype(str) gives codes": ["1", "02", "10"],
    "numbers and words": ["1", "2", "3+"],
    "words and a mark": ["a", "-", "b"],
    "one number and a mark": ["1", "-", "1"],
    "versions": ["1.2.3", "1.2.4"],
    "ranges": ["10-20", "20-30"],
    "times": ["12:30", "13:45"],
    "months": ["2024-01", "2024-02"],
    "weekdays": ["mon", "tue"],
    "ids": ["1234567-8", "2345678-9"],
    "telephones": ["030 123 456", "040 222 333"],
    "telephones with dots": ["555.123.4567", "555.222.3333"],
    "places": ["#3", "4", "12"],
}


def held(values: list[str], library: str) -> Any:
    columns: dict[str, Any] = {"c": values, "y": list(range(len(values)))}
    made = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[library]
    return made(columns)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_in_another_form_are_no_categories(kind: str, library: str) -> None:
    frame = held(NUMBERS[kind], library)
    with pytest.raises(DataError, match="column 'c' of text that reads as numbers, such as"):
        from_frame(frame, target="y")
    with pytest.raises(DataError, match="column 'c' of text that reads as numbers"):
        from_frame(frame, target="c", features=["y"])
    assert from_frame(frame, target="y", hash={"c": 8}).width == 8  # the column is named, so it is said to be text


@pytest.mark.parametrize("dates", ["error", "parts"])
@pytest.mark.parametrize("kind", DATES)
def test_dates_as_text_are_no_categories(kind: str, dates: str) -> None:
    with pytest.raises(DataError, match="column 'c' of text that reads as dates, such as"):
        from_frame(held(DATES[kind], "pandas"), target="y", dates=dates)


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_stay_categories(kind: str) -> None:
    assert from_frame(held(TEXTS[kind], "pandas"), target="y").width == len(set(TEXTS[kind]))


@pytest.mark.parametrize("kind", [*NUMBERS, *DATES])
def test_categories_that_are_declared_stay_categories(kind: str) -> None:
    values = {**NUMBERS, **DATES}[kind]
    columns: list[Any] = [
        pd.DataFrame({"c": pd.Categorical(values), "y": range(len(values))}),
        pl.DataFrame({"c": pl.Series(values, dtype=pl.Categorical), "y": range(len(values))}),
        pa.table({"c": pa.array(values).dictionary_encode(), "y": list(range(len(values)))}),
    ]
    widths = {from_frame(frame, target="y").width for frame in columns}
    assert widths == {len(set(values))}


def csv(path: Path, text: str, **options: Any) -> FrameData:
    path.write_text(text)
    asked: dict[str, Any] = {"target": "y", "standardize": False, **options}
    return from_csv(path, **asked)


def test_a_csv_of_another_country(tmp_path: Path) -> None:
    text = "a;y\n1.234,5;2,5\n2.345,6;3,5\n"
    with pytest.raises(DataError, match=r"decimal=\",\""):
        csv(tmp_path / "a.csv", text, separator=";")
    frame = pd.read_csv(tmp_path / "a.csv", sep=";", decimal=",", thousands=".")
    assert from_frame(frame, target="y")[1][1].item() == 3.5


def test_dates_of_a_csv(tmp_path: Path) -> None:
    text = "d,y\n2024-01-13,0\n2024-03-02,1\n"
    with pytest.raises(DataError, match=r"from_csv\(\.\.\., dates=\"parts\"\)"):
        csv(tmp_path / "a.csv", text)
    assert csv(tmp_path / "a.csv", text, dates="parts").width == 6
    with pytest.raises(DataError, match="reads as dates"):
        csv(tmp_path / "a.csv", text.replace("2024-03-02", "02/03/2024"), dates="parts")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    "codes", [["01234", "00501"], ['"007"', "7"], ["7", "007 "], ["", "001"], ["01", "32"], ["1", "02"]]
)
def test_leading_zeros_of_codes_are_not_lost(tmp_path: Path, codes: list[str], name: str) -> None:
    text = f"code,y\n{codes[0]},1.5\n{codes[1]},0.5\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    for target, features in (("y", ["code"]), ("code", ["y"])):
        with pytest.raises(DataError, match="column 'code' with leading zeros, such as '0"):
            from_csv(path, target=target, features=features, missing="indicate")


def test_numbers_with_a_zero_before_the_point_are_numbers(tmp_path: Path) -> None:
    data = csv(tmp_path / "a.csv", "a,b,z,y\n0.5,0,01,0\n-0.25,10,02,1\n", features=["a", "b"])
    assert data[:][0].tolist() == [[0.5, 0.0], [-0.25, 10.0]]


def test_months_and_hours_of_two_digits_are_numbers(tmp_path: Path) -> None:
    data = csv(tmp_path / "a.csv", "month,hour,y\n01,00,0\n12,23,1\n", features=["month", "hour"])
    assert data[:][0].tolist() == [[1.0, 0.0], [12.0, 23.0]]


def test_separators_at_the_end_of_lines_make_no_column(tmp_path: Path) -> None:
    plain = csv(tmp_path / "a.csv", "a,y\n1,0\n2,1\n")
    trailing = csv(tmp_path / "b.csv", "a,y,,\n1,0,,\n2,1,,\n")
    assert trailing.encoding == plain.encoding
    assert torch.equal(trailing[:][0], plain[:][0])
    assert csv(tmp_path / "c.csv", "a,y,\n1,0,\n2,1,5\n", missing="indicate").width == 3


def test_levels_of_an_index_are_no_features(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, 2.5], "y": [0, 1]}, index=pd.MultiIndex.from_tuples([("u", 1), ("u", 2)]))
    frame.to_csv(tmp_path / "a.csv")
    data = from_csv(tmp_path / "a.csv", target="y")
    assert [one.name for one in data.encoding.features] == ["a"]
    both = pl.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "a.csv")
    readr = both[1].rename(columns={"Unnamed: 0": "...1", "Unnamed: 1": "...2"})
    for held in (*both, readr):
        assert from_frame(held, target="y").encoding == data.encoding
    both[1].to_parquet(tmp_path / "a.parquet")
    assert [one.name for one in from_parquet(tmp_path / "a.parquet", target="y").encoding.features] == ["a"]
    asked = from_csv(tmp_path / "a.csv", target="y", features=["Unnamed: 1", "a"])
    assert [one.name for one in asked.encoding.features] == ["Unnamed: 1", "a"]
    middle = pd.DataFrame({"a": [1.5, 2.5], "Unnamed: 1": [3, 4], "y": [0, 1]})
    assert from_frame(middle, target="y").width == 2


def test_numbers_of_a_csv_are_those_of_the_frame(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=3000) * 10.0 ** generator.integers(-20, 20, 3000)
    frame = pd.DataFrame({"x": values, "y": generator.random(3000)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert (from_csv(tmp_path / "a.csv", target="y").column("x") == values).all()


def test_files_without_rows_say_nothing_of_types(tmp_path: Path) -> None:
    rows = pa.table({"c": [1.0, 2.0, 3.0], "when": pa.array([0, 1, 2], pa.timestamp("us")), "y": [0, 1, 0]})
    pq.write_table(rows, tmp_path / "b.parquet")
    alone = from_parquet(tmp_path / "b.parquet", target="y", dates="parts")
    zoned = pa.array([], pa.timestamp("us", "Asia/Tokyo"))
    for empty in (
        pa.table({"c": pa.array([], pa.string()), "when": zoned, "y": pa.array([], pa.string())}),
        pa.table({}),
        pa.table({"other": pa.array([], pa.int64())}),
        pa.Table.from_pandas(pd.DataFrame({"c": [], "y": []}).set_index("c")),
    ):
        for name in ("a.parquet", "c.parquet"):
            pq.write_table(empty, tmp_path / name)
        found = from_parquet(tmp_path, target="y", dates="parts")
        assert found.encoding == alone.encoding
        assert torch.equal(found.fetch(torch.arange(3), 1)[0], alone.fetch(torch.arange(3), 1)[0])  # type: ignore[arg-type]
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(DataError, match="Parquet files without rows"):
        from_parquet(tmp_path, target="y")


def test_a_file_that_is_no_parquet_is_said_to_be_none(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [1.5, 2.5, 3.5], "y": [0.0, 1.0, 0.5]})
    rows.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="which cannot be read") as caught:
        from_parquet(tmp_path / "a.csv", target="y")
    assert "lumbre.data.from_csv('a.csv')" in str(caught.value)
    recipe = lb.setup(nn.Sequential(nn.Linear(1, 1), nn.Flatten(0)), loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit(from_frame(rows, target="y"), epochs=1, verbose=False, preflight=False)
    with pytest.raises(DataError, match="which cannot be read"):
        fitted.predict(tmp_path / "a.csv")
    assert torch.equal(fitted.predict(from_csv(tmp_path / "a.csv")), fitted.predict(rows))


READERS: dict[str, Any] = {
    "from_csv": from_csv,
    "from_parquet": from_parquet,
    "image_folder": lb.datasets.image_folder,
    "audio_folder": lb.datasets.audio_folder,
    "r.load": lb.r.load,
    "r.load_weights": lb.r.load_weights,
    "r.save_weights": lambda path: lb.r.save_weights(path, {}),
    "load_weights": lb.load_weights,
    "inspect_file": lb.inspect_file,
    "load_ensemble": lambda path: lb.load_ensemble(path, nn.Linear),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("path", [["a.csv", "b.csv"], None, 5, b"a.csv"], ids=["list", "none", "number", "bytes"])
def test_paths_that_are_none(reader: str, path: Any) -> None:
    with pytest.raises(OptionError, match="the path of a file, as text or"):
        READERS[reader](path)
