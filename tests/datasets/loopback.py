"""A loopback server with small files in the real formats, standing in for the mirrors of the table."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from lumbre.datasets import _table
from lumbre.datasets._table import Entry, RemoteFile


@dataclass
class Site:
    """What the server serves, and what it was asked for.

    Attributes:
        files: path -> content.
        faults: path -> a list of what to do with the next requests instead: an HTTP status, "truncate" (half of the
            body), or "reset" (close without an answer).
        asked: (path, Range header) of every request.
        ranges: whether parts are served.
        delay_seconds: before each answer.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    delay_seconds: float = 0.0


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            time.sleep(site.delay_seconds)
            fault = site.faults[self.path].pop(0) if site.faults.get(self.path) else None
            body = site.files.get(self.path)
            if fault == "reset":
                self.close_connection = True
                return
            if isinstance(fault, int) or body is None:
                self.send_error(fault if isinstance(fault, int) else 404)
                return
            start = int(wanted[6:-1]) if wanted and site.ranges else 0
            if start >= len(body) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : start + (len(body) - start) // 2] if fault == "truncate" else body[start:])
            self.close_connection = True

    return Handler


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = Site("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


Serve = Callable[..., list[str]]


@pytest.fixture
def serve(site: Site, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Put small files in the place of a set's: serve(name, {file: content}, rows, mirrors=1) -> their paths there."""

    def put(name: str, files: Mapping[str, bytes], rows: Mapping[str, int], mirrors: int = 1) -> list[str]:
        true = _table.TABLE[name]
        entries, paths = [], []
        for file, content in files.items():
            was = true.file(file)
            here = [f"/{mirror}/{name}/{file}" for mirror in range(mirrors)]
            site.files |= dict.fromkeys(here, content)
            paths += here
            md5 = None if was.md5 is None else hashlib.md5(content).hexdigest()
            inside = None if was.content_sha256 is None else hashlib.sha256(gzip.decompress(content)).hexdigest()
            urls = tuple(site.url + path for path in here)
            entries.append(RemoteFile(file, urls, md5, inside, was.inner))
        assert set(files) <= {file.name for file in true.files}
        monkeypatch.setitem(_table.TABLE, name, Entry(tuple(entries), rows))
        return paths

    return put


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes (uint8) or of 32-bit big-endian integers."""
    code = 0x08 if array.dtype == np.uint8 else 0x0C
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype if code == 0x08 else ">i4").tobytes()


def _folders(files: Iterable[str]) -> list[str]:
    """The folders of the files, which real archives list too; an outer one before what it holds."""
    paths = [PurePosixPath(name) for name in files]
    decent = [path for path in paths if not path.is_absolute() and ".." not in path.parts]
    return sorted({str(parent) for path in decent for parent in path.parents} - {"."} - set(files))


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in _folders(files):
            archive.writestr(f"{folder}/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for folder in _folders(files):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def picture(colour: object, size: tuple[int, int] = (40, 30), kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """An image of one colour, width x height."""
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
