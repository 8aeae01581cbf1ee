"""How the parts of an input reach `forward`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lumbre.base._nested import Nested


def caller(function: Callable[..., Any], example: Nested) -> Callable[[Nested], Nested]:
    """A function of one argument that calls `function` with an input formed like `example`.

    A tensor is passed as it is. A tuple or list is spread over the parameters, and a dict is passed by name, where
    the signature takes them so; otherwise the whole structure is one argument. A named tuple is passed by name where
    its names are those of parameters, and so is an object that maps names to tensors, such as a TensorDict, whose
    module usually takes it whole. A module that defines no `forward` gives its input back, so that its loss can
    work on the raw batch.
    """
    if isinstance(function, nn.Module) and not has_forward(function):
        return lambda value: value
    if isinstance(example, Tensor):
        return function
    signature = _signature(function)
    try:
        if isinstance(example, PackedSequence):  # a tuple by its class alone
            return function
        if isinstance(example, dict):
            signature.bind(**example)
            return lambda value: function(**value)
        if isinstance(example, Mapping):
            fields = tuple(example.keys())
            if not set(fields) <= set(signature.parameters):
                return function
            signature.bind(**dict.fromkeys(fields))
            return lambda value: function(**{name: value[name] for name in fields})
        fields = getattr(example, "_fields", ())
        if fields and set(fields) <= set(signature.parameters):  # whatever order the named tuple has them in
            signature.bind(**dict.fromkeys(fields))
            return lambda value: function(**dict(zip(fields, value, strict=True)))
        if isinstance(example, (tuple, list)):
            signature.bind(*example)
            return lambda value: function(*value)
    except TypeError:
        pass
    return function


def has_forward(module: nn.Module) -> bool:
    """Whether a module, or the one that `torch.compile` has wrapped, defines `forward`: in its class or on itself."""
    inner = getattr(module, "_orig_mod", module)
    defined = next(one for one in type(inner).__mro__ if "forward" in vars(one)) is not nn.Module
    return defined or "forward" in vars(inner) or _own_call(inner)


def _own_call(module: object) -> bool:
    """Whether it says itself how it is called, with parameters by name."""
    own = type(module).__call__
    if own is nn.Module.__call__ or isinstance(module, (torch.jit.ScriptModule, torch.fx.GraphModule)):
        return False
    kinds = [one.kind for one in inspect.signature(own).parameters.values()]
    return kinds[1:] != [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if not isinstance(function, nn.Module):
        return inspect.signature(function)
    inner: Any = getattr(function, "_orig_mod", function)
    if isinstance(inner, torch.jit.ScriptModule):  # its forward takes anything, as Python sees it
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        arguments: list[Any] = inner.forward.schema.arguments  # pyright: ignore[reportFunctionMemberAccess]
        return inspect.Signature(
            [
                inspect.Parameter(
                    one.name, kind, default=one.default_value if one.has_default_value() else inspect.Parameter.empty
                )
                for one in arguments[1:]
            ]
        )
    return inspect.signature(inner.__call__ if _own_call(inner) else inner.forward)


def class_of(module: object) -> type:
    """The class of a module; the class itself, where that is given. `torch.compile(module)` has that of its module."""
    return module if isinstance(module, type) else type(getattr(module, "_orig_mod", module))


# How many arguments a method of that name is called with; `predict` gets the parts of an input, however many.
_ARGUMENTS = {"step": 1, "response": 1, "loss": 2}


def own_method(module: object, name: str) -> bool:
    """Whether a module, or its class, defines a method `name`, such as a `step` of its own.

    An attribute of that name is not one: a submodule called `predict` or a buffer called `step` is part of the net. Nor
    is a method that takes other arguments, such as the `step(self, x, state)` of a recurrent net.
    """
    kind = class_of(module)
    found = getattr(kind, name, None)
    if not inspect.isroutine(found):
        return False
    given = _ARGUMENTS.get(name)
    if given is None:
        return True
    bound = inspect.ismethod(found) or isinstance(inspect.getattr_static(kind, name), staticmethod)
    try:
        inspect.signature(found).bind(*[None] * (given if bound else given + 1))
    except TypeError:
        return False
    except ValueError:  # of what is written in C nothing can be seen
        pass
    return True
