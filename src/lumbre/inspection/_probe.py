"""One forward pass that tells what each layer does, and leaves no trace in the module.

Operations are counted by `torch.utils.flop_counter`: two for each multiplication with addition in matrix products,
convolutions and attention; what else a module does counts nothing.
"""

import copy
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lumbre.base import DataError, Nested, brief, caller, describe, leaves, map_leaves, untouched


@dataclass(slots=True)
class Trace:
    """What was seen of one module.

    Attributes:
        output: what its first call gave, shapes in the place of tensors; None before.
        calls: how often it was called.
        flops: operations of all calls.
        bytes: memory of its first call's output.
    """

    output: Nested = None
    calls: int = 0
    flops: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Probe:
    """What a pass told.

    Attributes:
        module: the module that was looked at: the one given, or where that has lazy parts a copy made whole.
        traces: by module.
        flops: operations of the whole pass.
        input_bytes: memory of the input.
    """

    module: nn.Module
    traces: dict[nn.Module, Trace] = field(default_factory=dict[nn.Module, Trace])
    flops: int = 0
    input_bytes: int = 0


def probe(module: nn.Module, data: Nested) -> Probe:
    """Call `module` once with `data`, in evaluation mode and without gradients.

    Raises:
        DataError: the call fails; the original error is the cause.
    """
    from torch.utils.flop_counter import FlopCounterMode

    module = getattr(module, "_orig_mod", module)  # hooks within a compiled graph see nothing, or break it
    lazy = False
    if any(is_lazy(value) for value in (*module.parameters(), *module.buffers())):
        module = copy.deepcopy(module)  # a pass would give the original its shapes for good
        module.eval()
        lazy = True
    place = next((value.device for value in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    data = map_leaves(lambda leaf: leaf.to(place) if isinstance(leaf, Tensor) else leaf, data)
    found = Probe(module, input_bytes=_bytes(data))
    if lazy:
        with torch.no_grad():
            _call(module, data)
    counter = FlopCounterMode(display=False)
    try:
        with untouched(module, place), _plain_kernels(), _watched(found, counter), torch.no_grad(), counter:
            _call(module, data)
    except Exception as error:  # the counter knows not every operation in every form
        found.traces.clear()
        counter = FlopCounterMode(display=False)
        with untouched(module, place), _watched(found, counter), torch.no_grad():
            _call(module, data)
        kind = error.__cause__ or error
        warnings.warn(f"operations are not counted: {type(kind).__name__}: {kind}"[:300], stacklevel=3)
        return found
    found.flops = counter.get_total_flops()
    return found


def _call(module: nn.Module, data: Nested) -> None:
    try:
        caller(module, data)(data)
    except Exception as error:
        raise DataError(
            f"{type(error).__name__} in {type(module).__name__} of a {describe(data)}: {brief(error)}",
            "an input that the module takes",
            "pass a batch of its input; several inputs as a tuple, or as a dict by name",
        ) from error


@contextmanager
def _watched(found: Probe, counter: Any) -> Generator[None]:
    """Hooks on every module that fill `found.traces`."""
    began: dict[nn.Module, list[int]] = {}

    def before(module: nn.Module, inputs: Any) -> None:
        began.setdefault(module, []).append(counter.get_total_flops())

    def after(module: nn.Module, inputs: Any, output: Nested) -> None:
        trace = found.traces.setdefault(module, Trace())
        trace.calls += 1
        trace.flops += counter.get_total_flops() - began[module].pop()
        if trace.calls == 1:
            trace.output = map_leaves(lambda leaf: tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf, output)
            trace.bytes = _bytes(output)

    handles = [
        handle
        for module in found.module.modules()
        if not isinstance(module, torch.jit.ScriptModule)  # which takes no hooks
        for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _plain_kernels() -> Generator[None]:
    """Attention and recurrent layers as matrix products: their fused kernels count for nothing."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    libraries: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    enabled = [library.enabled for library in libraries]
    try:
        for library in libraries:
            library.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for library, was in zip(libraries, enabled, strict=True):
            library.enabled = was


def _bytes(value: Nested) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(value) if isinstance(leaf, Tensor))
