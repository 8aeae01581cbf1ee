"""What an object holds, and whose it is."""

import functools
import sys
import types
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.jit import ScriptModule

OF_TORCH = frozenset(vars(nn.Module()))
"""The attributes that torch gives each module."""
_KNOWN = frozenset({*sys.stdlib_module_names, "torch", "numpy", "pandas", "lumbre", "polars", "pyarrow"})


def attributes_of(one: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too."""
    slots = {name: getattr(one, name) for name in slots_of(type(one)) if hasattr(one, name)}
    return slots | getattr(one, "__dict__", {})


def attributes_of_module(part: nn.Module) -> dict[str, Any]:
    """What a module keeps in attributes of its own: neither torch's, nor parameters, buffers and parts, nor what one of
    torch's norms computes from these."""
    own = part._parameters.keys()  # pyright: ignore[reportPrivateUsage]
    return {
        name: value
        for name, value in vars(part).items()
        if name not in OF_TORCH
        and not (isinstance(value, Tensor) and (f"{name}_orig" in own or f"{name}_g" in own))
        and not isinstance(value, ScriptModule)  # behind a traced module, which has its parameters and buffers
    }


def slots_of(kind: type) -> list[str]:
    """The names of attributes that a class keeps in slots."""
    found: list[str] = []
    for one in kind.__mro__:
        slots = vars(one).get("__slots__", ())
        found += [name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__")]
    return found


def is_users_own(thing: Any) -> bool:
    """Whether a class or function is the user's, and not Python's or a library's that is known here."""
    return str(getattr(thing, "__module__", None)).partition(".")[0] not in _KNOWN


def values_of_class(kind: type) -> dict[str, Any]:
    """The attributes that all objects of a class of the user's own share; no functions or descriptors."""
    found: dict[str, Any] = {}
    for one in filter(is_users_own, kind.__mro__):
        for name, value in vars(one).items():
            if not (name.startswith("__") or callable(value) or hasattr(value, "__get__")):
                found.setdefault(name, value)
    return found


def functions_of_class(kind: type) -> Iterator[types.FunctionType]:
    """The functions that the user's own classes among the bases define."""
    for one in filter(is_users_own, kind.__mro__):
        for value in list(vars(one).values()):
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if isinstance(function, types.FunctionType):
                yield function


def functions_behind(one: Any) -> Iterator[types.FunctionType]:
    """The functions of the user's own that an object is, defines in its class, or holds as attributes."""
    inner = getattr(one, "func", one) if isinstance(one, functools.partial) else getattr(one, "__func__", one)
    if isinstance(inner, types.FunctionType):
        yield inner
        return
    yield from functions_of_class(type(one))
    for value in getattr(one, "__dict__", {}).values():
        if isinstance(value, types.FunctionType):
            yield value


def globals_used(functions: Iterable[types.FunctionType]) -> dict[tuple[str, str], dict[str, Any]]:
    """The global variables that functions of the user's own, and those they call, name.

    Args:
        functions: where to begin.

    Returns:
        For (name of the module, name of the variable) the module's namespace; no modules, classes or functions.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    waiting, seen = list(functions), set[int]()
    while waiting:
        function = waiting.pop()
        if id(function) in seen or not is_users_own(function):
            continue
        seen.add(id(function))
        for name in _names_in(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, types.FunctionType):
                waiting.append(value)
            elif name in function.__globals__ and not isinstance(value, (type, types.ModuleType)):
                found[str(function.__module__), name] = function.__globals__
    return found


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _names_in(part)


def entries_of(held: Collection[Any]) -> list[Any]:
    """What a list, a tuple, a set or a deque holds; a class made from one may count or go through it as it likes."""
    kinds: tuple[Any, ...] = (list, tuple, deque, set, frozenset)
    base = next((kind for kind in kinds if isinstance(held, kind)), type(held))
    return list(base.__iter__(held))
