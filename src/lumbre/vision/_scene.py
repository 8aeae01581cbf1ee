"""What a transform is, and what it works on: images together with the masks, boxes and keypoints that lie on them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, overload

import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, describe
from lumbre.vision._matrices import moved_boxes, moved_points


@dataclass(frozen=True, slots=True)
class Scene:
    """A batch of images and what lies on them.

    Coordinates are continuous, (x, y) from the upper left corner: the pixel in row r and column c covers
    [c, c+1) x [r, r+1). A keypoint given as the number of a pixel is therefore to be moved by 0.5 first.

    Attributes:
        images: shape (batch, channels, height, width).
        masks: labels of pixels, any dtype, shape (batch, height, width).
        boxes: (left, top, right, bottom), shape (batch, n, 4). Always clipped to the image; a box that has left it
            has no area and keeps its place, so that it still stands beside its label.
        keypoints: (x, y), shape (batch, n, 2). Not clipped: one that has left the image lies outside it.
        mask_fill: the label of pixels that came from outside.
    """

    images: Tensor
    masks: Tensor | None = None
    boxes: Tensor | None = None
    keypoints: Tensor | None = None
    mask_fill: float = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[-2], self.images.shape[-1]


Step: TypeAlias = Callable[[Scene, Tensor], Scene]
"""What becomes of a scene, given the seeds of its rows."""


class Transform(ABC):
    """One step of an augmentation.

    A subclass says in `apply` what becomes of a scene; chance it draws with `uniform(seeds, name)`, and then each
    row's result depends on that row and its seed alone. Calling a transform checks what it is given and applies it.

    Example:
        >>> import torch
        >>> from lumbre.vision import RandomHorizontalFlip, row_seeds
        >>> images, boxes = (
        ...     torch.rand(2, 3, 8, 10),
        ...     torch.tensor([[[0.0, 0, 4, 8]], [[0.0, 0, 4, 8]]]),
        ... )
        >>> RandomHorizontalFlip(p=1)(images, row_seeds(range(2)), boxes=boxes).boxes[
        ...     0
        ... ].tolist()
        [[6.0, 0.0, 10.0, 8.0]]
    """

    @abstractmethod
    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """The scene after this step.

        Args:
            scene: what comes in; tensors on any device.
            seeds: int64 tensor of shape (batch,), on the host.
        """

    # The overlap is harmless: who gives no targets gets the first, and only a target of None would get the second.
    @overload
    def __call__(self, images: Tensor, row_seeds: Tensor) -> Tensor: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(
        self,
        images: Tensor,
        row_seeds: Tensor,
        *,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        keypoints: Tensor | None = None,
        mask_fill: float = 0,
    ) -> Scene: ...
    def __call__(
        self,
        images: Tensor,
        row_seeds: Tensor,
        *,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        keypoints: Tensor | None = None,
        mask_fill: float = 0,
    ) -> Tensor | Scene:
        """Transform a batch, and what lies on it.

        Args:
            images: shape (batch, channels, height, width), float32 or uint8.
            row_seeds: int64 tensor of shape (batch,), best on the host; `lumbre.vision.row_seeds` makes them.
            masks: shape (batch, height, width); labels are copied, never blended.
            boxes: shape (batch, n, 4), (left, top, right, bottom); come back clipped to the image.
            keypoints: shape (batch, n, 2), (x, y).
            mask_fill: label of the pixels of a mask that come from outside.

        Returns:
            The images, if nothing else was given; else a `Scene`.

        Raises:
            DataError: a shape or dtype does not fit.
        """
        scene = Scene(images, masks, boxes, keypoints, mask_fill)
        check_scene(scene, row_seeds)
        after = self.apply(scene, row_seeds.cpu())
        return after.images if masks is None and boxes is None and keypoints is None else after


def moved(
    scene: Scene, matrix: Tensor, pixels: Callable[[Tensor], Tensor], labels: Callable[[Tensor], Tensor] | None = None
) -> Scene:
    """The scene after a motion.

    Args:
        scene: what comes in.
        matrix: float64, shape (batch or 1, 3, 3); moves boxes and keypoints.
        pixels: moves images.
        labels: moves masks, given as (batch, 1, height, width); `pixels` if that copies pixels and blends none.
    """
    images = pixels(scene.images)
    size = images.shape[-2], images.shape[-1]
    masks, boxes, keypoints = scene.masks, scene.boxes, scene.keypoints
    return replace(
        scene,
        images=images,
        masks=None if masks is None else (labels or pixels)(masks[:, None])[:, 0],
        boxes=None if boxes is None else moved_boxes(boxes, matrix, size),
        keypoints=None if keypoints is None else moved_points(keypoints, matrix),
    )


def by_row(scene: Scene, choice: Tensor, seeds: Tensor, steps: Sequence[Step]) -> Scene:
    """The scene with each row passed through the step it chose, and only through that.

    Args:
        scene: what comes in.
        choice: for each row, which of the steps; an int64 tensor of shape (batch,), on the host, so that grouping the
            rows does not wait for the device.
        seeds: int64 tensor of shape (batch,), on the host.
        steps: what can be chosen.

    Raises:
        OptionError: the rows come out with different sizes, channels or dtypes and no longer make one batch.
    """
    groups = [(step, (choice == number).nonzero()[:, 0]) for number, step in enumerate(steps)]
    groups = [(step, index) for step, index in groups if len(index)]
    if len(groups) < 2:
        return groups[0][0](scene, seeds) if groups else scene
    parts = [(index, step(_taken(scene, index), seeds[index])) for step, index in groups]
    kinds = {(part.images.shape[1:], part.images.dtype): part.images for _, part in parts}
    if len(kinds) > 1:
        raise OptionError(
            "transforms, each for some rows only, that make "
            + " and ".join(f"a {describe(v)}" for v in kinds.values()),
            "one size, number of channels and dtype: the rows of a batch must stay alike",
            "put what changes them before or after, where it applies to every row",
        )

    def joined(given: list[Tensor]) -> Tensor:
        # Rows may come back wider (whole numbers as boxes become floats where they were moved).
        dtype = functools.reduce(torch.promote_types, (value.dtype for value in given))
        result = given[0].new_empty((len(choice), *given[0].shape[1:]), dtype=dtype)
        for (index, _), value in zip(parts, given, strict=True):
            result.index_copy_(0, index.to(result.device, non_blocking=True), value.to(dtype))
        return result

    def all_of(values: list[Tensor | None]) -> Tensor | None:
        given = [value for value in values if value is not None]
        return joined(given) if given else None

    return replace(
        scene,
        images=joined([part.images for _, part in parts]),
        masks=all_of([part.masks for _, part in parts]),
        boxes=all_of([part.boxes for _, part in parts]),
        keypoints=all_of([part.keypoints for _, part in parts]),
    )


def on_rows(scene: Scene, rows: Tensor, seeds: Tensor, step: Step) -> Scene:
    """The scene with some of its rows passed through a step, the others untouched to the bit.

    Args:
        scene: what comes in.
        rows: bool tensor of shape (batch,), on the host.
        seeds: int64 tensor of shape (batch,), on the host.
        step: what becomes of these rows. It must keep size, channels and dtype.

    Raises:
        OptionError: it does not.
    """
    after = by_row(scene, rows.long(), seeds, [lambda scene, seeds: scene, step])
    if after.images.shape != scene.images.shape or after.images.dtype != scene.images.dtype:
        # Without this a batch whose rows all happen to be chosen would pass, and the next one fail.
        raise OptionError(
            f"a step for some rows that makes a {describe(after.images)} of a {describe(scene.images)}",
            "size, channels and dtype unchanged: the rows of a batch must stay alike",
            "put what changes them before or after, where it applies to every row",
        )
    return after


def _taken(scene: Scene, index: Tensor) -> Scene:
    def rows_of(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.index_select(0, index.to(values.device, non_blocking=True))

    images = scene.images.index_select(0, index.to(scene.images.device, non_blocking=True))
    return replace(
        scene, images=images, masks=rows_of(scene.masks), boxes=rows_of(scene.boxes), keypoints=rows_of(scene.keypoints)
    )


def check_scene(scene: Scene, row_seeds: Tensor) -> None:
    """Raise DataError where shapes and dtypes do not make a scene and its seeds."""
    images = scene.images
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise DataError(
            describe(images), "images of shape (batch, channels, height, width)", "image[None] for a single image"
        )
    rows, _, height, width = images.shape
    if not isinstance(row_seeds, Tensor) or row_seeds.dtype != torch.int64 or row_seeds.shape != (rows,):
        raise DataError(
            f"{describe(row_seeds)} as row_seeds for {rows} images",
            f"an int64 tensor of shape ({rows},), a seed for each row",
            "lumbre.vision.row_seeds(rows, seed=..., epoch=...)",
        )
    targets = [
        ("masks", scene.masks, (rows, height, width)),
        ("boxes", scene.boxes, (rows, None, 4)),
        ("keypoints", scene.keypoints, (rows, None, 2)),
    ]
    for name, values, expected in targets:
        if values is None:
            continue
        if values.ndim != 3 or any(want not in (None, have) for want, have in zip(expected, values.shape, strict=True)):
            text = ", ".join("n" if want is None else str(want) for want in expected)
            raise DataError(
                f"{describe(values)} as {name} of {rows} images of {height} x {width}",
                f"shape ({text})",
                "fill up with zeros where images have different counts" if name != "masks" else "labels, not one-hot",
            )
