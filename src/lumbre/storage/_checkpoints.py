"""Checkpoints of a run: a folder for each, whole or not there, and the newest that is whole is found again.

A checkpoint has three files: `state.safetensors`, `state.json`, and `manifest.json` with a schema number and the
SHA-256 of the other two and of itself. It is written under a temporary name; each file and the folder are synced, then
the folder is renamed and its parent synced. So the store may be killed anywhere.

Where several processes share a run, each writes a part: the first one the files above, the others
`rank-1.safetensors`, `rank-1.json` and so on, without the tensors that are the same in the first. When all are there,
the first process writes the manifest of all of them, and renames the folder.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumbre.base import PeerError, ResumeError
from lumbre.storage._agreed import Gather, agreed, alone
from lumbre.storage._files import open_regular
from lumbre.storage._tensors import entries_of, head_of, read_tensors, write_tensors

SCHEMA = 2
_READ = (1, SCHEMA)
_NAME = re.compile(r"step-(\d{8,18})(?:-epoch-(\d{1,18}))?")
_MANIFEST = "manifest.json"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_SECONDS_TO_SEE = 20.0


class CheckpointWarning(UserWarning):
    """A checkpoint was not written, a damaged one was passed over, or a file does not hold all that it should."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one process wrote of a checkpoint.

    Attributes:
        document: everything but tensors, as JSON holds it.
        tensors: by name, on the CPU; without those that are the same in the first process.
    """

    document: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint as it was read.

    Attributes:
        name: of its folder.
        document: everything but tensors, as JSON holds it; that of the first process.
        tensors: by name, on the CPU; those of the first process.
        processes: how many wrote it.
        parts: of other processes, by rank: those that fall to the process that reads.
    """

    name: str
    document: dict[str, Any]
    tensors: dict[str, Tensor]
    processes: int = 1
    parts: Mapping[int, Part] = field(default_factory=dict[int, Part])

    def part(self, rank: int) -> Part:
        """What the process `rank` had, with the tensors that are the same in the first."""
        if rank == 0:
            return Part(self.document, self.tensors)
        own = self.parts[rank]
        return Part(own.document, {**self.tensors, **own.tensors})


class CheckpointStore:
    """The checkpoints in a folder, which one run at a time may use.

    Where several processes share the run, all of them make a store and call the same methods in the same order; the
    first one holds the lock.

    Args:
        folder: made where it is not there; one that all processes see.
        keep: how many checkpoints to keep: the newest.
        rank: of this process.
        gather: gives what each process has, by rank; used while the store is made, by `newest`, and by the thread that
            writes.
        patience: seconds to wait for a run that is using the folder.

    Raises:
        ResumeError: the folder cannot be made or written to, is not the same for all processes, or another run uses it.
    """

    def __init__(
        self, folder: Path, keep: int, *, rank: int = 0, gather: Gather = alone, patience: float = 0.0
    ) -> None:
        from filelock import FileLock

        self.folder = folder
        self._keep = keep
        self._rank = rank
        self._gather = gather
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._warned = False
        self._lock = FileLock(folder / ".lock", timeout=patience)
        try:
            agreed(gather, rank, self._open if rank == 0 else lambda: None)
            self._check_that_all_see()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        from filelock import Timeout

        folder = self.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The system lets go of it when the process ends, however that happens.
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
        for left in [*folder.glob(".step-*.part"), *folder.glob(".step-*.gone"), *folder.glob(".seen-*")]:
            shutil.rmtree(left, ignore_errors=True)

    def _check_that_all_see(self) -> None:
        """A folder of the same name on another host's own disk would take parts that never come together."""
        mark = self.folder / f".seen-{secrets.token_hex(8)}"
        names = self._gather(mark.name)
        if len(names) == 1:
            return
        mark = self.folder / names[0]

        def see() -> None:
            end = time.monotonic() + _SECONDS_TO_SEE  # network file systems may tell late of what is new
            while not mark.is_dir():
                if time.monotonic() > end:
                    raise ResumeError(
                        f"{self.folder}, which is not the same folder in the process of rank {self._rank}",
                        "a folder that all processes see",
                        "a path on a file system that the hosts share",
                    )
                time.sleep(0.05)

        agreed(self._gather, self._rank, mark.mkdir if self._rank == 0 else lambda: None)
        try:
            agreed(self._gather, self._rank, see)
        finally:
            if self._rank == 0:
                shutil.rmtree(mark, ignore_errors=True)

    def newest(self) -> Stored | None:
        """The newest checkpoint that is whole; damaged ones are named in a warning and passed over."""
        names: list[str] = self._gather(self._names() if self._rank == 0 else None)[0]
        size = len(self._gather(None))
        for name in reversed(names):
            try:
                return agreed(self._gather, self._rank, lambda name=name: _read(self.folder / name, self._rank, size))
            except ResumeError:
                raise
            except _DAMAGED as error:
                if self._rank == 0:
                    warnings.warn(
                        f"{self.folder / name} is damaged and was passed over: {error}", CheckpointWarning, stacklevel=2
                    )
        return None

    def write(
        self, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor] | Exception, *, wait: bool
    ) -> None:
        """Write a checkpoint, in the background unless `wait`. What fails is told by `complain`.

        Args:
            name: of its folder.
            document: everything but tensors, as JSON can hold it; of other processes than the first only what differs
                needs to be in it.
            tensors: copies that nobody changes; one that is the same in the first process is not written again. Or
                the error for which they could not be copied.
            wait: until it is there.
        """
        self.wait()
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
        if error is not None and not self._warned and self._rank == 0:
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

    def _try(self, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor] | Exception) -> None:
        temporary = self.folder / f".{name}.part"
        try:
            self._write(temporary, name, document, tensors)
        except PeerError:
            pass  # the training thread meets it too, and ends the run
        except Exception as error:  # told by the training thread: training must not end for it
            self._error = error
            shutil.rmtree(temporary, ignore_errors=True)

    def _write(
        self, temporary: Path, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor] | Exception
    ) -> None:
        gather, rank = self._gather, self._rank
        kept: dict[str, Tensor] = agreed(gather, rank, lambda: _on_processor(tensors))
        agreed(gather, rank, lambda: _make_anew(temporary) if rank == 0 else None)
        size = len(gather(None))
        if size > 1:
            digests = agreed(gather, rank, lambda: {key: _digest(value) for key, value in kept.items()})
            first = gather(digests if rank == 0 else None)[0]
            if rank > 0:
                kept = {key: value for key, value in kept.items() if first.get(key) != digests[key]}
        told: dict[str, Any] = agreed(gather, rank, lambda: _write_part(temporary, rank, document, kept))
        files = {file: digest for part in gather(told) for file, digest in part.items()}
        agreed(gather, rank, lambda: self._finish(temporary, name, size, files) if rank == 0 else None)

    def _finish(self, temporary: Path, name: str, processes: int, files: dict[str, Any]) -> None:
        """Give a checkpoint, all of whose parts are there, its manifest and its name."""
        _write_synced(temporary / _MANIFEST, _sealed({"schema": SCHEMA, "processes": processes, "files": files}))
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


