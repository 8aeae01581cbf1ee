"""Files of R's torch and luz, read and written as data: no R is needed, and no code of theirs is run.

What R kept beside the numbers (functions, environments, pointers) is passed over.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lumbre.base import ArchiveError, as_path
from lumbre.storage._archive import is_archive
from lumbre.storage._files import readable, unfolded, write_whole
from lumbre.storage._libtorch import LibTorchError, read_libtorch
from lumbre.storage._xdr import MISSING_INTEGER, RDataError, RValue, is_missing, read_r, write_r_strings

__all__ = ["Unread", "load", "load_weights", "save_weights"]
__dir__ = __all__.copy  # names for dir() and tab completion

_A_FILE = "the path that torch_save() or luz_save() was given"
_EXPECTED = "a file of R's torch_save(), luz_save() or luz_checkpoint()"
_UNNAMED, _OBJECT, _ADDRESS, _SERIALIZED = (
    "...unnamed...",
    "__robj__",
    "torch_tensor_address",
    "torch_serialized_tensor",
)
_COMPLEX = {"cfloat": torch.complex64, "cdouble": torch.complex128, "chalf": torch.complex32}
_R_KNOWS = {
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
}
_LAYER = re.compile(r"((?:.*\.)?)((?:weight|bias)_(?:ih|hh|hr)_l)(\d+)((?:_reverse)?)", re.DOTALL)
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Unread:
    """Stands where a file of R's has something that is no data.

    Attributes:
        kind: R's word for it, such as "closure".
    """

    kind: str


class _Refused(ValueError):
    """A file that cannot be read; in words that continue "a file, which"."""


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights in a file of R's torch or luz, by name, ready for `module.load_state_dict()`.

    Names, shapes and numbers are those of PyTorch: R's torch stores them as LibTorch has them. Of recurrent nets, whose
    layers R counts from 1, the names are changed: `weight_ih_l1` there is `weight_ih_l0` here. The class comes from
    you, as everywhere. It reads what `torch_save()` makes of a module, a dataset or a named list of tensors, what
    `luz_save()` makes of a fitted model, the model in a checkpoint of luz, of this and older versions of torch; and
    plain safetensors files, such as R's `safe_save_file()` writes.

    Args:
        path: the file.

    Returns:
        Tensors on the CPU.

    Raises:
        ArchiveError: the file is not there, damaged, or holds no weights.

    Example:
        >>> import torch, lumbre as lb
        >>> lb.r.save_weights("net.pt", torch.nn.Linear(2, 1).state_dict())
        >>> net = torch.nn.Linear(2, 1)
        >>> net.load_state_dict(lb.r.load_weights("net.pt"))
        <All keys matched successfully>
    """
    found = _loaded(as_path(path, _A_FILE))
    if isinstance(found, dict):
        for candidate in (found, found.get("weights"), found.get("model")):
            if isinstance(candidate, dict) and all(isinstance(part, Tensor) for part in candidate.values()):
                return _renumbered(candidate, 1, -1)
    raise ArchiveError(
        f"{path}, which holds {'a tensor' if isinstance(found, Tensor) else 'other things than weights by name'}",
        "weights: a module, a named list of tensors, or a fitted model of luz",
        "lb.r.load(path), which gives everything that is in it",
    )


def load(path: str | Path) -> Any:
    """Everything that is data in a file of R's torch or luz.

    Args:
        path: the file.

    Returns:
        Of a tensor, the tensor; of a module, its tensors by name; of a list, a dict or a list with tensors, numbers,
        texts and lists in it, a vector of length one as its value, R's NA (of any type) and NULL as None, integer64 as
        whole numbers, dates and times as their numbers (days, or seconds, since 1970), a matrix as a list of its rows;
        where only some parts have names, the others have their number, from 1, and a name that occurs again has ".1"
        behind it, as R's `make.unique()` does. Of a fitted model of luz, a dict with weights, hparams, opt_hparams and
        records. Names are as R has them. `Unread` stands for what is no data.

    Raises:
        ArchiveError: the file is not there, damaged, or of another kind.
    """
    return _loaded(as_path(path, _A_FILE))


