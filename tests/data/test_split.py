"""Laws of parting rows: disjoint, complete, of the sizes asked for, classes shared out, groups never cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from lumbre.base import DataError, OptionError
from lumbre.data import folds, split, split_rows

SHARES = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(lambda parts: [p / sum(parts) for p in parts])
SEEDS = st.integers(0, 2**40)


def numbered(rows: int) -> torch.Tensor:
    """Data whose input is its row number."""
    return torch.arange(rows)


def held(part: object) -> torch.Tensor:
    return part.fetch(range(len(part)), 1)[0]  # type: ignore[attr-defined, arg-type]


def labels(rows: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, rows) ** 2 // max(1, count - 1)


def assert_parts(parts: list[torch.Tensor], rows: int) -> None:
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(rows))
    assert all(torch.equal(part, part.sort().values) for part in parts)


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(50, 2000), shares=SHARES, seed=SEEDS)
def test_parts_are_the_data_at_the_sizes_asked_for(rows: int, shares: list[float], seed: int) -> None:
    parts = [held(part) for part in split(numbered(rows), *shares, seed=seed)]
    assert_parts(parts, rows)
    assert all(abs(len(part) - share * rows) <= 1 for part, share in zip(parts, shares, strict=True))
    again = [held(part) for part in split(numbered(rows), *shares, seed=seed)]
    assert all(map(torch.equal, parts, again))
    other = [held(part) for part in split(numbered(rows), *shares, seed=seed + 1)]
    assert not all(map(torch.equal, parts, other))


def assert_shares(parts: list[torch.Tensor], shares: list[float], classes: np.ndarray) -> None:
    """Each part holds its share of the rows and of every class, within one row."""
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * len(classes)) < 1 + 1e-6
        for class_ in np.unique(classes):
            assert abs((classes[part.numpy()] == class_).sum() - share * (classes == class_).sum()) < 1 + 1e-6


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(100, 2000), shares=SHARES, count=st.integers(1, 200), seed=SEEDS)
def test_each_part_holds_its_share_of_every_class(rows: int, shares: list[float], count: int, seed: int) -> None:
    classes = labels(rows, count, seed)
    parts = [held(part) for part in split(numbered(rows), *shares, seed=seed, stratify=classes)]
    assert_parts(parts, rows)
    assert_shares(parts, shares, classes)
    again = [held(part) for part in split(numbered(rows), *shares, seed=seed, stratify=classes)]
    assert all(map(torch.equal, parts, again))


def test_the_roundings_of_many_classes_do_not_add_up() -> None:
    classes = np.arange(1000) // 10
    parts = [held(part) for part in split(numbered(1000), 0.5, 0.25, 0.25, stratify=classes)]
    assert [len(part) for part in parts] == [500, 250, 250]
    assert_shares(parts, [0.5, 0.25, 0.25], classes)


def test_the_first_of_five_parts_is_right_too() -> None:
    classes, shares = labels(100, 17, 0), [share / 22 for share in (3, 1, 1, 8, 9)]
    parts = [held(part) for part in split(numbered(100), *shares, seed=0, stratify=classes)]
    assert_parts(parts, 100)
    assert_shares(parts, shares, classes)


@settings(max_examples=100, deadline=None)
@given(shares=SHARES, sizes=st.lists(st.integers(1, 30), min_size=1, max_size=100))
def test_classes_of_few_rows_leave_the_parts_right(shares: list[float], sizes: list[int]) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes)
    try:
        parts = [held(part) for part in split(numbered(len(classes)), *shares, stratify=classes)]
    except OptionError:  # a part without rows
        assert min(shares) * len(classes) < 1
        return
    assert_shares(parts, shares, classes)


def test_two_parts_of_many_classes_are_right_too() -> None:
    classes = labels(51, 50, 0)
    parts = [held(part) for part in split(numbered(51), 0.7, 0.3, stratify=classes)]
    assert_shares(parts, [0.7, 0.3], classes)


def test_two_parts_of_many_classes_are_where_they_were() -> None:
    """The rows that a seed gave before more parts were mended."""
    train, valid = split(numbered(40), 0.8, 0.2, seed=3, stratify=np.arange(40) % 7)
    assert held(valid).tolist() == [0, 1, 2, 3, 23, 27, 32, 33]
    assert len(train) == 32


@pytest.mark.parametrize("shares", [(0.5, 0.25, 0.25), (0.25,) * 4, (0.3, 0.7)])
def test_roundings_of_many_classes_by_weight_do_not_add_up(shares: tuple[float, ...]) -> None:
    labels, weights = np.repeat(np.arange(100), 10), np.ones(1000)
    weights[0] = 1.01  # so that weights count at all
    data = lb.data.weighted((torch.zeros(1000, 1), torch.as_tensor(labels)), weights)
    parts = [float(part.weights.sum()) for part in lb.split(data, *shares, stratify=True)]
    assert parts == pytest.approx([share * 1000 for share in shares], abs=2)
    if len(set(shares)) == 1:
        held = [float(valid.weights.sum()) for _, valid in lb.data.folds(data, len(shares), stratify=True)]
        assert held == pytest.approx([250] * 4, abs=2)


def test_many_small_classes_do_not_round_a_part_away() -> None:
    train, valid = split(numbered(200), 0.8, 0.2, stratify=np.arange(200) // 2)
    assert (len(train), len(valid)) == (160, 40)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(60, 1000), shares=SHARES, count=st.integers(20, 60), seed=SEEDS, stratify=st.booleans())
def test_groups_are_never_cut(rows: int, shares: list[float], count: int, seed: int, stratify: bool) -> None:
    groups = labels(rows, count, seed)
    classes = labels(rows, 3, seed + 1) if stratify else None
    parts = [held(part) for part in split(numbered(rows), *shares, seed=seed, group=groups, stratify=classes)]
    assert_parts(parts, rows)
    owned = [set(groups[part.numpy()].tolist()) for part in parts]
    assert sum(map(len, owned)) == len(set().union(*owned))
    if not stratify:
        largest = np.bincount(groups).max()
        assert all(len(part) - share * rows <= largest for part, share in zip(parts, shares, strict=True))


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(40, 800),
    k=st.integers(2, 12),
    seed=SEEDS,
    stratify=st.booleans(),
    group=st.booleans(),
)
def test_every_row_is_held_out_once(rows: int, k: int, seed: int, stratify: bool, group: bool) -> None:
    classes = labels(rows, 4, seed) if stratify else None
    groups = np.arange(rows) // 3 if group else None
    pairs = [(held(a), held(b)) for a, b in folds(numbered(rows), k, stratify=classes, group=groups, seed=seed)]
    assert len(pairs) == k
    assert_parts([valid for _, valid in pairs], rows)
    for train, valid in pairs:
        assert_parts([train, valid], rows)
        if groups is not None:
            assert not set(groups[train.numpy()].tolist()) & set(groups[valid.numpy()].tolist())
        else:
            assert abs(len(valid) - rows / k) < 1
        if classes is not None and groups is None:
            for class_ in np.unique(classes):
                assert abs((classes[valid.numpy()] == class_).sum() - (classes == class_).sum() / k) < 1
    again = [held(valid) for _, valid in folds(numbered(rows), k, stratify=classes, group=groups, seed=seed)]
    assert all(torch.equal(valid, other) for (_, valid), other in zip(pairs, again, strict=True))
    other = [held(valid) for _, valid in folds(numbered(rows), k, stratify=classes, group=groups, seed=seed + 1)]
    assert not all(torch.equal(valid, two) for (_, valid), two in zip(pairs, other, strict=True))


def test_groups_share_out_the_classes_as_well_as_they_can() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 10)
    classes = (generator.random(1000) < np.repeat(generator.random(100), 10)).astype(int)
    train, valid = split(numbered(1000), 0.8, 0.2, group=groups, stratify=classes)
    assert abs(classes[held(valid)].mean() - classes.mean()) < 0.03
    assert 170 <= len(valid) <= 230
    assert len(train) + len(valid) == 1000


def test_as_many_groups_as_parts_leave_no_part_empty() -> None:
    train, valid = split(numbered(100), 0.9, 0.1, group=np.arange(100) // 50)
    assert (len(train), len(valid)) == (50, 50)


def test_true_takes_the_target_of_the_data() -> None:
    y = torch.tensor([0] * 80 + [1] * 20)
    _, valid = split((torch.randn(100, 2), y), 0.75, 0.25, stratify=True)
    assert torch.bincount(valid.fetch(range(25), 1)[1]).tolist() == [20, 5]
    _, half = split(valid, 0.6, 0.4, stratify=True)
    assert torch.bincount(half.fetch(range(10), 1)[1]).tolist() == [8, 2]
    frame = lb.datasets.penguins(drop_missing=True)
    train, valid = split(lb.data.from_frame(frame, target="species"), 0.8, 0.2, stratify=True)
    shares = train.frame["species"].value_counts(normalize=True) - valid.frame["species"].value_counts(normalize=True)
    assert shares.abs().max() < 0.02
    assert len(train) + len(valid) == len(frame)


def test_text_labels_and_any_kind_of_array_are_taken() -> None:
    import pandas as pd
    import polars as pl

    texts = ["a", "b"] * 20
    by_list = [held(part) for part in split(numbered(40), 0.5, 0.5, stratify=texts)]
    for other in (np.array(texts), pd.Series(texts), pd.Series(texts, dtype="category"), pl.Series(texts)):
        assert all(map(torch.equal, by_list, map(held, split(numbered(40), 0.5, 0.5, stratify=other))))
    floats = torch.tensor([0.0, 1.0] * 20)
    assert all(map(torch.equal, by_list, map(held, split(numbered(40), 0.5, 0.5, stratify=floats))))


def test_what_cannot_be_parted_is_refused() -> None:
    data = numbered(10)
    with pytest.raises(OptionError, match="add up to 1"):
        split(data, 0.5, 0.4)
    with pytest.raises(OptionError, match="at least one row in each part"):
        split(numbered(3), 0.9, 0.05, 0.05)
    with pytest.raises(OptionError, match="in 1 whole groups"):
        split(data, 0.5, 0.5, group=np.zeros(10))
    with pytest.raises(DataError, match="cannot be counted"):
        split(DataLoader(TensorDataset(data)), 0.5, 0.5)
    with pytest.raises(DataError, match=r"stratify of shape \(9,\) for 10 rows"):
        split(data, 0.5, 0.5, stratify=np.zeros(9))
    with pytest.raises(DataError, match="2 missing values"):
        split(data, 0.5, 0.5, group=["a", None] * 2 + ["b"] * 6)
    with pytest.raises(DataError, match="bucketize"):
        split(data, 0.5, 0.5, stratify=torch.rand(10))
    with pytest.raises(DataError, match="not at hand"):
        split(data, 0.5, 0.5, stratify=True)
    with pytest.raises(OptionError, match="from 2 to 10 folds"):
        folds(data, 11)
    with pytest.raises(OptionError, match="from 2 to 5 folds"):
        folds(data, 6, group=np.arange(10) // 2)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, 0.01])
def test_a_fraction_that_leaves_a_side_empty_is_refused(fraction: float) -> None:
    with pytest.raises(OptionError):
        split_rows(10, fraction, 0)


def test_columns_of_frame_data_may_be_named() -> None:
    penguins = lb.datasets.penguins(drop_missing=True)
    data = lb.data.from_frame(penguins, target="body_mass_g", features=["bill_length_mm"])
    train, test = lb.split(data, 0.5, 0.5, stratify="species")
    assert abs((train.column("species") == "Gentoo").sum() - (test.column("species") == "Gentoo").sum()) <= 1
    here, there = lb.split(data, 0.5, 0.5, group="island")
    assert not set(here.column("island")) & set(there.column("island"))
    with pytest.raises(lb.DataError, match="species"):
        lb.split(data, 0.5, 0.5, stratify="specie")


def test_a_fraction_that_is_no_number_is_refused_in_words() -> None:
    with pytest.raises(lb.OptionError, match="the fractions nan, 1"):
        lb.split(torch.zeros(10, 1), float("nan"), 1.0)


def test_fractions_in_a_list_are_refused_in_words() -> None:
    with pytest.raises(lb.OptionError, match="one after the other"):
        lb.split(torch.randn(10, 2), [0.5, 0.5])  # pyright: ignore[reportArgumentType]
    assert [len(part) for part in lb.split(torch.randn(10, 2), np.float32(0.5), np.float64(0.5))] == [5, 5]
