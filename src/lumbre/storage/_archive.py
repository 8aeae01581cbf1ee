"""The archive: one file of tensors and JSON, whole or refused.

It is a safetensors file, so any reader of that format can take the weights. Its metadata hold, as JSON, a document
with a schema number, and a SHA-256 over the whole file (with the digest's own place filled with zeros), so that a
flipped or missing byte is found wherever it is.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lumbre.base import ArchiveError
from lumbre.storage._files import read_whole, write_whole
from lumbre.storage._schema import SCHEMA, UPGRADES, upgraded

LOSS_PREFIX = "lumbre:loss/"  # of tensors that belong to the loss, and not to the module
_LONGEST_HEADER = 100_000_000  # bytes, of safetensors
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
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]
    loss: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


def write_archive(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write an archive: to a temporary name, synced, then renamed, so that `path` is never half a file.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        tensors: by name. Names that share a tensor (tied weights) are stored once.
        document: anything that JSON can hold.

    Raises:
        ArchiveError: the file cannot be written there.
    """
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and identity in seen:
            aliases[name] = seen[identity]
        else:
            seen[identity] = name
            stored[name] = tensor.detach().to("cpu", copy=True).contiguous()
    text = json.dumps({**document, "schema": SCHEMA, "aliases": aliases})
    data = safetensors.torch.save(stored, {"format": "lumbre", "lumbre": text, "lumbre_sha256": _NO_DIGEST})
    data = data.replace(b'"lumbre_sha256":"' + _NO_DIGEST.encode(), b'"lumbre_sha256":"' + _digest(data), 1)
    write_whole(path, data)


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
    if _digest(data[:begin] + _NO_DIGEST.encode() + data[begin + 64 :]) != found.group(1):
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
        tensors.update({alias: tensors[name] for alias, name in document["aliases"].items()})
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(LOSS_PREFIX)}
        loss = {name.removeprefix(LOSS_PREFIX): tensors[name] for name in tensors.keys() - own.keys()}
        return Archive(own, upgraded(document), loss)
    except (KeyError, TypeError, AttributeError) as error:
        raise _senseless(path, error) from error


def is_archive(data: bytes) -> bool:
    """Whether these bytes are an archive of lumbre's, whole or damaged, by any mark of one in its header."""
    length = int.from_bytes(data[:8], "little")
    return _MARKS.search(data, 8, 8 + min(length, _LONGEST_HEADER)) is not None


def _senseless(path: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"{path}, whose content makes no sense: {error}",
        "a file written by fitted.save(path)",
        "check the path",
    )


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
