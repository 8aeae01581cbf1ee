"""Fingerprints of objects: something small that is equal as long as nothing in an object has changed."""

import array
import datetime
import functools
import hashlib
import itertools
import json
import numbers
import operator
import random
import types
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lumbre.base._attributes import (
    attributes_of,
    entries_of,
    functions_behind,
    globals_used,
    is_users_own,
    values_of_class,
)

_DEPTH = 5
_GLOBAL_GENERATORS: tuple[Any, ...] = (
    getattr(random.random, "__self__", None),
    getattr(np.random.rand, "__self__", None),
)
_PARTS_OF_CYCLE = operator.methodcaller("__reduce__")  # tells what is left, and makes nothing
_ENDS = 64  # of a long collection so many entries at each end are looked at
_SPREAD = 4096  # and of one of objects, where all of it is asked for, about so many in between
_BYTES = 1 << 20  # of a large tensor an even sample of about so many bytes


def print_of(value: Any, known: Collection[int] = (), *, whole: bool = False, depth: int = _DEPTH) -> Any:
    """Something that is equal for equal values, and that changes with most changes of them.

    Args:
        value: an object; of those of the user's own classes the attributes count.
        known: ids of objects that count for nothing.
        whole: look at every entry of long lists, tuples and dicts of plain values, not at their ends alone; of those of
            other objects at an even share more.
        depth: how many objects deep to look.
    """
    if id(value) in known:
        return None
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return value if type(value) in (int, str, bool, bytes) else (type(value).__name__, repr(value))
    if isinstance(value, Tensor):
        # With a graph it is what a step gave, which no later step can use.
        return None if value.grad_fn is not None else _numbers_of(value)
    if isinstance(value, np.ndarray):
        return (value.shape, str(value.dtype), _digest(value)) if value.dtype.kind in "biufc" else len(value)
    state = _state_of_generator(value)
    if state is not None:
        return state
    if depth <= 0:
        return type(value).__name__

    def inner(part: Any) -> Any:
        return print_of(part, known, whole=whole, depth=depth - 1)

    if whole and type(value) in (list, tuple, dict) and len(value) > 2 * _ENDS:
        try:
            # A million paths and labels in a moment.
            return len(value), hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()
        except (TypeError, ValueError, RecursionError):  # it holds other objects than Python's plain ones
            pass
    if isinstance(value, Mapping):
        items = list(value.items())
        return len(items), [(inner(key), inner(part)) for key, part in _shown(items, whole)]
    if isinstance(value, (set, frozenset)):
        held = entries_of(value)
        return len(held), sorted(repr(inner(part)) for part in held)
    if isinstance(value, (list, tuple, deque)):
        held = entries_of(value)
        return len(held), [inner(part) for part in _shown(held, whole)]
    return _of_object(value, inner)


def _of_object(value: Any, inner: Callable[[Any], Any]) -> Any:
    if isinstance(value, (itertools.count, range, numbers.Number, PurePath, datetime.date, datetime.timedelta)):
        return repr(value)
    if isinstance(value, (bytearray, array.array)):
        return hashlib.blake2b(bytes(value), digest_size=8).hexdigest()
    if type(value).__module__ == "multiprocessing.sharedctypes":
        return bytes(value.get_obj())
    if isinstance(value, functools.partial):
        return [inner(part) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, types.MethodType):
        kept = any(value.__self__ is one for one in _GLOBAL_GENERATORS)  # which runs seed themselves
        return None if kept else inner(value.__self__)
    if isinstance(value, types.FunctionType):
        return [inner(part) for part in held_by_function(value).values()]
    plain = not isinstance(value, (type, nn.Module)) and is_users_own(type(value))
    if plain or isinstance(value, (types.SimpleNamespace, Dataset)):
        return {key: inner(part) for key, part in {**values_of_class(type(value)), **attributes_of(value)}.items()}
    if isinstance(value, Iterator):
        return _place_of(value, inner)
    if isinstance(value, nn.Module):  # beside the model, such as one within a data set
        return {key: inner(part) for key, part in vars(value).items()}
    return type(value).__name__


def prints_of_globals(
    *holders: Any, known: Collection[int] = (), whole: bool = False, leave: tuple[type, ...] = ()
) -> dict[str, Any]:
    """Fingerprints of the global variables that the functions behind some objects name, by "module.name".

    Args:
        holders: the objects.
        known: as for `print_of()`.
        whole: as for `print_of()`.
        leave: types of which none is looked at.
    """
    held = globals_used(function for one in holders for function in functions_behind(one))
    own = {id(one) for one in holders}
    return {
        f"{module}.{name}": print_of(space[name], known, whole=whole)
        for (module, name), space in held.items()
        if id(space[name]) not in own and not isinstance(space[name], leave)
    }


def held_by_function(function: types.FunctionType) -> dict[str, Any]:
    """What a function of the user's own closes over, and its attributes, by name."""
    held: dict[str, Any] = {}
    if not is_users_own(function):
        return held
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[variable] = cell.cell_contents
        except ValueError:  # empty still
            continue
    defaults = {"defaults": function.__defaults__} if function.__defaults__ else {}
    return held | vars(function) | defaults


def _place_of(value: Iterator[Any], inner: Callable[[Any], Any]) -> Any:
    """How far an iterator has come, where it tells."""
    if isinstance(value, types.GeneratorType):
        frame = value.gi_frame
        return None if frame is None else (frame.f_lasti, inner(dict(frame.f_locals)))
    if isinstance(value, itertools.cycle):
        try:
            with warnings.catch_warnings(action="ignore"):  # Python means to end this one day
                return inner(list(_PARTS_OF_CYCLE(value)[1:]))
        except TypeError:
            return None
    return type(value).__name__, operator.length_hint(value, -1)


def _shown(values: list[Any], whole: bool) -> list[Any]:
    if len(values) <= 2 * _ENDS:
        return values
    spread = values[_ENDS : -_ENDS : 1 + len(values) // _SPREAD] if whole else []
    return [*values[:_ENDS], *spread, *values[-_ENDS:]]


def _state_of_generator(value: Any) -> str | None:
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.BitGenerator):
        return repr(value.state)
    if isinstance(value, np.random.RandomState):
        return repr([part.tobytes() if isinstance(part, np.ndarray) else part for part in value.get_state(legacy=True)])
    if isinstance(value, random.Random):
        return repr(value.getstate())
    return _digest(value.get_state().numpy()) if isinstance(value, torch.Generator) else None


def _numbers_of(value: Tensor) -> Any:
    if value.layout != torch.strided or value.is_meta:
        return str(value.layout), tuple(value.shape)
    flat = value.detach().reshape(-1)
    step = max(1, flat.nbytes // _BYTES)
    sample = flat[::step].cpu().contiguous().view(torch.uint8).numpy()
    return tuple(value.shape), str(value.dtype), _digest(sample)


def _digest(array: "np.ndarray[Any, Any]") -> str:
    step = max(1, array.nbytes // _BYTES)
    return hashlib.blake2b(np.ascontiguousarray(array.reshape(-1)[::step]).tobytes(), digest_size=8).hexdigest()
