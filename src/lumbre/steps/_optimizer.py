"""The optimizer, in the fused form where torch has one for it and the device."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn, optim

from lumbre.base import LumbreError, RecipeError, Traits, did_you_mean, is_shared, traits
from lumbre.steps._parameters import grouped


def build_optimizer(
    factory: Callable[..., optim.Optimizer],
    named: Iterable[tuple[str, nn.Parameter]],
    options: Mapping[str, Any],
    device: torch.device,
    *,
    sparse: bool = False,
) -> optim.Optimizer:
    """`factory(parameters, **options)`, with `fused=True` added where torch supports it and the user left it open.

    Args:
        factory: an optimizer class of `torch.optim`, or any callable with its signature.
        named: the module's parameters with their names.
        options: the user's; names that the factory does not take are refused. `groups` gives parameters options of
            their own, as `param_groups` does.
        device: where the parameters are.
        sparse: whether some gradients are sparse, which fused kernels do not take.

    Raises:
        RecipeError: an option that the factory does not take, or that it refuses; a group without parameters.
    """
    named = list(named)
    parameters = [parameter for _, parameter in named]
    groups: Mapping[str, Mapping[str, Any]] = options.get("groups", {})
    options = {option: value for option, value in options.items() if option != "groups"}
    known = check_options(factory, [*options, *(option for group in groups.values() for option in group)])
    name = getattr(factory, "__name__", type(factory).__name__)
    given = grouped(named, groups) if groups else parameters
    try:
        # torch has a fused form for parameters that processes share of two optimizers alone.
        whole = traits(factory).fused_sharded or not any(map(is_shared, parameters))
        if whole and not sparse and _may_fuse(factory, known, options, parameters, device):
            try:
                return factory(given, **{**options, "fused": True})
            except RuntimeError:  # no fused kernel for this optimizer on this device
                pass
        return factory(given, **options)
    except LumbreError:
        raise
    except Exception as error:  # each optimizer fails in its own way
        shown = "".join(f", {key}={value!r}" for key, value in options.items())
        raise RecipeError(
            f"{name}(parameters{shown}), which failed: {error}",
            f"options with which {name} can be made",
            _advice(factory),
        ) from error


def fuse(optimizer: optim.Optimizer, device: torch.device, *, sparse: bool = False) -> None:
    """Let an optimizer of torch's that is made already take its fused form, where that was left open.

    Args:
        optimizer: before its first step. Others than torch's own, and classes derived from these, stay as they are.
        device: where the parameters are.
        sparse: whether some gradients are sparse, which fused kernels do not take.
    """
    own: Any = optimizer
    kind = type(own)
    if sparse or traits(kind) == Traits() or own.state:
        return
    parameters: list[nn.Parameter] = [one for group in own.param_groups for one in group["params"]]
    options: list[dict[str, Any]] = [{**group} for group in own.param_groups]
    for one in options:  # these stand there whether they were given or not
        for name in ("capturable", "differentiable"):
            one[name] = one.get(name) or None
    known = list(inspect.signature(kind).parameters)
    if not all(_may_fuse(kind, known, one, parameters, device) for one in options):
        return
    if not traits(kind).fused_sharded and any(map(is_shared, parameters)):
        return
    try:
        like: Any = kind([nn.Parameter(torch.zeros(1, device=device))], lr=options[0]["lr"], fused=True)
    except (RuntimeError, TypeError, KeyError):  # no fused kernel for this optimizer on this device
        return
    for name in ("_step_supports_amp_scaling", "_need_device_dtype_check_for_fused"):
        if hasattr(like, name):
            setattr(own, name, getattr(like, name))
    own.defaults["fused"] = True
    for group in own.param_groups:
        group["fused"] = True


def _advice(factory: Callable[..., Any]) -> str:
    """What to do about an optimizer that could not be made."""
    name = getattr(factory, "__name__", type(factory).__name__)
    if next(iter(inspect.signature(factory).parameters), "") in ("model", "module"):
        return f"it takes the module: def configure_optimizers(self, **options): return {name}(self, **options)"
    if "muon" in name.lower() or "sphere" in name.lower() or "adago" in name.lower():
        return (
            "it takes matrices apart from the rest: matrices, rest = lumbre.matrices_and_rest(self) in the module's "
            "configure_optimizers(), which returns an optimizer, or several by name"
        )
    return "correct them with set_opt_hparams(...)"


def check_options(factory: Callable[..., Any], options: Iterable[str]) -> list[str]:
    """See that an optimizer's class takes these options besides the parameters; gives the names of all that it takes.

    Raises:
        RecipeError: it does not take one of them.
    """
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    name = getattr(factory, "__name__", type(factory).__name__)
    known = list(parameters)[1:]
    for option in options:
        if option not in known and not takes_any:
            raise RecipeError(
                f"set_opt_hparams({option}=...) for {name}",
                f"options that {name} takes: {', '.join(known)}",
                f"{did_you_mean(option, known)}Leave it out or give it its right name",
            )
    return known


def _may_fuse(
    factory: Callable[..., Any],
    known: list[str],
    options: Mapping[str, Any],
    parameters: list[nn.Parameter],
    device: torch.device,
) -> bool:
    # torch's fused SGD for processors takes parameters of 16 bits and moves them by a small part of the step alone.
    wide = all(parameter.dtype in (torch.float32, torch.float64) for parameter in parameters)
    decided = any(options.get(name) is not None for name in ("fused", "foreach", "capturable", "differentiable"))
    return (
        "fused" in known
        and not decided
        and (wide or traits(factory).fused_sharded)
        and not options.get("dampening")  # of which the first step with momentum is no other, where it is fused
        and device.type in ("cpu", "cuda", "mps")
        and not isinstance(options.get("lr"), torch.Tensor)
        and all(parameter.is_floating_point() for parameter in parameters)
    )
