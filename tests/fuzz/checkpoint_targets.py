"""Folders of checkpoints under fuzz: real ones that are damaged, or changed with new hashes, and a run that resumes.

An input is the damage: which file of which checkpoint holds which bytes, or what lies in its place. Damage
without new hashes must never change the result: the run ends with the bits of an undisturbed one.
"""

import hashlib
import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mutations import json_bytes, mutated, mutated_json
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.callbacks import EMA, EarlyStopping, KeepBestModel, LRScheduler
from lumbre.storage import CheckpointStore, pack, unpack

FILES = ("state.json", "state.safetensors", "manifest.json")
_CONTENT, _GONE, _LINK, _FOLDER, _PIPE, _STRAY = range(6)
_LINKS = ("/dev/zero", "/", "..", "manifest.json", "../step-00000001/state.json", "missing", "../../out.txt")
_STRAYS = (
    "step-00000009",
    "step-999999999999999999",
    "step-00000002-epoch-999999999999999999",
    "step-00000002-epoch-",
    "step-00000009\n",
    "step-٠٠٠٠٠٠٠٩",
    ".step-00000009.part",
    ".step-00000004.gone",
    ".lock",
    "step-" + "9" * 200,
)
_X = torch.linspace(-1, 1, 30).reshape(10, 3)
_Y = torch.arange(10) % 2


