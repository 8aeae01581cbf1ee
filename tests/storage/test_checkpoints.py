"""The store of checkpoints: whole or not there, the newest whole one found, one process at a time."""

import errno
import os
import resource
import shutil
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lumbre.base import ResumeError
from lumbre.storage import CheckpointStore, CheckpointWarning, checked_run, unpack


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    store = CheckpointStore(tmp_path / "run", keep=2)
    yield store
    store.close()


def write(store: CheckpointStore, step: int, suffix: str = "") -> None:
    store.write(f"step-{step:08}{suffix}", {"step": step}, {"w": torch.tensor([float(step)])}, wait=True)


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if path.name.startswith("step-"))


def test_the_newest_is_found_and_only_so_many_are_kept(store: CheckpointStore) -> None:
    assert store.newest() is None
    for step in (9, 10, 11):
        write(store, step)
    assert names(store) == ["step-00000010", "step-00000011"]
    found = store.newest()
    assert found is not None
    assert found.document == {"step": 11}
    assert found.tensors["w"].item() == 11
    write(store, 11, "-epoch-2")
    assert store.newest().name == "step-00000011-epoch-2"  # the end of an epoch comes after its last step


def damage_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize(
    "damage",
    [
        damage_bytes,
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["bit", "gone", "cut", "empty"],
)
def test_a_damaged_one_is_named_and_passed_over(store: CheckpointStore, file: str, damage) -> None:
    write(store, 1)
    write(store, 2)
    damage(store.folder / "step-00000002" / file)
    with pytest.warns(CheckpointWarning, match="step-00000002 is damaged"):
        found = store.newest()
    assert found is not None
    assert found.name == "step-00000001"


def test_a_damaged_one_goes_when_its_place_is_passed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    write(store, 1)
    (tmp_path / "step-00000005").mkdir()
    write(store, 3)
    assert names(store) == ["step-00000003"]  # not the damaged one in its place
    store.close()


def test_every_flipped_byte_is_found(store: CheckpointStore) -> None:
    write(store, 1)
    for file in ("state.safetensors", "state.json", "manifest.json"):
        path = store.folder / "step-00000001" / file
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                assert store.newest() is None, (file, at)
            assert caught
        path.write_bytes(whole)
    assert store.newest() is not None


def test_a_newer_schema_is_refused(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumbre.storage._checkpoints.SCHEMA", 99)
    write(store, 1)
    monkeypatch.undo()
    with pytest.raises(ResumeError, match="schema 99"):
        store.newest()


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_fails_leaves_the_last_one_and_warns_once(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write(store, 1)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        write(store, 2)
        with pytest.warns(CheckpointWarning, match="No space left on device; the last one there is step-00000001"):
            store.complain()
        write(store, 3)
        store.complain()  # a second warning would be an error here
    assert names(store) == ["step-00000001"]
    assert not list(store.folder.glob(".step*"))
    write(store, 4)
    assert store.newest().name == "step-00000004"


def test_a_full_disk_leaves_the_last_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    write(store, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        store.write("step-00000002", {}, {"w": torch.zeros(100_000)}, wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    with pytest.warns(CheckpointWarning, match="File too large"):
        store.complain()
    assert store.newest().name == "step-00000001"
    store.close()


def test_a_second_user_of_a_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        held = CheckpointStore(tmp_path, 1)
        os.write(write, b"m")
        signal.pause()
        os._exit(held.busy)
    assert os.read(read, 1) == b"m"
    with pytest.raises(ResumeError, match="another run is using"):
        CheckpointStore(tmp_path, 1)
    os.kill(child, signal.SIGKILL)  # its lock must not remain
    os.waitpid(child, 0)
    CheckpointStore(tmp_path, 1).close()


def test_two_users_in_one_process_are_told_apart(store: CheckpointStore) -> None:
    with pytest.raises(ResumeError, match="another run is using"):
        CheckpointStore(store.folder, 1)


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResumeError, match="cannot be written to"):
        CheckpointStore(tmp_path / "file" / "run", 1)


def test_what_a_kill_left_behind_is_swept(tmp_path: Path) -> None:
    for name in (".step-00000003.part", ".step-00000001.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{")
    CheckpointStore(tmp_path, 1).close()
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_has_no_end_is_not_read(store: CheckpointStore, file: str, kind: str) -> None:
    write(store, 1)
    write(store, 2)
    path = store.folder / "step-00000002" / file
    path.unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
    with pytest.warns(CheckpointWarning, match="step-00000002 is damaged"):
        found = store.newest()
    assert found.name == "step-00000001"


@pytest.mark.parametrize(
    "text", [b"7", b"[]", b"[" * 100_000, b'{"schema": 1e999}', b"\xff", b'"' + b"9" * 5000 + b'"']
)
def test_a_manifest_of_another_form_is_damaged(store: CheckpointStore, text: bytes) -> None:
    write(store, 1)
    (store.folder / "step-00000001" / "manifest.json").write_bytes(text)
    with pytest.warns(CheckpointWarning, match="is damaged"):
        assert store.newest() is None


def test_a_folder_that_was_taken_away_is_a_warning(store: CheckpointStore) -> None:
    shutil.rmtree(store.folder)
    write(store, 1)
    with pytest.warns(CheckpointWarning, match="there is none yet"):
        store.complain()


def test_an_error_in_place_of_copies_is_told(store: CheckpointStore) -> None:
    store.write("step-00000001", {}, RuntimeError("can't allocate memory"), wait=True)
    with pytest.warns(CheckpointWarning, match="can't allocate memory"):
        store.complain()


RIGHT = {"position": [1, 2], "engine": "eager", "channels_last": False, "facts": {"seed": "3"}, "state": {}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("position", [1]),
        ("position", [-1, 0]),
        ("position", [2**60, 0]),
        ("position", [True, 0]),
        ("engine", 3),
        ("channels_last", None),
        ("facts", []),
        ("facts", {"seed": 3}),
        ("facts", {"seed": "9" * 30}),
        ("state", []),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    assert checked_run(RIGHT) == RIGHT
    for document in ({**RIGHT, name: value}, {key: part for key, part in RIGHT.items() if key != name}, [], None):
        with pytest.raises(ResumeError, match="makes no sense"):
            checked_run(document)


def test_a_checkpoint_of_an_old_lumbre_is_read(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "files" / "checkpoint-schema1", tmp_path / "run")
    store = CheckpointStore(tmp_path / "run", keep=2)
    found = store.newest()
    assert found is not None
    assert found.name == "step-00000003-epoch-1"
    state = unpack(checked_run(found.document)["state"], found.tensors, torch.device("cpu"))
    assert state == {"number": 1.5, "pair": (1, 2), "weight": state["weight"]}
    assert torch.equal(state["weight"], torch.arange(6.0).reshape(2, 3))
    store.close()
