"""Plain functions that move pixels: each takes one image or a batch, on any device, and draws no chance.

Names and defaults are those of R's torchvision; offsets count from 0 and sizes are (height, width).
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from lumbre.base import OptionError, describe, one_of
from lumbre.vision import _matrices as matrices
from lumbre.vision._warp import (
    Fill,
    Interpolation,
    Size,
    check_images,
    check_interpolation,
    fill_values,
    in_float,
    pair,
    warp,
)

Padding: TypeAlias = int | Sequence[int]
PaddingMode: TypeAlias = Literal["constant", "edge", "reflect", "symmetric"]
Corners: TypeAlias = Sequence[tuple[float, float]]
"""Upper left, upper right, lower right and lower left, as (x, y)."""


def hflip(images: Tensor) -> Tensor:
    """Left and right exchanged.

    Args:
        images: shape (..., height, width).
    """
    return images.flip(-1)


def vflip(images: Tensor) -> Tensor:
    """Top and bottom exchanged.

    Args:
        images: shape (..., height, width).
    """
    return images.flip(-2)


def crop(images: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A rectangle of the images, as a view: no pixel is copied.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), any dtype.
        top: first row kept, counted from 0 (from 1 in R).
        left: first column kept, counted from 0.
        height: rows kept.
        width: columns kept.

    Raises:
        OptionError: the rectangle does not lie inside the images.

    Example:
        >>> import torch, lumbre.vision as vision
        >>> vision.crop(torch.rand(1, 150, 150), top=0, left=20, height=130, width=130).shape
        torch.Size([1, 130, 130])
    """
    check_images(images)
    rows, columns = images.shape[-2:]
    if min(top, left) < 0 or min(height, width) < 1 or top + height > rows or left + width > columns:
        raise OptionError(
            f"rows {top} to {top + height} and columns {left} to {left + width} of {rows} x {columns} images",
            f"rows between 0 and {rows}, columns between 0 and {columns}, at least one of each",
            "a smaller rectangle, or pad() first",
        )
    return images[..., top : top + height, left : left + width]


