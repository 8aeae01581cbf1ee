"""The archive: one file of tensors and JSON, whole or refused.

It is a safetensors file, so any reader of that format can take the weights. Its metadata hold, as JSON, a document
with a schema number, and a SHA-256 over the whole file (with the digest's own place filled with zeros), so that a
flipped or missing byte is found wherever it is.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lumbre.base import ArchiveError, ResumeError
from lumbre.storage._codec import pack, unpack
from lumbre.storage._files import read_whole, write_whole
from lumbre.storage._forms import from_parts, is_plain, plain_parts
from lumbre.storage._schema import SCHEMA, UPGRADES, upgraded

LOSS_PREFIX = "lumbre:loss/"  # of tensors that belong to the loss, and not to the module
_VALUE_PREFIX = "lumbre:value/"  # of tensors in what is no tensor itself
_LONGEST_HEADER = 100_000_000  # bytes, of safetensors
_PART = "~"  # between the name of a tensor and that of one of its parts
_NO_DIGEST = "0" * 64
_DIGEST = re.compile(rb'"lumbre_sha256":"([0-9a-f]{64})"')
# Each of the three entries is a mark of its own: damage to one leaves the others, and never makes a file another kind.
_MARKS = re.compile(rb'"(?:lumbre_sha256"\s*:|format"\s*:\s*"lumbre"|lumbre"\s*:\s*"\{)')


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds.

    Attributes:
        tensors: of the module, by name, on the CPU.
        document: everything else.
        loss: tensors that the loss has learned, by name.
        values: what `get_extra_state()` of modules gave that is no tensor, by its name in `state_dict()`.
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]
    loss: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    values: dict[str, Any] = field(default_factory=dict[str, Any])


def write_archive(path: Path, state: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    """Write an archive: to a temporary name, synced, then renamed, so that `path` is never half a file.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        state: tensors by name, and what modules keep beside them. Names that share a tensor (tied weights) are stored
            once.
        document: anything that JSON can hold.

    Raises:
        ArchiveError: the file cannot be written there, or a module keeps what no file can hold without code.
    """
    values, tensors = _values_apart(state)
    document = {**document, **({"values": values} if values else {})}
    stored: dict[str, Tensor] = {}
    places: set[int] = set()
    aliases: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    forms: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        dense = tensor.layout == torch.strided
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if dense else (id(tensor),)
        if tensor.numel() and identity in seen:
            aliases[name] = seen[identity]
            continue
        seen[identity] = name
        parts = {name: tensor}
        if not is_plain(tensor):
            parts, forms[name] = plain_parts(tensor)
            forms[name]["parts"] = list(parts)
            parts = {f"{name}{_PART}{part}": value for part, value in parts.items()}
        for part, value in parts.items():
            held = value.detach().to("cpu").contiguous()
            place = held.untyped_storage().data_ptr()
            # What is in memory as it is to be in the file is not copied, but for parts of one memory, which the writer
            # of safetensors refuses.
            stored[part] = held.clone() if held.numel() and place in places else held
            places.add(place)
    text = json.dumps({**document, "schema": SCHEMA, "aliases": aliases, **({"forms": forms} if forms else {})})
    metadata = {"format": "lumbre", "lumbre": text, "lumbre_sha256": _NO_DIGEST}

    def write(temporary: Path) -> None:
        temporary.touch()
        mode = temporary.stat().st_mode  # of new files here; safetensors makes one that nobody else may read
        try:
            safetensors.torch.save_file(stored, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest().encode()
            file.seek(0)
            length = file.read(8)
            found = _DIGEST.search(file.read(int.from_bytes(length, "little")))
            assert found is not None
            file.seek(8 + found.start(1))
            file.write(digest)

    write_whole(path, write)


def _values_apart(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is no tensor, as JSON can hold it; and all tensors, also those within the former."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    values: dict[str, Any] = {}
    for name in [name for name in state if name not in tensors]:
        try:
            values[name] = pack(state[name], tensors, f"{_VALUE_PREFIX}{name}")
        except ResumeError as error:
            raise ArchiveError(
                f"{name} of the module: {error.received}",
                "tensors, numbers, texts and None, in lists, tuples and dicts: what a file can hold without code",
                "return these from get_extra_state(), or a form from which set_extra_state() can make the rest",
            ) from error
    return values, tensors


def read_archive(path: Path) -> Archive:
    """Read an archive, after checking every byte of it.

    Raises:
        ArchiveError: there is no such file, it is of another kind, from a newer lumbre, or damaged.
    """
    data = read_whole(path, "a file written by fitted.save(path)")
    header_length = int.from_bytes(data[:8], "little")
    found = _DIGEST.search(data[8 : 8 + header_length]) if len(data) > 8 else None
    if found is None and is_archive(data):
        raise ArchiveError(
            f"{path}, {len(data)} bytes, which is damaged: its SHA-256 is not in its header",
            "the bytes that were written",
            "copy the file again from where it came from, or take an earlier checkpoint",
        )
    if found is None:
        raise ArchiveError(
            f"{path}, which is no lumbre archive",
            "a file written by fitted.save(path)",
            "check the path",
        )
    begin = 8 + found.start(1)
    if _digest(data, begin) != found.group(1):
        raise ArchiveError(
            f"{path}, {len(data)} bytes, which is damaged: its content does not match its own SHA-256",
            "the bytes that were written",
            "copy the file again from where it came from, or take an earlier checkpoint",
        )
    try:
        tensors = safetensors.torch.load(data)
        metadata = json.loads(data[8 : 8 + header_length])["__metadata__"]
        document = json.loads(metadata["lumbre"])
        schema = document["schema"]
        if type(schema) is not int:
            raise TypeError(f"schema {schema!r}")
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _senseless(path, error) from error
    if schema != SCHEMA and schema not in UPGRADES:
        raise ArchiveError(
            f"{path}, an archive of schema {schema!r}",
            f"schema 1 to {SCHEMA}, which this lumbre reads",
            "install the lumbre that wrote it, or a newer one",
        )
    try:
        for name, told in document.get("forms", {}).items():
            parts = {part: tensors.pop(f"{name}{_PART}{part}") for part in told["parts"]}
            tensors[name] = from_parts(parts, told)
        tensors.update({alias: tensors[name] for alias, name in document["aliases"].items()})
        packed = document.pop("values", {})
        values = {name: unpack(value, tensors, torch.device("cpu")) for name, value in packed.items()}
        own, loss = _parted({name: one for name, one in tensors.items() if not name.startswith(_VALUE_PREFIX)})
        return Archive(own, upgraded(document), loss, values)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, ResumeError) as error:
        raise _senseless(path, error) from error


def write_several(path: Path, members: Sequence[Archive]) -> None:
    """Write several archives, as they were read, to one.

    Raises:
        ArchiveError: the file cannot be written there.
    """
    own = ("schema", "aliases", "forms")
    tensors: dict[str, Any] = {}
    for place, member in enumerate(members):
        tensors |= {f"{place}/{name}": value for name, value in member.values.items()}
        tensors |= {f"{place}/{name}": tensor for name, tensor in member.tensors.items()}
        tensors |= {f"{place}/{LOSS_PREFIX}{name}": tensor for name, tensor in member.loss.items()}
    documents = [{name: part for name, part in one.document.items() if name not in own} for one in members]
    write_archive(path, tensors, {"members": documents})


def read_several(path: Path) -> list[Archive]:
    """Read archives that were written to one.

    Raises:
        ArchiveError: as `read_archive()` does, or the file holds one model.
    """
    whole = read_archive(path)
    members = whole.document.get("members")
    if not isinstance(members, list) or not all(isinstance(one, dict) for one in members):
        raise ArchiveError(f"{path}, which holds one model", "a file of several models", "lumbre.load(path, Net)")
    found: list[Archive] = []
    for place, document in enumerate(members):
        begin = f"{place}/"
        parts = {name.removeprefix(begin): one for name, one in whole.tensors.items() if name.startswith(begin)}
        own, loss = _parted(parts)
        values = {name.removeprefix(begin): one for name, one in whole.values.items() if name.startswith(begin)}
        found.append(Archive(own, {**document, "schema": whole.document["schema"]}, loss, values))
    return found


def is_archive(data: bytes) -> bool:
    """Whether these bytes are an archive of lumbre's, whole or damaged, by any mark of one in its header."""
    length = int.from_bytes(data[:8], "little")
    return _MARKS.search(data, 8, 8 + min(length, _LONGEST_HEADER)) is not None


def _parted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of the module, and those of the loss."""
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(LOSS_PREFIX)}
    return own, {name.removeprefix(LOSS_PREFIX): tensors[name] for name in tensors.keys() - own.keys()}


def _senseless(path: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"{path}, whose content makes no sense: {error}",
        "a file written by fitted.save(path)",
        "check the path",
    )


def _digest(data: bytes, begin: int) -> bytes:
    """The SHA-256 of an archive as it was before it had one, at `begin`. Large files are not copied for it."""
    view, found = memoryview(data), hashlib.sha256()
    for part in (view[:begin], _NO_DIGEST.encode(), view[begin + len(_NO_DIGEST) :]):
        found.update(part)
    return found.hexdigest().encode()
