"""State that checkpoints do not keep: found by comparing what objects hold with what they held.

A checkpoint keeps tensors and plain numbers of modules, and what `state_dict()` and `get_extra_state()` give. A list
that a module appends to, a generator of NumPy in a data set, a callback without `state_dict()`, what a hook or a loss
closes over, or a global variable that one of them counts in begins anew.
"""

import dis
import types
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset

from lumbre.base import (
    GENERATORS,
    attributes_of,
    attributes_of_module,
    held_by_function,
    is_users_own,
    print_of,
    prints_of_globals,
    values_of_class,
)
from lumbre.callbacks import On
from lumbre.core import Callback
from lumbre.data import objects_behind
from lumbre.resume._set_anew import set_anew
from lumbre.resume._state import Run, is_kept_number
from lumbre.storage import CheckpointWarning

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OF_OPTIMIZERS = ("defaults", "state", "param_groups")
_SHOWN = 6


class HiddenState:
    """Looks at what a run would lose: at its start, at its first checkpoint, and once more at one that ends an epoch.

    Args:
        run: what has state.
        beside: functions and objects that make the batches, by name.
    """

    def __init__(self, run: Run, beside: Mapping[str, Any]) -> None:
        self._run = run
        self._beside = beside
        self._before: dict[str, Any] | None = None
        self._looked = False
        self._said: list[str] = []
        self._written: set[str] = set()  # what the functions of `On` hold: most write down what they see

    def begin(self) -> None:
        """Look for the first time."""
        self._before = self._look()

    def tell(self, *, within: bool) -> None:
        """Look again, and warn of what was changed since; `within` an epoch only at the first checkpoint."""
        before = self._before
        if before is None or (within and self._looked):
            return
        self._looked = True
        after = self._look()
        if not within:
            self._before = None
        names = list(dict.fromkeys([*after, *before]))
        # A hook that was registered since is one of this run, which registers it again when it is resumed.
        names = [name for name in names if not name.endswith("]") or (name in before and name in after)]
        changed = [name for name in names if after.get(name) != before.get(name) and name not in self._said]
        changed = [
            name for name in changed if name not in self._written or not _only_grew(before.get(name), after.get(name))
        ]
        changed = [name for name in changed if not _only_chosen(before.get(name), after.get(name))]
        self._said += changed
        if changed:
            more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            warnings.warn(
                f"checkpoints do not keep {', '.join(changed[:_SHOWN])}{more}, changed since the run began: a resumed "
                "run begins with the first values. If training depends on it: in a module, keep it as a buffer, as a "
                "plain number or by get_extra_state(); in a callback, by state_dict() and load_state_dict(); in a data "
                "set, let rows depend on their number, the epoch and the global generators alone.",
                CheckpointWarning,
                stacklevel=2,
            )

    def _look(self) -> dict[str, Any]:
        run, plan = self._run, self._run.plan
        known = {id(one) for module in (plan.model, run.loss) if module is not None for one in _registered(module)}
        known |= {id(plan.context.optimizers), *map(id, plan.context.optimizers.values())}
        found: dict[str, Any] = {}
        holders: list[Any] = []
        names: list[str] = []

        def add(name: str, one: Any) -> None:
            names.append(name)
            again = names.count(name)
            holders.append(one)
            found.update(_of_object(name if again == 1 else f"{name} ({again})", one, known))

        for top in (plan.model, run.loss):
            for name, part in () if top is None else top.named_modules():
                where = f"{type(top).__name__}{'.' if name else ''}{name}"
                found |= {f"{where}.{key}": print_of(value, known) for key, value in _of_module(part)}
                holders.append(part)
        for one in run.callbacks:
            if is_users_own(type(one)) and type(one).state_dict is Callback.state_dict:
                add(type(one).__name__, one)
            there = set(found)
            for function in _functions_of(one):
                add(_name(function), function)
            self._written |= set(found) - there if isinstance(one, On) else set()
        for one in plan.context.optimizers.values():
            if is_users_own(type(one)) and type(one).state_dict is optim.Optimizer.state_dict:
                own = {key: value for key, value in attributes_of(one).items() if key[0] != "_"}
                found |= {
                    f"{type(one).__name__}.{key}": print_of(value, known)
                    for key, value in own.items()
                    if key not in _OF_OPTIMIZERS and not isinstance(value, GENERATORS)
                }
        for batches in (plan.train, plan.valid, *(others for others, _ in plan.also.values())):
            objects, kept = objects_behind(batches)
            known |= {id(generator) for generator in kept}
            for one in objects:
                add(_name(one), one)
        for name, one in self._beside.items():
            if not isinstance(one, nn.Module):
                add(name, one)
        return found | prints_of_globals(*holders, known=known)


