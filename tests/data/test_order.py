"""Laws of the order of rows: permutations, pure functions of seed and epoch, striped without loss."""

import tracemalloc
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lumbre.base import DataError, OptionError, Rows
from lumbre.data import Order, RowOrder, WeightedOrder, balanced_weights, shuffled

SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(1, 10_000)
POWERS = sorted({n for bits in range(1, 17) for n in (2**bits - 1, 2**bits, 2**bits + 1)})
SIGMAS = 5.0  # a normal number lies outside once in 1.7 million


def positions(*bounds: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return np.arange(*bounds, dtype=np.uint64)


def whole(order: RowOrder, epoch: int, start: int = 0) -> Tensor:
    parts = [torch.as_tensor(rows) for rows in order.batches(epoch, start)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def is_permutation(rows: Tensor, count: int) -> bool:
    return torch.equal(rows.sort().values, torch.arange(count))


@settings(max_examples=150, deadline=None)
@given(rows=st.integers(1, 4000), key=SEEDS)
def test_the_bijection_is_one_for_every_size(rows: int, key: int) -> None:
    assert is_permutation(shuffled(positions(rows), rows, key), rows)


@pytest.mark.parametrize("rows", POWERS)
def test_the_bijection_is_one_around_powers_of_two(rows: int) -> None:
    assert is_permutation(shuffled(positions(rows), rows, 7), rows)


def test_the_bijection_is_one_for_every_small_size() -> None:
    for rows in range(1, 400):
        assert is_permutation(shuffled(positions(rows), rows, rows), rows)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2**20, 2**62), key=SEEDS, data=st.data())
def test_the_bijection_of_a_huge_domain_stays_inside_and_never_collides(
    rows: int, key: int, data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, rows - 5000))
    images = shuffled(positions(begin, begin + 5000), rows, key)
    assert images.min() >= 0
    assert images.max() < rows
    assert len(images.unique()) == 5000


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 3000), size=st.integers(1, 300), drop=st.booleans(), seed=SEEDS, epoch=EPOCHS)
def test_an_epoch_is_a_permutation_cut_into_batches(rows: int, size: int, drop: bool, seed: int, epoch: int) -> None:
    order = Order(rows, size, True, drop, seed)
    batches = list(order.batches(epoch))
    assert len(batches) == len(order)
    assert all(len(batch) == size for batch in batches[:-1])
    if batches:
        assert order.fewest_rows == len(batches[-1])
    drawn = whole(order, epoch)
    assert len(drawn.unique()) == len(drawn) == (rows - rows % size if drop else rows)
    assert torch.equal(drawn, whole(order, epoch))


@pytest.mark.parametrize("rows", [1, 2**16, 2**16 + 1, 200_003])
@pytest.mark.parametrize("epoch", [1, 2])
def test_both_ways_of_shuffling_give_permutations(rows: int, epoch: int) -> None:
    assert is_permutation(whole(Order(rows, 1000, True, False, 3), epoch), rows)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.sampled_from([1, 7, 1000, 2**16, 2**16 + 1, 70_001]),
    size=st.sampled_from([1, 64, 999, 100_000]),
    shuffle=st.booleans(),
    drop=st.booleans(),
    start=st.integers(0, 80),
    seed=SEEDS,
)
def test_starting_late_gives_the_tail(rows: int, size: int, shuffle: bool, drop: bool, start: int, seed: int) -> None:
    order = Order(rows, max(size, rows // 90 + 1), shuffle, drop, seed)
    late, all_ = list(order.batches(2, start)), list(order.batches(2))
    assert len(late) == max(0, len(all_) - start)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(late, all_[start:], strict=True))


@settings(max_examples=80, deadline=None)
@given(rows=st.integers(1, 2000), size=st.integers(1, 200), world=st.integers(1, 17), shuffle=st.booleans(), seed=SEEDS)
def test_the_stripes_of_all_processes_are_the_batch(rows: int, size: int, world: int, shuffle: bool, seed: int) -> None:
    order = Order(rows, size, shuffle, False, seed)
    stripes = [order.stripe(rank, world) for rank in range(world)]
    given: list[list[Rows]] = [list(stripe.batches(1)) for stripe in stripes]
    counts = [[stripe.counts(index) for index in range(len(order))] for stripe in stripes]
    assert all(len(rows) == max(1, own) for some, reported in zip(given, counts, strict=True)
               for rows, (own, _) in zip(some, reported, strict=True))  # fmt: skip
    assert all([whole for _, whole in reported] == [len(batch) for batch in order.batches(1)] for reported in counts)
    parts = [
        [rows[:own] for rows, (own, _) in zip(some, reported, strict=True)]
        for some, reported in zip(given, counts, strict=True)
    ]
    for batch, *pieces in zip(order.batches(1), *parts, strict=True):
        assert torch.equal(torch.cat([torch.as_tensor(piece) for piece in pieces]), torch.as_tensor(batch))
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
        assert isinstance(pieces[0], range) is not shuffle
    for stripe, own in zip(stripes, parts, strict=True):
        assert (stripe.rows, len(stripe)) == (sum(map(len, own)), len(own))
        assert stripe.fewest_rows == min(map(len, own))
        assert stripe.batch_size == (
            len(own[0]) if rows >= size else size * (stripe.rank + 1) // world - size * stripe.rank // world
        )


def test_a_rank_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="rank 2 of 2"):
        Order(10, 5, True, False, 0).stripe(2, 2)


