"""Random transforms that change values and leave masks, boxes and keypoints as they are."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial, reduce

import torch
from torch import Tensor

from lumbre.vision._color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, grayscale
from lumbre.vision._random_moves import rectangles
from lumbre.vision._rows import uniform
from lumbre.vision._scene import Scene, Step, Transform, by_row, on_rows
from lumbre.vision._spans import Span, bounds, check_chance, drawn, happens
from lumbre.vision._warp import Fill, check_images, fill_values

_BYTES_TOGETHER = 1 << 18  # of the rows of one order: below, the calls for each order cost more than copying the rows


@dataclass(frozen=True, slots=True)
class RandomGrayscale(Transform):
    """Some images without colour; they keep their three channels.

    Args:
        p: chance of each row.
    """

    p: float = 0.1

    def __post_init__(self) -> None:
        check_chance(self.p)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Take the colour from the rows that chance picks."""
        check_images(scene.images, (1, 3))
        channels = scene.images.shape[1]
        return on_rows(
            scene, happens(seeds, self.p), seeds, on_images(partial(grayscale, num_output_channels=channels))
        )


def on_images(function: Callable[[Tensor], Tensor]) -> Step:
    """A function of images as a step that leaves all else alone."""
    return lambda scene, seeds: replace(scene, images=function(scene.images))


