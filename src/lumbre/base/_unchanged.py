"""Puts objects back as they were: a module, a loss, and whatever Python objects hang on them.

Torch's `state_dict()` knows parameters and buffers. A module may also count in plain numbers, lists, dicts and deques,
hold generators of NumPy, or fill a buffer that began as None. So everything that can be reached from an object is noted
here, and written back in place: whoever holds a list or a tensor holds the same one afterwards.
"""

import array
import copy
import functools
import gc
import itertools
import random
import types
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, Sampler

from lumbre.base._attributes import entries_of, functions_of_class, globals_used, is_users_own, slots_of
from lumbre.base._seeds import GENERATORS, KeptChance
from lumbre.base._shards import is_shared, own_part

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, torch.dtype, torch.device, torch.Size, type(...))
_PLAIN_KINDS = frozenset(_PLAIN)
_COUNTERS = (itertools.count, itertools.cycle)
_COUNTER_KINDS = frozenset(_COUNTERS)
# Of others' classes, those that hold what a user's code changes.
_HOLDERS = (
    types.SimpleNamespace,
    Dataset,
    DataLoader,
    Sampler,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
)
_MOST_BYTES = 1 << 28  # of tensors and arrays that are neither parameters nor buffers: more of them are not copied
# Of a longer collection only which entries it has, and of all together no more than so many entries in turn: hundreds
# of thousands of records would take half a minute.
_MOST_ENTRIES, _MOST_IN_ALL = 1 << 13, 1 << 12
_FEW_BYTES = 1 << 16  # of tensors that are compared by their bytes, in a fifth of the time of torch.equal()
_KEPT: "ContextVar[Noted | None]" = ContextVar("kept", default=None)


@contextmanager
def unchanged(*roots: Any, most_bytes: int = _MOST_BYTES) -> Generator[None]:
    """Afterwards `roots`, and what can be reached from them, are what they were before.

    What is put back: parameters, buffers and gradients; attributes of modules and of objects of the user's own classes,
    and of these classes; lists, dicts, sets, deques, arrays; generators of random numbers; what functions close over.
    Global variables that these classes and functions name, too, unless they are tensors or arrays. Plain tensors and
    arrays beyond 256 MB are left alone, and so are the entries of collections with more than 8192 of them, and those
    that lie deepest where there are more than 4096 in all.

    Args:
        roots: modules, functions, or other objects.
        most_bytes: of plain tensors and arrays that are copied.
    """
    kept = _KEPT.get()
    known = kept is not None and all(root is None or kept.knows(root) for root in roots)
    noted = kept if known and kept is not None else Noted(roots, most_bytes=most_bytes)
    try:
        yield
    finally:
        noted.put_back()


def kept_chance(device: torch.device) -> KeptChance | None:
    """The states of the generators that `noted_once()` puts back; None outside of it, or on another device."""
    kept = _KEPT.get()
    return kept.chance if kept is not None and kept.chance is not None and kept.chance.device == device else None


@contextmanager
def noted_once(*roots: Any, device: torch.device | None = None) -> Generator[None]:
    """As `unchanged()`; each `unchanged()` inside puts the same back, without looking through `roots` again.

    For many looks one after the other, between which nothing is to change. A look inside another one ends both: what
    the outer one had changed before is put back, too.

    Args:
        roots: modules, functions, or other objects.
        device: note the global generators, and that of this device, as well: `untouched()` puts them back then.
    """
    noted = Noted(roots, None if device is None else KeptChance(device))
    token = _KEPT.set(noted)
    try:
        yield
    finally:
        _KEPT.reset(token)
        noted.put_back()


