"""A traced step as one graph of torch's compiler, and the shortest way to call it.

What leans on torch's compiler beyond its documented interface is in this file: tracing `torch.autograd.grad` inside
`torch.compile` (`trace_autograd_ops`), its settings, and the graph's innermost callable, which is called with the list
of its tensors. It is used with the releases of torch that `_versions.py` names. Whatever fails here raises
`CaptureError`, and the run goes on eagerly.
"""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from lumbre.base import Nested, leaves, start_autograd
from lumbre.graphs._numbers import hoisted_numbers
from lumbre.graphs._small_products import small_products
from lumbre.steps import unproved

_LOCK = threading.Lock()
_FEW_CORES = 2

Run = Callable[[tuple[Any, ...]], tuple[Nested, Tensor]]


class CaptureError(Exception):
    """A step cannot be captured; the message says why."""


def obstacle(device: torch.device) -> str | None:
    """Why steps cannot be compiled here, or None. Asked before tracing: torch itself finds out after many seconds."""
    why = unproved("graphs of steps")
    if why is not None:
        return why
    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return f"there is no C++ compiler ({compiler})"
    return None


def compiled(step: Any, arguments: tuple[Any, ...], device: torch.device) -> tuple[Run, tuple[Nested, Tensor]]:
    """The compiled step in its shortest form, and what its first call gave."""
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._inductor import output_code

    graphs: list[tuple[Any, list[Any]]] = []
    kind: Any = output_code.CompiledFxGraph
    original = kind.__call__

    def watched(graph: Any, inputs: Any) -> Any:
        graphs.append((graph, list(inputs)))
        return original(graph, inputs)

    # torch keeps what it has compiled with the code object, of which each run must have its own.
    own = FunctionType(step.__code__.replace(), step.__globals__, step.__name__, None, step.__closure__)
    function: Any = torch.compile(own, fullgraph=True, dynamic=False)
    plain = _options(device)
    options = plain | (small_products() if device.type == "cpu" else {})

    def run(arguments: tuple[Any, ...]) -> tuple[Nested, Tensor]:
        with _tracing(options):
            return function(*arguments)

    start_autograd()
    with _LOCK, _compiler_believed():
        kind.__call__ = watched
        try:
            try:
                first = run(arguments)
            except BackendCompilerFailed:
                if options == plain:
                    raise
                options = plain  # another torch may not take our C++
                first = run(arguments)
        except Exception as error:
            raise CaptureError(first_line(error)) from error
        finally:
            kind.__call__ = original

    flat = _Flat.of(graphs, arguments, first) if device.type == "cpu" else None
    return flat or run, first


class _Flat:
    """The graph's innermost callable with its tensors in a list: about half the cost of a call on a tiny net.

    It has no guards, so whoever calls it asks `Captured.valid` when something may have changed.
    """

    def __init__(
        self, function: Callable[[list[Any]], Any], values: list[Any], places: list[int], *, pair: bool
    ) -> None:
        self._function = function
        self._values = values
        self._places = places
        self._pair = pair  # a tensor and its target, which `Captured.fits` sees to: no structure to walk at every step

    @staticmethod
    def of(
        graphs: list[tuple[Any, list[Any]]], arguments: tuple[Any, ...], first: tuple[Nested, Tensor]
    ) -> "_Flat | None":
        """The flat call, or None where the graph cannot be called so."""
        function = getattr(graphs[0][0], "current_callable", None) if len(graphs) == 1 else None
        if function is None or not isinstance(first[0], Tensor):
            return None
        values = graphs[0][1]
        places: list[int] = []
        for leaf in leaves(arguments):
            if isinstance(leaf, Tensor):
                found = [at for at, value in enumerate(values) if _same(value, leaf)]
                if len(found) != 1 or found[0] in places:
                    return None
                places.append(found[0])
        copies = [value.clone() if isinstance(value, Tensor) else value for value in values]
        with torch.no_grad():
            tried = function(copies)
        if [part.shape for part in tried] != [part.shape for part in first]:
            return None
        input, target, *more = arguments
        pair = isinstance(input, Tensor) and isinstance(target, Tensor) and more == [None, None]
        return _Flat(function, values, places, pair=pair)

    def __call__(self, arguments: tuple[Any, ...]) -> tuple[Nested, Tensor]:
        values = self._values.copy()
        if self._pair:
            values[self._places[0]], values[self._places[1]] = arguments[0], arguments[1]
        else:
            given = (leaf for leaf in leaves(arguments) if isinstance(leaf, Tensor))
            for place, leaf in zip(self._places, given, strict=True):
                values[place] = leaf
        with torch.set_grad_enabled(False):  # half the cost of no_grad()
            pred, loss = self._function(values)
        return pred, loss


def _same(value: Any, leaf: Tensor) -> bool:
    return isinstance(value, Tensor) and value.data_ptr() == leaf.data_ptr() and value.shape == leaf.shape


def _options(device: torch.device) -> dict[str, Any]:
    """Settings of torch's compiler for a step. Random numbers come from torch's generators, as they do eagerly."""
    options: dict[str, Any] = {"fallback_random": True, "size_asserts": False}
    if device.type == "cpu":
        # Kernels are called from C++ instead of Python, and compiled in one piece.
        options["cpp_wrapper"] = True
        options["post_grad_custom_post_pass"] = hoisted_numbers()
        # Precompiled headers save half a second in each capture, and cost five and 140 MB in the first on a machine.
        options["cpp_cache_precompile_headers"] = False
    if (os.cpu_count() or 1) <= _FEW_CORES:
        # torch would start processes that import it again, to run compilers beside one another on cores there are not.
        options["compile_threads"] = 1
    return options


@contextmanager
def _tracing(options: dict[str, Any]) -> Generator[None]:
    """The settings under which a step is traced."""
    import torch._dynamo.config
    import torch._inductor.config

    notes = logging.getLogger("torch._inductor.ir")  # of operations that C++ calls by a longer way
    with (
        torch._dynamo.config.patch(trace_autograd_ops=True),
        torch._inductor.config.patch(options),
        _number_pass_off(),
    ):
        level = notes.level
        notes.setLevel(logging.ERROR)
        try:
            yield
        finally:
            notes.setLevel(level)


@contextmanager
def _compiler_believed() -> Generator[None]:
    """Without torch's trials of the compiler: it would build and load a library for each set of vector instructions.

    That takes seconds, and a quarter of one where the libraries are there already. A compiler that knows the C++ of
    torch's headers knows the instructions, too; where it does not, the step cannot be captured.
    """
    from torch._inductor.cpu_vec_isa import VecISA

    kind: Any = VecISA
    original = kind.check_build
    kind.check_build = lambda instructions, code: True
    try:
        yield
    finally:
        kind.check_build = original


@contextmanager
def _number_pass_off() -> Generator[None]:
    """Without a pass of torch 2.13 over Python's numbers, which loses additions in place to float64 scalars."""
    name = "TENSORIFY_PYTHON_SCALARS"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def first_line(error: Exception) -> str:
    """Which error, and what it says first; of the compiler's wrapper the error that it wraps."""
    error = getattr(error, "inner_exception", error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