def center_crop(images: Tensor, size: Size) -> Tensor:
    """The middle of the images; where the margin is odd, the smaller half of it is cut at the top and at the left.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), any dtype.
        size: height and width, or one number for both.

    Raises:
        OptionError: the images are smaller.
    """
    check_images(images)
    height, width = pair(size)
    rows, columns = images.shape[-2:]
    return crop(images, (rows - height) // 2, (columns - width) // 2, height, width)


def margins(padding: Padding) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, of one number, of (left and right, top and bottom), or of all four."""
    given = tuple(padding) if isinstance(padding, Iterable) else (padding,)
    if len(given) not in (1, 2, 4) or not all(isinstance(one, Integral) and one >= 0 for one in given):
        raise OptionError(
            f"padding={padding!r}",
            "numbers of pixels, not negative: one, (left and right, top and bottom), or (left, top, right, bottom)",
            "padding=4; to take pixels away use crop()",
        )
    left, top, right, bottom = given if len(given) == 4 else given * (4 // len(given))
    return left, top, right, bottom


def pad(images: Tensor, padding: Padding, fill: Fill = 0.0, padding_mode: PaddingMode = "constant") -> Tensor:
    """Images with a border.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), any dtype.
        padding: pixels on every side, or (left and right, top and bottom), or (left, top, right, bottom).
        fill: value of a constant border, one or one for each channel.
        padding_mode: "constant", "edge" (the last pixel again), "reflect" (mirrored at the last pixel's centre) or
            "symmetric" (mirrored at the edge, so that the last pixel comes twice).

    Raises:
        OptionError: the padding is negative, or more than there is to mirror.
    """
    check_images(images)
    left, top, right, bottom = margins(padding)
    height, width = images.shape[-2:]
    if padding_mode == "constant":
        size = (top + height + bottom, left + width + right)
        canvas = fill_values(fill, images).expand(*images.shape[:-2], *size).clone()
        canvas[..., top : top + height, left : left + width] = images
        return canvas
    rows = _mirrored(height, top, bottom, padding_mode).to(images.device, non_blocking=True)
    columns = _mirrored(width, left, right, padding_mode).to(images.device, non_blocking=True)
    return images.index_select(-2, rows).index_select(-1, columns)


def _mirrored(length: int, before: int, after: int, mode: str) -> Tensor:
    index = torch.arange(-before, length + after)
    if mode == "edge":
        return index.clamp(0, length - 1)
    one_of("padding_mode", mode, get_args(PaddingMode))
    shift = 1 if mode == "symmetric" else 0
    if max(before, after) > length - 1 + shift:
        raise OptionError(
            f"{max(before, after)} pixels of {mode} padding beside {length} pixels",
            f"at most {length - 1 + shift}, which is all there is to mirror",
            "less padding, or padding_mode='edge'",
        )
    index = torch.where(index < 0, -index - shift, index)
    return torch.where(index >= length, 2 * (length - 1) + shift - index, index)


def resized_size(size: int | tuple[int, int], old: tuple[int, int]) -> tuple[int, int]:
    """Height and width that `size` asks for: a pair as it is, one number for the shorter side."""
    if not isinstance(size, int):
        return pair(size)
    height, width = old
    short = pair(size)[0]
    # Whole-number division, as in torchvision and R: 2:3 at 100 is 100 x 150, and never 149 by rounding.
    return (short, short * width // height) if height <= width else (short * height // width, short)


def resize(
    images: Tensor, size: int | tuple[int, int], interpolation: Interpolation = "bilinear", *, antialias: bool = True
) -> Tensor:
    """Images of another size.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width).
        size: (height, width), or the new length of the shorter side, which keeps the proportions.
        interpolation: "nearest", "bilinear" or "bicubic".
        antialias: when shrinking, average over all the pixels that fall on one, as Pillow does. False takes the
            nearest few, as R's torchvision does: faster, and thin lines may vanish.

    Returns:
        The dtype of `images`; uint8 is rounded.
    """
    check_images(images)
    check_interpolation(interpolation)
    new = resized_size(size, (images.shape[-2], images.shape[-1]))
    batch = images if images.ndim == 4 else images[None]
    if interpolation == "nearest":
        # The pixel under the centre of the new one, in whole numbers, as Pillow: interpolate() takes another.
        rows, columns = (
            ((2 * torch.arange(new[i], device=images.device) + 1) * images.shape[i - 2]).div(
                2 * new[i], rounding_mode="floor"
            )
            for i in (0, 1)
        )
        result = batch.index_select(-2, rows).index_select(-1, columns)
    else:
        result = in_float(
            batch,
            lambda pixels: functional.interpolate(
                pixels, new, mode=interpolation, antialias=antialias, align_corners=False
            ),
        )
    return result if images.ndim == 4 else result[0]


def resized_crop(
    images: Tensor,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Size,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """A rectangle of the images, resized. See `crop` and `resize`; `size` as one number makes a square."""
    return resize(crop(images, top, left, height, width), pair(size), interpolation)


def rotate(
    images: Tensor,
    angle: float,
    interpolation: Interpolation = "nearest",
    expand: bool = False,
    center: tuple[float, float] | None = None,
    fill: Fill = 0.0,
) -> Tensor:
    """Images turned counter-clockwise.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width).
        angle: degrees.
        interpolation: "nearest", "bilinear" or "bicubic".
        expand: make the result large enough to hold all of the turned image, which must then turn about its centre.
        center: (x, y) that stays where it is; the centre of the image by default.
        fill: value of pixels that come from outside, one or one for each channel.

    Raises:
        OptionError: `expand` together with `center`.

    Example:
        >>> import torch, lumbre.vision as vision
        >>> image = torch.rand(3, 8, 6)
        >>> torch.equal(vision.rotate(image, 90, expand=True), torch.rot90(image, 1, (-2, -1)))
        True
    """
    check_images(images)
    if expand and center is not None:
        raise OptionError(
            f"expand=True and center={center!r}",
            "one of the two: the room is made around the centre of the image",
            "rotate(images, angle, expand=True)",
        )
    height, width = images.shape[-2:]
    middle = (width / 2, height / 2)
    matrix = matrices.affinity(center or middle, -angle)
    size = (height, width)
    if expand:
        corners = torch.tensor([[[0, 0], [width, 0], [width, height], [0, height]]], dtype=torch.float64)
        turned = matrices.moved_points(corners, matrix)[0]
        # Rounded first: at 90 degrees a cosine of 1e-16 would otherwise cost a whole extra pixel.
        extent = (turned.amax(0) - turned.amin(0)).round(decimals=6).ceil()
        size = (int(extent[1]), int(extent[0]))
        matrix = matrices.translation((size[1] - width) / 2, (size[0] - height) / 2) @ matrix
    return _warped(images, matrix, size, interpolation, fill)


def affine(
    images: Tensor,
    angle: float,
    translate: tuple[float, float],
    scale: float,
    shear: float | tuple[float, float],
    interpolation: Interpolation = "nearest",
    fill: Fill = 0.0,
    center: tuple[float, float] | None = None,
) -> Tensor:
    """Images sheared, scaled and turned about a centre, then moved.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width).
        angle: degrees, clockwise (`rotate` turns the other way; so it is in R and in torchvision too).
        translate: (x, y) in pixels, to the right and down.
        scale: factor.
        shear: degrees along x, or along (x, y).
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: value of pixels that come from outside, one or one for each channel.
        center: (x, y) about which it turns; the centre of the image by default.

    Raises:
        OptionError: the scale is not positive.
    """
    check_images(images)
    if scale <= 0:
        raise OptionError(f"scale={scale!r}", "a positive factor", "scale=1 keeps the size")
    height, width = images.shape[-2:]
    along = (shear, 0.0) if isinstance(shear, int | float) else (shear[0], shear[1])
    matrix = matrices.affinity(center or (width / 2, height / 2), angle, translate, scale, along)
    return _warped(images, matrix, (height, width), interpolation, fill)


def perspective(
    images: Tensor,
    startpoints: Corners,
    endpoints: Corners,
    interpolation: Interpolation = "bilinear",
    fill: Fill = 0.0,
) -> Tensor:
    """Images seen from elsewhere: four points are taken to four others, and straight lines stay straight.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width).
        startpoints: four points (x, y), no three on a line; x is 0 at the left edge, the width at the right one.
        endpoints: where they go.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: value of pixels that come from outside, one or one for each channel.

    Raises:
        OptionError: not four points each, or three of them on a line.
    """
    check_images(images)
    start, end = (torch.tensor([list(points)], dtype=torch.float64) for points in (startpoints, endpoints))
    for name, points in (("startpoints", start), ("endpoints", end)):
        if points.shape != (1, 4, 2):
            raise OptionError(
                f"{name} of shape {tuple(points.shape[1:])}", "four points (x, y)", f"{name}=[(0, 0), ...]"
            )
    matrix = matrices.homography(start, end)
    determinant = float(torch.linalg.det(matrix)) if bool(matrix.isfinite().all()) else 0.0
    if abs(determinant) < 1e-9:
        raise OptionError(
            f"startpoints={list(startpoints)} and endpoints={list(endpoints)}",
            "four corners, no three of them on a line",
            "the corners in turn: upper left, upper right, lower right, lower left",
        )
    return _warped(images, matrix, (images.shape[-2], images.shape[-1]), interpolation, fill)


def _warped(images: Tensor, matrix: Tensor, size: tuple[int, int], interpolation: Interpolation, fill: Fill) -> Tensor:
    if images.ndim == 4:
        return warp(images, matrix, size, interpolation, fill)
    return warp(images[None], matrix, size, interpolation, fill)[0]


def linear_transformation(images: Tensor, transformation_matrix: Tensor, mean_vector: Tensor) -> Tensor:
    """Each image as one long vector, less a mean, times a square matrix: whitening, for example.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), floating point.
        transformation_matrix: shape (D, D) with D = channels * height * width.
        mean_vector: shape (D,).

    Raises:
        OptionError: the sizes do not agree.
    """
    check_images(images)
    length = math.prod(images.shape[-3:])
    if transformation_matrix.shape != (length, length) or mean_vector.shape != (length,):
        raise OptionError(
            f"a {describe(transformation_matrix)} and a {describe(mean_vector)} for images of {length} values",
            f"shapes ({length}, {length}) and ({length},)",
            "make both from images of this size",
        )
    flat = images.flatten(-3) - mean_vector
    return (flat @ transformation_matrix).reshape(images.shape)
