"""What must hold for all images: identities, shapes, and that masks, boxes and keypoints go where the pixels go."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbre import vision
from lumbre.base import DataError, OptionError
from lumbre.vision import (
    Augment,
    CenterCrop,
    ColorJitter,
    Crop,
    Lambda,
    Pad,
    RandomAffine,
    RandomApply,
    RandomChoice,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    ToFloat,
    Transform,
    row_seeds,
)

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
few = settings(max_examples=30, deadline=None)

MOVES: list[Transform] = [
    RandomHorizontalFlip(0.5),
    RandomVerticalFlip(0.5),
    RandomCrop((30, 28)),
    RandomCrop(50, padding=6),
    RandomCrop(60, pad_if_needed=True),
    RandomResizedCrop((40, 36), scale=(0.4, 1.0)),
    RandomRotation(180),
    RandomAffine(30, translate=(0.2, 0.1), scale=(0.7, 1.3), shear=(-10, 10, -5, 5)),
    RandomPerspective(0.3, p=0.8),
    Resize((60, 33)),
    CenterCrop((31, 30)),
    Crop(3, 5, 40, 30),
    Pad((1, 2, 3, 4)),
    Augment([RandomRotation(20), RandomHorizontalFlip(), RandomResizedCrop(40, scale=(0.5, 1))]),
    RandomChoice([RandomRotation(90), RandomHorizontalFlip()]),
    RandomApply([RandomVerticalFlip(1.0), RandomAffine(10)], p=0.5),
]


@few
@given(sizes, st.integers(0, 2**32))
def test_flips_and_turns_undo_themselves(size, seed) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(vision.hflip(vision.hflip(image)), image)
    assert torch.equal(vision.vflip(vision.vflip(image)), image)
    assert torch.equal(vision.hflip(vision.vflip(image)), vision.rotate(image, 180))
    quarter = vision.rotate(image, 90, expand=True)
    assert torch.equal(vision.rotate(quarter, -90, expand=True), image)


@few
@given(sizes, st.data())
def test_crops_and_pads(size, data) -> None:
    image = torch.arange(2.0 * size[0] * size[1]).reshape(2, *size)
    height, width = data.draw(st.integers(1, size[0])), data.draw(st.integers(1, size[1]))
    top, left = data.draw(st.integers(0, size[0] - height)), data.draw(st.integers(0, size[1] - width))
    assert vision.center_crop(image, (height, width)).shape == (2, height, width)
    part = vision.crop(image, top, left, height, width)
    assert part.shape == (2, height, width)
    padded = vision.pad(part, (left, top, size[1] - left - width, size[0] - top - height), fill=-1)
    assert padded.shape == image.shape
    assert bool(((padded == image) | (padded == -1)).all())
    assert torch.equal(vision.crop(padded, top, left, height, width), part)
    assert vision.five_crop(image, (height, width)).shape == (5, 2, height, width)
    assert vision.ten_crop(image[None], (height, width)).shape == (1, 10, 2, height, width)
    cut = RandomCrop((height, width))(image[None], row_seeds([3]))
    assert cut.shape == (1, 2, height, width)


def test_the_crop_of_the_tutorial() -> None:
    image = torch.rand(1, 150, 150)
    part = vision.crop(image, top=0, left=20, height=130, width=130)
    assert part.shape == (1, 130, 130)
    assert torch.equal(part, image[:, :130, 20:])


@few
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 20), st.floats(0, 0.9))
def test_tiles_cover_the_image(size, tile, overlap) -> None:
    image = torch.arange(float(size[0] * size[1])).reshape(1, *size)
    tiles, windows = vision.sahi_crop(image, tile, (overlap, overlap))
    seen = torch.zeros(size)
    for piece, (left, top, right, bottom) in zip(tiles, windows.tolist(), strict=True):
        assert torch.equal(piece, image[:, top:bottom, left:right])
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    assert len(windows.unique(dim=0)) == len(windows)


def test_five_and_ten_crops_are_in_order() -> None:
    image = torch.arange(30.0).reshape(1, 5, 6)
    crops = vision.five_crop(image, (1, 1)).flatten().tolist()
    assert crops == [0, 5, 24, 29, 14]
    assert vision.ten_crop(image, (1, 1)).flatten().tolist() == [*crops, 5, 0, 29, 24, 15]
    assert vision.ten_crop(image, 1, vertical_flip=True).flatten().tolist()[5:] == [24, 29, 0, 5, 14]


def spots(seed: int, rows: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 48 x 44 with a bright block of 5 x 5 each, and the blocks' boxes."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(rows, 1, 48, 44)
    corners = torch.stack([torch.randint(4, 34, (rows,), generator=generator) for _ in (0, 1)], dim=1)
    for image, (left, top) in zip(images, corners.tolist(), strict=True):
        image[:, top : top + 5, left : left + 5] = 1
    return images, torch.cat([corners, corners + 5], dim=1).float()


@pytest.mark.parametrize("move", MOVES, ids=lambda move: type(move).__name__)
def test_masks_boxes_and_keypoints_go_with_the_pixels(move) -> None:
    met = 0
    for seed in range(6):
        images, boxes = spots(seed)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        after = move(
            images,
            row_seeds(range(5), seed=seed),
            masks=(images[:, 0] > 0).long(),
            boxes=boxes[:, None],
            keypoints=middles[:, None],
        )
        height, width = after.images.shape[-2:]
        assert after.masks.dtype == torch.int64
        assert after.masks.shape == (5, height, width)
        # Images that were resampled by nearest pixels, too, equal their masks; blended ones cross one half with them.
        assert ((after.images[:, 0] > 0.5) != (after.masks > 0)).flatten(1).sum(1).max() <= 14
        limit = torch.tensor([width, height, width, height])
        assert bool(((after.boxes >= 0) & (after.boxes <= limit)).all())
        for row in range(5):
            lit = (after.masks[row] > 0).nonzero()
            box, (x, y) = after.boxes[row, 0], after.keypoints[row, 0]
            if len(lit) == 0 or not (8 < x < width - 8 and 8 < y < height - 8):
                continue
            met += 1
            (top, left), (bottom, right) = lit.amin(0), lit.amax(0) + 1
            found = torch.tensor([left, top, right, bottom], dtype=torch.float32)
            # The box around moved corners holds all the pixels, and is larger by less than a pixel on each side.
            # Each resampling of a mask rounds once more, each box is put around one that was already too large.
            chained = isinstance(move, Augment)
            slack = 1.5 if chained else 0.51
            assert bool((box[:2] <= found[:2] + slack).all() and (box[2:] >= found[2:] - slack).all())
            assert (box - found).abs().max() < (3.5 if chained else 1.6)
            assert (lit.float().mean(0) + 0.5 - torch.stack([y, x])).abs().max() < (1 if chained else 0.6)
    assert met >= 5


def test_exact_moves_are_exact_for_targets() -> None:
    images, boxes = spots(0, rows=1)
    for move in (RandomHorizontalFlip(1.0), RandomVerticalFlip(1.0), RandomCrop(60, padding=9)):
        after = move(images, row_seeds([0]), masks=images[:, 0] > 0, boxes=boxes[:, None])
        left, top, right, bottom = after.boxes[0, 0].int().tolist()
        assert after.masks.dtype == torch.bool
        assert torch.equal(after.masks, after.images[:, 0] > 0)
        assert after.masks.sum() == after.masks[0, top:bottom, left:right].sum() == 25


def test_outside_is_filled_and_boxes_that_left_have_no_area() -> None:
    images = torch.ones(1, 3, 10, 10)
    away = RandomAffine(0, translate=(1.0, 1.0), fill=(0.1, 0.2, 0.3))
    seeds = row_seeds(range(200))
    many = away(
        images.repeat(200, 1, 1, 1),
        seeds,
        masks=torch.ones(200, 10, 10, dtype=torch.int64),
        boxes=torch.tensor([[[0.0, 0, 10, 10]]]).repeat(200, 1, 1),
        mask_fill=255,
    )
    outside = many.masks == 255
    assert outside.any()
    assert (many.images.movedim(1, -1)[outside] == torch.tensor([0.1, 0.2, 0.3])).all()
    assert (many.images.movedim(1, -1)[~outside] == 1).all()
    sides = many.boxes[:, 0, 2:] - many.boxes[:, 0, :2]
    assert torch.equal(sides.prod(1).int(), (~outside).flatten(1).sum(1).int())


def test_values_change_without_their_targets() -> None:
    images, masks = torch.rand(4, 3, 9, 9), torch.arange(4 * 81).reshape(4, 9, 9)
    steps = Augment([ColorJitter(0.5, 0.5, 0.5, 0.5), RandomGrayscale(1.0), RandomErasing(1.0), Lambda(torch.sqrt)])
    after = steps(images, row_seeds(range(4)), masks=masks)
    assert torch.equal(after.masks, masks)
    assert after.boxes is None
    assert not torch.equal(after.images, images)


@pytest.mark.parametrize("move", MOVES, ids=lambda move: type(move).__name__)
def test_uint8_stays_uint8(move) -> None:
    images = torch.randint(256, (3, 3, 48, 44), dtype=torch.uint8)
    after = move(images, row_seeds(range(3)))
    assert after.dtype == torch.uint8
    as_float = move(images.float(), row_seeds(range(3)))
    assert (after.float() - as_float).abs().max() <= 0.501


def test_rows_that_are_not_chosen_keep_their_bits() -> None:
    images = torch.rand(200, 1, 9, 9)
    after = RandomApply([RandomPerspective(p=1)], p=0.3)(images, row_seeds(range(200)))
    untouched = (after == images).flatten(1).all(1).float().mean()
    assert 0.6 < untouched < 0.8


def test_color_identities() -> None:
    image = torch.rand(2, 3, 7, 8)
    for function in (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_gamma):
        torch.testing.assert_close(function(image, 1.0), image)
    torch.testing.assert_close(vision.adjust_hue(image, 0.0), image)
    gray = image[:, :1]
    assert torch.equal(vision.adjust_hue(gray, 0.3), gray)
    assert torch.equal(vision.rgb_to_grayscale(gray), gray)
    black = torch.zeros(1, 3, 2, 2)
    assert vision.adjust_hue(black, 0.25).isfinite().all()


def test_float_images_of_other_widths() -> None:
    image = torch.rand(1, 3, 12, 12)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        after = Augment([RandomRotation((30, 30), interpolation="bilinear"), RandomGrayscale(1.0)])(
            image.to(dtype), row_seeds([0])
        )
        assert after.dtype == dtype


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: vision.crop(torch.rand(1, 10, 10), 0, 0, 11, 10),
        lambda: vision.crop(torch.rand(1, 10, 10), -1, 0, 5, 5),
        lambda: vision.center_crop(torch.rand(1, 10, 10), 12),
        lambda: vision.pad(torch.rand(1, 4, 4), -1),
        lambda: vision.pad(torch.rand(1, 4, 4), 4, padding_mode="reflect"),
        lambda: vision.pad(torch.rand(1, 4, 4), 1, padding_mode="mirror"),  # type: ignore[arg-type]
        lambda: vision.pad(torch.rand(3, 4, 4), 1, fill=(1, 2)),
        lambda: vision.resize(torch.rand(1, 4, 4), 0),
        lambda: vision.resize(torch.rand(1, 4, 4), 2, "cubic"),  # type: ignore[arg-type]
        lambda: vision.rotate(torch.rand(1, 4, 4), 3, expand=True, center=(0, 0)),
        lambda: vision.affine(torch.rand(1, 4, 4), 3, (0, 0), 0, 0),
        lambda: vision.perspective(torch.rand(1, 4, 4), [(0, 0)] * 4, [(0, 0)] * 4),
        lambda: vision.perspective(torch.rand(1, 4, 4), [(0, 0)] * 3, [(0, 0)] * 4),
        lambda: vision.normalize(torch.rand(3, 4, 4), 0, (1, 0, 1)),
        lambda: vision.grayscale(torch.rand(3, 4, 4), 2),
        lambda: vision.adjust_hue(torch.rand(3, 4, 4), 0.6),
        lambda: vision.adjust_contrast(torch.rand(3, 4, 4), -0.1),
        lambda: vision.adjust_gamma(torch.rand(3, 4, 4), torch.ones(3)),
        lambda: vision.linear_transformation(torch.rand(1, 2, 2), torch.eye(3), torch.zeros(3)),
        lambda: vision.sahi_crop(torch.rand(1, 8, 8), 4, (1.0, 0.0)),
        lambda: RandomHorizontalFlip(1.5),
        lambda: RandomRotation(-5),
        lambda: RandomRotation((5, -5)),
        lambda: RandomAffine(0, translate=(2, 0)),
        lambda: RandomPerspective(1.0),
        lambda: RandomErasing(scale=(0.5, 0.1)),
        lambda: ColorJitter(hue=0.7),
        lambda: ColorJitter(brightness=-1),
        lambda: RandomCrop(12)(torch.rand(1, 1, 8, 8), row_seeds([0])),
        lambda: Augment([torch.sqrt]),  # type: ignore[list-item]
        lambda: Augment(ToFloat()),  # type: ignore[arg-type]
        lambda: RandomChoice([]),
        lambda: RandomApply([Resize(4)], 1.0)(torch.rand(2, 1, 8, 8), row_seeds(range(2))),
        lambda: RandomChoice([Resize(4), Pad(1)])(torch.rand(50, 1, 8, 8), row_seeds(range(50))),
    ],
)
def test_wrong_options_say_what_to_write(wrong) -> None:
    with pytest.raises(OptionError) as caught:
        wrong()
    assert caught.value.fix


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: vision.crop(torch.rand(10, 10), 0, 0, 5, 5),
        lambda: vision.rgb_to_grayscale(torch.rand(4, 10, 10)),
        lambda: vision.normalize(torch.zeros(1, 2, 2, dtype=torch.uint8), 0, 1),
        lambda: vision.adjust_gamma(torch.zeros(1, 2, 2, dtype=torch.int32), 2),
        lambda: vision.to_tensor(torch.rand(3, 4, 4)),
        lambda: vision.to_pillow(torch.rand(2, 3, 4, 4)),
        lambda: RandomHorizontalFlip()(torch.rand(3, 4, 4), row_seeds([0])),
        lambda: RandomHorizontalFlip()(torch.rand(1, 3, 4, 4), row_seeds([0]), masks=torch.zeros(1, 4, 5)),
        lambda: RandomHorizontalFlip()(torch.rand(1, 3, 4, 4), row_seeds([0]), boxes=torch.zeros(1, 4)),
        lambda: RandomHorizontalFlip()(torch.rand(1, 3, 4, 4), row_seeds([0]), keypoints=torch.zeros(2, 3, 2)),
        lambda: Lambda(lambda x: x[..., 1:])(torch.rand(1, 3, 4, 4), row_seeds([0])),
    ],
)
def test_wrong_data_says_what_to_give(wrong) -> None:
    with pytest.raises(DataError) as caught:
        wrong()
    assert caught.value.fix


def test_a_border_of_r_in_the_order_of_python() -> None:
    image = torch.arange(1.0, 7.0).reshape(1, 2, 3)
    # R's transform_pad(x, c(1, 2, 3, 0)) is left, right, top, bottom, as torch's own.
    assert torch.equal(vision.pad(image, (1, 3, 2, 0)), torch.nn.functional.pad(image, (1, 2, 3, 0)))
