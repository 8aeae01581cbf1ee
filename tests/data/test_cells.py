"""What a column holds decides what becomes of it, not the type that it is stored in."""

import datetime
import enum
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lumbre as lb
from lumbre.base import DataError
from lumbre.data import from_frame

PLAIN = [1.5, 2.0, -3.25, 8.0]


class Colour(str, enum.Enum):  # noqa: UP042 - a str whose str() is another
    RED = "red"
    BLUE = "blue"


def arrow(values: Any, kind: Any = None) -> pa.Table:
    return pa.table({"x": pa.array(values, kind)})


NUMBERS: dict[str, Any] = {
    "floats as objects": pd.DataFrame({"x": pd.Series(PLAIN, dtype=object)}),
    "decimals as objects": pd.DataFrame({"x": [Decimal(str(value)) for value in PLAIN]}),
    "mixed numbers": pd.DataFrame({"x": pd.Series([1.5, 2, np.float32(-3.25), Decimal(8)], dtype=object)}),
    "fractions": pd.DataFrame({"x": [Fraction(value) for value in PLAIN]}),
    "transposed": pd.DataFrame([["a", *PLAIN]]).T.iloc[1:].set_axis(["x"], axis=1),
    "sparse": pd.DataFrame({"x": pd.arrays.SparseArray(PLAIN)}),
    "long doubles": pd.DataFrame({"x": np.array(PLAIN, dtype=np.longdouble)}),
    "big-endian": pd.DataFrame({"x": np.array(PLAIN, dtype=">f8")}),
    "nullable": pd.DataFrame({"x": pd.array(PLAIN, dtype="Float64")}),
    "float16": pd.DataFrame({"x": np.array(PLAIN, dtype=np.float16)}),
    "arrow decimals in pandas": pd.DataFrame(
        {"x": pd.array([Decimal(str(value)) for value in PLAIN], dtype=pd.ArrowDtype(pa.decimal128(9, 2)))}
    ),
    "polars objects": pl.DataFrame({"x": pl.Series(PLAIN, dtype=pl.Object)}),
    "polars decimals": pl.DataFrame({"x": [Decimal(str(value)) for value in PLAIN]}),
    "decimal32": arrow([Decimal(str(value)) for value in PLAIN], pa.decimal32(9, 2)),
    "decimal64": arrow([Decimal(str(value)) for value in PLAIN], pa.decimal64(9, 2)),
    "decimal128": arrow([Decimal(str(value)) for value in PLAIN], pa.decimal128(9, 2)),
    "decimal256": arrow([Decimal(str(value)) for value in PLAIN], pa.decimal256(60, 30)),
    "run-end encoded": pa.table(
        {"x": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3, 4], pa.int32()), pa.array(PLAIN))}
    ),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_are_numbers_whatever_holds_them(kind: str) -> None:
    data = from_frame(NUMBERS[kind], standardize=False)
    assert data.width == 1
    assert data.encoding.features[0].kind == "number"
    assert data.encoding.encode(data.frame, need_target=False).input[:, 0].tolist() == PLAIN
    assert data.classes is None


