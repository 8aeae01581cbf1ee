"""Grids and drawings, pixel by pixel on small images."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lumbre import vision
from lumbre.base import DataError, OptionError

RED = (255, 0, 0)
BLUE = (0, 0, 255)


def painted(image: torch.Tensor, color: tuple[int, int, int]) -> set[tuple[int, int]]:
    """(row, column) of the pixels of that colour."""
    return {tuple(at) for at in (image == torch.tensor(color)[:, None, None]).all(0).nonzero().tolist()}


def test_grid_places_images_row_by_row() -> None:
    images = torch.arange(1.0, 6).reshape(5, 1, 1, 1).expand(5, 2, 2, 3)
    grid = vision.image_grid(images, columns=3, padding=1, fill=-1)
    assert grid.shape == (2, 7, 13)
    assert grid[0, 1, [0, 1, 3, 4, 5, 9, 12]].tolist() == [-1, 1, 1, -1, 2, 3, -1]
    assert grid[1, 4, [1, 5, 9]].tolist() == [4, 5, -1]
    assert torch.equal(vision.image_grid(images[:2], padding=0), torch.cat(list(images[:2]), dim=2))
    assert vision.image_grid(images.to(torch.uint8)).dtype == torch.uint8


def test_grid_refuses() -> None:
    with pytest.raises(DataError):
        vision.image_grid(torch.rand(3, 4, 4))
    with pytest.raises(OptionError):
        vision.image_grid(torch.rand(1, 3, 4, 4), columns=0)


def test_boxes_are_outlines() -> None:
    image = torch.zeros(3, 8, 9, dtype=torch.uint8)
    drawn = vision.draw_boxes(image, torch.tensor([[2.0, 1.0, 6.0, 5.0]]), colors=[RED])
    expected = {(r, c) for r in range(1, 5) for c in range(2, 6)} - {(r, c) for r in (2, 3) for c in (3, 4)}
    assert painted(drawn, RED) == expected
    assert not image.any()
    thick = vision.draw_boxes(image, torch.tensor([[2.0, 1.0, 6.0, 5.0]]), colors=[RED], width=2)
    assert len(painted(thick, RED)) == 16


def test_boxes_have_labels() -> None:
    image = torch.full((3, 40, 60), 9, dtype=torch.uint8)
    boxes = torch.tensor([[2, 1, 50, 30]])
    plain, named = (vision.draw_boxes(image, boxes, labels, [RED]) for labels in (None, ["iris"]))
    changed = (plain != named).any(0).nonzero()
    assert len(changed) > 10
    assert changed.amin(0).tolist() >= [2, 3]
    with pytest.raises(OptionError, match="labels"):
        vision.draw_boxes(image, boxes, ["a", "b"])


def test_boxes_that_reach_outside_have_no_false_sides() -> None:
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    drawn = vision.draw_boxes(
        image, torch.tensor([[-3, 2, 5, 20], [20, 20, 30, 30], [4, 4, 4, 4]]), None, [RED, BLUE, BLUE]
    )
    assert painted(drawn, RED) == {(2, c) for c in range(5)} | {(r, 4) for r in range(2, 8)}
    assert not painted(drawn, BLUE)


def test_masks_are_blended() -> None:
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, 1:3] = True, True
    drawn = vision.draw_masks(image, masks, colors=[RED, BLUE], alpha=0.8)
    assert drawn[:, 0, 0].tolist() == [224, 20, 20]
    assert drawn[:, 1, 0].tolist() == [20, 20, 224]
    assert drawn[:, 3, 0].tolist() == [100, 100, 100]
    assert torch.equal(vision.draw_masks(image, masks[0], alpha=0.0), image)
    with pytest.raises(DataError):
        vision.draw_masks(image, masks.long())


def test_keypoints_are_discs_and_lines() -> None:
    image = torch.zeros(1, 9, 9, dtype=torch.uint8)
    drawn = vision.draw_keypoints(image, torch.tensor([[2.5, 4.5], [50.0, 50.0]]), colors=[RED], radius=1)
    assert painted(drawn, RED) == {(4, 2), (3, 2), (5, 2), (4, 1), (4, 3)}
    joined = vision.draw_keypoints(image, torch.tensor([[[0.5, 0.5], [8.5, 8.5]]]), [(0, 1)], [BLUE], radius=0)
    assert painted(joined, BLUE) == {(i, i) for i in range(9)}
    beyond = vision.draw_keypoints(image, torch.tensor([[4.5, -90.0], [4.5, 90.0]]), [(0, 1)], [BLUE], radius=0)
    assert painted(beyond, BLUE) == {(i, 4) for i in range(9)}


def test_default_colors_differ() -> None:
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    boxes = torch.tensor([[i, i, i + 2, i + 2] for i in range(0, 40, 2)])
    drawn = vision.draw_boxes(image, boxes)
    colors = drawn[:, range(0, 40, 2), range(0, 40, 2)].T
    assert len(colors.unique(dim=0)) == 20


def test_flipped_keypoint_lies_on_the_flipped_pixel() -> None:
    image = torch.zeros(1, 3, 6, 10, dtype=torch.uint8)
    point = torch.tensor([[[2.5, 3.5]]])
    drawn = vision.draw_keypoints(image[0], point[0], colors=[RED], radius=0)
    after = vision.RandomHorizontalFlip(1.0)(drawn[None], vision.row_seeds([0]), keypoints=point)
    again = vision.draw_keypoints(image[0], after.keypoints[0], colors=[RED], radius=0)
    assert torch.equal(again, after.images[0])


def test_importing_loads_neither_kornia_nor_pillow() -> None:
    code = "import sys, torch, lumbre.vision; print([m for m in ('kornia', 'PIL') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_digits_in_a_batch() -> None:
    root = os.environ.get("LUMBRE_DATA") or Path(__file__).parents[3] / "shared" / "data"
    file = Path(root) / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not file.exists():
        pytest.skip("the MNIST files are not here: set LUMBRE_DATA to the folder that holds mnist/")
    with gzip.open(file) as stream:
        digits = torch.frombuffer(bytearray(stream.read(16 + 64 * 784)[16:]), dtype=torch.uint8).reshape(64, 1, 28, 28)
    augment = vision.Augment([vision.ToFloat(), vision.RandomRotation(15, interpolation="bilinear")])
    turned = augment(digits, vision.row_seeds(range(64)))
    ink, before = turned.sum((1, 2, 3)), digits.sum((1, 2, 3)) / 255
    assert (ink / before - 1).abs().max() < 0.05
    assert vision.image_grid(turned).shape == (1, 242, 242)
