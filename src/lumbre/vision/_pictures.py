"""Between tensors and what other programs call images: Pillow's, and arrays with the channels last."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, describe, import_extra
from lumbre.vision._color import convert_image_dtype
from lumbre.vision._warp import check_images


def to_tensor(picture: Any) -> Tensor:
    """A picture as a float32 image.

    Args:
        picture: a Pillow image (palettes and bitmaps become RGB), or an array of shape (height, width) or
            (height, width, channels). Whole numbers are taken to fill the range of their dtype, floats to lie in
            [0, 1] already. A picture of Pillow is taken as it is stored, not turned as its EXIF notes say, which
            `PIL.ImageOps.exif_transpose(picture)` does; transparency is a channel more, but of palettes.

    Returns:
        float32 of shape (channels, height, width), in [0, 1].

    Raises:
        DataError: not a picture; tensors are refused too, for one cannot tell where their channels are, and so are
            whole numbers of 32 bits or more, of which no picture fills the range.
    """
    try:  # a picture of Pillow is read from its file only now
        if hasattr(picture, "convert") and picture.mode in ("1", "P", "CMYK", "PA", "YCbCr", "LAB", "HSV"):
            picture = picture.convert("RGB")
        array = np.asarray(picture) if not isinstance(picture, Tensor) else np.empty(0)
    except (OSError, SyntaxError) as error:
        raise DataError(
            f"a picture that cannot be read: {error}", "a whole image file", "fetch or export it again"
        ) from error
    if array.ndim not in (2, 3) or array.dtype.kind not in "uif":
        raise DataError(
            describe(picture),
            "a Pillow image, or an array of shape (height, width) or (height, width, channels)",
            "convert_image_dtype() for tensors, channels first",
        )
    if array.dtype.kind in "ui" and array.dtype.itemsize > 2:
        if getattr(picture, "format", None) != "PNG":  # which has 16 bits at most, though it may come as more
            raise DataError(
                f"a picture of {array.dtype}, from {array.min()} to {array.max()}",
                "whole numbers of 8 or 16 bits, whose range says what is white, or floats from 0 to 1",
                "array.astype(numpy.uint8) for values up to 255, .astype(numpy.uint16) up to 65535",
            )
        array = array.astype(np.uint16)
    array = array[:, :, None] if array.ndim == 2 else array
    array = array.astype(array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.float64, copy=False)
    return convert_image_dtype(torch.tensor(np.ascontiguousarray(array)).movedim(-1, 0).contiguous(), torch.float32)


def to_pillow(image: Tensor) -> Any:
    """An image as a Pillow image, to show or to save: `to_pillow(image_grid(images)).save("grid.png")`.

    Args:
        image: shape (1, 3 or 4, height, width), uint8, or floats in [0, 1] (others are cut to that).

    Raises:
        DataError: another shape.
        MissingExtraError: Pillow is not installed.
    """
    check_images(image, (1, 3, 4))
    if image.ndim != 3:
        raise DataError(describe(image), "one image of shape (channels, height, width)", "image_grid(images)")
    pillow = import_extra("PIL.Image", "vision", "show or save images")
    # Rounded, where convert_image_dtype cuts: what comes out of a computation should look as near as can be.
    pixels = (image.float().clamp(0, 1) * 255).round().to(torch.uint8) if image.is_floating_point() else image
    if pixels.dtype != torch.uint8:
        raise DataError(describe(image), "uint8, or floats in [0, 1]", "convert_image_dtype(image, torch.uint8)")
    array = pixels.detach().cpu().movedim(0, -1).contiguous().numpy()
    return pillow.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
