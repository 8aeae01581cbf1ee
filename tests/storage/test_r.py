"""Files of R's torch and luz. The fixtures are written from the formats' description, see r_writer."""

import base64
import bz2
import gzip
import json
import lzma
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import r_writer as r
import safetensors.torch
import torch
from torch import Tensor, nn

import lumbre as lb
from lumbre.storage import _files
from lumbre.storage._xdr import read_r

FILES = Path(__file__).parent / "files"
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
BIAS = np.array([1.0, -1.0], np.float32)
MODULE = r.torch_file(
    "module",
    {"weight": WEIGHT, "bias": BIAS},
    r.serialized(r.closure(r.call("system", r.strings("rm -rf /")))),
    requires_grad={"weight": True, "bias": True},
)


def written(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "file.pt").write_bytes(data)
    return tmp_path / "file.pt"


def check_weights(found: dict[str, Tensor]) -> None:
    assert list(found) == ["weight", "bias"]
    assert torch.equal(found["weight"], torch.from_numpy(WEIGHT))
    assert torch.equal(found["bias"], torch.from_numpy(BIAS))


def test_a_module(tmp_path: Path) -> None:
    found = lb.r.load_weights(written(tmp_path, MODULE))
    assert found.keys() == {"weight", "bias"}
    net = nn.Linear(3, 2)
    net.load_state_dict(found)
    assert torch.equal(net.weight, torch.from_numpy(WEIGHT))


def test_a_tensor(tmp_path: Path) -> None:
    path = written(tmp_path, r.torch_file("tensor", {"...unnamed...": WEIGHT}))
    assert torch.equal(lb.r.load(path), torch.from_numpy(WEIGHT))
    with pytest.raises(lb.ArchiveError, match=r"lb\.r\.load\(path\)"):
        lb.r.load_weights(path)


def test_a_list_and_the_numbers_in_it(tmp_path: Path) -> None:
    listed = r.named(
        weight=r.address("0x55a4cca753a0"),
        again=r.address("0x55a4cca753a0"),
        inner=r.r_list(r.address("0xff"), r.strings("text"), r.NIL),
        epoch=r.integers(3),
        missing=r.integers(-(2**31)),
        flag=r.logicals(1, 0, -(2**31)),
        betas=r.doubles(0.9, 0.999),
        named=r.doubles(1.0, 2.0, names=r.strings("a", "b")),
        kind=r.integers(2, 1, **{"class": r.strings("factor"), "levels": r.strings("cat", "dog")}),
        rows=r.sequence(3, 1, 1),
        wrapped=r.wrapped(r.doubles(7.0)),
        hook=r.closure(r.NIL),
        code=r.closure(r.bytecode()),
    )
    data = r.torch_file("list", {"0x55a4cca753a0": WEIGHT, "0xff": BIAS}, r.serialized(listed))
    found = lb.r.load(written(tmp_path, data))
    assert torch.equal(found["weight"], torch.from_numpy(WEIGHT))
    assert found["again"] is found["weight"]
    assert torch.equal(found["inner"][0], torch.from_numpy(BIAS))
    assert found["inner"][1:] == ["text", None]
    plain = {name: value for name, value in found.items() if name not in ("weight", "again", "inner")}
    assert plain == {
        "epoch": 3,
        "missing": None,
        "flag": [True, False, None],
        "betas": [0.9, 0.999],
        "named": {"a": 1.0, "b": 2.0},
        "kind": ["dog", "cat"],
        "rows": [1, 2, 3],
        "wrapped": 7.0,
        "hook": lb.r.Unread("closure"),
        "code": lb.r.Unread("closure"),
    }


def test_named_tensors_and_luz_checkpoints_are_weights(tmp_path: Path) -> None:
    arrays = {"0x2": BIAS, "0x1": WEIGHT}
    state = r.named(weight=r.address("0x1"), bias=r.address("0x2"))
    check_weights(lb.r.load_weights(written(tmp_path, r.torch_file("list", arrays, r.serialized(state)))))
    checkpoint = r.named(epoch=r.integers(2), records=r.NIL, model=state, optimizers=r.named(opt=r.NIL))
    check_weights(lb.r.load_weights(written(tmp_path, r.torch_file("list", arrays, r.serialized(checkpoint)))))


def test_complex_numbers_go_by_name(tmp_path: Path) -> None:
    numbers = np.array([1 + 2j, 3 - 4j], np.complex64)
    arrays = {"first": BIAS, "second": np.frombuffer(numbers.tobytes(), np.uint8)}
    data = r.torch_file("state_dict", arrays, special_dtype={"second": {"shape": [2], "dtype": "cfloat"}})
    assert lb.r.load_weights(written(tmp_path, data))["second"].tolist() == numbers.tolist()


