"""THE training step: forward, loss, zero, backward, update. Engines decide how it is run; what it does stands here."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, optim

from lumbre.base import Batch, Loss, Nested


class Inside(Protocol):
    """Told of each inside event; None in its place where nobody listens."""

    def __call__(self, event: str, pred: Nested, loss: Tensor | None, /) -> None: ...


def train_step(
    batch: Batch,
    *,
    call: Callable[[Nested], Nested],
    loss_function: Loss,
    optimizer: optim.Optimizer,
    autocast: Callable[[], AbstractContextManager[object]],
    scaler: torch.amp.GradScaler | None,
    check_loss: Callable[[Tensor, Nested], None],
    inside: Inside | None,
) -> tuple[Nested, Tensor]:
    """One optimizer step on `batch`; prediction and loss come back as the graph made them."""
    with autocast():
        pred = call(batch.input)
        if inside is not None:
            inside("after_pred", pred, None)
        loss = loss_function(pred, batch.target)
    check_loss(loss, pred)
    if inside is not None:
        inside("after_loss", pred, loss)
    for group in optimizer.param_groups:  # zero_grad() does the same and costs a profiler record each step
        for parameter in group["params"]:
            parameter.grad = None
    if inside is not None:
        inside("before_backward", pred, loss)
    if scaler is None:
        loss.backward()
    else:
        scaler.scale(loss).backward()
    if inside is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)  # handlers (a gradient clip, say) see gradients at their true size
        inside("before_step", pred, loss)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    if inside is not None:
        inside("after_step", pred, loss)
    return pred, loss
