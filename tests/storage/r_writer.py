"""Files of R's torch and luz, written from the description of their formats, without a line of the reader's."""

import gzip
import json
import struct
from typing import Any

import numpy as np

NIL = struct.pack(">i", 254)
GLOBAL = struct.pack(">i", 253)


def text(value: str) -> bytes:
    return struct.pack(">ii", 9 | 64 << 12, len(value.encode())) + value.encode()


def symbol(name: str) -> bytes:
    return struct.pack(">i", 1) + text(name)


def pairlist(*pairs: tuple[str, bytes]) -> bytes:
    return b"".join(struct.pack(">i", 2 | 1 << 10) + symbol(name) + value for name, value in pairs) + NIL


def with_flags(kind: int, attributes: dict[str, bytes], body: bytes) -> bytes:
    if not attributes:
        return struct.pack(">i", kind) + body
    is_object = 1 << 8 if "class" in attributes else 0
    return struct.pack(">i", kind | 1 << 9 | is_object) + body + pairlist(*attributes.items())


def strings(*values: str, **attributes: bytes) -> bytes:
    return with_flags(16, attributes, struct.pack(">i", len(values)) + b"".join(map(text, values)))


def doubles(*values: float, **attributes: bytes) -> bytes:
    return with_flags(14, attributes, struct.pack(f">i{len(values)}d", len(values), *values))


def integers(*values: int, **attributes: bytes) -> bytes:
    return with_flags(13, attributes, struct.pack(f">i{len(values)}i", len(values), *values))


def logicals(*values: int) -> bytes:
    return with_flags(10, {}, struct.pack(f">i{len(values)}i", len(values), *values))


def raw(value: bytes, **attributes: bytes) -> bytes:
    return with_flags(24, attributes, struct.pack(">i", len(value)) + value)


def r_list(*values: bytes, **attributes: bytes) -> bytes:
    return with_flags(19, attributes, struct.pack(">i", len(values)) + b"".join(values))


def named(classes: tuple[str, ...] = (), /, **parts: bytes) -> bytes:
    attributes = {"names": strings(*parts)} | ({"class": strings(*classes)} if classes else {})
    return r_list(*parts.values(), **attributes)


def environment(**parts: bytes) -> bytes:
    """Its parts in a hash table, as R keeps them, one in the first chain and the others in the third."""
    pairs = list(parts.items())
    table = r_list(pairlist(*pairs[:1]), NIL, pairlist(*pairs[1:]))
    return struct.pack(">ii", 4, 0) + GLOBAL + NIL + table + NIL


def closure(body: bytes) -> bytes:
    return struct.pack(">i", 3 | 1 << 10) + GLOBAL + pairlist(("x", struct.pack(">i", 251))) + body


def call(name: str, *arguments: bytes) -> bytes:
    cells = b"".join(struct.pack(">i", 2) + argument for argument in arguments)
    return struct.pack(">i", 6) + symbol(name) + cells + NIL


def bytecode() -> bytes:
    """Compiled `system("ls")`, with a call among its constants that occurs twice."""
    shared = struct.pack(">iii", 244, 0, 6) + NIL + struct.pack(">i", 0) + symbol("system")
    shared += struct.pack(">i", 2) + NIL + struct.pack(">i", 0) + strings("ls") + struct.pack(">i", 0) + NIL
    again = struct.pack(">ii", 243, 0)
    constants = struct.pack(">i", 3) + shared + again + struct.pack(">i", 14) + doubles(1.0)
    return struct.pack(">ii", 21, 1) + integers(12, 1, 2) + constants


def pointer() -> bytes:
    return struct.pack(">i", 22) + NIL + NIL


def wrapped(value: bytes) -> bytes:
    info = pairlist(("", symbol("wrap_real")), ("", symbol("base")), ("", integers(14)))
    return struct.pack(">i", 238) + info + r_list(value, integers(0, 0)) + NIL


def sequence(count: float, start: float, step: float) -> bytes:
    info = pairlist(("", symbol("compact_intseq")), ("", symbol("base")), ("", integers(13)))
    return struct.pack(">i", 238) + info + doubles(count, start, step) + NIL


def serialized(value: bytes, version: int = 3) -> bytes:
    head = b"X\n" + struct.pack(">iii", version, 0x00040301, 0x00030500)
    return head + (struct.pack(">i", 5) + b"UTF-8" if version == 3 else b"") + value


def rds(value: bytes) -> bytes:
    return gzip.compress(serialized(value), mtime=0)


_TYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}


def torch_file(kind: str, arrays: dict[str, np.ndarray], robj: bytes | None = None, **notes: Any) -> bytes:
    """Version 3: a header without padding whose last key is the metadata, then the bytes."""
    if robj is not None:
        arrays = {**arrays, "__robj__": np.frombuffer(robj, np.uint8)}
    header: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _TYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    reported = {"type": kind, "version": 3, "requires_grad": [], "special_dtype": [], **notes}
    header["__metadata__"] = {"__r__": json.dumps(reported)}
    data = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(data)) + data + b"".join(array.tobytes() for array in arrays.values())


def address(name: str) -> bytes:
    return strings(name, **{"class": strings("torch_tensor_address")})


def luz_file(model_file: bytes, *, context_is_environment: bool = False) -> bytes:
    context = {
        "hparams": named(d_hidden=doubles(32.0), activation=strings("relu")),
        "opt_hparams": named(lr=doubles(0.01)),
        ".serialized_model": raw(model_file),
        ".serialization_version": integers(2),
    }
    model = environment(forward=closure(bytecode()), weight=pointer(), private=environment(init=closure(call("stop"))))
    records = named(metrics=named(train=r_list(named(loss=doubles(0.5)), named(loss=doubles(0.25)))))
    return rds(
        named(
            ("luz_module_fitted",),
            model=model,
            records=records,
            ctx=environment(**context) if context_is_environment else named(**context),
        )
    )
