"""The state of a run between two steps: everything that affects the next one, taken and brought back part by part.

What is a pure function of seed and position (the order of rows, dropout, augmentation) needs no place here: the
position stands for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from lumbre.base import (
    LumbreError,
    ResumeError,
    brief,
    is_shared,
    may_change,
    put_buffer,
    put_buffers,
    shared_like,
    whole,
)
from lumbre.callbacks import Progress
from lumbre.core import Callback, Plan
from lumbre.data import own_random, restore_own_random
from lumbre.devices import Seeder
from lumbre.processes import World
from lumbre.resume._generators import restore_generators, states_of
from lumbre.storage import is_history, pack

_NUMBERS = (bool, int, float, str)
_ALIKE = ("optimizers", "engine", "meter", "progress")


@dataclass(frozen=True, slots=True)
class Run:
    """What has state in a run.

    Attributes:
        plan: model, engine, data, meter and context.
        callbacks: in their order.
        loss: the loss, where it is a module beside the model; else None.
        world: the processes that share the run.
    """

    plan: Plan
    callbacks: Sequence[Callback]
    loss: nn.Module | None
    world: World = field(default_factory=World)


def take_state(run: Run, *, within: bool) -> dict[str, Any]:
    """The state of `run` now, by part; tensors are the run's own, not copies.

    Tensors of which each process holds a part are gathered, so that any number of processes can go on with them.

    Args:
        run: between two updates.
        within: within an epoch, so that the training metrics are still gathering.
    """
    state = {name: take(run, within) for name, (take, _) in PARTS.items()}
    return _gathered(state) if any(map(is_shared, run.plan.model.parameters())) else state


def _gathered(value: Any) -> Any:
    """`value` with every tensor whole."""
    if isinstance(value, Tensor):
        return whole(value)
    if isinstance(value, dict):
        return {key: _gathered(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_gathered(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def bring_back(run: Run, state: Mapping[str, Any]) -> None:
    """Make `run` what it was when `state` was taken.

    Raises:
        ResumeError: a part does not fit.
    """
    for name, (take, give) in PARTS.items():
        try:
            if name in _ALIKE and state[name] is not None:
                _check_alike(take(run, True), state[name], name)
            give(run, state[name])
        except LumbreError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
            raise ResumeError(
                f"the part {name!r} of a checkpoint, which does not fit this run: {type(error).__name__}: {error}",
                "the run that wrote the checkpoint, as it was then",
                "give fit() what it was given then, or take another folder",
            ) from error


def _check_alike(here: Any, kept: Any, place: str) -> None:
    """Where a run has a number, a text or a collection, the kept state must have one too.

    Raises:
        ValueError: it has not.
    """
    if here is None:
        return
    if _kind(here) != _kind(kept):
        raise ValueError(f"{place} is {_kind(kept)}, where this run has {_kind(here)}")
    if isinstance(here, Mapping):
        for key in here.keys() & kept.keys():
            _check_alike(here[key], kept[key], f"{place}/{key}")
    elif isinstance(here, (list, tuple)) and len(here) == len(kept):
        for index, (one, other) in enumerate(zip(here, kept, strict=True)):
            _check_alike(one, other, f"{place}/{index}")


def _kind(value: Any) -> str:
    kinds: dict[str, Any] = {"a number": (bool, int, float, Tensor), "a list": (list, tuple), "a mapping": Mapping}
    return next((name for name, types in kinds.items() if isinstance(value, types)), f"a {type(value).__name__}")


def _module_state(module: nn.Module) -> dict[str, Any]:
    named = dict(module.named_modules())
    return {
        "tensors": _tensors(module),
        "extra": {name: part.get_extra_state() for name, part in named.items() if _has_extra(part)},
        "numbers": {name: _numbers(part) for name, part in named.items()},
        "still": [name for name, parameter in module.named_parameters() if not parameter.requires_grad],
        "resting": [name for name, part in named.items() if not part.training],
    }


def _restore_module(module: nn.Module, state: dict[str, Any]) -> None:
    put_buffers(module, state["tensors"])
    _same_buffers(module, state["tensors"])
    tensors = _tensors(module)
    if tensors.keys() != state["tensors"].keys():
        raise ValueError(f"other tensors: {', '.join(sorted(tensors.keys() ^ state['tensors'].keys())[:5])}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            kept = state["tensors"][name]
            if kept.shape != tensor.shape or kept.dtype != tensor.dtype:
                if may_change(module, name):
                    put_buffer(module, name, kept.clone().to(tensor.device))
                    continue
                raise ValueError(f"{name} was {tuple(kept.shape)} of {kept.dtype}")
            tensor.copy_(shared_like(kept, tensor))
    for name, part in module.named_modules():
        for key, value in state["numbers"][name].items():
            if type(vars(part).get(key)) is not type(value) or vars(part)[key] != value:
                here = getattr(part, key, value)
                if not is_kept_number(value) or not (here is None or is_kept_number(here)):
                    raise ValueError(f"{name}.{key} is no number or text")
                setattr(part, key, value)
        if name in state["extra"]:
            part.set_extra_state(state["extra"][name])
        part.training = name not in state["resting"]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in state["still"])


def _same_buffers(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Buffers that began as None and were filled since, and those that became None, as they were then."""
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():  # pyright: ignore[reportPrivateUsage]
            known = kept.get(f"{prefix}.{name}" if prefix else name)
            if (buffer is None) != (known is None):
                part._buffers[name] = None if known is None else known.clone()  # pyright: ignore[reportPrivateUsage]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, also those that `state_dict()` leaves out."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _has_extra(part: nn.Module) -> bool:
    return type(part).get_extra_state is not nn.Module.get_extra_state


