"""The optimizer, in the fused form where torch has one for it and the device."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn, optim

from lumbre.base import RecipeError, did_you_mean


def build_optimizer(
    factory: Callable[..., optim.Optimizer],
    parameters: Iterable[nn.Parameter],
    options: Mapping[str, Any],
    device: torch.device,
) -> optim.Optimizer:
    """`factory(parameters, **options)`, with `fused=True` added where torch supports it and the user left it open.

    Args:
        factory: an optimizer class of `torch.optim`, or any callable with its signature.
        parameters: the module's parameters.
        options: the user's; names that the factory does not take are refused.
        device: where the parameters are.

    Raises:
        RecipeError: an option that the factory does not take, or that it refuses.
    """
    parameters = list(parameters)
    signature = inspect.signature(factory)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    name = getattr(factory, "__name__", type(factory).__name__)
    known = list(signature.parameters)[1:]
    for option in options:
        if option not in known and not takes_any:
            raise RecipeError(
                f"set_opt_hparams({option}=...) for {name}",
                f"options that {name} takes: {', '.join(known)}",
                f"{did_you_mean(option, known)}Leave it out or give it its right name",
            )
    try:
        if _may_fuse(known, options, parameters, device):
            try:
                return factory(parameters, **{**options, "fused": True})
            except RuntimeError:  # no fused kernel for this optimizer on this device
                pass
        return factory(parameters, **options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise RecipeError(
            f"{name}(parameters{', ' if given else ''}{given}), which failed: {error}",
            f"options with which {name} can be made",
            "correct them with set_opt_hparams(...)",
        ) from error


def _may_fuse(
    known: list[str],
    options: Mapping[str, Any],
    parameters: list[nn.Parameter],
    device: torch.device,
) -> bool:
    decided = any(options.get(name) is not None for name in ("fused", "foreach", "capturable", "differentiable"))
    return (
        "fused" in known
        and not decided
        and device.type in ("cpu", "cuda", "mps")
        and not isinstance(options.get("lr"), torch.Tensor)
        and all(parameter.is_floating_point() for parameter in parameters)
    )
