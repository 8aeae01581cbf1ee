"""One image cut into several: corners and middle, or overlapping tiles."""

from typing import NamedTuple

import torch
from torch import Tensor

from lumbre.base import OptionError
from lumbre.vision._geometry import center_crop, crop, hflip, vflip
from lumbre.vision._warp import Size, check_images, pair


def five_crop(images: Tensor, size: Size) -> Tensor:
    """The four corners and the middle.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), any dtype.
        size: height and width of each crop, or one number for both.

    Returns:
        Shape (5, channels, height, width) or (batch, 5, channels, height, width): upper left, upper right, lower left,
        lower right, middle.
    """
    check_images(images)
    height, width = pair(size)
    bottom, right = images.shape[-2] - height, images.shape[-1] - width
    corners = [crop(images, top, left, height, width) for top in (0, bottom) for left in (0, right)]
    return torch.stack([*corners, center_crop(images, (height, width))], dim=-4)


def ten_crop(images: Tensor, size: Size, vertical_flip: bool = False) -> Tensor:
    """The crops of `five_crop`, and those of the flipped images.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), any dtype.
        size: height and width of each crop, or one number for both.
        vertical_flip: flip top and bottom instead of left and right.

    Returns:
        Shape (10, channels, height, width) or (batch, 10, channels, height, width).
    """
    flipped = vflip(images) if vertical_flip else hflip(images)
    return torch.cat([five_crop(images, size), five_crop(flipped, size)], dim=-4)


class Tiles(NamedTuple):
    """What `sahi_crop` cuts.

    Attributes:
        images: shape (tiles, channels, height, width) or (batch, tiles, channels, height, width).
        windows: where each tile lies, (left, top, right, bottom): int64 of shape (tiles, 4), on the host.
    """

    images: Tensor
    windows: Tensor


def sahi_crop(images: Tensor, size: Size = (512, 512), overlap: tuple[float, float] = (0.2, 0.2)) -> Tiles:
    """Overlapping tiles that cover the image, to find small things in large pictures.

    Akyon et al., "Slicing Aided Hyper Inference and Fine-Tuning for Small Object Detection", 2022. The last tile of a
    row or column is moved back to end at the edge, so all have one size.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), any dtype.
        size: height and width of a tile, cut to those of the image.
        overlap: share of a tile that the next one covers again, down and across; at least 0, less than 1.

    Raises:
        OptionError: the size or the overlap is not possible.

    Example:
        >>> import torch, lumbre.vision as vision
        >>> tiles = vision.sahi_crop(torch.rand(3, 100, 160), size=80, overlap=(0.5, 0.5))
        >>> tiles.images.shape, tiles.windows[-1].tolist()
        (torch.Size([6, 3, 80, 80]), [80, 20, 160, 100])
    """
    check_images(images)
    height, width = (min(pair(size)[i], images.shape[i - 2]) for i in (0, 1))
    if not all(0 <= share < 1 for share in overlap):
        raise OptionError(f"overlap={overlap!r}", "two shares of at least 0 and less than 1", "overlap=(0.2, 0.2)")
    tops, lefts = _starts(images.shape[-2], height, overlap[0]), _starts(images.shape[-1], width, overlap[1])
    corners = [(top, left) for top in tops for left in lefts]
    windows = torch.tensor([[left, top, left + width, top + height] for top, left in corners])
    return Tiles(torch.stack([crop(images, top, left, height, width) for top, left in corners], dim=-4), windows)


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    step = max(1, tile - int(tile * overlap))
    starts = list(range(0, length - tile, step))
    return [*starts, length - tile]
