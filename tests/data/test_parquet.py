"""Parquet larger than memory: the order is a function of seed and epoch, only what is asked for is read."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.base import DataError, OptionError
from lumbre.data import ParquetData, RowFeed, from_frame, from_parquet
from lumbre.data._parquet import WindowOrder

COLOURS = ["red", "green", "blue"]
LEVELS = {"colour": COLOURS}


def frame(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.normal(5, 3, rows)
    return pd.DataFrame(
        {
            "row": np.arange(rows),
            "size": size,
            "weight": rng.normal(-1, 0.1, rows).astype(np.float32),
            "wild": rng.random(rows) < 0.5,
            "colour": rng.choice(COLOURS, rows),
            "tall": size > 5,
        }
    )


def folder(root: Path, table: pd.DataFrame, files: int = 3, group: int = 25) -> Path:
    """The table in several files, one of them in a folder below, with row groups of uneven sizes."""
    (root / "rest").mkdir(parents=True)
    for index, part in enumerate(np.array_split(np.arange(len(table)), files)):
        name = f"rest/part-{index}.parquet" if index == files - 1 else f"part-{index}.parquet"
        table.iloc[part].to_parquet(root / name, row_group_size=group, index=False)
    return root


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return folder(tmp_path / "many", frame())


def order(data: ParquetData, size: int = 32, shuffle: bool = True, drop_last: bool = False) -> WindowOrder:
    return data.order(size, shuffle=shuffle, drop_last=drop_last, seed=7)


def tall(features: list[str] | None = None, **options: Any) -> Callable[[Path], ParquetData]:
    chosen = ["size", "weight", "wild", "colour"] if features is None else features
    return lambda path: from_parquet(path, target="tall", features=chosen, levels=LEVELS, **options)


def recipe(width: int = 6) -> lb.Recipe:
    made = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return made.set_hparams(in_features=width, out_features=2).set_opt_hparams(lr=0.05)


def numbers(fitted: lb.Fitted) -> list[float]:
    return [*fitted.history["value"], *fitted.model.weight.flatten().tolist()]


def test_a_file_and_a_folder_hold_the_rows_of_the_frame(tmp_path: Path, many: Path) -> None:
    table = frame()
    one = tmp_path / "one.parquet"
    table.to_parquet(one, row_group_size=64, index=False)
    whole = from_frame(table.assign(colour=pd.Categorical(table["colour"], COLOURS)), target="tall")
    expected = whole.encoding.fitted(whole.frame).encode(whole.frame, need_target=True)
    for path, groups in ((one, 5), (str(many), 12)):
        data = from_parquet(path, target="tall", levels=LEVELS)
        assert (len(data), len(data.groups), data.width, data.classes) == (300, groups, 7, ("False", "True"))
        input, target = data.fitted().fetch(range(300), 1)
        assert isinstance(input, Tensor)
        assert input.dtype == torch.float32
        assert torch.allclose(input, expected.input, atol=1e-6)
        assert torch.equal(torch.as_tensor(target), torch.as_tensor(expected.target))


@pytest.mark.parametrize("window", [1, 2, 5, 99])
def test_any_rows_may_be_asked_for_whatever_the_window_holds(many: Path, window: int) -> None:
    data = from_parquet(many, target="row", features=["size"], standardize=False, window=window)
    sizes = torch.from_numpy(frame()["size"].to_numpy().astype(np.float32))
    for seed in range(5):
        rows = torch.randint(300, (64,), generator=torch.Generator().manual_seed(seed))
        input, target = data.fetch(rows, 1)
        assert torch.equal(torch.as_tensor(target), rows)
        assert torch.equal(torch.as_tensor(input)[:, 0], sizes[rows])


def test_only_the_columns_asked_for_are_read(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    asked: list[list[str]] = []
    read = pyarrow.parquet.ParquetFile.read_row_groups

    def spy(self: Any, groups: list[int], columns: list[str], **options: Any) -> Any:
        asked.append(columns)
        return read(self, groups, columns=columns, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_groups", spy)
    data = tall(["weight", "size"])(many)
    assert not asked, "nothing is read before it is needed"
    data.fetch(range(3), 1)
    assert asked == [["weight", "size", "tall"]]


def test_memory_is_that_of_the_window(many: Path) -> None:
    data = tall(window=2)(many)
    for rows in order(data).batches(1):
        data.fetch(rows, 1)
    assert len(data._slot_of) == 2
    assert data._buffers is not None
    assert data._buffers[0].shape == (50, 6)


def test_each_group_is_read_once_an_epoch(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tall(window=3)(many)
    read: list[int] = []
    decode = ParquetData._decode
    monkeypatch.setattr(ParquetData, "_decode", lambda self, groups: (read.extend(groups), decode(self, groups))[1])
    for rows in order(data, 16).batches(1):
        data.fetch(rows, 1)
    assert sorted(read) == list(range(12))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    window=st.integers(1, 14),
    size=st.integers(1, 70),
    drop=st.booleans(),
    epoch=st.integers(1, 99),
    data=st.data(),
)
def test_an_epoch_is_a_permutation_that_can_be_entered_at_any_batch(
    sizes: list[int], window: int, size: int, drop: bool, epoch: int, data: st.DataObject
) -> None:
    rows = sum(sizes)
    made = WindowOrder(tuple(sizes), window, lb.data.Order(rows, size, True, drop, 3))
    batches = [torch.as_tensor(batch) for batch in made.batches(epoch)]
    assert len(batches) == len(made)
    assert all(len(batch) == size for batch in batches[:-1])
    if batches:
        assert len(batches[-1]) == made.fewest_rows
        drawn = torch.cat(batches)
        assert len(drawn.unique()) == len(drawn) == (rows - rows % size if drop else rows)
        assert 0 <= int(drawn.min()) <= int(drawn.max()) < rows
    start = data.draw(st.integers(0, len(batches)))
    again = [torch.as_tensor(batch) for batch in made.batches(epoch, start)]
    assert len(again) == len(batches) - start
    assert all(torch.equal(a, b) for a, b in zip(again, batches[start:], strict=True))


def test_epochs_and_seeds_differ_and_the_plain_order_is_that_of_the_files(many: Path) -> None:
    data = tall()(many)

    def drawn(made: WindowOrder, epoch: int) -> list[int]:
        return torch.cat([torch.as_tensor(rows) for rows in made.batches(epoch)]).tolist()

    first, second = drawn(order(data), 1), drawn(order(data), 2)
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != second
    assert first != drawn(data.order(32, shuffle=True, drop_last=False, seed=8), 1)
    plain = order(data, shuffle=False)
    assert [row for rows in plain.batches(1) for row in rows] == list(range(300))
    assert [len(rows) for rows in order(data, drop_last=True).batches(1)] == [32] * 9
    parts = [order(data).stripe(rank, 2) for rank in (0, 1)]
    joined = [torch.cat(pair) for pair in zip(*(part.batches(1) for part in parts), strict=True)]  # type: ignore
    assert torch.cat(joined).tolist() == first


def test_rows_of_one_window_are_mixed(many: Path) -> None:
    data = tall(window=12)(many)
    ends = torch.tensor([group.rows for group in data.groups]).cumsum(0)
    first = torch.as_tensor(next(order(data, 50).batches(1)))
    assert len(torch.searchsorted(ends, first, right=True).unique()) >= 8


@pytest.mark.parametrize("window", [2, 8])
def test_fit_learns_and_workers_change_nothing(many: Path, window: int) -> None:
    data = tall(window=window)(many)
    fits = [
        recipe().fit(data, epochs=8, valid_data=0.25, num_workers=workers, verbose=False, device="cpu")
        for workers in (0, 2)
    ]
    assert numbers(fits[0]) == numbers(fits[1])
    assert fits[0].evaluate(data).metrics["acc"] > 0.9
    assert fits[0].evaluate(data).metrics == fits[0].evaluate(data, num_workers=2).metrics


def test_workers_fetch_the_same_batches(many: Path) -> None:
    data = tall(window=2)(many)
    feeds = [RowFeed(data, order(data), torch.device("cpu"), workers) for workers in (0, 2)]
    for epoch in (1, 2):
        for a, b in zip(*(feed.epoch(epoch) for feed in feeds), strict=True):
            assert torch.equal(torch.as_tensor(a.rows), torch.as_tensor(b.rows))
            assert torch.equal(torch.as_tensor(a.input), torch.as_tensor(b.input))
            assert torch.equal(torch.as_tensor(a.target), torch.as_tensor(b.target))


def test_validation_takes_whole_row_groups_and_the_training_rows_alone_set_the_scale(many: Path) -> None:
    data = from_parquet(many, target="tall", features=["size", "row"])
    train, valid = data.parts((0.75, 0.25), 0)
    inside = [
        {int(row) for row in torch.as_tensor(part.fetch(range(len(part)), 1)[0])[:, 1].round().int()}
        for part in (train, valid)
    ]
    assert inside[0].isdisjoint(inside[1])
    assert inside[0] | inside[1] == set(range(300))
    assert (len(train.groups), len(valid.groups)) == (9, 3)
    fitted = recipe(2).fit(data, epochs=1, valid_data=0.25, verbose=False)
    encoding = fitted._session.encoding
    assert encoding is not None
    chosen = frame().iloc[sorted(inside[0])]
    assert encoding.center == pytest.approx(chosen[["size", "row"]].mean().tolist())
    assert encoding.scale == pytest.approx(chosen[["size", "row"]].std(ddof=0).tolist())


def test_standardisation_is_that_of_the_frame_even_far_from_zero(tmp_path: Path) -> None:
    table = frame().assign(far=frame()["size"] + 1e7, same=7)
    path = folder(tmp_path / "far", table)
    columns = ["size", "weight", "far", "same"]
    found = from_parquet(path, features=columns).fitted().encoding
    expected = from_frame(table[columns]).encoding.fitted(table)
    assert found.center == pytest.approx(expected.center, rel=1e-12)
    assert found.scale == pytest.approx(expected.scale, rel=1e-6)
    assert from_parquet(path, features=columns, standardize=False).fitted().encoding.center == ()


def test_predict_takes_files_and_frames_in_their_order(many: Path, tmp_path: Path) -> None:
    fitted = recipe().fit(tall()(many), epochs=2, verbose=False)
    from_files = fitted.predict(tall()(many))
    # Not to the last digit: files may come in other batches than frames, whose products other kernels make.
    torch.testing.assert_close(from_files, fitted.predict(frame()), rtol=1e-5, atol=1e-6)
    assert set(fitted.predict_classes(frame())) <= {"False", "True"}
    new = tmp_path / "new.parquet"
    frame().drop(columns="tall").to_parquet(new, row_group_size=50, index=False)
    unlabelled = from_parquet(new, features=["size", "weight", "wild", "colour"], levels=LEVELS)
    torch.testing.assert_close(fitted.predict(unlabelled), from_files, rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="tall"):
        fitted.evaluate(unlabelled)
    # Once the encoding is known, a path says all.
    torch.testing.assert_close(fitted.predict(new), from_files, rtol=1e-5, atol=1e-6)
    assert torch.equal(fitted.predict(str(many)), from_files)
    assert fitted.evaluate(many).metrics == fitted.evaluate(tall()(many)).metrics
    with pytest.raises(DataError, match="tall"):
        fitted.evaluate(new)
    fitted.save(tmp_path / "a.lumbre")
    assert torch.equal(lb.load(tmp_path / "a.lumbre", nn.Linear).predict(tall()(many)), from_files)


def test_levels_may_name_integers_and_unknown_ones_are_refused_or_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"floor": [2, 0, 1, 2], "colour": ["red", "pink", "red", "blue"], "x": [1.0, 2, 3, 4]}).to_parquet(
        path
    )
    data = from_parquet(path, target="floor", features=["x"], levels={"floor": ["0", "1", "2"]})
    assert data.classes == ("0", "1", "2")
    assert torch.as_tensor(data.fetch(range(4), 1)[1]).tolist() == [2, 0, 1, 2]
    with pytest.raises(DataError, match="'pink'"):
        from_parquet(path, features=["colour"], levels=LEVELS).fetch(range(4), 1)
    lax = from_parquet(path, features=["colour"], levels=LEVELS, unknown="ignore").fetch(range(4), 1)[0]
    assert torch.as_tensor(lax).tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_missing_values_are_found_before_training(tmp_path: Path) -> None:
    for name, column in (("null", [1.0, None, 3.0, None]), ("nan", [1.0, float("nan"), 3.0, float("nan")])):
        path = tmp_path / f"{name}.parquet"
        table = pd.DataFrame({"a": column, "b": [True, False, True, False]})
        table.to_parquet(path, row_group_size=2)
        with pytest.raises(DataError, match=r"missing values .*'a'"):
            recipe(1).fit(from_parquet(path, target="b"), epochs=1, verbose=False)


def test_what_is_not_there_or_cannot_be_used(many: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        from_parquet(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds some"):
        from_parquet(tmp_path / "empty")
    with pytest.raises(DataError, match="Did you mean 'size'"):
        from_parquet(many, features=["sise"])
    with pytest.raises(DataError, match=r"levels=\{'colour'"):
        from_parquet(many, target="tall")
    with pytest.raises(DataError, match="Did you mean 'colour'"):
        from_parquet(many, features=["size"], levels={"color": COLOURS})
    with pytest.raises(OptionError, match="window=0"):
        from_parquet(many, window=0)
    with pytest.raises(OptionError, match="one of 'error', 'ignore'"):
        from_parquet(many, unknown="none")
    (tmp_path / "text.parquet").write_text("size,colour\n1,red\n")
    with pytest.raises(DataError, match=r"text\.parquet.*cannot be read"):
        from_parquet(tmp_path / "text.parquet")
    frame(3)[:0].to_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="without rows"):
        from_parquet(tmp_path / "none.parquet", features=["size"])


def test_files_of_different_columns_are_told_apart(many: Path) -> None:
    frame(9).drop(columns="weight").assign(size="big").to_parquet(many / "z.parquet", index=False)
    with pytest.raises(DataError, match=r"'size' as .*z\.parquet, as double in part-0\.parquet"):
        from_parquet(many, features=["size"])
    with pytest.raises(DataError, match="'weight' as missing in z"):
        from_parquet(many, features=["weight"])
    assert len(from_parquet(many, target="tall", features=["wild"])) == 309


def test_fractions_and_paths_that_cannot_be(many: Path) -> None:
    with pytest.raises(OptionError, match=r"valid_data=1\.5"):
        recipe().fit(tall()(many), valid_data=1.5)
    with pytest.raises(OptionError, match=r"12 row groups to part into \[12, 0\]"):
        recipe().fit(tall()(many), valid_data=0.01)
    with pytest.raises(DataError, match=r"lumbre\.data\.from_parquet\(path"):
        recipe().fit(many / "part-0.parquet")
    parts = lb.split(tall()(many), 0.5, 0.25, 0.25)
    assert [len(part.groups) for part in parts] == [6, 3, 3]


@pytest.mark.parametrize("index", ["sampled", "named", "two levels", "range"])
def test_an_index_of_pandas_is_no_feature(index: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0.5, 1.5, 2.5], "id": [7, 9, 8]})
    rows = {
        "sampled": rows.sample(frac=1, random_state=1)[["x", "y"]],
        "named": rows.set_index("id"),
        "two levels": rows.set_index([pd.Index(["a", "b", "c"]), pd.Index([3, 2, 1], name="n")])[["x", "y"]],
        "range": rows[["x", "y"]],
    }[index]
    rows.to_parquet(tmp_path / "a.parquet")
    data = from_parquet(tmp_path / "a.parquet", target="y")
    assert [column.name for column in data.encoding.features] == ["x"]
    for frame in (pq.read_table(tmp_path / "a.parquet"), rows):
        assert [column.name for column in from_frame(frame, target="y").encoding.features] == ["x"]
        assert lb.data._accept.numeric_matrix(frame).shape == (3, 2)
    if index == "named":  # unless it is asked for
        assert from_parquet(tmp_path / "a.parquet", target="y", features=["id", "x"]).width == 2
        assert from_parquet(tmp_path / "a.parquet", target="id").width == 2
    if index == "sampled":
        left = pl.read_parquet(tmp_path / "a.parquet")
        assert [c.name for c in from_frame(left, target="y").encoding.features] == ["x"]


def test_hidden_and_temporary_files_are_left_aside(tmp_path: Path) -> None:
    root = tmp_path / ".data" / "_set"  # what lies above the folder is the user's own
    rows = pd.DataFrame({"x": [1.0, 2.0], "y": [0.5, 1.5]})
    for place in (
        "part-0",
        "sub/part-1",
        "_temporary/0/part-0",
        ".part-2",
        "_part-3",
        "sub/.hidden/part",
        "sub/_x/part",
    ):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(root / f"{place}.parquet")
    (root / ".half.parquet").write_bytes(b"half")
    (root / "folder.parquet").mkdir()
    assert len(from_parquet(root, target="y")) == 4
    assert len(from_parquet(root / "_part-3.parquet", target="y")) == 2


def test_many_small_row_groups_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The footer of a file is read once, however many row groups it lists, and short groups are read together."""
    import pyarrow.parquet

    opened, read = [], []
    plain = pyarrow.parquet.ParquetFile

    class Counted(plain):
        def __init__(self, file: Any, **options: Any) -> None:
            opened.append(file)
            super().__init__(file, **options)

        def read_row_groups(self, groups: list[int], **options: Any) -> Any:
            read.append(len(groups))
            return super().read_row_groups(groups, **options)

    rows = pd.DataFrame({"x": np.arange(300.0), "y": np.arange(300.0)})
    for number in range(3):
        rows[100 * number : 100 * number + 100].to_parquet(tmp_path / f"{number}.parquet", row_group_size=2)
    data = from_parquet(tmp_path, target="y", standardize=False)
    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", Counted)
    center = from_parquet(tmp_path, target="y").fitted().encoding.center
    assert center == (149.5,)
    assert len(opened) == 6  # once to look at, once to read
    assert read == [50, 50, 50]
    opened.clear()
    for batch in data.order(16, shuffle=True, drop_last=False, seed=0).batches(1):
        input, target = data.fetch(batch, 1)
        assert input[:, 0].tolist() == target.tolist() == batch.tolist()
    assert len(opened) == 3
    copied = copy.deepcopy(data)
    assert copied.fetch(torch.arange(5), 1)[1].tolist() == [0, 1, 2, 3, 4]
