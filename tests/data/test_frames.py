"""Frames of any library become the same tensors; what is learned is learned from training rows alone."""

import datetime
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
from lumbre.base import DataError, OptionError
from lumbre.data import FrameData, from_frame, is_frame

COLUMNS: dict[str, list[Any]] = {
    "size": [1.5, -2.0, 3.0, 0.25, 8.0, 1.0],
    "count": [3, 1, 4, 1, 5, 9],
    "wild": [True, False, True, True, False, False],
    "colour": ["red", "green", "red", "blue", "green", "red"],
    "kind": ["b", "a", "b", "b", "a", "a"],
}
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def encoded(data: FrameData, rows: torch.Tensor | None = None, *, need_target: bool = True) -> Any:
    return data.encoding.fitted(data.frame, rows).encode(data.frame, need_target=need_target)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("categories", ["one-hot", "codes"])
def test_every_library_gives_the_same_tensors(library: str, categories: str) -> None:
    frame = LIBRARIES[library](COLUMNS)
    assert is_frame(frame)
    made = encoded(from_frame(frame, target="kind", categories=categories))
    plain = encoded(from_frame(pd.DataFrame(COLUMNS), target="kind", categories=categories))
    if categories == "codes":
        assert made.input.keys() == plain.input.keys() == {"numbers", "codes"}
        assert torch.equal(made.input["numbers"], plain.input["numbers"])
        assert torch.equal(made.input["codes"], plain.input["codes"])
        assert made.input["codes"].tolist() == [[2], [1], [2], [0], [1], [2]]
    else:
        assert torch.equal(made.input, plain.input)
        assert made.input.shape == (6, 6)
        assert made.input.dtype == torch.float32
        assert made.input[:, 2].tolist() == [1, 0, 1, 1, 0, 0]
        assert made.input[:, 3:].argmax(1).tolist() == [2, 1, 2, 0, 1, 2]
    assert made.target.tolist() == [1, 0, 1, 1, 0, 0]
    assert made.target.dtype == torch.int64
    assert made.classes == ("a", "b")


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 60),
    library=st.sampled_from(sorted(LIBRARIES)),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 999),
)
def test_means_and_spreads_come_from_the_training_rows(rows: int, library: str, share: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(5, 3, (rows, 2))
    chosen = torch.from_numpy(np.sort(generator.permutation(rows)[: max(2, int(rows * share))]))
    frame = LIBRARIES[library]({"a": values[:, 0], "b": values[:, 1].astype(np.float32), "same": np.full(rows, 7)})
    made = encoded(from_frame(frame), chosen)
    inside = made.input[chosen].double()
    assert torch.allclose(inside.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(inside[:, :2].std(0, correction=0), torch.ones(2, dtype=torch.float64), atol=1e-4)
    assert (made.input[:, 2] == 0).all()
    outside = {name: np.asarray(frame[name]).copy() for name in ("a", "b", "same")}
    for column in outside.values():
        column[np.setdiff1d(np.arange(rows), chosen.numpy())] = 10**6
    other = encoded(from_frame(LIBRARIES[library](outside)), chosen)
    assert torch.equal(other.input[chosen], made.input[chosen])


def test_the_target_keeps_its_meaning() -> None:
    frame = pd.DataFrame(COLUMNS)
    for target, dtype in (("count", torch.int64), ("size", torch.float32), ("wild", torch.int64)):
        other = "count" if target == "size" else "size"
        made = encoded(from_frame(frame, target=target, features=[other]))
        assert made.target.dtype == dtype
        assert made.target.tolist() == [float(value) for value in COLUMNS[target]]
    assert from_frame(frame, target="wild").classes == ("False", "True")
    assert from_frame(frame, target="count").classes is None
    assert from_frame(frame).encoding.target is None
    declared = frame.assign(kind=pd.Categorical(frame["kind"], categories=["b", "a", "never"]))
    assert from_frame(declared, target="kind").classes == ("b", "a", "never")
    assert encoded(from_frame(declared, target="kind")).target.tolist() == [0, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_category_that_was_not_seen(library: str) -> None:
    make = LIBRARIES[library]
    new = make({**COLUMNS, "colour": ["red", "pink", "red", "red", "red", "red"]})
    strict = from_frame(make(COLUMNS), target="kind", features=["colour"])
    with pytest.raises(DataError, match="'pink'"):
        strict.encoding.encode(new, need_target=False)
    for categories, row in (("one-hot", [0.0, 0.0, 0.0]), ("codes", [-1])):
        lax = from_frame(make(COLUMNS), features=["colour"], unknown="ignore", categories=categories)
        assert lax.encoding.encode(new, need_target=False).input[1].tolist() == row


@pytest.mark.parametrize("library", LIBRARIES)
def test_missing_values_are_refused_and_counted(library: str) -> None:
    for name, value in (("size", None), ("size", float("nan")), ("colour", None)):
        holes = [value if row in (1, 4) else given for row, given in enumerate(COLUMNS[name])]
        frame = LIBRARIES[library]({**COLUMNS, name: holes})
        with pytest.raises(DataError, match=f"2 in '{name}'"):
            from_frame(frame, target="kind")
        data = from_frame(LIBRARIES[library](COLUMNS), target="kind")
        with pytest.raises(DataError, match=f"2 in '{name}'"):
            data.encoding.encode(frame, need_target=False)


@pytest.mark.parametrize("library", LIBRARIES)
def test_dates_are_refused_with_advice(library: str) -> None:
    frame = LIBRARIES[library]({**COLUMNS, "day": [datetime.datetime(2024, 1, day) for day in range(1, 7)]})
    with pytest.raises(DataError, match="days since a date"):
        from_frame(frame, target="kind")
    assert from_frame(frame, target="kind", features=["size"]).width == 1


def test_columns_and_options_that_are_none_are_refused() -> None:
    frame = pd.DataFrame(COLUMNS)
    with pytest.raises(DataError, match="Did you mean 'kind'"):
        from_frame(frame, target="knid")
    with pytest.raises(DataError, match="without rows"):
        from_frame(frame[:0])
    with pytest.raises(OptionError, match="one-hot"):
        from_frame(frame, categories="onehot")
    with pytest.raises(DataError, match="missing: size"):
        from_frame(frame, target="kind").encoding.encode(frame.drop(columns="size"), need_target=False)
    with pytest.raises(DataError, match="no numbers"):
        lb.data.InMemoryDataset(lb.data._accept.numeric_matrix(frame))


def test_taking_rows_keeps_the_encoding() -> None:
    for make in LIBRARIES.values():
        data = from_frame(make(COLUMNS), target="kind")
        some = data.take(torch.tensor([4, 0]))
        assert len(some) == 2
        assert some.encoding is data.encoding
        assert encoded(some).target.tolist() == [0, 1]
        assert data.column("count").tolist() == COLUMNS["count"]


def test_no_second_copy_of_the_frame_is_held() -> None:
    import tracemalloc

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50_000, 40)).astype(np.float32))
    frame.columns = [f"c{i}" for i in range(40)]
    data = from_frame(frame)
    encoded(data)
    tracemalloc.start()
    encoded(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * frame.memory_usage(deep=True).sum()


@pytest.mark.parametrize(
    ("features", "said"),
    [(["a", "y"], "as feature and target"), (["a", "a"], "twice"), ([], "no features")],
)
def test_features_are_told_once_and_are_not_the_target(features, said) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [0.0, 1.0]})
    with pytest.raises(lb.DataError, match=said):
        lb.data.from_frame(frame, target="y", features=features)


