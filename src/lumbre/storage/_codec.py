"""Nested values as JSON and named tensors, and back, exactly: types of numbers, keys, tuples and strides included.

Only a fixed set of types is known, and the kinds of tensors that the running program itself has declared safe to
torch; nothing is imported by a name found in a file.
"""

import base64
import math
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from lumbre.base import ArchiveError, ResumeError
from lumbre.storage._forms import from_parts, is_plain, plain_parts

_TAG = "~"
_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    )
}
_MAPPINGS: dict[str, Any] = {"dict": dict, "Counter": Counter, "OrderedDict": OrderedDict}
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_NUMPY = re.compile(r"[<>|=][biuf][1248]")
# A tensor with gaps between its numbers takes more memory than its file says; one with many more gaps than numbers
# comes back without them.
_MOST_GAPS = 16


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """`value` as what JSON can hold; its tensors go, as they are, into `tensors` by their path.

    Args:
        value: numbers, texts, bytes, None, tensors, arrays; and lists, tuples, dicts, sets and deques of them.
        tensors: gathers the tensors.
        path: where in the whole `value` stands.

    Raises:
        ResumeError: something of another type.
    """
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {_TAG: "float", "is": repr(value)}
    if isinstance(value, Tensor):
        return _packed_tensor(value, tensors, path)
    if type(value) in (list, *_SEQUENCES.values()) or isinstance(value, torch.Size):
        parts = [pack(part, tensors, f"{path}/{index}") for index, part in enumerate(value)]
        kind = "tuple" if isinstance(value, torch.Size) else type(value).__name__
        return parts if kind == "list" else {_TAG: kind, "is": parts}
    if type(value) is bytes:
        return {_TAG: "bytes", "is": base64.b64encode(value).decode()}
    if type(value) is deque:
        parts = [pack(part, tensors, f"{path}/{index}") for index, part in enumerate(value)]
        return {_TAG: "deque", "is": parts, "most": value.maxlen}
    if isinstance(value, Mapping):
        return _packed_mapping(value, tensors, path)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return {_TAG: "array", "is": pack(torch.from_numpy(np.array(value)), tensors, path)}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {_TAG: "numpy", "is": pack(value.item(), tensors, path), "dtype": value.dtype.str}
    if isinstance(value, torch.dtype) and str(value) in _DTYPES:
        return {_TAG: "dtype", "is": str(value)}
    raise _not_told(f"a {type(value).__name__}", path)


def unpack(packed: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """What `pack` was given. Tensors are new ones, on the CPU or on `device`, as they were.

    Raises:
        ResumeError: `packed` is nothing that `pack` gives.
    """
    try:
        return _unpacked(packed, tensors, device)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, AttributeError) as error:
        raise ResumeError(
            f"a value in a checkpoint that cannot be read: {type(error).__name__}: {error}",
            "a checkpoint as it was written",
            "delete this checkpoint: the one before it is used then; or take another folder",
        ) from error


def _unpacked(packed: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    if isinstance(packed, list):
        return [_unpacked(part, tensors, device) for part in packed]
    if not isinstance(packed, dict):
        return packed
    kind = packed.get(_TAG)
    if kind is None:
        return {name: _unpacked(part, tensors, device) for name, part in packed.items()}
    content = packed["is"]
    if kind == "tensor":
        return _unpacked_tensor(packed, tensors, device)
    if kind == "parts":
        made = from_parts(_unpacked(content, tensors, torch.device("cpu")), packed["told"])
        return made if packed["on"] == "cpu" else made.to(device)
    if kind == "made":
        return _unpacked_of_others(packed, tensors, device)
    if kind == "float":
        return float(content)
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](_unpacked(part, tensors, device) for part in content)
    if kind == "bytes":
        return base64.b64decode(content, validate=True)
    if kind == "deque":
        return deque((_unpacked(part, tensors, device) for part in content), packed["most"])
    if kind in _MAPPINGS:
        pairs = [(_unpacked(key, tensors, device), _unpacked(part, tensors, device)) for key, part in content]
        return _MAPPINGS[kind](dict(pairs))
    if kind == "array":
        return _unpacked(content, tensors, device).numpy()
    if kind == "numpy":
        if _NUMPY.fullmatch(packed["dtype"]) is None:
            raise ValueError(f"no type of numbers: {packed['dtype']!r}")
        return np.dtype(packed["dtype"]).type(_unpacked(content, tensors, device))
    if kind == "dtype":
        return _DTYPES[content]
    raise ValueError(f"the kind {kind!r} is unknown")