WHOLE: dict[str, Any] = {
    "objects": pd.DataFrame({"x": pd.Series([3, 1, 2], dtype=object)}),
    "numpy's among them": pd.DataFrame({"x": pd.Series([np.int8(3), 1, np.uint64(2)], dtype=object)}),
    "Int64": pd.DataFrame({"x": pd.array([3, 1, 2], dtype="Int64")}),
    "big-endian": pd.DataFrame({"x": np.array([3, 1, 2], dtype=">i2")}),
    "uint64": pd.DataFrame({"x": np.array([3, 1, 2], dtype=np.uint64)}),
    "Int128": pl.DataFrame({"x": pl.Series([3, 1, 2], dtype=pl.Int128)}),
    "sparse": pd.DataFrame({"x": pd.arrays.SparseArray([3, 1, 2])}),
    "int8 of arrow": arrow([3, 1, 2], pa.int8()),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_stay_whole_as_targets(kind: str) -> None:
    frame = WHOLE[kind]
    if isinstance(frame, pd.DataFrame):
        frame = frame.assign(a=[1.0, 2.0, 3.0])
    elif isinstance(frame, pl.DataFrame):
        frame = frame.with_columns(a=pl.Series([1.0, 2.0, 3.0]))
    else:
        frame = frame.append_column("a", pa.array([1.0, 2.0, 3.0]))
    target = from_frame(frame, target="x").encoding.encode(frame, need_target=True).target
    assert target.dtype == torch.int64
    assert target.tolist() == [3, 1, 2]


REFUSED: dict[str, tuple[Any, str]] = {
    "dates as objects": (pd.DataFrame({"x": [datetime.date(2024, 1, 2)] * 2}), "days since a date"),
    "times as objects": (pd.DataFrame({"x": [datetime.time(1)] * 2}), "days since a date"),
    "periods": (pd.DataFrame({"x": pd.period_range("2020", periods=2, freq="M")}), "days since a date"),
    "periods as objects": (pd.DataFrame({"x": list(pd.period_range("2020", periods=2, freq="M"))}), "days since"),
    "timedeltas": (pd.DataFrame({"x": pd.to_timedelta([1, 2])}), "days since a date"),
    "dates with a zone": (pd.DataFrame({"x": pd.date_range("2020", periods=2, tz="UTC")}), "days since a date"),
    "intervals": (pd.DataFrame({"x": pd.interval_range(0, 2)}), "interval"),
    "complex numbers": (pd.DataFrame({"x": [1j, 2.0]}), "complex"),
    "complex objects": (pd.DataFrame({"x": pd.Series([1j, 2.0], dtype=object)}), "complex"),
    "lists": (pd.DataFrame({"x": [[1], [2]]}), "list"),
    "dicts": (pd.DataFrame({"x": [{"a": 1}, {"a": 2}]}), "dict"),
    "arrays": (pd.DataFrame({"x": [np.ones(2), np.ones(2)]}), "ndarray"),
    "tensors": (pd.DataFrame({"x": [torch.ones(2), torch.ones(2)]}), "Tensor"),
    "bytes": (pd.DataFrame({"x": [b"a", b"b"]}), "bytes"),
    "other objects": (pd.DataFrame({"x": [uuid.UUID(int=1), uuid.UUID(int=2)]}), "UUID"),
    "numbers among texts": (pd.DataFrame({"x": pd.Series([1.5, "two"], dtype=object)}), "to_numeric"),
    "numbers among dates": (pd.DataFrame({"x": pd.Series([1, datetime.date(2024, 1, 2)], dtype=object)}), "date"),
    "polars lists": (pl.DataFrame({"x": [[1], [2]]}), "List"),
    "polars times": (pl.DataFrame({"x": [datetime.time(1)] * 2}), "days since a date"),
    "polars bytes": (pl.DataFrame({"x": [b"a", b"b"]}), "Binary"),
    "arrow structs": (arrow([{"a": 1}, {"a": 2}]), "struct"),
    "arrow bytes": (arrow([b"ab", b"cd"], pa.binary(2)), "binary"),
    "two categories of one text": (pd.DataFrame({"x": pd.Categorical([1, "1"], categories=[1, "1"])}), "twice|two"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_neither_number_nor_text_is_refused_in_words(kind: str) -> None:
    frame, words = REFUSED[kind]
    with pytest.raises(DataError, match=words) as caught:
        from_frame(frame)
    assert "column 'x'" in str(caught.value)


def test_texts_of_all_kinds_are_sorted_levels() -> None:
    texts = ["red", "blue", "red"]
    frames: list[Any] = [
        pd.DataFrame({"x": texts}),
        pd.DataFrame({"x": pd.Series(texts, dtype=object)}),
        pd.DataFrame({"x": pd.Series(texts, dtype="string[python]")}),
        pd.DataFrame({"x": [Colour.RED, Colour.BLUE, Colour.RED]}),
        pd.DataFrame({"x": pd.Series([np.str_(text) for text in texts], dtype=object)}),
        pl.DataFrame({"x": texts}),
        pl.DataFrame({"x": pl.Series(texts, dtype=pl.Categorical)}),
        arrow(texts),
        arrow(texts, pa.large_string()),
        arrow(texts, pa.string_view()),
        pa.table({"x": pa.chunked_array([["red"], ["blue", "red"]]).dictionary_encode()}),
    ]
    for frame in frames:
        data = from_frame(frame, target=None)
        assert data.encoding.features[0].levels == ("blue", "red")
        assert data.encoding.encode(frame, need_target=False).input.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_the_order_of_levels_is_the_declared_one() -> None:
    values, levels = ["low", "high", "low"], ["low", "mid", "high"]
    ordered = pa.DictionaryArray.from_arrays(pa.array([0, 2, 0]), pa.array(levels), ordered=True)
    for frame in (
        pd.DataFrame({"x": pd.Categorical(values, categories=levels)}),
        pl.DataFrame({"x": pl.Series(values, dtype=pl.Enum(levels))}),
        pa.table({"x": ordered}),
    ):
        assert from_frame(frame).encoding.features[0].levels == tuple(levels)
    counted = pa.table({"x": pa.array([10, 2, 10]).dictionary_encode()})
    assert from_frame(counted).encoding.features[0].levels == ("2", "10")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=7, min_value=-(10**12), max_value=10**12)))
