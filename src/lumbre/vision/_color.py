"""Plain functions that change colours and leave every pixel in its place.

Images are floats in [0, 1], or uint8. The factors may be numbers, or tensors of shape (batch,) that give each image
its own. Results are kept within the range.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, describe
from lumbre.vision._warp import check_images

Factor: TypeAlias = float | Tensor
_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, rounded as in R's torchvision and in Python's


def convert_image_dtype(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Another dtype, with the values scaled to its range: [0, 1] for floats, [0, 255] for uint8.

    Args:
        images: any shape; floats are taken to lie in [0, 1].
        dtype: a floating dtype, or an integer one.

    Returns:
        The converted images. uint8 to float32 and back gives the same bits.
    """
    if images.dtype == dtype:
        return images
    if images.is_floating_point():
        if dtype.is_floating_point:
            return images.to(dtype)
        top = torch.iinfo(dtype).max
        # As torchvision: [0, 1] is cut into equal steps, so that each integer gets the same share.
        wide = images.double() if top > 2**16 and images.device.type != "mps" else images.float()
        return (wide * (top + 1 - 1e-3)).clamp(0, top).to(dtype)
    if dtype.is_floating_point:
        return images.to(dtype) / torch.iinfo(images.dtype).max
    old, new = torch.iinfo(images.dtype).max, torch.iinfo(dtype).max
    if old > new:
        return images.div((old + 1) // (new + 1), rounding_mode="floor").to(dtype)
    return images.to(dtype) * ((new + 1) // (old + 1))


def normalize(images: Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> Tensor:
    """Each channel less its mean, over its standard deviation.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), floating point.
        mean: one number, or one for each channel.
        std: one number, or one for each channel; positive.

    Raises:
        OptionError: a deviation is not positive, or the counts do not fit the channels.
        DataError: the images are integers.
    """
    check_images(images)
    if not images.is_floating_point():
        raise DataError(describe(images), "floating-point images", "convert_image_dtype(images), or ToFloat() before")
    means, deviations = ([float(v)] if isinstance(v, int | float) else [float(x) for x in v] for v in (mean, std))
    channels = images.shape[-3]
    if min(deviations) <= 0 or not {len(means), len(deviations)} <= {1, channels}:
        raise OptionError(
            f"mean={mean!r} and std={std!r} for images of {channels} channels",
            "one number, or one for each channel, and positive deviations",
            "mean=0.5, std=0.5",
        )
    center, spread = (torch.tensor(v)[:, None, None] for v in (means, deviations))
    return (images - center.to(images, non_blocking=True)) / spread.to(images, non_blocking=True)


def rgb_to_grayscale(images: Tensor) -> Tensor:
    """One channel of brightness: 0.2989 red + 0.587 green + 0.114 blue.

    Args:
        images: shape (3, height, width) or (batch, 3, height, width); or with 1 channel, which comes back as it is.

    Returns:
        Shape (1, height, width) or (batch, 1, height, width), in the dtype of `images`.
    """
    check_images(images, (1, 3))
    return images if images.shape[-3] == 1 else _in_unit(images, _luma)


def grayscale(images: Tensor, num_output_channels: int = 1) -> Tensor:
    """Images without colour, in 1 or in 3 equal channels.

    Args:
        images: shape (1 or 3, height, width) or (batch, 1 or 3, height, width).
        num_output_channels: 1 or 3.
    """
    if num_output_channels not in (1, 3):
        raise OptionError(
            f"num_output_channels={num_output_channels!r}", "1 or 3", "3 for a net that was made for colours"
        )
    gray = rgb_to_grayscale(images)
    return gray if num_output_channels == 1 else gray.repeat_interleave(3, dim=-3)


def adjust_brightness(images: Tensor, brightness_factor: Factor) -> Tensor:
    """Images times a factor: 0 is black, 1 the image, 2 twice as bright.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), in [0, 1] or uint8.
        brightness_factor: not negative; a number, or one for each image.
    """
    check_images(images)
    factor = _factor(brightness_factor, "brightness_factor", images)
    return _in_unit(images, lambda pixels: (pixels * factor).clamp(0, 1))


def adjust_contrast(images: Tensor, contrast_factor: Factor) -> Tensor:
    """Images stretched away from their mean brightness: 0 is plain gray, 1 the image, 2 twice the contrast.

    Args:
        images: shape (1 or 3, height, width) or (batch, 1 or 3, height, width), in [0, 1] or uint8.
        contrast_factor: not negative; a number, or one for each image.
    """
    check_images(images, (1, 3))
    factor = _factor(contrast_factor, "contrast_factor", images)
    return _in_unit(images, lambda pixels: _blend(pixels, _luma(pixels).mean((-3, -2, -1), keepdim=True), factor))


def adjust_saturation(images: Tensor, saturation_factor: Factor) -> Tensor:
    """Images stretched away from their gray: 0 is without colour, 1 the image, 2 twice as colourful.

    Args:
        images: shape (1 or 3, height, width) or (batch, 1 or 3, height, width), in [0, 1] or uint8.
        saturation_factor: not negative; a number, or one for each image.
    """
    check_images(images, (1, 3))
    factor = _factor(saturation_factor, "saturation_factor", images)
    return _in_unit(images, lambda pixels: _blend(pixels, _luma(pixels), factor))


def adjust_hue(images: Tensor, hue_factor: Factor) -> Tensor:
    """Colours moved around the circle of hues, in HSV; gray stays gray.

    Args:
        images: shape (1 or 3, height, width) or (batch, 1 or 3, height, width), in [0, 1] or uint8.
        hue_factor: share of the circle, in [-0.5, 0.5]; a number, or one for each image.
    """
    check_images(images, (1, 3))
    turn = _factor(hue_factor, "hue_factor", images, -0.5, 0.5)
    return images if images.shape[-3] == 1 else _in_unit(images, lambda pixels: _hue_turned(pixels, turn))


def adjust_gamma(images: Tensor, gamma: Factor, gain: float = 1.0) -> Tensor:
    """`gain * image ** gamma`: above 1 the shadows darken, below 1 they lighten.

    Args:
        images: shape (channels, height, width) or (batch, channels, height, width), in [0, 1] or uint8.
        gamma: not negative; a number, or one for each image.
        gain: factor.
    """
    check_images(images)
    power = _factor(gamma, "gamma", images)
    return _in_unit(images, lambda pixels: (gain * pixels**power).clamp(0, 1))


def _luma(pixels: Tensor) -> Tensor:
    if pixels.shape[-3] == 1:
        return pixels
    red, green, blue = pixels.unbind(-3)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(-3)


def _blend(pixels: Tensor, other: Tensor, factor: Factor) -> Tensor:
    return (pixels * factor + other * (1 - factor)).clamp(0, 1)


def _hue_turned(pixels: Tensor, turn: Factor) -> Tensor:
    # The way back from HSV by one formula for all three channels, which needs no table of six cases:
    # value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + 6 hue) mod 6, n = 5, 3, 1.
    high, low = pixels.amax(-3, keepdim=True), pixels.amin(-3, keepdim=True)
    chroma = high - low
    red, green, blue = pixels.split(1, -3)
    inverse = torch.where(chroma > 0, chroma, 1).reciprocal()
    hue = torch.where(
        high == red,
        (green - blue) * inverse,
        torch.where(high == green, (blue - red) * inverse + 2, (red - green) * inverse + 4),
    )
    offsets = torch.tensor([5 / 6, 3 / 6, 1 / 6])[:, None, None].to(pixels, non_blocking=True)
    # In whole turns, and one more so that none is negative: frac() costs a fifth of a remainder by 6.
    k = (hue / 6 + (turn + 1) + offsets).frac() * 6
    return high - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _factor(value: Factor, name: str, images: Tensor, low: float = 0.0, high: float = float("inf")) -> Factor:
    """A factor beside `images`. Tensors are not checked for their range: that would wait for the device."""
    if not isinstance(value, Tensor):
        if not low <= value <= high:
            bounds = f"between {low:g} and {high:g}" if high < float("inf") else "not negative"
            raise OptionError(f"{name}={value!r}", f"a number, {bounds}", f"{name}={max(low, 0.0) or 0.1:g}")
        return float(value)
    if value.ndim == 0:
        return value.to(images.device, torch.float32)
    if images.ndim != 4 or value.shape != images.shape[:1]:
        raise OptionError(
            f"a {describe(value)} as {name} of a {describe(images)}", "a number, or one for each image", f"{name}=1.0"
        )
    return value.to(images.device, torch.float32, non_blocking=True)[:, None, None, None]


def _in_unit(images: Tensor, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """An operation of images in [0, 1], on floats as they are and on uint8 through floats, rounded."""
    if images.is_floating_point():
        return operation(images).to(images.dtype)
    if images.dtype != torch.uint8:
        raise DataError(describe(images), "floats in [0, 1] or uint8", "convert_image_dtype(images)")
    return (operation(images.float() / 255) * 255).round().clamp(0, 255).to(torch.uint8)
