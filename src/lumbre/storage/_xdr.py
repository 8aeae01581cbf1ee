"""R's serialization format, read as data: nothing in it is evaluated, and code is kept only as the word for what it is.

The format: R Core Team, "R Internals", section 1.8, version 2 and 3, XDR (big-endian) form, as `saveRDS` and
`serialize` write it. An item is flags (type, attribute and tag bits), then what its type asks for; environments and
symbols that occur again are references by number. Closures, bytecode and calls are walked through, since what follows
them can be found in no other way, and then dropped.
"""

import codecs
import struct
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_ITEMS = 20_000_000
_DEEPEST = 20_000
_MISSING_STRING = -1
_HAS_ATTRIBUTES, _HAS_TAG = 1 << 9, 1 << 10
# The encoding of a string, among its flags from bit 12 on.
_BYTES, _LATIN1, _UTF8, _ASCII = 1 << 1, 1 << 2, 1 << 3, 1 << 6
MISSING_INTEGER = -(2**31)

_SYMBOL, _PAIRLIST, _CLOSURE, _ENVIRONMENT, _PROMISE, _CALL = 1, 2, 3, 4, 5, 6
_SPECIAL, _BUILTIN, _STRING, _LOGICAL, _INTEGER, _DOUBLE, _COMPLEX = 7, 8, 9, 10, 13, 14, 15
_CHARACTER, _DOTS, _LIST, _EXPRESSION, _BYTECODE, _POINTER, _WEAK, _RAW, _S4 = 16, 17, 19, 20, 21, 22, 23, 24, 25
_ALTREP, _CALL_ATTRIBUTES, _PAIRLIST_ATTRIBUTES = 238, 240, 239
_AGAIN, _FIRST_TIME = 243, 244
_PERSISTENT, _PACKAGE, _NAMESPACE, _REFERENCE = 247, 248, 249, 255
_CONSTANTS = {
    254: ("NULL", None),
    253: ("environment", {}),  # the global one
    252: ("unbound value", None),
    251: ("missing argument", None),
    242: ("environment", {}),  # the empty one
    241: ("environment", {}),  # that of base
    250: ("environment", {}),  # base's namespace
}
_NUMBERS = {
    _LOGICAL: ("logical", ">i4"),
    _INTEGER: ("integer", ">i4"),
    _DOUBLE: ("double", ">f8"),
    _COMPLEX: ("complex", ">c16"),
}
_PAIRS = {_PAIRLIST: "pairlist", _CLOSURE: "closure", _PROMISE: "promise", _CALL: "call", _DOTS: "dots"}


class RDataError(ValueError):
    """Bytes that are no serialized R value, or are damaged; in words that continue "a file, which"."""


@dataclass(slots=True, eq=False)
class RValue:
    """A value of R.

    Attributes:
        kind: R's word for its type.
        value: of vectors of numbers an array, of characters and lists a list, of raw bytes `bytes`, of pairlists a
            list of (name, value), of environments a dict, of symbols a name; None for what is not data.
        attributes: by name.
    """

    kind: str
    value: Any = None
    attributes: dict[str, "RValue"] = field(default_factory=dict[str, "RValue"])

    @property
    def names(self) -> list[str | None]:
        """The names of a vector's parts, "" or None for those without; empty where it has none."""
        names = self.attributes.get("names")
        return (
            [None if name is None else str(name) for name in names.value]
            if names is not None and names.kind == "character"
            else []
        )

    @property
    def classes(self) -> list[str]:
        """The S3 classes."""
        classes = self.attributes.get("class")
        return [str(name) for name in classes.value] if classes is not None and classes.kind == "character" else []

    def part(self, name: str) -> "RValue | None":
        """The part of a named list, or of an environment, of that name."""
        if self.kind == "environment":
            return self.value.get(name)
        if self.kind != "list":
            return None
        return next((part for key, part in zip(self.names, self.value, strict=False) if key == name), None)


_Steps = Generator["_Steps", Any, Any]


