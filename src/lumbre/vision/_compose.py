"""Transforms made of transforms."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lumbre.base import Nested, OptionError, one_of
from lumbre.vision._random_pixels import in_drawn_order
from lumbre.vision._rows import derived, uniform
from lumbre.vision._scene import Scene, Step, Transform, by_row, check_scene, on_rows
from lumbre.vision._spans import check_chance, happens

_TARGETS = ("masks", "boxes", "keypoints")


@dataclass(frozen=True, slots=True)
class Augment(Transform):
    """Transforms one after the other, on a whole batch and on the device where it lies.

    Each row's result is a function of that row, its seed and the transforms: the same in any batch, at any place in
    it, with any number of workers. No generator is touched. Two transforms of a kind draw apart.

    Args:
        transforms: in order. A function of images goes in as `Lambda(function)`.
        target: what the target of a training batch is, where it lies on the image and so must move with it:
            "masks", "boxes" or "keypoints". Other targets, such as class numbers, stay as they are.
        mask_fill: where the target is masks, the label of pixels that come from outside; -100 is left out by
            `nn.CrossEntropyLoss`.

    Raises:
        OptionError: something in the list is not a `Transform`, or `target` is none of these.

    Example:
        >>> import torch, lumbre.vision as vision
        >>> augment = vision.Augment(
        ...     [
        ...         vision.ToFloat(),
        ...         vision.RandomCrop(28, padding=2),
        ...         vision.Normalize(0.13, 0.31),
        ...     ]
        ... )
        >>> images = torch.randint(256, (8, 1, 28, 28), dtype=torch.uint8)
        >>> augment(images, vision.row_seeds(range(8), seed=0, epoch=1)).shape
        torch.Size([8, 1, 28, 28])
    """

    transforms: Sequence[Transform]
    target: str | None = None
    mask_fill: float = 0

    def __post_init__(self) -> None:
        _check_transforms(self.transforms)
        if self.target is not None:
            one_of("target", self.target, _TARGETS, fix="leave it out where the target is a class or a number")

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Apply all, in order."""
        for step in _steps(self.transforms):
            scene = step(scene, seeds)
        return scene

    def batch(self, input: Tensor, target: Nested, row_seeds: Tensor) -> tuple[Tensor, Nested]:
        """Input and target of a training batch after the transforms: what `fit(..., augment=...)` calls."""
        if self.target is None:
            return self(input, row_seeds), target
        scene = Scene(input, mask_fill=self.mask_fill, **{self.target: target})
        check_scene(scene, row_seeds)
        scene = self.apply(scene, row_seeds.cpu())
        return scene.images, getattr(scene, self.target)


@dataclass(frozen=True, slots=True)
class RandomApply(Transform):
    """All of the transforms, in order, for some rows; they must keep size, channels and dtype.

    Args:
        transforms: what these rows go through.
        p: chance of each row.
    """

    transforms: Sequence[Transform]
    p: float = 0.5

    def __post_init__(self) -> None:
        _check_transforms(self.transforms)
        check_chance(self.p)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Apply all to the rows that chance picks."""
        return on_rows(scene, happens(seeds, self.p), seeds, Augment(self.transforms).apply)


@dataclass(frozen=True, slots=True)
class RandomChoice(Transform):
    """One of the transforms for each row, all with the same chance.

    Args:
        transforms: what a row may go through; all must end with the same size, channels and dtype.
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        _check_transforms(self.transforms, least=1)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Apply to each row the one it drew."""
        choice = (uniform(seeds, "choice")[:, 0] * len(self.transforms)).long()
        return by_row(scene, choice, seeds, _steps(self.transforms))


@dataclass(frozen=True, slots=True)
class RandomOrder(Transform):
    """All of the transforms for every row, in an order that each row draws for itself.

    Args:
        transforms: what the rows go through; they must keep size, channels and dtype.
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        _check_transforms(self.transforms)

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Apply all, in each row's order."""
        return in_drawn_order(scene, seeds, _steps(self.transforms))


def _steps(transforms: Sequence[Transform]) -> list[Step]:
    """The transforms, each with a stream of its own: by place, so that two of a kind draw apart."""

    def step(place: int, transform: Transform) -> Step:
        return lambda scene, seeds: transform.apply(scene, derived(seeds, "transform", place))

    return [step(place, transform) for place, transform in enumerate(transforms)]


def _check_transforms(transforms: Sequence[Transform], least: int = 0) -> None:
    if isinstance(transforms, Transform) or len(transforms) < least:
        raise OptionError(
            f"{transforms!r} as transforms",
            "a list of them" + (", not empty" if least else ""),
            "Augment([first, second])",
        )
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise OptionError(
                f"{transform!r} among the transforms",
                "transforms of lumbre.vision, or subclasses of Transform",
                "Lambda(function) for a function of images that moves no pixel; RandomApply and its kind go in whole",
            )