@contextmanager
def _without_collecting() -> Generator[None]:
    """Python looks for no garbage meanwhile: beside many rows that takes ten times as long as to note what is there."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Noted:
    """What can be reached from some objects, as it is now.

    Args:
        roots: where to begin.
        chance: the generators, where these are put back as well.
        most_bytes: of plain tensors and arrays that are copied.
    """

    def __init__(
        self, roots: Iterable[Any], chance: KeptChance | None = None, *, most_bytes: int = _MOST_BYTES
    ) -> None:
        self.chance = chance
        self._seen: dict[int, Any] = {}  # holds on to the objects, so that no id is used twice
        # A module of torch has a dozen empty dicts: these are asked for in one call.
        self._empty: list[dict[Any, Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._slots: dict[type, list[str]] = {}
        self._bytes, self._most_bytes = 0, most_bytes
        self._waiting: list[Any] = list(roots)
        self._entries: deque[Collection[Any]] = deque()
        self._left = _MOST_IN_ALL
        with _without_collecting():
            while self._waiting or self._entries:
                if self._waiting:
                    self._note(self._waiting.pop())
                else:
                    self._wait_for_new(self._entries.popleft())

    def knows(self, root: Any) -> bool:
        """Whether `root` is among what was noted."""
        return id(root) in self._seen

    def put_back(self) -> None:
        """Write everything back."""
        if any(self._empty):
            for held in self._empty:
                held.clear()
        with torch.no_grad():
            for undo in self._undo:
                undo()

    def _note(self, value: Any) -> None:
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            self._note_tensor(value)
        elif isinstance(value, nn.Module):
            self._note_module(value)
        elif isinstance(value, (list, deque, set, dict, bytearray, array.array, np.ndarray)):
            self._note_collection(value)
        elif isinstance(value, (tuple, frozenset)):
            self._wait_for(entries_of(value))
        elif isinstance(value, GENERATORS):
            self._undo.append(_generator_undo(value))
        elif isinstance(value, np.random.BitGenerator):
            self._undo.append(_bits_undo(value))
        else:
            self._note_object(value)

    def _note_tensor(self, tensor: Tensor, *, always: bool = False) -> None:
        if tensor.layout != torch.strided or tensor.is_meta or type(tensor).__name__ == "FakeTensor":
            return
        own = own_part(tensor.detach())
        if not always:
            if self._bytes + own.nbytes > self._most_bytes:
                return
            self._bytes += own.nbytes
        gradient = tensor.grad if tensor.is_leaf else None
        if gradient is not None:
            self._note_tensor(gradient, always=always)
        self._undo.append(_HeldTensor(tensor, own, gradient).put_back)

    def _note_module(self, module: nn.Module) -> None:
        for one in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if id(one) not in self._seen:
                self._seen[id(one)] = one
                if is_lazy(one):
                    self._undo.append(_lazy_undo(one))
                else:
                    self._note_tensor(one, always=True)
        self._waiting += module.children()  # a scripted module holds them elsewhere than in its attributes
        self._note_attributes(module)
        self._note_class(type(module))

    def _note_collection(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            fits = self._bytes + value.nbytes <= self._most_bytes
            if fits and value.flags.writeable and not isinstance(value, np.memmap):
                self._bytes += value.nbytes
                self._undo.append(_array_undo(value))
            return
        if isinstance(value, dict):
            self._undo.append(_HeldDict(value).put_back)
            self._wait_for(dict.values(value))
            self._wait_for(dict.keys(value))
        else:
            self._undo.append(_sequence_undo(value))
            if not isinstance(value, (bytearray, array.array)):
                self._wait_for(entries_of(value))
        if is_users_own(type(value)):
            self._note_attributes(value)

    def _wait_for(self, entries: Collection[Any]) -> None:
        if 0 < len(entries) <= _MOST_ENTRIES:
            self._entries.append(entries)

    def _wait_for_new(self, entries: Collection[Any]) -> None:
        new = [one for one in entries if type(one) not in _PLAIN_KINDS and id(one) not in self._seen]
        if len(new) <= self._left:
            self._left -= len(new)
            self._waiting += new

    def _note_object(self, value: Any) -> None:
        """Functions, and objects of the user's own classes; what belongs to Python or to a library is passed by."""
        if isinstance(value, functools.partial):
            self._waiting += (value.func, value.args, value.keywords)
        elif isinstance(value, types.MethodType):
            self._waiting += (value.__self__, value.__func__)
        elif isinstance(value, types.FunctionType):
            for cell in value.__closure__ or ():
                self._note_cell(cell)
            self._waiting += (value.__defaults__, value.__kwdefaults__)
            self._note_attributes(value)
            self._note_globals([value])
        elif isinstance(value, type):
            self._note_class(value)
        elif isinstance(value, _HOLDERS) or is_users_own(type(value)):
            self._note_attributes(value)
            self._note_class(type(value))

    def _note_attributes(self, owner: Any) -> None:
        held: dict[str, Any] | None = getattr(owner, "__dict__", None)
        if isinstance(held, dict) and id(held) not in self._seen:
            self._seen[id(held)] = held
            self._undo.append(_HeldDict(held, owner).put_back)
            for value in held.values():
                kind = type(value)
                if kind in _PLAIN_KINDS:
                    continue
                if (kind is dict or kind is OrderedDict) and not value:
                    self._empty.append(value)
                else:
                    self._waiting.append(value)
        kind = type(owner)
        if kind not in self._slots:
            self._slots[kind] = slots_of(kind)
        for name in self._slots[kind]:
            if hasattr(owner, name):
                before = getattr(owner, name)
                self._waiting.append(before)
                self._undo.append(functools.partial(_set_again, owner, name, before))

    def _note_class(self, kind: type) -> None:
        """Attributes that all objects of a class share, and that its methods may change."""
        for one in kind.__mro__:
            if id(one) in self._seen or not is_users_own(one):
                continue
            self._seen[id(one)] = one
            held = dict(_values(one))
            self._waiting += held.values()
            self._undo.append(functools.partial(_set_class_again, one, held))
            self._note_globals(functions_of_class(one))

    def _note_globals(self, functions: Iterable[types.FunctionType]) -> None:
        """Global variables in which functions may count; data that stand in them are not copied."""
        for (_, name), space in globals_used(functions).items():
            value = space[name]
            if not isinstance(value, (Tensor, np.ndarray)):
                self._waiting.append(value)
                self._undo.append(functools.partial(_set_global_again, space, name, value))

    def _note_cell(self, cell: Any) -> None:
        try:
            before = cell.cell_contents
        except ValueError:  # it is empty still
            return
        self._waiting.append(before)

        def undo() -> None:
            cell.cell_contents = before

        self._undo.append(undo)