def save_weights(path: str | Path, state: Tensor | Mapping[str, Tensor]) -> None:
    """Write weights so that R's `torch_load()` takes them.

    In R, a mapping becomes a named list: `net$load_state_dict(torch_load("net.pt"))`. A tensor becomes a tensor. Layers
    of recurrent nets are counted from 1, as R does: `weight_ih_l0` becomes `weight_ih_l1`. R's torch from 0.12 on reads
    such files.

    Args:
        path: where to; a file that is there is replaced once the new one is complete.
        state: such as `module.state_dict()`.

    Raises:
        ArchiveError: it cannot be written there, or R has no such type of numbers.
    """
    _check_state(state)
    tensors = {_UNNAMED: state} if isinstance(state, Tensor) else _renumbered(state, 0, 1)
    unknown = [name for name, tensor in tensors.items() if tensor.dtype not in _R_KNOWS]
    if unknown:
        raise ArchiveError(
            f"{unknown[0]} of type {tensors[unknown[0]].dtype}",
            "types that R's torch reads from files",
            "tensor.float(); of complex numbers, torch.view_as_real(tensor)",
        )
    if not isinstance(state, Tensor) and {_OBJECT, ""} & tensors.keys():
        raise ArchiveError(f"weights named {_OBJECT!r} or ''", "other names", "rename them")
    notes: dict[str, Any] = {"type": "tensor" if isinstance(state, Tensor) else "list", "version": 3}
    notes["requires_grad"] = {name: True for name, tensor in tensors.items() if tensor.requires_grad}
    notes["special_dtype"] = []
    stored = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    if not isinstance(state, Tensor):
        listed = write_r_strings(stored, {name: name for name in stored}, _ADDRESS)
        stored[_OBJECT] = torch.frombuffer(bytearray(listed), dtype=torch.uint8)
    data = safetensors.torch.save(stored)
    length = int.from_bytes(data[:8], "little")
    # R's own files have their notes last, so that a tensor's place in the header is its number.
    header = {**json.loads(data[8 : 8 + length]), "__metadata__": {"__r__": json.dumps(notes)}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_whole(as_path(path, _A_FILE), len(text).to_bytes(8, "little") + text + data[8 + length :])


def _check_state(state: Any) -> None:
    """See that it is a tensor, or tensors by name, that have numbers in rows.

    Raises:
        ArchiveError: it is not.
    """
    if not isinstance(state, (Tensor, Mapping)):
        raise ArchiveError(f"a {type(state).__name__}", "a tensor, or tensors by name", "module.state_dict()")
    parts: dict[Any, Any] = {"a tensor": state} if isinstance(state, Tensor) else dict(state)
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            kind = type(part).__name__
            fix = "torch.as_tensor(...) of numbers; leave out what is none, such as _extra_state"
        elif part.layout != torch.strided or part.is_meta or part.is_nested:
            kind = "nested tensor" if part.is_nested else f"tensor of the layout {part.layout} on {part.device}"
            fix = "tensor.to_dense(), or its parts one by one"
        elif not isinstance(name, str) or not _is_unicode(name):
            kind, fix = "tensor whose name is no text", 'names of Unicode text: {"weight": ...}'
        else:
            continue
        raise ArchiveError(f"{name!r}, a {kind}", "dense tensors by name", fix)


def _is_unicode(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _renumbered(weights: Mapping[str, Tensor], first: int, by: int) -> dict[str, Tensor]:
    """Weights with the layers of recurrent nets renumbered, where the first layer of a net has the number `first`."""
    layers: dict[str, set[int]] = {}
    for name in weights:
        if found := _LAYER.fullmatch(name):
            layers.setdefault(found[1], set()).add(int(found[3]))

    def renamed(name: str) -> str:
        found = _LAYER.fullmatch(name)
        inside = found is not None and {f"{found[1]}{part}_l{first}" for part in ("weight_ih", "weight_hh")}
        if found is None or not inside or not inside <= weights.keys() or min(layers[found[1]]) != first:
            return name
        return f"{found[1]}{found[2]}{int(found[3]) + by}{found[4]}"

    return {renamed(name): tensor for name, tensor in weights.items()}


def _loaded(path: Path) -> Any:
    with readable(path, _EXPECTED) as file:
        data = file.read()
    try:
        return _object(data)
    except (_Refused, RDataError, LibTorchError) as error:
        raise ArchiveError(
            f"{path}, which {error}",
            _EXPECTED,
            "check the path, or save it again in R; lumbre.data.from_parquet(path) for data frames, which"
            " arrow::write_parquet() writes in R; torch.load(path, weights_only=True) for files of Python's torch",
        ) from error


def _object(data: bytes, *, inner: bool = False) -> Any:
    """What is in the bytes of a file; `inner`: of one that lies in another, and is not a fitted model again."""
    try:
        plain = unfolded(data)
    except ValueError as error:
        raise _Refused(str(error)) from error
    if plain is data and data[:2] not in (b"X\n", b"A\n", b"B\n"):
        return _tensors(data)
    found = read_r(plain)
    if "luz_module_fitted" in found.classes and not inner:
        return _fitted(found)
    kind = _text(found.part("type"))
    if kind == "tensor":
        return _old_tensor(found)
    if kind == "list" and (values := found.part("values")) is not None:
        return _plain(values, {})
    state = found.part("state_dict")
    if kind == "module" and state is not None and state.kind == "list":
        return {name: _old_tensor(_embedded(part)) for name, part in zip(state.names, state.value, strict=False)}
    raise _Refused("holds an R value that neither torch_save() nor luz_save() wrote")


def _tensors(data: bytes) -> Any:
    """What is in a file of the present version: safetensors with R's notes."""
    try:
        length = int.from_bytes(data[:8], "little")
        found = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + length])
        tensors = {name: found[name] for name in header if name in found}  # in the order of the file
        metadata = header.get("__metadata__") or {}
        if "__r__" not in metadata:
            if is_archive(data):
                raise _Refused("is a file of lumbre's own, for lumbre.load() or lumbre.load_weights()")
            return tensors  # of safe_save_file(), in R or elsewhere
        notes = json.loads(metadata["__r__"])
        kind = notes["type"]
        for name, special in dict(notes.get("special_dtype") or {}).items():
            tensors[name] = _complex(tensors[name], special)
    except _Refused:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise _Refused(f"is no file of torch_save(), or damaged: {type(error).__name__} {error}") from error
    written = tensors.pop(_OBJECT, None)
    if kind == "tensor" and len(tensors) == 1:
        return next(iter(tensors.values()))
    if kind in ("module", "state_dict"):
        return tensors
    if kind == "list" and written is not None and written.dtype == torch.uint8:
        return _plain(read_r(written.numpy().tobytes()), tensors)
    raise _Refused(f"holds an object of the unknown type {str(kind)[:40]!r}")