def _numbers(part: nn.Module) -> dict[str, Any]:
    """What a module keeps beside tensors and parts: one that counts its calls in Python counts on."""
    return {key: one for key, one in vars(part).items() if is_kept_number(one) and key != "training"}


def is_kept_number(value: object) -> bool:
    """Whether an attribute of a module is kept as it is: a number, of NumPy too, or a text."""
    return isinstance(value, _NUMBERS) or (isinstance(value, np.generic) and value.dtype.kind in "biuf")


def _restore_optimizer(optimizer: optim.Optimizer, state: dict[str, Any]) -> None:
    if "of its optimizers" in state:
        inner = _inner(optimizer)
        _restore_optimizer(optimizer, state["of the wrapper"])
        for name, one in state["of its optimizers"].items():
            _restore_optimizer(inner[name], one)
        return
    if "param_groups" not in state:  # its author's own form
        optimizer.load_state_dict(state)
        return
    groups: list[dict[str, Any]] = state["param_groups"]
    if [len(group["params"]) for group in groups] != [len(group["params"]) for group in optimizer.param_groups]:
        raise ValueError("other groups of parameters")
    if type(optimizer).load_state_dict is not optim.Optimizer.load_state_dict:
        live = zip(optimizer.param_groups, groups, strict=True)
        left_out = [{key: group[key] for key in group.keys() - kept.keys()} for group, kept in live]
        whole = [{**own, **kept} for own, kept in zip(left_out, groups, strict=True)]
        optimizer.load_state_dict({**state, "param_groups": whole})
        return
    # torch's own load_state_dict brings states to the dtype of their parameter, and so would change some.
    numbered = dict[int, Tensor]()
    for group, kept in zip(optimizer.param_groups, groups, strict=True):
        numbered.update(zip(kept["params"], group["params"], strict=True))
        for key, value in kept.items():
            if key == "params":
                continue
            if isinstance(group.get(key), Tensor) and isinstance(value, Tensor):
                group[key].copy_(value)
            else:
                group[key] = value
    fused = {id(one) for group in optimizer.param_groups if group.get("fused") for one in group["params"]}
    optimizer.state.clear()
    for number, values in state["state"].items():
        own = numbered[number]
        if id(own) in fused:
            _check_fused(own, values)
        optimizer.state[own] = {
            key: shared_like(value, own) if isinstance(value, Tensor) and value.shape == own.shape else value
            for key, value in values.items()
        }


def _check_fused(parameter: Tensor, values: Mapping[str, Any]) -> None:
    """Fused kernels do not look at the sizes of states: with one that is too small they write beside it."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            right = value.numel() == 1 if name == "step" else value.shape == parameter.shape
            if not right or not value.is_floating_point():
                raise ValueError(f"{name} is {tuple(value.shape)} of {value.dtype} for {tuple(parameter.shape)}")


def _take_optimizers(run: Run, within: bool) -> dict[str, Any]:
    return {name: _taken(optimizer) for name, optimizer in run.plan.context.optimizers.items()}


def _taken(optimizer: optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer, and of those that it holds where it leaves them out, as many wrappers do.

    Options of its groups that a file cannot hold, such as a function or an Enum, are left out: they stay as they are.
    """
    state = _own_state(optimizer)
    if isinstance(state.get("param_groups"), list):
        groups: list[dict[str, Any]] = state["param_groups"]
        state = {**state, "param_groups": [{k: v for k, v in group.items() if _can_be_kept(v)} for group in groups]}
    known = set(map(id, _tensors_in(state)))
    inner = {
        name: one.state_dict()
        for name, one in _inner(optimizer).items()
        if not known & set(map(id, _tensors_in(one.state_dict()["state"])))
    }
    return {"of the wrapper": state, "of its optimizers": inner} if inner else state


def _own_state(optimizer: optim.Optimizer) -> dict[str, Any]:
    """What its `state_dict()` gives.

    Raises:
        ResumeError: it fails, as that of a wrapper that was written for another torch.
    """
    try:
        return optimizer.state_dict()
    except Exception as error:
        name = type(optimizer).__name__
        raise ResumeError(
            f"{name}.state_dict(), which failed: {type(error).__name__}: {brief(error)}",
            "an optimizer whose state can be kept",
            f"fit() without resume, which needs no state; or another optimizer than {name}",
        ) from error


def _inner(optimizer: optim.Optimizer) -> dict[str, optim.Optimizer]:
    return {name: one for name, one in vars(optimizer).items() if isinstance(one, optim.Optimizer)}


