"""Images made of images: a grid to look at, and boxes, masks and keypoints painted on."""

import colorsys
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, describe, import_extra, only_numbers
from lumbre.vision._color import convert_image_dtype
from lumbre.vision._pictures import to_pillow, to_tensor
from lumbre.vision._warp import Fill, check_images, fill_values

Color: TypeAlias = tuple[int, int, int]
"""Red, green and blue, from 0 to 255."""


def image_grid(images: Tensor, columns: int = 8, padding: int = 2, fill: Fill = 0.0) -> Tensor:
    """A batch side by side, in one image.

    Args:
        images: shape (batch, channels, height, width), any dtype.
        columns: images in a row.
        padding: pixels around each image.
        fill: value of the padding and of places left over.

    Returns:
        Shape (channels, H, W): H and W are whole numbers of images with their padding, and one padding more.

    Example:
        >>> import torch, lumbre.vision as vision
        >>> vision.image_grid(torch.rand(10, 1, 28, 28)).shape
        torch.Size([1, 62, 242])
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) == 0:
        raise DataError(
            describe(images), "images of shape (batch, channels, height, width), at least one", "image[None]"
        )
    if columns < 1 or padding < 0:
        raise OptionError(
            f"columns={columns!r}, padding={padding!r}", "columns of at least 1, padding of at least 0", "8, 2"
        )
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    high, wide = height + padding, width + padding
    canvas = fill_values(fill, images).expand(channels, rows * high + padding, columns * wide + padding).clone()
    for number, image in enumerate(images):
        top, left = (number // columns) * high + padding, (number % columns) * wide + padding
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def draw_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str] | None = None,
    colors: Sequence[Color] | None = None,
    width: int = 1,
) -> Tensor:
    """The outlines of boxes on an image.

    Args:
        image: uint8 of shape (1 or 3, height, width).
        boxes: shape (n, 4), (left, top, right, bottom), the right and lower edges just outside; parts beyond the
            image are left out, and boxes without area too.
        labels: text for the upper left corner of each box; needs Pillow.
        colors: one for each box; distinct hues by default.
        width: of the lines, in pixels, inwards.

    Returns:
        uint8 of shape (3, height, width), a new tensor.

    Raises:
        DataError: the image is not uint8, or the boxes have another shape.
        OptionError: there are not as many labels or colors as boxes.
        MissingExtraError: labels without Pillow.
    """
    canvas = _canvas(image)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(describe(boxes), "boxes of shape (n, 4)", "boxes[row] for those of one image of a batch")
    if labels is not None and len(labels) != len(boxes):
        raise OptionError(f"{len(labels)} labels for {len(boxes)} boxes", "one for each", "labels=None for none")
    paints = _colors(colors, len(boxes))
    corners = boxes.detach().cpu().round().int().tolist()
    for box, color in zip(corners, paints, strict=True):
        _outline(canvas, box, _paint(color, canvas)[:, None, None], width)
    if not labels:
        return canvas
    picture = to_pillow(canvas)
    pen = import_extra("PIL.ImageDraw", "vision", "write on images").Draw(picture)
    for box, color, label in zip(corners, paints, labels, strict=True):
        pen.text((max(box[0], 0) + width + 1, max(box[1], 0) + width), label, fill=color)
    return convert_image_dtype(to_tensor(picture), torch.uint8).to(canvas.device)


def _outline(canvas: Tensor, box: Sequence[int], paint: Tensor, width: int) -> None:
    """Paint the sides of a box in place. What lies outside the canvas is left out: a box that goes on there is open."""
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        return
    sides = [
        (top, min(top + width, bottom), left, right),
        (max(bottom - width, top), bottom, left, right),
        (top, bottom, left, min(left + width, right)),
        (top, bottom, max(right - width, left), right),
    ]
    for start, end, first, last in sides:
        canvas[:, max(start, 0) : max(end, 0), max(first, 0) : max(last, 0)] = paint


def draw_masks(image: Tensor, masks: Tensor, colors: Sequence[Color] | None = None, alpha: float = 0.8) -> Tensor:
    """Masks laid over an image.

    Args:
        image: uint8 of shape (1 or 3, height, width).
        masks: bool of shape (n, height, width) or (height, width); later ones lie on top.
        colors: one for each mask; distinct hues by default.
        alpha: 0 shows the image only, 1 the colours only.

    Returns:
        uint8 of shape (3, height, width), a new tensor.
    """
    canvas = _canvas(image)
    layers = masks if masks.ndim == 3 else masks[None]
    if layers.dtype != torch.bool or layers.ndim != 3 or layers.shape[1:] != canvas.shape[1:]:
        raise DataError(
            f"{describe(masks)} for a {describe(image)}",
            "bool masks of the height and width of the image",
            "masks == label; labels[None] == torch.arange(1, classes)[:, None, None] for one mask a class",
        )
    only_numbers("a share between 0 and 1", 0.8, lambda share: 0 <= share <= 1, alpha=alpha)
    over = canvas.clone()
    for layer, color in zip(layers, _colors(colors, len(layers)), strict=True):
        over = torch.where(layer, _paint(color, canvas)[:, None, None], over)
    covered = layers.any(0)
    blend = (canvas.float() * (1 - alpha) + over.float() * alpha).round().to(torch.uint8)
    return torch.where(covered, blend, canvas)


def draw_keypoints(
    image: Tensor,
    keypoints: Tensor,
    connectivity: Sequence[tuple[int, int]] = (),
    colors: Sequence[Color] | None = None,
    radius: float = 2,
) -> Tensor:
    """Points on an image, and lines between them.

    Args:
        image: uint8 of shape (1 or 3, height, width).
        keypoints: (x, y), shape (n, 2), or (instances, n, 2).
        connectivity: pairs of numbers of points to be joined by a line one pixel wide.
        colors: one for each instance; distinct hues by default.
        radius: of the discs, in pixels.

    Returns:
        uint8 of shape (3, height, width), a new tensor.
    """
    canvas = _canvas(image)
    instances = keypoints if keypoints.ndim == 3 else keypoints[None]
    if instances.ndim != 3 or instances.shape[-1] != 2:
        raise DataError(describe(keypoints), "shape (n, 2) or (instances, n, 2)", "keypoints[row] of a batch")
    height, width = canvas.shape[-2:]
    down = torch.arange(height, device=canvas.device)[:, None] + 0.5
    across = torch.arange(width, device=canvas.device) + 0.5
    for points, color in zip(instances.to(canvas.device).float(), _colors(colors, len(instances)), strict=True):
        paint = _paint(color, canvas)[:, None, None]
        for first, second in connectivity:
            steps = int((points[first] - points[second]).abs().max().clamp(max=1 << 16)) + 2
            line = torch.lerp(points[first], points[second], torch.linspace(0, 1, steps, device=canvas.device)[:, None])
            line = line[((line >= 0) & (line < torch.tensor([width, height], device=line.device))).all(1)].long()
            canvas[:, line[:, 1], line[:, 0]] = paint[..., 0]
        for x, y in points:
            canvas = torch.where((across - x).square() + (down - y).square() <= max(radius, 0.71) ** 2, paint, canvas)
    return canvas


def _canvas(image: Tensor) -> Tensor:
    check_images(image, (1, 3))
    if image.ndim != 3 or image.dtype != torch.uint8:
        raise DataError(
            describe(image),
            "one uint8 image of shape (1 or 3, height, width)",
            "convert_image_dtype(image, torch.uint8)",
        )
    return image.repeat(3, 1, 1) if image.shape[0] == 1 else image.clone()


def _paint(color: Color, canvas: Tensor) -> Tensor:
    return torch.tensor(color, dtype=torch.uint8, device=canvas.device)


def _colors(colors: Sequence[Color] | None, count: int) -> Sequence[Color]:
    if colors is not None:
        if len(colors) != count:
            raise OptionError(f"{len(colors)} colors for {count}", "one for each", "colors=None for distinct hues")
        return colors
    # Steps of the golden section around the circle of hues keep any number of colours apart.
    bright = [colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.9, 1.0) for number in range(count)]
    return [(round(red * 255), round(green * 255), round(blue * 255)) for red, green, blue in bright]