@dataclass(frozen=True, slots=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by factors of each image, in an order of each image.

    Args:
        brightness: factors are drawn from [max(0, 1 - brightness), 1 + brightness], or from the range given.
        contrast: likewise.
        saturation: likewise.
        hue: shares of the circle of hues are drawn from [-hue, hue], or from the range given; within [-0.5, 0.5].

    Example:
        >>> import torch
        >>> from lumbre.vision import ColorJitter, row_seeds
        >>> ColorJitter(brightness=0.2, hue=0.1)(
        ...     torch.rand(4, 3, 8, 8), row_seeds(range(4))
        ... ).shape
        torch.Size([4, 3, 8, 8])
    """

    brightness: Span = 0.0
    contrast: Span = 0.0
    saturation: Span = 0.0
    hue: Span = 0.0

    def __post_init__(self) -> None:
        self._changes()

    def _changes(self) -> list[tuple[str, tuple[float, float], Callable[[Tensor, Tensor], Tensor]]]:
        changes = [
            ("brightness", bounds(self.brightness, "brightness", 1.0, 0.0), adjust_brightness),
            ("contrast", bounds(self.contrast, "contrast", 1.0, 0.0), adjust_contrast),
            ("saturation", bounds(self.saturation, "saturation", 1.0, 0.0), adjust_saturation),
            ("hue", bounds(self.hue, "hue", 0.0, -0.5, 0.5), adjust_hue),
        ]
        return [change for change in changes if change[1] != ((0.0, 0.0) if change[0] == "hue" else (1.0, 1.0))]

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Change each row."""

        def step(name: str, ends: tuple[float, float], change: Callable[[Tensor, Tensor], Tensor]) -> Step:
            return lambda scene, seeds: replace(scene, images=change(scene.images, drawn(seeds, name, ends)))

        return in_drawn_order(scene, seeds, [step(*change) for change in self._changes()])


def in_drawn_order(scene: Scene, seeds: Tensor, steps: list[Step]) -> Scene:
    """Each row through all of the steps, in an order of its own."""
    order = uniform(seeds, "order", len(steps)).argsort(1)
    orders, choice = order.unique(dim=0, return_inverse=True)
    if scene.images.nbytes >= len(orders) * _BYTES_TOGETHER:
        return by_row(scene, choice, seeds, [_one_after_another(steps, one) for one in orders.tolist()])
    for place in range(len(steps)):
        scene = by_row(scene, order[:, place], seeds, steps)
    return scene


def _one_after_another(steps: list[Step], order: Sequence[int]) -> Step:
    return lambda scene, seeds: reduce(lambda now, number: steps[number](now, seeds), order, scene)


@dataclass(frozen=True, slots=True)
class RandomErasing(Transform):
    """A rectangle of some images painted over (Zhong et al., "Random Erasing Data Augmentation", 2020).

    Args:
        p: chance of each row.
        scale: smallest and largest area, as shares of the image's.
        ratio: smallest and largest height over width; drawn evenly on the logarithmic scale.
        value: what it is painted with, one or one for each channel, in the units of the images as they come in:
            after `Normalize`, 0 is the mean.
    """

    p: float = 0.5
    _: KW_ONLY
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: Fill = 0.0

    def __post_init__(self) -> None:
        check_chance(self.p)
        bounds(self.scale, "scale", 0.1, 1e-9, 1.0)
        bounds(self.ratio, "ratio", 1.0, 1e-9)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Paint over the rows that chance picks. Where ten rectangles did not fit, the image stays as it is."""
        height, width = scene.size
        device = scene.images.device
        # Height over width here, width over height there.
        tall, wide = rectangles(seeds, scene.size, self.scale, (1 / self.ratio[1], 1 / self.ratio[0]))
        chance = uniform(seeds, "corner", 2)
        top, left = (chance[:, 0] * (height - tall + 1)).floor(), (chance[:, 1] * (width - wide + 1)).floor()
        tall = tall * happens(seeds, self.p)
        edges = torch.stack([top, top + tall, left, left + wide], dim=1).float().to(device, non_blocking=True)
        low, high, start, end = edges[:, :, None, None, None].unbind(1)
        down = torch.arange(height, device=device)[:, None]
        across = torch.arange(width, device=device)
        inside = (down >= low) & (down < high) & (across >= start) & (across < end)
        return replace(scene, images=torch.where(inside, fill_values(self.value, scene.images), scene.images))


@dataclass(frozen=True, slots=True)
class FrequencyMask(Transform):
    """A band of pitches of some spectrograms painted over (Park et al., "SpecAugment", 2019).

    It takes spectrograms as images, of shape (batch, channels, pitches, times).

    Args:
        p: chance of each row.
        widest: the largest band, as a share of the pitches; drawn evenly from none to this.
        value: what it is painted with, in the units of the spectrograms as they come in.
    """

    p: float = 1.0
    _: KW_ONLY
    widest: float = 0.2
    value: Fill = 0.0

    def __post_init__(self) -> None:
        check_chance(self.p)
        check_chance(self.widest)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Paint over a band of the rows that chance picks."""
        return _band(scene, seeds, self.p, self.widest, self.value, "pitches", -2)


@dataclass(frozen=True, slots=True)
class TimeMask(Transform):
    """A stretch of time of some spectrograms painted over (Park et al., "SpecAugment", 2019).

    It takes spectrograms as images, of shape (batch, channels, pitches, times).

    Args:
        p: chance of each row.
        widest: the longest stretch, as a share of the times; drawn evenly from none to this.
        value: what it is painted with, in the units of the spectrograms as they come in.
    """

    p: float = 1.0
    _: KW_ONLY
    widest: float = 0.2
    value: Fill = 0.0

    def __post_init__(self) -> None:
        check_chance(self.p)
        check_chance(self.widest)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Paint over a stretch of the rows that chance picks."""
        return _band(scene, seeds, self.p, self.widest, self.value, "times", -1)


def _band(scene: Scene, seeds: Tensor, p: float, widest: float, value: Fill, name: str, dim: int) -> Scene:
    """Paint over a band across one dimension of the images, another one in each row."""
    images = scene.images
    length = images.shape[dim]
    chance = uniform(seeds, name, 2)
    width = (chance[:, 0] * (int(widest * length) + 1)).floor() * happens(seeds, p)
    start = (chance[:, 1] * (length - width + 1)).floor()
    low, high = (edge.to(images.device)[:, None, None, None] for edge in (start, start + width))
    place = torch.arange(length, device=images.device)
    place = place[:, None] if dim == -2 else place
    inside = (place >= low) & (place < high)
    return replace(scene, images=torch.where(inside, fill_values(value, images), images))
