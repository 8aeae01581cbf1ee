"""The number format of forward passes: float32, or autocast to bfloat16 or float16 with loss scaling."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from lumbre.base import one_of

_NO_CONTEXT = nullcontext()

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision by name, on a device. Weights stay as they are; only forward passes are autocast.

    Raises:
        OptionError: the name is unknown.
    """

    name: str
    device: torch.device
    dtype: torch.dtype = field(init=False)

    def __post_init__(self) -> None:
        one_of("precision", self.name, PRECISIONS, fix="precision='float32'")
        object.__setattr__(self, "dtype", PRECISIONS[self.name])

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.dtype is torch.float32:
            return _NO_CONTEXT
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Loss scaling, which float16 needs so that small gradients do not vanish; else None."""
        return torch.amp.GradScaler(self.device.type) if self.dtype is torch.float16 else None
