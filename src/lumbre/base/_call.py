"""How the parts of an input reach `forward`."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from lumbre.base._nested import Nested


def caller(function: Callable[..., Any], example: Nested) -> Callable[[Nested], Nested]:
    """A function of one argument that calls `function` with an input formed like `example`.

    A tensor is passed as it is. A tuple or list is spread over the parameters, and a dict is passed by name, where
    the signature takes them so; otherwise the whole structure is one argument. A module that defines no `forward`
    gives its input back, so that its loss can work on the raw batch.
    """
    if isinstance(function, nn.Module) and type(function).forward is nn.Module.forward:
        return lambda value: value
    signature = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    try:
        if isinstance(example, dict):
            signature.bind(**example)
            return lambda value: function(**value)
        if isinstance(example, (tuple, list)):
            signature.bind(*example)
            return lambda value: function(*value)
    except TypeError:
        pass
    return function


def class_of(module: object) -> type:
    """The class of a module; the class itself, where that is given. `torch.compile(module)` has that of its module."""
    return module if isinstance(module, type) else type(getattr(module, "_orig_mod", module))


def own_method(module: object, name: str) -> bool:
    """Whether a module, or its class, defines a method `name`, such as a `step` of its own.

    An attribute of that name is not one: a submodule called `predict` or a buffer called `step` is part of the net.
    """
    return inspect.isroutine(getattr(class_of(module), name, None))
