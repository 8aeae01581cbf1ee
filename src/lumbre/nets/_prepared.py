"""A net with what a run of it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn, optim

from lumbre.base import Loss


@dataclass(frozen=True, slots=True)
class Prepared:
    """A module class and what goes with it; `lumbre.setup(prepared)` takes from it what is not given beside it.

    Attributes:
        module: the module class, or what builds one.
        hparams: what it is built with.
        loss: the loss.
        optimizer: the optimizer class.
        opt_hparams: what the optimizer is made with.
        metrics: as `lumbre.setup` takes them.
    """

    module: Callable[..., nn.Module]
    hparams: Mapping[str, Any]
    loss: Loss
    optimizer: Callable[..., optim.Optimizer]
    opt_hparams: Mapping[str, Any]
    metrics: Any

    def __call__(self, **hparams: Any) -> nn.Module:
        """The module, built."""
        return self.module(**{**self.hparams, **hparams})
