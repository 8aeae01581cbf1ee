"""Fetching: mirrors, restart, verification, two processes, bad disks, bad archives. The server is on the loopback."""

import errno
import gzip
import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import loopback
import numpy as np
import pytest
from loopback import Serve, Site, idx, names, tarred, zipped

import lumbre as lb
from lumbre.datasets import _archives, _download
from lumbre.datasets._archives import extract
from lumbre.datasets._table import TABLE, Entry

# Fixtures; a conftest.py here would hide the one above from the other tests.
serve, site = loopback.serve, loopback.site

IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body that breaks off, what came before the last whole chunk is kept; the test files are small."""
    monkeypatch.setattr(_download, "_CHUNK_BYTES", 50)


def _kmnist(rows: int = 6) -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    labels = np.arange(rows, dtype=np.uint8) % 10
    return {IMAGES: gzip.compress(idx(pixels)), LABELS: gzip.compress(idx(labels))}


def _load(root: Path, **options: object) -> object:
    return lb.datasets.kmnist(train=False, root=root, **options)


def test_fetched_once_and_no_trace_left(serve: Serve, site: Site, tmp_path: Path) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    assert len(_load(tmp_path)) == 6
    assert len(site.asked) == 2
    assert len(_load(tmp_path)) == len(_load(tmp_path, download=False)) == 6
    assert len(site.asked) == 2
    assert names(tmp_path / "kmnist") - {".lock"} == {IMAGES, LABELS}


_TRAIN = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}
# What a set's default call reads.
_NEEDED = {
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), _TRAIN),
    "qmnist": {"qmnist-train-images-idx3-ubyte.gz", "qmnist-train-labels-idx2-int.gz"},
    "oxford_pets": {"images.tar.gz", "annotations.tar.gz"},
    "flowers102": {"102flowers.tgz", "imagelabels.mat", "setid.mat"},
    "eurosat": {"EuroSAT.zip", "eurosat-train.txt"},
}


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("name", sorted(TABLE))
def test_offline_names_the_folder_and_all_files(
    name: str, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if offline:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        entry = TABLE[name]
        unserved = tuple(replace(file, urls=(f"{url}{file.name}",)) for file in entry.files)
        monkeypatch.setitem(TABLE, name, Entry(unserved, entry.rows))
    with pytest.raises(lb.DownloadError) as caught:
        getattr(lb.datasets, name)(root=tmp_path, download=offline)
    assert str(tmp_path / name) in caught.value.received
    assert ("ConnectionError" if offline else "download=False") in caught.value.received
    needed = _NEEDED.get(name, {file.name for file in TABLE[name].files})
    said, _, _ = caught.value.expected.partition(" in that folder")
    assert set(said.split(", ")) == needed
    assert f"the folder that holds {name}/" in caught.value.fix
    if not offline:
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("fault", [404, 500, "reset"])
def test_a_mirror_that_fails_is_passed_over(serve: Serve, site: Site, tmp_path: Path, fault: int | str) -> None:
    first = serve("kmnist", _kmnist(), {"t10k": 6}, mirrors=2)[0]
    site.faults[first] = [fault] * 9
    assert len(_load(tmp_path)) == 6
    assert [path for path, _ in site.asked][:2] == [first, first.replace("/0/", "/1/")]


def test_no_mirror_answers(serve: Serve, site: Site, tmp_path: Path) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6}, mirrors=2)
    site.files.clear()
    with pytest.raises(lb.DownloadError) as caught:
        _load(tmp_path)
    assert caught.value.received.count("404 Client Error") == 2  # a port may hold these digits, too
    assert str(tmp_path / "kmnist") in caught.value.received
    assert not names(tmp_path / "kmnist") & {IMAGES, LABELS}


def test_wrong_content_is_not_kept_and_the_next_mirror_is_asked(serve: Serve, site: Site, tmp_path: Path) -> None:
    first = serve("kmnist", _kmnist(), {"t10k": 6}, mirrors=2)[0]
    right = site.files[first]
    site.files[first] = right[:-1] + b"?"
    assert len(_load(tmp_path)) == 6
    assert (tmp_path / "kmnist" / IMAGES).read_bytes() == right
    site.files[first.replace("/0/", "/1/")] = b"something else"
    with pytest.raises(lb.DownloadError, match="whose MD5 is"):
        _load(tmp_path / "elsewhere")
    assert names(tmp_path / "elsewhere" / "kmnist") == {".lock"}


def test_a_file_that_is_there_is_verified_when_read(serve: Serve, tmp_path: Path) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    _load(tmp_path)
    path = tmp_path / "kmnist" / LABELS
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(lb.DownloadError, match=f"delete {path}"):
        _load(tmp_path)


def test_a_set_is_not_taken_for_another(serve: Serve, tmp_path: Path) -> None:
    ones, twos = np.ones((2, 28, 28), np.uint8), np.full((2, 28, 28), 2, np.uint8)
    labels = gzip.compress(idx(np.zeros(2, np.uint8)))
    serve("kmnist", {IMAGES: gzip.compress(idx(ones)), LABELS: labels}, {"t10k": 2})
    serve("fashion_mnist", {IMAGES: gzip.compress(idx(twos)), LABELS: labels}, {"t10k": 2})
    assert lb.datasets.kmnist(train=False, root=tmp_path).input.unique().tolist() == [1]
    assert lb.datasets.fashion_mnist(train=False, root=tmp_path).input.unique().tolist() == [2]


def test_a_body_that_breaks_off_is_taken_up_where_it_broke(serve: Serve, site: Site, tmp_path: Path) -> None:
    first = serve("kmnist", _kmnist(), {"t10k": 6})[0]
    site.faults[first] = ["truncate", "truncate"]
    assert len(_load(tmp_path)) == 6
    starts = [int(wanted[6:-1]) if wanted else 0 for path, wanted in site.asked if path == first]
    size = len(site.files[first])
    assert starts == pytest.approx([0, size / 2, size * 3 / 4], abs=100)


def test_a_later_call_takes_up_where_an_earlier_one_stopped(serve: Serve, site: Site, tmp_path: Path) -> None:
    first = serve("kmnist", _kmnist(), {"t10k": 6})[0]
    site.faults[first] = ["truncate", 503]
    with pytest.raises(lb.DownloadError, match="503"):
        _load(tmp_path)
    assert len(_load(tmp_path)) == 6
    assert [wanted for path, wanted in site.asked if path == first][-1] is not None


@pytest.mark.parametrize("content", ["of another file", "longer than the file"])
def test_a_beginning_of_something_else_is_thrown_away(serve: Serve, site: Site, tmp_path: Path, content: str) -> None:
    first = serve("kmnist", _kmnist(), {"t10k": 6})[0]
    site.faults[first] = ["truncate", 503]
    with pytest.raises(lb.DownloadError):
        _load(tmp_path)
    (part,) = (tmp_path / "kmnist").glob(".part-*")
    part.write_bytes(b"?" * (50 if content == "of another file" else 10 * len(site.files[first])))
    assert len(_load(tmp_path)) == 6


def test_a_server_that_serves_no_parts(serve: Serve, site: Site, tmp_path: Path) -> None:
    site.ranges = False
    first = serve("kmnist", _kmnist(), {"t10k": 6})[0]
    site.faults[first] = ["truncate"]
    assert len(_load(tmp_path)) == 6


def _program(does: str, *sets: str) -> list[str]:
    """A process that has the sets' files on the loopback server, waits for a line, and then does something."""
    table = {name: TABLE[name] for name in sets}
    code = f"""
import os, shutil, sys
import lumbre as lb
from lumbre.datasets._table import TABLE, Entry, RemoteFile
TABLE.update({table!r})
print("ready", flush=True)
sys.stdin.readline()
{does}"""
    return [sys.executable, "-c", code]


