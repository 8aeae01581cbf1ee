"""`Spec`: what a run is declared with: module, loss, optimizer, metrics and their options."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn, optim

from lumbre.base import Loss, unchanged
from lumbre.metrics import Sets


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The six parts of a recipe. A `Recipe` adds what can be done with them; all below it needs the parts alone.

    Attributes:
        module: a module class, a callable that returns a module, or a module.
        loss: a function of prediction and target; None where the module defines its own.
        optimizer: an optimizer class; None where the module configures its own.
        metrics: gathered beside the loss, in training and in validation.
        hparams: what the module is built with.
        opt_hparams: what the optimizer is made with.
    """

    module: Callable[..., nn.Module]
    loss: Loss | None = None
    optimizer: Callable[..., optim.Optimizer] | None = None
    metrics: Sets = field(default_factory=Sets)
    hparams: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    opt_hparams: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, MappingProxyType(value) if isinstance(value, dict) else value)

    def set_hparams(self, **hparams: Any) -> Self:
        """This recipe with hyper-parameters of the module added, or changed where the name is set already."""
        return replace(self, hparams=MappingProxyType({**self.hparams, **hparams}))

    def set_opt_hparams(self, **opt_hparams: Any) -> Self:
        """This recipe with options of the optimizer added, or changed where the name is set already.

        `groups={"body": {"lr": 1e-4}}` gives the parameters of a part options of their own; see `lumbre.param_groups`.
        """
        return replace(self, opt_hparams=MappingProxyType({**self.opt_hparams, **opt_hparams}))

    def __repr__(self) -> str:
        lines = [
            f"module: {short_name(self.module)}",
            f"loss: {short_name(self.loss)}",
            f"optimizer: {short_name(self.optimizer)}",
        ]
        lines += [f"metrics: {self.metrics}"] if self.metrics else []
        lines += [f"hparams: {dict(self.hparams)}"] if self.hparams else []
        lines += [f"opt_hparams: {dict(self.opt_hparams)}"] if self.opt_hparams else []
        return "Recipe\n  " + "\n  ".join(lines)


def left_alone(spec: Spec, *data: Any) -> AbstractContextManager[None]:
    """What is tried with `spec` and `data` in this context leaves no trace in module, loss or data sets."""
    rows = [one for one in data if not isinstance(one, (Tensor, np.ndarray, tuple, list, dict))]  # nobody changes these
    return unchanged(spec.module, spec.loss, spec.optimizer, dict(spec.hparams), dict(spec.opt_hparams), *rows)


def short_name(thing: Any) -> str:
    """The name of a class or function; of an object the first line in which it prints."""
    if isinstance(thing, torch.nn.Module) and list(thing.children()):
        return type(thing).__name__
    return getattr(thing, "__name__", None) or repr(thing).partition("\n")[0]


def _plain(value: Any) -> Any:
    """`value` in a form that can be sent to another process."""
    return dict(value) if isinstance(value, MappingProxyType) else value