def test_infinite_numbers_are_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, float("inf")], "y": [0.0, 1.0]})
    with pytest.raises(lb.DataError, match="infinite"):
        lb.data.from_frame(frame, target="y")


def test_categories_that_are_no_text_keep_their_numbers() -> None:
    floors = pd.Categorical([2, 0, 1, 2], categories=[0, 1, 2, 9])
    words = pd.Categorical([1, "one", 1, "two"], categories=[1, "one", "two"])
    data = from_frame(pd.DataFrame({"floor": floors, "words": words, "y": floors}), target="y", categories="codes")
    made = encoded(data)
    assert data.classes == ("0", "1", "2", "9")
    assert made.target.tolist() == [2, 0, 1, 2]
    assert made.input.tolist() == [[2, 0], [0, 1], [1, 0], [2, 2]]


def test_text_where_numbers_were_is_refused() -> None:
    data = from_frame(pd.DataFrame(COLUMNS), features=["size", "wild"])
    for name in ("size", "wild"):
        with pytest.raises(DataError, match=f"column '{name}' of type"):
            data.encoding.encode(pd.DataFrame({**COLUMNS, name: COLUMNS["colour"]}), need_target=False)


@pytest.fixture
def float64() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


FINE = {"a": [0.1, 0.2, 1 / 3], "t": [1.7e9 + 0.5, 1.7e9 + 1.5, 1.7e9 + 2.5], "y": [0.1, 1 / 3, 2.0]}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("library", LIBRARIES)
def test_float64_by_default_keeps_every_digit(library: str) -> None:
    frame = LIBRARIES[library](FINE)
    made = from_frame(frame, target="y", standardize=False).encoding.encode(frame, need_target=True)
    assert made.input.tolist() == [list(row) for row in zip(FINE["a"], FINE["t"], strict=True)]
    assert made.target.tolist() == FINE["y"]
    scaled = encoded(from_frame(frame, target="y")).input
    values = np.array([FINE["a"], FINE["t"]]).T
    expected = (values - values.mean(0)) / values.std(0)
    assert scaled.dtype == torch.float64
    np.testing.assert_allclose(scaled.numpy(), expected, rtol=1e-14)
    raw = lb.data._accept.accept((LIBRARIES[library]({"a": FINE["a"], "t": FINE["t"]}), frame["y"]), 0)
    assert raw.input.tolist() == made.input.tolist()
    assert raw.target.tolist() == FINE["y"]