@pytest.mark.parametrize("rows", [5_000, 70_000], ids=["drawn at once", "bijection"])
def test_neighbouring_seeds_and_epochs_are_uncorrelated(rows: int) -> None:
    """Rank correlations of 40 neighbouring orders, each of standard error 1 / sqrt(rows - 1)."""
    by_seed = [whole(Order(rows, rows, True, False, seed), 1) for seed in range(21)]
    by_epoch = [whole(Order(rows, rows, True, False, 0), epoch) for epoch in range(1, 22)]
    for orders in (by_seed, by_epoch):
        for one, other in pairwise(orders):
            correlation = np.corrcoef(one.numpy(), other.numpy())[0, 1]
            assert abs(correlation) * np.sqrt(rows - 1) < SIGMAS
            assert int((one == other).sum()) < 12  # rows at the same place: Poisson(1), 12 or more once in 10^9


def test_an_order_is_unlike_the_data_and_its_neighbours_unlike_each_other() -> None:
    rows = 100_000
    order = whole(Order(rows, rows, True, False, 5), 1).double()
    place = torch.arange(rows).double()
    for one, other in ((order, place), (order[1:], order[:-1]), (order[2:], order[:-2]), (order[317:], order[:-317])):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) * rows**0.5 < SIGMAS


@pytest.mark.parametrize(("rows", "place"), [(97, 0), (97, 96), (2**20 + 3, 12_345)])
def test_every_row_is_as_likely_at_a_place(rows: int, place: int) -> None:
    """Chi-square over 16 parts of the data for 4,000 keys; 15 degrees of freedom, 60 is passed once in 4 million."""
    at = np.array([place], dtype=np.uint64)
    images = np.array([shuffled(at, rows, key).item() for key in range(4000)])
    parts = np.bincount(images * 16 // rows, minlength=16)
    sizes = np.bincount(np.arange(rows) * 16 // rows, minlength=16) / rows
    assert (((parts - 4000 * sizes) ** 2) / (4000 * sizes)).sum() < 60


def test_pairs_of_images_spread_evenly() -> None:
    """The images of neighbouring places over a grid of 8 x 8; 63 degrees of freedom, 140 is passed once in 10^7."""
    rows = 1 << 18
    images = shuffled(positions(rows), rows, 11).numpy()
    grid = np.bincount((images[:-1] * 8 // rows) * 8 + images[1:] * 8 // rows, minlength=64)
    assert ((grid - rows / 64) ** 2 / (rows / 64)).sum() < 140


def test_an_order_of_a_hundred_million_rows_keeps_nothing() -> None:
    order = Order(100_000_000, 128, True, False, 0)
    next(order.batches(1))
    tracemalloc.start()
    seen = torch.cat(list(islice(order.batches(1, 400_000), 300)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(seen.unique()) == 300 * 128
    assert peak < 4 * 2**20


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 500), size=st.integers(1, 64), drop=st.booleans(), start=st.integers(0, 9), seed=SEEDS)
def test_draws_depend_on_seed_epoch_and_position_alone(rows: int, size: int, drop: bool, start: int, seed: int) -> None:
    order = WeightedOrder(torch.rand(rows) + 0.1, size, drop_last=drop, seed=seed, draws=400)
    drawn = whole(order, 3)
    assert len(drawn) == (400 - 400 % size if drop else 400)
    assert drawn.dtype == torch.int64
    assert int(drawn.max()) < rows
    assert torch.equal(whole(order, 3), drawn)
    assert torch.equal(whole(order, 3, start), drawn[start * size :])
    world = min(2, order.fewest_rows)
    stripes = zip(*(order.stripe(rank, world).batches(3) for rank in range(world)), strict=True)
    assert torch.equal(torch.cat([torch.as_tensor(piece) for pieces in stripes for piece in pieces]), drawn)


def test_draws_follow_the_weights() -> None:
    """Chi-square of 200,000 draws over 9 rows with weight; 8 degrees of freedom, 45 is passed once in 2.7 million."""
    weights = np.array([0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 0], dtype=float)
    order = WeightedOrder(weights, 1000, seed=1, draws=200_000)
    for epoch in (1, 2, 3):
        counts = np.bincount(whole(order, epoch).numpy(), minlength=12)
        expected = 200_000 * weights / weights.sum()
        assert (counts[weights == 0] == 0).all()
        drawn = weights > 0
        assert ((counts - expected)[drawn] ** 2 / expected[drawn]).sum() < 45
    one, other = whole(order, 1).double(), whole(order, 2).double()
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) * 200_000**0.5 < SIGMAS


def test_balanced_weights_give_every_class_its_share() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    drawn = labels[whole(WeightedOrder(balanced_weights(labels), 500, draws=30_000), 1)]
    shares = torch.bincount(drawn) / 30_000
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=SIGMAS * (2 / 9 / 30_000) ** 0.5)
    assert torch.equal(balanced_weights(["b", "a", "b"]), torch.tensor([0.5, 1, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [[1.0], [2.0]]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match="one finite weight"):
        WeightedOrder(weights, 2)


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="one class for each row"):
        balanced_weights(torch.eye(3))


def test_weights_may_be_as_large_as_numbers_go() -> None:
    order = WeightedOrder([1e308] * 4, 100, draws=100)
    assert set(next(order.batches(1)).tolist()) == {0, 1, 2, 3}
    with pytest.raises(DataError, match="draws=0"):
        WeightedOrder([1.0], 1, draws=0)
