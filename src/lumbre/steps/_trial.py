"""Steps that are tried and leave no trace, and what bfloat16 would gain by them."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import is_out_of_memory, tried

_REPEATS = 2


def forward_flops(model: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Floating-point operations of a forward pass by torch's name of what does them ("aten.addmm"), as torch counts."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad(), tried(model, forward):
            forward()
    except Exception as error:  # the counter knows not every operation in every form; a module that fails says so later
        if is_out_of_memory(error):
            raise
        return {}
    return {str(operation): count for operation, count in counter.get_flop_counts().get("Global", {}).items()}


def bfloat16_gain(model: nn.Module, forward: Callable[[], tuple[object, Tensor]], device: torch.device) -> float:
    """How many times as fast forward and backward passes are under bfloat16: measured, the best of two each.

    Args:
        model: the module, on its device.
        forward: gives prediction and loss of a batch.
        device: where it is.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def seconds(half: bool) -> float:
        began = time.perf_counter()
        with torch.enable_grad():
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                _, value = forward()
            torch.autograd.grad(value, parameters, allow_unused=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    with tried(model, forward):
        for half in (False, True):
            seconds(half)  # the first time is not like the others
        pairs = [(seconds(False), seconds(True)) for _ in range(_REPEATS)]
    return min(full for full, _ in pairs) / min(half for _, half in pairs)


def leaves_parameters_out(model: nn.Module, forward: Callable[[], tuple[object, Tensor]]) -> bool:
    """Whether a backward pass reaches fewer parameters than are to be trained."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with tried(model, forward), torch.enable_grad():
        _, value = forward()
        gradients: Any = torch.autograd.grad(value, parameters, allow_unused=True)
    return any(gradient is None for gradient in gradients)
