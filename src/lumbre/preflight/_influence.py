"""What predictions depend on: one way back from random weights of the predictions to the inputs of a few rows."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import cloned, leaves, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import NORMS, in_two_modes
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_ROWS, _MOST_COLUMNS, _FEWEST_STEPS = 32, 5_000, 4


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
        same_chance(subject.device)
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


def rows_compared(subject: Subject) -> bool:
    """Whether predictions are of each row beside each other one, (rows, rows), as for a contrastive loss; others may
    stand beside these, such as the embeddings that they were made of."""
    size = subject.batch.size
    return any(one.shape == (size, size) for one in tensors(subject.evaluated.pred))


@check("LB085", "warning", "Rows that see one another in training", unless=("LB020", "LB018", "LB032"), costly=True)
def mixed_in_training(subject: Subject) -> Iterator[Found]:
    """In training mode, and there alone, the prediction of a row changes with the other rows, by more than batch
    normalisation's statistics, which are left out of it: a mean over the batch by hand, rows that are joined. (Where
    buffers follow the rows, as in a normalisation of one's own, or partners are drawn anew, as for mixup, it is
    meant.)"""
    size, found = subject.batch.size, subject.trained
    parts = tensors(subject.batch.input)
    by_rows = bool(parts) and all(one.ndim and len(one) == size for one in parts)
    if (
        size < 8
        or not by_rows
        or subject.row_by_row
        or found.failure is not None
        or rows_compared(subject)
        or not any(leaf.requires_grad for leaf in tensors(found.pred))
    ):
        return
    if any(getattr(part, "running_mean", 0) is None for part in subject.model.modules() if isinstance(part, NORMS)):
        return  # it normalizes over the batch, and says so
    others = torch.tensor([0, 1, 2, 3, 1, 2, 3, 1])

    def few(leaf: Any) -> Any:
        return leaf[:8] if isinstance(leaf, Tensor) else leaf

    def changed(leaf: Any) -> Any:
        return leaf[others.to(leaf.device)] if isinstance(leaf, Tensor) else leaf

    some = map_leaves(few, subject.batch.input)
    try:
        once, other = (tensors(subject.predict(one, training=True)) for one in (some, map_leaves(changed, some)))
        if not _first_differs(once, other) or _follows(subject, some):
            return
        again = tensors(subject.predict(some, training=True))
        anew = [tensors(subject.predict(some, training=True, seed=at)) for at in (1, 2)]
    except Exception:  # a module that takes batches of one size alone
        return
    drawn = any(_first_differs(once, one) for one in (again, *anew))
    if not drawn and not _targets_mixed(subject):
        yield Found(
            "a prediction of the first row that changes, in training mode, when the other rows of the batch are others",
            "predictions of a row that depend on this row alone, but for batch normalisation",
            "means and norms over the numbers of a row, not over the batch; nn.BatchNorm1d() keeps running means for "
            'evaluation. Where it is meant: ignore=("LB085",)',
        )


def _targets_mixed(subject: Subject) -> bool:
    """Whether the loss judges a row by targets of others, too, as it does where rows are mixed on purpose."""
    loss, target, size = subject.loss, subject.batch.target, subject.batch.size
    preds = [one for one in tensors(subject.trained.pred) if one.is_floating_point() and one.requires_grad]
    if loss is None or len(preds) != 1 or len(preds[0]) != size:
        return False

    def slope(by: int) -> Tensor:
        given = preds[0].detach().clone().requires_grad_()
        asked = map_leaves(lambda leaf: _all_but_first_turned(leaf, by), target)
        with untouched(subject.model, subject.device, loss, training=True), torch.enable_grad():
            same_chance(subject.device)
            value: Any = loss(map_leaves(lambda leaf: given if leaf is preds[0] else leaf, subject.trained.pred), asked)
            return torch.autograd.grad(value, given)[0][0]

    try:
        one, *others = (slope(by) for by in range(4))
    except Exception:  # a loss that takes the module's own predictions only
        return False
    return any(float((one - two).abs().max()) > 1e-3 * float(one.abs().max()) for two in others)


def _all_but_first_turned(leaf: Any, by: int) -> Any:
    """The first row as it is, and the others with what others have."""
    return torch.cat([leaf[:1], leaf[1:].roll(by, 0)]) if isinstance(leaf, Tensor) and leaf.ndim else leaf


def _first_differs(once: list[Tensor], other: list[Tensor]) -> bool:
    for a, b in zip(once, other, strict=False):
        if a.ndim and a.shape == b.shape and len(a) == 8 and a.is_floating_point() and bool(a.isfinite().all()):
            scale = float(a.std()) + 1e-2 * float(a.abs().mean())
            if float((a[:4] - b[:4]).abs().max()) > 1e-3 * scale > 0:
                return True
    return False


def _follows(subject: Subject, input: Any) -> bool:
    """Whether a call in training mode changes buffers, or other tensors that hang on the module."""
    with untouched(subject.model, subject.device, training=True), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in subject.model.modules():
            part.training = part.training and not in_two_modes(part)
        before = [(one, one.clone()) for one in _kept(subject)]
        subject.call(cloned(input))
        now = _kept(subject)
        return len(now) != len(before) or any(
            one is not two or not torch.equal(one, old) for (one, old), two in zip(before, now, strict=True)
        )


def _kept(subject: Subject) -> list[Tensor]:
    held = (value for part in subject.model.modules() for value in vars(part).values() if isinstance(value, Tensor))
    return [*subject.model.buffers(), *held]


def _by_input(subject: Subject, parts: list[Tensor]) -> tuple[int, list[Tensor | None]]:
    """How many rows are looked at, and the gradient of their predictions by each part of the input.

    No gradients where there are too few rows, a part is not one of rows, or the module cannot be differentiated so.
    """
    size = subject.batch.size
    rows = min(size, _ROWS)
    by_rows = bool(parts) and all(one.ndim and len(one) == size for one in parts)
    if size < 4 or not by_rows or subject.evaluated.failure is not None:
        return rows, []
    if "by input" not in subject.shared:
        try:
            (found,) = gradients(subject, rows, torch.ones(rows, dtype=torch.bool))
        except Exception:
            found = []
        subject.shared["by input"] = found
    return rows, subject.shared["by input"]


@check("LB068", "warning", "An input that has no influence", unless=("LB057", "LB024", "LB029", "LB043"), costly=True)
def no_influence(subject: Subject) -> Iterator[Found]:
    """One of several inputs, a column of a table or a channel of a picture could be anything: no prediction of the
    first rows depends on it, neither by its gradient nor where its values change places between rows."""
    parts = tensors(subject.batch.input)
    rows, found = _by_input(subject, parts)
    known = any(one is not None and bool((one != 0).any()) for one in found)
    if not found or (not known and (len(parts) < 2 or not _vary(subject))):
        return
    for at, (part, gradient) in enumerate(zip(parts, found, strict=True)):
        for index in _idle(part[:rows], gradient, several=len(parts) > 1):
            # What is only drawn or forced in training is asked for there; and a branch may begin at zero.
            ways = ({}, {"moved": True}, *([{"training": True}] if gradient is None else []))
            if not any(_moves(subject, rows, at, index, **way) for way in ways):
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
    if gradient is None:  # whole numbers: what is drawn or forced in training alone is asked for there
        if several and part.dtype != torch.bool and bool((part != part[:1]).any()):
            yield None
        return
    if not bool(gradient.isfinite().all()):
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


@check("LB119", "warning", "Steps that have no influence", unless=("LB068", "LB057", "LB024", "LB029"), costly=True)
def half_unread(subject: Subject) -> Iterator[Found]:
    """The second half of every sequence, or of every row or column of pixels, could be anything: no prediction of the
    first rows depends on it, neither by its gradient nor where its values change places between rows. The first step
    was read where the last one was meant, or a slice is too short."""
    parts = tensors(subject.batch.input)
    if not any(one.ndim >= 3 or (one.ndim == 2 and not one.is_floating_point()) for one in parts):
        return
    rows, found = _by_input(subject, parts)
    for at, (part, gradient) in enumerate(zip(parts, found, strict=False)):
        for dim in _unread(part[:rows], gradient):
            half = (part.shape[dim] + 1) // 2
            index = (*(slice(None) for _ in range(dim)), slice(half, None))
            if bool((part[index] == part[:1][index]).all()):
                continue
            ways = ({}, {"moved": True}, *([{"training": True}] if gradient is None else []))
            if not any(_moves(subject, rows, at, index, **way) for way in ways) and _moves(subject, rows, at, None):
                of = f" of input {at}" if len(parts) > 1 else ""
                yield Found(
                    f"positions {half} to {part.shape[dim] - 1} of dimension {dim}{of}, the second half, on which no "
                    "prediction depends",
                    "inputs that are used",
                    "look at where forward() loses them: [:, -1] for the last step of a recurrent net, not [:, 0]; a "
                    "slice that is too short; or leave them out",
                )
                return


def _unread(part: Tensor, gradient: Tensor | None) -> Iterator[int]:
    """Dimensions of which the second half may have no influence: where it has no gradient, and of whole numbers."""
    if gradient is None:
        if part.ndim == 2 and part.shape[1] >= _FEWEST_STEPS and not part.is_complex() and part.dtype != torch.bool:
            yield 1
        return
    if part.ndim < 3 or not bool(gradient.isfinite().all()) or not bool((gradient != 0).any()):
        return
    for dim in range(1 if part.ndim == 3 else 2, part.ndim):
        used = (gradient != 0).transpose(0, dim).flatten(1).any(1)
        if len(used) >= _FEWEST_STEPS and not bool(used[(len(used) + 1) // 2 :].any()):
            yield dim


def _vary(subject: Subject) -> bool:
    """Whether predictions differ between the rows of the batch."""
    preds = [one.detach() for one in tensors(subject.evaluated.pred) if one.ndim and len(one) == subject.batch.size]
    return any(bool((one != one[:1]).any()) for one in preds)


def _moves(subject: Subject, rows: int, at: int, index: Any, **way: bool) -> bool:
    """Whether predictions change where values of this input, or of a part of it, change places between the rows."""
    count = iter(range(len(tensors(subject.batch.input))))

    def turned(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        part = leaf[:rows].clone()
        if next(count) == at:
            if index is None:
                part = part.roll(1, 0)
            else:
                where = index if isinstance(index, tuple) else (slice(None), index)
                part[where] = part[where].roll(1, 0)
        return part

    few = map_leaves(lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) else leaf, subject.batch.input)
    as_it_is = ("predicted", rows, *way)
    try:
        if as_it_is not in subject.shared:
            subject.shared[as_it_is] = subject.predict(few, **way)
        one, two = subject.shared[as_it_is], subject.predict(map_leaves(turned, few), **way)
    except Exception:
        return True
    pairs = zip(leaves(one), leaves(two), strict=True)
    return any(isinstance(a, Tensor) and not torch.equal(a, b) for a, b in pairs)