@pytest.mark.parametrize("as_environment", [False, True])
def test_a_fitted_model_of_luz(tmp_path: Path, as_environment: bool) -> None:
    path = written(tmp_path, r.luz_file(MODULE, context_is_environment=as_environment))
    assert lb.r.load_weights(path).keys() == {"weight", "bias"}
    found = lb.r.load(path)
    assert found["hparams"] == {"d_hidden": 32.0, "activation": "relu"}
    assert found["opt_hparams"] == {"lr": 0.01}
    assert found["records"] == {"metrics": {"train": [{"loss": 0.5}, {"loss": 0.25}]}}


# The bytes of these tensors were written by torch::save() of LibTorch 2.13 in C++.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("libtorch_float32_2x3.zip", torch.arange(6.0).reshape(2, 3)),
        ("libtorch_int64_4x3_transposed.zip", torch.arange(12).reshape(3, 4).t()),
        ("libtorch_bfloat16_2_grad.zip", torch.ones(2, dtype=torch.bfloat16)),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_tensors_of_older_versions(tmp_path: Path, name: str, expected: Tensor, version: int) -> None:
    data = (FILES / name).read_bytes()
    values = r.raw(data) if version == 2 else r.strings(base64.b64encode(data).decode())
    path = written(tmp_path, r.rds(r.named(values=values, type=r.strings("tensor"), version=r.doubles(version))))
    found = lb.r.load(path)
    assert torch.equal(found, expected)
    assert found.dtype == expected.dtype


def old_tensor(**attributes: bytes) -> bytes:
    inner = r.named(values=r.raw((FILES / "libtorch_float32_2x3.zip").read_bytes()), type=r.strings("tensor"))
    return r.raw(r.serialized(inner, 2), **attributes)


def test_modules_and_lists_of_older_versions(tmp_path: Path) -> None:
    module = r.named(
        module=r.environment(forward=r.closure(r.bytecode())),
        state_dict=r.named(weight=old_tensor()),
        type=r.strings("module"),
        version=r.doubles(2),
    )
    assert torch.equal(lb.r.load_weights(written(tmp_path, r.rds(module)))["weight"], torch.from_numpy(WEIGHT))
    tensor = old_tensor(**{"class": r.strings("torch_serialized_tensor")})
    values = r.named(state=r.r_list(tensor, r.doubles(1.5)))
    path = written(tmp_path, r.rds(r.named(values=values, type=r.strings("list"), version=r.doubles(2))))
    found = lb.r.load(path)
    assert torch.equal(found["state"][0], torch.from_numpy(WEIGHT))
    assert found["state"][1] == 1.5


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_every_compression_of_r(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    value = r.named(values=r.named(epoch=r.integers(3)), type=r.strings("list"), version=r.doubles(2))
    assert lb.r.load(written(tmp_path, compress(r.serialized(value)))) == {"epoch": 3}


def test_what_we_write_is_as_r_writes_it(tmp_path: Path) -> None:
    state = nn.BatchNorm1d(2).state_dict()
    lb.r.save_weights(tmp_path / "net.pt", state)
    again = lb.r.load_weights(tmp_path / "net.pt")
    assert list(again) == list(state)
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
    # What R looks at: its notes as a text in the metadata, which come last, and the serialized list.
    data = (tmp_path / "net.pt").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    assert list(header)[-1] == "__metadata__"
    notes = json.loads(header["__metadata__"]["__r__"])
    assert (notes["type"], notes["version"]) == ("list", 3)
    listed = safetensors.torch.load(data)["__robj__"].numpy().tobytes()
    names = r.strings(*state)
    expected = r.r_list(*map(r.address, state), names=names)
    assert listed[14:] == expected
    assert listed[:6] == b"X\n" + struct.pack(">i", 2)


def test_a_tensor_goes_both_ways(tmp_path: Path) -> None:
    lb.r.save_weights(tmp_path / "one.pt", torch.eye(3))
    assert torch.equal(lb.r.load(tmp_path / "one.pt"), torch.eye(3))
    assert list(safetensors.torch.load_file(tmp_path / "one.pt")) == ["...unnamed..."]


def test_names_beyond_ascii(tmp_path: Path) -> None:
    lb.r.save_weights(tmp_path / "net.pt", {"größe.λ": torch.ones(1)})
    assert list(lb.r.load_weights(tmp_path / "net.pt")) == ["größe.λ"]


def test_types_that_r_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(lb.ArchiveError, match="view_as_real"):
        lb.r.save_weights(tmp_path / "net.pt", {"x": torch.ones(1, dtype=torch.complex64)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no file of torch_save"),
        (b"X\n", "cut short"),
        (b"A\n3\n262144\n", "text"),
        (b"\x1f\x8b\x08\x00", "cut short"),
        (b"PK\x03\x04", "no file of torch_save"),
        (r.torch_file("list", {}, r.serialized(r.named(x=r.address("0x9")))), "0x9"),
        (r.torch_file("spell", {"x": BIAS}), "spell"),
        (r.torch_file("tensor", {"x": BIAS})[:-1], "damaged"),
        (r.rds(r.strings("hello")), "neither"),
        (r.rds(r.named(("luz_module_fitted",), model=r.NIL, ctx=r.named(x=r.NIL))), "saveRDS"),
        (r.rds(struct.pack(">ii", 19, 2**30)), "cut short"),
        (r.rds(struct.pack(">i", 99)), "unknown type 99"),
        (r.rds(struct.pack(">i", 255 | 7 << 8)), "refers to item 7"),
        (r.rds(r.sequence(1e12, 1, 1)), "sequence"),
        (r.rds(struct.pack(">ii", 19, 1) * 100_000 + r.NIL), "nested"),
        (r.rds(r.named(values=r.raw(b"PK"), type=r.strings("tensor"))), "cannot be read"),
        (r.luz_file(r.luz_file(MODULE)), "neither"),
    ],
)
def test_what_is_no_file_of_r_is_refused_by_name(tmp_path: Path, data: bytes, word: str) -> None:
    with pytest.raises(lb.ArchiveError) as caught:
        lb.r.load(written(tmp_path, data))
    assert word in caught.value.received
    assert caught.value.fix


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "ALWAYS_ALLOWED_BYTES", 1 << 16)
    bomb = r.rds(r.raw(bytes(1 << 24)))
    with pytest.raises(lb.ArchiveError, match="unfolds"):
        lb.r.load(written(tmp_path, bomb))


