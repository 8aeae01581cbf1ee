"""A module of which each process holds a part: PyTorch's FSDP2 (`fully_shard`).

A block of the module is whole only while it computes. Before, its parameters are gathered; after the backward pass, the
gradients are averaged and each process keeps those of its part, so that its optimizer needs state for that part alone.
"""

import copy
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn, optim

from lumbre.base import Nested, OptionError, caller, is_shared, traits
from lumbre.processes._together import same_buffers

_LEAST_SHARE = 0.01  # of the parameters; what is smaller is not worth an exchange of its own
_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


class Sharded:
    """A twin of a module, shared out over all processes; the module itself gives its weights away until `restore`.

    All processes must call it equally often, with gradients or without, and all must ask for `state` and `restore`.

    Args:
        model: the module, on its device, with the same weights in every process.
        example: an input, for its form.

    Attributes:
        model: the twin, whose parameters are DTensors.

    Raises:
        OptionError: the module has parameters that cannot be shared out.
    """

    def __init__(self, model: nn.Module, example: Nested) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        _check_parameters(model)
        same_buffers(model)
        for parameter in model.parameters():
            distributed.broadcast(parameter.detach(), 0)
        tensors = [*model.parameters(), *model.buffers()]
        self._plain = model
        self.model = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
        mesh = init_device_mesh(tensors[0].device.type, (distributed.get_world_size(),))
        for block in [*blocks(self.model), self.model]:
            # With the root too, so that no whole copy is left that a change of the parts would not reach.
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        self._root = cast(FSDPModule, self.model)
        self._call = caller(self.model, example)
        for parameter in model.parameters():
            parameter.data = _nothing(parameter)

    def __call__(self, input: Nested) -> Nested:
        """The prediction."""
        return self._call(input)

    def agree(self) -> None:
        """Every process takes over the buffers of the first, such as statistics."""
        same_buffers(self.model)

    @contextmanager
    def unsynced(self) -> Generator[None]:
        """Passes whose gradients stay with this process."""
        self._root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._root.set_requires_gradient_sync(True)

    def state(self) -> dict[str, Any]:
        """The whole module's `state_dict()`, on the CPU of the first process; empty in the others."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_model_state_dict(self.model, options=options)

    def restore(self) -> None:
        """Give the module its weights, as they are now, in every process."""
        self.agree()
        buffers = dict(self.model.named_buffers())
        with torch.no_grad():
            for name, buffer in self._plain.named_buffers():
                if buffers[name] is not buffer:
                    buffer.copy_(buffers[name])
            shared = dict(self.model.named_parameters())
            for name, parameter in self._plain.named_parameters():
                parameter.data = cast(Any, shared[name]).full_tensor()
                parameter.requires_grad_(shared[name].requires_grad)
        own = dict(self._plain.named_modules())
        for name, part in self.model.named_modules():
            for key, value in vars(part).items():  # such as a count of calls
                if isinstance(value, (bool, int, float, str, np.generic)) and key in vars(own[name]):
                    setattr(own[name], key, value)


def blocks(model: nn.Module) -> list[nn.Module]:
    """What is gathered by itself: items of lists of modules (ModuleList, ModuleDict, Sequential).

    Of lists within lists the innermost count. An item that holds less than a hundredth of the numbers, or shares a
    parameter with the rest of the model, stays with what is left; one that holds more than half is looked into, too.
    """
    total = _numbers(model)
    users: dict[int, int] = {}
    for part in model.modules():
        for parameter in part.parameters(recurse=False):
            users[id(parameter)] = users.get(id(parameter), 0) + 1

    def worth_it(item: nn.Module) -> bool:
        own: dict[int, int] = {}
        for part in item.modules():
            for parameter in part.parameters(recurse=False):
                own[id(parameter)] = own.get(id(parameter), 0) + 1
        return _numbers(item) >= max(1, _LEAST_SHARE * total) and all(own[one] == users[one] for one in own)

    def below(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            item = isinstance(module, _LISTS) and not isinstance(child, _LISTS)
            if not item or _numbers(child) > total / 2:
                yield from below(child)
            if item and worth_it(child):
                yield child

    return list(dict.fromkeys(below(model)))


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def check_optimizers(optimizers: dict[str, optim.Optimizer]) -> None:
    """See that each optimizer can work on parts of parameters.

    Raises:
        OptionError: one of torch's does not treat each number by itself, or has no fused form for parts.
    """
    for optimizer in optimizers.values():
        kind = type(optimizer)
        if kind.__module__.startswith("torch.optim") and not traits(kind).elementwise:
            raise OptionError(
                f'strategy="fsdp" with {kind.__name__}, which looks at whole tensors',
                "an optimizer that treats each number by itself, such as Adam, AdamW, SGD or RMSprop",
                'strategy="ddp", or one of these',
            )
        groups: list[dict[str, Any]] = optimizer.param_groups
        fused = any(group.get("fused") and any(map(is_shared, group["params"])) for group in groups)
        if fused and not traits(kind).fused_sharded:
            raise OptionError(
                f'strategy="fsdp" with a fused {kind.__name__}',
                "its plain form: torch has the fused one for Adam and AdamW alone, where parameters are shared out",
                "leave fused out",
            )


def _check_parameters(model: nn.Module) -> None:
    named = dict(model.named_parameters())
    kinds = {parameter.dtype for parameter in named.values()}
    scalars = [name for name, parameter in named.items() if parameter.ndim == 0]
    if not named or len(kinds) > 1 or scalars:
        found = (
            f"{', '.join(scalars)} of no dimension"
            if scalars
            else f"of several types: {', '.join(sorted(map(str, kinds)))}"
            if named
            else "none"
        )
        raise OptionError(
            f'strategy="fsdp" for a {type(model).__name__} with parameters {found}',
            "parameters of one type that can be cut along their first dimension",
            'strategy="ddp"; or torch.zeros(1) in place of torch.zeros(()) as a parameter',
        )
    if any(is_shared(parameter) for parameter in named.values()):
        raise OptionError(
            f"a {type(model).__name__} whose parameters are shared out already",
            "a plain module, which fit() shares out itself",
            "leave fully_shard to fit()",
        )


def _nothing(parameter: Tensor) -> Tensor:
    """A tensor that looks like `parameter` and holds a single number, no number where that is possible."""
    value = float("nan") if parameter.is_floating_point() else 0
    return torch.full((), value, dtype=parameter.dtype, device=parameter.device).expand(parameter.shape)
