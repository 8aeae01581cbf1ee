"""Random transforms that move pixels. Masks, boxes and keypoints go with the images.

Defaults are those of R's torchvision. What they draw, they draw for each row.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real

import torch
from torch import Tensor

from lumbre.base import OptionError, only_numbers
from lumbre.vision import _matrices as matrices
from lumbre.vision._geometry import Padding, PaddingMode, margins, pad
from lumbre.vision._rows import uniform
from lumbre.vision._scene import Scene, Transform, moved, on_rows
from lumbre.vision._spans import Span, bounds, check_chance, drawn, happens
from lumbre.vision._warp import Fill, Interpolation, Size, check_interpolation, pair, warp

_ATTEMPTS = 10  # as in torchvision: a shape that does not fit is drawn again, ten times at most


def warped(
    scene: Scene, matrix: Tensor, size: tuple[int, int], interpolation: Interpolation, fill: Fill = 0.0
) -> Scene:
    """The scene resampled under one matrix for each row; masks by the nearest pixel."""
    return moved(
        scene,
        matrix,
        lambda images: warp(images, matrix, size, interpolation, fill),
        lambda masks: warp(masks, matrix, size, "nearest", scene.mask_fill),
    )


@dataclass(frozen=True, slots=True)
class RandomHorizontalFlip(Transform):
    """Left and right exchanged in some rows.

    Args:
        p: chance of each row.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_chance(self.p)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Flip the rows that chance picks."""
        matrix = matrices.of([-1, 0, scene.size[1], 0, 1, 0, 0, 0, 1])
        return _flipped(scene, happens(seeds, self.p), matrix, -1)


@dataclass(frozen=True, slots=True)
class RandomVerticalFlip(Transform):
    """Top and bottom exchanged in some rows.

    Args:
        p: chance of each row.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_chance(self.p)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Flip the rows that chance picks."""
        matrix = matrices.of([1, 0, 0, 0, -1, scene.size[0], 0, 0, 1])
        return _flipped(scene, happens(seeds, self.p), matrix, -2)


def _flipped(scene: Scene, chosen: Tensor, matrix: Tensor, dimension: int) -> Scene:
    index = chosen.nonzero()[:, 0]

    def pixels(images: Tensor) -> Tensor:
        rows, flipped = index.to(images.device, non_blocking=True), images.clone()
        flipped[rows] = images[rows].flip(dimension)
        return flipped

    each = torch.where(chosen[:, None, None], matrix, torch.eye(3, dtype=torch.float64))
    return moved(scene, each, pixels)


@dataclass(frozen=True, slots=True)
class RandomCrop(Transform):
    """A rectangle of `size` from anywhere in each image.

    Args:
        size: height and width, or one number for both.
        padding: a border added first; see `pad`.
        pad_if_needed: where an image is smaller than `size`, add what is missing on both sides.
        fill: value of a constant border.
        padding_mode: "constant", "edge", "reflect" or "symmetric".

    Example:
        >>> import torch
        >>> from lumbre.vision import RandomCrop, row_seeds
        >>> RandomCrop(32, padding=4)(torch.rand(5, 3, 32, 32), row_seeds(range(5))).shape
        torch.Size([5, 3, 32, 32])
    """

    size: Size
    _: KW_ONLY
    padding: Padding | None = None
    pad_if_needed: bool = False
    fill: Fill = 0.0
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        pair(self.size)
        margins(self.padding or 0)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Pad, then cut each row where chance says."""
        height, width = pair(self.size)
        left, top, right, bottom = margins(self.padding or 0)
        if self.pad_if_needed:
            missing_rows = max(0, height - scene.size[0] - top - bottom)
            missing_columns = max(0, width - scene.size[1] - left - right)
            top, bottom = top + missing_rows // 2, bottom + (missing_rows + 1) // 2
            left, right = left + missing_columns // 2, right + (missing_columns + 1) // 2
        room = (scene.size[0] + top + bottom - height, scene.size[1] + left + right - width)
        if min(room) < 0:
            raise OptionError(
                f"a crop of {height} x {width} from images of {scene.size[0]} x {scene.size[1]}"
                + (f" with padding={self.padding!r}" if self.padding else ""),
                "images at least as large as the crop",
                "pad_if_needed=True, or Resize() before",
            )
        chance = uniform(seeds, "corner", 2)
        rows, columns = ((chance[:, i] * (room[i] + 1)).long() for i in (0, 1))

        def cut(images: Tensor, fill: Fill) -> Tensor:
            if left or top or right or bottom:
                images = pad(images, (left, top, right, bottom), fill, self.padding_mode)
            return _windows(images, rows, columns, height, width)

        matrix = matrices.translation(left - columns, top - rows)
        return moved(scene, matrix, lambda images: cut(images, self.fill), lambda masks: cut(masks, scene.mask_fill))