def test_decimals_are_the_nearest_float_in_every_library(values: list[Decimal]) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        values = [Decimal(1), *values, Decimal("0.1234567")]
        expected = [float(value) for value in values]
        kind = pa.decimal128(30, 7)
        for frame in (
            pd.DataFrame({"x": pd.Series(values, dtype=object)}),
            pd.DataFrame({"x": pd.array(values, dtype=pd.ArrowDtype(kind))}),
            pl.DataFrame({"x": pl.Series(values, dtype=pl.Decimal(30, 7))}),
            pa.table({"x": pa.chunked_array([pa.array(values[:2], kind), pa.array(values[2:], kind)]).slice(1)}),
        ):
            data = from_frame(frame, standardize=False)
            made = data.encoding.encode(frame, need_target=False).input[:, 0].tolist()
            assert made == expected[len(expected) - len(made) :]
    finally:
        torch.set_default_dtype(torch.float32)


def test_missing_values_of_objects_are_counted() -> None:
    for values in ([1.5, None, np.nan], [Decimal(1), pd.NA, Decimal("NaN")], ["a", None, pd.NaT], [True, None, None]):
        with pytest.raises(DataError, match="2 in 'x'"):
            from_frame(pd.DataFrame({"x": pd.Series(values, dtype=object)}))


def test_a_frame_of_numbers_that_is_passed_as_it_is_may_hold_objects() -> None:
    frame = pd.DataFrame(
        {"a": pd.Series([Decimal("0.5"), Decimal(2)], dtype=object), "b": pd.arrays.SparseArray([1, 0])}
    )
    assert lb.data._accept.numeric_matrix(frame).tolist() == [[0.5, 1.0], [2.0, 0.0]]
    assert lb.data._accept.numeric_matrix(frame["a"]).tolist() == [0.5, 2.0]
    with pytest.raises(DataError, match="'c'"):
        lb.data._accept.numeric_matrix(frame.assign(c=["u", "v"]))


def test_a_null_in_a_dictionary_is_missing() -> None:
    codes, words = pa.array([0, 1, 2, None]), pa.array(["u", "v", None])
    frame = pa.table({"x": pa.DictionaryArray.from_arrays(codes, words)})
    with pytest.raises(DataError, match="2 in 'x'"):
        from_frame(frame)
    data = from_frame(frame[:2])
    assert data.encoding.features[0].levels == ("u", "v")
    with pytest.raises(DataError, match="2 in 'x'"):
        data.encoding.encode(frame, need_target=False)


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"x": [1.0, None, float("nan"), float("inf")]}),
        pa.table({"x": [1.0, None, float("nan"), float("inf")]}),
        pd.DataFrame({"x": pd.array([1.0, None, float("nan"), float("inf")], dtype=pd.ArrowDtype(pa.float64()))}),
        pd.DataFrame({"x": [1.0, None, float("nan"), float("inf")]}),
    ],
)
def test_nan_and_null_are_both_counted(frame: Any) -> None:
    with pytest.raises(DataError, match="3 in 'x'"):
        from_frame(frame)


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2**63], dtype=np.uint64),
        pd.Series([1, 2**70], dtype=object),
        pl.Series([1, 2**70], dtype=pl.Int128),
        pd.array([1, 2**64 - 1], dtype="UInt64"),
    ],
)
def test_whole_numbers_beyond_int64_are_no_targets(values: Any) -> None:
    if isinstance(values, pl.Series):
        frame: Any = pl.DataFrame({"x": [1.0, 2.0], "y": values})
        series: Any = values
    else:
        frame = pd.DataFrame({"x": [1.0, 2.0], "y": values})
        series = frame["y"]
    data = from_frame(frame, target="y")
    with pytest.raises(DataError, match="beyond"):
        data.encoding.encode(frame, need_target=True)
    with pytest.raises(DataError, match="beyond"):
        lb.data._accept.accept((frame[["x"]], series), 0)
    assert from_frame(frame, features=["y"]).encoding.fitted(frame).center[0] > 2**61