def read_r(data: bytes) -> RValue:
    """The value that R serialized into `data`.

    Raises:
        RDataError: it is none, is damaged, is in R's text form, or holds far more parts than a file of weights does.
    """
    if data[:2] in (b"A\n", b"B\n"):
        raise RDataError("is in R's text or native binary form")
    if data[:2] != b"X\n":
        raise RDataError(f"begins with {data[:4]!r} and is no value that R serialized")
    reader = _Reader(data)
    version = reader.integer()
    if version not in (2, 3):
        raise RDataError(f"is of version {version} of R's format (known: 2 and 3)")
    reader.take(8)  # the versions of R that wrote it and that are needed
    if version == 3:
        reader.native = _codec(reader.take(reader.length(1)).decode("ascii", "replace"))
    return _run(reader.item())


def _codec(native: str) -> str:
    """Python's name for an encoding; UTF-8 where it knows none of that name."""
    try:
        return codecs.lookup(native).name
    except LookupError:
        return "utf-8"


def _run(steps: _Steps) -> Any:
    """What the nested readers give; they wait in a list, not on Python's stack, which a file could overflow."""
    waiting, found = [steps], None
    while waiting:
        try:
            inner = waiting[-1].send(found)
        except StopIteration as stop:
            waiting.pop()
            found = stop.value
        else:
            if len(waiting) >= _DEEPEST:
                raise RDataError(f"is nested more than {_DEEPEST} deep")
            waiting.append(inner)
            found = None
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 2
        self._references: list[RValue] = []
        self._items = 0
        self.native = "utf-8"  # the encoding of texts that do not say theirs

    def take(self, count: int) -> bytes:
        end = self._at + count
        if count < 0 or end > len(self._data):
            raise RDataError("is cut short or damaged")
        found = self._data[self._at : end]
        self._at = end
        return found

    def integer(self) -> int:
        return struct.unpack(">i", self.take(4))[0]

    def length(self, least_bytes: int) -> int:
        """The length of a vector whose parts take `least_bytes` or more each."""
        count = self.integer()
        if count == -1:  # longer than an integer can tell
            high, low = struct.unpack(">II", self.take(8))
            count = high << 32 | low
        if count < 0 or count * least_bytes > len(self._data) - self._at:
            raise RDataError("is cut short or damaged")
        return count

    def item(self, flags: int | None = None) -> _Steps:
        self._items += 1
        if self._items > MOST_ITEMS:
            raise RDataError(f"holds more than {MOST_ITEMS:,} parts")
        flags = self.integer() if flags is None else flags
        kind = flags & 0xFF
        if kind in _CONSTANTS:
            name, value = _CONSTANTS[kind]
            return RValue(name, value)
        if kind == _REFERENCE:
            return self._reference(flags >> 8 or self.integer())
        if kind in _PAIRS:
            return (yield self._pairs(kind, flags))
        if kind == _SYMBOL:
            text = yield self.item()
            return self._known(RValue("symbol", text.value))
        if kind in (_PERSISTENT, _PACKAGE, _NAMESPACE):
            return (yield self._named_place())
        if kind == _ENVIRONMENT:
            return (yield self._environment())
        if kind in (_POINTER, _WEAK):
            found = self._known(RValue("external pointer" if kind == _POINTER else "weak reference"))
            for _ in range(2 if kind == _POINTER else 0):
                yield self.item()
        elif kind == _ALTREP:
            return (yield self._compact())
        else:
            found = yield self._vector(kind, flags)
        if flags & _HAS_ATTRIBUTES:
            found.attributes = yield self._attributes()
        return found

    def _vector(self, kind: int, flags: int) -> _Steps:
        if kind == _STRING:
            count = self.integer()
            return RValue("string", None if count == _MISSING_STRING else self._text(self.take(count), flags >> 12))
        if kind in _NUMBERS:
            name, dtype = _NUMBERS[kind]
            width = np.dtype(dtype).itemsize
            return RValue(name, np.frombuffer(self.take(width * self.length(width)), dtype))
        if kind == _RAW:
            return RValue("raw", self.take(self.length(1)))
        if kind in (_CHARACTER, _LIST, _EXPRESSION):
            parts: list[Any] = []
            for _ in range(self.length(4)):
                parts.append((yield self.item()))
            if kind == _CHARACTER:
                return RValue("character", [part.value for part in parts])
            return RValue("list" if kind == _LIST else "expression", parts if kind == _LIST else None)
        if kind in (_SPECIAL, _BUILTIN):
            self.take(self.length(1))
            return RValue("builtin function")
        if kind == _BYTECODE:
            self.integer()  # how many calls occur again
            yield self._bytecode()
            return RValue("bytecode")
        if kind == _S4:
            return RValue("S4 object")
        raise RDataError(f"holds an item of the unknown type {kind}")

    def _text(self, data: bytes, encoding: int) -> str:
        """A text by the bits that name its encoding; bytes that do not fit it are shown by their numbers."""
        # What R calls latin1 is Windows' code page, with the euro sign and quotes, on every system.
        codec = "cp1252" if encoding & _LATIN1 else "utf-8" if encoding & (_UTF8 | _ASCII) else self.native
        codec = "ascii" if encoding & _BYTES else codec
        return data.decode(codec, "backslashreplace")

    def _known(self, value: RValue) -> RValue:
        self._references.append(value)
        return value

    def _reference(self, number: int) -> RValue:
        if not 1 <= number <= len(self._references):
            raise RDataError(f"refers to item {number} of {len(self._references)}")
        return self._references[number - 1]

    def _pairs(self, kind: int, flags: int) -> _Steps:
        """A chain of pairs, walked along, for R's chains are long; closures, calls and promises are such chains too."""
        pairs: list[tuple[str, RValue]] = []
        attributes: dict[str, RValue] = {}
        inner = kind
        while inner in _PAIRS:
            if flags & _HAS_ATTRIBUTES:
                attributes = yield self._attributes()
            tag = (yield self.item()) if flags & _HAS_TAG else None
            name = tag.value if tag is not None and tag.kind == "symbol" else ""
            pairs.append((str(name), (yield self.item())))
            flags = self.integer()
            inner = flags & 0xFF
        yield self.item(flags)  # NULL at the end of a list, a body at that of a closure
        return RValue(_PAIRS[kind], pairs if kind == _PAIRLIST else None, attributes)

    def _attributes(self) -> _Steps:
        found = yield self.item()
        return dict(found.value) if found.kind == "pairlist" else {}

    def _named_place(self) -> _Steps:
        """A package, a namespace, or a place that the writer had a name for: the name is read and not looked up."""
        self.integer()
        for _ in range(self.length(4)):
            yield self.item()
        return self._known(RValue("environment", {}))

    def _environment(self) -> _Steps:
        found = self._known(RValue("environment", {}))
        self.integer()  # locked or not
        yield self.item()  # the one around it
        frame = yield self.item()
        table = yield self.item()
        yield self.item()
        chains = [frame, *(table.value if table.kind == "list" else ())]
        found.value.update(pair for chain in chains if chain.kind == "pairlist" for pair in chain.value)
        return found

    def _compact(self) -> _Steps:
        """A vector that R holds in another way than it shows: of a few kinds the vector, of others the word."""
        info = yield self.item()
        state = yield self.item()
        attributes = yield self._attributes()
        name = info.value[0][1].value if info.kind == "pairlist" and info.value else ""
        if name in ("compact_intseq", "compact_realseq") and state.kind == "double" and len(state.value) == 3:
            count, start, step = (float(number) for number in state.value)
            if not 0 <= count <= MOST_ITEMS or not np.isfinite([start, step]).all():
                raise RDataError(f"holds a sequence of {count:g} numbers")
            numbers = start + step * np.arange(int(count))
            if name == "compact_intseq":
                if len(numbers) and not -(2**31) < numbers.min() <= numbers.max() < 2**31:
                    raise RDataError("holds a sequence of integers beyond 32 bits")
                return RValue("integer", numbers.astype(np.int32), attributes)
            return RValue("double", numbers, attributes)
        first = state.value[0] if state.kind in ("list", "pairlist") and state.value else None
        first = first[1] if isinstance(first, tuple) else first
        if str(name).startswith("wrap_") and first is not None:
            return RValue(first.kind, first.value, attributes or first.attributes)
        if name == "deferred_string" and first is not None and first.kind in ("integer", "double"):
            return RValue("character", _deferred(first, _scipen(state)), attributes)
        return RValue(f"compact vector ({name})", None, attributes)

    def _bytecode(self) -> _Steps:
        yield self.item()
        for _ in range(self.length(4)):
            kind = self.integer()
            if kind == _BYTECODE:
                yield self._bytecode()
            elif kind in (_AGAIN, _FIRST_TIME, _CALL, _PAIRLIST, _CALL_ATTRIBUTES, _PAIRLIST_ATTRIBUTES):
                yield self._bytecode_call(kind)
            else:
                yield self.item()

    def _bytecode_call(self, kind: int) -> _Steps:
        while True:  # along the chain, as _pairs does
            self._items += 1
            if kind == _AGAIN:
                self.integer()
                return None
            if kind == _FIRST_TIME:
                self.integer()
                kind = self.integer()
            if kind in (_CALL_ATTRIBUTES, _PAIRLIST_ATTRIBUTES):
                yield self.item()
            elif kind not in (_CALL, _PAIRLIST):
                yield self.item()
                return None
            yield self.item()  # its name
            yield self._bytecode_call(self.integer())
            kind = self.integer()


