"""A whole training step as one graph, compiled or recorded.

The optimizer's step without its hooks, which can be traced, is taken from torch in this file.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Loss, Meter, Nested, detached, leaves
from lumbre.graphs._compile import CaptureError, Run, compiled, first_line
from lumbre.graphs._replay import Replay
from lumbre.steps._body import Body

CHANGES = "forward() changes attributes of the module, which a graph would do only once"

_Add = Callable[[Nested, Nested, Tensor], None]
_Step = Callable[..., tuple[Nested, Tensor]]


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
        attributes = [plain_attributes(part) for part in model.modules()]
        self._run, self.first = _replayed(step, arguments) if replay else compiled(step, arguments, device)
        if attributes != [plain_attributes(part) for part in model.modules()]:
            raise CaptureError(CHANGES)
        self._facts = self._known()

    def _adding_function(self, body: Body, loss_function: Loss, add: _Add | None, weight: float) -> _Step:
        self._counts = []
        pairs = [(p, p.grad) for group in self._groups for p in group["params"] if p.grad is not None]
        parameters = [parameter for parameter, _ in pairs]

        def step(input: Nested, target: Nested, other: Nested, share: Tensor | None) -> tuple[Nested, Tensor]:
            mixed = None if share is None else (other, share)
            pred, loss = body.forward(Batch(input, target, 0, None, mixed), loss_function)
            gradients = torch.autograd.grad(
                loss * (weight if body.divisor is None else body.divisor(target)), parameters
            )
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
        groups = optimizer.param_groups  # by identity: to compare two groups would compare their tensors
        pairs = zip(self._rates, self._groups, strict=True)
        return [rate for rate, group in pairs if any(group is one for one in groups)]

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
            [plain_attributes(part) for part in self._model.modules()],
        )


def _replayed(step: Any, arguments: tuple[Any, ...]) -> tuple[Run, tuple[Nested, Tensor]]:
    """The recorded step, and what its first replay gave."""
    try:
        run = Replay(step, arguments)
        return run, run(arguments)
    except Exception as error:
        raise CaptureError(first_line(error)) from error


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
        return batch.input, batch.weighted_target, None, None
    other, share = batch.mixed
    return (
        batch.input,
        batch.weighted_target,
        other,
        share if isinstance(share, Tensor) else torch.tensor(share, dtype=torch.float64),
    )


def _shapes(batch: Batch) -> Any:
    input, target = batch.input, batch.weighted_target
    if isinstance(input, Tensor) and isinstance(target, Tensor) and batch.mixed is None:  # asked at every step
        return input.shape, target.shape, input.stride(), target.stride(), input.dtype, target.dtype
    parts = (input, target, None if batch.mixed is None else batch.mixed[0])
    return [(leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf for leaf in leaves(parts)]


def shapes_of(batch: Batch) -> str:
    """What `Captured.fits` compares, as text that can be kept."""
    return repr(_shapes(batch))


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """What a module keeps besides tensors and parts: a forward pass that counts in Python shows here."""
    return {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
