"""Readers meet damaged and hostile files: read or refused, never anything else.

Most of it runs in a process of its own, whose memory is bounded; `run.py` says what counts as a finding.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import signed

import lumbre as lb
from lumbre.storage import read_archive, write_archive
from lumbre.storage._xdr import RDataError, read_r

FOLDER = Path(__file__).parent
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def fuzzed(inputs: int, seed: int) -> str:
    """What run.py prints."""
    words = [sys.executable, "run.py", "--inputs", str(inputs), "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(words, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]
    return found.stdout


def test_some_hundred_files() -> None:
    said = fuzzed(400, seed=12)
    assert re.search(r"^4\d{2} inputs, 0 findings", said, re.MULTILINE), said
    # All seeds, and so most of the readers, are reached: some files are read, and some refused.
    for name in ("archive", "checkpoint", "codec", "r", "libtorch", "tar", "zip"):
        read, refused = re.search(rf"^{name}: .* ([\d,]+) read, ([\d,]+) refused", said, re.MULTILINE).groups()
        assert int(read) > 0, name
        assert int(refused) > 0, name


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_files() -> None:
    said = fuzzed(100_000, seed=0)
    print(said)
    total = re.search(r"^([\d,]+) inputs, 0 findings", said, re.MULTILINE)
    assert total is not None
    assert int(total[1].replace(",", "")) >= 100_000


def test_the_harness_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import run
    import targets

    def spoiled(_: Path) -> targets.Target:
        def read(path: Path) -> None:
            kind = path.read_bytes()
            if kind == b"0":
                raise KeyError("not lumbre's own")
            if kind == b"1":
                (path.parent.parent / "escaped").write_text("x")
            if kind == b"2":
                (path.parent / "into").mkdir()
                (path.parent / "into" / "link").symlink_to("/")
            if kind == b"3":
                raise lb.ArchiveError("received", "expected", "fix")

        numbers = iter(b"3201")
        return targets.Target(lambda _: bytes([next(numbers)]), read)

    monkeypatch.setitem(targets.TARGETS, "spoiled", spoiled)
    outcomes, findings = run.fuzz("spoiled", range(4), 0, tmp_path)
    assert outcomes == {"refused": 1, "finding": 3}
    assert "KeyError" in findings[1]


@settings(max_examples=40, deadline=None)
@given(document=JSON)
def test_a_document_of_any_form(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "file"
    write_archive(path, {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, {"history": document, "hparams": document})
    assert read_archive(path).tensors.keys() == {"weight", "bias"}
    repr(lb.inspect_file(path))
    with pytest.raises(lb.LumbreError):
        lb.load(path, torch.nn.Linear)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_bytes_of_any_kind(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for file in (data, b"X\n\0\0\0\2" + bytes(8) + data, signed(data)):
        path.write_bytes(file)
        for read in (lb.r.load, lb.inspect_file, lb.load_weights):
            try:
                read(path)
            except lb.ArchiveError as error:
                assert error.fix


@settings(max_examples=150, deadline=None)
@given(flags=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_items_of_any_type(flags: list[int]) -> None:
    items = b"".join((flag % 256 | flag & 0x700).to_bytes(4, "big") for flag in flags)
    try:
        read_r(b"X\n\0\0\0\2" + bytes(8) + items)
    except RDataError as error:
        assert str(error)