def test_arrays_with_what_torch_has_not() -> None:
    accept = lb.data._accept.accept
    with pytest.raises(DataError, match="masked"):
        accept((np.ma.array([[1.0], [2.0]], mask=[[False], [True]]), np.zeros(2)), 0)
    assert accept((np.ma.array([[1.0], [2.0]]), np.zeros(2)), 0).input.tolist() == [[1.0], [2.0]]
    with pytest.raises(DataError, match="beyond int64"):
        accept((np.zeros((2, 1)), np.array([1, 2**63], dtype=np.uint64)), 0)
    assert accept((np.ones((2, 1), np.longdouble), np.zeros(2)), 0).input.tolist() == [[1.0], [1.0]]


def test_classes_that_come_as_other_numbers_later_on() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "wild": [True, False, True], "y": [0, 2, 1]})
    whole, words = from_frame(frame, target="y").encoding, from_frame(frame, target="wild").encoding
    for values in ([0.0, 2.0, 1.0], pd.Series([Decimal(0), Decimal(2), 1], dtype=object)):
        made = whole.encode(frame.assign(y=values), need_target=True)
        assert made.target.tolist() == [0, 2, 1]
        assert made.target.dtype == torch.int64
    with pytest.raises(DataError, match=r"'y' with 0\.5"):
        whole.encode(frame.assign(y=[0, 0.5, 1]), need_target=True)
    for values in ([1, 0, 1], [1.0, 0.0, 1.0], ["True", "False", "True"]):
        assert words.encode(frame.assign(wild=values), need_target=True).target.tolist() == [1, 0, 1]
    for values in ([1, 0, 1], [1.0, 0.0, 1.0]):
        assert whole.encode(frame.assign(wild=values), need_target=True).input[:, 1].tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="'wild' with 2"):
        whole.encode(frame.assign(wild=[1, 0, 2]), need_target=True)
    assert from_frame(frame.assign(y=frame["y"] > 0), target="y").classes == ("False", "True")


def test_names_that_are_no_texts_or_occur_twice() -> None:
    values = np.arange(6.0).reshape(2, 3)
    data = from_frame(pd.DataFrame(values), target=2)
    assert [column.name for column in data.encoding.features] == ["0", "1"]
    assert data.encoding.encode(pd.DataFrame(values[:, ::-1], columns=[2, 1, 0]), need_target=True).target.tolist() == [
        2,
        5,
    ]
    assert lb.data._accept.numeric_matrix(pd.DataFrame(values)).tolist() == values.tolist()
    levels = pd.DataFrame(values, columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")]))
    assert from_frame(levels, target=("b", "x")).width == 2
    for twice in (pd.DataFrame(values, columns=list("aab")), pa.table(list(values.T), names=list("aab"))):
        assert from_frame(twice, features=["b"]).width == 1
        for wrong in (lambda: from_frame(twice), lambda: from_frame(twice, target="a")):  # noqa: B023
            with pytest.raises(DataError, match="two columns of the name 'a'"):
                wrong()
        with pytest.raises(DataError, match="two columns of the name 'a'"):
            lb.data._accept.numeric_matrix(twice)
        fits = from_frame(pd.DataFrame(values, columns=list("cab")), features=["b"]).encoding
        assert fits.encode(twice, need_target=False).input.shape == (2, 1)


class Streaming:
    """What has Arrow's stream interface and nothing else, as a relation of DuckDB has."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def test_frames_that_come_in_other_ways() -> None:
    plain = pa.table({"x": [1.0, 2.0, 4.0], "y": [0, 1, 0]})
    expected = from_frame(plain, target="y").encoding.encode(plain, need_target=True)
    forms = {
        "lazy": lambda: pl.from_arrow(plain).lazy(),
        "batch": lambda: plain.to_batches()[0],
        "reader": lambda: plain.to_reader(),
        "stream": lambda: Streaming(plain),
    }
    for make in forms.values():
        data = from_frame(make(), target="y")
        for made in (
            data.encoding.encode(make(), need_target=True),
            data.encoding.encode(data.frame, need_target=True),
        ):
            assert torch.equal(made.input, expected.input)
            assert torch.equal(made.target, expected.target)
        assert lb.data._accept.accept(make(), 0).input.tolist() == [[1, 0], [2, 1], [4, 0]]
    for wrong in (plain.to_pandas()["x"], {"x": [1]}, np.ones((2, 2)), [1, 2], 3, None):
        with pytest.raises(DataError, match="a data frame"):
            from_frame(wrong)
