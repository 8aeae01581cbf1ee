"""THE training step in its parts: forward and loss, backward, update. Engines put them together."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Divisor, Loss, Nested, nothing_for_nothing, one_number, takes_sparse
from lumbre.steps._bare import take_step
from lumbre.steps._versions import unproved

_AT_ONCE = unproved("bounds at once") is None


class Inside(Protocol):
    """Told of each inside event; None in its place where nobody listens."""

    def __call__(self, event: str, pred: Nested, loss: Tensor | None, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Clip:
    """A bound on gradients.

    Attributes:
        max_norm: the norm of all gradients together is brought down to this; None leaves it.
        norm_type: which norm: 2.0, 1.0, float("inf").
        max_value: each gradient is cut to [-max_value, max_value]; None leaves it.
    """

    max_norm: float | None = None
    norm_type: float = 2.0
    max_value: float | None = None

    def __call__(self, parameters: Sequence[Tensor]) -> None:
        """Clip the gradients in place. Nothing is read back from a device other than the CPU."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return  # torch fails for none
        if self.max_value is not None:
            nn.utils.clip_grad_value_(parameters, self.max_value)
        if self.max_norm is not None:
            if not _AT_ONCE or torch.compiler.is_compiling() or not _are_alike(gradients):
                nn.utils.clip_grad_norm_(parameters, self.max_norm, self.norm_type)
                return
            # What torch does, to the same bits, without sorting by device first and with a call for all of them.
            norms = torch.stack(torch._foreach_norm(gradients, self.norm_type))  # pyright: ignore
            norm = torch.linalg.vector_norm(norms, self.norm_type)
            if norm.item() < 0.9 * self.max_norm - 1e-6:
                return  # a share of 1 also after rounding, with which torch multiplies
            share = self.max_norm / (norm + 1e-6)
            torch._foreach_mul_(gradients, share.clamp(max=1.0))  # pyright: ignore


def _are_alike(gradients: Sequence[Tensor]) -> bool:
    """Whether all are plain dense tensors of one kind on the CPU."""
    kind = gradients[0].dtype
    return all(type(one) is Tensor and one.is_cpu and one.dtype == kind and not one.is_sparse for one in gradients)