def _can_be_kept(value: Any) -> bool:
    try:
        pack(value, {})
    except ResumeError:
        return False
    return True


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    parts: Any = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        yield from _tensors_in(part)


def _give_optimizers(run: Run, state: dict[str, Any]) -> None:
    for name, optimizer in run.plan.context.optimizers.items():
        _restore_optimizer(optimizer, state[name])


def callbacks_by_place(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks by class and place among those of their class."""
    found: dict[str, Callback] = {}
    for one in callbacks:
        kind = type(one).__name__
        place = sum(name.rpartition("#")[0] == kind for name in found)
        found[f"{kind}#{place}"] = one
    return found


def _take_callbacks(run: Run, within: bool) -> dict[str, Any]:
    states = {
        name: one.state_dict()
        for name, one in callbacks_by_place(run.callbacks).items()
        if not isinstance(one, Progress)
    }
    return {name: state for name, state in states.items() if state}


def _give_callbacks(run: Run, state: dict[str, Any]) -> None:
    for name, one in callbacks_by_place(run.callbacks).items():
        if name in state and (one.everywhere or run.world.leads):
            one.load_state_dict(state[name])


def _take_progress(run: Run, within: bool) -> dict[str, Any]:
    ctx = run.plan.context
    history = ctx.history
    return {
        "epoch": ctx.epoch,
        "step": ctx.step,
        "batch_index": ctx.batch_index,
        "phase": ctx.phase,
        "stop_reason": ctx.stop_reason,
        "records": history.records,
        "train_seconds": history.train_seconds,
        "valid_seconds": history.valid_seconds,
        "fit_seconds": history.fit_seconds,
        "phase_seconds": history.phase_seconds,
    }


def _give_progress(run: Run, state: dict[str, Any]) -> None:
    if not is_history(state):
        raise ValueError("its history is damaged")
    ctx, history = run.plan.context, run.plan.context.history
    for name in ("epoch", "step", "batch_index", "phase", "stop_reason"):
        setattr(ctx, name, state[name])
    history.records[:] = state["records"]
    history.train_seconds[:] = state["train_seconds"]
    history.valid_seconds[:] = state["valid_seconds"]
    history.fit_seconds = state["fit_seconds"]
    history.phase_seconds.clear()
    history.phase_seconds.update(state["phase_seconds"])


def _give_loss(run: Run, state: dict[str, Any] | None) -> None:
    if run.loss is not None and state is not None:
        _restore_module(run.loss, state)


def _give_meter(run: Run, state: dict[str, Any] | None) -> None:
    if state is None:
        return
    if any(loss.numel() != 1 for loss in (state["loss"], *state["parts"].values())):
        raise ValueError("a loss that is no single number")
    run.plan.train_meter.load_state_dict(state)


def merged_meter(run: Run, states: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What several processes had gathered in the epoch under way, as one state; None of nobody.

    Raises:
        ResumeError: a metric keeps states that only its own processes can put together.
    """
    return run.plan.train_meter.merged(states) if states else None


def _take_chance(run: Run, within: bool) -> dict[str, Any]:
    plan = run.plan
    seed_step: Any = plan.seed_step
    if isinstance(seed_step, Seeder):
        seed_step.look()
    return {
        "train": own_random(plan.train, within=within),
        "valid": own_random(plan.valid, within=False),
        "also": [own_random(others, within=False) for others, _ in plan.also.values()],
        "host": isinstance(seed_step, Seeder) and seed_step.drawn,
        "generators": states_of(_holders(run)),
    }


def _holders(run: Run) -> dict[str, nn.Module | optim.Optimizer | None]:
    return {"model": run.plan.model, "loss": run.loss, **run.plan.context.optimizers}


def _give_chance(run: Run, state: dict[str, Any]) -> None:
    restore_own_random(run.plan.train, state["train"])
    restore_own_random(run.plan.valid, state["valid"])
    for (others, _), states in zip(run.plan.also.values(), state.get("also", ()), strict=True):
        restore_own_random(others, states)
    seed_step: Any = run.plan.seed_step
    if isinstance(seed_step, Seeder):
        seed_step.drawn = bool(state.get("host", False))
    restore_generators(_holders(run), state.get("generators", {}))


# In the order in which they are brought back: a scheduler sets learning rates while it is, so optimizers come later.
PARTS: dict[str, tuple[Callable[[Run, bool], Any], Callable[[Run, Any], None]]] = {
    "callbacks": (_take_callbacks, _give_callbacks),
    "model": (
        lambda run, within: _module_state(run.plan.model),
        lambda run, state: _restore_module(run.plan.model, state),
    ),
    "loss": (lambda run, within: None if run.loss is None else _module_state(run.loss), _give_loss),
    "optimizers": (_take_optimizers, _give_optimizers),
    "engine": (
        lambda run, within: run.plan.engine.state_dict(),
        lambda run, state: run.plan.engine.load_state_dict(state),
    ),
    "meter": (lambda run, within: run.plan.train_meter.state_dict() if within else None, _give_meter),
    "chance": (_take_chance, _give_chance),
    "progress": (_take_progress, _give_progress),
}
