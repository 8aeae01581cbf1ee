"""What is known of torch's optimizers, in one table. Of all others nothing is assumed."""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from functools import cache
from typing import Any

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


def rate_in(group: dict[str, Any]) -> float | None:
    """The learning rate of a group of parameters; None for an optimizer that has no such thing."""
    return None if group.get("lr") is None else float(group["lr"])


def has_modes(optimizer: object) -> bool:
    """Whether it has a training and an evaluation mode, as those of schedulefree that average weights as they go."""
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


def steps_twice(optimizer: object) -> bool:
    """Whether it looks for a second gradient beside the weights before it moves them, as SAM and its like do.

    In their signatures the closure may be left out; in truth they need it, and gradients before it is called.
    """
    return all(callable(getattr(optimizer, name, None)) for name in ("first_step", "second_step"))


def needs_graph(optimizer: object) -> bool:
    """Whether it differentiates gradients once more, as AdaHessian and SophiaH do for their estimate of curvature."""
    return type(optimizer).__name__.lower() in ("adahessian", "sophiah")


def takes_sparse(optimizer: optim.Optimizer) -> bool:
    """Whether its step takes sparse gradients as they are.

    torch's Adagrad does, too, and warns; dense ones give it the same numbers.
    """
    if isinstance(optimizer, optim.SparseAdam):
        return True
    groups = optimizer.param_groups
    return isinstance(optimizer, optim.SGD) and not any(one["weight_decay"] or one.get("fused") for one in groups)


def needs_closure(optimizer: optim.Optimizer) -> bool:
    """Whether a step of `optimizer` evaluates the loss itself, as L-BFGS does in its line search."""
    if steps_twice(optimizer):
        return True
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is None:
        return False
    return closure.default is inspect.Parameter.empty or _cannot_do_without(inspect.unwrap(type(optimizer).step))


@cache
def _cannot_do_without(step: Any) -> bool:
    """Whether a step calls its closure unasked, or fails without one, though its signature lets it be left out."""
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(step)))))
    except (OSError, TypeError, SyntaxError):  # of a class that was made while the program ran
        return False
    for node in nodes:
        if isinstance(node, ast.Assert) and _says_of_closure(node.test) is True:
            return True
        if isinstance(node, ast.If) and _says_of_closure(node.test) is False and isinstance(node.body[0], ast.Raise):
            return True
    called = any(isinstance(node, ast.Call) and _is_closure(node.func) for node in nodes)
    tests = [node.test for node in nodes if isinstance(node, (ast.If, ast.IfExp, ast.Assert))]
    return called and not any(_is_closure(inner) for test in tests for inner in ast.walk(test))


def _says_of_closure(test: ast.expr) -> bool | None:
    """True for a condition that there is a closure, False for one that there is none, None for any other."""
    if _is_closure(test):
        return True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _says_of_closure(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "callable":
        return _says_of_closure(test.args[0]) if test.args else None
    if isinstance(test, ast.Compare) and _is_closure(test.left) and isinstance(test.comparators[0], ast.Constant):
        return not isinstance(test.ops[0], ast.Is)
    return None


def _is_closure(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "closure"
