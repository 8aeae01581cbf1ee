"""Chance by the row: evenness, independence, and that a row does not depend on its batch."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbre import vision
from lumbre.base import DataError
from lumbre.vision import (
    Augment,
    CenterCrop,
    ColorJitter,
    Normalize,
    Pad,
    RandomAffine,
    RandomApply,
    RandomChoice,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomOrder,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    ToFloat,
)

EVERYTHING = Augment(
    [
        RandomHorizontalFlip(),
        RandomVerticalFlip(0.3),
        ToFloat(),
        RandomCrop(36, padding=3, padding_mode="reflect"),
        RandomApply([RandomRotation(30, interpolation="bilinear")], p=0.7),
        RandomChoice([RandomAffine(20, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=5), RandomPerspective(p=1)]),
        RandomOrder([ColorJitter(0.3, 0.3, 0.3, 0.1), RandomGrayscale(0.3)]),
        RandomErasing(),
        RandomResizedCrop(24, scale=(0.5, 1)),
        Normalize(0.5, 0.5),
    ]
)


def test_uniform_is_uniform_and_independent() -> None:
    seeds = torch.arange(20_000)
    draws = vision.uniform(seeds, "a", 3)
    assert draws.dtype == torch.float64
    assert draws.min() >= 0
    assert draws.max() < 1
    assert (draws.mean(0) - 0.5).abs().max() < 0.01
    assert (draws.var(0) - 1 / 12).abs().max() < 0.002
    counts = torch.histc(draws[:, 0], 50, 0, 1)
    assert ((counts - 400) ** 2 / 400).sum() < 95  # chi-square, 49 degrees of freedom, p = 0.0001
    beside = torch.cat([draws, vision.uniform(seeds, "b", 2), vision.uniform(seeds + 1, "a", 1)], dim=1)
    distance = torch.corrcoef(beside.T) - torch.eye(6)
    assert distance.abs().max() < 0.03


FROZEN = [
    [0.7221421918841269, 0.4931621694594519],
    [0.15650102951719813, 0.8855176741791797],
    [0.45118747295397554, 0.7604680885385245],
]


def test_uniform_is_frozen() -> None:
    # A change of these numbers changes every augmented run.
    draws = vision.uniform(torch.tensor([0, 1, -1]), "x", 2)
    assert np.allclose(draws.numpy(), FROZEN, rtol=0, atol=1e-15)


def test_seeds_differ_by_row_epoch_and_run() -> None:
    many = torch.cat([vision.row_seeds(range(500), seed=s, epoch=e) for s in (0, 1) for e in (1, 2)])
    assert len(many.unique()) == 2000


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6), st.integers(0, 2**63 - 1))
def test_a_row_does_not_depend_on_its_batch(batch_of, order, size, seed) -> None:
    batch, seeds = batch_of, vision.row_seeds(range(6), seed=seed)
    masks = batch[:, 0] // 64
    boxes = torch.tensor([[[3.0, 4, 20, 30], [0, 0, 48, 40]]]).repeat(6, 1, 1)
    points = torch.tensor([[[10.5, 12.5]]]).repeat(6, 1, 1)
    whole = EVERYTHING(batch, seeds, masks=masks, boxes=boxes, keypoints=points)
    some = list(order)[:size]
    part = EVERYTHING(batch[some], seeds[some], masks=masks[some], boxes=boxes[some], keypoints=points[some])
    # Not to the last digit: where a row lies in a batch decides which kernel of the processor computes it, and a pixel
    # of a mask whose place in the source is half way between two may so go to the other.
    torch.testing.assert_close(part.images, whole.images[some], atol=1e-6, rtol=0)
    assert (part.masks != whole.masks[some]).float().mean() < 1e-3
    torch.testing.assert_close(part.boxes, whole.boxes[some], atol=1e-4, rtol=0)
    torch.testing.assert_close(part.keypoints, whole.keypoints[some], atol=1e-4, rtol=0)


def test_each_step_gives_a_row_alone_what_it_gives_it_in_a_batch(batch) -> None:
    images, seeds = batch.float() / 255, vision.row_seeds(range(6))
    for step in EVERYTHING.transforms:
        whole = step(images, seeds)
        alone = torch.cat([step(images[row : row + 1], seeds[row : row + 1]) for row in range(6)])
        # Not to the last digit, as above.
        torch.testing.assert_close(alone, whole, atol=1e-6, rtol=0, msg=lambda said, step=step: f"{step}: {said}")
        again = step(images, seeds)
        assert torch.equal(again, whole), step


@pytest.fixture(scope="module")
def batch_of(photo):
    pixels = torch.from_numpy(np.array(photo)).movedim(-1, 0)
    return torch.stack([pixels[:, top : top + 40, left : left + 48] for top in (0, 20, 40) for left in (0, 48)])


def test_no_generator_is_touched(batch) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = EVERYTHING(batch, vision.row_seeds(range(6)))
    torch.manual_seed(99)
    second = EVERYTHING(batch, vision.row_seeds(range(6)))
    assert torch.equal(first, second)
    torch.set_rng_state(torch_state)
    EVERYTHING(batch, vision.row_seeds(range(6)))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_the_input_is_left_as_it_was(batch) -> None:
    before = batch.clone()
    EVERYTHING(batch, vision.row_seeds(range(6)))
    assert torch.equal(batch, before)


def test_two_of_a_kind_draw_apart() -> None:
    images = torch.arange(12.0).repeat(400, 1, 1, 1)
    once = RandomHorizontalFlip()
    twice = Augment([once, once])(images, vision.row_seeds(range(400)))
    same = (twice == images).all(-1).float().mean()
    assert 0.4 < same < 0.6


@pytest.mark.parametrize("kind", [RandomHorizontalFlip, RandomVerticalFlip, RandomPerspective, RandomErasing])
@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_rates(kind, p) -> None:
    images = torch.arange(1.0, 257).reshape(1, 1, 16, 16).repeat(2000, 1, 1, 1)
    changed = (kind(p=p)(images, vision.row_seeds(range(2000))) != images).flatten(1).any(1).double().mean()
    assert abs(changed - p) < 0.03


def test_some_lose_their_color() -> None:
    images = torch.tensor([0.1, 0.5, 0.9]).reshape(1, 3, 1, 1).repeat(2000, 1, 1, 1)
    after = RandomGrayscale(0.3)(images, vision.row_seeds(range(2000)))
    gray = (after[:, 0] == after[:, 2]).double().mean()
    assert abs(gray - 0.3) < 0.03
    assert (after[:, 1][after[:, 0] == after[:, 2]] - 0.42599).abs().max() < 1e-5


def test_perspective_moves_corners_inwards_by_half_the_scale_at_most() -> None:
    corners = torch.tensor([[[0.0, 0.0], [20.0, 0.0], [20.0, 10.0], [0.0, 10.0]]]).repeat(1000, 1, 1)
    view = RandomPerspective(0.6, p=1)
    after = view(torch.zeros(1000, 1, 10, 20), vision.row_seeds(range(1000)), keypoints=corners).keypoints
    shift = (after - corners) * torch.tensor([[1.0, 1], [-1, 1], [-1, -1], [1, -1]])
    assert shift.min() > -1e-4
    assert (shift.amax(0) - torch.tensor([6.0, 3.0])).abs().max() < 0.05


def test_transforms_travel_to_workers_and_take_empty_batches(batch) -> None:
    seeds = vision.row_seeds(range(6))
    again = pickle.loads(pickle.dumps(EVERYTHING))  # noqa: S301
    assert again == EVERYTHING
    assert torch.equal(again(batch, seeds), EVERYTHING(batch, seeds))
    assert EVERYTHING(batch[:0], seeds[:0]).shape == (0, 3, 24, 24)


def test_crops_are_spread_evenly() -> None:
    images = torch.arange(36.0).reshape(1, 1, 6, 6).repeat(9000, 1, 1, 1)
    corner = RandomCrop(4)(images, vision.row_seeds(range(9000)))[:, 0, 0, 0]
    values, counts = corner.unique(return_counts=True)
    assert values.tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14]
    assert (counts / 9000 - 1 / 9).abs().max() < 0.015


def test_resized_crops_have_the_area_and_ratio_asked_for() -> None:
    boxes = torch.tensor([[[0.0, 0, 60, 60]]]).repeat(3000, 1, 1)
    images = torch.zeros(3000, 1, 60, 60)
    points = torch.tensor([[[0.0, 0.0], [60.0, 60.0]]]).repeat(3000, 1, 1)
    after = RandomResizedCrop(10, scale=(0.1, 0.5), ratio=(0.5, 2))(
        images, vision.row_seeds(range(3000)), boxes=boxes, keypoints=points
    )
    # The image's corners, seen from the crop, tell the crop's width and height.
    stretch = after.keypoints[:, 1] - after.keypoints[:, 0]
    width, height = 600 / stretch[:, 0], 600 / stretch[:, 1]
    share, ratio = width * height / 3600, width / height
    assert 0.09 < share.min() < 0.12
    assert 0.45 < share.max() < 0.51
    assert 0.48 < ratio.min() < 0.55
    assert 1.8 < ratio.max() < 2.1
    assert abs(ratio.log().median()) < 0.1
    torch.testing.assert_close(after.boxes, torch.tensor([0.0, 0, 10, 10]).expand(3000, 1, 4))


def test_a_resized_crop_that_never_fits_takes_the_middle() -> None:
    images = torch.zeros(3, 1, 10, 100)
    points = torch.tensor([[[0.0, 0.0], [100.0, 10.0]]]).repeat(3, 1, 1)
    crop = RandomResizedCrop(10, scale=(1, 1), ratio=(1, 1.5))
    after = crop(images, vision.row_seeds(range(3)), keypoints=points)
    stretch = after.keypoints[:, 1] - after.keypoints[:, 0]
    torch.testing.assert_close(1000 / stretch[:, 0], torch.full((3,), 15.0))


def test_angles_fill_their_range() -> None:
    points = torch.tensor([[[20.0, 10.0]]]).repeat(2000, 1, 1)
    turn = RandomRotation((-10, 40))
    after = turn(torch.zeros(2000, 1, 20, 20), vision.row_seeds(range(2000)), keypoints=points).keypoints[:, 0] - 10
    angle = torch.rad2deg(torch.atan2(-after[:, 1], after[:, 0]))
    assert -10.001 < angle.min() < -9.5
    assert 39.5 < angle.max() < 40.001
    assert abs(angle.mean() - 15) < 1


def test_erased_areas() -> None:
    after = RandomErasing(1.0, scale=(0.1, 0.3), value=7)(torch.zeros(1000, 2, 30, 40), vision.row_seeds(range(1000)))
    share = (after == 7).all(1).double().mean((1, 2))
    assert 0.09 < share.min() < 0.12
    assert 0.28 < share.max() < 0.32
    assert set(after.unique().tolist()) == {0.0, 7.0}


def test_jitter_takes_factors_and_orders_from_its_range() -> None:
    images = torch.full((3000, 3, 1, 1), 0.5)
    factor = ColorJitter(brightness=(0.5, 1.5))(images, vision.row_seeds(range(3000)))[:, 0, 0, 0] / 0.5
    assert 0.5 <= factor.min() < 0.51
    assert 1.49 < factor.max() <= 1.5
    images = torch.tensor([0.4, 0.8]).reshape(1, 1, 1, 2).repeat(2000, 3, 1, 1)
    fixed = ColorJitter(brightness=(1.5, 1.5), contrast=(2, 2))(images, vision.row_seeds(range(2000)))
    kinds, counts = fixed[:, 0, 0].round(decimals=4).unique(dim=0, return_counts=True)
    assert len(kinds) == 2  # brightness first, or contrast first
    assert (counts / 2000 - 0.5).abs().max() < 0.05


def test_choice_takes_each_as_often() -> None:
    images = torch.ones(3000, 1, 1, 1)
    times = [vision.Lambda(lambda images, k=k: images * k) for k in range(3)]
    counts = torch.bincount(RandomChoice(times)(images, vision.row_seeds(range(3000))).flatten().long())
    assert (counts / 3000 - 1 / 3).abs().max() < 0.04


def test_order_takes_each_permutation() -> None:
    steps = [vision.Lambda(lambda x, k=k: x * 10 + k) for k in (1, 2, 3)]
    values = RandomOrder(steps)(torch.zeros(1200, 1, 1, 1), vision.row_seeds(range(1200))).flatten()
    kinds, counts = values.unique(return_counts=True)
    assert kinds.tolist() == [123, 132, 213, 231, 312, 321]
    assert counts.min() > 150


def test_seeds_are_checked(batch) -> None:
    with pytest.raises(DataError, match="row_seeds"):
        RandomHorizontalFlip()(batch, torch.zeros(5, dtype=torch.int64))
    with pytest.raises(DataError, match="row_seeds"):
        RandomHorizontalFlip()(batch, torch.zeros(6))


def test_a_seed_of_each_step_is_its_place() -> None:
    flip = RandomHorizontalFlip()
    images, seeds = torch.arange(4.0).repeat(50, 1, 1, 1), vision.row_seeds(range(50))
    assert torch.equal(
        Augment([Pad(1), CenterCrop((1, 4)), flip])(images, seeds), Augment([Resize(1), Pad(0), flip])(images, seeds)
    )
