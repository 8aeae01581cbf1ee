"""Plain functions as steps of an `Augment`: what has no chance in it, for every row alike."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from lumbre.base import DataError, describe
from lumbre.vision import _matrices as matrices
from lumbre.vision._color import convert_image_dtype, grayscale, normalize
from lumbre.vision._geometry import Padding, PaddingMode, center_crop, crop, margins, pad, resize, resized_size
from lumbre.vision._scene import Scene, Transform, moved
from lumbre.vision._warp import Fill, Interpolation, Size, check_interpolation, pair


@dataclass(frozen=True, slots=True)
class ToFloat(Transform):
    """Images as float32: uint8 from [0, 255] to [0, 1], floats unscaled."""

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Convert the images."""
        return replace(scene, images=convert_image_dtype(scene.images, torch.float32))


@dataclass(frozen=True, slots=True)
class Normalize(Transform):
    """Each channel less its mean, over its standard deviation. See `normalize`.

    Args:
        mean: one number, or one for each channel.
        std: one number, or one for each channel.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Scale the images."""
        return replace(scene, images=normalize(scene.images, self.mean, self.std))


@dataclass(frozen=True, slots=True)
class Grayscale(Transform):
    """Images without colour. See `grayscale`.

    Args:
        num_output_channels: 1 or 3.
    """

    num_output_channels: int = 1

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Take the colour away."""
        return replace(scene, images=grayscale(scene.images, self.num_output_channels))


@dataclass(frozen=True, slots=True)
class Lambda(Transform):
    """A function of images that moves no pixel, so that masks, boxes and keypoints stay right.

    Args:
        function: takes and returns images of shape (batch, channels, height, width), of unchanged height and width.

    Example:
        >>> import torch
        >>> from lumbre.vision import Lambda, row_seeds
        >>> Lambda(torch.sqrt)(torch.full((1, 1, 2, 2), 0.25), row_seeds([0])).unique()
        tensor([0.5000])
    """

    function: Callable[[Tensor], Tensor]

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Call the function."""
        images = self.function(scene.images)
        if images.shape[0] != scene.images.shape[0] or images.shape[-2:] != scene.images.shape[-2:]:
            raise DataError(
                f"a {describe(images)} from the function given to Lambda, of a {describe(scene.images)}",
                "the same batch, height and width: masks, boxes and keypoints could not follow",
                "a Transform of your own that says how they move",
            )
        return replace(scene, images=images)


@dataclass(frozen=True, slots=True)
class Resize(Transform):
    """Images of another size. See `resize`.

    Args:
        size: (height, width), or the new length of the shorter side.
        interpolation: "nearest", "bilinear" or "bicubic"; masks are always resized by the nearest pixel.
        antialias: average when shrinking.
    """

    size: int | tuple[int, int]
    _: KW_ONLY
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        pair(self.size)
        check_interpolation(self.interpolation)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Resize all rows."""
        new = resized_size(self.size, scene.size)
        matrix = matrices.scaling(new[1] / scene.size[1], new[0] / scene.size[0])
        return moved(
            scene,
            matrix,
            lambda images: resize(images, new, self.interpolation, antialias=self.antialias),
            lambda masks: resize(masks, new, "nearest"),
        )


@dataclass(frozen=True, slots=True)
class CenterCrop(Transform):
    """The middle of the images. See `center_crop`.

    Args:
        size: height and width, or one number for both.
    """

    size: Size

    def __post_init__(self) -> None:
        pair(self.size)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Cut all rows."""
        height, width = pair(self.size)
        matrix = matrices.translation(-((scene.size[1] - width) // 2), -((scene.size[0] - height) // 2))
        return moved(scene, matrix, lambda images: center_crop(images, self.size))


@dataclass(frozen=True, slots=True)
class Crop(Transform):
    """The same rectangle of every image. See `crop`.

    Args:
        top: first row kept, counted from 0.
        left: first column kept, counted from 0.
        height: rows kept.
        width: columns kept.
    """

    top: int
    left: int
    height: int
    width: int

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Cut all rows."""
        matrix = matrices.translation(-self.left, -self.top)
        return moved(scene, matrix, lambda images: crop(images, self.top, self.left, self.height, self.width))


@dataclass(frozen=True, slots=True)
class Pad(Transform):
    """Images with a border. See `pad`.

    Args:
        padding: pixels on every side, or (left and right, top and bottom), or (left, top, right, bottom).
        fill: value of a constant border.
        padding_mode: "constant", "edge", "reflect" or "symmetric".
    """

    padding: Padding
    _: KW_ONLY
    fill: Fill = 0.0
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        margins(self.padding)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Pad all rows."""
        left, top, _, _ = margins(self.padding)
        return moved(
            scene,
            matrices.translation(left, top),
            lambda images: pad(images, self.padding, self.fill, self.padding_mode),
            lambda masks: pad(masks, self.padding, scene.mask_fill, self.padding_mode),
        )