def _windows(images: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    # All windows as a view, of which each row picks one: whole lines are copied, ten times faster than by pixels.
    views = images.unfold(2, height, 1).unfold(3, width, 1)
    device = images.device
    number = torch.arange(len(images), device=device)
    return views[number, :, rows.to(device, non_blocking=True), columns.to(device, non_blocking=True)]


@dataclass(frozen=True, slots=True)
class RandomResizedCrop(Transform):
    """A rectangle of random area and proportions from each image, resampled to one size.

    Resampled without averaging: shrunk to less than half, fine patterns may alias. `Resize` before to avoid that.

    Args:
        size: height and width of the result, or one number for both.
        scale: smallest and largest area, as shares of the image's.
        ratio: smallest and largest width over height; drawn evenly on the logarithmic scale.
        interpolation: "nearest", "bilinear" or "bicubic".
    """

    size: Size
    _: KW_ONLY
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        pair(self.size)
        check_interpolation(self.interpolation)
        bounds(self.scale, "scale", 1.0, 1e-9)
        bounds(self.ratio, "ratio", 1.0, 1e-9)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Resample each row's rectangle."""
        height, width = rectangles(seeds, scene.size, self.scale, self.ratio)
        whole = _whole_within(scene.size, self.ratio)
        # None of the attempts fitted: the largest middle part that has allowed proportions, as in torchvision.
        fits = height > 0
        chance = uniform(seeds, "corner", 2)
        top = torch.where(fits, (chance[:, 0] * (scene.size[0] - height + 1)).floor(), (scene.size[0] - whole[0]) // 2)
        left = torch.where(fits, (chance[:, 1] * (scene.size[1] - width + 1)).floor(), (scene.size[1] - whole[1]) // 2)
        height, width = torch.where(fits, height, whole[0]), torch.where(fits, width, whole[1])
        size = pair(self.size)
        matrix = matrices.scaling(size[1] / width, size[0] / height) @ matrices.translation(-left, -top)
        return warped(scene, matrix, size, self.interpolation)


def rectangles(
    seeds: Tensor, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """For each row the whole height and width of a random rectangle that fits; 0 where none of ten draws did.

    Args:
        seeds: int64 tensor of shape (batch,).
        size: height and width of the image.
        scale: smallest and largest area, as shares of the image's.
        ratio: smallest and largest ratio of the sides, width over height.

    Returns:
        Two float64 tensors of shape (batch,).
    """
    chance = uniform(seeds, "rectangle", 2 * _ATTEMPTS)
    area = (scale[0] + (scale[1] - scale[0]) * chance[:, ::2]) * (size[0] * size[1])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    proportion = torch.exp(low + (high - low) * chance[:, 1::2])
    widths, heights = torch.sqrt(area * proportion).round(), torch.sqrt(area / proportion).round()
    fits = (widths >= 1) & (heights >= 1) & (widths <= size[1]) & (heights <= size[0])
    first = fits.long().argmax(1, keepdim=True)
    found = fits.gather(1, first)
    return (heights.gather(1, first) * found)[:, 0], (widths.gather(1, first) * found)[:, 0]


def _whole_within(size: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int]:
    height, width = size
    if width / height < ratio[0]:
        return max(1, round(width / ratio[0])), width
    if width / height > ratio[1]:
        return height, max(1, round(height * ratio[1]))
    return height, width


@dataclass(frozen=True, slots=True)
class RandomRotation(Transform):
    """Each image turned about its centre by an angle of its own.

    There is no `expand`: each row would come out with another size. `pad` first to keep the corners.

    Args:
        degrees: the range (counter-clockwise), or one number for -degrees to +degrees.
        interpolation: "nearest", "bilinear" or "bicubic".
        center: (x, y) about which they turn; the centre of the image by default.
        fill: value of pixels that come from outside, one or one for each channel.
    """

    degrees: Span
    _: KW_ONLY
    interpolation: Interpolation = "nearest"
    center: tuple[float, float] | None = None
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        bounds(self.degrees, "degrees")
        check_interpolation(self.interpolation)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Turn each row."""
        angle = drawn(seeds, "angle", bounds(self.degrees, "degrees"))
        center = self.center or (scene.size[1] / 2, scene.size[0] / 2)
        return warped(scene, matrices.affinity(center, -angle), scene.size, self.interpolation, self.fill)


@dataclass(frozen=True, slots=True)
class RandomAffine(Transform):
    """Each image sheared, scaled and turned about its centre and then moved, by numbers of its own.

    Args:
        degrees: range of angles, or one number for -degrees to +degrees.
        translate: greatest shift along x and y, as shares of width and height; drawn in whole pixels.
        scale: range of factors.
        shear: degrees: one number for -shear to +shear along x; a range along x; or four numbers, of x and of y.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: value of pixels that come from outside, one or one for each channel.
    """

    degrees: Span
    _: KW_ONLY
    translate: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None
    shear: float | Sequence[float] | None = None
    interpolation: Interpolation = "nearest"
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        bounds(self.degrees, "degrees")
        bounds(self.scale or (1.0, 1.0), "scale", 1.0, 1e-9)
        check_interpolation(self.interpolation)
        self._shears()
        shares = (0.0, 0.0) if self.translate is None else tuple(self.translate)
        if len(shares) != 2 or not all(isinstance(one, Real) and 0 <= one <= 1 for one in shares):
            raise OptionError(f"translate={self.translate!r}", "two shares between 0 and 1", "translate=(0.1, 0.1)")

    def _shears(self) -> tuple[tuple[float, float], tuple[float, float]]:
        if not (isinstance(self.shear, Sequence) and len(self.shear) == 4):
            return bounds(0.0 if self.shear is None else self.shear, "shear"), (0.0, 0.0)
        return bounds(self.shear[:2], "shear"), bounds(self.shear[2:], "shear")

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Move each row."""
        height, width = scene.size
        shares = self.translate or (0.0, 0.0)
        shift = (
            drawn(seeds, "x", (-shares[0] * width, shares[0] * width)).round(),
            drawn(seeds, "y", (-shares[1] * height, shares[1] * height)).round(),
        )
        shear_x, shear_y = self._shears()
        matrix = matrices.affinity(
            (width / 2, height / 2),
            drawn(seeds, "angle", bounds(self.degrees, "degrees")),
            shift,
            drawn(seeds, "scale", self.scale or (1.0, 1.0)),
            (drawn(seeds, "shear_x", shear_x), drawn(seeds, "shear_y", shear_y)),
        )
        return warped(scene, matrix, scene.size, self.interpolation, self.fill)


@dataclass(frozen=True, slots=True)
class RandomPerspective(Transform):
    """Some images seen from elsewhere: each corner moves inwards by a distance of its own.

    Args:
        distortion_scale: greatest shift of a corner, as a share of half the side; between 0 and 1.
        p: chance of each row.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: value of pixels that come from outside, one or one for each channel.
    """

    distortion_scale: float = 0.5
    _: KW_ONLY
    p: float = 0.5
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        check_chance(self.p)
        check_interpolation(self.interpolation)
        what = "a share of at least 0 and less than 1, where the corners would meet"
        only_numbers(what, 0.5, lambda share: 0 <= share < 1, distortion_scale=self.distortion_scale)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Distort the rows that chance picks."""
        return on_rows(scene, happens(seeds, self.p), seeds, self._distorted)

    def _distorted(self, scene: Scene, seeds: Tensor) -> Scene:
        height, width = scene.size
        start = torch.tensor([[[0, 0], [width, 0], [width, height], [0, height]]], dtype=torch.float64)
        inwards = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=torch.float64)
        reach = torch.tensor([width / 2, height / 2], dtype=torch.float64) * self.distortion_scale
        end = start + uniform(seeds, "corners", 8).reshape(-1, 4, 2) * inwards * reach
        matrix = matrices.homography(start.expand_as(end), end)
        return warped(scene, matrix, scene.size, self.interpolation, self.fill)