@pytest.mark.usefixtures("float64")
def test_float64_by_default_keeps_every_digit_of_files(tmp_path: Any) -> None:
    pd.DataFrame(FINE).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame(FINE).to_csv(tmp_path / "a.csv", index=False)
    files = lb.data.from_parquet(tmp_path / "a.parquet", target="y", standardize=False)
    text = lb.data.from_csv(tmp_path / "a.csv", target="y", standardize=False)
    for made in (files, text.encoding.encode(text.frame, need_target=True)):
        input, target = made.fetch(torch.arange(3), 1)
        assert input.tolist() == [list(row) for row in zip(FINE["a"], FINE["t"], strict=True)]
        assert target.tolist() == FINE["y"]


def test_numbers_beyond_float32_are_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "y": [0.0, 1.0, 2.0]})
    large = frame.assign(a=[1.0, 2.0, 1e300])
    data = from_frame(large, target="y")
    with pytest.raises(DataError, match="column 'a' with a number beyond float32"):
        data.encoding.fitted(large)
    with pytest.raises(DataError, match="column 'a'"):
        from_frame(large, standardize=False).encoding.encode(large, need_target=False)
    with pytest.raises(DataError, match="column 'a'"):
        from_frame(frame, target="y").encoding.fitted(frame).encode(large, need_target=False)
    with pytest.raises(DataError, match="column 'a'"):
        lb.data._accept.numeric_matrix(large)
    with pytest.raises(DataError, match="'y'"):
        from_frame(frame, target="y").encoding.encode(frame.assign(y=[0, 1, 1e300]), need_target=True)
    assert from_frame(frame.assign(a=[1.0, 2.0, 3e38]), target="y").encoding.fitted(frame).center


def test_a_column_of_one_large_value_becomes_zeros() -> None:
    frame = pd.DataFrame({"a": [1e6 + 0.1] * 7, "y": range(7)})
    data = lb.data.from_frame(frame, target="y")
    assert data.encoding.fitted(frame).encode(frame, need_target=False).input.abs().max() < 1e-3