def is_missing(numbers: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which of R's doubles are NA: a NaN of which R knows the lower bits, and no other NaN."""
    bits = np.ascontiguousarray(numbers, dtype=">f8").view(">u8")
    return np.isnan(numbers.astype(np.float64)) & ((bits & 0xFFFFFFFF) == _MISSING_BITS)


_MISSING_BITS = 1954


def _scipen(state: RValue) -> int:
    """R's option of that name when it made texts of numbers: digits that a fixed notation may be longer."""
    second = state.value[-1] if isinstance(state.value, list) and len(state.value) > 1 else None
    second = second[1] if isinstance(second, tuple) else second
    if isinstance(second, RValue) and second.kind == "integer" and len(second.value):
        return int(second.value[0])
    return 0


def _deferred(numbers: RValue, scipen: int) -> list[str | None]:
    """Texts of numbers as R's `as.character()` makes them."""
    if numbers.kind == "integer":
        return [None if number == MISSING_INTEGER else str(number) for number in numbers.value.tolist()]
    missing = is_missing(numbers.value).tolist()
    return [
        None if empty else _as_character(number, scipen)
        for number, empty in zip(numbers.value.tolist(), missing, strict=True)
    ]


def _as_character(number: float, scipen: int) -> str:
    """A double as R writes it: up to 15 digits, in the shorter of the fixed and the scientific notation."""
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Inf" if number > 0 else "-Inf"
    if number == 0:
        return "0"
    digits, _, power = f"{abs(number):.14e}".partition("e")
    significant = len(digits.replace(".", "").rstrip("0"))
    exponent = int(power)
    after = max(0, significant - exponent - 1)
    fixed = max(1, exponent + 1) + (after + 1 if after else 0)
    scientific = (significant + 1 if significant > 1 else 1) + (4 if abs(exponent) < 100 else 5)
    return f"{number:.{after}f}" if fixed <= scientific + scipen else f"{number:.{significant - 1}e}"


def write_r_strings(names: Iterable[str], values: Mapping[str, str], classes: str) -> bytes:
    """What `serialize()` of a named list of strings gives, each string of the S3 class `classes`."""
    names = list(names)
    parts = [
        b"X\n",
        struct.pack(">iii", 2, 0x00040000, 0x00020300),
        struct.pack(">ii", _LIST | _HAS_ATTRIBUTES, len(names)),
    ]
    # 1 << 8 is R's object bit, without which it would not look at the class.
    for name in names:
        parts.append(_characters([values[name]], _HAS_ATTRIBUTES | 1 << 8))
        parts.append(_attribute("class", [classes]))
    parts.append(_attribute("names", names))
    return b"".join(parts)


def _attribute(name: str, values: list[str]) -> bytes:
    symbol = struct.pack(">i", _SYMBOL) + _string(name)
    return struct.pack(">i", _PAIRLIST | _HAS_TAG) + symbol + _characters(values) + struct.pack(">i", 254)


def _characters(values: list[str], flags: int = 0) -> bytes:
    return struct.pack(">ii", _CHARACTER | flags, len(values)) + b"".join(map(_string, values))


def _string(text: str) -> bytes:
    data = text.encode()
    ascii_or_utf8 = 1 << 6 if text.isascii() else 1 << 3
    return struct.pack(">ii", _STRING | ascii_or_utf8 << 12, len(data)) + data