def _values(kind: type) -> Iterator[tuple[str, Any]]:
    """The attributes of a class that are neither functions nor descriptors."""
    for name, value in vars(kind).items():
        if not (name.startswith("__") or callable(value) or hasattr(value, "__get__")):
            yield name, value


def _set_class_again(kind: type, before: dict[str, Any]) -> None:
    for name in [name for name, _ in _values(kind) if name not in before]:
        delattr(kind, name)
    for name, value in before.items():
        if vars(kind).get(name) is not value:
            setattr(kind, name, value)


def _set_global_again(space: dict[str, Any], name: str, before: Any) -> None:
    if space.get(name) is not before:
        space[name] = before


def _set_again(owner: Any, name: str, before: Any) -> None:
    if getattr(owner, name, None) is not before:
        object.__setattr__(owner, name, before)


class _HeldDict:
    """A dict as it is, by its keys and values.

    Args:
        held: the dict.
        owner: whose attributes they are; None where it is nobody's.
    """

    __slots__ = ("_base", "_counts", "_held", "_keys", "_kind", "_owner", "_values")

    def __init__(self, held: dict[Any, Any], owner: Any = None) -> None:
        # Of dicts in a particular order and of others the methods of their own base: a subclass may have overridden
        # them.
        base: Any = OrderedDict if isinstance(held, OrderedDict) else dict
        self._base, self._held, self._owner = base, held, owner
        self._kind: Any = None if owner is None else type(owner)
        self._keys, values = list(base.keys(held)), list(base.values(held))
        self._counts = not _COUNTER_KINDS.isdisjoint(map(type, values))
        self._values = [_counting(value) for value in values] if self._counts else values

    def put_back(self) -> None:
        """Write keys and values back."""
        if self._kind is not None and type(self._owner) is not self._kind:  # a lazy layer has become another
            self._owner.__class__ = self._kind
        base, held = self._base, self._held
        now, keys = base.values(held), base.keys(held)
        if len(now) != len(self._values) or not all(map(is_, keys, self._keys)) or self._counts:
            base.clear(held)
            for key, value in zip(self._keys, self._values, strict=True):
                base.__setitem__(held, key, _counting(value))  # of a counter a copy: it may be put back again
        elif not all(map(is_, now, self._values)):
            for key, value, other in zip(self._keys, self._values, list(now), strict=True):
                if value is not other:
                    base.__setitem__(held, key, value)


