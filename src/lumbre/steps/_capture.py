"""A whole training step as one graph, compiled or recorded, and the shortest way to call it.

Everything that leans on torch beyond its documented interface is in this file: tracing `torch.autograd.grad` inside
`torch.compile` (`trace_autograd_ops`, torch 2.13), an optimizer's step without its hooks, and the graph's innermost
callable, which is called with the list of its tensors. Whatever fails here raises `CaptureError`, and the run goes on
eagerly.
"""

import copy
import inspect
import logging
import os
import shutil
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Loss, Meter, Nested, leaves
from lumbre.steps._body import Body, detached
from lumbre.steps._replay import Replay

_LOCK = threading.Lock()
_FEW_CORES = 2
_Add = Callable[[Nested, Nested, Tensor], None]
_Step = Callable[..., tuple[Nested, Tensor]]


class CaptureError(Exception):
    """A step cannot be captured; the message says why."""


def obstacle(device: torch.device) -> str | None:
    """Why steps cannot be compiled here, or None. Asked before tracing: torch itself finds out after many seconds."""
    import torch._dynamo.config

    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        return f"torch {torch.__version__} cannot trace gradients in a graph; 2.13 can"
    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return f"there is no C++ compiler ({compiler})"
    return None


class Captured:
    """One training step for batches of one shape: forward, loss, gradients, clip and update in one graph.

    Making it performs a step on `batch`. A loss that is not finite leaves weights and optimizer as they were, in this
    step and in all that follow.

    Args:
        model: the module.
        body: the parts of the step.
        loss_function: gives a scalar for prediction and target.
        optimizers: each with its state made by eager steps, and with the gradients of `batch` in its parameters.
        batch: an example.
        weight: None for a whole step. A number for a step that adds the gradients of so many times the loss to those
            that are there, and leaves the update to others.
        meter: to which the graph adds the batch, too; None leaves that to others.
        replay: record a CUDA graph of torch's own kernels instead of compiling others.

    Raises:
        CaptureError: the step cannot be captured.
    """

    def __init__(
        self,
        model: nn.Module,
        body: Body,
        loss_function: Loss,
        optimizers: tuple[optim.Optimizer, ...],
        batch: Batch,
        weight: float | None = None,
        *,
        meter: Meter | None = None,
        replay: bool = False,
    ) -> None:
        self._model = model
        self._optimizers = optimizers
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._replay = replay
        device = next(model.parameters()).device
        # The kernels of fused optimizers read a float32 on the device; a compiled graph takes the host's float64.
        dtype, place = (torch.float32, device) if replay else (torch.float64, torch.device("cpu"))
        self._rates = [torch.tensor(float(group["lr"]), dtype=dtype, device=place) for group in self._groups]
        self._filled = [float(group["lr"]) for group in self._groups]
        self._bad = torch.zeros((), dtype=torch.bool, device=device)
        self._shapes = _shapes(batch)
        add = None if meter is None else meter.adder(batch.size)
        self._meter = None if add is None else meter
        step = (
            self._step_function(body, loss_function, add)
            if weight is None
            else self._adding_function(body, loss_function, add, weight)
        )
        arguments = _arguments(batch)
        attributes = [_plain_attributes(part) for part in model.modules()]
        self._run, self.first = _replayed(step, arguments) if replay else _compiled(step, arguments, device)
        if attributes != [_plain_attributes(part) for part in model.modules()]:
            raise CaptureError("forward() changes attributes of the module, which a graph would do only once")
        self._facts = self._known()

    def _adding_function(self, body: Body, loss_function: Loss, add: _Add | None, weight: float) -> _Step:
        self._counts = []
        pairs = [(p, p.grad) for group in self._groups for p in group["params"] if p.grad is not None]
        parameters = [parameter for parameter, _ in pairs]

        def step(input: Nested, target: Nested, other: Nested, share: Tensor | None) -> tuple[Nested, Tensor]:
            mixed = None if share is None else (other, share)
            pred, loss = body.forward(Batch(input, target, 0, None, mixed), loss_function)
            gradients = torch.autograd.grad(loss * weight, parameters)
            with torch.no_grad():
                for (_, kept), gradient in zip(pairs, gradients, strict=True):
                    kept.add_(gradient)
                if add is not None:
                    add(pred, target, loss)
            return detached(pred), loss.detach()

        return step

    def _step_function(self, body: Body, loss_function: Loss, add: _Add | None) -> _Step:
        shadows = [_shadow(optimizer, self._rates_of(optimizer), self._replay) for optimizer in self._optimizers]
        updates = [(inspect.unwrap(type(shadow).step), shadow) for shadow in shadows]
        self._counts = [
            (shadow.state[parameter]["step"], state["step"])
            for optimizer, shadow in zip(self._optimizers, shadows, strict=True)
            for parameter, state in optimizer.state.items()
            if "step" in state and shadow.state[parameter]["step"] is not state["step"]
        ]
        # An optimizer passes over parameters without a gradient; a zero in its place would not be the same.
        pairs = [(p, p.grad) for group in self._groups for p in group["params"] if p.grad is not None]
        parameters = [parameter for parameter, _ in pairs]
        held = [*parameters, *state_tensors(shadows)]
        bad, counts = self._bad, self._counts

        def step(input: Nested, target: Nested, other: Nested, share: Tensor | None) -> tuple[Nested, Tensor]:
            mixed = None if share is None else (other, share)
            pred, loss = body.forward(Batch(input, target, 0, None, mixed), loss_function)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                bad.logical_or_(~torch.isfinite(loss))
                before = [value.clone() for value in held]
                for (_, kept), gradient in zip(pairs, gradients, strict=True):
                    kept.copy_(gradient)
                if body.clip is not None:
                    body.clip(parameters)
                for update, shadow in updates:
                    update(shadow)
                for value, old in zip(held, before, strict=True):
                    value.copy_(torch.where(bad, old, value))
                for wide, narrow in counts:
                    narrow.copy_(wide)
                if add is not None:
                    add(pred, target, loss)
            return detached(pred), loss.detach()

        return step

    def _rates_of(self, optimizer: optim.Optimizer) -> list[Tensor]:
        return [rate for rate, group in zip(self._rates, self._groups, strict=True) if group in optimizer.param_groups]

    @property
    def measured(self) -> bool:
        """Whether the graph adds its batches to the meter."""
        return self._meter is not None

    def fits(self, batch: Batch) -> bool:
        """Whether the batch has the shapes that the graph is made for."""
        return _shapes(batch) == self._shapes

    def valid(self) -> bool:
        """Whether modes, hyper-parameters and tensors are still those that the graph is made of."""
        return self._known() == self._facts

    def catch_up(self) -> None:
        """Take note of a step that the optimizers have done by themselves."""
        for wide, narrow in self._counts:
            wide.copy_(narrow)

    def __call__(self, batch: Batch) -> tuple[Nested, Tensor]:
        """A step: prediction and loss, detached."""
        for index, group in enumerate(self._groups):
            rate = group["lr"]
            if rate != self._filled[index]:
                self._filled[index] = rate
                self._rates[index].fill_(rate)
        return self._run(_arguments(batch))

    def _known(self) -> Any:
        tensors = [*self._model.parameters(), *self._model.buffers(), *state_tensors(self._optimizers)]
        tensors += [] if self._meter is None else self._meter.tensors()
        return (
            [value.data_ptr() for value in tensors],
            [p.requires_grad for p in self._model.parameters()],
            [None if p.grad is None else p.grad.data_ptr() for group in self._groups for p in group["params"]],
            [part.training for part in self._model.modules()],
            [{key: value for key, value in group.items() if key not in ("params", "lr")} for group in self._groups],
            [_plain_attributes(part) for part in self._model.modules()],
        )


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


