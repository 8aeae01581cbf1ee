"""The loss as a part of the run: a copy of its own, whose parameters are trained."""

import copy
from collections.abc import Mapping
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lumbre.base import ArchiveError, give_buffers

_Loss = TypeVar("_Loss")


def own_loss(loss: _Loss, module: Any, device: torch.device) -> _Loss:
    """A copy of a loss for one run, on its device, so that the recipe's own stays what it was.

    A part that the loss shares with the recipe's ready module is not copied: it is that part that is trained. A plain
    function is its own copy, and so is what cannot be copied.

    Args:
        loss: a function, a module, or an object that can be called.
        module: the recipe's module.
        device: of the run.
    """
    kept: dict[int, Any] = {}
    if isinstance(module, nn.Module):
        parts = (*module.modules(), *module.parameters(), *module.buffers())
        kept = {id(part): part for part in parts}
    try:
        own = copy.deepcopy(loss, kept)
    except Exception:  # each class fails in its own way, such as for a tensor with a graph
        own = loss
    for part in _modules_in(own):
        part.to(device)
    return own


def loss_module(loss: object, model: nn.Module) -> nn.Module | None:
    """The module that a loss is, or holds, beside `model`; several as a list of modules; None for a plain function."""
    belongs = set(model.modules())
    found = [part for part in _modules_in(loss) if part not in belongs]
    return nn.ModuleList(found) if len(found) > 1 else found[0] if found else None


def trained_by_loss(loss: nn.Module | None, model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a loss that an optimizer is to train, by names that begin with "loss."."""
    if loss is None:
        return {}
    belongs = {id(parameter) for parameter in model.parameters()}
    own = {f"loss.{name}": one for name, one in loss.named_parameters() if one.requires_grad}
    return {name: one for name, one in own.items() if id(one) not in belongs}


def learned_by_loss(loss: nn.Module | None, declared: object, model: nn.Module) -> dict[str, Tensor]:
    """What the run's loss has learned: those of its parameters and buffers that differ from the recipe's loss."""
    if loss is None:
        return {}
    before = loss_module(declared, model)
    start = {} if before is None else _tensors(before)

    def same(name: str, value: Tensor) -> bool:
        other = start.get(name)
        return other is not None and other.shape == value.shape and torch.equal(other, value.to(other.device))

    return {name: value for name, value in _tensors(loss).items() if not same(name, value)}


def restore_loss(loss: nn.Module | None, learned: Mapping[str, Tensor], path: object) -> None:
    """Give a loss what the run of a file had learned.

    Raises:
        ArchiveError: it is another loss.
    """
    if loss is None:
        return
    give_buffers(loss, learned)
    known = _tensors(loss)
    for name, value in learned.items():
        if name not in known or known[name].shape != value.shape:
            raise ArchiveError(
                f"{path}, whose loss had learned {name} of shape {tuple(value.shape)}, for another loss",
                "the loss that the model was trained with",
                "lumbre.load(path, lumbre.setup(Net, loss=...)) with that loss; or the class alone",
            )
        with torch.no_grad():
            known[name].copy_(value)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Any] = module.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _modules_in(loss: object) -> list[nn.Module]:
    """The modules of a loss: itself, that of a bound method, those of a `partial`, or its attributes."""
    if isinstance(loss, nn.Module):
        return [loss]
    if isinstance(loss, MethodType):
        return _modules_in(loss.__self__)
    if isinstance(loss, partial):
        return [part for given in (loss.func, *loss.args, *loss.keywords.values()) for part in _modules_in(given)]
    if isinstance(loss, type) or not hasattr(loss, "__dict__"):
        return []
    return [value for value in vars(loss).values() if isinstance(value, nn.Module)]
