"""What an object holds, and whose it is."""

import sys
from collections import deque
from collections.abc import Collection
from typing import Any

_KNOWN = frozenset({*sys.stdlib_module_names, "torch", "numpy", "pandas", "lumbre", "polars", "pyarrow"})


def attributes_of(one: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too."""
    slots = {name: getattr(one, name) for name in slots_of(type(one)) if hasattr(one, name)}
    return slots | getattr(one, "__dict__", {})


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


def entries_of(held: Collection[Any]) -> list[Any]:
    """What a list, a tuple, a set or a deque holds; a class made from one may count or go through it as it likes."""
    kinds: tuple[Any, ...] = (list, tuple, deque, set, frozenset)
    base = next((kind for kind in kinds if isinstance(held, kind)), type(held))
    return list(base.__iter__(held))