def _files(rank: int) -> tuple[str, str]:
    """The names of the files of tensors and of the rest that a process writes."""
    stem = "state" if rank == 0 else f"rank-{rank}"
    return f"{stem}.safetensors", f"{stem}.json"


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _on_processor(tensors: Mapping[str, Tensor] | Exception) -> dict[str, Tensor]:
    if isinstance(tensors, Exception):
        raise tensors
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _write_part(
    folder: Path, rank: int, document: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, dict[str, str]]:
    """Write the files of a process; gives what the manifest tells of them."""
    states, rest = _files(rank)
    write_tensors(folder / states, tensors)
    with (folder / states).open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    content = json.dumps(document, allow_nan=False).encode()
    _write_synced(folder / rest, content)
    return {states: {"sha256": digest}, rest: {"sha256": hashlib.sha256(content).hexdigest()}}


def _digest(tensor: Tensor) -> str:
    content = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
    return hashlib.sha256(content).hexdigest() + f" {tensor.dtype} {tuple(tensor.shape)}"


def _read(folder: Path, rank: int, size: int) -> Stored:
    """A checkpoint, as far as the process `rank` of `size` needs it: the first part, and its share of the others."""
    with open_regular(folder / _MANIFEST) as file:
        data = file.read()
    manifest = json.loads(data)
    if _sealed({key: value for key, value in manifest.items() if key != "sha256"}) != data:
        raise ValueError(f"{_MANIFEST} is not what was written")
    if manifest["schema"] not in _READ:
        raise ResumeError(
            f"{folder}, a checkpoint of schema {manifest['schema']}",
            f"schema {SCHEMA}, which this lumbre reads",
            "go on with the lumbre that wrote it",
        )
    processes: Any = manifest.get("processes", 1)
    if type(processes) is not int or processes < 1:
        raise ValueError(f"{_MANIFEST} tells of {processes!r} processes")
    first = _read_part(folder, 0, manifest["files"])
    parts = {other: _read_part(folder, other, manifest["files"]) for other in range(rank or size, processes, size)}
    return Stored(folder.name, first.document, first.tensors, processes, parts)


def _read_part(folder: Path, rank: int, told: Mapping[str, Any]) -> Part:
    states, rest = _files(rank)
    found = hashlib.sha256()
    with open_regular(folder / states) as file:
        head, size = head_of(file)
        found.update(head)
        tensors = read_tensors(file, entries_of(head, size)[0], found.update)
    with open_regular(folder / rest) as file:
        document = file.read()
    for name, digest in ((states, found), (rest, hashlib.sha256(document))):
        if digest.hexdigest() != told[name]["sha256"]:
            raise ValueError(f"{name} is not what was written: it does not match its SHA-256")
    return Part(json.loads(document), tensors)


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