class Kept(nn.Module):
    """With dropout, batch statistics, and a count of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layers(x)


def _scaled(resume: Any) -> lb.Fitted:
    recipe = lb.setup(Kept, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return recipe.fit(
        (_X, _Y), epochs=2, batch_size=4, precision="float16", callbacks=EMA(0.9), resume=resume, preflight=False,
        verbose=False,
    )  # fmt: skip


def _scheduled(resume: Any) -> lb.Fitted:
    recipe = lb.setup(Kept, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=lb.metrics.AUROC())
    recipe = recipe.set_opt_hparams(lr=0.1, momentum=0.9)
    schedule = LRScheduler(optim.lr_scheduler.MultiStepLR, milestones=[1], gamma=0.5)
    callbacks = [schedule, EarlyStopping(patience=1, restore_best=True), KeepBestModel()]
    return recipe.fit(
        (_X, _Y), epochs=2, batch_size=4, valid_data=0.3, callbacks=callbacks, resume=resume, preflight=False,
        verbose=False,
    )  # fmt: skip


RUNS: tuple[Callable[[Any], lb.Fitted], ...] = (_scaled, _scheduled)


@dataclass(frozen=True)
class Seeds:
    """A run's checkpoints.

    Attributes:
        files: the bytes of the three files, by checkpoint, oldest first.
        final: what the run ends with.
    """

    files: dict[str, dict[str, bytes]]
    final: bytes


def seeds_of(run: Callable[[Any], lb.Fitted], folder: Path) -> Seeds:
    """Train without a disturbance, and keep the checkpoints of three moments."""
    final = bits(run(lb.Checkpoints(folder, steps=1, keep=50, wait=True)))
    names = sorted(path.name for path in folder.glob("step-*"))
    files = {name: {file: (folder / name / file).read_bytes() for file in FILES} for name in names[1:4]}
    shutil.rmtree(folder)
    return Seeds(files, final)


def bits(fitted: lb.Fitted) -> bytes:
    """Weights, buffers and history, as bytes."""
    records = json.dumps(fitted._history.records)
    state = {name: value.contiguous() for name, value in fitted.model.state_dict().items()}
    return safetensors.torch.save(state, {"reported": records})


def sealed(files: dict[str, bytes], processes: Any = 1) -> dict[str, bytes]:
    """The files of a checkpoint with a manifest that their bytes ask for, so that the reader believes them."""
    hashes = {file: {"sha256": hashlib.sha256(files[file]).hexdigest()} for file in files if file != "manifest.json"}
    manifest: dict[str, Any] = {"schema": 2, "processes": processes, "files": hashes}
    text = json.dumps(manifest, sort_keys=True)
    manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return {**files, "manifest.json": json.dumps(manifest, sort_keys=True).encode()}


def _packed(run: int, forged: bool, records: list[tuple[int, int, int, bytes]]) -> bytes:
    """Damage as bytes: the run, whether hashes were made anew, and what is where."""
    head = bytes([run, forged])
    return head + b"".join(struct.pack("<BBBI", *record[:3], len(record[3])) + record[3] for record in records)


def _unpacked(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 2
    while at + 7 <= len(data):
        kind, place, file, length = struct.unpack_from("<BBBI", data, at)
        yield kind % 6, place, file % 3, data[at + 7 : at + 7 + length]
        at += 7 + length


def _forged(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """A checkpoint whose document or tensors were changed, with the hashes that go with them."""
    found = dict(files)
    kind = rng.randrange(9)
    if kind < 4:
        document = json.loads(files["state.json"])
        if rng.random() < 0.75:  # where most of what is read lies
            document["state"] = mutated_json(document["state"], rng)
        else:
            document = mutated_json(document, rng)
        found["state.json"] = json_bytes(document)
    elif kind == 4:
        found["state.json"] = mutated(files["state.json"], rng, list(files.values()))
    elif kind == 5:
        found["state.safetensors"] = mutated(files["state.safetensors"], rng, list(files.values()))
    elif kind == 6:
        tensors = safetensors.torch.load(files["state.safetensors"])
        for name in rng.sample(sorted(tensors), 2):
            other = tensors[rng.choice(sorted(tensors))]
            shapes = ((), (0,), (1, 1), (7,), tuple(tensors[name].shape))
            kinds = (torch.float64, torch.int64, torch.bool, torch.float32, torch.uint8)
            made = torch.full(rng.choice(shapes), rng.choice((0, 1, -1, 2**40)), dtype=torch.float64)
            tensors[name] = rng.choice((other.clone(), made.to(rng.choice(kinds)), tensors[name].double()))
        if rng.random() < 0.2:
            del tensors[rng.choice(sorted(tensors))]
        found["state.safetensors"] = safetensors.torch.save(tensors)
    elif kind == 7:
        text = files["state.json"]
        at = rng.choice([i for i in range(len(text)) if text[i : i + 1] == b"{"])
        twice = rng.choice((b'"is":0,', b'"~":"tuple",', b'"state":[],', b'"lr":1e999,', b'"":NaN,'))
        found["state.json"] = text[: at + 1] + twice + text[at + 1 :]
    else:
        return sealed(found, rng.choice((2, 0, -1, 10**18, 1e999, "1", None, [1], 1.5)))
    return sealed(found)


def _damaged(rng: random.Random, files: dict[str, bytes], others: dict[str, bytes], place: int) -> Iterator[Any]:
    """One to three files of a checkpoint, damaged without new hashes."""
    for number in rng.sample(range(3), rng.choice((1, 1, 2, 3))):
        kind = rng.choice((*(_CONTENT,) * 8, _GONE, _LINK, _FOLDER, _PIPE, _STRAY))
        content = files[FILES[number]]
        way = rng.randrange(6)
        if kind == _STRAY:
            yield kind, rng.randrange(len(_STRAYS)), number, rng.randbytes(3)
        elif kind != _CONTENT:
            yield kind, place, number, rng.randbytes(1)
        elif way == 0:
            yield kind, place, number, rng.randbytes(rng.choice((0, 1, 40, 3000)))
        elif way == 1:
            yield kind, place, number, others[FILES[number]]
        elif way == 2:
            yield kind, place, number, files[rng.choice(FILES)]
        elif way == 3:
            deep = rng.choice((b"[", b'{"a":')) * 100_000
            yield kind, place, number, rng.choice((deep, b"9" * 6000, b'{"schema":1e999}', b"\xef\xbb\xbf{}", b"{}"))
        else:
            yield kind, place, number, mutated(content, rng, list(others.values()))


def _put(run: Path, seeds: Seeds, records: Iterator[tuple[int, int, int, bytes]]) -> None:
    """Make the folder of a run as it was, and then the damage."""
    for name, files in seeds.files.items():
        (run / name).mkdir(parents=True)
        for file, content in files.items():
            (run / name / file).write_bytes(content)
    names = list(seeds.files)
    for kind, place, number, payload in records:
        path = run / names[place % len(names)] / FILES[number]
        if kind == _STRAY:
            path = run / _STRAYS[place % len(_STRAYS)]
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True) if len(path.name) < 256 else None
        choice = payload[0] if payload else 0
        try:
            if kind == _STRAY:
                _stray(path, choice, seeds)
            elif kind == _CONTENT:
                path.write_bytes(payload)
            elif kind == _LINK:
                path.symlink_to(_LINKS[choice % len(_LINKS)])
            elif kind == _FOLDER:
                path.mkdir()
            elif kind == _PIPE:
                os.mkfifo(path)
        except OSError:
            continue


def _stray(path: Path, choice: int, seeds: Seeds) -> None:
    """Something that no store has written, under a name that it may take for its own."""
    if choice % 4 == 0:
        path.write_bytes(b"x")
    elif choice % 4 == 1:
        path.symlink_to(_LINKS[choice // 4 % len(_LINKS)])
    elif choice % 4 == 2:
        path.mkdir()
    elif path.name != ".lock":
        path.mkdir()
        for file, content in seeds.files[list(seeds.files)[choice // 4 % len(seeds.files)]].items():
            (path / file).write_bytes(content)


def checkpoint_makers(folder: Path) -> tuple[Callable[[random.Random], bytes], Callable[[Path], None]]:
    """A maker of damage, and a call that resumes a run in a damaged folder."""
    runs = [seeds_of(run, folder / str(number)) for number, run in enumerate(RUNS)]

    def make(rng: random.Random) -> bytes:
        which = rng.randrange(len(runs))
        files = list(runs[which].files.values())
        forged = rng.random() < 0.5
        records: list[tuple[int, int, int, bytes]] = []
        if forged:
            place = rng.choice((0, 1, 2, 2, 2))
            made = _forged(rng, files[place])
            records = [(_CONTENT, place, number, made[file]) for number, file in enumerate(FILES)]
            for passed in range(place + 1, 3):
                records.append((_GONE, passed, 2, b""))
        else:
            for place in rng.choice(((2,), (2,), (1, 2), (0, 1, 2))):
                records += _damaged(rng, files[place], files[rng.randrange(3)], place)
        return _packed(which, forged, records)

    def read(path: Path) -> None:
        data = path.read_bytes()
        which, forged = (data[0] % len(runs), data[1]) if len(data) > 1 else (0, 1)
        run = path.parent / "run"
        _put(run, runs[which], _unpacked(data))
        fitted = RUNS[which](lb.Checkpoints(run, wait=True))
        repr(fitted)
        fitted.history  # noqa: B018
        if not forged and bits(fitted) != runs[which].final:
            raise AssertionError("other bits than without the damage")

    return make, read


def codec_makers(_: Path) -> tuple[Callable[[random.Random], bytes], Callable[[Path], None]]:
    """Documents of nested values with their tensors, read by the codec alone."""
    seeds: list[tuple[Any, dict[str, Tensor]]] = []
    for value in (
        {"a": torch.ones(2, 3).t(), 3: (1, 2.5, float("inf")), "n": torch.zeros(4).numpy()},
        {"s": {1, 2}, "d": torch.float16, "z": torch.zeros(4).numpy()[0], "l": [[], {}], "~": None},
    ):
        tensors: dict[str, Tensor] = {}
        seeds.append((pack(value, tensors), {name: one.contiguous() for name, one in tensors.items()}))

    def make(rng: random.Random) -> bytes:
        return bytes([which := rng.randrange(len(seeds))]) + json_bytes(mutated_json(seeds[which][0], rng))

    def read(path: Path) -> None:
        data = path.read_bytes()
        try:
            document = json.loads(data[1:])
        except (ValueError, RecursionError):
            return
        unpack(document, seeds[data[0] % len(seeds)][1] if data else {}, torch.device("cpu"))

    return make, read


def store_makers(folder: Path) -> tuple[Callable[[random.Random], bytes], Callable[[Path], None]]:
    """The store alone: random bytes and mutations in place of the files, read and then written over."""
    seeds = seeds_of(RUNS[0], folder / "run")
    files = list(seeds.files.values())

    def make(rng: random.Random) -> bytes:
        records: list[tuple[int, int, int, bytes]] = []
        for place in rng.choice(((2,), (1, 2), (0, 1, 2))):
            if rng.random() < 0.3:
                made = _forged(rng, files[place])
                records += [(_CONTENT, place, number, made[file]) for number, file in enumerate(FILES)]
            else:
                records += _damaged(rng, files[place], files[rng.randrange(3)], place)
        return _packed(0, True, records)

    def read(path: Path) -> None:
        run = path.parent / "run"
        _put(run, seeds, _unpacked(path.read_bytes()))
        store = CheckpointStore(run, keep=1)
        try:
            found = store.newest()
            if found is not None:
                unpack(found.document, found.tensors, torch.device("cpu"))
            store.write("step-00000007", {"a": 1}, {"w": torch.ones(2)}, wait=True)
            again = store.newest()
            if again is None or again.name < "step-00000007":
                raise AssertionError("what was written is not found")
        finally:
            store.close()

    return make, read
