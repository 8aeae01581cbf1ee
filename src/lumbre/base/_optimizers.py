"""What is known of torch's optimizers, in one table. Of all others nothing is assumed."""

import inspect
from dataclasses import dataclass

from torch import optim


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of an optimizer.

    Attributes:
        traced: its step can be part of a compiled graph.
        elementwise: it updates each number by its own gradients alone, so that it may hold a part of a parameter.
        fused_sharded: its fused form takes parameters that several processes share.
        adaptive: it divides the size of a gradient away.
    """

    traced: bool = False
    elementwise: bool = False
    fused_sharded: bool = False
    adaptive: bool = False


_UNKNOWN = Traits()
_KNOWN: dict[type, Traits] = {
    optim.Adadelta: Traits(traced=True, elementwise=True),
    optim.Adagrad: Traits(traced=True, elementwise=True),
    optim.Adam: Traits(traced=True, elementwise=True, fused_sharded=True, adaptive=True),
    optim.Adamax: Traits(traced=True, elementwise=True, adaptive=True),
    optim.AdamW: Traits(traced=True, elementwise=True, fused_sharded=True, adaptive=True),
    optim.ASGD: Traits(traced=True, elementwise=True),
    optim.NAdam: Traits(traced=True, elementwise=True, adaptive=True),
    optim.RAdam: Traits(traced=True, elementwise=True, adaptive=True),
    optim.RMSprop: Traits(traced=True, elementwise=True, adaptive=True),
    optim.Rprop: Traits(traced=True),
    optim.SGD: Traits(traced=True, elementwise=True),
}


def traits(optimizer: object) -> Traits:
    """What is known of an optimizer or its class; a class derived from a known one may do anything."""
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    return _KNOWN.get(kind, _UNKNOWN)


def is_adaptive(optimizer: optim.Optimizer) -> bool:
    """Whether it is an adaptive optimizer of torch, or derived from one."""
    return any(isinstance(optimizer, kind) for kind, known in _KNOWN.items() if known.adaptive)


def needs_closure(optimizer: optim.Optimizer) -> bool:
    """Whether a step of `optimizer` evaluates the loss itself, as L-BFGS does in its line search."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