def test_a_tensor_file_can_call_nothing(tmp_path: Path) -> None:
    import io
    import zipfile

    for body in (b"cos\nsystem\n(X\x02\x00\x00\x00lstR.", b"\x80\x02(i__main__\nf\n.", b"c__builtin__\neval\n)\x81."):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as file:
            file.writestr("x/data.pkl", body)
        value = r.named(values=r.raw(held.getvalue()), type=r.strings("tensor"))
        with pytest.raises(lb.ArchiveError, match="no tensor needs"):
            lb.r.load(written(tmp_path, r.rds(value)))


def test_deep_structures_do_not_overflow_the_stack() -> None:
    deep = r.NIL
    for _ in range(5_000):
        deep = r.r_list(deep)
    value = read_r(r.serialized(deep))
    depth = 0
    while value.kind == "list":
        value, depth = value.value[0], depth + 1
    assert depth == 5_000


def test_numbers_that_are_not_there(tmp_path: Path) -> None:
    value = r.named(values=r.named(x=r.doubles(math.nan)), type=r.strings("list"), version=r.doubles(2))
    assert math.isnan(lb.r.load(written(tmp_path, r.rds(value)))["x"])


@pytest.mark.parametrize(
    "state",
    [
        nn.Linear(1, 1),
        [torch.ones(1)],
        {"a": None},
        {"a": torch.ones(1), "_extra_state": {"k": 1}},
        {0: torch.ones(1)},
        {"a\udce9": torch.ones(1)},
        {"a": torch.eye(2).to_sparse()},
        {"a": torch.ones(1, device="meta")},
    ],
)
def test_what_is_no_weights_by_name_is_refused_in_words(tmp_path: Path, state: Any) -> None:
    with pytest.raises(lb.ArchiveError, match="expected"):
        lb.r.save_weights(tmp_path / "w.pt", state)


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"10 \x80", 4, "10 \u20ac"),  # of Windows, which R calls latin1
        (b"caf\xe9", 4, "caf\u00e9"),
        (b"\x81", 4, "\\x81"),
        (b"\xc3\xa9", 8, "\u00e9"),
        (b"\xc3\xa9", 2, "\\xc3\\xa9"),  # bytes
    ],
)
def test_texts_by_their_encoding(data: bytes, encoding: int, text: str) -> None:
    item = struct.pack(">iiii", 16, 1, 9 | encoding << 12, len(data)) + data
    assert read_r(b"X\n" + struct.pack(">iii", 2, 0, 0) + item).value == [text]