def _only_grew(before: Any, after: Any) -> bool:
    """Whether nothing has changed between two prints but that lists have more entries at their ends."""
    if not isinstance(before, (list, tuple)) or not isinstance(after, (list, tuple)):
        return bool(before == after)
    if len(before) == len(after) == 2 and isinstance(before[0], int) and isinstance(before[1], list):
        return before[0] <= after[0] and _only_grew([*before[1]], [*after[1]][: len(before[1])])
    return len(before) == len(after) and all(map(_only_grew, before, after))


def _only_chosen(before: Any, after: Any) -> bool:
    """Whether nothing has changed between two prints but that None became a text, as where a module chooses by its
    first batch what it is for. A resumed run chooses the same."""
    if before == after or (_is_none(before) and type(after) is str):
        return True
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_only_chosen(before[key], after[key]) for key in before)
    pairs = isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)) and len(before) == len(after)
    return pairs and all(map(_only_chosen, before, after))


def _is_none(found: Any) -> bool:
    return isinstance(found, tuple) and found == ("NoneType", "None")


def _functions_of(one: Callback) -> Iterator[Any]:
    """The functions of the user's own that a callback of ours calls, such as those of `On` and of a schedule."""
    for value in () if is_users_own(type(one)) else vars(one).values():
        for inner in value.values() if isinstance(value, dict) else (value,):
            if isinstance(inner, (types.FunctionType, partial)) and is_users_own(getattr(inner, "func", inner)):
                yield inner


def _name(one: Any) -> str:
    return getattr(one, "__name__", type(one).__name__)


def _registered(module: nn.Module) -> Iterator[Tensor | nn.Module]:
    yield from module.parameters()
    yield from module.buffers()
    yield from module.modules()


def _of_module(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes of a module that a checkpoint does not hold."""
    if type(part).get_extra_state is not nn.Module.get_extra_state:
        return
    for name in _HOOKS:
        for number, hook in vars(part).get(name, {}).items():
            if is_users_own(hook) or is_users_own(type(hook)):
                yield f"{name.strip('_')}[{number}]", hook
    for name, value in values_of_class(type(part)).items():
        if name not in vars(part):
            yield name, value
    anew = set_anew(type(part), "forward") | set_anew(type(part), "__call__")
    for name, value in attributes_of_module(part).items():
        if not is_kept_number(value) and not isinstance(value, GENERATORS) and name not in anew:
            yield name, value


def _of_object(name: str, one: Any, known: set[int]) -> dict[str, Any]:
    """What an object of the user's holds, or a function closes over, each by its name."""
    if isinstance(one, partial):
        return _of_object(name, one.func, known) | {f"{name}()": print_of([one.args, one.keywords], known)}
    if isinstance(one, types.MethodType):
        return _of_object(_name(one.__self__), one.__self__, known)
    held: dict[str, Any] = {}
    if isinstance(one, types.FunctionType):
        held = held_by_function(one)
    elif isinstance(one, Dataset) or is_users_own(type(one)):
        held = values_of_class(type(one)) | attributes_of(one)
        turned = _set_by(getattr(type(one), "set_epoch", None))  # which is called before each epoch
        turned |= set_anew(type(one), "__iter__") | set_anew(type(one), "__call__")
        turned |= {"_iterator"} if isinstance(one, DataLoader) else set()  # of the pass that began last
        held = {key: value for key, value in held.items() if key not in turned}
    return {f"{name}.{key}": print_of(value, known) for key, value in held.items()}


def _set_by(method: Any) -> set[str]:
    """The names of the attributes that a method sets."""
    code = getattr(method, "__code__", None)
    return set() if code is None else {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_ATTR"}
