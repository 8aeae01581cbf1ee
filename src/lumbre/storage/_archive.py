"""The archive: one file of tensors and JSON, whole or refused.

It is a safetensors file, so any reader of that format can take the weights. Its metadata hold, as JSON, a document
with a schema number, and two SHA-256, over the header and over the whole file, so that a flipped or missing byte is
found wherever it is, and one of the header without reading the rest. For that of the header the places of both hold
zeros, for that of the file its own.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumbre.base import ArchiveError, ResumeError
from lumbre.storage._codec import pack, unpack
from lumbre.storage._files import readable, write_whole
from lumbre.storage._forms import from_parts, is_plain, plain_parts
from lumbre.storage._schema import SCHEMA, UPGRADES, upgraded
from lumbre.storage._tensors import entries_of, head_of, read_tensors, write_tensors

LOSS_PREFIX = "lumbre:loss/"  # of tensors that belong to the loss, and not to the module
_VALUE_PREFIX = "lumbre:value/"  # of tensors in what is no tensor itself
_LONGEST_HEADER = 100_000_000  # bytes, of safetensors
_PART = "~"  # between the name of a tensor and that of one of its parts
_NO_DIGEST = "0" * 64
_DIGEST = re.compile(rb'"lumbre_sha256":"([0-9a-f]{64})"')
_HEAD_DIGEST = re.compile(rb'"lumbre_head_sha256":"([0-9a-f]{64})"')
_EXPECTED = "a file written by fitted.save(path)"
_SENSELESS = (KeyError, TypeError, AttributeError, ValueError, RuntimeError, ResumeError)
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
    digests = {"lumbre_sha256": _NO_DIGEST, "lumbre_head_sha256": _NO_DIGEST}

    def write(temporary: Path) -> None:
        write_tensors(temporary, stored, {"format": "lumbre", "lumbre": text, **digests})
        with temporary.open("rb+") as file:
            head, _ = head_of(file)
            place = _place(head, _HEAD_DIGEST)
            head = _filled(head, place, hashlib.sha256(head).hexdigest().encode())
            found = hashlib.sha256(head)
            read_tensors(file, (), found.update)
            file.seek(0)
            file.write(_filled(head, _place(head, _DIGEST), found.hexdigest().encode()))

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
    with readable(path, _EXPECTED) as file:
        head, size = head_of(file)
        expected, blank = _digest_of(path, head, size)
        found = hashlib.sha256(blank)
        try:
            (entries, metadata), problem = entries_of(head, size), None
        except _SENSELESS as error:  # of a damaged file, or of a writer of nonsense
            entries, metadata, problem = [], {}, error
        tensors = read_tensors(file, entries, found.update)
    if found.hexdigest().encode() != expected:
        raise _damaged(path, size, "its content does not match its own SHA-256")
    if problem is not None:
        raise _senseless(path, problem) from problem
    document = _document(path, metadata)
    try:
        for name, form in document.get("forms", {}).items():
            parts = {part: tensors.pop(f"{name}{_PART}{part}") for part in form["parts"]}
            tensors[name] = from_parts(parts, form)
        tensors.update({alias: tensors[name] for alias, name in document["aliases"].items()})
        packed = document.pop("values", {})
        values = {name: unpack(value, tensors, torch.device("cpu")) for name, value in packed.items()}
        own, loss = _parted({name: one for name, one in tensors.items() if not name.startswith(_VALUE_PREFIX)})
        return Archive(own, upgraded(document), loss, values)
    except _SENSELESS as error:
        raise _senseless(path, error) from error


def inspected(path: Path) -> tuple[dict[str, tuple[str, Sequence[int]]], dict[str, Any]]:
    """Type and shape of each tensor of the module, and the document, from the header, after checking every byte of it.

    Of an archive of lumbre 0.1.0, whose header has no digest of its own, the whole file is checked.

    Raises:
        ArchiveError: as `read_archive()` does, but for damage to tensors.
    """
    with readable(path, _EXPECTED) as file:
        head, size = head_of(file)
        whole, blank = _digest_of(path, head, size)
        if in_head := _HEAD_DIGEST.search(head):
            found = hashlib.sha256(_filled(blank, in_head.start(1), _NO_DIGEST.encode()))
        else:
            found = hashlib.sha256(blank)
            read_tensors(file, (), found.update)
    if found.hexdigest().encode() != (in_head.group(1) if in_head else whole):
        raise _damaged(path, size, f"its {'header' if in_head else 'content'} does not match its own SHA-256")
    try:
        entries, metadata = entries_of(head, size)
    except _SENSELESS as error:
        raise _senseless(path, error) from error
    document = _document(path, metadata)
    try:
        kinds: dict[str, tuple[str, Sequence[int]]] = {one.name: (str(one.dtype), one.shape) for one in entries}
        for name, form in document.get("forms", {}).items():
            parts = {part: kinds.pop(f"{name}{_PART}{part}") for part in form["parts"]}
            inner = form.get("values", form)
            kinds[name] = inner["dtype"] if "dtype" in inner else parts["values"][0], form["shape"]
        kinds.update({alias: kinds[name] for alias, name in document["aliases"].items()})
        document.pop("values", None)
        hidden = (_VALUE_PREFIX, LOSS_PREFIX)
        return {name: one for name, one in kinds.items() if not name.startswith(hidden)}, upgraded(document)
    except _SENSELESS as error:
        raise _senseless(path, error) from error


def _digest_of(path: Path, head: bytes, size: int) -> tuple[bytes, bytes]:
    """The SHA-256 that a file says it has, and its head as it was before it had one.

    Raises:
        ArchiveError: it is no archive, or so damaged that it says none.
    """
    found = _DIGEST.search(head)
    if found is not None:
        return found.group(1), _filled(head, found.start(1), _NO_DIGEST.encode())
    if is_archive(head):
        raise _damaged(path, size, "its SHA-256 is not in its header")
    raise ArchiveError(f"{path}, which is no lumbre archive", _EXPECTED, "check the path")


def _document(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The document that stands in the metadata, with a schema that is known."""
    try:
        document = json.loads(metadata["lumbre"])
        schema = document["schema"]
        if type(schema) is not int:
            raise TypeError(f"schema {schema!r}")
    except _SENSELESS as error:
        raise _senseless(path, error) from error
    if schema != SCHEMA and schema not in UPGRADES:
        raise ArchiveError(
            f"{path}, an archive of schema {schema!r}",
            f"schema 1 to {SCHEMA}, which this lumbre reads",
            "install the lumbre that wrote it, or a newer one",
        )
    return document


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


def _damaged(path: Path, size: int, why: str) -> ArchiveError:
    return ArchiveError(
        f"{path}, {size} bytes, which is damaged: {why}",
        "the bytes that were written",
        "copy the file again from where it came from, or take an earlier checkpoint",
    )


def _senseless(path: Path, error: Exception) -> ArchiveError:
    return ArchiveError(f"{path}, whose content makes no sense: {error}", _EXPECTED, "check the path")


def _place(head: bytes, digest: re.Pattern[bytes]) -> int:
    """Where a digest stands in a header that was just written."""
    found = digest.search(head)
    assert found is not None
    return found.start(1)


def _filled(head: bytes, begin: int, digest: bytes) -> bytes:
    return head[:begin] + digest + head[begin + len(digest) :]
