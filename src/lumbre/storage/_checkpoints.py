"""Checkpoints of a run: a folder for each, whole or not there, and the newest that is whole is found again.

A checkpoint has three files: `state.safetensors`, `state.json`, and `manifest.json` with a schema number and the
SHA-256 of the other two and of itself. It is written under a temporary name; each file and the folder are synced, then
the folder is renamed and its parent synced. So the store may be killed anywhere.
"""

import hashlib
import json
import os
import re
import shutil
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lumbre.base import ResumeError
from lumbre.storage._files import read_regular

SCHEMA = 1
_NAME = re.compile(r"step-(\d{8,18})(?:-epoch-(\d{1,18}))?")
_TENSORS, _DOCUMENT, _MANIFEST = "state.safetensors", "state.json", "manifest.json"


class CheckpointWarning(UserWarning):
    """A checkpoint was not written, or one that is damaged was passed over."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint as it was read.

    Attributes:
        name: of its folder.
        document: everything but tensors, as JSON holds it.
        tensors: by name, on the CPU.
    """

    name: str
    document: dict[str, Any]
    tensors: dict[str, Tensor]


class CheckpointStore:
    """The checkpoints in a folder, which one process at a time may use.

    Args:
        folder: made where it is not there.
        keep: how many checkpoints to keep: the newest.

    Raises:
        ResumeError: the folder cannot be made or written to, or another process uses it.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        from filelock import FileLock, Timeout

        self.folder = folder
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The system lets go of it when the process ends, however that happens.
            self._lock = FileLock(folder / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise ResumeError(
                f"{folder}, which another run is using",
                "a folder for each run",
                "wait for the other run to end, or take another folder",
            ) from None
        except OSError as error:
            raise ResumeError(
                f"{folder}, which cannot be written to: {error}",
                "a folder that can be made or written to",
                "another path",
            ) from error
        for left in [*folder.glob(".step-*.part"), *folder.glob(".step-*.gone")]:
            shutil.rmtree(left, ignore_errors=True)

    def newest(self) -> Stored | None:
        """The newest checkpoint that is whole; damaged ones are named in a warning and passed over."""
        for name in reversed(self._names()):
            try:
                return _read(self.folder / name)
            except ResumeError:
                raise
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
                warnings.warn(
                    f"{self.folder / name} is damaged and was passed over: {error}", CheckpointWarning, stacklevel=2
                )
        return None

    def write(
        self, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor] | Exception, *, wait: bool
    ) -> None:
        """Write a checkpoint, in the background unless `wait`. What fails is told by `complain`, and so is an error
        in place of the tensors: they could not be copied."""
        self.wait()
        if isinstance(tensors, Exception):
            self._error = tensors
            return
        self._thread = threading.Thread(target=self._try, args=(name, document, tensors), name="lumbre-checkpoint")
        self._thread.start()
        if wait:
            self.wait()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def complain(self) -> None:
        """Warn, once in the life of the store, that a checkpoint could not be written."""
        error, self._error = self._error, None
        if error is not None and not self._warned:
            self._warned = True
            names = self._names()
            kept = f"the last one there is {names[-1]}" if names else "there is none yet"
            warnings.warn(
                f"a checkpoint could not be written to {self.folder}: {error}; {kept}. Training goes on, and the next "
                "one will be tried as always.",
                CheckpointWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Finish what is being written, and let others use the folder."""
        self.wait()
        self._lock.release()
        self.complain()

    def _names(self) -> list[str]:
        """The checkpoints, oldest first; at the same step the one of the epoch's end comes after."""
        found: list[tuple[int, int, str]] = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():  # someone may have taken it away
            match = _NAME.fullmatch(path.name)
            if match is not None:
                found.append((int(match[1]), int(match[2] or 0), path.name))
        return [name for _, _, name in sorted(found)]

    def _try(self, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        temporary = self.folder / f".{name}.part"
        try:
            self._write(temporary, name, document, tensors)
        except Exception as error:  # told by the training thread: training must not end for it
            self._error = error
            shutil.rmtree(temporary, ignore_errors=True)

    def _write(self, temporary: Path, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        files = {
            _TENSORS: safetensors.torch.save({key: value.cpu().contiguous() for key, value in tensors.items()}),
            _DOCUMENT: json.dumps(document, allow_nan=False).encode(),
        }
        for file, content in files.items():
            _write_synced(temporary / file, content)
        told = {file: {"sha256": hashlib.sha256(content).hexdigest()} for file, content in files.items()}
        _write_synced(temporary / _MANIFEST, _sealed({"schema": SCHEMA, "files": told}))
        _sync_folder(temporary)
        final = self.folder / name
        if final.exists():  # a run that fell back to an older one comes by again
            self._remove(name)
        temporary.rename(final)
        _sync_folder(self.folder)
        names = self._names()
        at = names.index(name)
        for passed_over in names[at + 1 :]:  # damaged ones, in whose place the run went on from an older one
            self._remove(passed_over)
        for old in names[: max(0, at + 1 - self._keep)]:
            self._remove(old)

    def _remove(self, name: str) -> None:
        gone = self.folder / f".{name}.gone"
        shutil.rmtree(gone, ignore_errors=True)
        (self.folder / name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read(folder: Path) -> Stored:
    data = read_regular(folder / _MANIFEST)
    manifest = json.loads(data)
    if _sealed({key: value for key, value in manifest.items() if key != "sha256"}) != data:
        raise ValueError(f"{_MANIFEST} is not what was written")
    if manifest["schema"] != SCHEMA:
        raise ResumeError(
            f"{folder}, a checkpoint of schema {manifest['schema']}",
            f"schema {SCHEMA}, which this lumbre reads",
            "go on with the lumbre that wrote it",
        )
    contents: dict[str, bytes] = {}
    for file in (_TENSORS, _DOCUMENT):
        contents[file] = read_regular(folder / file)
        if hashlib.sha256(contents[file]).hexdigest() != manifest["files"][file]["sha256"]:
            raise ValueError(f"{file} is not what was written: it does not match its SHA-256")
    return Stored(folder.name, json.loads(contents[_DOCUMENT]), safetensors.torch.load(contents[_TENSORS]))


def _sealed(manifest: dict[str, Any]) -> bytes:
    """A manifest with its own digest in it."""
    text = json.dumps(manifest, sort_keys=True)
    return json.dumps({**manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True).encode()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make sure that the names in a folder are on the disk; Windows has no such call and no need of it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
