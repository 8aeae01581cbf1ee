"""What a run is made of, in words that can be compared: whether a run found in a folder is the one that is asked for.

Code is compared by what it does (its byte code), not by its comments; objects by what they are made with.
"""

import functools
import hashlib
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lumbre.base import DataRecord
from lumbre.callbacks import (
    SWA,
    CSVLog,
    LearningRate,
    LRScheduler,
    MLflow,
    Progress,
    Remarks,
    TensorBoard,
    TimeLimit,
    WandB,
    steps_of,
)
from lumbre.core import Callback
from lumbre.run import Options, Session, Spec

_DEPTH = 4
_DIGITS = 12
# How long it waits decides when a run ends, as the number of epochs does, and nothing else in it.
_PATIENCE = re.compile(r"(?<=EarlyStopping \{'monitor': Monitor )(\{[^{}]*\}), 'patience': \d+")
_FINGERPRINT = re.compile(r"(?<=rows, fingerprint )\w+")
ONLY_TELL = (Progress, Remarks, CSVLog, TensorBoard, MLflow, WandB, TimeLimit)
"""Callbacks that tell of a run, or end it, and change nothing else in it: they may come and go."""


def facts_of(recipe: Spec, options: Options, session: Session) -> dict[str, str]:
    """What must be the same for a run to go on, by the names of `Checkpoints.allow_changes`."""
    model = session.model
    data = session.record.data
    callbacks = [one for one in options.callbacks if not isinstance(one, ONLY_TELL)]
    fewest, most = options.epoch_range
    return {
        "module": f"{code_of(type(model))} {model!r}",
        "weights": str([(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters()]),
        "loss": "the module's own" if recipe.loss is None else as_text(recipe.loss),
        "optimizer": "the module's own" if recipe.optimizer is None else as_text(recipe.optimizer),
        "metrics": str(recipe.metrics),
        **({} if recipe.response is None else {"response": as_text(recipe.response)}),
        "hparams": as_text(dict(recipe.hparams)),
        "opt_hparams": as_text(dict(recipe.opt_hparams)),
        "callbacks": "; ".join(_callback(one) for one in callbacks),
        "epochs": f"{fewest} to {most}",
        "batch_size": str(session.batch_size),
        "shuffle": str(options.shuffle),
        "sampler": as_text(options.sampler),
        "drop_last": str(bool(options.drop_last)),
        "augment": as_text(options.augment),
        "seed": str(session.seed),
        "precision": options.precision,
        "device": session.device.type,
        "torch": str(torch.__version__),
        "train_data": _data(data["train"]),
        "valid_data": _judged_on(data) + ("" if options.valid_every == 1 else f", every {options.valid_every} epochs"),
    }


def _judged_on(data: Mapping[str, DataRecord]) -> str:
    """The sets to validate on, with their names where they have any."""
    sets = {name.removeprefix("valid_"): one for name, one in data.items() if name.startswith("valid_")}
    return "; ".join(f"{name}: {_data(one)}" for name, one in sets.items()) or _data(data.get("valid"))


def same_fact(one: str | None, other: str) -> bool:
    """Whether two facts of one name stand for the same run: the patience of `EarlyStopping` may be another."""
    return one is not None and _PATIENCE.sub(r"\1", one) == _PATIENCE.sub(r"\1", other)


def same_but_for_fingerprint(one: str, other: str) -> bool:
    """Whether two facts tell of data of the same kinds and number of rows."""
    return _FINGERPRINT.sub("", one) == _FINGERPRINT.sub("", other)


def needs_epochs(callbacks: "list[Callback]") -> str | None:
    """The callback that reckons with the number of epochs, so that it cannot grow unasked; or None."""
    for one in callbacks:
        if isinstance(one, (LearningRate, SWA)):
            return type(one).__name__
        if isinstance(one, LRScheduler) and steps_of(one.scheduler) is not None:
            return f"LRScheduler({one.scheduler.__name__})"
    return None


def as_text(value: Any, depth: int = _DEPTH) -> str:
    """`value` in words, without anything that differs between processes."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.device)):
        return repr(value)
    if isinstance(value, (Tensor, np.ndarray)):
        return _array(value)
    if isinstance(value, type):
        return code_of(value)
    if isinstance(value, functools.partial):
        return f"{as_text(value.func)}{as_text(value.args)}{as_text(value.keywords)}"
    if isinstance(value, types.MethodType):
        return f"{as_text(value.__self__, depth - 1)}.{code_of(value.__func__)}"
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()] if depth else []
        held = [*cells, *(getattr(value, "__defaults__", None) or ())]
        return f"{code_of(value)}{as_text(held, depth - 1) if held else ''}"
    if depth <= 0:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_text(key)}: {as_text(part, depth - 1)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [as_text(part, depth - 1) for part in value]
        return f"{type(value).__name__}({', '.join(sorted(parts) if isinstance(value, (set, frozenset)) else parts)})"
    if isinstance(value, nn.Module):
        return f"{code_of(type(value))} {value!r} {as_text(dict(value.named_buffers()), depth - 1)}"
    return f"{code_of(type(value))} {as_text(_own(value), depth - 1)}"


def _own(value: Any) -> dict[str, Any]:
    """What an object was made with: its attributes that bear the names of its arguments, with or without `_`."""
    try:
        names = list(inspect.signature(type(value).__init__).parameters)[1:]
    except (TypeError, ValueError):
        return {}
    held: dict[str, Any] = getattr(value, "__dict__", {})
    slots = {name: getattr(value, name) for name in names if hasattr(value, name)}
    # What a class says for all is not what it was made with: an option that is new leaves older runs as they are.
    for name in [name for name in slots if name not in held and getattr(type(value), name, held) is slots[name]]:
        del slots[name]
    return slots | {name: vars(value)[f"_{name}"] for name in names if f"_{name}" in getattr(value, "__dict__", {})}


def _callback(callback: Callback) -> str:
    """A callback by its class and what it was made with; what it has come to is state, not a fact."""
    own = {name: part for name, part in _own(callback).items() if name not in ("path", "run_id")}
    return f"{type(callback).__name__} {as_text(own)}"


def code_of(thing: Any) -> str:
    """The name of a class or function, with a digest of its code where it is not torch's or lumbre's."""
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if (getattr(thing, "__module__", "") or "").partition(".")[0] in ("torch", "lumbre", "builtins"):
        return name
    found = hashlib.sha256()
    members = vars(thing).values() if isinstance(thing, type) else [thing]
    for member in members:
        inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        code = getattr(inspect.unwrap(inner) if callable(inner) else None, "__code__", None)
        if isinstance(code, types.CodeType):
            _feed(found, code)
    return f"{name}#{found.hexdigest()[:_DIGITS]}"


def _feed(found: Any, code: types.CodeType) -> None:
    found.update(code.co_code)
    found.update(repr((code.co_name, code.co_names, code.co_varnames)).encode())
    for index, constant in enumerate(code.co_consts):
        if isinstance(constant, types.CodeType):
            _feed(found, constant)
        elif isinstance(constant, frozenset):
            found.update(repr(sorted(map(repr, constant))).encode())
        elif index or not isinstance(constant, str):  # the first text may be a docstring
            found.update(repr(constant).encode())


def _array(value: Any) -> str:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(value) if value.dtype.kind in "biufc" else None
    if tensor is None or tensor.layout != torch.strided:
        return f"{type(value).__name__} {tuple(value.shape)}"
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def _data(record: DataRecord | None) -> str:
    if record is None:
        return "none"
    rows = "an unknown number of" if record.rows is None else f"{record.rows:,}"
    return f"{rows} rows, fingerprint {record.fingerprint or 'unknown'}, input {record.input}, target {record.target}"
