"""What modules keep beside the tensors of `state_dict()`: numbers, lists, plain tensors, non-persistent buffers.

Training changes some of it, and predictions may depend on that. Numbers and texts that were changed go into a model's
file. Of tensors, arrays and objects most are caches; so a module is built anew and filled as from the file, and only
where it predicts otherwise they go into the file, too, or are named in a warning.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from lumbre.base import (
    OF_TORCH,
    ArchiveError,
    Batch,
    Nested,
    ResumeError,
    attributes_of_module,
    caller,
    cloned,
    give_buffers,
    leaves,
    load_state,
    map_leaves,
    preserved_randomness,
    print_of,
    untouched,
)
from lumbre.devices import same_chance
from lumbre.storage import CheckpointWarning, pack

BESIDE = "lumbre:beside"
"""The name in a file of what modules keep beside tensors."""

_Held: TypeAlias = dict[tuple[str, str], Any]
_LOSS = "loss:"  # before the names of the parts of a loss
_ROWS = 4
_MOST_NUMBERS = 5_000_000  # of a module that is built anew only to see whether it draws tensors by chance
_MOST_ENTRIES = 10_000
_MOST_BYTES = 1 << 26
_SHOWN = 6


class Beside:
    """Finds what a file must hold beside tensors.

    Args:
        model: as it was built.
        loss: the loss, where that is a module beside it.
        first: a batch to compare predictions with, or None.
    """

    def __init__(self, model: nn.Module, loss: nn.Module | None, first: Batch | None = None) -> None:
        self._built = _prints(_held(model, loss), model, loss)
        self._rows = None if first is None else _few(first.input)
        self._told = False
        self._drawn: list[tuple[str, str]] | None = None  # tensors that are others in a module built anew

    def kept(
        self,
        model: nn.Module,
        loss: nn.Module | None,
        build: Callable[[], nn.Module],
        predict: Callable[[nn.Module, Nested], Nested],
    ) -> dict[str, dict[str, Any]]:
        """By part and name what the file is to hold; a warning where it cannot.

        Args:
            model: as it is now.
            loss: the loss now.
            build: builds the module anew, where it can be.
            predict: the prediction of a module for rows.
        """
        now = _held(model, loss)
        prints = _prints(now, model, loss)
        changed: _Held = {key: now[key] for key in now if prints[key] != self._built.get(key, ...)}
        plain = {key: value for key, value in changed.items() if _is_plain(value)}
        other = {key: value for key, value in changed.items() if key not in plain}
        for key in self._drawn_by_chance(model, now, prints, build):
            other.setdefault(key, now[key])
        if not other:
            return _by_part(plain)
        held = {key: value for key, value in other.items() if _fits_in_file(value)}
        of_loss = {key: value for key, value in held.items() if key[0].startswith(_LOSS)}

        def differs(given: _Held) -> bool | None:
            return self._differs(model, given, build, predict)

        found = differs(plain)
        if found is None:  # it cannot be seen: tensors that were there from the start are state, others mostly caches
            return _by_part(plain | {key: held[key] for key in held if self._built.get(key) is not None})
        if not found:
            return _by_part(plain | of_loss)
        if differs(plain | held):
            self._warn(type(model).__name__, [key for key in other if key not in held] or list(other))
        return _by_part(plain | held)

    def _drawn_by_chance(
        self, model: nn.Module, now: _Held, prints: _Held, build: Callable[[], nn.Module]
    ) -> list[tuple[str, str]]:
        """Tensors and arrays that a module has from its making, and that are others each time it is made."""
        if self._drawn is None:
            self._drawn = []
            numbers = [key for key, value in now.items() if isinstance(value, (Tensor, np.ndarray))]
            numbers = [key for key in numbers if prints[key] is not None and prints[key] == self._built.get(key)]
            if numbers and sum(one.numel() for one in model.parameters() if not is_lazy(one)) <= _MOST_NUMBERS:
                fresh = _built_anew(model, build)
                made = {} if fresh is None else _prints(_held(fresh, None), fresh, None)
                self._drawn = [key for key in numbers if key in made and made[key] != prints[key]]
        return self._drawn

    def _differs(
        self,
        model: nn.Module,
        given: _Held,
        build: Callable[[], nn.Module],
        predict: Callable[[nn.Module, Nested], Nested],
    ) -> bool | None:
        """Whether a module with the weights of `model` and with `given` predicts otherwise; None where that cannot be
        seen."""
        fresh, rows = _built_anew(model, build), self._rows
        if fresh is None or rows is None:
            return None
        device = next((one.device for one in (*model.parameters(), *model.buffers())), torch.device("cpu"))
        found: list[list[Any]] = []
        try:
            with preserved_randomness(device):
                fresh.to(device)
                if any(is_lazy(one) for one in (*fresh.parameters(), *fresh.buffers())):
                    with torch.no_grad():
                        caller(fresh, rows)(cloned(rows))
                state: dict[str, Any] = model.state_dict()
                give_buffers(fresh, {name: one for name, one in state.items() if isinstance(one, Tensor)})
                load_state(fresh, state)
                give_beside(fresh, None, _by_part({key: cloned(value) for key, value in given.items()}))
                for one in (model, fresh):
                    with untouched(one, device):
                        same_chance(device)
                        found.append(list(leaves(predict(one, cloned(rows)))))
        except Exception:  # what is the user's may fail in its own way
            return None
        return len(found[0]) != len(found[1]) or not all(map(_close, *found))

    def _warn(self, name: str, keys: list[tuple[str, str]]) -> None:
        if self._told:
            return
        self._told = True
        names = [f"{name}.{part}{'.' if part else ''}{key}" for part, key in keys]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        warnings.warn(
            f"the file does not hold {', '.join(names[:_SHOWN])}{more}, and without it the module predicts otherwise. "
            "Keep it with register_buffer(), as plain numbers, texts, lists or dicts, or by get_extra_state() and "
            "set_extra_state(); what the module is built with, by set_hparams().",
            CheckpointWarning,
            stacklevel=2,
        )


def give_beside(model: nn.Module, loss: nn.Module | None, stored: Mapping[str, Mapping[str, Any]]) -> None:
    """Give modules what a file holds beside tensors; what belongs to a loss that is not there is left out.

    Raises:
        ArchiveError: there is no such part, or the name is that of a method, of a parameter, or of torch's.
    """
    for place, values in stored.items():
        top = loss if place.startswith(_LOSS) else model
        if top is None:
            continue
        try:
            part = top.get_submodule(place.removeprefix(_LOSS))
        except AttributeError:
            if top is loss:
                continue
            raise _unknown(type(model).__name__, place, *values) from None
        for name, value in values.items():
            _give(part, name, value, place)


def _give(part: nn.Module, name: str, value: Any, place: str) -> None:
    buffers = part._buffers  # pyright: ignore[reportPrivateUsage]
    if name in buffers:
        before = buffers[name]
        if value is None or isinstance(value, Tensor):
            buffers[name] = value if before is None or value is None else value.to(before.device)
        return
    own = vars(part)
    registered = name in part._parameters or name in part._modules  # pyright: ignore[reportPrivateUsage]
    defined = getattr(type(part), name, None)
    if registered or name in OF_TORCH or name.startswith("__") or callable(defined) or hasattr(defined, "__set__"):
        raise _unknown(type(part).__name__, place, name)
    before = own.get(name)
    own[name] = value.to(before.device) if isinstance(before, Tensor) and isinstance(value, Tensor) else value


def _unknown(kind: str, place: str, *names: str) -> ArchiveError:
    return ArchiveError(
        f"a file that holds {', '.join(f'{place}.{name}'.strip('.') for name in names)} for a {kind}",
        "values of attributes that the module has",
        "pass the class, and the hyper-parameters, that the model was saved with",
    )


def _held(model: nn.Module, loss: nn.Module | None) -> _Held:
    """What parts keep beside the tensors of `state_dict()`, by part and name."""
    tops = ((model, ""), *(() if loss is None else ((loss, _LOSS),)))
    return {
        (f"{prefix}{place}", name): value
        for top, prefix in tops
        for place, part in top.named_modules()
        for name, value in _of_part(part)
    }


def _of_part(part: nn.Module) -> Iterator[tuple[str, Any]]:
    if type(part).get_extra_state is not nn.Module.get_extra_state:
        return  # its author says what is kept
    yield from attributes_of_module(part).items()
    for name in part._non_persistent_buffers_set:  # pyright: ignore[reportPrivateUsage]
        yield name, part._buffers.get(name)  # pyright: ignore[reportPrivateUsage]


def _prints(held: _Held, model: nn.Module, loss: nn.Module | None) -> _Held:
    known: set[int] = set()
    for top in (model,) if loss is None else (model, loss):
        known |= {id(one) for one in (*top.parameters(), *top.modules(), *top.buffers())}
    # A buffer that is not persistent is looked at; within lists and objects registered tensors are not.
    return {
        key: print_of(value, known - {id(value)} if id(value) in known else known, whole=True)
        for key, value in held.items()
    }


def _is_plain(value: Any) -> bool:
    """Numbers and texts, and few of them in lists, tuples, dicts, sets and deques."""
    left = [_MOST_ENTRIES]

    def plain(part: Any) -> bool:
        left[0] -= 1
        if left[0] < 0:
            return False
        if part is None or type(part) in (bool, int, float, str):
            return True
        if isinstance(part, np.generic):
            return part.dtype.kind in "biuf"
        if type(part) in (list, tuple, set, frozenset, deque):
            return all(map(plain, part))
        return type(part) is dict and all(plain(key) and plain(one) for key, one in part.items())

    return plain(value)


def _fits_in_file(value: Any) -> bool:
    tensors: dict[str, Tensor] = {}
    if isinstance(value, Tensor) and value.grad_fn is not None:
        return False
    try:
        pack(value, tensors)
    except (ResumeError, RecursionError):
        return False
    return sum(one.nbytes for one in tensors.values()) <= _MOST_BYTES


def _built_anew(model: nn.Module, build: Callable[[], nn.Module]) -> nn.Module | None:
    """The module of another seed; None where it cannot be built, or is the very one."""
    device = next((one.device for one in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    try:
        with preserved_randomness(device), warnings.catch_warnings(action="ignore"):
            same_chance(device, 1)
            fresh = build()
    except Exception:  # a factory may do what it likes
        return None
    return None if set(fresh.modules()) & set(model.modules()) else fresh


def _by_part(held: _Held) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for (place, name), value in held.items():
        found.setdefault(place, {})[name] = value
    return found


def _few(input: Nested) -> Nested:
    """Some rows of a batch, as tensors of their own; all of it where it is not made of tensors alone."""
    tensors = list(leaves(input))
    if isinstance(input, PackedSequence) or not all(isinstance(one, Tensor) and one.ndim for one in tensors):
        return input
    if any(one.is_nested for one in tensors) or len({len(one) for one in tensors}) != 1:
        return input  # of a nested tensor no rows can be cut out
    return map_leaves(lambda one: one[:_ROWS].clone(), input)


def _close(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return True  # of objects nothing is known
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.is_floating_point() or one.is_complex():
        scale = float(one.detach().abs().nan_to_num(0.0, 0.0, 0.0).amax()) if one.numel() else 0.0
        return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)
    return torch.equal(one, other)