_Run = Callable[[tuple[Any, ...]], tuple[Nested, Tensor]]


def _replayed(step: Any, arguments: tuple[Any, ...]) -> tuple[_Run, tuple[Nested, Tensor]]:
    """The recorded step, and what its first replay gave."""
    try:
        run = Replay(step, arguments)
        return run, run(arguments)
    except Exception as error:
        raise CaptureError(_first_line(error)) from error


def _compiled(step: Any, arguments: tuple[Any, ...], device: torch.device) -> tuple[_Run, tuple[Nested, Tensor]]:
    """The compiled step in its shortest form, and what its first call gave."""
    from torch._inductor import output_code

    graphs: list[tuple[Any, list[Any]]] = []
    kind: Any = output_code.CompiledFxGraph
    original = kind.__call__

    def watched(graph: Any, inputs: Any) -> Any:
        graphs.append((graph, list(inputs)))
        return original(graph, inputs)

    # torch keeps what it has compiled with the code object, of which each run must have its own.
    own = FunctionType(step.__code__.replace(), step.__globals__, step.__name__, None, step.__closure__)
    compiled: Any = torch.compile(own, fullgraph=True, dynamic=False)
    with _LOCK, _tracing(device):
        kind.__call__ = watched
        try:
            first = compiled(*arguments)
        except Exception as error:
            raise CaptureError(_first_line(error)) from error
        finally:
            kind.__call__ = original

    def run(arguments: tuple[Any, ...]) -> tuple[Nested, Tensor]:
        with _tracing(device):
            return compiled(*arguments)

    flat = _Flat.of(graphs, arguments, first) if device.type == "cpu" else None
    return flat or run, first


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


