"""Damaged and hostile files, made from valid ones: bytes changed blindly, and in ways that get past the first check."""

import copy
import hashlib
import io
import json
import random
import re
import tarfile
import zipfile
from typing import Any

_NUMBERS = (0, 1, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    b"../",
    b"/",
    b"\0",
    b"-1",
    b"99999999999",
    b"1e999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"[" * 2000,
    b"\xff\xfe",
)
_NAMES = (
    "a.txt",
    "b/c.txt",
    "b",
    "../out.txt",
    "a/../../out.txt",
    "/tmp/lumbre-fuzz-out.txt",
    "..\\out.txt",
    "C:\\out.txt",
    "C:out.txt",
    "\\\\host\\out.txt",
    "./a/./b.txt",
    ".",
    "..",
    "",
    "link",
    "link/out.txt",
    "n" * 300,
    "d/" * 200 + "x",
    "d/" * 3000 + "x",
    "\ud800",
    "é\n\x1b[2J",
    "a\0b",
    "CON",
    "~/.bashrc",
)
_DIGEST = re.compile(rb'"lumbre_sha256":"([0-9a-f]{64})"')
_HEAD_DIGEST = re.compile(rb'"lumbre_head_sha256":"([0-9a-f]{64})"')


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """`data` with one to six changes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        _change(found, rng, others)
    return bytes(found)


def _change(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 16, 64, 1024)))
    kind = rng.randrange(9)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = rng.randrange(256)
    elif kind == 2:
        width = rng.choice((1, 2, 4, 8))
        number = rng.choice(_NUMBERS) % 256**width
        data[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        del data[at:end]
    elif kind == 5:
        data[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
    elif kind == 6:
        data[at:at] = data[at:end] * rng.choice((1, 2, 50))
    elif kind == 7:
        data[at:end] = rng.choice(_TEXTS)
    else:
        other = rng.choice(others)
        start = rng.randrange(len(other) + 1)
        data[at:end] = other[start : start + rng.choice((4, 64, 1024))]


def signed(archive: bytes) -> bytes:
    """An archive with the digests that its bytes ask for, so that the reader believes them."""
    found = _DIGEST.search(archive)
    if found is None:
        return archive
    begin, end = found.span(1)
    blank = archive[:begin] + b"0" * 64 + archive[end:]
    if of_head := _HEAD_DIGEST.search(blank):
        before, after = of_head.span(1)
        blank = blank[:before] + b"0" * 64 + blank[after:]
        head = blank[: 8 + int.from_bytes(blank[:8], "little")]
        blank = blank[:before] + hashlib.sha256(head).hexdigest().encode() + blank[after:]
    return blank[:begin] + hashlib.sha256(blank).hexdigest().encode() + blank[end:]


def mutated_json(document: Any, rng: random.Random) -> Any:
    """A document with one to three parts that were taken away or are something else."""
    found = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, key = found, None
        while isinstance(place, (dict, list)) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if rng.random() < 0.35 or not isinstance(place[key], (dict, list)):
                break
            place = place[key]
        if key is None or not isinstance(place, (dict, list)) or not place:
            continue
        if rng.random() < 0.25:
            del place[key]
        else:
            place[key] = _junk(rng)
    return found


def _junk(rng: random.Random) -> Any:
    whole = rng.choice(_NUMBERS) * rng.choice((1, -1))
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    numbers: tuple[Any, ...] = (True, whole, 0, -1, 1.5, float("nan"), float("inf"))
    texts: tuple[Any, ...] = ("", "x" * 500, "\0", "cuda:9", "\ud800", "bfloat16", "../x")
    return rng.choice((None, *numbers, *texts, [], {}, [[]], {"a": None}, [1, 2], deep, {"__not_stored__": 1}))


def checked_tar(data: bytes) -> bytes:
    """A tar with right checksums in all its headers, so that the reader believes them."""
    found = bytearray(data)
    for at in range(0, len(found) - 511, 512):
        if found[at + 257 : at + 262] == b"ustar":
            found[at + 148 : at + 156] = b" " * 8
            found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + 512])
    return bytes(found)


def hostile_tar(rng: random.Random) -> bytes:
    """A tar of members with names and kinds that no data set has."""
    held = io.BytesIO()
    form = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    with tarfile.open(fileobj=held, mode="w", format=form, errors="surrogatepass") as file:
        for _ in range(rng.randrange(1, 5)):
            member = tarfile.TarInfo(rng.choice(_NAMES))
            kinds = (tarfile.REGTYPE,) * 4 + (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
            member.type = rng.choice((*kinds, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, b"Z"))
            member.linkname = rng.choice(("..", "/", "a.txt", "../out.txt", "/etc/passwd"))
            member.mode = rng.choice((0o644, 0o4777, 0))
            content = rng.randbytes(rng.choice((0, 5, 600)))
            member.size = len(content) if rng.random() < 0.9 else rng.choice((2**33, 10**11, 1))
            try:
                file.addfile(member, io.BytesIO(content) if member.size == len(content) else None)
            except (UnicodeError, ValueError, OSError):
                continue
    return held.getvalue()


def hostile_zip(rng: random.Random) -> bytes:
    """A zip of members with names and kinds that no data set has."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))) as file:
        for _ in range(rng.randrange(1, 5)):
            name = rng.choice(_NAMES).encode("utf-8", "replace").decode()
            member = zipfile.ZipInfo(name or "x")
            member.external_attr = rng.choice((0o100644, 0o120777, 0o040755, 0o010644)) << 16
            content = rng.choice((rng.randbytes(50), bytes(100_000), b"../out.txt"))
            try:
                file.writestr(member, content)
            except (UnicodeError, ValueError):
                continue
    return held.getvalue()


def json_bytes(document: Any) -> bytes:
    """The text of a document; lone surrogates as they are escaped in JSON."""
    return json.dumps(document).encode()
