"""Steps in an order of each row's own: many rows at once, where those of an order go together, as a few at a time."""

import pytest
import torch

import lumbre.vision as vision
from lumbre.vision import _random_pixels as pixels

STEPS = [
    vision.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
    vision.RandomOrder([vision.RandomHorizontalFlip(), vision.RandomGrayscale(0.3), vision.RandomVerticalFlip(0.5)]),
]


@pytest.mark.parametrize("step", STEPS, ids=["jitter", "order"])
def test_large_batches_are_as_small_ones(step: vision.Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(48, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[1, 2, 5, 6]]]).expand(48, 1, 4)
    seeds, far = vision.row_seeds(range(48), seed=3), 1 << 60
    found = []
    for least in (1, far):  # rows of an order together, and place after place
        monkeypatch.setattr(pixels, "_BYTES_TOGETHER", least)
        found.append(step(images, seeds, boxes=boxes))
    assert torch.equal(found[0].images, found[1].images)
    assert torch.equal(found[0].boxes, found[1].boxes)
    one = step(images[7:8], seeds[7:8], boxes=boxes[7:8])
    assert torch.equal(found[0].images[7:8], one.images)
    assert not torch.equal(found[0].images, images)


def test_steps_run_in_the_order_that_a_row_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    """x -> 2 x and x -> x + 1 give 2 x + 1 or 2 (x + 1), and both are seen."""
    monkeypatch.setattr(pixels, "_BYTES_TOGETHER", 1)
    step = vision.RandomOrder([vision.Lambda(lambda x: 2 * x), vision.Lambda(lambda x: x + 1)])
    found = step(torch.ones(64, 1, 2, 2), vision.row_seeds(range(64)))
    assert found.flatten().unique().tolist() == [3, 4]
    assert torch.equal(found.amin((1, 2, 3)), found.amax((1, 2, 3)))