def _counting(value: Any) -> Any:
    """A copy of a counter, which cannot be set back; anything else as it is."""
    if type(value) not in _COUNTERS:
        return value
    with warnings.catch_warnings(action="ignore"):  # Python means to end this one day
        return copy.copy(value)


def _sequence_undo(held: Any) -> Callable[[], None]:
    items = entries_of(held)

    def undo() -> None:
        now = entries_of(held)
        if len(now) == len(items) and all(map(is_, now, items)):
            return
        if isinstance(held, list):
            list.__setitem__(held, slice(None), items)
        elif isinstance(held, (bytearray, array.array)):
            same: Any = array.array(held.typecode, items) if isinstance(held, array.array) else items
            held[:] = same
        elif isinstance(held, set):
            set.clear(held)
            set.update(held, items)
        else:
            deque.clear(held)
            deque.extend(held, items)

    return undo


def _array_undo(held: "np.ndarray[Any, Any]") -> Callable[[], None]:
    before = held.copy()

    def undo() -> None:
        held[...] = before

    return undo


def _generator_undo(held: Any) -> Callable[[], None]:
    if isinstance(held, np.random.Generator):
        return _bits_undo(held.bit_generator)
    if isinstance(held, random.Random):
        return functools.partial(held.setstate, held.getstate())
    return functools.partial(held.set_state, held.get_state())


def _bits_undo(held: np.random.BitGenerator) -> Callable[[], None]:
    before = copy.deepcopy(held.state)

    def undo() -> None:
        held.state = before

    return undo


class _HeldTensor:
    """A tensor as it is: its numbers, where they lie, and what autograd knows of it.

    Args:
        tensor: itself.
        own: the part of it that this process holds, detached.
        gradient: its `grad`.
    """

    __slots__ = ("_before", "_bytes", "_gradient", "_leaf", "_own", "_shared", "_tensor", "_view", "_wanted", "_where")

    def __init__(self, tensor: Tensor, own: Tensor, gradient: Tensor | None) -> None:
        self._tensor, self._own, self._before, self._gradient = tensor, own, own.clone(), gradient
        self._wanted, self._leaf, self._shared = tensor.requires_grad, tensor.is_leaf, is_shared(tensor)
        self._where = _where(own)
        self._view = _bytes_of(own)
        self._bytes = None if self._view is None else self._view.tobytes()

    def put_back(self) -> None:
        """Write all of it back."""
        tensor = self._tensor
        if _where(own_part(tensor.detach()) if self._shared else tensor) != self._where:
            tensor.data = self._own  # the memory it had: an optimizer or a graph may know it
        if (self._view is None or self._view.tobytes() != self._bytes) and not _same(self._own, self._before):
            self._own.copy_(self._before)
        if self._leaf and tensor.is_leaf:
            if tensor.requires_grad != self._wanted:
                tensor.requires_grad_(self._wanted)
            if tensor.grad is not self._gradient:
                tensor.grad = self._gradient


def _where(own: Tensor) -> tuple[Any, ...]:
    return own.data_ptr(), own.shape, own.stride(), own.dtype


def _bytes_of(own: Tensor) -> "np.ndarray[Any, Any] | None":
    """The memory of a small tensor on the CPU; None of others."""
    if own.device.type != "cpu" or not 0 < own.nbytes <= _FEW_BYTES or not own.is_contiguous() or own.is_complex():
        return None
    try:
        return own.reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError):  # numbers of a kind of their own, whose memory cannot be seen so
        return None


def _lazy_undo(tensor: Tensor) -> Callable[[], None]:
    """Takes from a parameter of a lazy layer the shape that a pass has given it."""
    kind = type(tensor)

    def undo() -> None:
        if type(tensor) is not kind:
            tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            tensor.__class__ = kind

    return undo


def _same(one: Tensor, other: Tensor) -> bool:
    try:
        if torch.equal(one, other):
            return True
    except (NotImplementedError, RuntimeError):  # it does not know the newest types of numbers
        return torch.equal(*(value.contiguous().reshape(-1).view(torch.uint8) for value in (one, other)))
    if not (one.is_floating_point() or one.is_complex()):
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())
