"""Images resampled under a matrix, and the checks that all functions of images share."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from lumbre.base import DataError, OptionError, describe, one_of
from lumbre.vision._matrices import of, translation

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
Fill: TypeAlias = float | Sequence[float]
"""What stands where no pixel came from: one value, or one for each channel, in the units of the image."""
Size: TypeAlias = int | tuple[int, int]


def warp(
    images: Tensor, matrix: Tensor, size: tuple[int, int], interpolation: Interpolation, fill: Fill = 0.0
) -> Tensor:
    """Images under a motion: what stood at p stands at `matrix @ p`.

    Args:
        images: shape (batch, channels, height, width); any dtype for "nearest", whose pixels are copies.
        matrix: float64, shape (batch or 1, 3, 3), in the coordinates of `lumbre.vision`.
        size: height and width of the result.
        interpolation: how a value between pixels is made.
        fill: stands where nothing came from.

    Returns:
        Shape (batch, channels, *size), of the dtype of `images`.
    """
    check_interpolation(interpolation)
    inverse = torch.linalg.inv_ex(matrix).inverse
    if interpolation == "nearest":
        # A hair to the right and down: a centre that falls between two pixels takes the later one in every row of
        # the image, and not either as rounding has it. (1/4096 of a pixel is more than float32 loses below 2048.)
        inverse = translation(2.0**-12, 2.0**-12) @ inverse
        if images.dtype in _NOT_IN_FLOAT32:
            return _picked(images, inverse, size, fill)
    height, width = images.shape[-2:]
    grid = _sources(of([2 / width, 0, -1, 0, 2 / height, -1, 0, 0, 1]) @ inverse, size, images.device)
    grid = grid.expand(len(images), -1, -1, -1)
    if fill == 0:
        return in_float(
            images, lambda pixels: functional.grid_sample(pixels, grid, mode=interpolation, align_corners=False)
        )
    values = fill_values(fill, images).float()

    def sample(pixels: Tensor) -> Tensor:
        # Beyond the edge grid_sample takes zeros, so the fill is made zero: edges fade into it and not into black.
        return functional.grid_sample(pixels - values, grid, mode=interpolation, align_corners=False) + values

    def pick(pixels: Tensor) -> Tensor:
        outside = (grid.abs() > 1).any(-1)[:, None]
        return torch.where(outside, values, functional.grid_sample(pixels, grid, mode="nearest", align_corners=False))

    return in_float(images, pick if interpolation == "nearest" else sample)


_NOT_IN_FLOAT32 = (torch.bool, torch.int32, torch.int64, torch.float64)


def _sources(inverse: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """Where the centre of each new pixel comes from: (x, y), float32 of shape (batch or 1, *size, 2)."""
    # Sums by element and no matrix product: that may round otherwise in another batch size, and a row must not
    # depend on its batch.
    projective = bool((inverse[:, 2] != torch.tensor([0.0, 0.0, 1.0])).any())
    entries = inverse.to(torch.float32).to(device, non_blocking=True)[..., None, None]
    across = torch.arange(size[1], dtype=torch.float32, device=device) + 0.5
    down = (torch.arange(size[0], dtype=torch.float32, device=device) + 0.5)[:, None]
    points = torch.empty(len(inverse), *size, 2, device=device)
    for axis in (0, 1):
        row = entries[:, axis]
        torch.add(row[:, 0] * across, row[:, 1] * down + row[:, 2], out=points[..., axis])
    if projective:
        row = entries[:, 2]
        points /= (row[:, 0] * across + (row[:, 1] * down + row[:, 2]))[..., None]
    return points


def _picked(images: Tensor, inverse: Tensor, size: tuple[int, int], fill: Fill) -> Tensor:
    rows, channels, height, width = images.shape
    x, y = _sources(inverse, size, images.device).expand(rows, -1, -1, -1).unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = (y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()).flatten(1)
    pixels = images.flatten(2).gather(2, index[:, None].expand(-1, channels, -1)).reshape(rows, channels, *size)
    return torch.where(inside[:, None], pixels, fill_values(fill, images))


def in_float(images: Tensor, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """An operation of float32 images, on images of any dtype: integers are rounded to and kept in their range."""
    if images.dtype == torch.float32:
        return operation(images)
    result = operation(images.float())
    if images.is_floating_point():
        return result.to(images.dtype)
    limits = torch.iinfo(images.dtype)
    return result.round().clamp(limits.min, limits.max).to(images.dtype)


def fill_values(fill: Fill, images: Tensor) -> Tensor:
    """The fill as a tensor of shape (channels or 1, 1, 1) beside `images`."""
    values = [float(fill)] if isinstance(fill, int | float) else [float(value) for value in fill]
    channels = images.shape[-3]
    if len(values) not in (1, channels):
        raise OptionError(
            f"fill={fill!r} for images of {channels} channels",
            "one value, or one for each channel",
            f"fill={values[0]:g}",
        )
    return torch.tensor(values).to(images.device, images.dtype, non_blocking=True)[:, None, None]


def check_interpolation(interpolation: str) -> None:
    """Raise OptionError for a name that is none of the three."""
    names = get_args(Interpolation)
    one_of("interpolation", interpolation, names, fix="R's 0, 2 and 3 are these, in this order")


def check_images(images: Tensor, channels: tuple[int, ...] = ()) -> None:
    """Raise DataError for what is no image or batch of images, or has none of the counts of `channels`."""
    if not isinstance(images, Tensor) or images.ndim not in (3, 4):
        raise DataError(
            describe(images),
            "one image of shape (channels, height, width) or a batch (batch, channels, height, width)",
            "images.unsqueeze(1) for gray images without a channel dimension; to_tensor() for Pillow and arrays",
        )
    if channels and images.shape[-3] not in channels:
        raise DataError(
            f"{describe(images)}, with {images.shape[-3]} channels in dimension -3",
            f"{' or '.join(str(count) for count in channels)} channels",
            "images.movedim(-1, -3) if the channels come last",
        )


def pair(size: Size, name: str = "size") -> tuple[int, int]:
    """Height and width, of a pair or of one number for both."""
    given = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(given) != 2 or not all(isinstance(one, Integral) and one > 0 for one in given):
        raise OptionError(f"{name}={size!r}", "one or two positive whole numbers", f"{name}=(224, 224)")
    return int(given[0]), int(given[1])
