"""What is in a file, read without a class."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import r_writer as r
import safetensors.torch
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.storage import read_archive, write_archive


def test_an_archive_tells_of_its_run(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    fitted = recipe.fit(data, epochs=2, valid_data=0.2, batch_size=16, seed=7, verbose=False)
    fitted.save(tmp_path / "net.lumbre")
    found = lb.inspect_file(tmp_path / "net.lumbre")
    assert found.kind == "lumbre archive"
    assert found.size_bytes == (tmp_path / "net.lumbre").stat().st_size
    assert found.tensors["layers.0.weight"] == "float32 (16, 4)"
    text = repr(found)
    for part in (
        "module: Net",
        "seed: 7",
        "d_in: 4",
        "train data: 96 rows",
        "torch: 2.",
        "train_loss, epoch 2",
        "code: Net",
    ):
        assert part in text
    receipt = found.document["record"]["receipt"]
    assert receipt["code"]["Net"].startswith("class Net(nn.Module):")
    assert receipt["options"]["seed"] == 7
    assert receipt["options"]["epochs"] == [0, 2]
    assert receipt["flags"]["threads"] == torch.get_num_threads()


def test_weights_without_a_class(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    fitted = recipe.fit(data, epochs=1, verbose=False)
    fitted.save(tmp_path / "net.lumbre")
    found = lb.load_weights(tmp_path / "net.lumbre")
    state = fitted.model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    safetensors.torch.save_file(state, tmp_path / "net.safetensors")
    assert lb.load_weights(tmp_path / "net.safetensors").keys() == state.keys()
    assert lb.inspect_file(tmp_path / "net.safetensors").kind == "safetensors"


def test_files_of_r_are_told_too(tmp_path: Path) -> None:
    lb.r.save_weights(tmp_path / "net.pt", {"weight": torch.ones(2, 3)})
    found = lb.inspect_file(tmp_path / "net.pt")
    assert dict(found.tensors) == {"weight": "float32 (2, 3)"}
    with pytest.raises(lb.ArchiveError, match=r"lumbre\.r\.load_weights"):
        lb.load_weights(tmp_path / "net.pt")
    value = r.named(values=r.named(lr=r.doubles(0.5)), type=r.strings("list"), version=r.doubles(2))
    (tmp_path / "old.rds").write_bytes(r.rds(value))
    assert lb.inspect_file(tmp_path / "old.rds").document == {"lr": 0.5}


@pytest.mark.parametrize("data", [b"", b"12345678", b"\x08" + bytes(7) + b"{}      ", b"PK\x03\x04 a zip"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    for read in (lb.inspect_file, lb.load_weights):
        if data.endswith(b"{}      "):  # safetensors without tensors
            read(tmp_path / "file")
        else:
            with pytest.raises(lb.ArchiveError):
                read(tmp_path / "file")
    with pytest.raises(lb.ArchiveError):
        lb.inspect_file(tmp_path)


def test_a_file_cannot_move_the_cursor(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.lumbre", {"a\x1b[2Jb": torch.ones(1)}, {"module": "\x1b]0;title\x07"})
    assert "\x1b" not in repr(lb.inspect_file(tmp_path / "x.lumbre"))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("history", {}),
        ("history", {"records": [["train", "loss", "one", 1.0]]}),
        ("history", {"records": [], "seconds_of_nothing": 1}),
        ("hparams", []),
        ("encoding", {"features": 3}),
        ("record", {"data": 1, "findings": None}),
        ("record", {"data": {"train": {"lines": 1}}, "findings": None}),
        ("batch_size", 0),
        ("classes", [1, 2]),
        ("seed", None),
    ],
)
def test_a_document_of_the_wrong_form_is_refused(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path, part: str, value: object
) -> None:
    path = tmp_path / "net.lumbre"
    recipe.fit(data, epochs=1, verbose=False).save(path)
    archive = read_archive(path)
    write_archive(path, archive.tensors, {**archive.document, part: value})
    with pytest.raises(lb.ArchiveError, match="makes no sense"):
        lb.load(path, recipe)


def _told_of(path: Path, read: Callable[[Path], Any]) -> Any:
    """What a reader gives of a file, so that it can be compared."""
    found = read(path)
    if isinstance(found, lb.FileContents):
        return found.kind, dict(found.tensors), found.document
    state = found if isinstance(found, dict) else found.model.state_dict()
    return {name: (str(tensor.dtype), tensor.tolist()) for name, tensor in state.items()}


def test_a_bit_damaged_in_an_archive_never_makes_it_a_file_of_another_kind(tmp_path: Path) -> None:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=1, out_features=1)
    path = tmp_path / "line.lumbre"
    recipe.fit((torch.zeros(4, 1), torch.zeros(4, 1)), epochs=1, verbose=False, preflight=False).save(path)
    readers = (lb.inspect_file, lb.load_weights, lambda file: lb.load(file, recipe))
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    # All eight bits of the entries' names and values but the long text; of the rest a bit of every seventh byte.
    names = [
        at
        for name in (b'"__metadata__":{', b'"format":"lumbre"', b'"lumbre":"', b'"lumbre_sha256":"')
        for at in range(whole.index(name), whole.index(name) + len(name))
    ]
    damages = [(at, 1 << bit) for at in (*range(8), *names) for bit in range(8)]
    damages += [(at, 1 << at % 8) for at in range(8, header, 7)]
    right = [_told_of(path, read) for read in readers]
    digest = whole.index(b'"lumbre_sha256":"') + 17  # of the whole file, which inspect_file does not read
    for at, bit in damages:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        for read, expected in zip(readers, right, strict=True):
            try:
                found = _told_of(path, read)
            except lb.ArchiveError:
                continue
            assert found == expected, (at, bit)
            if read is lb.inspect_file and digest <= at < digest + 64:
                continue
            pytest.fail(f"bit {bit} of byte {at} of the header was not seen")


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata.pop("lumbre_sha256"),
        lambda metadata: metadata.update(lumbre_sha257=metadata.pop("lumbre_sha256")),
        lambda metadata: (metadata.pop("lumbre_sha256"), metadata.pop("format")),
        lambda metadata: (metadata.pop("lumbre_sha256"), metadata.pop("lumbre")),
        lambda metadata: metadata.update(more="than was written"),
    ],
    ids=["no hash", "another name", "no hash, no format", "no hash, no text", "an entry more"],
)
def test_metadata_that_were_changed_are_refused_by_every_reader(
    tmp_path: Path, change: Callable[[dict[str, str]], object]
) -> None:
    path = tmp_path / "x.lumbre"
    write_archive(path, {"weight": torch.ones(1)}, {"module": "Line"})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header["__metadata__"])
    for separators in ((",", ":"), (", ", ": ")):  # as Rust writes JSON, and as Python does
        text = json.dumps(header, separators=separators).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        for read in (lb.inspect_file, lb.load_weights, read_archive):
            with pytest.raises(lb.ArchiveError, match="is damaged"):
                read(path)


def test_other_files_with_like_names_are_read_on(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    safetensors.torch.save_file({"lumbre": torch.ones(2)}, path, {"format": "pt", "lumbre": "0.1"})
    assert lb.inspect_file(path).kind == "safetensors"
    assert lb.load_weights(path)["lumbre"].tolist() == [1, 1]


def test_a_look_reads_the_header_alone_and_loading_all(tmp_path: Path) -> None:
    path = tmp_path / "x.lumbre"
    write_archive(path, {"weight": torch.ones(1000)}, {"module": "Line"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000] + b"\1" + whole[-1999:])
    assert dict(lb.inspect_file(path).tensors) == {"weight": "float32 (1000)"}
    for read in (lb.load_weights, read_archive):
        with pytest.raises(lb.ArchiveError, match="is damaged"):
            read(path)
    for data in (whole[:-1], whole + b"0"):  # a file that is not as long as its header says
        path.write_bytes(data)
        for read in (lb.inspect_file, lb.load_weights, read_archive):
            with pytest.raises(lb.ArchiveError):
                read(path)


def test_of_a_file_whose_header_has_no_digest_all_is_checked(tmp_path: Path) -> None:
    whole = (Path(__file__).parent / "files" / "schema2.lumbre").read_bytes()
    path = tmp_path / "old.lumbre"
    path.write_bytes(whole)
    assert lb.inspect_file(path).tensors.keys() == lb.load_weights(path).keys()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(lb.ArchiveError, match="is damaged: its content"):
        lb.inspect_file(path)


def test_types_and_shapes_are_told_as_they_are_loaded(tmp_path: Path) -> None:
    single = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    state = {
        "coo": single.to_sparse(),
        "complex": single.to(torch.complex128),
        "sparse complex": single.to(torch.complex128).to_sparse(),
        "half": single.bfloat16(),
        "none": single[:0],
        "number": torch.tensor(3),
        "tied": single,
        "tied too": single,
    }
    write_archive(tmp_path / "x.lumbre", state, {"module": "Kinds"})
    found = lb.load_weights(tmp_path / "x.lumbre")
    assert dict(lb.inspect_file(tmp_path / "x.lumbre").tensors) == {
        name: f"{str(one.dtype).removeprefix('torch.')} ({', '.join(map(str, one.shape))})"
        for name, one in sorted(found.items())
    }
    assert all(found[name].dtype == one.dtype and found[name].layout == one.layout for name, one in state.items())