@contextmanager
def _tracing(device: torch.device) -> Generator[None]:
    """The settings under which a step is traced. Random numbers come from torch's generators, as they do eagerly."""
    import torch._dynamo.config
    import torch._inductor.config

    settings: list[AbstractContextManager[Any]] = [
        torch._dynamo.config.patch(trace_autograd_ops=True),
        torch._inductor.config.patch(fallback_random=True, size_asserts=False),
    ]
    if device.type == "cpu":
        # Kernels are called from C++ instead of Python, and compiled in one piece.
        settings.append(torch._inductor.config.patch(cpp_wrapper=True))
    if torch._inductor.config.cpp.vec_isa_ok is None:
        # torch would build and load a library for each set of vector instructions of the processor: 9 of 20 seconds.
        # A compiler that knows the C++ of torch's headers knows these instructions.
        settings.append(torch._inductor.config.patch({"cpp.vec_isa_ok": True}))
    if (os.cpu_count() or 1) <= _FEW_CORES:
        # torch would start processes that import it again, to run compilers beside one another on cores there are not.
        settings.append(torch._inductor.config.patch(compile_threads=1))
    if shutil.which("openssl") is None:
        # torch 2.13 calls the openssl program to name its precompiled headers.
        settings.append(torch._inductor.config.patch({"cpp_cache_precompile_headers": False}))
    notes = logging.getLogger("torch._inductor.ir")  # of operations that C++ calls by a longer way
    with ExitStack() as stack:
        for setting in (*settings, _number_pass_off()):
            stack.enter_context(setting)
        stack.callback(notes.setLevel, notes.level)
        notes.setLevel(logging.ERROR)
        yield


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


def _shadow(optimizer: optim.Optimizer, rates: list[Tensor], replay: bool) -> Any:
    """A second face of the optimizer over the same state, in the form that can be traced or recorded.

    For tracing counts of steps are its own, in float64: from the float32 ones that torch keeps a graph would compute
    Adam's 1 - 0.999**step to four digits, where eager code computes it from a Python float.
    """
    shadow: Any = copy.copy(optimizer)
    shadow.state = {
        parameter: {name: _wide(value) if name == "step" and not replay else value for name, value in state.items()}
        for parameter, state in optimizer.state.items()
    }
    shadow.__dict__.pop("found_inf", None)
    shadow.param_groups = []
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        fused = replay and group.get("fused")
        wanted = {"fused": True} if fused else {"fused": None, "foreach": True}
        traced = {**group, "lr": rate}
        for option, value in {**wanted, "capturable": True}.items():
            if option in traced:
                traced[option] = value
        shadow.param_groups.append(traced)
    return shadow


def _wide(count: Any) -> Any:
    return count.double() if isinstance(count, Tensor) and count.dtype == torch.float32 else count


def state_tensors(optimizers: Sequence[optim.Optimizer]) -> list[Tensor]:
    """All tensors that the optimizers keep from step to step."""
    values = [value for optimizer in optimizers for state in optimizer.state.values() for value in state.values()]
    return [value for value in values if isinstance(value, Tensor)]


def _arguments(batch: Batch) -> tuple[Nested, Nested, Nested, Tensor | None]:
    if batch.mixed is None:
        return batch.input, batch.target, None, None
    other, share = batch.mixed
    return (
        batch.input,
        batch.target,
        other,
        share if isinstance(share, Tensor) else torch.tensor(share, dtype=torch.float64),
    )


def _shapes(batch: Batch) -> Any:
    input, target = batch.input, batch.target
    if isinstance(input, Tensor) and isinstance(target, Tensor) and batch.mixed is None:  # asked at every step
        return input.shape, target.shape, input.stride(), target.stride(), input.dtype, target.dtype
    parts = (batch.input, batch.target, None if batch.mixed is None else batch.mixed[0])
    return [(leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf for leaf in leaves(parts)]


def shapes_of(batch: Batch) -> str:
    """What `Captured.fits` compares, as text that can be kept."""
    return repr(_shapes(batch))


def _same(value: Any, leaf: Tensor) -> bool:
    return isinstance(value, Tensor) and value.data_ptr() == leaf.data_ptr() and value.shape == leaf.shape


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    """What a module keeps besides tensors and parts: a forward pass that counts in Python shows here."""
    return {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
