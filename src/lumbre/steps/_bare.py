"""An optimizer's step without what torch wraps around it, where nobody looks at the wrapping.

torch wraps the `step` of its optimizers in a record for profilers, in hooks, and in a switch of gradients: about 9
microseconds a step, four hundredths of that of a small net. The arithmetic is that of the same function. Where there
are hooks, a profiler, a scheduler that has put its own wrapper around `step`, an optimizer that is not torch's own, or
another torch than those that are known here (`_versions.py`), the step is called as always.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import optim

from lumbre.steps._versions import unproved

_WRAPPINGS = ["wrapper", "_use_grad"]
_FILE = inspect.getfile(optim.Optimizer)
_torchs: Any = inspect.getmodule(optim.Optimizer)
_GLOBAL_HOOKS: list[Any] = [getattr(_torchs, f"_global_optimizer_{when}_hooks", None) for when in ("pre", "post")]
_profiled: Callable[[], bool] | None = getattr(torch.autograd, "_profiler_enabled", None)


def take_step(optimizer: optim.Optimizer) -> None:
    """`optimizer.step()`."""
    bare = bare_step(type(optimizer).step)
    if bare is None or _watched(optimizer):
        optimizer.step()
        return
    with torch.set_grad_enabled(False):
        bare(optimizer)


@functools.cache
def bare_step(step: Callable[..., Any]) -> Callable[[optim.Optimizer], Any] | None:
    """The function under torch's two wrappings; None for a function that is wrapped otherwise."""
    if unproved("bare updates") is not None:
        return None
    inner: Any = step
    for name in _WRAPPINGS:
        code = getattr(inner, "__code__", None)
        if code is None or code.co_name != name or code.co_filename != _FILE:
            return None
        inner = getattr(inner, "__wrapped__", None)
    known = (
        inspect.isfunction(inner) and not hasattr(inner, "__wrapped__") and inner.__module__.startswith("torch.optim.")
    )
    return inner if known and None not in (*_GLOBAL_HOOKS, _profiled) else None


def _watched(optimizer: optim.Optimizer) -> bool:
    """Whether somebody would see a step, or wants its gradients."""
    own: Any = optimizer
    assert _profiled is not None
    return bool(
        "step" in own.__dict__
        or own._optimizer_step_pre_hooks
        or own._optimizer_step_post_hooks
        or any(_GLOBAL_HOOKS)
        or own.defaults.get("differentiable")
        or _profiled()
    )
