"""A forward pass whose gradients are the mean of those of all processes: PyTorch's DistributedDataParallel."""

import gc
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lumbre.base import Nested, tried


def same_buffers(model: nn.Module) -> None:
    """Every process takes over the buffers of the first, in one exchange for each type of number."""
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for buffer in model.buffers():
        kinds.setdefault(buffer.dtype, []).append(buffer.detach())
    for kind, buffers in kinds.items():
        joined = torch.cat([buffer.reshape(-1) for buffer in buffers])
        distributed.broadcast(joined.view(torch.uint8) if kind == torch.bool else joined, 0)
        for buffer, values in zip(buffers, joined.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))


class _Called(nn.Module):
    """The module and the way its input reaches it, as one module."""

    def __init__(self, model: nn.Module, call: Callable[[Nested], Nested]) -> None:
        super().__init__()
        self.model = model
        self.call = call

    def forward(self, input: Nested) -> Nested:
        return self.call(input)


class Together:
    """Calls a module so that a backward pass averages gradients over all processes, while it computes them.

    Every process must do the same forward and backward passes. The weights of the first process become those of all.

    Args:
        model: the module, on its device.
        call: the module, made ready for the form of its input.
        unused: whether some parameters get no gradient.
        loss: a loss with parameters or buffers of its own, or None; those of the first process become those of all.
    """

    def __init__(
        self, model: nn.Module, call: Callable[[Nested], Nested], *, unused: bool, loss: nn.Module | None = None
    ) -> None:
        self._call = call
        self._model = model
        self._loss = loss
        self._unused = unused
        self._settling: Callable[[], tuple[Nested, Tensor]] | None = None
        self.agree()
        if loss is not None:
            for parameter in loss.parameters():
                distributed.broadcast(parameter.detach(), 0)
        self._trained = self._still_trained()
        self._engine: DistributedDataParallel | None = self._joined()

    def __call__(self, input: Nested) -> Nested:
        """The prediction; without gradients each process is by itself."""
        return self._current()(input) if torch.is_grad_enabled() else self._call(input)

    def _joined(self) -> DistributedDataParallel:
        # Buffers are exchanged after a step, not before one: validation and averages find them the same in all.
        known = inspect.signature(DistributedDataParallel).parameters
        left_alone: dict[str, Any] = {
            "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
        }
        called = _Called(self._model, self._call)
        return DistributedDataParallel(called, find_unused_parameters=self._unused, **left_alone)

    def _still_trained(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self._model.parameters()]

    def _current(self) -> DistributedDataParallel:
        """The engine for the parameters that are trained now: it knows those alone that were when it was made."""
        trained = self._still_trained()
        if self._engine is None or trained != self._trained:
            self._engine = None
            gc.collect()  # until it is gone, the old one takes part in every backward pass
            self._engine, self._trained = self._joined(), trained
            if self._settling is not None:
                self.settle(self._settling)
        return self._engine

    def agree(self) -> None:
        """Every process takes over the buffers of the first, such as statistics."""
        same_buffers(self._model)
        if self._loss is not None:
            same_buffers(self._loss)

    def exchange(self) -> None:
        """Average the gradients of the loss's own parameters, which no forward pass of the module knows of."""
        if self._loss is None:
            return
        for parameter in self._loss.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:  # the rows of this process did not reach it
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)
                parameter.grad /= distributed.get_world_size()

    def settle(self, forward: Callable[[], tuple[Nested, Tensor]]) -> None:
        """Do a pass that leaves no trace, so that the first step of a run adds gradients up as all others do.

        After its first backward pass DistributedDataParallel lays gradients out anew, in the order in which they came,
        and the order in which three numbers or more are added follows from where they lie. A run that goes on after a
        stop would add up its first gradients otherwise than one that never stopped.

        Args:
            forward: gives prediction and loss of a batch, by way of this object.
        """
        self._settling = forward
        of_loss = () if self._loss is None else tuple(self._loss.parameters())
        gradients = [(parameter, parameter.grad) for parameter in (*self._model.parameters(), *of_loss)]
        for parameter, _ in gradients:
            parameter.grad = None
        with tried(self._model, self._loss, forward), torch.enable_grad():
            torch.autograd.backward(forward()[1])
        for parameter, gradient in gradients:
            parameter.grad = gradient

    def unsynced(self) -> AbstractContextManager[None]:
        """Passes whose gradients stay with this process."""
        return self._current().no_sync()