def test_two_processes_fetch_and_unpack_once(serve: Serve, site: Site, tmp_path: Path) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    batches = {"test_batch.bin": bytes(3073), "batches.meta.txt": b"airplane"}
    files = {f"cifar-10-batches-bin/{name}": content for name, content in batches.items()}
    serve("cifar10", {"cifar-10-binary.tar.gz": tarred(files)}, {"test": 1})
    site.delay_seconds = 0.1
    does = f"""
for load in (lb.datasets.kmnist, lb.datasets.cifar10):
    print(len(load(train=False, root={str(tmp_path)!r})))
"""
    processes = [
        subprocess.Popen(_program(does, "kmnist", "cifar10"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == ["6\n1\n", "6\n1\n"]
    assert len(site.asked) == 3
    assert names(tmp_path / "cifar10") - {".lock"} == {"cifar-10-binary.tar.gz", "cifar-10-binary"}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_folder_that_cannot_be_written(serve: Serve, tmp_path: Path) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    _load(tmp_path)  # so that whatever is imported on use has been
    with tempfile.TemporaryDirectory() as name:
        closed = Path(name) / "closed"
        closed.mkdir()
        Path(name).chmod(0o755)
        closed.chmod(0o555)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)  # root may write anywhere
        try:
            with pytest.raises(lb.DownloadError, match="which cannot be written") as caught:
                _load(closed)
        finally:
            os.seteuid(before)
        assert str(closed / "kmnist") in caught.value.received
        assert "LUMBRE_DATA" in caught.value.fix


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_data_in_a_read_only_folder_is_read(serve: Serve) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    with tempfile.TemporaryDirectory() as name:
        _load(Path(name))
        Path(name).chmod(0o755)
        (Path(name) / "kmnist").chmod(0o555)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)
        try:
            assert len(_load(Path(name))) == 6
        finally:
            os.seteuid(before)
            (Path(name) / "kmnist").chmod(0o755)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_space_while_fetching(serve: Serve, site: Site, tmp_path: Path) -> None:
    first = serve("kmnist", _kmnist(), {"t10k": 6}, mirrors=2)[0]
    site.faults[first] = ["truncate", 503]
    site.faults[first.replace("/0/", "/1/")] = [503]
    with pytest.raises(lb.DownloadError):
        _load(tmp_path)
    (part,) = (tmp_path / "kmnist").glob(".part-*")
    part.unlink()
    part.symlink_to("/dev/full")
    site.asked.clear()
    with pytest.raises(lb.DownloadError, match="whose disk is full") as caught:
        _load(tmp_path)
    assert "free some space" in caught.value.fix
    assert len(site.asked) == 1  # another mirror would not help


def test_a_disk_that_is_really_full(serve: Serve, site: Site, tmp_path: Path) -> None:
    """On a file system of its own, which only root may make: a file too large, an archive that unfolds too far."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"', str(disk)]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be made here")
    serve("kmnist", {IMAGES: os.urandom(1 << 19), LABELS: gzip.compress(b"")}, {})
    batch = np.random.default_rng(0).integers(0, 2, 400_000, np.uint8).tobytes()
    serve("cifar10", {"cifar-10-binary.tar.gz": tarred({"cifar-10-batches-bin/test_batch.bin": batch})}, {})
    does = f"""
for load in (lb.datasets.kmnist, lb.datasets.cifar10):
    try:
        load(train=False, root={str(disk)!r})
    except lb.DownloadError as error:
        print(error.received)
    print(sorted(os.listdir({str(disk)!r} + "/" + load.__name__)))
    shutil.rmtree({str(disk)!r} + "/kmnist", ignore_errors=True)
"""
    said = subprocess.run(
        [*mount, *_program(does, "kmnist", "cifar10")], input="go\n", capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"{disk / 'kmnist'}, whose disk is full: [Errno 28]" in said[1]
    assert f"{disk / 'cifar10'}, whose disk is full: [Errno 28]" in said[3]
    assert said[4] == "['.lock', 'cifar-10-binary.tar.gz']"
    assert len(site.asked) == 2


def test_no_space_while_unpacking(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("cifar10", {"cifar-10-binary.tar.gz": tarred({"cifar-10-batches-bin/test_batch.bin": b"?"})}, {})

    def full(archive: Path, into: Path) -> None:
        into.mkdir()
        (into / "begun").write_bytes(b"...")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_download, "extract", full)
    with pytest.raises(lb.DownloadError, match="whose disk is full"):
        lb.datasets.cifar10(root=tmp_path)
    assert names(tmp_path / "cifar10") - {".lock"} == {"cifar-10-binary.tar.gz"}


def _with_link(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            link = zipfile.ZipInfo("innocent")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
    else:
        with tarfile.open(fileobj=out, mode="w") as archive:
            link = tarfile.TarInfo("innocent")
            link.type, link.linkname = (tarfile.SYMTYPE, "/etc") if kind == "symlink" else (tarfile.LNKTYPE, "x")
            archive.addfile(link)
    return out.getvalue()


def _member(kind: bytes, size: int = 0) -> bytes:
    """A compressed tar archive with one member of a kind, of `size` zeros."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("innocent")
        member.type, member.size = kind, size
        archive.addfile(member, io.BytesIO(bytes(size)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped({"../out": b"x"}), "with the path '../out'"),
        (zipped({"/out": b"x"}), "with the path '/out'"),
        (zipped({"a\\..\\..\\out": b"x"}), "with the path"),
        (zipped({"C:/out": b"x"}), "with the path"),
        (tarred({"../out": b"x"}), "with the path '../out'"),
        (tarred({"/out": b"x"}), "with the path '/out'"),
        (zipped({"a": b"x", "a/b": b"x"}), "cannot be unpacked"),
        (tarred({"a/b": b"x", "a": b"x"}), "cannot be unpacked"),
        (_with_link("zip"), "with the link 'innocent'"),
        (_with_link("symlink"), "neither a file nor a folder"),
        (_with_link("hard"), "neither a file nor a folder"),
        (_member(tarfile.FIFOTYPE), "neither a file nor a folder"),
        (_member(tarfile.GNUTYPE_SPARSE), "neither a file nor a folder"),
        (zipped({"zeros": bytes(3_000_000)}), "unfolds into"),
        (tarred({"zeros": bytes(3_000_000)}), "unfolds into"),
        (_member(tarfile.XHDTYPE, 3_000_000), "unfolds into"),  # a header that would be read into memory
        (_member(tarfile.GNUTYPE_LONGNAME, 3_000_000), "unfolds into"),
        (b"no archive at all", "cannot be unpacked"),
        (tarred({"a": os.urandom(9000)})[:-4000], "cannot be unpacked"),
        (zipped({"a": os.urandom(9000)})[:-40], "cannot be unpacked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",  # whose bytes hold the time
)
def test_archives_are_not_trusted(content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archives, "_ALWAYS_ALLOWED_BYTES", 100_000)
    archive = tmp_path / "deep" / "archive"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(lb.DownloadError, match=said):
        extract(archive, tmp_path / "deep" / "into")
    assert names(tmp_path) == {"deep"}
    assert names(tmp_path / "deep") == {"archive", "into"}


def test_a_damaged_archive_leaves_nothing_half_unpacked(serve: Serve, tmp_path: Path) -> None:
    whole = zipped({"train/robin/1.jpg": os.urandom(500), "valid/robin/1.jpg": os.urandom(500)})
    broken = bytearray(whole)
    broken[whole.index(b"valid/robin") + 60] ^= 255
    serve("bird_species", {"bird-species.zip": bytes(broken)}, {})
    with pytest.raises(lb.DownloadError, match="cannot be unpacked"):
        _download.unpacked("bird_species", "bird-species.zip", root=tmp_path, download=True)
    assert names(tmp_path / "bird_species") - {".lock"} == {"bird-species.zip"}


def test_without_pooch(serve: Serve, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(lb.MissingExtraError, match=r"lumbre\[data\]"):
        _load(tmp_path)
    assert not site.asked


def test_the_folder_may_be_named_by_the_environment(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    monkeypatch.setenv("LUMBRE_DATA", str(tmp_path / "named"))
    assert len(lb.datasets.kmnist(train=False)) == 6
    assert (tmp_path / "named" / "kmnist" / LABELS).exists()


def test_without_a_name_the_folder_is_in_the_user_s_cache(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    monkeypatch.delenv("LUMBRE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert len(lb.datasets.kmnist(train=False)) == 6
    assert (tmp_path / "lumbre" / "kmnist" / LABELS).exists()


def test_what_unfolds_without_end_is_not_held_in_memory(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("kmnist", {IMAGES: gzip.compress(bytes(90_000)), LABELS: gzip.compress(b"")}, {})
    monkeypatch.setattr(_download, "_ALWAYS_ALLOWED_BYTES", 10_000)
    monkeypatch.setattr(_download, "_LARGEST_RATIO", 1)
    monkeypatch.setattr(_download, "_PIECE_BYTES", 1_000)
    with pytest.raises(lb.DownloadError, match="unfolds without end"):
        _load(tmp_path)


def test_images_and_labels_are_as_many(serve: Serve, tmp_path: Path) -> None:
    serve("kmnist", _kmnist() | {LABELS: gzip.compress(idx(np.zeros(5, np.uint8)))}, {"t10k": 6})
    with pytest.raises(lb.DownloadError, match="6 images and 5 labels"):
        _load(tmp_path)


def test_progress_is_drawn_on_a_terminal_only(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve("kmnist", _kmnist(), {"t10k": 6})
    _load(tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    _load(tmp_path / "seen")
    assert IMAGES in capsys.readouterr().err
