"""Checkpoints that several processes write together, each its part; here threads stand for processes."""

import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lumbre.base import ResumeError
from lumbre.storage import CheckpointStore, CheckpointWarning, Stored, _checkpoints


class Meeting:
    """Where so many threads exchange what they have."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=30)
        self.values: list[Any] = [None] * size

    def gather(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


def together(size: int, work: Callable[[int, CheckpointStore], Any], folder: Callable[[int], Path]) -> list[Any]:
    """What `work` gives, or raises, in each of `size` processes with a store."""
    talk, results = Meeting(size), [None] * size

    def run(rank: int) -> None:
        try:
            store = CheckpointStore(folder(rank), 2, rank=rank, gather=lambda value: talk.gather(rank, value))
            try:
                results[rank] = work(rank, store)
            finally:
                store.close()
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def save(rank: int, store: CheckpointStore, step: int = 1) -> None:
    tensors = {
        "shared": torch.full((9,), float(step)),
        "own": torch.tensor([float(rank)]),
        f"only {rank}": torch.ones(2),
    }
    store.write(f"step-{step:08}", {"rank": rank, "step": step}, tensors, wait=True)


def found(size: int, folder: Path) -> list[Stored]:
    return together(size, lambda rank, store: store.newest(), lambda rank: folder)


def test_each_process_finds_what_it_wrote(tmp_path: Path) -> None:
    together(3, save, lambda rank: tmp_path)
    part = json.loads((tmp_path / "step-00000001" / "manifest.json").read_bytes())
    assert set(part["files"]) == {
        f"{stem}.{kind}" for stem in ("state", "rank-1", "rank-2") for kind in ("json", "safetensors")
    }
    for rank, stored in enumerate(found(3, tmp_path)):
        assert stored.processes == 3
        assert stored.document["rank"] == 0
        mine = stored.part(rank)
        assert mine.document["rank"] == rank
        assert mine.tensors["own"].item() == rank
        assert mine.tensors["shared"].tolist() == [1.0] * 9
        assert f"only {rank}" in mine.tensors


def test_what_is_the_same_is_written_once(tmp_path: Path) -> None:
    together(2, save, lambda rank: tmp_path)
    alone = CheckpointStore(tmp_path, 1).newest()
    assert alone is not None
    assert set(alone.parts[1].tensors) == {"own", "only 1"}


@pytest.mark.parametrize(("wrote", "reads"), [(4, 1), (4, 2), (4, 3), (2, 4), (1, 3), (3, 3)])
def test_any_number_of_processes_reads_each_part_once(wrote: int, reads: int, tmp_path: Path) -> None:
    together(wrote, save, lambda rank: tmp_path)
    stored = found(reads, tmp_path)
    ranks = sorted(rank for one in stored for rank in one.parts)
    assert ranks == list(range(1, wrote))
    for reader, one in enumerate(stored):
        assert all(rank % reads == reader for rank in one.parts)


@pytest.mark.parametrize("file", ["rank-1.safetensors", "rank-1.json", "state.json"])
def test_a_damaged_part_makes_all_pass_a_checkpoint_over(file: str, tmp_path: Path) -> None:
    together(2, lambda rank, store: [save(rank, store, step) for step in (1, 2)], lambda rank: tmp_path)
    path = tmp_path / "step-00000002" / file
    path.write_bytes(path.read_bytes()[:-1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [one.name for one in found(2, tmp_path)] == ["step-00000001"] * 2
    assert [str(one.message).split(" and ")[0] for one in caught] == [f"{tmp_path}/step-00000002 is damaged"]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_in_one_process_leaves_the_checkpoint_before(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together(2, save, lambda rank: tmp_path)
    written = _checkpoints._write_synced

    def full(path: Path, content: bytes) -> None:
        if path.name == ("state.json" if rank == 0 else "rank-1.json"):
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(_checkpoints, "_write_synced", full)
    with pytest.warns(CheckpointWarning, match="No space left on device"):
        together(2, lambda rank, store: save(rank, store, 2), lambda rank: tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["step-00000001"]


def test_a_folder_that_is_another_one_elsewhere_is_refused_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checkpoints, "_SECONDS_TO_SEE", 0.1)
    errors = together(2, save, lambda rank: tmp_path / str(rank))
    assert all(isinstance(error, ResumeError) and "not the same folder" in str(error) for error in errors)


def test_a_folder_in_use_is_refused_by_all(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1)
    errors = together(2, save, lambda rank: tmp_path)
    assert all(isinstance(error, ResumeError) and "another run is using" in str(error) for error in errors)
    store.close()
    assert together(2, save, lambda rank: tmp_path) == [None, None]


def test_a_lock_that_is_about_to_go_is_waited_for(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1)
    second = threading.Thread(target=lambda: CheckpointStore(tmp_path, 1, patience=30).close())
    second.start()
    second.join(0.2)
    assert second.is_alive()
    store.close()
    second.join(30)
    assert not second.is_alive()


def test_a_checkpoint_of_the_first_schema_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoints, "SCHEMA", 1)
    together(1, save, lambda rank: tmp_path)
    monkeypatch.undo()
    assert [one.document["step"] for one in found(2, tmp_path)] == [1, 1]
