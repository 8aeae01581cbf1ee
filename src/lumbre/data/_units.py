"""Numbers that training sees centred and scaled, back in the target's own units."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lumbre.base import DataError, Nested, describe


@dataclass(frozen=True, slots=True)
class Units:
    """Brings predictions and targets back to the units of the target.

    Attributes:
        center: what was taken off each target.
        scale: what each was divided by then.
        matrix: whether the target is a matrix, with a column for each.
    """

    center: tuple[float, ...]
    scale: tuple[float, ...]
    matrix: bool

    def __call__(self, values: Nested) -> Nested:
        """Values of shape (rows, ...), or with a last dimension of the targets, in the target's units.

        Raises:
            DataError: they are no tensor, or one of another form.
        """
        if values is None:
            return None
        if not isinstance(values, Tensor) or not values.is_floating_point():
            raise DataError(
                f"predictions that are a {describe(values)}, of a target that was scaled for training",
                "a tensor of numbers on the scale of the target",
                "return one tensor from the module; or leave scale_target out",
            )
        if not self.matrix:
            return self._back(values, self.center[0], self.scale[0])
        if values.ndim < 2 or values.shape[-1] != len(self.center):
            raise DataError(
                f"predictions that are a {describe(values)}, of {len(self.center)} targets scaled for training",
                f"a number for each target: (rows, {len(self.center)})",
                "a last layer with as many outputs as there are targets",
            )
        pairs = zip(values.unbind(-1), self.center, self.scale, strict=True)
        return torch.stack([self._back(part, center, scale) for part, center, scale in pairs], dim=-1)

    def into(self, other: "Units") -> "Units":
        """What brings values that are scaled like these to the scale of others of the same targets."""
        pairs = list(zip(self.center, self.scale, other.center, other.scale, strict=True))
        center = tuple((own - its) / spread for own, _, its, spread in pairs)
        return Units(center, tuple(own / its for _, own, _, its in pairs), self.matrix)

    def _back(self, values: Tensor, center: float, scale: float) -> Tensor:
        # In float64, so that targets come back as they were to the last digit that float32 has for them.
        kind = torch.float32 if values.device.type == "mps" else torch.float64
        like = values.dtype if values.element_size() >= 4 else torch.float32
        return (values.to(kind) * scale + center).to(like)