def _complex(stored: Tensor, special: dict[str, Any]) -> Tensor:
    shape = special["shape"]
    found = torch.frombuffer(bytearray(stored.numpy().tobytes()), dtype=_COMPLEX[special["dtype"]])
    return found.reshape(shape if isinstance(shape, list) else [shape])


def _fitted(found: RValue) -> dict[str, Any]:
    context = found.part("ctx")
    serialized = None if context is None else context.part(".serialized_model")
    if context is None or serialized is None or serialized.kind != "raw":
        raise _Refused("is a fitted model of luz without its serialized weights: it was written by saveRDS()")
    weights = _object(serialized.value, inner=True)
    if not isinstance(weights, dict):
        raise _Refused("is a fitted model of luz whose weights are none")
    parts = {name: context.part(name) for name in ("hparams", "opt_hparams")} | {"records": found.part("records")}
    return {"weights": weights} | {name: None if part is None else _plain(part, {}) for name, part in parts.items()}


def _embedded(part: RValue) -> RValue:
    if part.kind != "raw":
        raise _Refused(f"has a {part.kind} where a tensor should be")
    try:
        return read_r(unfolded(part.value))
    except RDataError:
        raise
    except ValueError as error:
        raise _Refused(f"has a tensor that {error}") from error


def _old_tensor(found: RValue) -> Tensor:
    """A tensor as versions before 0.12 wrote it: LibTorch's own file, in version 1 and before in base 64."""
    values = found.part("values")
    if values is not None and values.kind == "raw":
        return read_libtorch(values.value)
    try:
        return read_libtorch(base64.b64decode(_text(values).encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _Refused(f"has a tensor that is no base 64: {error}") from error


def _text(value: RValue | None) -> str:
    return str(value.value[0]) if value is not None and value.kind == "character" and value.value else ""


def _plain(value: RValue, tensors: dict[str, Tensor], depth: int = 0) -> Any:
    """An R value as tensors, dicts, lists, numbers and texts."""
    if depth > _DEEPEST:
        raise _Refused(f"holds lists nested more than {_DEEPEST} deep")
    if value.kind == "NULL":
        return None
    if value.kind == "raw":
        return _old_tensor(_embedded(value)) if _SERIALIZED in value.classes else value.value
    if value.kind == "list":
        return _named(value.names, [_plain(part, tensors, depth + 1) for part in value.value])
    if value.kind == "character":
        if _ADDRESS in value.classes:
            name = _text(value)
            if name not in tensors:
                raise _Refused(f"has no tensor {name!r}, though its list asks for it")
            return tensors[name]
        parts = list(value.value)
    elif value.kind in ("logical", "integer", "double", "complex"):
        parts = _numbers(value)
    else:
        return Unread(value.kind)
    levels = value.attributes.get("levels")
    if "factor" in value.classes and levels is not None and levels.kind == "character":
        known: dict[Any, Any] = dict(enumerate(levels.value, 1))
        parts = [known.get(part) for part in parts]
    dim = value.attributes.get("dim")
    if dim is not None and dim.kind in ("integer", "double"):
        return _shaped(parts, [int(size) for size in dim.value])
    return _named(value.names, parts) if value.names or len(parts) != 1 else parts[0]


def _numbers(value: RValue) -> list[Any]:
    """The numbers of a vector, NA as None."""
    values: np.ndarray[Any, Any] = np.asarray(value.value)
    if value.kind in ("logical", "integer"):
        found = [None if number == MISSING_INTEGER else number for number in values.tolist()]
        return [None if one is None else bool(one) for one in found] if value.kind == "logical" else found
    if value.kind == "complex":
        missing = is_missing(np.real(values)) | is_missing(np.imag(values))
    elif "integer64" in value.classes:  # of the package bit64: whole numbers in the bits of doubles
        values = values.astype(">f8").view(">i8")
        missing = values == -(2**63)
    else:
        missing = is_missing(values)
    return [None if empty else one for one, empty in zip(values.tolist(), missing.tolist(), strict=True)]


def _shaped(parts: list[Any], sizes: list[int]) -> Any:
    """A matrix or array, which R stores by columns, as lists of its rows."""
    if len(parts) != np.prod(sizes, dtype=object) or min(sizes, default=0) < 0:
        raise _Refused(f"has {len(parts)} values for an array of {sizes}")
    values = np.empty(len(parts), dtype=object)
    values[:] = parts
    return values.reshape(sizes, order="F").tolist()


def _named(names: list[str | None], parts: list[Any]) -> Any:
    """A list, or where parts have names, a dict; see `load` for those that have none, or one that occurs twice."""
    if not any(names) or len(names) != len(parts):
        return parts
    given = {name for name in names if name}
    found: dict[str, Any] = {}
    for number, (name, part) in enumerate(zip(names, parts, strict=True), 1):
        base = unique = name or str(number)
        count = 0
        while unique in found or (count and unique in given):
            count += 1
            unique = f"{base}.{count}"
        found[unique] = part
    return found
