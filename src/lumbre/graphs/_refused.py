"""Graphs that were refused, remembered on disk: the same run again does not pay for compiling them a second time.

The memory never changes a result: a refusal is found again by everything that has led to it, which is the code of the
module, all its numbers, the batch, and the versions of what compiles. It lies beside what torch's compiler keeps, in
the folder $TORCHINDUCTOR_CACHE_DIR, and is cleared with it.
"""

import hashlib
import inspect
import json
import linecache
import os
import platform
import types
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lumbre.base import __version__, written_beside

_OURS = ("torch", "lumbre", "builtins")


def print_of_step(parts: Sequence[object], facts: object, tensors: Iterable[Tensor | None]) -> str:
    """By what a refusal is found again: hexadecimal digits.

    Args:
        parts: modules, functions and other objects whose code the step runs.
        facts: what else decides over the graph, as something whose `repr` is the same in every process.
        tensors: all numbers of which the step is computed.
    """
    found = hashlib.sha256()
    versions = (__version__, str(torch.__version__), platform.python_version(), torch.backends.cpu.get_cpu_capability())
    found.update(repr((versions, torch.get_num_threads(), os.environ.get("CXX"), facts)).encode())
    for kind in sorted({_code_of(one) for part in parts for one in _inside(part)}):
        found.update(kind.encode())
    for tensor in tensors:
        if tensor is not None:
            found.update(repr((tensor.shape, tensor.dtype, tensor.stride())).encode())
            found.update(_bytes_of(tensor))
    return found.hexdigest()[:32]


def refusal(key: str) -> str | None:
    """Why the graph of a step was refused by an earlier run, or None."""
    try:
        return str(json.loads((_folder() / f"{key}.json").read_text(encoding="utf-8"))["why"])
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or something else lies there
        return None


def remember(key: str, why: str, cause: BaseException | None) -> None:
    """Keep why a graph was refused, where that is not for want of memory, a disk or a process.

    Args:
        key: of `print_of_step`.
        why: in words.
        cause: the error that torch's compiler has raised, if it has.
    """
    if _is_of_the_machine(cause):
        return
    with suppress(OSError):  # a folder that cannot be written to is no reason to end a run
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        with written_beside(folder / f"{key}.json") as path:
            path.write_text(json.dumps({"why": why}), encoding="utf-8")


def _folder() -> Path:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(cache_dir()) / "lumbre_refused"


def _is_of_the_machine(cause: BaseException | None) -> bool:
    """Whether an error comes from the state of the machine, so that it may be gone the next time."""
    while cause is not None:
        inner = getattr(cause, "inner_exception", None)
        names = {kind.__name__ for kind in type(cause).__mro__}
        if isinstance(cause, (OSError, MemoryError)) or names & {"CppCompileError", "SubprocException"}:
            return True
        if "memory" in str(cause).lower():
            return True
        cause = inner if isinstance(inner, BaseException) else None
    return False


def _inside(part: object) -> list[object]:
    """A module's parts, or an object itself."""
    return list(part.modules()) if isinstance(part, nn.Module) else [part]


def _code_of(part: object) -> str:
    """The name of what a part is, and a digest of its code where it is the user's own."""
    bound = getattr(part, "__func__", part)
    thing: Any = bound if isinstance(bound, types.FunctionType) else type(part)
    said = part.extra_repr() if isinstance(part, nn.Module) else ""
    ours = str(thing.__module__).partition(".")[0] in _OURS
    return f"{thing.__module__}.{thing.__qualname__} {said} {'' if ours else _source(thing)}"


def _source(thing: Any) -> str:
    """A digest of the file that a class or function is written in, helpers with it; or of its byte code."""
    try:
        file = inspect.getsourcefile(thing)
    except (TypeError, OSError):  # of a class that was made while the program ran
        file = None
    lines = linecache.getlines(file) if file is not None else []
    if lines:
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    members = vars(thing).values() if isinstance(thing, type) else [thing]
    codes = [getattr(getattr(one, "__func__", one), "__code__", None) for one in members]
    return repr([(one.co_code, one.co_names, one.co_varnames) for one in codes if one is not None])


def _bytes_of(tensor: Tensor) -> Any:
    if tensor.layout != torch.strided:
        return repr(tensor.layout).encode()
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return np.ascontiguousarray(flat.view(torch.uint8).numpy()).data if flat.numel() else b""
