"""Kornia's augmentations of values (blur, noise, JPEG, plasma, ...) with chance by the row.

Kornia draws for a batch from torch's global generator. Here the parameters of each row are drawn under that row's seed
and kornia then applies them to the whole batch at once. Augmentations that move pixels are lumbre's own: kornia's move
masks and boxes by another way, and are drawn for the batch.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, describe, import_extra, preserved_randomness, seed_host
from lumbre.vision._rows import derived
from lumbre.vision._scene import Scene, Transform

_DEPENDS_ON_BATCH = ("RandomChannelDropout", "RandomRain", "RandomDissolving")


@dataclass(frozen=True, slots=True)
class FromKornia(Transform):
    """An augmentation of kornia that changes values and moves no pixel.

    Costs about 0.15 ms a row on the host, for kornia draws the numbers of one row at a time.

    Args:
        augmentation: an instance of a subclass of `kornia.augmentation.IntensityAugmentationBase2D`.

    Raises:
        OptionError: it is something else, or one of the few whose rows depend on their batch.
        MissingExtraError: kornia is not installed.

    Example:
        >>> import kornia.augmentation as K, torch
        >>> from lumbre.vision import Augment, FromKornia, RandomHorizontalFlip, ToFloat
        >>> steps = [
        ...     ToFloat(),
        ...     RandomHorizontalFlip(),
        ...     FromKornia(K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=0.3)),
        ... ]
        >>> augment = Augment(steps)
    """

    augmentation: Any

    def __post_init__(self) -> None:
        base = import_extra("kornia.augmentation", "vision", "use its augmentations").IntensityAugmentationBase2D
        name = type(self.augmentation).__name__
        if not isinstance(self.augmentation, base):
            raise OptionError(
                repr(self.augmentation),
                "an instance of one of kornia's augmentations of values, such as RandomGaussianBlur",
                "lumbre.vision's own transforms where pixels move: RandomAffine, RandomPerspective, ...",
            )
        if name in _DEPENDS_ON_BATCH:
            raise OptionError(
                f"kornia's {name}",
                "an augmentation whose result for a row does not depend on the rows beside it",
                "another of kornia's, or a Transform of your own",
            )

    def apply(self, scene: Scene, seeds: Tensor) -> Scene:
        """Draw for each row, and apply to all at once."""
        images = scene.images
        if not images.is_floating_point():
            raise DataError(describe(images), "floats: kornia takes no integers", "ToFloat() before")
        if len(images) == 0:
            return scene
        one = torch.Size((1, *images.shape[1:]))
        drawn: list[dict[str, Tensor]] = []
        with preserved_randomness(torch.device("cpu")):
            for seed in derived(seeds, "kornia").tolist():
                seed_host(seed & (2**63 - 1))
                drawn.append(self.augmentation.forward_parameters(one))
        parameters = {name: _joined([row[name] for row in drawn], images) for name in drawn[0]}
        parameters["forward_input_shape"] = torch.tensor(images.shape)
        return replace(scene, images=self.augmentation(images, params=parameters))


def _joined(values: list[Tensor], images: Tensor) -> Tensor:
    first = values[0]
    joined = torch.cat(values) if first.ndim and first.shape[0] in (0, 1) else first
    return joined.to(images.device, non_blocking=True)
