"""The parts of a recipe, made: module, loss, optimizers."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn, optim

from lumbre.base import Loss, Nested, RecipeError, did_you_mean
from lumbre.run._spec import Spec
from lumbre.steps import build_optimizer


class NamedLosses:
    """The methods `loss_<name>` of a module, one for each of its optimizers.

    Attributes:
        parts: the methods by the optimizer's name.
    """

    def __init__(self, parts: Mapping[str, Loss]) -> None:
        self.parts = dict(parts)

    def __call__(self, pred: Nested, target: Nested, /) -> dict[str, Tensor]:
        """Each loss by its name."""
        return {name: loss(pred, target) for name, loss in self.parts.items()}


LossFunction: TypeAlias = Loss | NamedLosses


def make_module(module: Any, hparams: Mapping[str, Any]) -> nn.Module:
    """A module built from its class or factory with `hparams`, or the very instance given.

    Raises:
        RecipeError: a hyper-parameter is missing or unknown, or what was built is no module.
    """
    check_hparams(module, hparams)
    if isinstance(module, nn.Module):
        return module
    built = module(**hparams)
    if not isinstance(built, nn.Module):
        name = getattr(module, "__name__", type(module).__name__)
        raise RecipeError(
            f"{name}, which gave a {type(built).__name__}",
            "a torch.nn.Module",
            "return the module at the end of the function",
        )
    return built


def check_hparams(module: Any, hparams: Mapping[str, Any]) -> None:
    """See that a module's class or factory can be called with `hparams`.

    Raises:
        RecipeError: a hyper-parameter is missing or unknown, or the module is built already.
    """
    name = getattr(module, "__name__", type(module).__name__)
    if isinstance(module, nn.Module):
        if hparams:
            raise RecipeError(
                f"set_hparams({', '.join(hparams)}) for a {name} that is built already",
                "hyper-parameters for a class that fit() builds",
                f"setup({name}, ...) with the class, not setup({name}(...), ...)",
            )
        return
    parameters = inspect.signature(module).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes = f"the hyper-parameters of {name}: {', '.join(known) or 'it takes none'}"
    for given in hparams:
        if given not in known and not takes_any:
            raise RecipeError(
                f"set_hparams({given}=...)",
                takes,
                f"{did_you_mean(given, known)}Correct or remove it",
            )
    missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in hparams]
    if missing:
        raise RecipeError(
            f"{name} without the hyper-parameters {', '.join(missing)}",
            takes,
            f".set_hparams({', '.join(f'{key}=...' for key in missing)})",
        )


def make_optimizers(recipe: Spec, model: nn.Module, device: torch.device) -> dict[str, optim.Optimizer]:
    """The recipe's optimizer over the module's parameters, or those that the module configures, by name.

    Raises:
        RecipeError: there is none, or it cannot be made with the options given.
    """
    configure = getattr(model, "configure_optimizers", None)
    if recipe.optimizer is not None:
        return {"optimizer": build_optimizer(recipe.optimizer, model.named_parameters(), recipe.opt_hparams, device)}
    if configure is None:
        raise no_optimizer(type(model).__name__)
    built = configure(**recipe.opt_hparams)
    named: dict[Any, Any] = built if isinstance(built, dict) else {"optimizer": built}
    for name, optimizer in named.items():
        if not isinstance(optimizer, optim.Optimizer) or not isinstance(name, str):
            raise RecipeError(
                f"{type(model).__name__}.configure_optimizers(), which gave a {type(optimizer).__name__} as {name!r}",
                "a torch.optim.Optimizer, or a dict of them by name",
                "return torch.optim.Adam(self.parameters(), lr=...)",
            )
    if not named:
        raise no_optimizer(type(model).__name__)
    return named


def loss_function(recipe: Spec, model: nn.Module, device: torch.device) -> LossFunction | None:
    """The recipe's loss, brought to the device, else the module's `loss`, or its `loss_<name>`s, or None."""
    if recipe.loss is not None:
        return recipe.loss.to(device) if isinstance(recipe.loss, nn.Module) else recipe.loss
    if hasattr(model, "loss"):
        return model.loss  # pyright: ignore[reportReturnType]
    names = _loss_methods(type(model))
    return NamedLosses({name.removeprefix("loss_"): getattr(model, name) for name in names}) if names else None


def has_loss(module: object) -> bool:
    """Whether a module or its class brings a loss, or a step that needs none."""
    kind = module if isinstance(module, type) else type(module)
    return any(hasattr(module, name) for name in ("loss", "step")) or bool(_loss_methods(kind))


def _loss_methods(kind: type) -> list[str]:
    return [name for name in dir(kind) if name.startswith("loss_") and callable(getattr(kind, name))]


def no_loss(name: str) -> RecipeError:
    """The error for a recipe without a loss."""
    return RecipeError(
        f"no loss for {name}",
        "a loss function, or a module that defines loss(self, pred, target)",
        "setup(..., loss=nn.CrossEntropyLoss()) for classes, nn.MSELoss() for measurements",
    )


def no_optimizer(name: str) -> RecipeError:
    """The error for a recipe without an optimizer."""
    return RecipeError(
        f"no optimizer for {name}",
        "an optimizer class, or a module that defines configure_optimizers(self, **opt_hparams)",
        "setup(..., optimizer=torch.optim.AdamW)",
    )
