"""The readers under fuzz: for each a maker of damaged files and a call that reads one in a folder of its own."""

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_targets import checkpoint_makers, codec_makers, store_makers
from mutations import (
    checked_tar,
    hostile_tar,
    hostile_zip,
    json_bytes,
    mutated,
    mutated_json,
    signed,
)
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.datasets._archives import extract
from lumbre.datasets._digits import read_idx
from lumbre.datasets._imdb import _tabulate
from lumbre.datasets._matlab import matrices
from lumbre.datasets._table import RemoteFile
from lumbre.storage import read_archive, write_archive

FILES = Path(__file__).parents[1] / "storage" / "files"
sys.path.insert(0, str(FILES.parent))
import r_writer as r  # noqa: E402


class Stored(nn.Module):
    """The module of the archives, of a size that no damaged file may change."""

    def __init__(self, d_in: int = 4, d_hidden: int = 4) -> None:
        super().__init__()
        if (d_in, d_hidden) != (4, 4):
            raise lb.RecipeError(f"d_in={d_in!r}, d_hidden={d_hidden!r}", "4 and 4", "4 and 4")
        self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        make: a damaged file.
        read: reads the file, whose folder is its own.
        allowed: errors beside lumbre's own that the reader's only caller turns into lumbre's.
    """

    make: Callable[[random.Random], bytes]
    read: Callable[[Path], object]
    allowed: tuple[type[Exception], ...] = ()


def _archives(folder: Path) -> list[bytes]:
    recipe = lb.setup(Stored, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    data = torch.randn(40, 4), torch.arange(40) % 3
    recipe.set_hparams(d_in=4, d_hidden=4).fit(data, epochs=2, valid_data=0.2, verbose=False).save(folder / "new")
    # Seconds vary; without them the same number makes the same input.
    found = read_archive(folder / "new")
    history = {**found.document["history"], "fit_seconds": 1.5, "phase_seconds": {"step": 0.5}}
    history |= {"train_seconds": [0.25, 0.25], "valid_seconds": [0.25, 0.25]}
    write_archive(folder / "new", found.tensors, {**found.document, "history": history})
    return [(folder / "new").read_bytes(), *((FILES / f"schema1{rest}.lumbre").read_bytes() for rest in ("", "_early"))]


def _split(archive: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(archive[:8], "little")
    return json.loads(archive[8 : 8 + length]), archive[8 + length :]


def _joined(header: Any, rest: bytes) -> bytes:
    text = json_bytes(header).replace(b'": "', b'":"')
    return len(text).to_bytes(8, "little") + text + rest


def archive_target(folder: Path) -> Target:
    seeds = _archives(folder)

    def make(rng: random.Random) -> bytes:
        seed = rng.choice(seeds)
        kind = rng.randrange(4)
        if kind == 0:
            return mutated(seed, rng, seeds)
        if kind == 1:
            return signed(mutated(seed, rng, seeds))
        header, rest = _split(seed)
        if kind == 2:
            document = json.loads(header["__metadata__"]["lumbre"])
            header["__metadata__"]["lumbre"] = json.dumps(mutated_json(document, rng))
        else:
            header = mutated_json(header, rng)
        return signed(_joined(header, rest))

    def read(path: Path) -> None:
        all_of((lambda: lb.load(path, Stored), lambda: repr(lb.inspect_file(path)), lambda: lb.load_weights(path)))

    return Target(make, read)


def all_of(calls: tuple[Callable[[], object], ...]) -> None:
    """Each call, whether or not the one before is refused; the output of a loaded model is read too."""
    refused: list[lb.LumbreError] = []
    for call in calls:
        try:
            found = call()
        except lb.LumbreError as error:
            refused.append(error)
            continue
        if isinstance(found, lb.Fitted):
            repr(found)
            found.history  # noqa: B018
            found.predict(torch.zeros(2, 4))
    if len(refused) == len(calls):
        raise refused[0]


def _r_values() -> list[bytes]:
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1.0, -1.0], np.float32)
    robj = r.serialized(r.closure(r.bytecode()))
    module = r.torch_file("module", {"weight": weight, "bias": bias}, robj, requires_grad={"weight": True})
    listed = r.named(
        weight=r.address("0x1"),
        inner=r.r_list(r.address("0x2"), r.strings("text"), r.NIL),
        betas=r.doubles(0.9, 0.999),
        kind=r.integers(2, 1, **{"class": r.strings("factor"), "levels": r.strings("cat", "dog")}),
        rows=r.sequence(3, 1, 1),
        wrapped=r.wrapped(r.doubles(7.0)),
        flags=r.logicals(1, 0),
    )
    numbers = r.torch_file("list", {"0x1": weight, "0x2": bias}, r.serialized(listed))
    complex_file = r.torch_file(
        "state_dict",
        {"z": np.frombuffer(np.ones(2, np.complex64).tobytes(), np.uint8)},
        special_dtype={"z": {"shape": [2], "dtype": "cfloat"}},
    )
    inner = r.named(values=r.raw((FILES / "libtorch_float32_2x3.zip").read_bytes()), type=r.strings("tensor"))
    state = r.named(w=r.raw(r.serialized(inner, 2)))
    old = r.named(module=r.environment(f=r.closure(r.bytecode())), state_dict=state, type=r.strings("module"))
    luz = [gzip.decompress(r.luz_file(module, context_is_environment=flag)) for flag in (False, True)]
    tensor = r.torch_file("tensor", {"...unnamed...": weight})
    return [module, numbers, complex_file, tensor, *luz, r.serialized(old), r.serialized(inner)]


def r_target(_: Path) -> Target:
    seeds = _r_values()
    files = [file for file in seeds if file[:2] != b"X\n"]

    def make(rng: random.Random) -> bytes:
        seed = rng.choice(seeds)
        if seed in files and rng.random() < 0.5:
            header, rest = _split(seed)
            if rng.random() < 0.5:
                notes = mutated_json(json.loads(header["__metadata__"]["__r__"]), rng)
                header["__metadata__"]["__r__"] = json.dumps(notes)
            else:
                header = mutated_json(header, rng)
            return _joined(header, rest)
        changed = mutated(seed, rng, seeds)
        if seed in files:
            return changed
        compress = rng.choice((bytes, bytes, lambda data: gzip.compress(data, 1), bz2.compress, lzma.compress))
        packed = compress(changed)
        return mutated(packed, rng, seeds) if rng.random() < 0.1 else packed

    def read(path: Path) -> None:
        all_of((lambda: lb.r.load(path), lambda: lb.r.load_weights(path), lambda: repr(lb.inspect_file(path))))

    return Target(make, read)


def libtorch_target(_: Path) -> Target:
    seeds = [path.read_bytes() for path in sorted(FILES.glob("libtorch_*.zip"))]

    def make(rng: random.Random) -> bytes:
        seed = rng.choice(seeds)
        if rng.random() < 0.3:
            data = mutated(seed, rng, seeds)
        else:
            held = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(seed)) as old, zipfile.ZipFile(held, "w") as new:
                words = [old.read(name) for name in old.namelist() if name.endswith(".pkl")]
                for name in old.namelist():
                    inner = old.read(name)
                    new.writestr(name, mutated(inner, rng, words) if name.endswith("/data.pkl") else inner)
            data = held.getvalue()
        return r.serialized(r.named(values=r.raw(data), type=r.strings("tensor"), version=r.doubles(2)))

    return Target(make, lb.r.load)


def idx_target(_: Path) -> Target:
    images = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 4, 4) + bytes(80)
    labels = struct.pack(">BBBBII", 0, 0, 0x0C, 2, 5, 1) + bytes(20)
    seeds = [images, labels]

    def make(rng: random.Random) -> bytes:
        changed = mutated(rng.choice(seeds), rng, seeds)
        packed = gzip.compress(changed, 1)
        return mutated(packed, rng, seeds) if rng.random() < 0.3 else packed

    def read(path: Path) -> None:
        named = path.rename(path.with_name("images.gz" if path.read_bytes()[:1] == b"\x1f" else "images.xz"))
        read_idx(named, RemoteFile(named.name, ()))

    return Target(make, read)


def cifar_target(_: Path) -> Target:
    record = bytes([3]) + bytes(3 * 32 * 32)

    def make(rng: random.Random) -> bytes:
        return mutated(record * rng.choice((0, 1, 2)), rng, [record])

    def read(path: Path) -> None:
        folder = path.parent / "into" / "cifar10" / "cifar-10-binary" / "cifar-10-batches-bin"
        folder.mkdir(parents=True)
        path.rename(folder / "test_batch.bin")
        (folder / "batches.meta.txt").write_bytes(b"cat\ndog\n")
        lb.datasets.cifar10(train=False, root=path.parent / "into", download=False)

    return Target(make, read)


def matlab_target(_: Path) -> Target:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    parts = element(6, bytes(8)) + element(5, struct.pack("<ii", 1, 4))
    parts += element(1, b"labels") + element(2, b"\1\2\3\4")
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    seeds = [head + element(14, parts)]

    def make(rng: random.Random) -> bytes:
        return mutated(seeds[0], rng, seeds)

    return Target(make, lambda path: matrices(path.read_bytes()), (ValueError,))


def _plain_tar() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as file:
        for name, content in (("set/a.txt", b"hello" * 20), ("set/deep/b.bin", bytes(700)), ("n" * 150, b"long")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return held.getvalue()


def _plain_zip() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/a.txt", b"hello" * 20)
        file.writestr("set/deep/b.bin", bytes(700))
        file.writestr("set/é.txt", b"x")
    return held.getvalue()


def tar_target(_: Path) -> Target:
    seeds = [_plain_tar()]

    def make(rng: random.Random) -> bytes:
        kind = rng.randrange(4)
        data = hostile_tar(rng) if kind == 0 else mutated(rng.choice(seeds), rng, seeds)
        data = checked_tar(data) if kind < 3 else data
        return gzip.compress(data, 1) if rng.random() < 0.3 else data

    return Target(make, lambda path: extract(path, path.parent / "into"))


def zip_target(_: Path) -> Target:
    seeds = [_plain_zip()]

    def make(rng: random.Random) -> bytes:
        data = hostile_zip(rng) if rng.random() < 0.4 else seeds[0]
        return data if rng.random() < 0.2 else mutated(data, rng, seeds)

    return Target(make, lambda path: extract(path, path.parent / "into"))


def imdb_target(_: Path) -> Target:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as file:
        for name in ("aclImdb/train/pos/1_9.txt", "aclImdb/test/neg/2_1.txt", "aclImdb/README"):
            member = tarfile.TarInfo(name)
            member.size = 40
            file.addfile(member, io.BytesIO(b"a fine film <br> " * 3))
    seeds = [held.getvalue()]

    def make(rng: random.Random) -> bytes:
        return gzip.compress(checked_tar(mutated(seeds[0], rng, seeds)), 1)

    return Target(make, lambda path: _tabulate(path, path.parent / "into"))


TARGETS: dict[str, Callable[[Path], Target]] = {
    "archive": archive_target,
    "checkpoint": lambda folder: Target(*checkpoint_makers(folder)),
    "store": lambda folder: Target(*store_makers(folder)),
    "codec": lambda folder: Target(*codec_makers(folder)),
    "r": r_target,
    "libtorch": libtorch_target,
    "idx": idx_target,
    "cifar": cifar_target,
    "matlab": matlab_target,
    "tar": tar_target,
    "zip": zip_target,
    "imdb": imdb_target,
}
