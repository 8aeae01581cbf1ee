"""Attributes that a method sets before anything reads them: what they held before the call counts for nothing."""

import dis
import types
from typing import Any

from lumbre.base import functions_of_class

_CALLS_DEEP = 3
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_LOADS = ("LOAD_ATTR", "LOAD_METHOD")


def set_anew(kind: type, method: str) -> set[str]:
    """The names of the attributes that `kind.method` sets in every call, before it reads them; methods that it calls on
    the way count as well. What stands in one branch of a condition, or in a loop, is not set in every call."""
    stored = set[str]()
    _look(kind, getattr(kind, method, None), stored, set(), _CALLS_DEEP, sure=True)
    return stored


def _look(kind: type, function: Any, stored: set[str], read: set[str], deep: int, *, sure: bool) -> None:
    """Go through the instructions of a method in their order; `sure` where it is called each time."""
    code = getattr(function.fget if isinstance(function, property) else function, "__code__", None)
    if not isinstance(code, types.CodeType) or not code.co_varnames:
        return
    if "super" in code.co_names:  # what stands above reads its own
        read.update(
            name for base in kind.__mro__[1:] for one in functions_of_class(base) for name in one.__code__.co_names
        )
    before: dis.Instruction | None = None
    until = 0  # what stands before this offset is done in some calls only
    for one in dis.get_instructions(code):
        of_self = before is not None and before.opname.startswith("LOAD_FAST") and _last(before) == code.co_varnames[0]
        always = sure and one.offset >= until
        if one.opname == "STORE_ATTR" and of_self and always and one.argval not in read:
            stored.add(one.argval)
        if one.opname in _LOADS and one.argval not in stored:
            read.add(one.argval)
            if of_self and deep:
                _look(kind, getattr(kind, one.argval, None), stored, read, deep - 1, sure=always)
        if one.opcode in _JUMPS:
            until = max(until, one.argval)
        before = one


def _last(loaded: dis.Instruction) -> Any:
    """The variable on top; later versions of Python load two at once."""
    return loaded.argval[-1] if isinstance(loaded.argval, tuple) else loaded.argval