@dataclass(frozen=True, slots=True)
class Clips:
    """A bound for each of some optimizers.

    Attributes:
        parts: each with the numbers (`id`) of the parameters that it bounds.
    """

    parts: tuple[tuple[Clip, frozenset[int]], ...]

    def __call__(self, parameters: list[nn.Parameter]) -> None:
        """Clip the gradients in place, each optimizer's by themselves."""
        for clip, own in self.parts:
            clip([parameter for parameter in parameters if id(parameter) in own])


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The parts of a step, and the tools they share.

    Attributes:
        call: the module, made ready for the form of its input.
        autocast: makes the context of a forward pass.
        scaler: scales the loss under float16, else None.
        clip: bounds gradients before an update, or None.
        inside: told of inside events, or None.
        processes: how many share the run; the gradients of `call` are the mean of theirs.
        unsynced: makes the context of passes whose gradients stay with this process, where several share the run.
        agree: makes what is not exchanged in a step the same in all processes.
        exchange: averages the gradients over processes that `call` does not average, before an update.
        sparse: some gradients are sparse, and made dense where an optimizer does not take them so.
        curved: optimizers differentiate gradients once more, which keep their graph for it.
        divisor: what the loss divides by, where that is not the number of rows; see `base/_divisor.py`.
        total: sums a number over all processes.
    """

    call: Callable[[Nested], Nested]
    autocast: Callable[[], AbstractContextManager[object]]
    scaler: torch.amp.GradScaler | None = None
    clip: Clip | Clips | None = None
    inside: Inside | None = None
    processes: int = 1
    unsynced: Callable[[], AbstractContextManager[None]] = nullcontext
    agree: Callable[[], None] | None = None
    exchange: Callable[[], None] | None = None
    sparse: bool = False
    curved: bool = False
    divisor: Divisor | None = None
    total: Callable[[Tensor], Tensor] = lambda value: value

    def loss(self, loss_function: Loss, pred: Nested, target: Nested) -> Tensor:
        """The loss of a batch; 0 where it would be a mean of nothing."""
        loss = one_number(loss_function(pred, target))
        return loss if self.divisor is None else nothing_for_nothing(loss, self.divisor(target))

    def forward(self, batch: Batch, loss_function: Loss) -> tuple[Nested, Tensor]:
        """Prediction and loss of a batch, with their graph. A mixed batch has the loss of both its targets."""
        with self.autocast():
            pred = self.call(batch.input)
            if self.inside is not None:
                self.inside("after_pred", pred, None)
            loss = self.loss(loss_function, pred, batch.weighted_target)
            if batch.mixed is not None:
                other, share = batch.mixed
                loss = share * loss + (1 - share) * self.loss(loss_function, pred, other)
        if self.inside is not None:
            self.inside("after_loss", pred, loss)
        return pred, loss

    def backward(self, pred: Nested, loss: Tensor, into: list[nn.Parameter] | None = None) -> None:
        """Add the gradients of `loss` to those of `into`, or of every parameter behind it."""
        if into is not None and not into:
            return  # all of an optimizer's parameters are held still
        if self.inside is not None:
            self.inside("before_backward", pred, loss)
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        if not self.curved:
            loss.backward(inputs=into)
            return
        with warnings.catch_warnings():
            # The cycle of which torch warns is cut when gradients are cleared before the next step.
            warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True", UserWarning)
            loss.backward(inputs=into, create_graph=True)

    def update(
        self, optimizers: Iterable[optim.Optimizer], pred: Nested, loss: Tensor, divisor: float | Tensor = 1
    ) -> None:
        """Turn gradients, divided by `divisor`, into a step of each optimizer."""
        scaler, optimizers = self.scaler, tuple(optimizers)
        if self.exchange is not None:
            self.exchange()
        if self.sparse:
            for optimizer in optimizers:
                if self.clip is not None or not takes_sparse(optimizer):
                    make_dense(optimizer)
        if scaler is not None and (self.clip is not None or self.inside is not None):
            for optimizer in optimizers:
                scaler.unscale_(optimizer)  # clips and handlers see gradients at their true size
        divided = isinstance(divisor, Tensor) or divisor != 1
        if self.clip is not None or divided:
            parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
            for parameter in parameters if divided else ():
                if parameter.grad is not None:
                    parameter.grad.div_(divisor)
            if self.clip is not None:
                self.clip(parameters)  # one norm over all gradients of the step, whichever optimizer takes them
        if self.inside is not None:
            self.inside("before_step", pred, loss)
        for optimizer in optimizers:
            if isinstance(optimizer, optim.SGD):
                ready_for_fused_momentum(optimizer)
            if scaler is None:
                take_step(optimizer)
            else:
                scaler.step(optimizer)
        if self.inside is not None:
            self.inside("after_step", pred, loss)

    def stepped(self, optimizers: Iterable[optim.Optimizer]) -> bool:
        """Whether any of the optimizers has updated: a scaler skips those whose gradients overflowed in float16.

        Asked between `update` and `end_step`. Reads from the device, as the scaler itself does.
        """
        if self.scaler is None:
            return True
        infinite = self.scaler._found_inf_per_device  # pyright: ignore[reportPrivateUsage]
        return not all(any(found.item() for found in infinite(one).values()) for one in optimizers)

    def end_step(self) -> None:
        """Let the loss scale follow what this step has shown, and processes agree on what they do not exchange."""
        if self.scaler is not None:
            self.scaler.update()
        if self.agree is not None:
            self.agree()


def clear(optimizers: Iterable[optim.Optimizer]) -> None:
    """Forget the gradients of each optimizer's parameters."""
    for optimizer in optimizers:
        if type(optimizer).zero_grad is not optim.Optimizer.zero_grad:
            optimizer.zero_grad()  # its author's own
            continue
        for group in optimizer.param_groups:  # zero_grad() does the same and costs a profiler record each step
            for parameter in group["params"]:
                parameter.grad = None


def ready_for_fused_momentum(optimizer: optim.SGD) -> None:
    """Give momentum of zero to what joins a fused SGD in the middle of a run: freed, or used for the first time.

    torch's fused kernel wants either all momentum buffers of a group or none (`_fused_sgd` in torch/optim/sgd.py). Zero
    comes to the same as none, but for `dampening`, with which SGD is not fused.
    """
    state = optimizer.state
    if not state or len(state) == sum(len(group["params"]) for group in optimizer.param_groups):
        return  # nobody has any yet, or everybody has it
    for group in optimizer.param_groups:
        if not group["fused"] or not group["momentum"]:
            continue
        joining = [one for one in group["params"] if one.grad is not None and not state.get(one)]
        for parameter in joining if any(state.get(one) for one in group["params"]) else ():
            state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def make_dense(optimizer: optim.Optimizer) -> None:
    """Turn sparse gradients into dense ones: the same numbers, and zeros in the rows that were left out."""
    for parameter in parameters_of(optimizer):
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.to_dense()


def parameters_of(optimizer: optim.Optimizer) -> list[nn.Parameter]:
    """The parameters that `optimizer` updates and that are not frozen."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.requires_grad]
