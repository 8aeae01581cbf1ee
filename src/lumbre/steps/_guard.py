"""The watch over the loss: a value that is not finite stops the run before the weights are touched."""

import math
from collections import deque
from typing import Protocol

import torch
from torch import Tensor, optim

from lumbre.base import Batch, Nested, NonFiniteLossError, Rows, flushes_denormals, leaves, rate_in

_POLL_EVERY_STEPS, _LARGE = 64, 1e6


class Guard(Protocol):
    """Watches every loss of a run."""

    def begin(self, batch: Batch, epoch: int, step: int) -> None:
        """Say which step comes."""
        ...

    def check(self, loss: Tensor, pred: Nested) -> None:
        """Look at its loss, before the backward pass."""
        ...

    def poll(self) -> None:
        """Raise for what the device has found since."""
        ...


class HostGuard:
    """Reads each loss at once. On the CPU that costs a tenth of a microsecond."""

    def __init__(self, optimizers: tuple[optim.Optimizer, ...]) -> None:
        self._optimizers = optimizers

    def begin(self, batch: Batch, epoch: int, step: int) -> None:
        self._batch, self._epoch, self._step = batch, epoch, step

    def check(self, loss: Tensor, pred: Nested) -> None:
        value = loss.item()
        if not math.isfinite(value):
            rows, where = _bad_rows(self._batch, pred)
            by_loss = not where and moderate(self._batch.input, self._batch.target, pred)
            raise non_finite(value, self._epoch, self._step, rows, where, self._optimizers, by_loss=by_loss)

    def poll(self) -> None: ...


class DeviceGuard:
    """Keeps a flag on the device, so that no step waits: a fused optimizer skips its update while the flag is up.

    `found_inf` is the attribute through which torch's own GradScaler tells a fused optimizer to skip.
    """

    def __init__(self, optimizers: tuple[optim.Optimizer, ...], device: torch.device) -> None:
        self._optimizers = optimizers
        self._flag = torch.zeros((), device=device)
        for optimizer in optimizers:
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        self._recent: deque[tuple[int, int, Rows | None]] = deque(maxlen=_POLL_EVERY_STEPS)
        self._count = 0

    def begin(self, batch: Batch, epoch: int, step: int) -> None:
        if len(self._recent) == _POLL_EVERY_STEPS:
            self.poll()
        self._recent.append((epoch, step, batch.rows))
        self._count = len(self._recent) - 1

    def check(self, loss: Tensor, pred: Nested) -> None:
        bad = ~torch.isfinite(loss.detach())
        self._first.copy_(torch.where(bad & (self._first < 0), self._count, self._first))
        self._flag.copy_(torch.maximum(self._flag, bad.to(self._flag.dtype)))

    def poll(self) -> None:
        first = int(self._first.item())
        if first >= 0:
            epoch, step, rows = self._recent[first]
            raise non_finite(
                math.nan, epoch, step, None if rows is None else [int(row) for row in rows], "", self._optimizers
            )
        self._recent.clear()


def guard_for(optimizers: tuple[optim.Optimizer, ...], device: torch.device, scaled: bool) -> Guard:
    """The guard that keeps the promise at the least cost: with no wait where the device can hold back the update."""
    fused = all(group.get("fused") for optimizer in optimizers for group in optimizer.param_groups)
    if device.type == "cuda" and fused and not scaled:
        return DeviceGuard(optimizers, device)
    return HostGuard(optimizers)


def _bad_rows(batch: Batch, pred: Nested) -> tuple[list[int] | None, str]:
    """The rows to blame: those whose input, else whose prediction, is not finite; else the whole batch."""
    rows = list(range(batch.size)) if batch.rows is None else [int(row) for row in batch.rows]
    for part, what in (
        (batch.input, "their input"),
        (batch.target, "their target"),
        (pred, "the prediction for them"),
    ):
        bad = torch.zeros(batch.size, dtype=torch.bool)
        for leaf in leaves(part):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.shape[:1] == (batch.size,):
                bad |= ~torch.isfinite(leaf.detach()).reshape(batch.size, -1).all(1).cpu()
        if bad.any():
            return [rows[int(i)] for i in bad.nonzero()[:, 0]], f"; {what} is not finite"
    return rows, ""


def moderate(*parts: Nested) -> bool:
    """Whether all numbers are finite, and none is so large that a loss could overflow for it."""
    floats = [leaf.detach() for part in parts for leaf in leaves(part) if isinstance(leaf, Tensor)]
    return all(float(one.abs().max()) < _LARGE for one in floats if one.is_floating_point() and one.numel())


def non_finite(
    value: float,
    epoch: int,
    step: int,
    rows: list[int] | None,
    where: str,
    optimizers: tuple[optim.Optimizer, ...],
    *,
    by_loss: bool = False,
) -> NonFiniteLossError:
    """The error, in words; `by_loss` where the loss itself breaks off, for numbers that are all finite and moderate."""
    named = "unknown" if rows is None else ", ".join(str(int(row)) for row in rows[:10])
    more = "" if rows is None or len(rows) <= 10 else f" and {len(rows) - 10} more"
    rate = rate_in(optimizers[0].param_groups[0])
    now = "" if rate is None else f" (now {rate:g})"
    fix = (
        "look at these rows of the data; at the loss, if it takes log(), sqrt() or a quotient of what may be 0; "
        f"or lower the learning rate{now}, or scale the inputs"
    )
    if by_loss:
        where = "; inputs, targets and predictions are finite"
        fix = (
            "look at what the loss takes: a log() or sqrt() of what may be negative or 0, a quotient by 0, an exp() "
            "that overflows; F.softplus(x) + 1e-6 or clamp(min=1e-6) keep a prediction positive"
        )
    if flushes_denormals():
        fix += "; a constant under 1e-38, as in log(x + 1e-45), is 0 in this run: flush_denormal=False keeps it"
    return NonFiniteLossError(
        f"a loss of {value} at epoch {epoch}, step {step} of the epoch, rows {named}{more}{where}",
        "a finite loss; the run was stopped before this update, and the weights are those of the step before",
        fix,
    )
