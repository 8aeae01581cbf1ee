"""What predictions depend on: one way back from random weights of the predictions to the inputs of a few rows."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import leaves, map_leaves, untouched
from lumbre.devices import seeder
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_ROWS, _MOST_COLUMNS = 32, 5_000


def gradients(subject: Subject, rows: int, *judged: Tensor) -> list[list[Tensor | None]]:
    """Of the first `rows` of the batch: the gradients of randomly weighted predictions by each tensor of the input.

    Args:
        subject: what is looked at.
        rows: how many.
        judged: which rows' predictions count, bool of shape (rows,); each gives a list of gradients.
    """
    inputs: list[Tensor] = []

    def cut(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        part = leaf[:rows].detach().clone()
        inputs.append(part.requires_grad_() if part.is_floating_point() else part)
        return inputs[-1]

    with untouched(subject.model, subject.device), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeder(0, subject.device)("predict", 0, 0)
        # What a module overwrites in place must be no leaf.
        few = map_leaves(cut, subject.batch.input)
        pred = subject.call(map_leaves(_no_leaf, few))
        generator = torch.Generator().manual_seed(0)
        weighted = torch.zeros(rows, device=subject.device)
        for one in tensors(pred):
            if one.is_floating_point() and one.requires_grad and one.ndim and len(one) == rows:
                weights = (torch.rand(one.shape, generator=generator) + 0.5).to(one)
                weighted = weighted + (one * weights).reshape(rows, -1).sum(1)
        wanted = [one for one in inputs if one.requires_grad]
        if not weighted.requires_grad or not wanted:
            return [[None for _ in inputs] for _ in judged]
        ways: list[list[Tensor | None]] = []
        for chosen in judged:
            total = weighted[chosen.to(weighted.device)].sum()
            found = iter(torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True))
            given = [next(found) if one.requires_grad else None for one in inputs]
            ways.append(
                [
                    torch.zeros_like(one) if one.requires_grad and gradient is None else gradient
                    for one, gradient in zip(inputs, given, strict=True)
                ]
            )
    return ways


def _no_leaf(leaf: Any) -> Any:
    return leaf + 0 if isinstance(leaf, Tensor) and leaf.requires_grad else leaf


def mixed_rows(subject: Subject, rows: int) -> bool:
    """Whether predictions of every other row have a gradient by the rows between them, in evaluation mode."""
    even = torch.arange(rows) % 2 == 0
    try:
        ways = gradients(subject, rows, even, ~even)
    except Exception:  # a module that cannot be differentiated by its input, or takes batches of one size alone
        return False
    for judged, found in zip((even, ~even), ways, strict=True):
        for one in found:
            if one is None or not bool(one.isfinite().all()):
                continue
            sizes = one.reshape(rows, -1).abs().amax(1)
            here = judged.to(sizes.device)
            if float(sizes[~here].max()) > 1e-3 * float(sizes[here].max()) > 0:
                return True
    return False


@check("LB068", "warning", "An input that has no influence", unless=("LB057", "LB024", "LB029", "LB043"), costly=True)
def no_influence(subject: Subject) -> Iterator[Found]:
    """One of several inputs, a column of a table or a channel of a picture could be anything: no prediction of the
    first rows depends on it, neither by its gradient nor where its values change places between rows."""
    size = subject.batch.size
    parts = tensors(subject.batch.input)
    by_rows = bool(parts) and all(one.ndim and len(one) == size for one in parts)
    if size < 4 or not by_rows or subject.evaluated.failure is not None:
        return
    rows = min(size, _ROWS)
    try:
        (found,) = gradients(subject, rows, torch.ones(rows, dtype=torch.bool))
    except Exception:  # a module that cannot be differentiated by its input
        return
    if not any(one is not None and bool((one != 0).any()) for one in found):
        return
    for at, (part, gradient) in enumerate(zip(parts, found, strict=True)):
        for index in _idle(part[:rows], gradient, several=len(parts) > 1):
            if not _moves(subject, rows, at, index):
                what = "an input" if index is None else f"{'column' if part.ndim == 2 else 'channel'} {index}"
                place = f" of input {at}" if len(parts) > 1 else ""
                yield Found(
                    f"{what}{place} on which no prediction depends",
                    "inputs that are used",
                    "look at where forward() loses it (a slice that is too short, a branch that is not added); or "
                    "leave it out",
                )
                return


def _idle(part: Tensor, gradient: Tensor | None, *, several: bool) -> Iterator[int | None]:
    """What gets no gradient though it differs between rows: the tensor (None), else one of its columns or channels."""
    if gradient is None or not bool(gradient.isfinite().all()):
        return
    if not bool((gradient != 0).any()):
        if several and bool((part != part[:1]).any()):
            yield None
        return
    if part.ndim not in (2, 4) or not 2 <= part.shape[1] <= _MOST_COLUMNS:
        return
    idle = (gradient.transpose(0, 1).flatten(1) == 0).all(1) & (part != part[:1]).transpose(0, 1).flatten(1).any(1)
    if part.ndim == 2 and part.shape[1] > 64:
        return  # of many columns a net may look at some
    yield from (int(one) for one in idle.nonzero()[:1, 0])


def _moves(subject: Subject, rows: int, at: int, index: int | None) -> bool:
    """Whether predictions change where values of this input, or column of it, change places between the rows."""
    count = iter(range(len(tensors(subject.batch.input))))

    def turned(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        part = leaf[:rows].clone()
        if next(count) == at:
            if index is None:
                part = part.roll(1, 0)
            else:
                part[:, index] = part[:, index].roll(1, 0)
        return part

    few = map_leaves(lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) else leaf, subject.batch.input)
    try:
        one, two = subject.predict(few), subject.predict(map_leaves(turned, few))
    except Exception:
        return True
    pairs = zip(leaves(one), leaves(two), strict=True)
    return any(isinstance(a, Tensor) and not torch.equal(a, b) for a, b in pairs)
