"""The plain functions against Pillow and kornia, on a photograph. Differences are in steps of 1/255."""

import io

import kornia
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from lumbre import vision
from lumbre.base import DataError


def as_tensor(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).movedim(-1, 0)


def difference(ours: Tensor, theirs: Tensor) -> Tensor:
    assert ours.dtype == theirs.dtype == torch.uint8
    assert ours.shape == theirs.shape
    return (ours.int() - theirs.int()).abs()


def test_what_only_copies_pixels_is_pillow_to_the_bit(photo, pixels) -> None:
    assert torch.equal(vision.hflip(pixels), as_tensor(ImageOps.mirror(photo)))
    assert torch.equal(vision.vflip(pixels), as_tensor(ImageOps.flip(photo)))
    assert torch.equal(vision.crop(pixels, 10, 20, 30, 40), as_tensor(photo.crop((20, 10, 60, 40))))
    assert torch.equal(vision.center_crop(pixels, (40, 48)), as_tensor(photo.crop((24, 20, 72, 60))))
    padded = ImageOps.expand(photo, border=(1, 2, 3, 4), fill=(9, 8, 7))
    assert torch.equal(vision.pad(pixels, (1, 2, 3, 4), fill=(9, 8, 7)), as_tensor(padded))


@pytest.mark.parametrize(("mode", "numpy_mode"), [("edge", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric")])
def test_padding_modes_are_those_of_numpy(pixels, mode, numpy_mode) -> None:
    expected = np.pad(pixels.numpy(), ((0, 0), (5, 3), (2, 7)), mode=numpy_mode)
    assert np.array_equal(vision.pad(pixels, (2, 5, 7, 3), padding_mode=mode).numpy(), expected)


@pytest.mark.parametrize("size", [(33, 40), (160, 192), (57, 120)])
def test_resize(photo, pixels, size) -> None:
    distance = difference(vision.resize(pixels, size, "nearest"), as_tensor(photo.resize(size[::-1], Image.NEAREST)))
    # Where a centre falls between two pixels we take the later one; Pillow adds up steps and takes either.
    clear = [((2 * torch.arange(size[i]) + 1) * (80, 96)[i]) % (2 * size[i]) != 0 for i in (0, 1)]
    assert distance[:, clear[0]][:, :, clear[1]].max() == 0
    assert difference(vision.resize(pixels, size), as_tensor(photo.resize(size[::-1], Image.BILINEAR))).max() <= 1
    # Pillow rounds bytes after each direction, so cubic overshoots are cut twice: compared in its float mode.
    bands = [np.array(band.convert("F").resize(size[::-1], Image.BICUBIC)) for band in photo.split()]
    cubic = vision.resize(pixels.float(), size, "bicubic")
    torch.testing.assert_close(cubic, torch.from_numpy(np.stack(bands)), atol=1e-3, rtol=0)


def test_resize_keeps_proportions_for_one_number(pixels) -> None:
    assert vision.resize(pixels, 40).shape == (3, 40, 48)
    assert vision.resize(pixels.movedim(1, 2), 40).shape == (3, 48, 40)
    assert vision.resized_crop(pixels, 0, 0, 40, 20, 16).shape == (3, 16, 16)


def test_resized_crop_is_crop_then_resize(photo, pixels) -> None:
    theirs = as_tensor(photo.crop((20, 10, 80, 60)).resize((30, 25), Image.BILINEAR))
    assert difference(vision.resized_crop(pixels, 10, 20, 50, 60, (25, 30)), theirs).max() <= 1


@pytest.mark.parametrize("angle", [10, -33, 45, 120, 200])
def test_rotate_by_nearest(photo, pixels, angle) -> None:
    distance = difference(vision.rotate(pixels, angle), as_tensor(photo.rotate(angle))).amax(0) > 0
    assert distance.float().mean() < 0.002  # a tie between two pixels now and then


@pytest.mark.parametrize("angle", [10, -33, 120])
@pytest.mark.parametrize(("interpolation", "code"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_rotate_by_blending(photo, pixels, angle, interpolation, code) -> None:
    distance = difference(vision.rotate(pixels, angle, interpolation), as_tensor(photo.rotate(angle, code)))
    # Where everything came from well inside; at the edge we fade into the fill and Pillow does not.
    inside = vision.rotate(vision.pad(torch.ones(1, 74, 90), 3), angle, "nearest")[0] > 0
    distance = distance[:, inside].float()
    # The cubic kernel of torch has -0.75, that of Pillow -0.5.
    assert distance.mean() < (0.5 if interpolation == "bilinear" else 2.5)
    if interpolation == "bilinear":
        assert distance.max() <= 2


@pytest.mark.parametrize("angle", [0, 90, 180, 270, -90])
def test_right_angles_are_rot90(pixels, angle) -> None:
    assert torch.equal(vision.rotate(pixels, angle, expand=True), torch.rot90(pixels, angle // 90, (-2, -1)))
    square = pixels[:, :64, :64].float() / 255
    turned = vision.rotate(square, angle, "bilinear")
    torch.testing.assert_close(turned, torch.rot90(square, angle // 90, (-2, -1)), atol=2e-5, rtol=0)


@pytest.mark.parametrize("angle", [30, 77])
def test_expand_has_room_for_all(photo, pixels, angle) -> None:
    ours, theirs = vision.rotate(pixels, angle, expand=True), as_tensor(photo.rotate(angle, expand=True))
    assert all(abs(a - b) <= 1 for a, b in zip(ours.shape, theirs.shape, strict=True))
    whole = vision.rotate(torch.ones(1, 80, 96), angle, expand=True).sum()
    assert abs(whole / (80 * 96) - 1) < 0.01


def test_affine_is_torchvisions_formula(photo, pixels) -> None:
    # Pillow takes the inverse matrix; this is torchvision's, written out by hand for these numbers.
    angle, (tx, ty), scale, (sx, sy) = np.deg2rad(20), (5, -3), 1.2, np.deg2rad([10, 5])
    a, b = np.cos(angle - sy) / np.cos(sy), -np.cos(angle - sy) * np.tan(sx) / np.cos(sy) - np.sin(angle)
    c, d = np.sin(angle - sy) / np.cos(sy), -np.sin(angle - sy) * np.tan(sx) / np.cos(sy) + np.cos(angle)
    inverse = np.linalg.inv(scale * np.array([[a, b], [c, d]]))
    center = np.array([48, 40])
    offset = center - inverse @ (center + np.array([tx, ty]))
    data = (*inverse[0], offset[0], *inverse[1], offset[1])
    theirs = as_tensor(photo.transform(photo.size, Image.AFFINE, data))
    ours = vision.affine(pixels, 20, (5, -3), 1.2, (10, 5))
    assert (difference(ours, theirs).amax(0) > 0).float().mean() < 0.001


def test_affine_turns_the_other_way_than_rotate(pixels) -> None:
    assert torch.equal(vision.affine(pixels, 30, (0, 0), 1, 0), vision.rotate(pixels, -30))


def test_perspective_takes_corners_to_corners(pixels) -> None:
    start, end = [(0, 0), (96, 0), (96, 80), (0, 80)], [(10, 5), (90, 0), (80, 78), (4, 70)]
    ours = vision.perspective(pixels[None].float(), start, end)
    # kornia counts from the centres of pixels, hence the half.
    matrix = kornia.geometry.get_perspective_transform(torch.tensor([start]) - 0.5, torch.tensor([end]) - 0.5)
    theirs = kornia.geometry.warp_perspective(pixels[None].float(), matrix, (80, 96), align_corners=True)
    assert (ours - theirs).abs().max() < 0.1
    back = vision.perspective(ours, end, start)
    middle = (..., slice(20, 60), slice(24, 72))
    assert (back[middle] - pixels[None].float()[middle]).abs().mean() < 12  # twice resampled, of 255


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (vision.adjust_brightness, ImageEnhance.Brightness),
        (vision.adjust_contrast, ImageEnhance.Contrast),
        (vision.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_brightness_contrast_saturation(photo, pixels, ours, theirs, factor) -> None:
    assert difference(ours(pixels, factor), as_tensor(theirs(photo).enhance(factor))).max() <= 2


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.2, 0.5])
def test_hue_is_kornias(pixels, turn) -> None:
    image = pixels[None].float() / 255
    theirs = kornia.enhance.adjust_hue(image, torch.tensor([2 * np.pi * turn]))
    torch.testing.assert_close(vision.adjust_hue(image, turn), theirs, atol=2e-5, rtol=0)


def test_gamma(pixels) -> None:
    theirs = torch.from_numpy(np.round((pixels.numpy() / 255) ** 2.2 * 255).astype(np.uint8))
    assert difference(vision.adjust_gamma(pixels, 2.2), theirs).max() <= 1
    assert torch.equal(vision.adjust_gamma(pixels, 1.0, gain=0.0), torch.zeros_like(pixels))


def test_grayscale(photo, pixels) -> None:
    assert difference(vision.rgb_to_grayscale(pixels), as_tensor(photo.convert("L"))).max() <= 1
    gray = vision.grayscale(pixels, 3)
    assert gray.shape == (3, 80, 96)
    assert torch.equal(gray[0], gray[2])


def test_one_factor_for_each_image(batch) -> None:
    factors = torch.linspace(0.5, 1.5, len(batch))
    for function in (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_gamma):
        each = torch.cat([function(batch[i : i + 1], float(factors[i])) for i in range(len(batch))])
        assert difference(function(batch, factors), each).max() <= 1


def test_dtypes(pixels) -> None:
    as_float = vision.convert_image_dtype(pixels)
    assert as_float.dtype == torch.float32
    assert as_float.max() <= 1
    assert torch.equal(vision.convert_image_dtype(as_float, torch.uint8), pixels)
    wide = vision.convert_image_dtype(pixels, torch.int16)
    assert torch.equal(vision.convert_image_dtype(wide, torch.uint8), pixels)
    assert vision.convert_image_dtype(torch.tensor([0.0, 1.0]), torch.int32).tolist() == [0, 2**31 - 1]


def test_normalize_and_linear_transformation(pixels) -> None:
    image = pixels.float() / 255
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = kornia.enhance.normalize(image[None], torch.tensor(mean), torch.tensor(std))[0]
    torch.testing.assert_close(vision.normalize(image, mean, std), theirs)
    small = image[:, :4, :4][None]
    center, matrix = torch.rand(48), torch.eye(48) * 2
    expected = (small - center.reshape(3, 4, 4)) * 2
    torch.testing.assert_close(vision.linear_transformation(small, matrix, center), expected)


def test_pillow_there_and_back(photo, pixels) -> None:
    assert torch.equal(as_tensor(vision.to_pillow(vision.to_tensor(photo))), pixels)
    assert torch.equal(vision.to_tensor(np.array(photo)), pixels.float() / 255)
    assert vision.to_pillow(pixels[:1]).mode == "L"
    assert vision.to_tensor(photo.convert("L")).shape == (1, 80, 96)


@pytest.mark.parametrize("count", [1, 3])
def test_uint8_and_float_agree(pixels, count) -> None:
    image = pixels[:count]
    for function in (
        lambda x: vision.rotate(x, 25, "bilinear"),
        lambda x: vision.resize(x, (30, 50)),
        lambda x: vision.adjust_contrast(x, 1.3),
        lambda x: vision.adjust_hue(x, 0.1),
    ):
        exact = function(vision.convert_image_dtype(image)) * 255
        assert (function(image).float() - exact).abs().max() < 0.51


def test_pictures_of_any_byte_order_or_width() -> None:
    right = [[[0.0, 1.0]]]
    for values in (
        np.array([[0, 65535]], ">u2"),
        np.array([[0.0, 1.0]], ">f4"),
        np.array([[0.0, 1.0]], np.longdouble),
    ):
        assert vision.to_tensor(values).tolist() == right
    held = io.BytesIO()
    Image.effect_noise((40, 40), 90).save(held, "PNG")
    with pytest.raises(DataError, match="a picture that cannot be read"):
        vision.to_tensor(Image.open(io.BytesIO(held.getvalue()[:200])))
