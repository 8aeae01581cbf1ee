"""`Spec`: what a run is declared with: module, loss, optimizer, metrics and their options."""

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Never, Self

import numpy as np
import torch
from torch import Tensor, nn, optim

from lumbre.base import Loss, Response, html_code, html_facts, no_more, unchanged
from lumbre.metrics import Sets
from lumbre.run._options import Options

_OF_FITTED = ("compare", "evaluate", "examples", "export", "history", "importance", "plot", "predict", "report", "save")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The seven parts of a recipe. A `Recipe` adds what can be done with them; all below it needs the parts alone.

    Attributes:
        module: a module class, a callable that returns a module, or a module.
        loss: a function of prediction and target; None where the module defines its own.
        optimizer: an optimizer class; None where the module configures its own.
        metrics: gathered beside the loss, in training and in validation.
        hparams: what the module is built with.
        opt_hparams: what the optimizer is made with.
        response: brings predictions to the scale of the target; None where the module or the loss says it.
        passed: the kinds of run in which the checks have found nothing, as `run/_checks.py` describes them.
    """

    module: Callable[..., nn.Module]
    loss: Loss | None = None
    optimizer: Callable[..., optim.Optimizer] | None = None
    metrics: Sets = field(default_factory=Sets)
    hparams: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    opt_hparams: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    response: Response | None = None
    passed: set[Hashable] = field(default_factory=set[Hashable], init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.init}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "passed", set())
        for name, value in state.items():
            object.__setattr__(self, name, MappingProxyType(value) if isinstance(value, dict) else value)

    def set_hparams(self, *more: Never, **hparams: Any) -> Self:
        """This recipe with hyper-parameters of the module added, or changed where the name is set already."""
        no_more(more, "set_hparams()", "hyper-parameters by their names", "set_hparams(d_in=4); **options for a dict")
        return replace(self, hparams=MappingProxyType({**self.hparams, **hparams}))

    def set_opt_hparams(self, *more: Never, **opt_hparams: Any) -> Self:
        """This recipe with options of the optimizer added, or changed where the name is set already.

        `groups={"body": {"lr": 1e-4}}` gives the parameters of a part options of their own; see `lumbre.param_groups`.
        """
        no_more(more, "set_opt_hparams()", "options by their names", "set_opt_hparams(lr=0.01); **options for a dict")
        return replace(self, opt_hparams=MappingProxyType({**self.opt_hparams, **opt_hparams}))

    if not TYPE_CHECKING:  # a checker is to see that there is no such attribute

        def __getattr__(self, name: str) -> Never:
            hint = ": fit() gives the model that has it, fitted = recipe.fit(data)" if name in _OF_FITTED else ""
            raise AttributeError(f"a {type(self).__name__} has no {name!r}{hint}", name=name, obj=self)

    def __repr__(self) -> str:
        return "\n  ".join(["Recipe", *(f"{name}: {text}" for name, text in self._parts())])

    def _repr_html_(self) -> str:
        net = html_code(str(self.module)) if isinstance(self.module, nn.Module) else ""
        return html_facts("Recipe", self._parts()) + net

    def _parts(self) -> list[tuple[str, str]]:
        """What it was given, by name."""
        found = [(name, short_name(getattr(self, name))) for name in ("module", "loss", "optimizer")]
        found += [("metrics", str(self.metrics))] if self.metrics else []
        found += [(name, str(dict(getattr(self, name)))) for name in ("hparams", "opt_hparams") if getattr(self, name)]
        return found + ([] if self.response is None else [("response", short_name(self.response))])


def left_alone(spec: Spec, options: Options, *data: Any) -> AbstractContextManager[None]:
    """What is tried in this context leaves no trace in module, loss, augmentation or data sets."""
    judged: Any = options.valid_data
    given = (*data, options.augment, *(judged.values() if isinstance(judged, dict) else [judged]))
    # Tensors, arrays and what holds them nobody changes.
    rows = [one for one in given if not isinstance(one, (Tensor, np.ndarray, tuple, list, dict))]
    return unchanged(spec.module, spec.loss, spec.optimizer, dict(spec.hparams), dict(spec.opt_hparams), *rows)


def short_name(thing: Any) -> str:
    """The name of a class or function; of an object the first line in which it prints."""
    if isinstance(thing, torch.nn.Module) and list(thing.children()):
        return type(thing).__name__
    return getattr(thing, "__name__", None) or repr(thing).partition("\n")[0]


def _plain(value: Any) -> Any:
    """`value` in a form that can be sent to another process."""
    return dict(value) if isinstance(value, MappingProxyType) else value
