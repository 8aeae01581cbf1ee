"""One tensor in the file that LibTorch's C++ `torch::save` writes, as older versions of R's torch put it into theirs.

Such a file is a zip of uncompressed members: the bytes of the storages, and a description in the language of Python's
object streams. That language can call anything, so it is not run here: the few words that `torch::save` uses for a
tensor are read by a small interpreter that knows a tensor, a storage and plain values, and refuses every other word.
Code that lies beside them in the file is not looked at.
"""

import io
import struct
import zipfile
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_MOST_DESCRIPTION_BYTES = 1 << 20


class LibTorchError(ValueError):
    """Bytes that hold no tensor of `torch::save`; in words that continue "a tensor, which"."""


def read_libtorch(data: bytes) -> Tensor:
    """The tensor in a file of `torch::save`.

    Raises:
        LibTorchError: there is none, or more than a tensor.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {member.filename: member for member in file.infolist()}
            named = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(named) != 1:
                raise LibTorchError("has no description of a tensor")

            def content(name: str, most_bytes: int) -> bytes:
                member = members.get(name)
                if member is None or member.compress_type != zipfile.ZIP_STORED or member.file_size > most_bytes:
                    raise LibTorchError(f"has no usable part {name}")
                return file.read(member)

            description = content(named[0], _MOST_DESCRIPTION_BYTES)
            folder = named[0].partition("/")[0]
            found = _Description(description, lambda key: content(f"{folder}/data/{key}", len(data))).read()
    except LibTorchError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise LibTorchError(f"cannot be read: {error}") from error
    except (struct.error, IndexError, KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise LibTorchError(f"is damaged: {error!r}") from error
    tensors = [part for part in found.values() if isinstance(part, Tensor)] if isinstance(found, dict) else []
    if len(tensors) != 1:
        raise LibTorchError(f"holds {len(tensors)} tensors")
    return tensors[0]


class _Word:
    """A name in the description; it is compared, never looked up."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class _Mark:
    """Where the parts of a tuple begin."""


class _Description:
    def __init__(self, data: bytes, content: Any) -> None:
        self._data = data
        self._at = 0
        self._content = content
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        """What the description ends with: the attributes of the module around the tensor."""
        while True:
            word = self._take(1)
            if word == b".":
                return self._stack.pop()
            self._step(word)

    def _take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) < count:
            raise LibTorchError("is cut short")
        self._at += count
        return found

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._data.index(b"\n", self._at) if b"\n" in self._data[self._at :] else len(self._data)
        found = self._take(end - self._at).decode()
        self._at += 1
        return found

    def _step(self, word: bytes) -> None:
        stack = self._stack
        constants = {b"N": None, b"\x88": True, b"\x89": False}
        if word == b"\x80":
            self._take(1)
        elif word in constants:
            stack.append(constants[word])
        elif word in (b"J", b"K", b"M", b"G"):
            stack.append(self._number({b"J": "<i", b"K": "B", b"M": "<H", b"G": ">d"}[word]))
        elif word == b"\x8a":
            stack.append(int.from_bytes(self._take(self._number("B")), "little", signed=True))
        elif word == b"X":
            stack.append(self._take(self._number("<I")).decode())
        elif word == b"c":
            stack.append(_Word(self._line(), self._line()))
        elif word in (b"q", b"r"):
            self._memo[self._number("B" if word == b"q" else "<I")] = stack[-1]
        elif word in (b"h", b"j"):
            stack.append(self._memo[self._number("B" if word == b"h" else "<I")])
        else:
            self._build(word)

    def _build(self, word: bytes) -> None:
        stack = self._stack
        if word == b"(":
            stack.append(_Mark())
        elif word == b")":
            stack.append(())
        elif word in (b"}", b"]"):
            stack.append({} if word == b"}" else [])
        elif word == b"t":
            stack.append(tuple(self._since_mark()))
        elif word in (b"\x85", b"\x86", b"\x87"):
            count = word[0] - 0x84
            if len(stack) < count:
                raise LibTorchError("is damaged")
            stack[-count:] = [tuple(stack[-count:])]
        elif word == b"u":
            parts = self._since_mark()
            stack[-1].update(zip(parts[::2], parts[1::2], strict=False))
        elif word == b"Q":
            stack.append(self._storage(stack.pop()))
        elif word in (b"R", b"\x81"):
            arguments, callee = stack.pop(), stack.pop()
            stack.append(self._made(callee, arguments))
        elif word == b"b":
            # The module around the tensor: only its attributes matter.
            attributes = stack.pop()
            stack[-1] = attributes
        else:
            raise LibTorchError(f"has the word {word!r}, which no tensor needs")

    def _since_mark(self) -> list[Any]:
        stack = self._stack
        at = max((i for i, part in enumerate(stack) if isinstance(part, _Mark)), default=-1)
        if at < 0:
            raise LibTorchError("is damaged")
        parts = stack[at + 1 :]
        del stack[at:]
        return parts

    def _made(self, callee: Any, arguments: Any) -> Any:
        if not isinstance(callee, _Word):
            raise LibTorchError("calls what is no name")
        if (callee.module, callee.name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor(*arguments[:4])
        if (callee.module, callee.name) == ("collections", "OrderedDict") and not arguments:
            return {}
        if callee.module.startswith("__torch__") and not arguments:
            return {}
        raise LibTorchError(f"calls {callee.module}.{callee.name}, which no tensor needs")

    def _storage(self, parts: Any) -> Tensor:
        _, kind, key, _device, count, *_ = parts
        dtype = _STORAGES.get(kind.name) if isinstance(kind, _Word) and kind.module == "torch" else None
        if dtype is None:
            raise LibTorchError(f"has numbers of an unknown type, {getattr(kind, 'name', kind)}")
        data = self._content(key)
        if count * dtype.itemsize != len(data):
            raise LibTorchError(f"has {len(data)} bytes for {count} numbers")
        return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    whole = [offset, *shape, *strides]
    if not isinstance(storage, Tensor) or any(type(number) is not int or number < 0 for number in whole):
        raise LibTorchError("is damaged")
    if len(shape) != len(strides) or len(shape) > 64:
        raise LibTorchError("is damaged")
    count = 1
    for size in shape:
        count *= size
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    # A stride of 0 could make much of little: a saved tensor has at most as many numbers as its storage.
    if count and (last >= len(storage) or count > len(storage)):
        raise LibTorchError(f"has {len(storage)} numbers for the shape {tuple(shape)}")
    return torch.as_strided(storage, shape, strides, offset).clone().contiguous()