def _packed_tensor(value: Tensor, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    if is_traceable_wrapper_subclass(value):
        return _packed_of_others(value, tensors, path)
    if not is_plain(value):
        try:
            parts, told = plain_parts(value)
        except ArchiveError as error:
            raise _not_told(error.received, path) from error
        place = "cpu" if value.device.type == "cpu" else "device"
        return {_TAG: "parts", "is": pack(parts, tensors, path), "told": told, "on": place}
    tensors[path] = value.detach()
    packed: dict[str, Any] = {_TAG: "tensor", "is": path, "on": "cpu" if value.device.type == "cpu" else "device"}
    if not value.is_contiguous() and _with_gaps(value.shape, value.stride()) <= _MOST_GAPS * value.numel():
        packed["stride"] = list(value.stride())
    return packed


def _packed_of_others(value: Any, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    """A tensor of a class of others that holds tensors, such as the states of optimizers of few bits, by its parts."""
    name = _full_name(type(value))
    if name not in _declared():
        raise ResumeError(
            f"a tensor of the class {name} at {path.strip('/')} in the state of the run",
            "plain tensors, or those of a class that the program declares safe to load",
            f"torch.serialization.add_safe_globals([{type(value).__name__}])",
        )
    names, told = value.__tensor_flatten__()
    made = pack([{one: getattr(value, one) for one in names}, told], tensors, path)
    return {_TAG: "made", "is": made, "class": name, "shape": list(value.shape), "stride": list(value.stride())}


def _unpacked_of_others(packed: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    parts, told = _unpacked(packed["is"], tensors, device)
    kind = _declared().get(packed["class"])
    if kind is None or not issubclass(kind, Tensor):
        raise ValueError(f"{packed['class']} is not among torch.serialization.get_safe_globals()")
    return cast(Any, kind).__tensor_unflatten__(parts, told, packed["shape"], packed["stride"])


def _declared() -> dict[str, type]:
    """Classes that the running program has declared safe to load, as makers of tensors of their own do for theirs."""
    return {_full_name(one): one for one in torch.serialization.get_safe_globals() if isinstance(one, type)}


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _unpacked_tensor(packed: dict[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Tensor:
    stored = tensors[packed["is"]]
    place = torch.device("cpu") if packed["on"] == "cpu" else device
    if "stride" in packed and 0 not in packed["stride"]:
        if _with_gaps(stored.shape, packed["stride"]) > _MOST_GAPS * max(1, stored.numel()):
            raise ValueError(f"strides of {packed['stride']} for a tensor of shape {tuple(stored.shape)}")
        value = torch.empty_strided(stored.shape, packed["stride"], dtype=stored.dtype, device=place)
    else:
        value = torch.empty(stored.shape, dtype=stored.dtype, device=place)
    return value.copy_(stored)


def _with_gaps(shape: Sequence[int], stride: Sequence[int]) -> int:
    """The numbers from the first one of a tensor to its last, those between that are not its own included."""
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True) if size > 0)


def _packed_mapping(value: Mapping[Any, Any], tensors: dict[str, Tensor], path: str) -> Any:
    kind = type(value).__name__ if type(value) in _MAPPINGS.values() else "dict"
    parts = [(key, pack(part, tensors, f"{path}/{key}")) for key, part in value.items()]
    if kind == "dict" and all(type(key) is str for key, _ in parts) and _TAG not in value:
        return dict(parts)
    return {_TAG: kind, "is": [[pack(key, tensors, f"{path}/key"), part] for key, part in parts]}


def _not_told(what: str, path: str) -> ResumeError:
    return ResumeError(
        f"{what} at {path.strip('/')} in the state of the run",
        "numbers, texts, None, tensors and arrays, in lists, tuples, dicts, sets and deques: what a file can hold "
        "without code",
        "give these from state_dict(), or a form from which load_state_dict() can make the rest",
    )
