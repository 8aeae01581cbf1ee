"""Kornia's augmentations of values, made a function of the row."""

import kornia.augmentation as kornia
import numpy as np
import pytest
import torch

from lumbre import vision
from lumbre.base import DataError, OptionError
from lumbre.vision import FromKornia, row_seeds


@pytest.mark.parametrize(
    "augmentation",
    [
        kornia.RandomGaussianBlur((3, 3), (0.1, 2.0), p=0.6),
        kornia.RandomGaussianNoise(p=0.6),
        kornia.RandomPosterize(p=0.6),
        kornia.RandomSharpness(p=0.6),
        kornia.RandomEqualize(p=0.6),
        kornia.RandomSaltAndPepperNoise(p=0.6),
        kornia.RandomJPEG(p=0.6),
        kornia.RandomMotionBlur(3, 35.0, 0.5, p=0.6),
    ],
    ids=lambda augmentation: type(augmentation).__name__,
)
def test_a_row_does_not_depend_on_its_batch(batch, augmentation) -> None:
    step, images = FromKornia(augmentation), batch.float() / 255
    seeds = row_seeds(range(6), seed=4)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    whole = step(images, seeds)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    torch.manual_seed(7)
    some = [4, 1, 3]
    torch.testing.assert_close(step(images[some], seeds[some]), whole[some], atol=1e-6, rtol=0)
    touched = (whole != images).flatten(1).any(1)
    assert 0 < touched.sum() < 6
    assert not torch.equal(step(images, row_seeds(range(6), seed=5)), whole)


def test_targets_stay(batch) -> None:
    masks = torch.zeros(6, 40, 48, dtype=torch.int64)
    steps = vision.Augment([vision.ToFloat(), FromKornia(kornia.RandomInvert(p=1.0))])
    after = steps(batch, row_seeds(range(6)), masks=masks)
    torch.testing.assert_close(after.images, 1 - batch.float() / 255)
    assert torch.equal(after.masks, masks)


def test_what_cannot_be_made_so_is_refused(batch) -> None:
    for wrong in (kornia.RandomAffine(10.0), kornia.RandomChannelDropout(), torch.nn.ReLU(), "blur"):
        with pytest.raises(OptionError) as caught:
            FromKornia(wrong)
        assert caught.value.fix
    with pytest.raises(DataError, match="ToFloat"):
        FromKornia(kornia.RandomInvert())(batch, row_seeds(range(6)))
